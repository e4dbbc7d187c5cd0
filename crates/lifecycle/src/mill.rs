//! The state machine of a drop folder's daemon: when it opens runs for its files, and how it ends.
//!
//! Every wait is a state. So a stop request is carried out at once.

use crate::{Elapsed, delays::Delays, machine::Machine};
use std::time::Duration;

/// The state machine of a drop folder's daemon.
#[derive(Debug, Clone, Copy)]
pub struct Mill;

/// The number of consecutive failed runs, and the time before which no other run is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    /// Number of runs that could not be opened, or ended for a reason that the next one will have too.
    pub failures: u32,
    /// Earliest time at which the next run is opened.
    pub until: Elapsed,
}

/// The state of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MillState {
    /// No run is being opened; one may be accepting files.
    Ready(Backoff),
    /// A run is needed, and is opened when the backoff is over.
    Waiting(Backoff),
    /// A run is being opened.
    Opening(Backoff),
    /// No more files are claimed; files in flight may finish.
    Draining {
        /// End of the timeout.
        until: Elapsed,
        /// Whether the runs were cancelled, because an earlier timeout ended.
        cancelled: bool,
    },
    /// The pools are being deleted.
    Deleting {
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Time of the next attempt after a failure.
        again_at: Option<Elapsed>,
        /// End of the timeout.
        until: Elapsed,
    },
    /// The daemon has ended.
    Over,
}

/// An event of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MillEvent {
    /// Files need a run that accepts them.
    RunNeeded,
    /// The run was opened.
    Opened,
    /// The run could not be opened.
    OpenFailed(String),
    /// A run ended; `well` means that the next run need not expect the same problem.
    RunEnded {
        /// Whether it ended normally, whatever the results of its tasks.
        well: bool,
    },
    /// The daemon must claim no more files and end.
    DrainAsked,
    /// Every claimed file is in its final place.
    Drained,
    /// The service was asked to delete the pools.
    PoolsAnswered {
        /// Whether the service accepted all requests; others were reported.
        all: bool,
    },
    /// The daemon must end at once.
    StopAsked,
    /// A due time has passed.
    TimePassed,
}

/// A command of the daemon's state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MillCommand {
    /// Open a run that accepts files.
    Open,
    /// Claim no more files.
    StopTaking,
    /// Cancel the runs: their files wait for the next start.
    CancelRuns,
    /// Delete the pools.
    DeletePools,
    /// Report that a run could not be opened, and the time of the next attempt.
    ReportDelay {
        /// Length of the delay.
        delay: Duration,
        /// Reason why the run could not be opened.
        cause: String,
    },
    /// End the daemon.
    Finish,
}

/// The timeouts of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MillLimits {
    /// Delays before the next run is opened, or the pools are deleted again, after one, two, … failures.
    pub reopen: Delays,
    /// Timeout for files in flight after a drain request.
    pub drain: Duration,
    /// Timeout for the end of runs after they were cancelled.
    pub ending: Duration,
    /// Timeout for the deletion of the pools.
    pub deletion: Duration,
}

impl Default for MillState {
    fn default() -> Self {
        Self::Ready(Backoff::default())
    }
}

impl Machine for Mill {
    type State = MillState;
    type Event = MillEvent;
    type Command = MillCommand;
    type Limits = MillLimits;
    const NAME: &'static str = "mill";

    fn apply(
        state: MillState,
        event: MillEvent,
        now: Elapsed,
        limits: &MillLimits,
    ) -> (MillState, Vec<MillCommand>) {
        use {MillCommand as Do, MillEvent as On, MillState as Is};
        match (state, event) {
            (Is::Over, _) => (Is::Over, vec![]),
            (_, On::StopAsked) => (Is::Over, vec![Do::Finish]),

            (Is::Ready(backoff), On::RunNeeded) => match now >= backoff.until {
                true => (Is::Opening(backoff), vec![Do::Open]),
                false => (Is::Waiting(backoff), vec![]),
            },
            (Is::Waiting(backoff), On::TimePassed) if now >= backoff.until => {
                (Is::Opening(backoff), vec![Do::Open])
            }
            (Is::Opening(backoff), On::Opened) => (Is::Ready(backoff), vec![]),
            (Is::Opening(backoff), On::OpenFailed(cause)) => {
                let (backoff, delay) = limits.failed(backoff, now);
                (Is::Waiting(backoff), vec![Do::ReportDelay { delay, cause }])
            }
            (Is::Ready(_), On::RunEnded { well: true }) => (Is::Ready(Backoff::default()), vec![]),
            (Is::Opening(_), On::RunEnded { well: true }) => (Is::Opening(Backoff::default()), vec![]),
            (Is::Ready(backoff), On::RunEnded { well: false }) => {
                (Is::Ready(limits.failed(backoff, now).0), vec![])
            }
            (Is::Opening(backoff), On::RunEnded { well: false }) => {
                (Is::Opening(limits.failed(backoff, now).0), vec![])
            }
            (Is::Waiting(backoff), On::RunEnded { well: false }) => {
                (Is::Waiting(limits.failed(backoff, now).0), vec![])
            }

            (Is::Ready(_) | Is::Waiting(_) | Is::Opening(_), On::DrainAsked) => {
                (Is::Draining { until: now + limits.drain, cancelled: false }, vec![Do::StopTaking])
            }
            (Is::Draining { .. }, On::Drained) => {
                let until = now + limits.deletion;
                (Is::Deleting { attempt: 1, again_at: None, until }, vec![Do::DeletePools])
            }
            (Is::Draining { until, cancelled: false }, On::TimePassed) if now >= until => {
                (Is::Draining { until: now + limits.ending, cancelled: true }, vec![Do::CancelRuns])
            }
            (Is::Draining { until, cancelled: true } | Is::Deleting { until, .. }, On::TimePassed)
                if now >= until =>
            {
                (Is::Over, vec![Do::Finish])
            }
            (Is::Deleting { .. }, On::PoolsAnswered { all: true }) => (Is::Over, vec![Do::Finish]),
            // A remaining pool costs money: its deletion is retried until the timeout.
            (Is::Deleting { attempt, until, .. }, On::PoolsAnswered { all: false }) => {
                let again_at = Some(now + limits.delay(attempt));
                (Is::Deleting { attempt, again_at, until }, vec![])
            }
            (Is::Deleting { attempt, again_at: Some(moment), until }, On::TimePassed) if now >= moment => {
                (Is::Deleting { attempt: attempt + 1, again_at: None, until }, vec![Do::DeletePools])
            }

            // Runs end and time passes in every state, a run that is being opened may come late, and files
            // ask again.
            (
                state,
                On::RunNeeded
                | On::Opened
                | On::OpenFailed(_)
                | On::RunEnded { .. }
                | On::DrainAsked
                | On::Drained
                | On::PoolsAnswered { .. }
                | On::TimePassed,
            ) => (state, vec![]),
        }
    }

    fn wakes_at(state: &MillState, _: &MillLimits) -> Option<Elapsed> {
        match state {
            MillState::Waiting(backoff) => Some(backoff.until),
            MillState::Draining { until, .. } => Some(*until),
            MillState::Deleting { again_at, until, .. } => Some(again_at.unwrap_or(*until).min(*until)),
            MillState::Ready(_) | MillState::Opening(_) | MillState::Over => None,
        }
    }

    fn time_passed() -> MillEvent {
        MillEvent::TimePassed
    }

    fn is_routine(event: &MillEvent) -> bool {
        matches!(event, MillEvent::TimePassed | MillEvent::RunNeeded | MillEvent::RunEnded { .. })
    }
}

impl MillLimits {
    fn failed(&self, backoff: Backoff, now: Elapsed) -> (Backoff, Duration) {
        let failures = backoff.failures.saturating_add(1);
        let delay = self.delay(failures);
        (Backoff { failures, until: now + delay }, delay)
    }

    fn delay(&self, failures: u32) -> Duration {
        let longest = self.reopen.steps.last().copied().unwrap_or(Duration::from_secs(60));
        self.reopen.after(failures, None).unwrap_or(longest)
    }
}
