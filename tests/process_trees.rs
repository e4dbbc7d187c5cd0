//! Processes of a task that try to escape end with the program, however the program ends.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk, Served,
    escape::Escape,
    mill::{Mill, put},
    on_sockets,
};
use std::{
    fs,
    process::{Child, Command, Stdio},
};

/// Returns a folder with an input, an empty drop folder, and a run file with a task whose processes try to
/// escape.
fn desk() -> (Desk, Escape) {
    let desk = Desk::new();
    let escape = Escape::new(&desk.path("."));
    desk.write("run.toml", run_file(&escape)).write("input.txt", "x");
    fs::create_dir(desk.path("drop")).unwrap();
    (desk, escape)
}

fn run_file(escape: &Escape) -> String {
    let script = escape.script("sleep 1000");
    format!(
        "[run]\nname = \"trees\"\n[input]\nfiles = [\"input.txt\"]\n[task]\nshell = '''\n{script}\n'''\n\
         [watch]\ndirectory = \"drop\"\nstable_for = \"0s\"\n"
    )
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn no_process_of_a_task_outlives_a_killed_run() {
    let (desk, escape) = desk();
    let run = desk.dropmill(&["run", "run.toml", "--quiet"]).stdout(Stdio::null()).spawn().unwrap();
    escape.until_running();
    kill(run);
    escape.until_over();
}

#[test]
fn no_process_of_a_task_outlives_a_killed_daemon() {
    let (desk, escape) = desk();
    let mill = Mill::start(&desk, &[]);
    put(&desk, "a.txt", "x");
    escape.until_running();
    mill.kill();
    escape.until_over();
}

#[test]
fn no_process_of_a_task_outlives_a_killed_service() {
    let (desk, escape) = desk();
    let served = Served::on(&desk);
    desk.write("run.toml", on_sockets(&served) + &run_file(&escape));
    let mut client = Command::new(env!("CARGO_BIN_EXE_dropmill"));
    client.args(["run", "run.toml", "--quiet", "--state", "client"]).current_dir(desk.path("."));
    client.env("BATCH_KEY", served.text("/batch/key")).env("STORAGE_KEY", served.text("/blob/key"));
    let client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    escape.until_running();
    served.kill();
    escape.until_over();
    kill(client);
}

#[test]
fn a_task_at_its_time_limit_ends_with_all_its_processes() {
    let (desk, escape) = desk();
    desk.write("run.toml", run_file(&escape).replace("[watch]", "timeout = \"2s\"\n[watch]"));
    let said = desk.run("run.toml");
    assert_eq!(said.exit, Some(1), "{}", said.stderr);
    assert!(escape.is_over(), "{:?}", escape.running());
}

#[test]
fn a_program_is_checked_before_it_is_used_as_keeper() {
    for (program, cause) in [("/bin/true", "run_as_keeper"), ("/nowhere", "No such file")] {
        let error = dropmill::use_keeper(program).unwrap_err().to_string();
        assert!(error.contains(cause), "{program}: {error}");
    }
    dropmill::use_keeper(env!("CARGO_BIN_EXE_dropmill")).unwrap();
    let (desk, escape) = desk();
    let (run, events) =
        dropmill::Run::from_file(desk.path("run.toml")).state(desk.path("state")).start().unwrap();
    drop(events);
    escape.until_running();
    run.cancel("the test is over");
    run.finished_blocking().unwrap();
    assert!(escape.is_over(), "{:?}", escape.running());
}
