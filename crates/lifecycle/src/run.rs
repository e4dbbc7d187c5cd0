//! The state machine of the run: when it ends, why, and what must be done before.
//!
//! There is one way out. Whatever ends a run, its tasks are terminated, finished results are downloaded, and
//! the record is made durable. Only then are the resources deleted that cost money or are no longer needed.

use crate::{Elapsed, Failure, machine::Machine, plan::CleanupPlan, plan::When};
use std::time::Duration;

/// The state of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// The run has not started.
    Fresh,
    /// Tasks are created, run, and their results are downloaded.
    Working {
        /// Numbers of tasks by verdict so far.
        tally: Tally,
        /// End of the run's own deadline.
        until: Elapsed,
        /// End of the timeout without progress; `None` while there is nothing to do.
        stuck_at: Option<Elapsed>,
        /// Whether more tasks may be added: then the run does not end when all are closed.
        open_ended: bool,
    },
    /// Ending: tasks are terminated, results of finished ones are downloaded.
    Ending {
        /// Reason for the end.
        reason: EndReason,
        /// Numbers of tasks by verdict so far.
        tally: Tally,
        /// End of the timeout.
        until: Elapsed,
        /// Whether open tasks were given up: the actor that closes them may have crashed.
        abandoned: bool,
    },
    /// Every task is closed; the record becomes durable before anything is deleted.
    Settling {
        /// Reason for the end.
        reason: EndReason,
        /// Numbers of tasks by verdict.
        tally: Tally,
    },
    /// The run's resources are deleted, according to the policy.
    Cleaning {
        /// Reason for the end.
        reason: EndReason,
        /// Numbers of tasks by verdict.
        tally: Tally,
        /// Resources that are still being deleted.
        open: Open,
        /// End of the timeout.
        until: Elapsed,
    },
    /// The run has ended.
    Over,
}

/// The reason for the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Every task is closed.
    AllTasksClosed,
    /// A deadline passed.
    Deadline,
    /// The user cancelled the run.
    Cancelled,
    /// Pool, job or storage is not usable, or an actor crashed.
    Infrastructure,
}

/// The numbers of tasks by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tasks that are not closed yet, tasks for several inputs included.
    pub open: u32,
    /// Of the open ones, tasks for several inputs. Only their inputs are counted when they are closed.
    pub chunks: u32,
    /// Tasks that succeeded.
    pub succeeded: u32,
    /// Tasks that failed.
    pub failed: u32,
    /// Tasks that were not finished when the run ended.
    pub unfinished: u32,
    /// Tasks of all kinds with results that are still only at the service.
    pub undelivered: u32,
}

/// The resources that are still being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Whether the job is open.
    pub job: bool,
    /// Whether the pool is open.
    pub pool: bool,
    /// Whether the containers are open.
    pub containers: bool,
}

/// The final result of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The task succeeded.
    Succeeded,
    /// The task failed.
    Failed,
    /// The task was not finished when the run ended.
    Unfinished,
}

/// An event of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// It starts with this many tasks.
    Begun {
        /// Number of tasks.
        tasks: u32,
        /// Whether more may be added.
        open_ended: bool,
    },
    /// A new process resumes it.
    Resumed {
        /// Numbers of tasks by verdict so far.
        tally: Tally,
        /// Reason for the end, if it was ending.
        ending: Option<EndReason>,
        /// Whether more tasks may be added.
        open_ended: bool,
    },
    /// This many tasks were added.
    TasksAdded(u32),
    /// Some of its inputs are grouped: this is the number of tasks for several inputs.
    ChunksAdded(u32),
    /// A task for several inputs is closed; each of its inputs is closed too, or follows as a task of its own.
    ChunkClosed,
    /// No more tasks will be added.
    NoMoreTasks,
    /// There was progress: an upload, a task with a new state, a node that became ready.
    Progressed,
    /// A task was closed.
    TaskClosed {
        /// Final result of the task.
        closing: Closing,
        /// Whether its results are delivered, or it has none.
        delivered: bool,
    },
    /// A resource that the run needs is lost.
    Lost(Failure),
    /// An actor crashed: the run ends without it, and does not wait long for its work.
    ActorLost(Failure),
    /// A deadline of the pool passed.
    DeadlinePassed(Failure),
    /// The user wants it to end.
    CancelAsked(String),
    /// Every event so far is durable.
    Settled,
    /// The job is deleted or kept.
    JobDone,
    /// The pool is deleted or kept.
    PoolDone,
    /// The containers are deleted or kept.
    ContainersDone,
    /// Time has passed; `now` is the current time.
    TimePassed,
}

/// A command of the run's state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunCommand {
    /// Report that a deadline passed.
    ReportDeadline(&'static str),
    /// Report that the run ends, with the reason.
    ReportEnd {
        /// Reason for the end.
        reason: EndReason,
        /// Details in one line.
        detail: String,
    },
    /// Report that so many tasks failed that no more are started.
    ReportMaxFailures {
        /// Tasks that failed.
        failed: u32,
        /// The number at which no more are started.
        limit: u32,
    },
    /// Start no more tasks; those that run may end.
    HoldTasks,
    /// End every task.
    EndTasks {
        /// Reason for the service.
        reason: &'static str,
    },
    /// Stop waiting for tasks that do not end.
    AbandonTasks,
    /// Close the tasks that are still open.
    CloseTasks,
    /// Make the record durable, then send `Settled`.
    Settle,
    /// Delete (`true`) or keep (`false`) each resource.
    CleanUp(Open),
    /// Stop waiting for the deletion: report what is left.
    ReportLeft(Open),
    /// Record the end of the run.
    Finish {
        /// Reason for the end.
        reason: EndReason,
        /// Numbers of tasks by verdict.
        tally: Tally,
    },
}

/// The timeouts of a run, and its cleanup policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLimits {
    /// Deadline of the run.
    pub run: Duration,
    /// Longest time without progress.
    pub no_progress: Option<Duration>,
    /// Timeout from the end of the run until tasks that do not end are abandoned.
    pub ending: Duration,
    /// The same after a cancellation: from then, and from each task that ended since.
    pub cancelled: Duration,
    /// The same after a crash of an actor, or after tasks were abandoned.
    pub hurry: Duration,
    /// Timeout for the cleanup.
    pub cleanup: Duration,
    /// What to delete, and when.
    pub policy: CleanupPlan,
    /// Once so many tasks failed, no more are started.
    pub max_failures: Option<u32>,
}

/// A state, and the commands on entering it.
pub type Step = (RunState, Vec<RunCommand>);

/// The state machine of a run.
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
        // A run ends once; later problems are only recorded.
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

/// Returns the next state and the commands for `event` at `now`.
pub fn apply(state: RunState, event: RunEvent, now: Elapsed, limits: &RunLimits) -> Step {
    use {RunCommand as Do, RunEvent as On, RunState as Is};
    match (state, event) {
        (Is::Fresh, On::Begun { tasks, open_ended }) => {
            let tally = Tally { open: tasks, ..Tally::default() };
            work(tally, now + limits.run, open_ended, now, limits)
        }
        // Its deadline counts from its first process; the time between processes does not count.
        (Is::Fresh, On::Resumed { tally, ending: None, open_ended }) => {
            let nothing_failed = Tally { failed: 0, ..tally };
            let step = work(tally, Elapsed(0) + limits.run, open_ended, now, limits);
            holding(nothing_failed, tally, step, limits)
        }
        (Is::Fresh, On::Resumed { tally, ending: Some(reason), .. }) if tally.open == 0 => {
            (Is::Settling { reason, tally }, vec![Do::Settle])
        }
        (Is::Fresh, On::Resumed { tally, ending: Some(reason), .. }) => {
            let until = now + limits.patience(reason);
            let ending = Is::Ending { reason, tally, until, abandoned: false };
            (ending, vec![Do::EndTasks { reason: for_the_service(reason) }])
        }
        // Nothing was started, so only the wait ends.
        (Is::Fresh, On::CancelAsked(_) | On::Lost(_) | On::ActorLost(_)) => (Is::Fresh, vec![]),

        (Is::Working { tally, until, open_ended, .. }, On::TaskClosed { closing, delivered }) => {
            let next = tally.with(closing, delivered);
            holding(tally, next, work(next, until, open_ended, now, limits), limits)
        }
        (Is::Working { tally, until, open_ended, .. }, On::Progressed) => {
            work(tally, until, open_ended, now, limits)
        }
        (Is::Working { tally, until, open_ended, .. }, On::TasksAdded(count)) => {
            work(tally.more(count), until, open_ended, now, limits)
        }
        (Is::Working { tally, until, open_ended, .. }, On::ChunksAdded(count)) => {
            let tally = Tally { chunks: tally.chunks + count, ..tally.more(count) };
            work(tally, until, open_ended, now, limits)
        }
        (Is::Working { tally, until, open_ended, .. }, On::ChunkClosed) => {
            work(tally.without_chunk(), until, open_ended, now, limits)
        }
        (Is::Ending { reason, tally, until, abandoned }, On::ChunkClosed) => {
            let tally = tally.without_chunk();
            match tally.open {
                0 => (Is::Settling { reason, tally }, vec![Do::Settle]),
                _ => (Is::Ending { reason, tally, until, abandoned }, vec![]),
            }
        }
        (Is::Working { tally, until, .. }, On::NoMoreTasks) => work(tally, until, false, now, limits),
        // The monitor closes tasks that come too late.
        (Is::Ending { reason, tally, until, abandoned }, On::TasksAdded(count)) => {
            (Is::Ending { reason, tally: tally.more(count), until, abandoned }, vec![])
        }
        (Is::Working { tally, until, .. }, On::TimePassed) if now >= until => {
            let detail = format!("not finished within run.deadline ({:?})", limits.run);
            too_late("run", detail, tally, now, limits)
        }
        (Is::Working { tally, stuck_at: Some(stuck_at), .. }, On::TimePassed) if now >= stuck_at => {
            let detail = format!("no progress for {:?}", limits.no_progress.unwrap_or_default());
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
            // After a cancellation, the run waits only while results are still being downloaded.
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
            let open = tally.open.saturating_sub(tally.chunks);
            let tally = Tally {
                open: 0,
                chunks: 0,
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
            let reports =
                vec![Do::ReportDeadline("cleanup"), Do::ReportLeft(open), Do::Finish { reason, tally }];
            (Is::Over, reports)
        }

        // A run ends once; later problems are only recorded.
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
            | On::ChunksAdded(_)
            | On::ChunkClosed
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
        return all_closed(tally, limits);
    }
    let stuck_at = limits.no_progress.filter(|_| tally.open > 0).map(|quiet| now + quiet);
    (RunState::Working { tally, until, stuck_at, open_ended }, vec![])
}

/// Adds the commands that follow when so many tasks failed that no more are started.
fn holding(before: Tally, after: Tally, (state, mut commands): Step, limits: &RunLimits) -> Step {
    if let Some(limit) = limits.max_failures
        && after.open > 0
        && (before.failed < limit && after.failed >= limit)
    {
        let report = RunCommand::ReportMaxFailures { failed: after.failed, limit };
        commands.extend([report, RunCommand::HoldTasks]);
    }
    (state, commands)
}

fn all_closed(tally: Tally, limits: &RunLimits) -> Step {
    let reason = EndReason::AllTasksClosed;
    let detail = match limits.max_failures.filter(|limit| tally.failed >= *limit && tally.unfinished > 0) {
        Some(limit) => format!(
            "{} tasks failed, and run.max_failures is {limit}: {} tasks were not started",
            tally.failed, tally.unfinished
        ),
        None => "every task is closed".into(),
    };
    let report = RunCommand::ReportEnd { reason, detail };
    (RunState::Settling { reason, tally }, vec![report, RunCommand::Settle])
}

fn too_late(which: &'static str, detail: String, tally: Tally, now: Elapsed, limits: &RunLimits) -> Step {
    let (state, mut commands) = end(EndReason::Deadline, detail, tally, now, limits);
    commands.insert(0, RunCommand::ReportDeadline(which));
    (state, commands)
}

/// The only way out, so that every exit deletes what costs money.
fn end(reason: EndReason, detail: String, tally: Tally, now: Elapsed, limits: &RunLimits) -> Step {
    let reports = RunCommand::ReportEnd { reason, detail };
    if tally.open == 0 {
        return (RunState::Settling { reason, tally }, vec![reports, RunCommand::Settle]);
    }
    let commands = vec![reports, RunCommand::EndTasks { reason: for_the_service(reason) }];
    (RunState::Ending { reason, tally, until: now + limits.patience(reason), abandoned: false }, commands)
}

impl RunLimits {
    /// Returns how long tasks may take to end, and their results to be downloaded.
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

    fn without_chunk(self) -> Self {
        Self { open: self.open.saturating_sub(1), chunks: self.chunks.saturating_sub(1), ..self }
    }

    fn more(self, count: u32) -> Self {
        Self { open: self.open + count, ..self }
    }
}

impl RunState {
    /// Returns the time for the next `TimePassed`.
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
