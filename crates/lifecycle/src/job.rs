//! The state machine of a job, as pure decisions.
//!
//! An active job counts against the account's quota for ever. So once all tasks are added, it is set to end
//! after the last of them ("sealed"): then a crashed client leaves no active job. It must not be sealed
//! earlier, because a job without tasks would end at once.

use crate::{Code, Elapsed, Failure, FailureKind, delays::Delays, machine::Machine};
use std::time::Duration;

/// The state of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// The job is not requested yet.
    Absent,
    /// Not requested by this process; a previous one may have created it.
    Recovered,
    /// Its creation was requested.
    Creating {
        /// Number of this attempt, from 1.
        attempt: u32,
        /// Whether an earlier attempt may have been carried out, because its response was lost.
        maybe_applied: bool,
    },
    /// Waiting to retry after a transient failure.
    Resting {
        /// Number of the attempt that failed.
        attempt: u32,
        /// Whether an attempt may have been carried out, because its response was lost.
        maybe_applied: bool,
        /// Time of the next attempt.
        again_at: Elapsed,
    },
    /// It accepts tasks.
    Open,
    /// All tasks are added; it is being set to end after the last of them.
    Sealing {
        /// Number of this attempt, from 1.
        attempt: u32,
        /// Time of the next attempt; `None` while a request is in flight.
        again_at: Option<Elapsed>,
    },
    /// It ends on its own after its last task.
    Sealed,
    /// A request to start no more tasks is being made; running tasks go on.
    Holding {
        /// Number of this try, from 1.
        attempt: u32,
        /// When to try again; none while a call is on its way.
        again_at: Option<Elapsed>,
    },
    /// It starts no more tasks, and accepts none.
    Held,
    /// It was never created: the service rejected it, or the run ended first. There is nothing to delete.
    NeverCreated,
    /// Not usable, and the run was notified; it may exist all the same.
    Lost,
    /// It is being terminated.
    Terminating {
        /// Reason for the service.
        reason: String,
        /// Number of this attempt, from 1.
        attempt: u32,
        /// Time of the next attempt; `None` while a request is in flight.
        again_at: Option<Elapsed>,
        /// End of the timeout.
        until: Elapsed,
        /// Whether it is kept: after the termination, nothing more is requested.
        kept: bool,
    },
    /// Its termination was requested.
    Terminated,
    /// Its deletion was requested; the service may list it for a while.
    Deleting {
        /// Number of polls since then, which determines the interval.
        looks: u32,
        /// Time of the next poll or request.
        again_at: Elapsed,
        /// End of the timeout.
        until: Elapsed,
    },
    /// Deleted, or never created.
    Gone,
    /// Kept by policy, or because it could not be deleted.
    Left,
}

/// An event of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// The pool is created: the job can name it.
    Wanted,
    /// It was created, or existed already and belongs to this run.
    Created,
    /// The creation failed.
    CreateFailed(Failure),
    /// The last task was accepted.
    AllTasksIn,
    /// It will end on its own.
    SealSucceeded,
    /// The request to seal the job failed.
    SealFailed(Failure),
    /// No more tasks shall start; those that run may go on.
    HoldAsked,
    /// It starts no more tasks.
    HoldSucceeded,
    /// The request to start no more tasks failed.
    HoldFailed(Failure),
    /// The run ends before its tasks.
    TerminateAsked(String),
    /// It was terminated, or had ended.
    TerminateSucceeded,
    /// The termination failed.
    TerminateFailed(Failure),
    /// The run no longer needs it.
    EndAsked,
    /// The run no longer needs it, but keeps it.
    Released,
    /// A poll found it.
    SeenThere,
    /// A poll found no such job.
    FoundMissing,
    /// It has ended, and accepts none of the missing tasks.
    FoundEnded(Failure),
    /// The deletion failed.
    DeleteFailed(Failure),
    /// Time has passed; `now` is the current time.
    TimePassed,
}

/// A command of the job's state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobCommand {
    /// Create the job.
    Create,
    /// Set it to end after its last task.
    Seal,
    /// Request that it starts no more tasks.
    Hold,
    /// Terminate it now, with this reason.
    Terminate(String),
    /// Delete the job.
    Delete,
    /// Poll whether it still exists.
    Look,
    /// Report that it accepts tasks.
    ReportOpen,
    /// Report a failed request and the delay before the next attempt.
    ReportDelay {
        /// Name of the operation.
        what: &'static str,
        /// Number of the attempt that failed.
        attempt: u32,
        /// Length of the delay.
        rest: Duration,
        /// Reason of the failure.
        failure: Failure,
    },
    /// Report that it is not usable.
    ReportLost(Failure),
    /// Report that it starts no more tasks.
    ReportHeld,
    /// Report that its termination was requested.
    ReportTerminated,
    /// Report that it is deleted.
    ReportGone,
    /// Report that it was kept, with the reason.
    ReportLeft(String),
}

/// The timeouts and intervals of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLimits {
    /// Timeout from the request to terminate or delete until it is done.
    pub ending: Duration,
    /// Shortest interval between two polls.
    pub look_every: Duration,
    /// Longest interval between two polls.
    pub watch_every: Duration,
    /// Delays between attempts.
    pub delays: Delays,
}

/// A state, and the commands on entering it.
pub type Step = (JobState, Vec<JobCommand>);

/// The state machine of a job.
#[derive(Debug)]
pub struct Job;

impl Machine for Job {
    type State = JobState;
    type Event = JobEvent;
    type Command = JobCommand;
    type Limits = JobLimits;
    const NAME: &'static str = "job";

    fn apply(state: JobState, event: JobEvent, now: Elapsed, limits: &JobLimits) -> Step {
        apply(state, event, now, limits)
    }

    fn wakes_at(state: &JobState, _: &JobLimits) -> Option<Elapsed> {
        state.wakes_at()
    }

    fn time_passed() -> JobEvent {
        JobEvent::TimePassed
    }

    fn is_routine(event: &JobEvent) -> bool {
        matches!(
            event,
            JobEvent::TimePassed
                | JobEvent::SeenThere
                | JobEvent::FoundMissing
                | JobEvent::FoundEnded(_)
                | JobEvent::AllTasksIn
        )
    }
}

/// Returns the next state and the commands for `event` at `now`.
pub fn apply(state: JobState, event: JobEvent, now: Elapsed, limits: &JobLimits) -> Step {
    use {JobCommand as Do, JobEvent as On, JobState as Is};
    match (state, event) {
        (Is::Absent, On::Wanted) => (Is::Creating { attempt: 1, maybe_applied: false }, vec![Do::Create]),
        (Is::Recovered, On::Wanted) => (Is::Creating { attempt: 1, maybe_applied: true }, vec![Do::Create]),
        (Is::Creating { .. }, On::Created) => (Is::Open, vec![Do::ReportOpen]),
        (Is::Creating { attempt, maybe_applied }, On::CreateFailed(failure)) => {
            let maybe_applied = maybe_applied || failure.kind == FailureKind::Ambiguous;
            match limits.delays.after_failure(attempt, &failure) {
                Some(rest) => (
                    Is::Resting { attempt, maybe_applied, again_at: now + rest },
                    vec![Do::ReportDelay { what: "create job", attempt, rest, failure }],
                ),
                None if maybe_applied => (Is::Lost, vec![Do::ReportLost(failure)]),
                None => (Is::NeverCreated, vec![Do::ReportLost(failure)]),
            }
        }
        (Is::Resting { attempt, maybe_applied, again_at }, On::TimePassed) if now >= again_at => {
            (Is::Creating { attempt: attempt + 1, maybe_applied }, vec![Do::Create])
        }

        (Is::Open | Is::Sealing { .. } | Is::Sealed | Is::Holding { .. } | Is::Held, On::FoundMissing) => {
            let failure = Failure::permanent(Code::JobNotFound, "the job was deleted by another client");
            (Is::Lost, vec![Do::ReportLost(failure)])
        }

        (Is::Open | Is::Sealing { .. } | Is::Sealed, On::FoundEnded(failure)) => {
            (Is::Lost, vec![Do::ReportLost(failure)])
        }

        (Is::Open, On::AllTasksIn) => (Is::Sealing { attempt: 1, again_at: None }, vec![Do::Seal]),
        (Is::Sealing { .. }, On::SealSucceeded) => (Is::Sealed, vec![]),
        (Is::Sealing { attempt, .. }, On::SealFailed(failure)) => {
            match limits.delays.after_failure(attempt, &failure) {
                Some(rest) => (
                    Is::Sealing { attempt, again_at: Some(now + rest) },
                    vec![Do::ReportDelay { what: "seal job", attempt, rest, failure }],
                ),
                // Only a crash of the client would leave the job active; otherwise this process ends it.
                None => (Is::Open, vec![]),
            }
        }
        (Is::Sealing { attempt, again_at: Some(again_at) }, On::TimePassed) if now >= again_at => {
            (Is::Sealing { attempt: attempt + 1, again_at: None }, vec![Do::Seal])
        }

        // A call that creates it, and may still be on its way, comes first: calls about a job take turns.
        (
            Is::Recovered
            | Is::Creating { .. }
            | Is::Resting { maybe_applied: true, .. }
            | Is::Open
            | Is::Sealing { .. }
            | Is::Sealed,
            On::HoldAsked,
        ) => (Is::Holding { attempt: 1, again_at: None }, vec![Do::Hold]),
        // Without a job there is nothing that could start.
        (Is::Absent | Is::Resting { maybe_applied: false, .. }, On::HoldAsked) => {
            (Is::NeverCreated, vec![Do::ReportHeld])
        }
        (Is::NeverCreated, On::HoldAsked) => (Is::NeverCreated, vec![Do::ReportHeld]),
        (Is::Holding { .. }, On::HoldSucceeded) => (Is::Held, vec![Do::ReportHeld]),
        (Is::Holding { attempt, .. }, On::HoldFailed(failure)) => {
            match limits.delays.after_failure(attempt, &failure) {
                Some(rest) => (
                    Is::Holding { attempt, again_at: Some(now + rest) },
                    vec![Do::ReportDelay { what: "disable job", attempt, rest, failure }],
                ),
                None => (Is::Lost, vec![Do::ReportLost(failure)]),
            }
        }
        (Is::Holding { attempt, again_at: Some(again_at) }, On::TimePassed) if now >= again_at => {
            (Is::Holding { attempt: attempt + 1, again_at: None }, vec![Do::Hold])
        }

        (
            Is::Recovered
            | Is::Open
            | Is::Sealing { .. }
            | Is::Sealed
            | Is::Holding { .. }
            | Is::Held
            | Is::Creating { .. },
            On::TerminateAsked(reason),
        ) => terminate(reason, false, now, limits),
        (Is::Absent | Is::NeverCreated | Is::Resting { maybe_applied: false, .. }, On::TerminateAsked(_)) => {
            (Is::NeverCreated, vec![Do::ReportTerminated])
        }
        (Is::Resting { .. } | Is::Lost, On::TerminateAsked(_)) => {
            (Is::Terminated, vec![Do::ReportTerminated])
        }
        (Is::Terminating { kept: true, .. }, On::TerminateSucceeded) => keep(""),
        (Is::Terminating { kept: false, .. }, On::TerminateSucceeded) => {
            (Is::Terminated, vec![Do::ReportTerminated])
        }
        (Is::Terminating { reason, attempt, until, kept, .. }, On::TerminateFailed(failure)) => {
            match limits.delays.after_failure(attempt, &failure) {
                Some(rest) if now + rest < until => {
                    let again_at = Some(now + rest);
                    let reports = Do::ReportDelay { what: "terminate job", attempt, rest, failure };
                    (Is::Terminating { reason, attempt, again_at, until, kept }, vec![reports])
                }
                _ if kept => keep(&format!("; it could not be terminated: {}", failure.message)),
                // The deletion, which follows, ends its tasks as well.
                _ => (Is::Terminated, vec![Do::ReportTerminated]),
            }
        }
        (Is::Terminating { reason, attempt, again_at: Some(again_at), until, kept }, On::TimePassed)
            if now >= again_at =>
        {
            let command = Do::Terminate(reason.clone());
            (Is::Terminating { reason, attempt: attempt + 1, again_at: None, until, kept }, vec![command])
        }

        (
            Is::Absent | Is::NeverCreated | Is::Resting { maybe_applied: false, .. },
            On::EndAsked | On::Released,
        ) => (Is::Gone, vec![Do::ReportGone]),
        (
            Is::Recovered
            | Is::Creating { .. }
            | Is::Resting { .. }
            | Is::Open
            | Is::Sealing { .. }
            | Is::Sealed
            | Is::Holding { .. }
            | Is::Held
            | Is::Lost
            | Is::Terminating { .. }
            | Is::Terminated,
            On::EndAsked,
        ) => {
            let (again_at, until) = (now + limits.look_every, now + limits.ending);
            (Is::Deleting { looks: 0, again_at, until }, vec![Do::Delete])
        }
        (Is::Deleting { .. }, On::FoundMissing) => (Is::Gone, vec![Do::ReportGone]),
        (Is::Deleting { until, .. }, On::TimePassed) if now >= until => {
            let why = format!("not deleted within {:?}; the service was asked to delete it", limits.ending);
            (Is::Left, vec![Do::ReportLeft(why)])
        }
        (Is::Deleting { looks, again_at, until }, On::TimePassed) if now >= again_at => {
            let rest = (limits.look_every * 2u32.saturating_pow(looks.min(16))).min(limits.watch_every);
            let looks = looks + 1;
            // Every eighth turn sends the request again, as for a pool: a lost request must be repeated.
            let command = if looks.is_multiple_of(8) { Do::Delete } else { Do::Look };
            (Is::Deleting { looks, again_at: now + rest, until }, vec![command])
        }
        (Is::Deleting { looks, until, .. }, On::DeleteFailed(failure)) => match failure.kind {
            FailureKind::Permanent => (Is::Left, vec![Do::ReportLeft(failure.message)]),
            FailureKind::Transient | FailureKind::Ambiguous => {
                let rest = limits.delays.after(looks + 1, failure.retry_after).unwrap_or(limits.watch_every);
                // To the next turn that sends a request.
                (Is::Deleting { looks: looks | 7, again_at: now + rest, until }, vec![])
            }
        },
        // It is kept, but not active: its tasks would continue without a client, and it would count against
        // the quota.
        (
            Is::Recovered
            | Is::Creating { .. }
            | Is::Resting { .. }
            | Is::Open
            | Is::Sealing { .. }
            | Is::Holding { .. }
            | Is::Held
            | Is::Lost,
            On::Released,
        ) => terminate("RunEnded".into(), true, now, limits),
        (Is::Terminating { reason, attempt, again_at, until, .. }, On::Released) => {
            (Is::Terminating { reason, attempt, again_at, until, kept: true }, vec![])
        }
        (Is::Sealed | Is::Terminated, On::Released) => keep(""),

        // Time passes and polls return in every state, usually without news.
        (state, On::TimePassed | On::SeenThere | On::FoundMissing | On::FoundEnded(_)) => (state, vec![]),
        // Responses to requests before another request, and repeated requests.
        (
            state,
            On::Created
            | On::CreateFailed(_)
            | On::SealSucceeded
            | On::SealFailed(_)
            | On::HoldSucceeded
            | On::HoldFailed(_)
            | On::TerminateSucceeded
            | On::TerminateFailed(_)
            | On::DeleteFailed(_),
        ) => (state, vec![]),
        (
            state,
            On::Wanted | On::AllTasksIn | On::HoldAsked | On::TerminateAsked(_) | On::EndAsked | On::Released,
        ) => (state, vec![]),
    }
}

fn terminate(reason: String, kept: bool, now: Elapsed, limits: &JobLimits) -> Step {
    let until = now + limits.ending;
    let command = JobCommand::Terminate(reason.clone());
    (JobState::Terminating { reason, attempt: 1, again_at: None, until, kept }, vec![command])
}

fn keep(but: &str) -> Step {
    (JobState::Left, vec![JobCommand::ReportLeft(format!("kept, as cleanup.job says{but}"))])
}

impl JobState {
    /// Returns the time for the next `TimePassed`.
    pub fn wakes_at(&self) -> Option<Elapsed> {
        match self {
            Self::Resting { again_at, .. } => Some(*again_at),
            Self::Sealing { again_at, .. } | Self::Holding { again_at, .. } => *again_at,
            Self::Terminating { again_at, .. } => *again_at,
            Self::Deleting { again_at, until, .. } => Some(*again_at.min(until)),
            Self::Absent
            | Self::Recovered
            | Self::NeverCreated
            | Self::Creating { .. }
            | Self::Open
            | Self::Sealed
            | Self::Held
            | Self::Lost
            | Self::Terminated
            | Self::Gone
            | Self::Left => None,
        }
    }

    /// Returns whether tasks can be added now. A sealed job accepts them until its last one has ended: a task
    /// that vanished may be added again.
    pub fn takes_tasks(&self) -> bool {
        matches!(self, Self::Open | Self::Sealing { .. } | Self::Sealed)
    }
}
