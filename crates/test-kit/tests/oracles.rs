//! The rules hold under all faults of a correct client, and a defective client violates them.

mod common;

use common::plan;
use dropmill_test_kit::{Scenario, Simulation, explore, oracle};

const MIXED: &str = include_str!("../../../tests/traces/mixed-faults.scenario.toml");

#[test]
fn an_uneventful_run_breaks_no_rule() {
    let run = Simulation::of(plan(5)).run();
    assert_eq!(oracle::check(&run), []);
    assert_eq!(run.remains, Vec::<String>::new());
}

#[test]
fn mixed_faults_break_no_rule() {
    let scenario = Scenario::parse(MIXED).unwrap();
    if let Some(found) = explore::seeds(&plan(12), &scenario, 1..=60) {
        panic!("{found:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = Scenario::parse(MIXED).unwrap();
    let run = |seed| {
        let run = Simulation::of(plan(8)).scenario(scenario.clone()).seed(seed).run();
        (run.trace(), run.struck, run.requests)
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first.0, run(8).0);
    assert!(!first.1.is_empty(), "no fault was injected");
}
