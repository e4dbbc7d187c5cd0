//! The rules hold whatever goes wrong; and they are broken when the client is.

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
fn a_seed_is_a_story() {
    let scenario = Scenario::parse(MIXED).unwrap();
    let tell = |seed| {
        let run = Simulation::of(plan(8)).scenario(scenario.clone()).seed(seed).run();
        (run.trace(), run.struck, run.requests)
    };
    let first = tell(7);
    assert_eq!(first, tell(7));
    assert_ne!(first.0, tell(8).0);
    assert!(!first.1.is_empty(), "faults struck");
}
