//! Tests that processes which outlive their command end with their launch.

use super::{endings::marked_processes, *};

/// Runs a script that leaves processes and writes their numbers to `pids`, one per line; none may be left,
/// with or without a keeper.
fn leaves_nothing(script: &str, expected: usize) {
    for rig in [Rig::new(), Rig::without_keeper()] {
        leaves_nothing_on(rig, script, expected);
    }
}

fn leaves_nothing_on(mut rig: Rig, script: &str, expected: usize) {
    let launch = rig.shell(script);
    let ending = rig.run(&launch);
    assert_eq!((ending.exit_code, ending.failure), (Some(0), None), "{script}: {}", rig.error(&launch));
    let pids = fs::read_to_string(rig.path(&launch, "wd/pids")).unwrap();
    let pids: Vec<i32> = pids.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), expected, "{script}");
    for pid in pids {
        assert!(
            !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "{script}: {pid} is left, or unreaped"
        );
    }
    assert_eq!(marked_processes(&rig), 0, "{script}");
}

#[test]
fn background_processes_end_with_their_command() {
    leaves_nothing("sleep 1000 & echo $! > pids; sleep 1000 & echo $! >> pids", 2);
}

#[test]
fn a_double_fork_does_not_help() {
    leaves_nothing("(sh -c 'echo $$ > pids; exec sleep 1000' &) ; while ! [ -s pids ]; do :; done", 1);
}

#[test]
fn a_session_of_its_own_does_not_help() {
    leaves_nothing("setsid sh -c 'echo $$ > pids; exec sleep 1000' & while ! [ -s pids ]; do :; done", 1);
    leaves_nothing("(setsid sh -c 'echo $$ > pids; exec sleep 1000' &); while ! [ -s pids ]; do :; done", 1);
}

#[test]
fn ignoring_signals_does_not_help() {
    let script = "setsid sh -c 'trap \"\" TERM HUP INT; echo $$ > pids; while :; do sleep 1; done' &
        while ! [ -s pids ]; do :; done";
    leaves_nothing(script, 1);
}

#[test]
fn a_tree_of_sessions_is_ended_down_to_its_leaves() {
    let script = "setsid sh -c 'echo $$ >> pids; setsid sh -c \"echo \\$\\$ >> pids; setsid sleep 1000 & echo \\$! >> pids; sleep 1000\" & sleep 1000' &
        while [ \"$(wc -l < pids)\" != 3 ]; do :; done";
    leaves_nothing(&format!(": > pids; {script}"), 3);
}

#[test]
fn a_cleared_environment_does_not_help_a_process_in_the_folder() {
    leaves_nothing(
        "env -i setsid sh -c 'echo $$ > pids; exec sleep 1000' & while ! [ -s pids ]; do :; done",
        1,
    );
    let elsewhere =
        "env -i setsid sh -c 'echo $$ > pids; cd /; exec sleep 1000' & while ! [ -s pids ]; do :; done";
    leaves_nothing(elsewhere, 1);
}

#[test]
fn an_open_output_does_not_keep_the_launch_running() {
    let mut rig = Rig::new();
    let launch = rig.shell("setsid sleep 1000 & echo done");
    assert_eq!(rig.run(&launch).exit_code, Some(0));
    assert_eq!(rig.output(&launch), "done\n");
}

#[test]
fn the_end_of_a_launch_does_not_affect_processes_of_another() {
    for rig in [Rig::new(), Rig::without_keeper()] {
        one_end_leaves_others_alone(rig);
    }
}

fn one_end_leaves_others_alone(mut rig: Rig) {
    let stays =
        rig.shell("(setsid sh -c 'echo $$ > pid; exec sleep 1000' &); echo ready > ready; sleep 1000");
    rig.order(&stays);
    rig.started(&stays);
    let pid: i32 = loop {
        if let Ok(pid) = fs::read_to_string(rig.path(&stays, "wd/pid")).unwrap_or_default().trim().parse() {
            break pid;
        }
        std::thread::yield_now();
    };
    for _ in 0..20 {
        rig.prints("setsid sleep 1000 & true");
    }
    assert!(lives(pid));
    rig.kill(&stays);
    rig.ended(&stays);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn children_of_the_program_itself_are_left_alone() {
    use std::os::unix::process::CommandExt;
    let mut own = std::process::Command::new("/bin/sleep").arg("1000").process_group(0).spawn().unwrap();
    let mut rig = Rig::without_keeper();
    rig.prints("setsid sleep 1000 & true");
    assert!(own.try_wait().unwrap().is_none());
    let mut dead = std::process::Command::new("/bin/true").spawn().unwrap();
    rig.prints("setsid sleep 1000 & true");
    assert!(dead.wait().unwrap().success(), "its status must not be taken from its parent");
    rig.runner.stop();
    assert!(own.try_wait().unwrap().is_none());
    own.kill().unwrap();
    own.wait().unwrap();
}

#[test]
fn many_forks_at_once_are_all_ended() {
    let script = ": > pids; for i in $(seq 50); do (setsid sh -c 'echo $$ >> pids; exec sleep 1000' &); done
        while [ \"$(wc -l < pids)\" != 50 ]; do :; done";
    leaves_nothing(script, 50);
}
