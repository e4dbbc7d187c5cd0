//! The nodes of a daemon's pools: they cost money, so they are released when no file needs them.

use crate::{Elapsed, machine::Machine};
use std::time::Duration;

/// The machine that decides when nodes are released.
#[derive(Debug, Clone, Copy)]
pub struct Release;

/// The condition of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseState {
    /// Runs may use them, or the service may still have them.
    InUse {
        /// When to check whether anything still needs them.
        check_at: Elapsed,
    },
    /// The service is being asked to take them away.
    Releasing,
    /// The service accepted that.
    Released,
}

/// An event of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseEvent {
    /// A run was opened.
    Used,
    /// No file waits or is in flight, and no run goes on.
    Idle,
    /// The service was asked about all pools.
    Answered {
        /// Whether it accepted all requests.
        all: bool,
    },
    /// Time passed.
    TimePassed,
}

/// A command about the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseCommand {
    /// Check whether anything needs nodes, and send `Idle` if nothing does.
    CheckIdle,
    /// Ask the service to take the nodes of all pools away.
    Release,
}

/// How often nodes are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseLimits {
    /// Time between two checks, and between two requests.
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
            // The daemon is idle for long, and a run may have been opened while the service was asked.
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
