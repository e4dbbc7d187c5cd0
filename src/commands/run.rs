//! `dropmill run`, `resume` and `retry`: carries out run files, one after the other.

use super::{Mistake, ask, environment, load_all};
use crate::{
    again::{own_results, why},
    cli::{RunArgs, Showing},
    life::{Found, Life},
    notify::{Notifier, notice_id},
    plan,
    record::Record,
    render::{progress::Shown, report, say},
    settings::{Loaded, Problems},
    state::State,
};
use anyhow::{Context, Result};
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_journal::{
    Outbox,
    event::{Outcome, Verdict},
    report::{Report, ReportFold},
};
use dropmill_lifecycle::plan::{Item, RunPlan, Superseded};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};
use tokio::signal::unix::{SignalKind, signal};

/// What the shell says of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// What is to be done for one run file.
enum Todo {
    /// A new run of it.
    Fresh(Box<(Loaded, RunPlan)>),
    /// The rest of one that was cut off.
    Rest(Box<(Found, Loaded)>),
    /// Nothing; why.
    Nothing(String),
}

/// Runs every file; the exit code is that of the first that did not succeed.
pub fn run(arguments: &RunArgs, state: &State) -> Result<u8> {
    let files = load_all(&arguments.files)?;
    if arguments.record.is_some() && (files.len() > 1 || arguments.resume) {
        let told = "--record keeps one new run from its beginning: give one run file, and no --resume";
        return Err(Mistake(told.into()).into());
    }
    let clock: SharedClock = Arc::new(WallClock);
    // Every plan before the first call: a mistake in the last file must not be found after an hour.
    let mut todos = vec![];
    let mut wrong: Option<Problems> = None;
    for loaded in files {
        match todo(loaded, arguments, state, &clock) {
            Ok(todo) => todos.push(todo),
            Err(error) => match error.downcast::<Problems>() {
                Ok(problems) => match &mut wrong {
                    None => wrong = Some(problems),
                    Some(wrong) => wrong.found.extend(problems.found),
                },
                Err(error) => return Err(error),
            },
        }
    }
    if let Some(wrong) = wrong {
        return Err(wrong.into());
    }
    let mut code = 0;
    for todo in todos {
        let life = match todo {
            Todo::Fresh(fresh) => {
                let record = arguments.record.as_deref();
                let record = record.map(|to| Record::begin(to, arguments.record_bytes, &fresh.1));
                let record = record.transpose()?;
                let mut life = Life::first(fresh.0, fresh.1, None, state, &clock)?;
                life.record = record;
                life
            }
            Todo::Rest(rest) => Life::next(rest.0, rest.1, state, &clock)?,
            Todo::Nothing(why) => {
                say::note(&why);
                continue;
            }
        };
        let ended = one(life, &arguments.showing, &clock)?;
        if code == 0 {
            code = ended;
        }
        if ended == Outcome::Cancelled.exit_code() {
            break;
        }
    }
    Ok(code)
}

/// The life that a run file begins with: the next of a run that was cut off, if that is asked for, or the first.
pub fn start_of(loaded: Loaded, resume: bool, state: &State, clock: &SharedClock) -> Result<Life> {
    match unfinished(&loaded, state, clock)?.filter(|_| resume) {
        Some(found) => Life::next(as_it_is_now(found, &loaded)?, loaded, state, clock),
        None => {
            let plan = plan::plan(&loaded, &new_name(&loaded, clock)?, &|_| true)?;
            plan::machine::check(&loaded, &plan, state.folder())?;
            Life::first(loaded, plan, None, state, clock)
        }
    }
}

/// The latest run of a file that was cut off.
fn unfinished(loaded: &Loaded, state: &State, clock: &SharedClock) -> Result<Option<Found>> {
    for (path, _) in state.runs_of(&loaded.file)? {
        let found = Found::at(&path)?;
        if found.past().ended.is_none() {
            return Ok(Some(found));
        }
        found.tidy(state, clock)?;
    }
    Ok(None)
}

fn todo(loaded: Loaded, arguments: &RunArgs, state: &State, clock: &SharedClock) -> Result<Todo> {
    if arguments.resume
        && let Some(found) = unfinished(&loaded, state, clock)?
    {
        let found = as_it_is_now(found, &loaded)?;
        return Ok(Todo::Rest(Box::new((found, loaded))));
    }
    if arguments.resume {
        say_what_was_last(&loaded, arguments, state)?;
    }
    let mut fresh = plan::plan(&loaded, &new_name(&loaded, clock)?, &ask)?;
    plan::machine::check(&loaded, &fresh, state.folder())?;
    if !arguments.showing.json {
        fresh.notes.iter().for_each(|note| say::note(note));
    }
    if arguments.skip_done {
        let own = own_results(&fresh, state)?;
        let before = fresh.items.len();
        let done: BTreeSet<u32> = fresh
            .items
            .iter()
            .filter(|item| why(item, &fresh, &own, arguments.check_content).is_none())
            .map(|item| item.index)
            .collect();
        plan::keep(&mut fresh, |item| !done.contains(&item.index));
        let skipped = before - fresh.items.len();
        if fresh.items.is_empty() {
            let name = &loaded.settings.run.name;
            return Ok(Todo::Nothing(format!("{name}: nothing to do, all {skipped} inputs are done")));
        }
        if skipped > 0 && !arguments.showing.json {
            say::note(&format!("{}: {skipped} of {before} inputs are done and skipped", fresh.run));
        }
    }
    Ok(Todo::Fresh(Box::new((loaded, fresh))))
}

/// Says why `--resume` begins anew when a run of the file left something undone.
fn say_what_was_last(loaded: &Loaded, arguments: &RunArgs, state: &State) -> Result<()> {
    let Some((path, _)) = state.runs_of(&loaded.file)?.into_iter().next() else { return Ok(()) };
    let report = ReportFold::of(&Found::at(&path)?.events);
    let undone = report.tasks.total - report.tasks.succeeded;
    let word = match report.outcome {
        Some(Outcome::Cancelled) => "was cancelled",
        Some(Outcome::Deadline) => "was ended by a deadline",
        Some(Outcome::Infrastructure) => "was ended by an error of the service",
        Some(Outcome::Succeeded | Outcome::TasksFailed) | None => "is over",
    };
    if undone > 0 && !arguments.showing.json {
        let run = &report.run;
        let hint = match arguments.skip_done {
            true => String::new(),
            false => format!(" (`dropmill retry {run}` does only those)"),
        };
        say::note(&format!("{run} {word} with {undone} tasks undone: this is a new run{hint}"));
    }
    Ok(())
}

/// `dropmill resume`: goes on with a run as it was planned.
pub fn resume(run: &str, showing: &Showing, state: &State) -> Result<u8> {
    let found = Found::at(&state.find_run(run)?)?;
    let clock: SharedClock = Arc::new(WallClock);
    if let Some(outcome) = found.past().ended {
        found.tidy(state, &clock)?;
        let report = ReportFold::of(&found.events);
        if !showing.json {
            say::note(&format!(
                "{} is over: there is nothing to go on with; `dropmill retry` runs what failed",
                report.run
            ));
        }
        show(&report, &found.plan.output.directory, showing);
        return Ok(outcome.exit_code());
    }
    let loaded = found.load(environment())?;
    one(Life::next(found, loaded, state, &clock)?, showing, &clock)
}

/// `dropmill retry`: a new run of what did not succeed in another.
pub fn retry(run: &str, only_failed: bool, showing: &Showing, state: &State) -> Result<u8> {
    let found = Found::at(&state.find_run(run)?)?;
    let name = &found.header.run;
    if found.past().ended.is_none() {
        return Err(Mistake(format!("{name} is not over: `dropmill resume {name}` goes on with it")).into());
    }
    let report = ReportFold::of(&found.events);
    let verdicts: BTreeMap<_, _> =
        report.results.iter().map(|result| (result.task.as_str(), result.verdict)).collect();
    let wanted = |item: &Item| match verdicts.get(item.task.as_str()).copied().flatten() {
        Some(Verdict::Succeeded) => false,
        Some(Verdict::Failed) => true,
        Some(Verdict::Unfinished) | None => !only_failed,
    };
    let tried: BTreeMap<&str, &Item> =
        found.plan.items.iter().filter(|item| wanted(item)).map(|item| (&*item.relative, item)).collect();
    if tried.is_empty() {
        let unfinished = found.plan.items.len() as u64 - report.tasks.succeeded;
        say::note(&match unfinished {
            0 => format!("{name}: nothing to retry, every task succeeded"),
            _ => format!(
                "{name}: nothing failed, and {unfinished} are unfinished: `dropmill retry {name}` runs them"
            ),
        });
        return Ok(0);
    }
    let clock: SharedClock = Arc::new(WallClock);
    let loaded = found.load(environment())?;
    let mut fresh = plan::plan(&loaded, &new_name(&loaded, &clock)?, &ask)?;
    plan::machine::check(&loaded, &fresh, state.folder())?;
    plan::keep(&mut fresh, |item| tried.contains_key(item.relative.as_str()));
    let there: BTreeSet<&str> = fresh.items.iter().map(|item| item.relative.as_str()).collect();
    if let Some(missing) = tried.keys().find(|relative| !there.contains(*relative)) {
        let file = loaded.file.display();
        let told = format!("{missing} did not succeed in {name}, and {file} finds it no more: put it back");
        return Err(Mistake(told).into());
    }
    let past = found.past();
    for item in &mut fresh.items {
        let delivered = past.tasks.get(&item.task).and_then(|task| task.delivered.as_ref());
        let folder = report.results.iter().find(|result| result.task == item.task);
        if let (Some(files), Some(folder)) = (delivered, folder.and_then(|result| result.folder.clone())) {
            let files = files.iter().map(|file| (file.path.clone(), file.bytes, file.md5.clone())).collect();
            item.supersedes = Some(Superseded { folder, files });
        }
    }
    one(Life::first(loaded, fresh, None, state, &clock)?, showing, &clock)
}

fn new_name(loaded: &Loaded, clock: &SharedClock) -> Result<String> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(plan::run_name(&loaded.settings.run.name, clock.now(), &mut ChaCha8Rng::from_seed(bytes)))
}

/// The run with those settings of its file that may change between two lives; other changes are refused by name.
fn as_it_is_now(mut found: Found, loaded: &Loaded) -> Result<Found> {
    let then = &mut found.plan;
    let now = plan::plan(loaded, &then.run, &|_| true)?;
    let mut changed = vec![];
    if now.pool != then.pool || now.application != then.application {
        changed.push("the pool or the application");
    }
    if now.job != then.job {
        changed.push("the job or the tasks' outputs and limits");
    }
    if now.output != then.output {
        changed.push("the output");
    }
    let items: BTreeMap<&str, &Item> = now.items.iter().map(|item| (&*item.relative, item)).collect();
    let command = |item: &Item| (item.command_line.clone(), item.environment.clone());
    let other = |item: &&Item| items.get(&*item.relative).is_some_and(|now| command(now) != command(item));
    if now.items.len() == then.items.len() && then.items.iter().any(|item| other(&item)) {
        changed.push("the tasks' commands");
    }
    if !changed.is_empty() {
        let (run, file) = (&then.run, loaded.file.display());
        let told = format!(
            "{run} was cut off, and in {file} {} changed since: `dropmill resume {run}` goes on as it was planned, \
             `dropmill run {file}` starts anew",
            changed.join(", ")
        );
        return Err(Mistake(told).into());
    }
    let known: BTreeSet<&str> = then.items.iter().map(|item| item.relative.as_str()).collect();
    let more = now.items.iter().filter(|item| !known.contains(item.relative.as_str())).count();
    if more > 0 {
        say::note(&format!("{}: {more} inputs came since it began; they are for another run", then.run));
    }
    (then.deadlines, then.limits, then.delays) = (now.deadlines, now.limits, now.delays);
    Ok(found)
}

fn one(life: Life, showing: &Showing, clock: &SharedClock) -> Result<u8> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be started")
    };
    let output = life.plan.output.directory.clone();
    let report = actix::System::with_tokio_rt(runtime).block_on(async {
        let notifier = Notifier::begin(&life.loaded, clock, Outbox::in_memory)?;
        let report = carry_out(life, showing, clock).await?;
        if let Some(notifier) = notifier {
            notifier.tell(&notice_id(&[&report.run]), "run_ended", told(&report, &output));
            notifier.end().await;
        }
        anyhow::Ok(report)
    })?;
    show(&report, &output, showing);
    Ok(report.outcome.unwrap_or(Outcome::Infrastructure).exit_code())
}

async fn carry_out(life: Life, showing: &Showing, clock: &SharedClock) -> Result<Report> {
    let mut shown = Shown::new(showing.quiet || showing.json);
    life.earlier.iter().flatten().for_each(|event| shown.recall(event));
    if !showing.json && !showing.quiet {
        let again = if life.earlier.is_none() { "" } else { ", resumed" };
        say::note(&format!("{}: {} tasks{again}", life.plan.run, life.plan.items.len()));
    }
    let run = life.begin(clock)?;
    let events = run.events();
    let json = showing.json;
    let watching = actix::spawn(async move {
        let mut heard = true;
        while let Ok(event) = events.recv().await {
            if json && heard {
                // Somebody who stops reading does not stop the run.
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
            tracing::error!("signals cannot be heard: interrupting ends the program at once");
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
                // No task of ours outlives the program; what the service holds stays for later.
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
    } else {
        say::lines(report::lines(report, Some(output)));
    }
}

/// What listeners are told of a run: its report without a line for each task.
fn told(report: &Report, output: &Path) -> Value {
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
