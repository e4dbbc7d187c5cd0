//! Interrupted runs that are resumed; runs with failures that are retried.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use serde_json::Value;
use std::{collections::BTreeMap, fs};

const LINES: &str = r#"
[run]
name = "lines"
[input]
files = ["data/*.txt"]
[task]
shell = "wc -l < \"$DROPMILL_INPUT\" > lines.txt"
outputs = ["lines.txt"]
[pool]
nodes = 2
"#;

fn desk(run: &str, files: usize) -> Desk {
    let desk = Desk::new();
    desk.write("run.toml", run);
    for number in 0..files {
        desk.write(format!("data/{number:02}.txt"), "x\n".repeat(number));
    }
    desk
}

/// Returns every result below `out`, by its path.
fn results(desk: &Desk) -> BTreeMap<String, String> {
    desk.files("out").into_iter().map(|path| (path.clone(), desk.read(format!("out/{path}")))).collect()
}

/// Counts the events of each kind for each task, over all processes of the only run.
fn said(desk: &Desk) -> BTreeMap<(String, String), usize> {
    let listed = desk.output(&["runs", "--json"]).stdout;
    let run: Value = serde_json::from_slice(&listed).unwrap();
    let trace = desk.output(&["trace", run["run"].as_str().unwrap(), "--json"]).stdout;
    let mut said = BTreeMap::new();
    for line in String::from_utf8(trace).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        *said.entry((text("subject"), text("kind"))).or_default() += 1;
    }
    said
}

/// Creates twelve files, of which the last two wait until the gate is opened (or the wall is removed), so
/// that the run cannot end before.
fn gated() -> Desk {
    let desk = desk("", 12);
    desk.write("wall", "");
    let here = desk.path(".").display().to_string();
    let wait = format!(
        "case $DROPMILL_INPUT_NAME in 1*) while test -e {here}/wall -a ! -e {here}/gate; do sleep 0.01; done;; esac; wc -l"
    );
    desk.write("run.toml", LINES.replace("wc -l", &wait).replace("nodes = 2", "nodes = 3"));
    desk
}

#[test]
fn a_run_killed_repeatedly_has_the_same_results_as_an_uninterrupted_one() {
    let whole = desk(LINES, 12);
    assert_eq!(whole.run("run.toml").exit, Some(0));
    let killed = gated();
    // Each process is killed when the run has made some progress, or immediately after it resumes.
    for (life, kind) in [
        "run_started",
        "run_resumed",
        "pool_ready",
        "task_ended",
        "run_resumed",
        "output_delivered",
        "task_closed",
        "run_resumed",
    ]
    .into_iter()
    .enumerate()
    {
        let so_far = if life > 0 { said(&killed) } else { BTreeMap::new() };
        let mut going = killed.start_with(&["run", "run.toml", "--resume", "--json"]);
        let begins = if life == 0 { "run_started" } else { "run_resumed" };
        assert!(going.reaches(begins), "life {life}");
        if kind != begins && !so_far.keys().any(|(_, said)| said == kind) {
            assert!(going.reaches(kind), "{kind} in life {life}");
        }
        going.kill();
    }
    killed.write("gate", "");
    let mut going = killed.start_with(&["run", "run.toml", "--resume", "--json"]);
    assert!(going.reaches("end_asked"));
    going.kill();
    // If the run ended before the kill, there is nothing to resume.
    let output = killed.output(&["run", "run.toml", "--resume", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(results(&whole), results(&killed));
    assert!(killed.processes().is_empty());
}

#[test]
fn each_step_is_reported_once_over_all_interruptions() {
    let desk = gated();
    let mut going = desk.start_with(&["run", "run.toml", "--json"]);
    assert!(going.reaches("task_closed"));
    going.kill();
    desk.write("gate", "");
    let output = desk.output(&["run", "run.toml", "--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for ((subject, kind), count) in said(&desk) {
        if ["task_closed", "output_delivered", "input_uploaded"].contains(&&*kind) {
            assert_eq!(count, 1, "{subject} {kind}");
        }
    }
    // The run has ended: the same command starts a new run, and `resume` reports the end.
    let again = desk.output(&["resume", "latest"]);
    assert_eq!(again.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&again.stderr).contains("has ended"), "{again:?}");
}

#[test]
fn a_run_with_a_changed_run_file_is_only_resumed_by_name_as_planned() {
    let desk = gated();
    let mut going = desk.start_with(&["run", "run.toml", "--json"]);
    assert!(going.reaches("task_submitted"));
    going.kill();
    desk.write("gate", "").write("run.toml", desk.read("run.toml").replace("wc -l", "wc -c"));
    let refused = desk.output(&["run", "run.toml", "--resume"]);
    assert_eq!(refused.status.code(), Some(2));
    let printed = String::from_utf8(refused.stderr).unwrap();
    assert!(
        printed.contains("the tasks' commands changed since") && printed.contains("dropmill resume lines-"),
        "{printed}"
    );
    let resumed = desk.output(&["resume", "latest"]);
    assert_eq!(resumed.status.code(), Some(0), "{resumed:?}");
    assert_eq!(desk.read("out/data/05.txt/lines.txt").trim(), "5", "as it was planned: lines, not bytes");
}

#[test]
fn a_damaged_journal_is_reported_with_its_path() {
    let desk = gated();
    let mut going = desk.start_with(&["run", "run.toml", "--json"]);
    assert!(going.reaches("task_submitted"));
    going.kill();
    let folder = fs::read_dir(desk.path("state/runs")).unwrap().next().unwrap().unwrap().path();
    fs::write(folder.join("plan.json"), "{}").unwrap();
    let refused = desk.output(&["run", "run.toml", "--resume"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("plan.json"), "{refused:?}");
    for part in ["journal.db", "journal.db-wal"] {
        let path = folder.join(part);
        let mut bytes = fs::read(&path).unwrap_or_default();
        bytes.iter_mut().skip(40).for_each(|byte| *byte ^= 0x55);
        fs::write(path, bytes).unwrap();
    }
    let refused = desk.output(&["run", "run.toml", "--resume"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("journal.db"), "{refused:?}");
}

#[test]
fn retry_runs_only_what_failed() {
    let some_fail = LINES.replace("wc -l", "test ! -e $FAIL/$DROPMILL_INPUT_NAME && wc -l");
    let desk = desk(&some_fail, 20);
    let fail = desk.path("fail");
    desk.write("run.toml", format!("{some_fail}[task.env]\nFAIL = \"{}\"\n", fail.display()));
    for number in [2, 3, 5, 7, 11, 13, 17] {
        desk.write(format!("fail/{number:02}.txt"), "");
    }
    let first = desk.run("run.toml");
    assert_eq!(first.exited(1).report["tasks"]["failed"], 7);
    let name = first.report["run"].as_str().unwrap().to_owned();
    fs::remove_dir_all(fail).unwrap();
    let output = desk.output(&["retry", &name, "--failed", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value =
        serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!(
        (&report["tasks"]["total"], &report["tasks"]["succeeded"]),
        (&Value::from(7), &Value::from(7))
    );
    // The new results replace those of the failures.
    assert_eq!(desk.read("out/data/17.txt/lines.txt").trim(), "17");
    assert!(!desk.files("out").iter().any(|path| path.contains('~')), "{:?}", desk.files("out"));
    let nothing = desk.output(&["run", "run.toml", "--skip-done"]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("all 20 inputs are done"), "{nothing:?}");
    desk.write("data/03.txt", "now\nanother\n");
    let changed = desk.output(&["run", "run.toml", "--skip-done", "--json"]);
    let printed = String::from_utf8(changed.stdout).unwrap();
    let report: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(report["tasks"]["total"], 1, "only what changed");
}

#[test]
fn a_run_interrupted_before_its_journal_was_written_blocks_nothing() {
    let desk = desk(LINES, 3);
    desk.write("state/runs/lines-19700101-000000-aaaaaa/journal.db", "");
    desk.run_with(&["run", "run.toml", "--resume", "--json"]).exited(0);
    assert_eq!(results(&desk).keys().filter(|path| path.ends_with("lines.txt")).count(), 3);
    let listed = String::from_utf8(desk.output(&["runs", "--json"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), 1, "{listed}");
}

#[test]
fn a_removed_state_folder_ends_the_run_with_an_error() {
    let desk = gated();
    let mut going = desk.start("run.toml");
    going.until("output_delivered");
    fs::rename(desk.path("state"), desk.path("moved")).unwrap();
    let said = going.end();
    said.exited(3);
    assert!(said.stderr.contains("was removed or replaced"), "{}", said.stderr);
    assert!(!desk.path("state").exists());
    assert_eq!(desk.processes(), Vec::<String>::new());
    // After the folder is restored, the run resumes.
    fs::rename(desk.path("moved"), desk.path("state")).unwrap();
    desk.write("gate", "");
    desk.run_with(&["run", "run.toml", "--resume", "--json"]).exited(0);
    assert_eq!(results(&desk).keys().filter(|path| path.ends_with("lines.txt")).count(), 12);
}
