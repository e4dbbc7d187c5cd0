//! Runs a scenario with many seeds and checks every rule on every run. For the first seed that violates a
//! rule, finds the smallest scenario that still violates it.

use crate::{
    Scenario,
    oracle::Violation,
    player::{Played, Player},
};
use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A seed whose run violated a rule.
#[derive(Debug)]
pub struct Counterexample {
    /// The seed of the run.
    pub seed: u64,
    /// The violated rules.
    pub violations: Vec<Violation>,
    /// Numbers (from 1) of the scenario's faults that are needed for the violation.
    pub faults: Vec<u32>,
    /// Outline of the run with those faults only.
    pub outline: String,
}

fn judge(plan: &dyn Player, scenario: &Scenario, seed: u64) -> Played {
    plan.play(scenario, seed, vec![], Duration::ZERO)
}

/// Runs every seed, on all processors. Returns the lowest seed that violates a rule, with a minimal set of
/// faults.
pub fn seeds(plan: &dyn Player, scenario: &Scenario, seeds: RangeInclusive<u64>) -> Option<Counterexample> {
    let next = AtomicU64::new(*seeds.start());
    let worst = AtomicU64::new(u64::MAX);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // Only seeds below a known bad one can be the lowest.
                    if seed > *seeds.end() || seed > worst.load(Ordering::Relaxed) {
                        return;
                    }
                    if !judge(plan, scenario, seed).violations.is_empty() {
                        worst.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seed = worst.into_inner();
    (seed != u64::MAX).then(|| shrink(plan, scenario, seed))
}

/// Removes one fault after the other, as long as the same rule stays violated.
fn shrink(plan: &dyn Player, scenario: &Scenario, seed: u64) -> Counterexample {
    let mut judged = judge(plan, scenario, seed);
    let rule = judged.violations.first().map(|violation| violation.rule);
    let mut scenario = scenario.clone();
    let mut at = 0;
    while at < scenario.faults.len() {
        let mut smaller = scenario.clone();
        smaller.faults.remove(at);
        let without = judge(plan, &smaller, seed);
        if without.violations.iter().any(|violation| Some(violation.rule) == rule) {
            scenario = smaller;
            judged = without;
        } else {
            at += 1;
        }
    }
    let faults = scenario.faults.iter().map(|fault| fault.number).collect();
    Counterexample { seed, violations: judged.violations, faults, outline: judged.outline }
}
