//! What can be simulated: a run, or the daemon of a drop folder. Crash points and seeds are explored the same way for both.

use crate::{
    Scenario, Simulation,
    crash::{Counts, CrashPoint},
    drop::{MillPlan, MillSimulation},
    oracle::{self, Violation},
};
use dropmill_journal::trace;
use dropmill_lifecycle::plan::RunPlan;
use std::time::Duration;

/// A plan that can be played in the simulated world.
pub trait Player: Sync {
    /// Plays it once: with a scenario and a seed, crashing at these points and starting again after `down`.
    fn play(&self, scenario: &Scenario, seed: u64, crashes: Vec<CrashPoint>, down: Duration) -> Played;
}

/// What came of playing once.
#[derive(Debug, Default)]
pub struct Played {
    /// What happened that a crash can come before or after.
    pub counts: Counts,
    /// Rules that it broke.
    pub violations: Vec<Violation>,
    /// What it came to, without what depends on the order of things.
    pub results: String,
    /// What it did, a line for each subject.
    pub outline: String,
}

impl Played {
    fn stuck(reason: String, outline: String) -> Self {
        let rule = "it ends within its bound, with everything in its place";
        let violations = vec![Violation { rule, what: reason }];
        Self { violations, outline, ..Self::default() }
    }
}

impl Player for RunPlan {
    fn play(&self, scenario: &Scenario, seed: u64, crashes: Vec<CrashPoint>, down: Duration) -> Played {
        let simulation = Simulation::of(self.clone()).scenario(scenario.clone()).seed(seed);
        match simulation.crash_at(crashes).down_for(down).try_run() {
            Ok(run) => Played {
                counts: run.counts,
                violations: oracle::check(&run),
                results: trace::results(&run.events),
                outline: run.outline(),
            },
            Err(stuck) => Played::stuck(stuck.reason, stuck.outline),
        }
    }
}

impl Player for MillPlan {
    fn play(&self, scenario: &Scenario, seed: u64, crashes: Vec<CrashPoint>, down: Duration) -> Played {
        let simulation = MillSimulation::new(self.clone()).scenario(scenario.clone()).seed(seed);
        match simulation.crash_at(crashes).down_for(down).try_run() {
            Ok(mill) => Played {
                counts: mill.counts,
                violations: oracle::drop::check(&mill),
                results: mill.results(),
                outline: mill.outline(),
            },
            Err(stuck) => Played::stuck(stuck.reason, stuck.outline),
        }
    }
}
