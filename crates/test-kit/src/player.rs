//! The common interface of simulations: of a run and of the daemon of a drop folder. Both are explored with
//! crash points and seeds in the same way.

use crate::{
    Scenario, Simulation,
    crash::{Counts, CrashPoint},
    drop::{MillPlan, MillSimulation},
    oracle::{self, Violation},
};
use dropmill_journal::trace;
use dropmill_lifecycle::plan::RunPlan;
use std::time::Duration;

/// A plan that can be simulated.
pub trait Player: Sync {
    /// Simulates it once, with a scenario and a seed; crashes at these points and restarts after `down`.
    fn play(&self, scenario: &Scenario, seed: u64, crashes: Vec<CrashPoint>, down: Duration) -> Played;
}

/// The result of one simulation.
#[derive(Debug, Default)]
pub struct Played {
    /// How many steps there were before or after which a crash is possible.
    pub counts: Counts,
    /// The violated rules.
    pub violations: Vec<Violation>,
    /// The results, without details that depend on the order of events.
    pub results: String,
    /// Outline with one line per subject.
    pub outline: String,
}

impl Played {
    fn stuck(reason: String, outline: String) -> Self {
        let rule = "the simulation ends within its bound, with every file in its place";
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
