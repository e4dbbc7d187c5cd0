//! A call that is repeated until it succeeds, is rejected for good, or its time is over.
//!
//! Uploads are such calls, so are creating a container, fetching a task's results and deleting
//! something. A rest between tries is a state, not a sleep, so that an end can
//! interrupt it. An ambiguous failure is tried again like a transient one, because whoever carries
//! out `Try` asks the service what is true first.

use crate::{Elapsed, Failure, delays::Delays, machine::Machine};
use std::time::Duration;

/// Where an effort stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryState {
    /// Not begun: something it needs is missing, or too much is in flight.
    Waiting,
    /// A call is on its way.
    Trying {
        /// Number of this try, from 1.
        attempt: u32,
        /// End of the whole effort.
        until: Elapsed,
    },
    /// Told "later".
    Resting {
        /// Number of the try that failed.
        attempt: u32,
        /// When to try again.
        again_at: Elapsed,
        /// End of the whole effort.
        until: Elapsed,
        /// Why the last try failed.
        failure: Failure,
    },
    /// It succeeded.
    Done,
    /// It will not succeed.
    Failed(Failure),
    /// Nobody needs it any more.
    Dropped,
}

/// What happened to an effort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryEvent {
    /// It may begin.
    Begun,
    /// The call succeeded.
    Succeeded,
    /// Part of the work is done and will not be done again. Said before `TryFailed`: what is left has all its tries.
    GotFurther,
    /// The call failed.
    TryFailed(Failure),
    /// Some time passed; how much, the moment tells.
    TimePassed,
    /// Nobody needs it any more.
    EndAsked,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryCommand {
    /// Make the call (again).
    Try,
    /// Say that a try failed and how long the rest is.
    ReportDelay {
        /// Number of the try that failed.
        attempt: u32,
        /// Length of the rest.
        rest: Duration,
        /// Why it failed.
        failure: Failure,
    },
    /// Say that it succeeded.
    ReportDone,
    /// Say that it failed for good.
    ReportFailed(Failure),
}

/// What an effort may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryLimits {
    /// All tries together.
    pub whole: Duration,
    /// Rests between tries.
    pub delays: Delays,
}

/// A state and what to do on entering it.
pub type Step = (RetryState, Vec<RetryCommand>);

/// A call that is repeated until it succeeds.
#[derive(Debug)]
pub struct Retry;

impl Machine for Retry {
    type State = RetryState;
    type Event = RetryEvent;
    type Command = RetryCommand;
    type Limits = RetryLimits;
    const NAME: &'static str = "retry";

    fn apply(state: RetryState, event: RetryEvent, now: Elapsed, limits: &RetryLimits) -> Step {
        apply(state, event, now, limits)
    }

    fn wakes_at(state: &RetryState, _: &RetryLimits) -> Option<Elapsed> {
        state.wakes_at()
    }

    fn time_passed() -> RetryEvent {
        RetryEvent::TimePassed
    }

    fn is_routine(event: &RetryEvent) -> bool {
        // The end is asked of all, and news of progress changes only the number of attempts.
        matches!(event, RetryEvent::TimePassed | RetryEvent::EndAsked | RetryEvent::GotFurther)
    }
}

/// What follows from `event` at `now`.
pub fn apply(state: RetryState, event: RetryEvent, now: Elapsed, limits: &RetryLimits) -> Step {
    use {RetryCommand as Do, RetryEvent as On, RetryState as Is};
    match (state, event) {
        (Is::Waiting, On::Begun) => (Is::Trying { attempt: 1, until: now + limits.whole }, vec![Do::Try]),
        (Is::Trying { .. }, On::Succeeded) => (Is::Done, vec![Do::ReportDone]),
        // Otherwise a result of many files could never come home over a wire that fails once in so many calls.
        (Is::Trying { until, .. }, On::GotFurther) => (Is::Trying { attempt: 1, until }, vec![]),
        (Is::Trying { attempt, until }, On::TryFailed(failure)) => {
            let rest = limits.delays.after_failure(attempt, &failure);
            match rest {
                Some(rest) if now + rest < until => {
                    let told = Do::ReportDelay { attempt, rest, failure: failure.clone() };
                    (Is::Resting { attempt, again_at: now + rest, until, failure }, vec![told])
                }
                _ => fail(failure),
            }
        }
        (Is::Resting { attempt, again_at, until, .. }, On::TimePassed) if now >= again_at => {
            (Is::Trying { attempt: attempt + 1, until }, vec![Do::Try])
        }
        (Is::Waiting | Is::Trying { .. } | Is::Resting { .. }, On::EndAsked) => (Is::Dropped, vec![]),
        // Clocks tick in every state. An answer may come after the effort was dropped; a call that is on its way
        // ends by its own deadline, so `Trying` needs no alarm.
        (state, On::TimePassed) => (state, vec![]),
        (
            state @ (Is::Done | Is::Failed(_) | Is::Dropped),
            On::EndAsked | On::Succeeded | On::GotFurther | On::TryFailed(_),
        ) => (state, vec![]),
        // Out of season: an answer without a question, a second beginning.
        (state, On::Begun | On::Succeeded | On::GotFurther | On::TryFailed(_)) => (state, vec![]),
    }
}

fn fail(failure: Failure) -> Step {
    (RetryState::Failed(failure.clone()), vec![RetryCommand::ReportFailed(failure)])
}

impl RetryState {
    /// When to say `TimePassed`.
    pub fn wakes_at(&self) -> Option<Elapsed> {
        match self {
            Self::Resting { again_at, .. } => Some(*again_at),
            Self::Waiting | Self::Trying { .. } | Self::Done | Self::Failed(_) | Self::Dropped => None,
        }
    }

    /// Whether a call is on its way.
    pub fn is_trying(&self) -> bool {
        matches!(self, Self::Trying { .. })
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_) | Self::Dropped)
    }
}
