//! What all machines have in common, so that one shell can drive each of them.

use crate::Elapsed;
use std::fmt::Debug;

/// A machine: states, the events that change them, and the commands that follow.
pub trait Machine {
    /// The condition of what the machine decides about.
    type State: Clone + Debug + PartialEq;
    /// Something that happened.
    type Event: Clone + Debug;
    /// Something to be done next.
    type Command: Debug;
    /// Delays, deadlines and numbers of attempts.
    type Limits;

    /// Name of the machine in logs.
    const NAME: &'static str;

    /// Returns the state and the commands that follow from an event at `now`.
    fn apply(
        state: Self::State,
        event: Self::Event,
        now: Elapsed,
        limits: &Self::Limits,
    ) -> (Self::State, Vec<Self::Command>);

    /// Returns when the machine waits for `TimePassed`.
    fn wakes_at(state: &Self::State, limits: &Self::Limits) -> Option<Elapsed>;

    /// Returns the event of an alarm, which may come early or late: the state knows the time.
    fn time_passed() -> Self::Event;

    /// Returns whether an event may arrive in every state and is usually no news: a clock tick, the result of a poll.
    fn is_routine(event: &Self::Event) -> bool;
}
