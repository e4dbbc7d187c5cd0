//! `dropmill run`, `resume` and `retry`: runs one run file after the other.

use super::{ask, environment, load_all};
use crate::{
    cli::{RunArgs, Showing},
    error::{NothingToDo, UsageError},
    notify::{Notifier, notice_id},
    record::Record,
    render::{progress::Shown, report, say},
    session::RunSession,
    settings::Problems,
    start::{Choices, Start, StartContext, StartNote},
    state::State,
    stored_run::StoredRun,
};
use anyhow::{Context, Result};
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_journal::{
    Outbox,
    event::Outcome,
    report::{Report, ReportFold},
};
use dropmill_lifecycle::plan::RunPlan;
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of an interrupted program, as shells report it.
const INTERRUPTED: i32 = 130;
/// How often the progress is drawn again when no event comes.
const TICK: Duration = Duration::from_secs(1);

/// Runs every file; the exit code is that of the first that did not succeed.
pub fn run(arguments: &RunArgs, state: &State) -> Result<u8> {
    let files = load_all(&arguments.files)?;
    if arguments.record.is_some() && (files.len() > 1 || arguments.resume) {
        let problem = "it records one new run from its start: give one run file, without --resume".into();
        return Err(UsageError::Argument { argument: "--record".into(), problem }.into());
    }
    let clock: SharedClock = Arc::new(WallClock);
    let choices = Choices {
        resume: arguments.resume,
        skip_done: arguments.skip_done,
        check_content: arguments.check_content,
        limit: arguments.limit,
    };
    let note = |note| say_note(&note, &arguments.showing);
    let context = StartContext { state, clock: &clock, ask: &ask, note: &note };
    // All plans are made before the first call: a mistake in the last file must not be found after an hour.
    let mut starts = vec![];
    let mut wrong = Problems::default();
    for loaded in files {
        match Start::of_settings(loaded, choices, &context) {
            Ok(start) => starts.push(Ok(start)),
            Err(error) => match error.downcast::<Problems>() {
                Ok(problems) => wrong.found.extend(problems.found),
                Err(error) => starts.push(Err(error.downcast::<NothingToDo>()?)),
            },
        }
    }
    if !wrong.found.is_empty() {
        return Err(wrong.into());
    }
    let mut code = 0;
    for start in starts {
        let start = match start {
            Ok(start) => start,
            Err(nothing) => {
                say::note(&nothing.to_string());
                continue;
            }
        };
        let session = start.open(state, &clock, |plan| {
            let record = arguments.record.as_deref();
            record.map(|to| Record::begin(to, arguments.record_bytes, plan)).transpose()
        })?;
        let ended = one(session, &arguments.showing, &clock)?;
        if code == 0 {
            code = ended;
        }
        if ended == Outcome::Cancelled.exit_code() {
            break;
        }
    }
    Ok(code)
}

/// Prints a note about a start. With JSON output, prints only notes about inputs that are not part of the
/// run.
fn say_note(note: &StartNote, showing: &Showing) {
    if !showing.json || matches!(note, StartNote::MoreInputs { .. }) {
        say::note(&note.to_string());
    }
}

/// `dropmill resume`: continues an interrupted run as it was planned.
pub fn resume(run: &str, showing: &Showing, state: &State) -> Result<u8> {
    let stored = StoredRun::find(run, state)?;
    let clock: SharedClock = Arc::new(WallClock);
    if let Some(outcome) = stored.past().ended {
        stored.tidy(state, &clock)?;
        let report = ReportFold::of(&stored.events);
        if !showing.json {
            say::note(&format!(
                "{} has ended: there is nothing to resume; `dropmill retry` runs what failed",
                report.run
            ));
        }
        show(&report, &stored.plan.output.directory, showing);
        return Ok(outcome.exit_code());
    }
    let loaded = stored.load(&[], environment())?;
    let start = Start::rest_of(stored, loaded)?;
    one(start.open(state, &clock, |_| Ok(None))?, showing, &clock)
}

/// `dropmill retry`: a new run of what did not succeed in another.
pub fn retry(run: &str, only_failed: bool, showing: &Showing, state: &State) -> Result<u8> {
    let stored = StoredRun::find(run, state)?;
    let clock: SharedClock = Arc::new(WallClock);
    let context = StartContext { state, clock: &clock, ask: &ask, note: &|_| () };
    let start = match Start::retry_of(&stored, only_failed, || stored.load(&[], environment()), &context) {
        Ok(start) => start,
        Err(error) => {
            say::note(&error.downcast::<NothingToDo>()?.to_string());
            return Ok(0);
        }
    };
    one(start.open(state, &clock, |_| Ok(None))?, showing, &clock)
}

fn one(session: RunSession, showing: &Showing, clock: &SharedClock) -> Result<u8> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be started")
    };
    let output = session.plan.output.directory.clone();
    let report = actix::System::with_tokio_rt(runtime).block_on(async {
        let notifier = Notifier::begin(&session.loaded, clock, Outbox::in_memory)?;
        let report = carry_out(session, showing, clock).await?;
        if let Some(notifier) = notifier {
            notifier.send(&notice_id(&[&report.run]), "run_ended", notification(&report, &output));
            notifier.end().await;
        }
        anyhow::Ok(report)
    })?;
    show(&report, &output, showing);
    Ok(report.outcome.unwrap_or(Outcome::Infrastructure).exit_code())
}

async fn carry_out(mut session: RunSession, showing: &Showing, clock: &SharedClock) -> Result<Report> {
    let mut shown = Shown::new(showing.quiet || showing.json);
    session.earlier.iter().flatten().for_each(|event| shown.recall(event));
    if !showing.json && !showing.quiet {
        let again = if session.earlier.is_none() { "" } else { ", resumed" };
        say::note(&format!("{}: {}{again}", session.plan.run, counted(&session.plan)));
    }
    session.control = true;
    let run = session.begin(clock)?;
    let events = run.events();
    let json = showing.json;
    let watching = actix::spawn(async move {
        let mut heard = true;
        loop {
            let event = match tokio::time::timeout(TICK, events.recv()).await {
                Ok(Ok(event)) => event,
                Ok(Err(_)) => break,
                Err(_) => {
                    shown.tick();
                    continue;
                }
            };
            if json && heard {
                // When the reader of standard output closes it, the run continues.
                heard = say::json(&event);
            }
            shown.apply(&event);
        }
        shown.end();
    });
    let (canceller, doomed) = (run.canceller(), run.embedded());
    let listening = actix::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            tracing::error!("cannot handle signals: an interrupt ends the program at once");
            return;
        };
        let mut asked = false;
        loop {
            let name = tokio::select! {
                biased;
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if std::mem::replace(&mut asked, true) {
                // No task on this machine outlives the program; the state of the service stays for the next
                // start.
                if let Some(service) = &doomed {
                    service.stop();
                }
                std::process::exit(INTERRUPTED);
            }
            say::note(&format!(
                "{name}: tasks are ended, what finished is fetched; once more to end at once"
            ));
            canceller.cancel(name);
        }
    });
    let finished = run.finished().await;
    listening.abort();
    watching.await.context("the events could not be shown")?;
    finished
}

fn show(report: &Report, output: &Path, showing: &Showing) {
    if showing.json {
        say::json(report);
    } else if showing.quiet && report.outcome == Some(Outcome::Succeeded) {
        say::line(&report::summary(report));
    } else {
        say::lines(report::lines(report, Some(output)));
    }
}

/// Returns the notification about a run: its report without the tasks.
fn notification(report: &Report, output: &Path) -> Value {
    json!({
        "run": report.run,
        "name": report.name,
        "outcome": report.outcome,
        "reason": report.reason,
        "started": report.started,
        "elapsed_ms": report.elapsed_ms,
        "tasks": report.tasks,
        "left_behind": report.left_behind,
        "output": output,
    })
}

/// `3 tasks`, or `100 inputs in 3 tasks`.
fn counted(plan: &RunPlan) -> String {
    let inputs = plan.items.len();
    let single = plan.items.iter().filter(|item| plan.chunk_of(item.index).is_none()).count();
    match plan.grouping {
        None => format!("{inputs} tasks"),
        Some(_) => format!("{inputs} inputs in {} tasks", plan.chunks.len() + single),
    }
}
