//! A program with its own `main` that embeds Dropmill: processes started by its tasks end when it is
//! killed.
//!
//! This test program has no test harness: its `main` is written as `docs/embedding.md` requires.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk,
    escape::{Escape, until_running},
};
use std::{os::unix::process::ExitStatusExt, path::Path, process::Command};

/// Variables that name the folder of the run file, and the marker that identifies processes of the task.
const PASSED: [&str; 2] = ["EMBEDDED_KEEPER_FOLDER", "EMBEDDED_KEEPER_TOKEN"];

fn main() {
    if dropmill::run_as_keeper() {
        return;
    }
    if let [Ok(folder), Ok(token)] = PASSED.map(std::env::var) {
        return run_until_killed(Path::new(&folder), &token);
    }
    let desk = Desk::new();
    let escape = Escape::new(&desk.path("."));
    let script = escape.script("sleep 1000");
    let run_file = format!(
        "[run]\nname = \"trees\"\n[input]\nfiles = [\"input.txt\"]\n[task]\nshell = '''\n{script}\n'''\n"
    );
    desk.write("run.toml", run_file).write("input.txt", "x");
    let mut program = Command::new(std::env::current_exe().unwrap());
    let ended = program.env(PASSED[0], desk.path(".")).env(PASSED[1], &escape.token).output().unwrap();
    assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
    escape.until_over();
    println!("what a task of an embedded run started ended with the program");
}

fn run_until_killed(folder: &Path, token: &str) {
    let (_run, events) =
        dropmill::Run::from_file(folder.join("run.toml")).state(folder.join("state")).start().unwrap();
    drop(events);
    until_running(token, 1);
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
}
