//! Where actors say what happened. Sequence numbers are given here, in the order of saying.

use crate::{
    result_collector::{Noted, ResultCollector, WhenDurable},
    time::RunClock,
};
use actix::{Addr, dev::Request};
use dropmill_journal::event::{Event, EventKind, Role, Subject};
use dropmill_lifecycle::Failure;
use std::{cell::Cell, rc::Rc, time::Duration};

/// Takes events for the collector; cheap to clone, one thread.
#[derive(Clone)]
pub struct Recorder {
    run: Rc<str>,
    clock: RunClock,
    last: Rc<Cell<u64>>,
    collector: Addr<ResultCollector>,
}

impl Recorder {
    /// A recorder for one run; `last` is the number of the last event of an earlier life, or 0.
    pub fn new(run: &str, clock: RunClock, last: u64, collector: Addr<ResultCollector>) -> Self {
        Self { run: run.into(), clock, last: Rc::new(Cell::new(last)), collector }
    }

    /// Says what happened; answers with its number, to be named as the cause of what follows.
    pub fn note(&self, actor: Role, subject: Subject, cause: Option<u64>, kind: EventKind) -> u64 {
        let seq = self.last.get() + 1;
        self.last.set(seq);
        let event = Event {
            seq,
            at: self.clock.now(),
            elapsed_ms: self.clock.elapsed().0,
            run: self.run.to_string(),
            actor,
            subject,
            cause,
            kind,
        };
        tracing::debug!(seq, actor = %event.actor, subject = %event.subject, kind = ?event.kind, "event");
        self.collector.do_send(Noted(event));
        seq
    }

    /// Asks the collector to be told once every event so far is durable.
    pub fn when_durable(&self) -> Request<ResultCollector, WhenDurable> {
        self.collector.send(WhenDurable)
    }

    /// The run's time.
    pub fn clock(&self) -> &RunClock {
        &self.clock
    }
}

/// Returns the event of a call that failed and is repeated after a delay.
pub fn retrying(what: &str, attempt: u32, delay: Duration, failure: Failure) -> EventKind {
    EventKind::Retrying {
        what: what.into(),
        attempt,
        after_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        error: failure.message,
    }
}
