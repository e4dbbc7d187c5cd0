//! Tasks that we ended are unfinished: their output looks like a result but is not one.

mod common;

use common::{Desk, Going, mill::PATIENCE, run_file};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Writes half a result, reports that, and writes the other half if it may: never in a first run.
const HALVES: &str = r#"["/bin/sh", "-c", """
trap '' TERM
echo first > up.out
: > "$DESK/began-$DROPMILL_INPUT_NAME"
while [ ! -e "$DESK/go" ]; do sleep 0.05; done
echo last >> up.out
"""]
outputs = ["up.out"]"#;

fn desk(more: &str) -> Desk {
    let desk = Desk::new();
    for name in ["a", "b", "c"] {
        desk.write(format!("data/{name}.txt"), name);
    }
    let place = desk.path(".").display().to_string();
    desk.write("run.toml", run_file(HALVES, more) + &format!("[task.env]\nDESK = \"{place}\"\n"));
    desk
}

/// Waits until all tasks have written the first half.
fn all_began(desk: &Desk, run: &mut Going) {
    run.until("task_running");
    let until = Instant::now() + PATIENCE;
    while !["a", "b", "c"].iter().all(|name| desk.path(format!("began-{name}.txt")).exists()) {
        assert!(Instant::now() < until, "the tasks did not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn half_a_result_is_not_delivered_and_the_next_run_delivers_the_whole_one() {
    let desk = desk("");
    let mut run = desk.start("run.toml");
    all_began(&desk, &mut run);
    run.signal(Signal::TERM);
    let said = run.end();
    said.exited(130);
    assert_eq!(said.report["tasks"]["unfinished"], 3, "{:#}", said.report);
    assert_eq!(desk.files("out"), Vec::<String>::new());
    // It is not deleted either.
    assert!(said.report["left_behind"].to_string().contains("container/"), "{:#}", said.report);

    desk.write("go", "");
    desk.run("run.toml").exited(0);
    let whole: Vec<_> =
        ["a", "b", "c"].iter().map(|name| desk.read(format!("out/data/{name}.txt/up.out"))).collect();
    assert_eq!(whole, ["first\nlast\n"; 3]);
    assert_eq!(desk.files("out").iter().filter(|file| file.contains('~')).count(), 0);
}

#[test]
fn a_deadline_of_the_run_delivers_no_half_results() {
    let desk = desk("[run.deadlines]\n");
    let mut run = desk.start_with(&["run", "run.toml", "--json", "--set", "run.deadline=2s"]);
    while run.reaches("task_ended") {}
    let said = run.end();
    said.exited(4);
    assert_eq!(said.of("output_delivered").len(), 0);
    assert_eq!(desk.files("out"), Vec::<String>::new());
}

#[test]
fn a_run_killed_after_an_interrupt_delivers_no_half_results() {
    let desk = desk("");
    let mut run = desk.start("run.toml");
    all_began(&desk, &mut run);
    run.signal(Signal::TERM);
    run.until("end_asked");
    run.kill();
    let name = desk.dropmill(&["runs", "--json"]).output().unwrap();
    let name = String::from_utf8_lossy(&name.stdout).into_owned();
    let name = serde_json::from_str::<serde_json::Value>(name.lines().next().unwrap()).unwrap();
    let run = name["run"].as_str().unwrap();
    let said = desk.run_with(&["resume", run, "--json"]);
    said.exited(130);
    assert_eq!(said.report["tasks"]["unfinished"], 3, "{:#}", said.report);
    assert_eq!(desk.files("out"), Vec::<String>::new());
}
