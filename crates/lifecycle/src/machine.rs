//! The common interface of all state machines, so that one shell can drive each of them.

use crate::Elapsed;
use std::fmt::Debug;

/// A state machine: states, events that change them, and commands that follow.
pub trait Machine {
    /// The state of the machine.
    type State: Clone + Debug + PartialEq;
    /// Something that happened.
    type Event: Clone + Debug;
    /// An action that follows from an event.
    type Command: Debug;
    /// Delays, deadlines and numbers of attempts.
    type Limits;

    /// Name of the state machine in logs.
    const NAME: &'static str;

    /// Returns the next state and the commands for an event at `now`.
    fn apply(
        state: Self::State,
        event: Self::Event,
        now: Elapsed,
        limits: &Self::Limits,
    ) -> (Self::State, Vec<Self::Command>);

    /// Returns the time for which the state machine waits with `TimePassed`.
    fn wakes_at(state: &Self::State, limits: &Self::Limits) -> Option<Elapsed>;

    /// Returns the event of an alarm, which may come early or late: the state contains the time.
    fn time_passed() -> Self::Event;

    /// Returns whether an event may arrive in every state and is usually no news: a clock tick, or the result
    /// of a poll.
    fn is_routine(event: &Self::Event) -> bool;
}
