//! Shared parts of the tests of rules: times, failures, and random numbers for walks through a state machine.
#![allow(dead_code)]

use dropmill_lifecycle::{Code, Elapsed, Failure, FailureKind, delays::Delays};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// Number of random walks of each state machine, and their length.
pub const WALKS: u64 = 400;
pub const STEPS: usize = 60;

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
pub const fn at(seconds: u64) -> Elapsed {
    Elapsed::secs(seconds)
}

/// Returns a transient failure.
pub fn busy() -> Failure {
    Failure::transient("ServerBusy", "busy")
}
/// Returns an ambiguous failure.
pub fn maybe_applied() -> Failure {
    Failure { kind: FailureKind::Ambiguous, ..Failure::permanent(Code::TimedOut, "no answer within 30s") }
}
/// Returns a permanent failure.
pub fn refused() -> Failure {
    Failure::permanent("Forbidden", "no")
}
/// Returns a transient failure with a Retry-After of this many seconds.
pub fn busy_for(seconds: u64) -> Failure {
    Failure { retry_after: Some(secs(seconds)), ..busy() }
}

/// Returns two delays, of 1 s and 4 s: three attempts.
pub fn three_tries() -> Delays {
    Delays { steps: vec![secs(1), secs(4)], for_ever: false }
}

/// The random numbers of one walk.
pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn of(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0.random_range(0..bound)
    }
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.random_range(0..from.len())]
    }
    /// Returns a time that is not before `now`: exactly the next alarm, a little before it, or later.
    pub fn moment(&mut self, now: Elapsed, alarm: Option<Elapsed>) -> Elapsed {
        match (self.below(4), alarm) {
            (0, _) => now,
            (1, Some(alarm)) => Elapsed(alarm.0.saturating_sub(1)).max(now),
            (2, Some(alarm)) => alarm.max(now),
            _ => now + secs(u64::from(self.below(40))),
        }
    }
}
