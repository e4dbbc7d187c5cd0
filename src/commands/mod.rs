//! The commands, one module for each.

mod cancel;
mod crash;
mod deliver;
mod env;
mod health;
mod host;
mod init;
mod logs;
mod manager;
mod plan;
mod run;
mod runs;
mod schema;
mod serve;
mod show;
mod simulate;
mod sockets;
mod status;
mod trace;
mod watch;
mod why;

use crate::{
    cli::{Cli, Command, FileArgs},
    error::Error,
    render::say,
    settings::{Loaded, Problems, load},
    state::State,
};
use std::{ffi::OsString, io::IsTerminal, process::ExitCode};

/// Carries out the command line and returns the exit code.
pub fn run_command(cli: Cli) -> ExitCode {
    log(cli.log_json);
    keep_secrets();
    let state = match State::at(cli.state) {
        Ok(state) => state,
        Err(error) => return failed(error.into()),
    };
    let outcome = match cli.command {
        Command::Run(arguments) => run::run(&arguments, &state),
        Command::Watch(arguments) => watch::watch(&arguments, &state),
        Command::Status(arguments) => status::status(&arguments, &state),
        Command::Resume { run, showing } => run::resume(&run, &showing, &state),
        Command::Logs(arguments) => logs::logs(&arguments, &state),
        Command::Why { run, task, json } => why::why(&state, &run, task.as_deref(), json),
        Command::Cancel { run, now } => cancel::cancel(&run, now, &state),
        Command::Deliver { run } => deliver::deliver(&run, &state),
        Command::Retry { run, failed, showing } => run::retry(&run, failed, &showing, &state),
        Command::Plan(arguments) => plan::plan(&arguments, &state),
        Command::Serve(arguments) => serve::serve(&arguments, &state),
        Command::Env(arguments) => env::env(&state, arguments.shell),
        Command::Runs { what, json } => runs::runs(&state, what, json),
        Command::Show { run, json, watch } => show::show(&state, &run, json, watch),
        Command::Simulate(arguments) => simulate::simulate(&arguments),
        Command::Trace { run, folder: Some(one), other, .. } if run == "compare" => {
            trace::compare(&state, &one, other.as_deref())
        }
        Command::Trace { run, folder: Some(folder), .. } => simulate::traces(&run, &folder),
        Command::Trace { run, folder: None, outline, json, .. } => trace::trace(&state, &run, outline, json),
        Command::Init { folder } => init::init(&folder),
        Command::Schema { of } => schema::schema(&of),
        Command::Completions { shell } => schema::completions(shell),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(error.into()),
    }
}

/// Keeps other processes of the same user, such as tasks, from reading the environment and the memory of this one, and the
/// kernel from writing them to a core file. What this process starts is not affected.
fn keep_secrets() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "tasks can read the environment of this process");
    }
}

fn failed(error: Error) -> ExitCode {
    match &error {
        // Each mistake in a run file gets its own line, as in compilers.
        Error::Settings(problems) => say::notes(problems.to_string().lines()),
        other => say::note(&format!("dropmill: {other}")),
    }
    ExitCode::from(error.exit_code())
}

fn log(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || say::Log { json });
    // A program that uses the library may have set a subscriber already.
    let _ = match json {
        true => subscriber.json().try_init(),
        // Colour codes would be shown as visible text, as all control characters are.
        false => subscriber.with_ansi(false).try_init(),
    };
}

/// Returns the environment variables that are valid UTF-8; others are not settings.
fn environment() -> Vec<(String, String)> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Reads every file before work on the first one starts.
fn load_all(arguments: &FileArgs) -> Result<Vec<Loaded>, Problems> {
    let mut loaded = vec![];
    let mut wrong = Problems::default();
    for file in &arguments.files {
        match load(file, &arguments.set, environment()) {
            Ok(file) => loaded.push(file),
            Err(problems) => wrong.found.extend(problems.found),
        }
    }
    if wrong.found.is_empty() { Ok(loaded) } else { Err(wrong) }
}

/// Asks a question on a terminal; elsewhere the answer is yes.
fn ask(what: &str) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return true;
    }
    say::question(&format!("Delete {what} when the run ends? [Y/n]"));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_err() || !matches!(answer.trim().to_lowercase().as_str(), "n" | "no")
}
