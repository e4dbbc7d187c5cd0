//! Records events of actors and assigns their numbers, in the order of the calls.

use crate::{
    result_collector::{Noted, ResultCollector, WhenDurable},
    time::RunClock,
};
use actix::{Addr, dev::Request};
use dropmill_journal::event::{Event, EventKind, Role, Subject};
use dropmill_lifecycle::Failure;
use std::{cell::Cell, rc::Rc, time::Duration};

/// Sends events to the collector; cheap to clone, for one thread.
#[derive(Clone)]
pub struct Recorder {
    run: Rc<str>,
    clock: RunClock,
    last: Rc<Cell<u64>>,
    collector: Addr<ResultCollector>,
}

impl Recorder {
    /// Creates the recorder of one run; `last` is the number of the last event of a previous process, or 0.
    pub fn new(run: &str, clock: RunClock, last: u64, collector: Addr<ResultCollector>) -> Self {
        Self { run: run.into(), clock, last: Rc::new(Cell::new(last)), collector }
    }

    /// Records an event; returns its number, which later events name as their cause.
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

    /// Returns a request that resolves once every event so far is durable.
    pub fn when_durable(&self) -> Request<ResultCollector, WhenDurable> {
        self.collector.send(WhenDurable)
    }

    /// Returns the clock of the run.
    pub fn clock(&self) -> &RunClock {
        &self.clock
    }
}

/// Returns the event of a failed request that is retried after a delay.
pub fn retrying(what: &str, attempt: u32, delay: Duration, failure: Failure) -> EventKind {
    EventKind::Retrying {
        what: what.into(),
        attempt,
        after_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        code: Some(failure.code.as_str().to_owned()),
        error: failure.message,
    }
}
