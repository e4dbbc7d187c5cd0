//! What the tests of rules share: moments, failures, and dice for walks through a machine.
#![allow(dead_code)]

use dropmill_lifecycle::{Code, Elapsed, Failure, FailureKind, delays::Delays};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// How many walks each machine takes, and how long each is.
pub const WALKS: u64 = 400;
pub const STEPS: usize = 60;

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
pub const fn at(seconds: u64) -> Elapsed {
    Elapsed::secs(seconds)
}

/// Nothing happened; later it may.
pub fn busy() -> Failure {
    Failure::transient("ServerBusy", "busy")
}
/// It may have happened.
pub fn maybe_applied() -> Failure {
    Failure { kind: FailureKind::Ambiguous, ..Failure::permanent(Code::TimedOut, "no answer within 30s") }
}
/// It never will.
pub fn refused() -> Failure {
    Failure::permanent("Forbidden", "no")
}
/// Not before so many seconds.
pub fn busy_for(seconds: u64) -> Failure {
    Failure { retry_after: Some(secs(seconds)), ..busy() }
}

/// Two rests, of 1 s and 4 s: three tries.
pub fn three_tries() -> Delays {
    Delays { steps: vec![secs(1), secs(4)], for_ever: false }
}

/// Dice of one walk.
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
    /// A moment not before `now`: the next alarm exactly, a little before it, or some time later.
    pub fn moment(&mut self, now: Elapsed, alarm: Option<Elapsed>) -> Elapsed {
        match (self.below(4), alarm) {
            (0, _) => now,
            (1, Some(alarm)) => Elapsed(alarm.0.saturating_sub(1)).max(now),
            (2, Some(alarm)) => alarm.max(now),
            _ => now + secs(u64::from(self.below(40))),
        }
    }
}
