//! Runs that are cut off, and gone on with; runs of which something failed, and is tried again.
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

/// Every result below `out`, by its path.
fn results(desk: &Desk) -> BTreeMap<String, String> {
    desk.files("out").into_iter().map(|path| (path.clone(), desk.read(format!("out/{path}")))).collect()
}

/// How often each kind of event was said of each task, in all lives of the only run.
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

/// Twelve files, of which the last two wait until somebody opens the gate (or takes the wall away): the run cannot be
/// over before.
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
fn a_run_that_is_killed_again_and_again_comes_to_the_same_as_one_that_is_not() {
    let whole = desk(LINES, 12);
    assert_eq!(whole.run("run.toml").exit, Some(0));
    let killed = gated();
    // Each life is killed when the run has come so far, also at once when it goes on.
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
    // Only if it was not quicker than the kill is there something to go on with.
    let output = killed.output(&["run", "run.toml", "--resume", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(results(&whole), results(&killed));
    assert!(killed.processes().is_empty());
}

#[test]
fn nothing_is_said_twice_of_what_is_done_once() {
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
    // What is over is over: the same command starts anew, the other one says so.
    let run = String::from_utf8(desk.output(&["runs"]).stdout).unwrap();
    let again = desk.output(&["resume", run.split(' ').next().unwrap()]);
    assert_eq!(again.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is over"), "{again:?}");
}

#[test]
fn a_run_whose_file_changed_is_refused_by_name_and_still_resumed_as_it_was_planned() {
    let desk = gated();
    let mut going = desk.start_with(&["run", "run.toml", "--json"]);
    assert!(going.reaches("task_submitted"));
    going.kill();
    desk.write("gate", "").write("run.toml", desk.read("run.toml").replace("wc -l", "wc -c"));
    let refused = desk.output(&["run", "run.toml", "--resume"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("the tasks' commands changed since") && told.contains("dropmill resume lines-"),
        "{told}"
    );
    let run = String::from_utf8(desk.output(&["runs"]).stdout).unwrap();
    let resumed = desk.output(&["resume", run.split(' ').next().unwrap()]);
    assert_eq!(resumed.status.code(), Some(0), "{resumed:?}");
    assert_eq!(desk.read("out/data/05.txt/lines.txt").trim(), "5", "as it was planned: lines, not bytes");
}

#[test]
fn a_damaged_journal_stops_with_its_place() {
    let desk = gated();
    let mut going = desk.start_with(&["run", "run.toml", "--json"]);
    assert!(going.reaches("task_submitted"));
    going.kill();
    let run = String::from_utf8(desk.output(&["runs"]).stdout).unwrap();
    let folder = desk.path("state/runs").join(run.split(' ').next().unwrap());
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
fn what_failed_is_tried_again_and_nothing_else() {
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
    // The new results stand where those of the failures stood.
    assert_eq!(desk.read("out/data/17.txt/lines.txt").trim(), "17");
    assert!(!desk.files("out").iter().any(|path| path.contains('~')), "{:?}", desk.files("out"));
    let nothing = desk.output(&["run", "run.toml", "--skip-done"]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("all 20 inputs are done"), "{nothing:?}");
    desk.write("data/03.txt", "now\nanother\n");
    let changed = desk.output(&["run", "run.toml", "--skip-done", "--json"]);
    let told = String::from_utf8(changed.stdout).unwrap();
    let report: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(report["tasks"]["total"], 1, "only what changed");
}

#[test]
fn a_run_that_was_cut_off_before_its_journal_was_written_keeps_nobody_from_anything() {
    let desk = desk(LINES, 3);
    desk.write("state/runs/lines-19700101-000000-aaaaaa/journal.db", "");
    desk.run_with(&["run", "run.toml", "--resume", "--json"]).exited(0);
    assert_eq!(results(&desk).keys().filter(|path| path.ends_with("lines.txt")).count(), 3);
    let listed = String::from_utf8(desk.output(&["runs"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), 1, "{listed}");
}

#[test]
fn a_state_folder_that_is_taken_away_ends_the_run_and_says_so() {
    let desk = gated();
    let mut going = desk.start("run.toml");
    going.until("output_delivered");
    fs::rename(desk.path("state"), desk.path("moved")).unwrap();
    let said = going.end();
    said.exited(3);
    assert!(said.stderr.contains("was removed or replaced"), "{}", said.stderr);
    assert!(!desk.path("state").exists());
    assert_eq!(desk.processes(), Vec::<String>::new());
    // Put back, it goes on where it was.
    fs::rename(desk.path("moved"), desk.path("state")).unwrap();
    desk.write("gate", "");
    desk.run_with(&["run", "run.toml", "--resume", "--json"]).exited(0);
    assert_eq!(results(&desk).keys().filter(|path| path.ends_with("lines.txt")).count(), 12);
}
