//! `dropmill simulate` and `dropmill trace test`: the simulated world on the command line.

mod common;

use common::{Desk, run_file};
use std::process::Output;

const MIXED: &str = include_str!("traces/mixed-faults.scenario.toml");

fn desk() -> Desk {
    let desk = Desk::new();
    for name in ["a", "b", "c", "d"] {
        desk.write(format!("data/{name}.txt"), name);
    }
    let file = run_file(r#"["work"]"#, "").replace("command =", "outputs = [\"*.csv\"]\ncommand =");
    desk.write("run.toml", file);
    desk.write("mixed.scenario.toml", MIXED.replace("# run: run.toml\n", ""));
    desk
}

#[track_caller]
fn text(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}\n{stderr}");
    said
}

#[test]
fn every_scenario_of_the_project_has_its_outline() {
    let desk = Desk::new();
    let traces = format!("{}/tests/traces", env!("CARGO_MANIFEST_DIR"));
    let mut command = desk.dropmill(&["trace", "test", &traces]);
    // Each of these run files names its slots.
    let output = command.env_remove("DROPMILL__POOL__SLOTS_PER_NODE").output().unwrap();
    let said = text(&output, 0);
    assert!(said.ends_with(" scenarios, 0 different\n"), "{said}");
    assert!(said.lines().count() > 12, "{said}");
}

#[test]
fn a_seed_gives_the_same_trace_in_every_process() {
    let desk = desk();
    let trace = |seed| {
        let arguments =
            ["simulate", "run.toml", "--scenario", "mixed.scenario.toml", "--json", "--seed", seed];
        let output = desk.output(&arguments);
        assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.stdout, output.stderr)
    };
    let first = trace("5");
    for _ in 0..4 {
        assert!(trace("5") == first);
    }
    assert!(trace("6").0 != first.0);
    assert!(!desk.path("state").exists() && !desk.path("out").exists(), "nothing was written");
}

#[test]
fn many_seeds_are_checked_and_counted() {
    let desk = desk();
    let arguments = ["simulate", "run.toml", "--scenario", "mixed.scenario.toml", "--seeds", "1..20"];
    assert!(text(&desk.output(&arguments), 0).starts_with("20 seeds: no rule broken"));
}

#[test]
fn exit_codes_are_those_of_the_run() {
    let desk = desk();
    assert!(text(&desk.output(&["simulate", "run.toml", "--outline"]), 0).contains("4 x task"));
    desk.write("fails.toml", "[[tasks]]\nwhich = \"b.txt\"\nexit_code = 3\n");
    let said = text(&desk.output(&["simulate", "run.toml", "--scenario", "fails.toml", "--outline"]), 1);
    assert!(said.contains("failed: exit code 3"), "{said}");
}

#[test]
fn mistakes_are_reported() {
    let desk = desk();
    desk.write("wrong.toml", "[[fault]]\non = [\"add task collection\"]\ndo = \"refuse\"\n")
        .write("empty/x", "");
    for (arguments, expected) in [
        (
            &["simulate", "run.toml", "--scenario", "wrong.toml"][..],
            "unknown operation \"add task collection\"",
        ),
        (&["simulate", "run.toml", "--scenario", "missing.toml"], "missing.toml: No such file"),
        (&["simulate", "run.toml", "--seeds", "9..1"], "the smaller one first"),
        (&["simulate", "missing.toml"], "file not found"),
        (&["trace", "test", "empty"], "it contains no *.scenario.toml"),
        (&["trace", "frobnicate", "empty"], "use `test`, `accept`"),
    ] {
        let output = desk.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn an_outline_is_accepted_locally_and_tested_afterwards() {
    let desk = desk();
    let run = "# run: ../run.toml\n";
    desk.write("traces/busy.scenario.toml", format!("{run}[[fault]]\ndo = \"status\"\nnth = 3\n"));
    let said = text(&desk.output(&["trace", "test", "traces"]), 1);
    assert!(
        said.contains("different  busy.scenario.toml") && said.contains("  run, new\n    + started"),
        "{said}"
    );
    let mut accept = desk.dropmill(&["trace", "accept", "traces"]);
    assert_eq!(accept.env("CI", "true").output().unwrap().status.code(), Some(2), "never in CI");
    let mut accept = desk.dropmill(&["trace", "accept", "traces"]);
    text(&accept.env_remove("CI").output().unwrap(), 0);
    text(&desk.output(&["trace", "test", "traces"]), 0);
    desk.write("traces/busy.scenario.toml", format!("{run}[[tasks]]\nwhich = \"a.txt\"\nexit_code = 1\n"));
    let said = text(&desk.output(&["trace", "test", "traces"]), 1);
    assert!(
        said.contains("    - ended (exit code 0)") && said.contains("    + failed: exit code 1"),
        "{said}"
    );
}

#[test]
fn two_runs_are_compared_and_differences_are_shown() {
    let desk = desk();
    desk.write("fails.toml", "[[tasks]]\nwhich = \"b.txt\"\nexit_code = 3\n");
    let events =
        |more: &[&str], code| text(&desk.output(&[&["simulate", "run.toml", "--json"], more].concat()), code);
    desk.write("one.jsonl", events(&[], 0)).write("same.jsonl", events(&["--seed", "9"], 0));
    desk.write("other.jsonl", events(&["--scenario", "fails.toml"], 1)).write("broken.jsonl", "{}\n");
    let same = text(&desk.output(&["trace", "compare", "one.jsonl", "same.jsonl"]), 0);
    assert_eq!(same, "no differences\n");
    let printed = text(&desk.output(&["trace", "compare", "one.jsonl", "other.jsonl"]), 1);
    assert!(printed.contains("- only one.jsonl\n+ only other.jsonl\n"), "{printed}");
    assert!(
        printed.contains("  - ended (exit code 0)") && printed.contains("  + ended (exit code 3"),
        "{printed}"
    );
    assert!(!printed.contains("task/a"), "equal histories are not shown: {printed}");
    for (arguments, expected) in [
        (&["trace", "compare", "one.jsonl"][..], "the second run is missing"),
        (&["trace", "compare", "one.jsonl", "broken.jsonl"], "broken.jsonl: line 1"),
    ] {
        let output = desk.output(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}");
    }
}
