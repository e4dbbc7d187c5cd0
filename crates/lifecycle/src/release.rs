//! Releases the nodes of a daemon's pools when no file needs them, because nodes cost money.

use crate::{Elapsed, machine::Machine};
use std::time::Duration;

/// The state machine that decides when nodes are released.
#[derive(Debug, Clone, Copy)]
pub struct Release;

/// The state of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseState {
    /// Runs may use them, or the service may still have them.
    InUse {
        /// Time of the next check whether they are needed.
        check_at: Elapsed,
    },
    /// The service is being asked to remove them.
    Releasing,
    /// The service accepted the request.
    Released,
}

/// An event of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseEvent {
    /// A run was opened.
    Used,
    /// No file waits or is in flight, and no run is active.
    Idle,
    /// The service responded to the requests for all pools.
    Answered {
        /// Whether it accepted all requests.
        all: bool,
    },
    /// A due time has passed.
    TimePassed,
}

/// A command about the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseCommand {
    /// Check whether anything needs nodes, and send `Idle` if nothing does.
    CheckIdle,
    /// Ask the service to remove the nodes of all pools.
    Release,
}

/// The interval of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseLimits {
    /// Interval between two checks, and between two requests.
    pub every: Duration,
}

impl Machine for Release {
    type State = ReleaseState;
    type Event = ReleaseEvent;
    type Command = ReleaseCommand;
    type Limits = ReleaseLimits;
    const NAME: &'static str = "release";

    fn apply(
        state: ReleaseState,
        event: ReleaseEvent,
        now: Elapsed,
        limits: &ReleaseLimits,
    ) -> (ReleaseState, Vec<ReleaseCommand>) {
        use {ReleaseCommand as Do, ReleaseEvent as On, ReleaseState as Is};
        let in_use = Is::InUse { check_at: now + limits.every };
        match (state, event) {
            (_, On::Used) => (in_use, vec![]),
            (Is::InUse { .. }, On::Idle) => (Is::Releasing, vec![Do::Release]),
            (Is::InUse { check_at }, On::TimePassed) if now >= check_at => (in_use, vec![Do::CheckIdle]),
            (Is::Releasing, On::Answered { all: true }) => (Is::Released, vec![]),
            (Is::Releasing, On::Answered { all: false }) => (in_use, vec![]),
            // The daemon may stay idle, and a run may have been opened during the request.
            (state, On::Idle | On::Answered { .. } | On::TimePassed) => (state, vec![]),
        }
    }

    fn wakes_at(state: &ReleaseState, _: &ReleaseLimits) -> Option<Elapsed> {
        match state {
            ReleaseState::InUse { check_at } => Some(*check_at),
            ReleaseState::Releasing | ReleaseState::Released => None,
        }
    }

    fn time_passed() -> ReleaseEvent {
        ReleaseEvent::TimePassed
    }

    fn is_routine(event: &ReleaseEvent) -> bool {
        !matches!(event, ReleaseEvent::Answered { .. })
    }
}
