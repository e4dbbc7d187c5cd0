//! Commands of other terminals for a live run: reading its logs, cancelling it.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Desk, Ending, Served, on_sockets, run_file};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    process::{ChildStdout, Stdio},
};

/// Creates a FIFO that tasks wait for.
fn gate(desk: &Desk, name: &str) -> std::path::PathBuf {
    let path = desk.path(name);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    path
}

/// Starts `dropmill` and returns its standard output.
fn following(desk: &Desk, arguments: &[&str]) -> (Ending, BufReader<ChildStdout>) {
    let mut child = desk.dropmill(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (Ending(child), output)
}

fn line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}

/// Creates a run in which each task prints a line, waits for the FIFO, and prints another line.
fn gated(desk: &Desk, more: &str) {
    let shell = format!(
        "echo \"begins $0\"; echo warns >&2; read answer < {}; echo \"ends $answer\"",
        gate(desk, "gate").display()
    );
    desk.write("data/a.txt", "a")
        .write("run.toml", run_file(&format!("[\"sh\", \"-c\", '''{shell}''']"), more));
}

fn a_log_is_followed_while_its_task_runs(desk: &Desk, more: &str) {
    gated(desk, more);
    let mut run = desk.start("run.toml");
    run.until("task_submitted");
    let (_one, mut one) = following(desk, &["logs", "latest", "a.txt", "-f"]);
    let (_all, mut all) = following(desk, &["logs", "latest", "-f"]);
    let first = line(&mut one);
    assert!(first.starts_with("begins "), "{first}");
    assert_eq!(line(&mut all), format!("data/a.txt | {first}"));
    let error = desk.output(&["logs", "latest", "a.txt", "--stderr"]);
    assert_eq!(String::from_utf8_lossy(&error.stdout), "warns\n");
    // The task may end only from here on.
    fs::OpenOptions::new().write(true).open(desk.path("gate")).unwrap().write_all(b"well\n").unwrap();
    let mut rest = String::new();
    one.read_to_string(&mut rest).unwrap();
    let mut rest_of_all = String::new();
    all.read_to_string(&mut rest_of_all).unwrap();
    run.end().exited(0);
    let delivered = desk.read("out/data/a.txt/stdout.txt");
    assert_eq!(format!("{first}{rest}"), delivered);
    assert_eq!(rest_of_all, "data/a.txt | ends well\n");
    // The pool no longer exists.
    let after = desk.output(&["logs", "latest", "a.txt"]);
    assert_eq!(String::from_utf8_lossy(&after.stdout), delivered);
    let last = desk.output(&["logs", "latest", "a.txt", "--tail", "1"]);
    assert_eq!(String::from_utf8_lossy(&last.stdout), "ends well\n");
}

#[test]
fn a_log_is_followed_on_the_embedded_service() {
    a_log_is_followed_while_its_task_runs(&Desk::new(), "");
}

#[test]
fn a_log_is_followed_on_a_service_behind_sockets() {
    let desk = Desk::new();
    let served = Served::on(&desk);
    for (file, key) in [("batch.key", "/batch/key"), ("blob.key", "/blob/key")] {
        desk.write(file, served.text(key));
        fs::set_permissions(desk.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let keys_in_files = on_sockets(&served)
        .replace("env = \"BATCH_KEY\"", "file = \"batch.key\"")
        .replace("env = \"STORAGE_KEY\"", "file = \"blob.key\"");
    a_log_is_followed_while_its_task_runs(&desk, &keys_in_files);
    served.end();
}

#[test]
fn a_run_is_cancelled_from_another_terminal() {
    let desk = Desk::new();
    gated(&desk, "");
    let mut run = desk.start("run.toml");
    run.until("task_submitted");
    let socket = desk.files("state/runs").into_iter().find(|path| path.ends_with("control.sock"));
    let mode = fs::metadata(desk.path("state/runs").join(socket.unwrap())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let output = desk.output(&["cancel", "latest"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run.end().exited(130);
    let (code, error) = desk.refused(&["logs", "latest", "b.txt"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("has no task b.txt"), "{error}");
    let again = desk.output(&["cancel", "latest"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("has ended already"));
}

#[test]
fn a_run_is_ended_at_once_and_continued_later() {
    let desk = Desk::new();
    gated(&desk, "");
    let mut run = desk.start("run.toml");
    run.until("task_submitted");
    assert!(desk.output(&["cancel", "latest", "--now"]).status.success());
    run.end().exited(130);
    let (code, error) = desk.refused(&["cancel", "latest"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("`dropmill resume"), "{error}");
    let resumed = desk.start_with(&["resume", "latest", "--json"]);
    fs::OpenOptions::new().write(true).open(desk.path("gate")).unwrap().write_all(b"now\n").unwrap();
    resumed.end().exited(0);
    assert!(desk.read("out/data/a.txt/stdout.txt").ends_with("ends now\n"));
}

#[test]
fn a_live_run_is_shown_with_what_runs_and_an_ended_one_is_removed() {
    let desk = Desk::new();
    let empty = desk.output(&["runs"]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("`dropmill run FILE` starts one"));
    gated(&desk, "");
    let mut run = desk.start("run.toml");
    run.until("task_running");
    let output = desk.output(&["show", "latest"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("tasks       1 running of 1"), "{shown}");
    assert!(shown.contains("running     data/a.txt"), "{shown}");
    assert!(shown.contains("follow:  dropmill logs lines-"), "{shown}");
    let why = |more: &[&str]| {
        let output = desk.output(&[&["why", "latest"], more].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(why(&[]).contains("- 1 tasks are running"), "{}", why(&[]));
    assert!(
        why(&["a.txt"]).starts_with("data/a.txt: running\n- it has been running for"),
        "{}",
        why(&["a.txt"])
    );
    let listed = desk.output(&["runs"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("  running  ") && listed.starts_with("lines-"), "{listed}");
    let (code, error) = desk.refused(&["runs", "remove", "latest"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("a process works on it"), "{error}");
    fs::OpenOptions::new().write(true).open(desk.path("gate")).unwrap().write_all(b"well\n").unwrap();
    run.end().exited(0);
    let prune = |more: &[&str]| {
        let output = desk.output(&[&["runs", "prune", "--older-than"], more].concat());
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(prune(&["1d"]).1, "0 runs removed\n");
    assert!(prune(&["0s", "--dry-run"]).0.starts_with("lines-"));
    assert!(desk.output(&["runs", "remove", "lines"]).status.success());
    assert_eq!(desk.files("state/runs"), Vec::<String>::new());
    assert!(desk.read("out/data/a.txt/stdout.txt").ends_with("ends well\n"), "results stay");
}
