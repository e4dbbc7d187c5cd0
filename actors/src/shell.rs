//! Drives state machines inside an actor: applies events, logs them, sets the timer and passes commands on.
//!
//! An actor with one state machine has a [`Shell`] and implements [`Drives`]; an actor with many of a kind
//! has [`Shells`] and implements [`DrivesMany`]. The actor itself implements only how a command is carried
//! out.

use crate::alarms::Alarms;
use actix::prelude::*;
use dropmill_lifecycle::{Elapsed, machine::Machine};
use std::time::Duration;

/// Applies events to state machines of one kind.
struct Engine<M: Machine> {
    limits: M::Limits,
    /// Number of events that changed nothing although they are not routine.
    out_of_season: u64,
}

impl<M: Machine> Engine<M> {
    fn new(limits: M::Limits) -> Self {
        Self { limits, out_of_season: 0 }
    }

    fn apply(&mut self, state: &mut M::State, event: M::Event, now: Elapsed) -> Vec<M::Command> {
        tracing::trace!(machine = M::NAME, %now, before = ?state, ?event, "event");
        let unusual = (!M::is_routine(&event)).then(|| event.clone());
        let (next, commands) = M::apply(state.clone(), event, now, &self.limits);
        tracing::trace!(machine = M::NAME, after = ?next, ?commands, "applied");
        if let Some(event) = unusual.filter(|_| next == *state && commands.is_empty()) {
            self.out_of_season += 1;
            tracing::debug!(machine = M::NAME, ?state, ?event, count = self.out_of_season, "out of season");
        }
        *state = next;
        commands
    }
}

/// The timer of an actor's state machines.
#[derive(Default)]
struct Timer(Option<(Elapsed, SpawnHandle)>);

impl Timer {
    /// Sets, moves or removes the timer; `ring` is called when it is due.
    fn set<A>(
        &mut self,
        at: Option<Elapsed>,
        now: Elapsed,
        ctx: &mut Context<A>,
        ring: impl FnOnce(&mut A, &mut Context<A>) + 'static,
    ) where
        A: Actor<Context = Context<A>>,
    {
        if self.0.map(|(at, _)| at) == at {
            return;
        }
        if let Some((_, handle)) = self.0.take() {
            ctx.cancel_future(handle);
        }
        // At least a millisecond, so that a timer never spins.
        let delay = |at: Elapsed| at.since(now).max(Duration::from_millis(1));
        self.0 = at.map(|at| (at, ctx.run_later(delay(at), ring)));
    }
}

/// A state machine with its timer.
pub(crate) struct Shell<M: Machine> {
    engine: Engine<M>,
    state: M::State,
    timer: Timer,
    keeps_early_timers: bool,
}

impl<M: Machine> Shell<M> {
    /// Creates the shell of a state machine in a state.
    pub fn new(state: M::State, limits: M::Limits) -> Self {
        Self { engine: Engine::new(limits), state, timer: Timer::default(), keeps_early_timers: false }
    }

    /// Keeps a timer that is earlier than needed. For state machines that postpone their deadline many times
    /// per second.
    pub fn keeping_early_timers(self) -> Self {
        Self { keeps_early_timers: true, ..self }
    }

    /// Returns the state.
    pub fn state(&self) -> &M::State {
        &self.state
    }

    /// Replaces the limits, from the next event on.
    pub fn set_limits(&mut self, limits: M::Limits) {
        self.engine.limits = limits;
    }

    fn apply(&mut self, event: M::Event, now: Elapsed) -> Vec<M::Command> {
        self.engine.apply(&mut self.state, event, now)
    }
}

/// An actor that carries out the commands of one state machine.
pub(crate) trait Drives<M: Machine + 'static>: Actor<Context = Context<Self>> {
    /// Returns the shell of the machine.
    fn shell(&mut self) -> &mut Shell<M>;

    /// Returns the time for decisions of the state machine.
    fn now(&self) -> Elapsed;

    /// Carries out a command.
    fn carry_out(&mut self, command: M::Command, ctx: &mut Context<Self>);

    /// Applies an event, carries out the commands that follow, and sets the timer.
    fn happened(&mut self, event: M::Event, ctx: &mut Context<Self>) {
        let now = self.now();
        for command in self.shell().apply(event, now) {
            self.carry_out(command, ctx);
        }
        self.set_timer(ctx);
    }

    /// Sets the timer to the time for which the state machine waits.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let shell = self.shell();
        let at = M::wakes_at(&shell.state, &shell.engine.limits);
        if let (true, Some((set, _)), Some(at)) = (shell.keeps_early_timers, shell.timer.0, at)
            && set <= at
        {
            return;
        }
        shell.timer.set(at, now, ctx, |actor: &mut Self, ctx| {
            actor.shell().timer = Timer::default();
            actor.happened(M::time_passed(), ctx);
        });
    }
}

/// The shared parts of state machines of one kind: limits and the timer. The actor keeps their states.
pub(crate) struct Shells<M: Machine> {
    engine: Engine<M>,
    alarms: Alarms,
    timer: Timer,
}

impl<M: Machine> Shells<M> {
    /// Creates the shell of state machines with these limits.
    pub fn new(limits: M::Limits) -> Self {
        Self { engine: Engine::new(limits), alarms: Alarms::default(), timer: Timer::default() }
    }

    /// Returns the limits.
    pub fn limits(&self) -> &M::Limits {
        &self.engine.limits
    }

    /// Replaces the limits, from the next event on.
    pub fn set_limits(&mut self, limits: M::Limits) {
        self.engine.limits = limits;
    }

    /// Applies an event to a state machine without a number, and therefore without an alarm; returns the
    /// commands.
    pub fn apply_unnumbered(
        &mut self,
        state: &mut M::State,
        event: M::Event,
        now: Elapsed,
    ) -> Vec<M::Command> {
        self.engine.apply(state, event, now)
    }

    /// Sets the alarm of a state machine from its state.
    pub fn set_alarm(&mut self, number: u32, state: &M::State) {
        self.alarms.set(number, M::wakes_at(state, &self.engine.limits));
    }

    /// Removes the alarm of a state machine.
    pub fn remove_alarm(&mut self, number: u32) {
        self.alarms.set(number, None);
    }

    fn apply(&mut self, number: u32, state: &mut M::State, event: M::Event, now: Elapsed) -> Vec<M::Command> {
        let commands = self.engine.apply(state, event, now);
        self.set_alarm(number, state);
        commands
    }
}

/// An actor that carries out the commands of many state machines of one kind, which are numbered.
pub(crate) trait DrivesMany<M: Machine + 'static>: Actor<Context = Context<Self>> {
    /// Returns the shared parts of the state machines.
    fn shells(&mut self) -> &mut Shells<M>;

    /// Returns the state of a state machine, and the shared parts; `None` if it no longer exists.
    fn machine(&mut self, number: u32) -> Option<(&mut M::State, &mut Shells<M>)>;

    /// Returns the time for decisions of the state machines.
    fn now(&self) -> Elapsed;

    /// Carries out a command of a state machine.
    fn carry_out(&mut self, number: u32, command: M::Command, ctx: &mut Context<Self>);

    /// Updates data that depend on a state, before the commands are carried out.
    fn changed(&mut self, _number: u32, _before: &M::State, _ctx: &mut Context<Self>) {}

    /// Returns when the timer is due for a reason other than a state machine.
    fn also_wakes_at(&self) -> Option<Elapsed> {
        None
    }

    /// Applies an event to a state machine and carries out its commands.
    fn drive(&mut self, number: u32, event: M::Event, ctx: &mut Context<Self>) {
        let now = self.now();
        let Some((state, shells)) = self.machine(number) else { return };
        let before = state.clone();
        let commands = shells.apply(number, state, event, now);
        self.changed(number, &before, ctx);
        for command in commands {
            self.carry_out(number, command, ctx);
        }
    }

    /// Applies an event to a state machine and sets the timer.
    fn happened(&mut self, number: u32, event: M::Event, ctx: &mut Context<Self>) {
        self.drive(number, event, ctx);
        self.set_timer(ctx);
    }

    /// Called when the timer is due.
    fn rang(&mut self, ctx: &mut Context<Self>) {
        self.ring(ctx);
        self.set_timer(ctx);
    }

    /// Notifies the state machines whose alarm is due that time has passed.
    fn ring(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        for number in self.shells().alarms.due(now) {
            self.happened(number, M::time_passed(), ctx);
        }
    }

    /// Sets the timer to the earliest alarm.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let (now, other) = (self.now(), self.also_wakes_at());
        let shells = self.shells();
        let at = shells.alarms.next().into_iter().chain(other).min();
        shells.timer.set(at, now, ctx, |actor: &mut Self, ctx| {
            actor.shells().timer = Timer::default();
            actor.rang(ctx);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_lifecycle::{
        Failure,
        delays::Delays,
        mill::{Mill, MillEvent, MillLimits, MillState},
        retry::{Retry, RetryCommand, RetryEvent, RetryLimits, RetryState},
    };

    #[test]
    fn an_unexpected_event_is_counted_and_changes_nothing() {
        let reopen = Delays { steps: vec![], for_ever: false };
        let limits =
            MillLimits { reopen, drain: Duration::ZERO, ending: Duration::ZERO, deletion: Duration::ZERO };
        let mut shell = Shell::<Mill>::new(MillState::default(), limits);
        assert!(shell.apply(MillEvent::TimePassed, Elapsed(1)).is_empty());
        assert_eq!(shell.engine.out_of_season, 0, "a tick is routine");
        assert!(shell.apply(MillEvent::PoolsAnswered { all: true }, Elapsed(2)).is_empty());
        assert_eq!((shell.engine.out_of_season, shell.state()), (1, &MillState::default()));
    }

    /// Counts what its state machines do.
    struct Counter {
        states: Vec<RetryState>,
        shells: Shells<Retry>,
        began: tokio::time::Instant,
        /// Number of the state machine, command, second.
        done: async_channel::Sender<(u32, &'static str, u64)>,
    }

    impl Actor for Counter {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Context<Self>) {
            self.happened(0, RetryEvent::Begun, ctx);
            self.happened(1, RetryEvent::Begun, ctx);
            self.happened(7, RetryEvent::Begun, ctx);
        }
    }

    impl DrivesMany<Retry> for Counter {
        fn shells(&mut self) -> &mut Shells<Retry> {
            &mut self.shells
        }
        fn machine(&mut self, number: u32) -> Option<(&mut RetryState, &mut Shells<Retry>)> {
            Some((self.states.get_mut(number as usize)?, &mut self.shells))
        }
        fn now(&self) -> Elapsed {
            Elapsed(u64::try_from(self.began.elapsed().as_millis()).expect("a test is short"))
        }
        fn carry_out(&mut self, number: u32, command: RetryCommand, ctx: &mut Context<Self>) {
            // Timers round up to the next millisecond.
            let now = self.now().0 / 1000;
            match command {
                // The first attempt of each fails.
                RetryCommand::Try => {
                    let _ = self.done.try_send((number, "try", now));
                    // The first one waits longest: the timer has to move.
                    let retry_after = (number == 0).then_some(Duration::from_secs(9));
                    let failure = Failure { retry_after, ..Failure::transient("ServerBusy", "busy") };
                    let event = if now == 0 { RetryEvent::TryFailed(failure) } else { RetryEvent::Succeeded };
                    self.happened(number, event, ctx);
                }
                RetryCommand::ReportDelay { .. } => drop(self.done.try_send((number, "rest", now))),
                RetryCommand::ReportDone => drop(self.done.try_send((number, "done", now))),
                RetryCommand::ReportFailed(_) => drop(self.done.try_send((number, "failed", now))),
            }
        }
    }

    #[actix::test]
    async fn machines_of_one_actor_share_a_timer_and_a_number_without_a_machine_does_nothing() {
        tokio::time::pause();
        let (done, heard) = async_channel::unbounded();
        let delays = Delays { steps: vec![Duration::from_secs(2)], for_ever: true };
        let limits = RetryLimits { whole: Duration::from_secs(60), delays };
        let counter = Counter {
            states: vec![RetryState::Waiting; 2],
            shells: Shells::new(limits),
            began: tokio::time::Instant::now(),
            done,
        };
        counter.start();
        let mut all = vec![];
        for _ in 0..8 {
            all.push(heard.recv().await.expect("the actor is running"));
        }
        let expected = [
            (0, "try", 0),
            (0, "rest", 0),
            (1, "try", 0),
            (1, "rest", 0),
            (1, "try", 2),
            (1, "done", 2),
            (0, "try", 9),
            (0, "done", 9),
        ];
        assert_eq!(all, expected);
    }
}
