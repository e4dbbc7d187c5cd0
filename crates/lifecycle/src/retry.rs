//! A request that is repeated until it succeeds, is rejected permanently, or times out.
//!
//! Examples are uploads, creating a container, downloading a task's results, and deleting a resource. A delay
//! between attempts is a state, not a sleep, so that the end of the run can interrupt it. An ambiguous
//! failure is retried like a transient one, because the executor of `Try` checks the state first.

use crate::{Elapsed, Failure, delays::Delays, machine::Machine};
use std::time::Duration;

/// The state of a retried request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryState {
    /// Not started: something is missing, or too much is in flight.
    Waiting,
    /// A request is in flight.
    Trying {
        /// Number of this attempt, from 1.
        attempt: u32,
        /// End of the total timeout.
        until: Elapsed,
    },
    /// Waiting to retry after a transient failure.
    Resting {
        /// Number of the attempt that failed.
        attempt: u32,
        /// Time of the next attempt.
        again_at: Elapsed,
        /// End of the total timeout.
        until: Elapsed,
        /// Failure of the last attempt.
        failure: Failure,
    },
    /// The request succeeded.
    Done,
    /// It failed permanently.
    Failed(Failure),
    /// It is no longer needed.
    Dropped,
}

/// An event of a retried request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryEvent {
    /// It may start.
    Begun,
    /// The request succeeded.
    Succeeded,
    /// A part of the work is done and will not be repeated. Sent before `TryFailed`: the rest has all
    /// attempts again.
    GotFurther,
    /// The request failed.
    TryFailed(Failure),
    /// Time has passed; `now` is the current time.
    TimePassed,
    /// It is no longer needed.
    EndAsked,
}

/// A command of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryCommand {
    /// Send the request (again).
    Try,
    /// Report a failed attempt and the delay before the next one.
    ReportDelay {
        /// Number of the attempt that failed.
        attempt: u32,
        /// Length of the delay.
        rest: Duration,
        /// Reason of the failure.
        failure: Failure,
    },
    /// Report that it succeeded.
    ReportDone,
    /// Report that it failed permanently.
    ReportFailed(Failure),
}

/// The limits of a retried request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryLimits {
    /// Timeout over all attempts.
    pub whole: Duration,
    /// Delays between attempts.
    pub delays: Delays,
}

/// A state, and the commands on entering it.
pub type Step = (RetryState, Vec<RetryCommand>);

/// A request that is repeated until it succeeds.
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
        // All requests are asked to end, and progress changes only the number of attempts.
        matches!(event, RetryEvent::TimePassed | RetryEvent::EndAsked | RetryEvent::GotFurther)
    }
}

/// Returns the next state and the commands for `event` at `now`.
pub fn apply(state: RetryState, event: RetryEvent, now: Elapsed, limits: &RetryLimits) -> Step {
    use {RetryCommand as Do, RetryEvent as On, RetryState as Is};
    match (state, event) {
        (Is::Waiting, On::Begun) => (Is::Trying { attempt: 1, until: now + limits.whole }, vec![Do::Try]),
        (Is::Trying { .. }, On::Succeeded) => (Is::Done, vec![Do::ReportDone]),
        // Otherwise a result of many files could never be downloaded over a connection that fails at every
        // n-th request.
        (Is::Trying { until, .. }, On::GotFurther) => (Is::Trying { attempt: 1, until }, vec![]),
        (Is::Trying { attempt, until }, On::TryFailed(failure)) => {
            let rest = limits.delays.after_failure(attempt, &failure);
            match rest {
                Some(rest) if now + rest < until => {
                    let reports = Do::ReportDelay { attempt, rest, failure: failure.clone() };
                    (Is::Resting { attempt, again_at: now + rest, until, failure }, vec![reports])
                }
                _ => fail(failure),
            }
        }
        (Is::Resting { attempt, again_at, until, .. }, On::TimePassed) if now >= again_at => {
            (Is::Trying { attempt: attempt + 1, until }, vec![Do::Try])
        }
        (Is::Waiting | Is::Trying { .. } | Is::Resting { .. }, On::EndAsked) => (Is::Dropped, vec![]),
        // Time passes in every state. A response may arrive after the request was dropped; a request in
        // flight has its own timeout, so `Trying` needs no alarm.
        (state, On::TimePassed) => (state, vec![]),
        (
            state @ (Is::Done | Is::Failed(_) | Is::Dropped),
            On::EndAsked | On::Succeeded | On::GotFurther | On::TryFailed(_),
        ) => (state, vec![]),
        // Unexpected: a response without a request, or a second start.
        (state, On::Begun | On::Succeeded | On::GotFurther | On::TryFailed(_)) => (state, vec![]),
    }
}

fn fail(failure: Failure) -> Step {
    (RetryState::Failed(failure.clone()), vec![RetryCommand::ReportFailed(failure)])
}

impl RetryState {
    /// Returns the time for the next `TimePassed`.
    pub fn wakes_at(&self) -> Option<Elapsed> {
        match self {
            Self::Resting { again_at, .. } => Some(*again_at),
            Self::Waiting | Self::Trying { .. } | Self::Done | Self::Failed(_) | Self::Dropped => None,
        }
    }

    /// Returns whether a request is in flight.
    pub fn is_trying(&self) -> bool {
        matches!(self, Self::Trying { .. })
    }

    /// Returns whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_) | Self::Dropped)
    }
}
