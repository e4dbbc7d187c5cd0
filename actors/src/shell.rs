//! What drives a machine inside an actor: it applies events, keeps one alarm, and hands out commands.

use actix::prelude::*;
use dropmill_lifecycle::{Elapsed, machine::Machine};
use std::{marker::PhantomData, time::Duration};

/// A machine's state and alarm.
pub(crate) struct Shell<M: Machine> {
    state: M::State,
    limits: M::Limits,
    alarm: Option<(Elapsed, SpawnHandle)>,
    /// Number of events that changed nothing though they are not routine.
    out_of_season: u64,
}

/// The alarm of a machine: time passed. It may come early or late; the state knows the time.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ring<M: Machine + 'static>(PhantomData<fn() -> M>);

impl<M: Machine + 'static> Shell<M> {
    /// Starts in a state.
    pub fn new(state: M::State, limits: M::Limits) -> Self {
        Self { state, limits, alarm: None, out_of_season: 0 }
    }

    /// Returns the state.
    #[cfg(test)]
    pub fn state(&self) -> &M::State {
        &self.state
    }

    /// Replaces the limits, from the next event on.
    pub fn set_limits(&mut self, limits: M::Limits) {
        self.limits = limits;
    }

    /// Applies an event and returns the commands that follow.
    pub fn apply(&mut self, event: M::Event, now: Elapsed) -> Vec<M::Command> {
        let (next, commands) = M::apply(self.state.clone(), event.clone(), now, &self.limits);
        tracing::trace!(machine = M::NAME, %now, before = ?self.state, ?event, after = ?next, "applied");
        if next == self.state && commands.is_empty() && !M::is_routine(&event) {
            self.out_of_season += 1;
            tracing::debug!(machine = M::NAME, state = ?next, ?event, count = self.out_of_season, "out of season");
        }
        self.state = next;
        commands
    }

    /// Sets the actor's timer to when the machine waits for time to pass.
    pub fn set_alarm<A>(&mut self, now: Elapsed, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>> + Handler<Ring<M>>,
    {
        let next = M::wakes_at(&self.state, &self.limits);
        if self.alarm.map(|(moment, _)| moment) == next {
            return;
        }
        if let Some((_, handle)) = self.alarm.take() {
            ctx.cancel_future(handle);
        }
        self.alarm = next.map(|moment| {
            let delay = moment.since(now).max(Duration::from_millis(1));
            (moment, ctx.notify_later(Ring(PhantomData), delay))
        });
    }

    /// Records that the timer has fired.
    pub fn rang(&mut self) {
        self.alarm = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_lifecycle::mill::{Mill, MillEvent, MillLimits, MillState};

    #[test]
    fn an_event_out_of_season_leaves_a_mark_and_changes_nothing() {
        let reopen = dropmill_lifecycle::delays::Delays { steps: vec![], for_ever: false };
        let limits =
            MillLimits { reopen, drain: Duration::ZERO, ending: Duration::ZERO, deletion: Duration::ZERO };
        let mut shell = Shell::<Mill>::new(MillState::default(), limits);
        assert!(shell.apply(MillEvent::TimePassed, Elapsed(1)).is_empty());
        assert_eq!(shell.out_of_season, 0, "a tick is routine");
        assert!(shell.apply(MillEvent::PoolsAnswered { all: true }, Elapsed(2)).is_empty());
        assert_eq!((shell.out_of_season, shell.state()), (1, &MillState::default()));
    }
}
