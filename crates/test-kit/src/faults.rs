//! Decides which fault is injected into which request, from the previous requests and seeded random
//! generators only.
//!
//! Each fault has its own generator, which is used once per request, in the order of requests: a seed always
//! produces the same faults.

use crate::{operation::Operation, scenario::Fault};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The faults of a simulation, and their counts. Clones share the state.
#[derive(Clone)]
pub struct Faults {
    latency: (Duration, Duration),
    began: Instant,
    seed: u64,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: ChaCha8Rng,
    faults: Vec<Aimed>,
    log: Vec<Struck>,
    requests: u64,
    last_number: u32,
}

struct Aimed {
    fault: Fault,
    rng: ChaCha8Rng,
    /// Number of requests that match it.
    seen: u32,
    struck: u32,
}

/// An injected fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    /// Time since the start.
    pub at: Duration,
    /// Number of the fault in the scenario, from 1.
    pub fault: u32,
    /// Name of the operation.
    pub operation: &'static str,
    /// Subject of the operation.
    pub subject: String,
}

fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

impl Faults {
    /// Starts the faults; their times count from now. Must be called within a tokio runtime if that has
    /// virtual time.
    pub fn new(faults: Vec<Fault>, latency: (Duration, Duration), seed: u64) -> Self {
        let last_number = faults.iter().map(|fault| fault.number).max().unwrap_or(0);
        let faults = faults.into_iter().map(|fault| Aimed::new(fault, seed)).collect();
        let state = State { rng: stream(seed, 7), faults, log: vec![], requests: 0, last_number };
        Self { latency, began: Instant::now(), seed, state: Arc::new(Mutex::new(state)) }
    }

    /// Returns the injected faults, in order.
    pub fn struck(&self) -> Vec<Struck> {
        self.lock().log.clone()
    }

    /// Returns the number of requests that the client sent.
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// Returns each fault with the number of times that it was injected.
    pub fn list(&self) -> Vec<(Fault, u32)> {
        self.lock().faults.iter().map(|aimed| (aimed.fault.clone(), aimed.struck)).collect()
    }

    /// Adds a fault and returns its number. Its times count from the start, as those of all faults do.
    pub fn add(&self, mut fault: Fault) -> u32 {
        let mut state = self.lock();
        state.last_number += 1;
        fault.number = state.last_number;
        state.faults.push(Aimed::new(fault, self.seed));
        state.last_number
    }

    /// Removes one fault or all of them, and returns how many.
    pub fn clear(&self, number: Option<u32>) -> usize {
        let mut state = self.lock();
        let before = state.faults.len();
        state.faults.retain(|aimed| number.is_some_and(|number| aimed.fault.number != number));
        before - state.faults.len()
    }

    /// Returns the latency of a request of the client, and the fault to inject.
    pub fn draw(&self, operation: &Operation) -> (Duration, Option<Fault>) {
        let mut state = self.lock();
        state.requests += 1;
        let (least, most) = (self.latency.0.as_millis() as u64, self.latency.1.as_millis() as u64);
        let latency = if most > least { state.rng.random_range(least..=most) } else { least };
        (Duration::from_millis(latency), state.strike(operation, self.began.elapsed()))
    }

    /// Returns the fault to inject into an operation of a node or of the local disk.
    pub fn draw_elsewhere(&self, operation: &Operation) -> Option<Fault> {
        self.lock().strike(operation, self.began.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn strike(&mut self, operation: &Operation, at: Duration) -> Option<Fault> {
        let mut struck = None;
        for aimed in &mut self.faults {
            // Each fault counts and draws independently of the others.
            if aimed.strikes(operation, at) && struck.is_none() {
                aimed.struck += 1;
                let subject = operation.subject.clone();
                self.log.push(Struck { at, fault: aimed.fault.number, operation: operation.name, subject });
                struck = Some(aimed.fault.clone());
            }
        }
        struck
    }
}

impl Aimed {
    fn new(fault: Fault, seed: u64) -> Self {
        Self { rng: stream(seed, 1000 + u64::from(fault.number)), fault, seen: 0, struck: 0 }
    }

    fn strikes(&mut self, operation: &Operation, at: Duration) -> bool {
        if !self.fault.fits(operation) {
            return false;
        }
        let fault = &self.fault;
        let lucky =
            fault.probability.is_none_or(|probability| self.rng.random_bool(probability.clamp(0.0, 1.0)));
        if at < fault.from || fault.until.is_some_and(|until| at >= until) {
            return false;
        }
        self.seen += 1;
        let aimed = match (fault.nth, fault.every) {
            (Some(nth), _) => self.seen == nth,
            (None, Some(every)) => self.seen.is_multiple_of(every.max(1)),
            (None, None) => true,
        };
        lucky && aimed && fault.times.is_none_or(|times| self.struck < times)
    }
}
