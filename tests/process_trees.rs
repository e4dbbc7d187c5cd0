//! Whatever the processes of a task do to get away, they end with the program, however that ends.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk, Served,
    mill::{Mill, put},
    on_sockets,
    trees::{run_file, token, until_escaped, until_gone, with_token},
};
use std::{
    fs,
    process::{Child, Command, Stdio},
};

/// A folder with an input and an empty drop folder.
fn desk(run_file: &str) -> Desk {
    let desk = Desk::new();
    desk.write("run.toml", run_file).write("input.txt", "x");
    fs::create_dir(desk.path("drop")).unwrap();
    desk
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn nothing_of_a_task_outlives_a_run_that_is_killed() {
    let token = token();
    let desk = desk(&run_file(&token));
    let run = desk.dropmill(&["run", "run.toml", "--quiet"]).stdout(Stdio::null()).spawn().unwrap();
    until_escaped(&token);
    kill(run);
    until_gone(&token);
}

#[test]
fn nothing_of_a_task_outlives_a_daemon_that_is_killed() {
    let token = token();
    let desk = desk(&run_file(&token));
    let mill = Mill::start(&desk, &[]);
    put(&desk, "a.txt", "x");
    until_escaped(&token);
    mill.kill();
    until_gone(&token);
}

#[test]
fn nothing_of_a_task_outlives_a_service_that_is_killed() {
    let token = token();
    let desk = desk("");
    let served = Served::on(&desk);
    desk.write("run.toml", on_sockets(&served) + &run_file(&token));
    let mut client = Command::new(env!("CARGO_BIN_EXE_dropmill"));
    client.args(["run", "run.toml", "--quiet", "--state", "client"]).current_dir(desk.path("."));
    client.env("BATCH_KEY", served.text("/batch/key")).env("STORAGE_KEY", served.text("/blob/key"));
    let client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_escaped(&token);
    served.kill();
    until_gone(&token);
    kill(client);
}

#[test]
fn a_task_that_hits_its_time_limit_takes_everything_with_it() {
    let token = token();
    let timed = run_file(&token).replace("[watch]", "timeout = \"2s\"\n[watch]");
    let desk = desk(&timed);
    let said = desk.run("run.toml");
    assert_eq!(said.exit, Some(1), "{}", said.stderr);
    assert_eq!(with_token(&token), [""; 0]);
}

#[test]
fn a_program_is_a_keeper_if_it_says_so() {
    for (program, cause) in [("/bin/true", "run_as_keeper"), ("/nowhere", "No such file")] {
        let error = dropmill::use_keeper(program).unwrap_err().to_string();
        assert!(error.contains(cause), "{program}: {error}");
    }
    dropmill::use_keeper(env!("CARGO_BIN_EXE_dropmill")).unwrap();
    let token = token();
    let desk = desk(&run_file(&token));
    let (run, events) =
        dropmill::Run::of_file(desk.path("run.toml")).state(desk.path("state")).start().unwrap();
    drop(events);
    until_escaped(&token);
    run.cancel("the test is over");
    run.finished_blocking().unwrap();
    assert_eq!(with_token(&token), [""; 0]);
}
