//! Decides how a run starts: as a new run of its settings, with or without the inputs that are done; as the rest of an
//! interrupted run; or as a new run of the tasks that did not succeed in another.

use crate::{
    again::{Why, own_results, whys},
    error::{NothingToDo, UsageError},
    plan::{self, Ask, Depth, Examined},
    record::Record,
    services,
    session::RunSession,
    settings::{Loaded, Located, SlotCount},
    state::State,
    stored_run::{STANDARD_INPUT, StoredRun},
};
use anyhow::Result;
use dropmill_azure_wire::time::SharedClock;
use dropmill_journal::{
    event::{Outcome, Verdict},
    report::ReportFold,
};
use dropmill_lifecycle::plan::{Item, RunPlan, Superseded};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What a run of some settings does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// Resumes the latest run of the same settings, if it was interrupted.
    pub resume: bool,
    /// Leaves out inputs whose results exist.
    pub skip_done: bool,
    /// With `skip_done`: compares the content of results, not only their lengths.
    pub check_content: bool,
    /// Keeps only this many inputs, the first ones, after done inputs were left out.
    pub limit: Option<u32>,
}

/// A run that can be started.
pub enum Start {
    /// A new run.
    New(Box<(Loaded, RunPlan)>),
    /// The rest of an interrupted run.
    Rest(Box<(StoredRun, Loaded)>),
}

/// What the caller may want to know of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartNote {
    /// There was nothing to resume, and the latest run has tasks that did not succeed.
    LeftUndone {
        /// The name of the latest run.
        run: String,
        /// How it ended.
        ended: &'static str,
        /// How many of its tasks did not succeed.
        undone: u64,
        /// Whether the note suggests `retry`.
        hint: bool,
    },
    /// Something in the settings that may be a mistake.
    Warning(Located),
    /// A note of the plan about entries that match a pattern and are not inputs.
    Plan(String),
    /// Inputs that are done were left out.
    Skipped {
        /// The name of the run.
        run: String,
        /// How many were left out.
        skipped: usize,
        /// How many inputs there are.
        inputs: usize,
    },
    /// Inputs that appeared since the interrupted run was planned are not part of it.
    MoreInputs {
        /// The name of the run.
        run: String,
        /// Number of such inputs.
        count: usize,
    },
}

impl fmt::Display for StartNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftUndone { run, ended, undone, hint } => {
                write!(f, "{run} {ended} with {undone} tasks undone: this is a new run")?;
                match hint {
                    true => write!(f, " (`dropmill retry {run}` does only those)"),
                    false => Ok(()),
                }
            }
            Self::Warning(warning) => write!(f, "{}", warning.as_warning()),
            Self::Plan(note) => f.write_str(note),
            Self::Skipped { run, skipped, inputs } => {
                write!(f, "{run}: {skipped} of {inputs} inputs are done and skipped")
            }
            Self::MoreInputs { run, count } => {
                write!(f, "{run}: {count} inputs appeared after it was planned; they are not part of it")
            }
        }
    }
}

/// What a start needs from its caller.
pub struct StartContext<'a> {
    /// The state folder.
    pub state: &'a State,
    /// The clock that times come from.
    pub clock: &'a SharedClock,
    /// Answers whether something is deleted at the end (`cleanup.* = "ask"`).
    pub ask: Ask<'a>,
    /// Receives notes as they come up.
    pub note: &'a dyn Fn(StartNote),
}

impl Start {
    /// Prepares a run of settings.
    ///
    /// # Errors Fails if the settings have mistakes, or changed since the run that is to be resumed.
    /// [`NothingToDo`] if all inputs are done.
    pub fn of_settings(loaded: Loaded, choices: Choices, context: &StartContext<'_>) -> Result<Self> {
        if choices.resume {
            if let Some(stored) = unfinished(&loaded, context)? {
                let stored = follow_settings(stored, &loaded, context)?;
                return Ok(Self::Rest(Box::new((stored, loaded))));
            }
            note_last_run(&loaded, choices, context)?;
        }
        let mut plan = checked_plan(&loaded, context)?;
        plan.notes.iter().for_each(|note| (context.note)(StartNote::Plan(note.clone())));
        if choices.skip_done {
            skip_done(&mut plan, choices.check_content, context)?;
        }
        if let Some(limit) = choices.limit {
            plan::keep(&mut plan, |item| item.index < limit);
        }
        Ok(Self::New(Box::new((loaded, plan))))
    }

    /// Prepares the rest of an interrupted run, as it was planned.
    ///
    /// # Errors
    /// Fails if the run has ended.
    pub fn rest_of(stored: StoredRun, loaded: Loaded) -> Result<Self, UsageError> {
        match stored.past().ended {
            Some(_) => Err(UsageError::Ended { run: stored.header.run.clone() }),
            None => Ok(Self::Rest(Box::new((stored, loaded)))),
        }
    }

    /// Prepares a new run of the tasks that did not succeed in an ended run, with the settings as they are now. With
    /// `only_failed`, tasks that were not finished are left out.
    ///
    /// # Errors
    /// Fails if the run has not ended, the settings have mistakes, or an input is gone. [`NothingToDo`] if there is no such
    /// task.
    pub fn retry_of(
        stored: &StoredRun,
        only_failed: bool,
        load: impl FnOnce() -> Result<Loaded>,
        context: &StartContext<'_>,
    ) -> Result<Self> {
        let run = &stored.header.run;
        let past = stored.past();
        if past.ended.is_none() {
            return Err(UsageError::NotEnded { run: run.clone() }.into());
        }
        let report = ReportFold::of(&stored.events);
        let verdicts: BTreeMap<_, _> =
            report.results.iter().map(|result| (result.task.as_str(), result.verdict)).collect();
        let is_wanted = |item: &&Item| is_retried(verdicts.get(&*item.task).copied().flatten(), only_failed);
        let wanted: BTreeSet<&str> =
            stored.plan.items.iter().filter(is_wanted).map(|item| &*item.relative).collect();
        if wanted.is_empty() {
            let run = run.clone();
            let nothing = match stored.plan.items.len() as u64 - report.tasks.succeeded {
                0 => NothingToDo::AllSucceeded { run },
                unfinished => NothingToDo::NoneFailed { run, unfinished },
            };
            return Err(nothing.into());
        }
        let loaded = load()?;
        let mut plan = checked_plan(&loaded, context)?;
        plan::keep(&mut plan, |item| wanted.contains(&*item.relative));
        let found: BTreeSet<&str> = plan.items.iter().map(|item| &*item.relative).collect();
        if let Some(missing) = wanted.iter().find(|input| !found.contains(*input)) {
            let (input, run, settings) = ((*missing).to_owned(), run.clone(), loaded.shown());
            return Err(UsageError::InputGone { input, run, settings }.into());
        }
        for item in &mut plan.items {
            let delivered = past.tasks.get(&item.task).and_then(|task| task.delivered.as_ref());
            let result = report.results.iter().find(|result| result.task == item.task);
            if let (Some(files), Some(folder)) = (delivered, result.and_then(|result| result.folder.clone()))
            {
                let files =
                    files.iter().map(|file| (file.path.clone(), file.bytes, file.md5.clone())).collect();
                item.supersedes = Some(Superseded { folder, files });
            }
        }
        Ok(Self::New(Box::new((loaded, plan))))
    }

    /// Returns the plan of the run.
    pub fn plan(&self) -> &RunPlan {
        match self {
            Self::New(new) => &new.1,
            Self::Rest(rest) => &rest.0.plan,
        }
    }

    /// Opens the folder of the run. A new run can be recorded.
    ///
    /// # Errors
    /// Fails if the folder cannot be used, or another process works on the run.
    pub fn open(
        self,
        state: &State,
        clock: &SharedClock,
        record: impl FnOnce(&RunPlan) -> Result<Option<Record>>,
    ) -> Result<RunSession> {
        match self {
            Self::New(new) => {
                let (loaded, plan) = *new;
                services::check(&loaded.settings)?;
                let record = record(&plan)?;
                let mut session = RunSession::first(loaded, plan, None, state, clock)?;
                session.record = record;
                Ok(session)
            }
            Self::Rest(rest) => RunSession::next(rest.0, rest.1, state, clock),
        }
    }
}

/// Returns whether `retry` runs a task with this result again.
fn is_retried(verdict: Option<Verdict>, only_failed: bool) -> bool {
    match verdict {
        Some(Verdict::Succeeded) => false,
        Some(Verdict::Failed) => true,
        Some(Verdict::Unfinished) | None => !only_failed,
    }
}

/// Plans a new run, checks that this machine can carry it out, and notes what may be a mistake.
fn checked_plan(loaded: &Loaded, context: &StartContext<'_>) -> Result<RunPlan> {
    let name = plan::new_run_name(&loaded.settings.run.name, context.clock.now())?;
    let state = context.state.folder();
    let Examined { plan, warnings } = plan::examine(loaded, &name, context.ask, state, Depth::Run);
    let plan = plan?;
    warnings.into_iter().for_each(|warning| (context.note)(StartNote::Warning(warning)));
    Ok(plan)
}

/// Removes the items whose results exist.
fn skip_done(plan: &mut RunPlan, check_content: bool, context: &StartContext<'_>) -> Result<()> {
    let own = own_results(plan, context.state)?;
    let inputs = plan.items.len();
    let whys = whys(plan, &own, check_content);
    let is_done = |(_, why): &(&Item, Option<Why>)| why.is_none();
    let done: BTreeSet<u32> =
        plan.items.iter().zip(whys).filter(is_done).map(|(item, _)| item.index).collect();
    plan::keep(plan, |item| !done.contains(&item.index));
    if plan.items.is_empty() {
        return Err(NothingToDo::AllDone { name: plan.name.clone(), inputs }.into());
    }
    if !done.is_empty() {
        (context.note)(StartNote::Skipped { run: plan.run.clone(), skipped: done.len(), inputs });
    }
    Ok(())
}

/// Returns the latest interrupted run of the same settings.
fn unfinished(loaded: &Loaded, context: &StartContext<'_>) -> Result<Option<StoredRun>> {
    for (path, _) in context.state.runs_of(&loaded.identity()?)? {
        let stored = StoredRun::at(&path)?;
        if stored.past().ended.is_none() {
            return Ok(Some(stored));
        }
        stored.tidy(context.state, context.clock)?;
    }
    Ok(None)
}

/// Reports why a new run is started although `resume` was requested, if the latest run left something undone.
fn note_last_run(loaded: &Loaded, choices: Choices, context: &StartContext<'_>) -> Result<()> {
    let latest = context.state.runs_of(&loaded.identity()?)?.into_iter().next();
    let Some((path, _)) = latest else { return Ok(()) };
    let report = ReportFold::of(&StoredRun::at(&path)?.events);
    let undone = report.tasks.total - report.tasks.succeeded;
    let ended = match report.outcome {
        Some(Outcome::Cancelled) => "was cancelled",
        Some(Outcome::Deadline) => "was ended by a deadline",
        Some(Outcome::Infrastructure) => "was ended by an error of the service",
        Some(Outcome::Succeeded | Outcome::TasksFailed) | None => "is over",
    };
    if undone > 0 {
        (context.note)(StartNote::LeftUndone { run: report.run, ended, undone, hint: !choices.skip_done });
    }
    Ok(())
}

/// Applies those settings that may change when a run is resumed; reports all other changes as an error.
fn follow_settings(mut stored: StoredRun, loaded: &Loaded, context: &StartContext<'_>) -> Result<StoredRun> {
    if let Ok(list) = std::fs::read(stored.path.join(STANDARD_INPUT)) {
        loaded.set_standard_input(list);
    }
    let then = &mut stored.plan;
    let mut loaded = loaded.clone();
    if loaded.settings.pool.slots_per_node == SlotCount::Auto {
        // It was resolved when the run began, maybe with other processors.
        loaded.settings.pool.slots_per_node = SlotCount::Number(then.pool.slots_per_node);
    }
    let now = plan::plan(&loaded, &then.run, &|_| true)?;
    let changed = changes(then, &now);
    if !changed.is_empty() {
        let (run, settings) = (then.run.clone(), loaded.shown());
        return Err(UsageError::SettingsChanged { run, settings, changed }.into());
    }
    let known: BTreeSet<&str> = then.items.iter().map(|item| &*item.relative).collect();
    let count = now.items.iter().filter(|item| !known.contains(&*item.relative)).count();
    if count > 0 {
        (context.note)(StartNote::MoreInputs { run: then.run.clone(), count });
    }
    (then.deadlines, then.limits, then.delays) = (now.deadlines, now.limits, now.delays);
    Ok(stored)
}

/// Returns the changed settings that an interrupted run cannot apply.
fn changes(then: &RunPlan, now: &RunPlan) -> Vec<&'static str> {
    let items: BTreeMap<&str, &Item> = now.items.iter().map(|item| (&*item.relative, item)).collect();
    let command = |item: &Item| (item.command_line.clone(), item.environment.clone());
    let has_other = |item: &Item| items.get(&*item.relative).is_some_and(|now| command(now) != command(item));
    let table = [
        (now.pool != then.pool || now.application != then.application, "the pool or the application"),
        (now.job != then.job, "the job or the tasks' outputs and limits"),
        (now.output != then.output, "the output"),
        (now.items.len() == then.items.len() && then.items.iter().any(has_other), "the tasks' commands"),
        (now.grouping != then.grouping, "how inputs are grouped"),
    ];
    table.into_iter().filter(|(is_changed, _)| *is_changed).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Length, Settings, in_code};
    use dropmill_azure_wire::time::WallClock;
    use std::{cell::RefCell, sync::Arc, time::Duration};

    #[test]
    fn an_interrupted_run_made_in_code_is_resumed_unless_its_settings_changed() {
        let folder = tempfile::tempdir().unwrap();
        let data = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
        data("a.txt");
        let mut settings = Settings::default();
        settings.input.files = vec!["*.txt".into()];
        settings.task.command = Some(vec!["true".into()]);
        settings.pool.slots_per_node = SlotCount::Number(7);
        let state = State::at(Some(folder.path().join("state"))).unwrap();
        let clock: SharedClock = Arc::new(WallClock);
        let notes = RefCell::new(vec![]);
        let note = |note| notes.borrow_mut().push(note);
        let context = StartContext { state: &state, clock: &clock, ask: &|_| true, note: &note };
        let start = |settings: &Settings| {
            let loaded = in_code(settings, folder.path(), &[]).unwrap();
            Start::of_settings(loaded, Choices { resume: true, ..Choices::default() }, &context)
        };
        let first = start(&settings).unwrap();
        assert!(matches!(first, Start::New(_)));
        let run = first.plan().run.clone();
        // The process ends before the run does.
        drop(first.open(&state, &clock, |_| Ok(None)).unwrap());

        data("b.txt");
        settings.run.deadlines.upload = Length(Duration::from_secs(7));
        // As if the run had begun on a machine with another number of processors.
        settings.pool.slots_per_node = SlotCount::Auto;
        let rest = start(&settings).unwrap();
        assert!(matches!(rest, Start::Rest(_)));
        assert_eq!((&rest.plan().run, rest.plan().items.len()), (&run, 1));
        assert_eq!(rest.plan().deadlines.upload, Duration::from_secs(7));
        assert_eq!(rest.plan().pool.slots_per_node, 7);
        assert_eq!(notes.take(), [StartNote::MoreInputs { run: run.clone(), count: 1 }]);

        settings.pool.slots_per_node = SlotCount::Number(8);
        assert!(start(&settings).is_err(), "another number is a change");
        settings.pool.slots_per_node = SlotCount::Auto;

        settings.pool.nodes = 3;
        let error = start(&settings).err().unwrap().downcast::<UsageError>().unwrap();
        let changed = vec!["the pool or the application"];
        assert_eq!(
            error,
            UsageError::SettingsChanged { run: run.clone(), settings: "the settings of run".into(), changed }
        );

        // The state folder keeps the settings that the run was made with.
        let stored = StoredRun::find(&run, &state).unwrap();
        let loaded = stored.load(&["pool.nodes=4".into()], vec![]).unwrap();
        assert_eq!((loaded.file.clone(), loaded.settings.pool.nodes), (None, 4));
        assert_eq!(loaded.settings.input.files, ["*.txt"]);
        assert!(Start::rest_of(stored, loaded).unwrap().open(&state, &clock, |_| Ok(None)).is_ok());
    }

    #[test]
    fn retry_runs_what_did_not_succeed() {
        for (verdict, only_failed, expected) in [
            (Some(Verdict::Succeeded), false, false),
            (Some(Verdict::Failed), false, true),
            (Some(Verdict::Unfinished), false, true),
            (None, false, true),
            (Some(Verdict::Succeeded), true, false),
            (Some(Verdict::Failed), true, true),
            (Some(Verdict::Unfinished), true, false),
            (None, true, false),
        ] {
            assert_eq!(is_retried(verdict, only_failed), expected, "{verdict:?} {only_failed}");
        }
    }
}
