//! The life of the whole run: when it ends, why, and what must be done before it is over.
//!
//! There is one way out. Whatever ends a run, its tasks are told to end, what finished is fetched,
//! the record is made durable, and only then is deleted what costs money or is not needed any more.

use crate::{Elapsed, Failure, machine::Machine, plan::CleanupPlan, plan::When};
use std::time::Duration;

/// Where the run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Not begun.
    Fresh,
    /// Tasks are made, run, and come home.
    Working {
        /// What became of the tasks so far.
        tally: Tally,
        /// End of the run's own deadline.
        until: Elapsed,
        /// When doing nothing has lasted too long; none while there is nothing to do.
        stuck_at: Option<Elapsed>,
        /// More tasks may come: that all are closed is no end.
        open_ended: bool,
    },
    /// Told to end: tasks end, results of those that finished come home.
    Ending {
        /// Why.
        reason: EndReason,
        /// What became of the tasks so far.
        tally: Tally,
        /// End of patience.
        until: Elapsed,
        /// Open tasks were given up: whoever should close them may be dead.
        abandoned: bool,
    },
    /// Every task is closed; the record becomes durable before anything is deleted.
    Settling {
        /// Why it ends.
        reason: EndReason,
        /// What became of the tasks.
        tally: Tally,
    },
    /// What the run made is deleted, as far as its policy says.
    Cleaning {
        /// Why it ends.
        reason: EndReason,
        /// What became of the tasks.
        tally: Tally,
        /// What is still being deleted.
        open: Open,
        /// End of patience.
        until: Elapsed,
    },
    /// It is over.
    Over,
}

/// Why a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Every task is closed.
    AllTasksClosed,
    /// A deadline passed.
    Deadline,
    /// Somebody asked.
    Cancelled,
    /// Pool, job or storage cannot be had, or an actor died.
    Infrastructure,
}

/// How many tasks became what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Not closed yet.
    pub open: u32,
    /// Succeeded.
    pub succeeded: u32,
    /// Failed.
    pub failed: u32,
    /// Not finished when the run ended.
    pub unfinished: u32,
    /// Of all, those with results that are still at the service only.
    pub undelivered: u32,
}

/// What is still being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The job.
    pub job: bool,
    /// The pool.
    pub pool: bool,
    /// The containers.
    pub containers: bool,
}

/// What became of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Succeeded.
    Succeeded,
    /// Failed.
    Failed,
    /// Not finished when the run ended.
    Unfinished,
}

/// What happened to the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// It begins, with so many tasks.
    Begun {
        /// Number of tasks.
        tasks: u32,
        /// More may come.
        open_ended: bool,
    },
    /// A later life goes on with it.
    Resumed {
        /// What became of the tasks so far.
        tally: Tally,
        /// It was told to end, and why.
        ending: Option<EndReason>,
        /// More tasks may come.
        open_ended: bool,
    },
    /// So many tasks came.
    TasksAdded(u32),
    /// No more will.
    NoMoreTasks,
    /// Something moved: a file came up, a task changed its state, a node became ready.
    Progressed,
    /// A task's last word.
    TaskClosed {
        /// What became of it.
        closing: Closing,
        /// Its results are home, or it has none.
        delivered: bool,
    },
    /// Something the run cannot do without is lost.
    Lost(Failure),
    /// An actor died: the run ends without it, and does not wait long for its work.
    ActorLost(Failure),
    /// A deadline of the pool passed.
    DeadlinePassed(Failure),
    /// Somebody wants it to end.
    CancelAsked(String),
    /// Every event so far is durable.
    Settled,
    /// The job is gone or left.
    JobDone,
    /// The pool is gone or left.
    PoolDone,
    /// The containers are gone or left.
    ContainersDone,
    /// Some time passed; how much, the moment tells.
    TimePassed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunCommand {
    /// Say that a deadline passed.
    ReportDeadline(&'static str),
    /// Say that the run ends, and why.
    ReportEnd {
        /// Why.
        reason: EndReason,
        /// In one line.
        detail: String,
    },
    /// Tell every task to end.
    EndTasks {
        /// Reason for the service.
        reason: &'static str,
    },
    /// Wait no longer for tasks that do not end.
    AbandonTasks,
    /// Close what is still open in the name of those who did not.
    CloseTasks,
    /// Make the record durable, then say `Settled`.
    Settle,
    /// Delete (true) or keep (false) each of them.
    CleanUp(Open),
    /// Wait no longer for what is still being deleted: say what is left.
    ReportLeft(Open),
    /// Say the last word.
    Finish {
        /// Why it ended.
        reason: EndReason,
        /// What became of the tasks.
        tally: Tally,
    },
}

/// How patient the run is, and what it deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLimits {
    /// The whole run until its end is asked.
    pub run: Duration,
    /// Nothing moved for so long.
    pub no_progress: Option<Duration>,
    /// From asking the end until tasks that do not end are abandoned.
    pub ending: Duration,
    /// The same when somebody asked for the end: from then, and from each task that ended since.
    pub cancelled: Duration,
    /// The same when an actor died, or when tasks were abandoned.
    pub hurry: Duration,
    /// Deleting.
    pub cleanup: Duration,
    /// What to delete, and when.
    pub policy: CleanupPlan,
}

/// A state and what to do on entering it.
pub type Step = (RunState, Vec<RunCommand>);

/// The machine of a run.
#[derive(Debug)]
pub struct Run;

impl Machine for Run {
    type State = RunState;
    type Event = RunEvent;
    type Command = RunCommand;
    type Limits = RunLimits;
    const NAME: &'static str = "run";

    fn apply(state: RunState, event: RunEvent, now: Elapsed, limits: &RunLimits) -> Step {
        apply(state, event, now, limits)
    }

    fn wakes_at(state: &RunState, _: &RunLimits) -> Option<Elapsed> {
        state.wakes_at()
    }

    fn time_passed() -> RunEvent {
        RunEvent::TimePassed
    }

    fn is_routine(event: &RunEvent) -> bool {
        // A run ends once; what goes wrong after that is in the record.
        matches!(
            event,
            RunEvent::TimePassed
                | RunEvent::Progressed
                | RunEvent::Lost(_)
                | RunEvent::ActorLost(_)
                | RunEvent::CancelAsked(_)
                | RunEvent::DeadlinePassed(_)
        )
    }
}

/// What follows from `event` at `now`.
pub fn apply(state: RunState, event: RunEvent, now: Elapsed, limits: &RunLimits) -> Step {
    use {RunCommand as Do, RunEvent as On, RunState as Is};
    match (state, event) {
        (Is::Fresh, On::Begun { tasks, open_ended }) => {
            let tally = Tally { open: tasks, ..Tally::default() };
            work(tally, now + limits.run, open_ended, now, limits)
        }
        // Its deadline counts from its first life; the time between lives does not count.
        (Is::Fresh, On::Resumed { tally, ending: None, open_ended }) => {
            work(tally, Elapsed(0) + limits.run, open_ended, now, limits)
        }
        (Is::Fresh, On::Resumed { tally, ending: Some(reason), .. }) if tally.open == 0 => {
            (Is::Settling { reason, tally }, vec![Do::Settle])
        }
        (Is::Fresh, On::Resumed { tally, ending: Some(reason), .. }) => {
            let until = now + limits.patience(reason);
            let ending = Is::Ending { reason, tally, until, abandoned: false };
            (ending, vec![Do::EndTasks { reason: for_the_service(reason) }])
        }
        // Nothing was begun: nothing is to be ended but the wait.
        (Is::Fresh, On::CancelAsked(_) | On::Lost(_) | On::ActorLost(_)) => (Is::Fresh, vec![]),

        (Is::Working { tally, until, open_ended, .. }, On::TaskClosed { closing, delivered }) => {
            work(tally.with(closing, delivered), until, open_ended, now, limits)
        }
        (Is::Working { tally, until, open_ended, .. }, On::Progressed) => {
            work(tally, until, open_ended, now, limits)
        }
        (Is::Working { tally, until, open_ended, .. }, On::TasksAdded(count)) => {
            work(tally.more(count), until, open_ended, now, limits)
        }
        (Is::Working { tally, until, .. }, On::NoMoreTasks) => work(tally, until, false, now, limits),
        // Whoever watches tasks closes those that come too late.
        (Is::Ending { reason, tally, until, abandoned }, On::TasksAdded(count)) => {
            (Is::Ending { reason, tally: tally.more(count), until, abandoned }, vec![])
        }
        (Is::Working { tally, until, .. }, On::TimePassed) if now >= until => {
            let detail = format!("not done within run.deadline ({:?})", limits.run);
            too_late("run", detail, tally, now, limits)
        }
        (Is::Working { tally, stuck_at: Some(stuck_at), .. }, On::TimePassed) if now >= stuck_at => {
            let detail = format!("nothing moved for {:?}", limits.no_progress.unwrap_or_default());
            too_late("no_progress", detail, tally, now, limits)
        }
        (Is::Working { tally, .. }, On::DeadlinePassed(failure)) => {
            end(EndReason::Deadline, failure.message, tally, now, limits)
        }
        (Is::Working { tally, .. }, On::Lost(failure)) => {
            end(EndReason::Infrastructure, failure.message, tally, now, limits)
        }
        (Is::Working { tally, .. }, On::ActorLost(failure)) => {
            let hurried = RunLimits { ending: limits.hurry, ..limits.clone() };
            end(EndReason::Infrastructure, failure.message, tally, now, &hurried)
        }
        (Is::Working { tally, .. }, On::CancelAsked(detail)) => {
            end(EndReason::Cancelled, detail, tally, now, limits)
        }

        (Is::Ending { reason, tally, until, abandoned }, On::TaskClosed { closing, delivered }) => {
            let tally = tally.with(closing, delivered);
            if tally.open == 0 {
                return (Is::Settling { reason, tally }, vec![Do::Settle]);
            }
            // Whoever asked for the end waits for what comes home, and not for what does not.
            let until = match (reason, abandoned) {
                (EndReason::Cancelled, false) => until.max(now + limits.patience(reason)),
                _ => until,
            };
            (Is::Ending { reason, tally, until, abandoned }, vec![])
        }
        (Is::Ending { reason, tally, until, abandoned }, On::ActorLost(_)) => {
            (Is::Ending { reason, tally, until: until.min(now + limits.hurry), abandoned }, vec![])
        }
        (Is::Ending { reason, tally, until, abandoned: false }, On::TimePassed) if now >= until => {
            let ending = Is::Ending { reason, tally, until: now + limits.hurry, abandoned: true };
            (ending, vec![Do::AbandonTasks])
        }
        (Is::Ending { reason, tally, until, abandoned: true }, On::TimePassed) if now >= until => {
            let open = tally.open;
            let tally = Tally {
                open: 0,
                unfinished: tally.unfinished + open,
                undelivered: tally.undelivered + open,
                ..tally
            };
            (Is::Settling { reason, tally }, vec![Do::CloseTasks, Do::Settle])
        }

        (Is::Settling { reason, tally }, On::Settled) => {
            let wanted = |when: When| match when {
                When::Always => true,
                When::Success => tally.failed == 0 && tally.unfinished == 0 && tally.undelivered == 0,
                When::Never => false,
            };
            let delete = Open {
                job: wanted(limits.policy.job),
                pool: wanted(limits.policy.pool),
                containers: wanted(limits.policy.containers) && tally.undelivered == 0,
            };
            let open = Open { job: true, pool: true, containers: true };
            (Is::Cleaning { reason, tally, open, until: now + limits.cleanup }, vec![Do::CleanUp(delete)])
        }
        (Is::Cleaning { reason, tally, open, until }, On::JobDone) => {
            cleaned(reason, tally, Open { job: false, ..open }, until)
        }
        (Is::Cleaning { reason, tally, open, until }, On::PoolDone) => {
            cleaned(reason, tally, Open { pool: false, ..open }, until)
        }
        (Is::Cleaning { reason, tally, open, until }, On::ContainersDone) => {
            cleaned(reason, tally, Open { containers: false, ..open }, until)
        }
        (Is::Cleaning { reason, tally, open, until }, On::TimePassed) if now >= until => {
            let told =
                vec![Do::ReportDeadline("cleanup"), Do::ReportLeft(open), Do::Finish { reason, tally }];
            (Is::Over, told)
        }

        // A run ends once; what else goes wrong on the way out is in the record.
        (
            state @ (Is::Ending { .. } | Is::Settling { .. } | Is::Cleaning { .. } | Is::Over),
            On::Lost(_) | On::ActorLost(_) | On::CancelAsked(_) | On::DeadlinePassed(_),
        ) => (state, vec![]),
        (state, On::TimePassed | On::Progressed) => (state, vec![]),
        (
            state,
            On::Begun { .. }
            | On::Resumed { .. }
            | On::TasksAdded(_)
            | On::NoMoreTasks
            | On::TaskClosed { .. }
            | On::DeadlinePassed(_)
            | On::Settled
            | On::JobDone
            | On::PoolDone
            | On::ContainersDone,
        ) => (state, vec![]),
    }
}

fn work(tally: Tally, until: Elapsed, open_ended: bool, now: Elapsed, limits: &RunLimits) -> Step {
    if tally.open == 0 && !open_ended {
        return all_closed(tally);
    }
    let stuck_at = limits.no_progress.filter(|_| tally.open > 0).map(|quiet| now + quiet);
    (RunState::Working { tally, until, stuck_at, open_ended }, vec![])
}

fn all_closed(tally: Tally) -> Step {
    let reason = EndReason::AllTasksClosed;
    let told = RunCommand::ReportEnd { reason, detail: "every task is closed".into() };
    (RunState::Settling { reason, tally }, vec![told, RunCommand::Settle])
}

fn too_late(which: &'static str, detail: String, tally: Tally, now: Elapsed, limits: &RunLimits) -> Step {
    let (state, mut commands) = end(EndReason::Deadline, detail, tally, now, limits);
    commands.insert(0, RunCommand::ReportDeadline(which));
    (state, commands)
}

/// The one way out, so that no exit forgets what costs money.
fn end(reason: EndReason, detail: String, tally: Tally, now: Elapsed, limits: &RunLimits) -> Step {
    let told = RunCommand::ReportEnd { reason, detail };
    if tally.open == 0 {
        return (RunState::Settling { reason, tally }, vec![told, RunCommand::Settle]);
    }
    let commands = vec![told, RunCommand::EndTasks { reason: for_the_service(reason) }];
    (RunState::Ending { reason, tally, until: now + limits.patience(reason), abandoned: false }, commands)
}

impl RunLimits {
    /// How long tasks may take to end, and their results to come home.
    fn patience(&self, reason: EndReason) -> Duration {
        match reason {
            EndReason::Cancelled => self.cancelled.min(self.ending),
            EndReason::AllTasksClosed | EndReason::Deadline | EndReason::Infrastructure => self.ending,
        }
    }
}

fn for_the_service(reason: EndReason) -> &'static str {
    match reason {
        EndReason::AllTasksClosed => "AllTasksClosed",
        EndReason::Deadline => "Deadline",
        EndReason::Cancelled => "Cancelled",
        EndReason::Infrastructure => "Infrastructure",
    }
}

fn cleaned(reason: EndReason, tally: Tally, open: Open, until: Elapsed) -> Step {
    if open.job || open.pool || open.containers {
        (RunState::Cleaning { reason, tally, open, until }, vec![])
    } else {
        (RunState::Over, vec![RunCommand::Finish { reason, tally }])
    }
}

impl Tally {
    fn with(mut self, closing: Closing, delivered: bool) -> Self {
        self.open = self.open.saturating_sub(1);
        match closing {
            Closing::Succeeded => self.succeeded += 1,
            Closing::Failed => self.failed += 1,
            Closing::Unfinished => self.unfinished += 1,
        }
        self.undelivered += u32::from(!delivered);
        self
    }

    fn more(self, count: u32) -> Self {
        Self { open: self.open + count, ..self }
    }
}

impl RunState {
    /// When to say `TimePassed`.
    pub fn wakes_at(&self) -> Option<Elapsed> {
        match self {
            Self::Working { until, stuck_at, .. } => {
                Some(stuck_at.map_or(*until, |stuck_at| stuck_at.min(*until)))
            }
            Self::Ending { until, .. } | Self::Cleaning { until, .. } => Some(*until),
            Self::Fresh | Self::Settling { .. } | Self::Over => None,
        }
    }
}
