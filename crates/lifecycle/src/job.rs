//! The life of one job, decided without doing anything.
//!
//! A job that is left active counts against the account's quota for ever, so once all tasks are in
//! it is told to end itself after the last of them ("sealed"): a dead client leaves no open job. It
//! must not be told earlier, because a job without tasks counts as finished.

use crate::{Code, Elapsed, Failure, FailureKind, delays::Delays, machine::Machine};
use std::time::Duration;

/// Where the job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Not asked for.
    Absent,
    /// Not asked for in this life of the run; an earlier one may have made it.
    Recovered,
    /// Being asked for.
    Creating {
        /// Number of this try, from 1.
        attempt: u32,
        /// An earlier try may have been carried out, its answer lost.
        maybe_applied: bool,
    },
    /// Told "later".
    Resting {
        /// Number of the try that failed.
        attempt: u32,
        /// A try may have been carried out, its answer lost.
        maybe_applied: bool,
        /// When to try again.
        again_at: Elapsed,
    },
    /// Takes tasks.
    Open,
    /// All tasks are in; it is being told to end after the last of them.
    Sealing {
        /// Number of this try, from 1.
        attempt: u32,
        /// When to try again; none while a call is on its way.
        again_at: Option<Elapsed>,
    },
    /// Ends by itself after its last task.
    Sealed,
    /// It was never made: the service refused it, or the end came first. Nothing is there to be deleted.
    NeverCreated,
    /// It cannot be had, the run was told; it may be there all the same.
    Lost,
    /// Being told to end its tasks.
    Terminating {
        /// Reason for the service.
        reason: String,
        /// Number of this try, from 1.
        attempt: u32,
        /// When to try again; none while a call is on its way.
        again_at: Option<Elapsed>,
        /// End of patience.
        until: Elapsed,
        /// It shall stay: once it was told, nothing more is asked of it.
        kept: bool,
    },
    /// Its tasks were told to end.
    Terminated,
    /// Told to go; the service may keep listing it for a while.
    Deleting {
        /// Number of looks since, which spreads them.
        looks: u32,
        /// When to look, or ask, again.
        again_at: Elapsed,
        /// End of patience.
        until: Elapsed,
    },
    /// It is gone, or was never made.
    Gone,
    /// It stands, by policy or because it could not be deleted.
    Left,
}

/// What happened to the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// The pool is made: the job may name it.
    Wanted,
    /// It is made, or was there already and is ours.
    Created,
    /// Making it failed.
    CreateFailed(Failure),
    /// The last task was accepted.
    AllTasksIn,
    /// It will end itself.
    SealSucceeded,
    /// Telling it so failed.
    SealFailed(Failure),
    /// The run ends before its tasks did.
    TerminateAsked(String),
    /// It was told to end, or had ended.
    TerminateSucceeded,
    /// Telling it so failed.
    TerminateFailed(Failure),
    /// The run needs it no more.
    EndAsked,
    /// The run needs it no more, but it shall stay.
    Released,
    /// A look found it, still there.
    SeenThere,
    /// A look found no such job.
    FoundMissing,
    /// It has ended, and takes none of the tasks that it lacks.
    FoundEnded(Failure),
    /// Deleting failed.
    DeleteFailed(Failure),
    /// Some time passed; how much, the moment tells.
    TimePassed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobCommand {
    /// Ask for the job.
    Create,
    /// Tell it to end after its last task.
    Seal,
    /// Tell it to end now, with this reason.
    Terminate(String),
    /// Ask for its deletion.
    Delete,
    /// Look whether it is still there.
    Look,
    /// Say that it takes tasks.
    ReportOpen,
    /// Say that a call failed and how long the rest is.
    ReportDelay {
        /// What was tried.
        what: &'static str,
        /// Number of the try that failed.
        attempt: u32,
        /// Length of the rest.
        rest: Duration,
        /// Why.
        failure: Failure,
    },
    /// Say that it cannot be had.
    ReportLost(Failure),
    /// Say that its tasks were told to end.
    ReportTerminated,
    /// Say that it is gone.
    ReportGone,
    /// Say that it was left standing, and why.
    ReportLeft(String),
}

/// How patient the submitter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLimits {
    /// From the request to terminate or delete until it is done.
    pub ending: Duration,
    /// Shortest time between two looks.
    pub look_every: Duration,
    /// Longest time between two looks.
    pub watch_every: Duration,
    /// Rests between tries.
    pub delays: Delays,
}

/// A state and what to do on entering it.
pub type Step = (JobState, Vec<JobCommand>);

/// The machine of a job.
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

/// What follows from `event` at `now`.
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

        (Is::Open | Is::Sealing { .. } | Is::Sealed, On::FoundMissing) => {
            let failure = Failure::permanent(Code::JobNotFound, "the job was deleted by somebody else");
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
                // Only a client that dies now would leave the job open; this one ends it itself.
                None => (Is::Open, vec![]),
            }
        }
        (Is::Sealing { attempt, again_at: Some(again_at) }, On::TimePassed) if now >= again_at => {
            (Is::Sealing { attempt: attempt + 1, again_at: None }, vec![Do::Seal])
        }

        (
            Is::Recovered | Is::Open | Is::Sealing { .. } | Is::Sealed | Is::Creating { .. },
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
                    let told = Do::ReportDelay { what: "terminate job", attempt, rest, failure };
                    (Is::Terminating { reason, attempt, again_at, until, kept }, vec![told])
                }
                _ if kept => keep(&format!("; it was not told to end: {}", failure.message)),
                // Deleting it, which comes next, ends its tasks as well.
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
            let why = format!("not gone within {:?}; the service was told to delete it", limits.ending);
            (Is::Left, vec![Do::ReportLeft(why)])
        }
        (Is::Deleting { looks, again_at, until }, On::TimePassed) if now >= again_at => {
            let rest = (limits.look_every * 2u32.saturating_pow(looks.min(16))).min(limits.watch_every);
            let looks = looks + 1;
            // Each eighth turn asks again, as for a pool: a request that was lost must be repeated.
            let command = if looks.is_multiple_of(8) { Do::Delete } else { Do::Look };
            (Is::Deleting { looks, again_at: now + rest, until }, vec![command])
        }
        (Is::Deleting { looks, until, .. }, On::DeleteFailed(failure)) => match failure.kind {
            FailureKind::Permanent => (Is::Left, vec![Do::ReportLeft(failure.message)]),
            FailureKind::Transient | FailureKind::Ambiguous => {
                let rest = limits.delays.after(looks + 1, failure.retry_after).unwrap_or(limits.watch_every);
                // To the next turn that asks again.
                (Is::Deleting { looks: looks | 7, again_at: now + rest, until }, vec![])
            }
        },
        // It stays, but not open: tasks that nobody waits for would go on, and it would count against the quota.
        (
            Is::Recovered
            | Is::Creating { .. }
            | Is::Resting { .. }
            | Is::Open
            | Is::Sealing { .. }
            | Is::Lost,
            On::Released,
        ) => terminate("RunEnded".into(), true, now, limits),
        (Is::Terminating { reason, attempt, again_at, until, .. }, On::Released) => {
            (Is::Terminating { reason, attempt, again_at, until, kept: true }, vec![])
        }
        (Is::Sealed | Is::Terminated, On::Released) => keep(""),

        // Clocks tick and looks answer in every state; mostly that is no news.
        (state, On::TimePassed | On::SeenThere | On::FoundMissing | On::FoundEnded(_)) => (state, vec![]),
        // Answers to requests made before something else was asked, and requests repeated.
        (
            state,
            On::Created
            | On::CreateFailed(_)
            | On::SealSucceeded
            | On::SealFailed(_)
            | On::TerminateSucceeded
            | On::TerminateFailed(_)
            | On::DeleteFailed(_),
        ) => (state, vec![]),
        (state, On::Wanted | On::AllTasksIn | On::TerminateAsked(_) | On::EndAsked | On::Released) => {
            (state, vec![])
        }
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
    /// When to say `TimePassed`.
    pub fn wakes_at(&self) -> Option<Elapsed> {
        match self {
            Self::Resting { again_at, .. } => Some(*again_at),
            Self::Sealing { again_at, .. } => *again_at,
            Self::Terminating { again_at, .. } => *again_at,
            Self::Deleting { again_at, until, .. } => Some(*again_at.min(until)),
            Self::Absent
            | Self::Recovered
            | Self::NeverCreated
            | Self::Creating { .. }
            | Self::Open
            | Self::Sealed
            | Self::Lost
            | Self::Terminated
            | Self::Gone
            | Self::Left => None,
        }
    }

    /// Whether tasks may be added now. A sealed job takes them until its last one is over: one that vanished may
    /// still come back.
    pub fn takes_tasks(&self) -> bool {
        matches!(self, Self::Open | Self::Sealing { .. } | Self::Sealed)
    }
}
