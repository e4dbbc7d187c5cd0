//! A program with a `main` of its own that embeds us: what its tasks started ends with it when it is killed.
//!
//! This is no ordinary test program: its `main` is what `docs/embedding.md` asks for.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk,
    trees::{run_file, token, until_escaped, until_gone},
};
use std::{os::unix::process::ExitStatusExt, path::Path, process::Command};

/// Where the program that is killed finds its run file; the word that it waits for.
const LIFE: [&str; 2] = ["EMBEDDED_KEEPER_FOLDER", "EMBEDDED_KEEPER_TOKEN"];

fn main() {
    if dropmill::run_as_keeper() {
        return;
    }
    if let [Ok(folder), Ok(token)] = LIFE.map(std::env::var) {
        return run_until_killed(Path::new(&folder), &token);
    }
    let token = token();
    let desk = Desk::new();
    desk.write("run.toml", run_file(&token)).write("input.txt", "x");
    let mut program = Command::new(std::env::current_exe().unwrap());
    let ended = program.env(LIFE[0], desk.path(".")).env(LIFE[1], &token).output().unwrap();
    assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
    until_gone(&token);
    println!("what a task of an embedded run started ended with the program");
}

fn run_until_killed(folder: &Path, token: &str) {
    let (_run, events) =
        dropmill::Run::of_file(folder.join("run.toml")).state(folder.join("state")).start().unwrap();
    drop(events);
    until_escaped(token);
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
}
