//! Whatever a task does to get away, its processes end with it, with its keeper, or with the program.

use super::{super::proc, *};
use rustix::process::{Pid, Signal, kill_process};
use std::{process::Command, time::Instant};

/// Four ways to get away at once. Each process has `TOKEN` in its command line and nothing else in common with the
/// task: no environment, no folder, no open file, no session, and no parent.
const ESCAPES: &str = "
    exec < /dev/null > /dev/null 2>&1
    cd /
    env -i sleep TOKEN &
    env -i setsid sleep TOKEN &
    env -i sh -c '(setsid sleep TOKEN &)' &
    env -i setsid sh -c 'chain() { chain & exit; }; chain TOKEN' &
";

/// A word that no other process of this machine has in its command line, and that `sleep` takes for a length of time.
fn token() -> String {
    static USED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = USED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("7{:07}.{number:04}", std::process::id())
}

/// The living processes with a word in their command line.
fn with_token(token: &str) -> Vec<i32> {
    let has_token = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(token))
    };
    proc::everybody().filter(|pid| *pid != std::process::id().cast_signed()).filter(has_token).collect()
}

/// Waits for a state; the only limit is that of a failing test.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "{what}");
        std::thread::yield_now();
    }
}

/// Waits until all escapes of a script got away: three that sleep, and the chain.
fn until_escaped(token: &str) {
    let sleeps =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    until("everything escapes", || {
        let (sleeping, others): (Vec<_>, Vec<_>) = with_token(token).into_iter().partition(sleeps);
        sleeping.len() == 3 && !others.is_empty()
    });
}

impl Rig {
    /// A launch that lets processes escape, and then does something else.
    fn escaping(&mut self, token: &str, then: &str) -> Launch {
        let script = ESCAPES.replace("TOKEN", token);
        self.shell(&format!("({script})\n{then}"))
    }
}

/// What a command must see to go on: all that it started got away.
const ALL_ESCAPED: &str = "until [ -e go ]; do sleep 0.01; done";

fn parent(pid: i32) -> i32 {
    proc::stat(pid).unwrap().parent
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn what_got_away_from_a_task_ends_before_the_task_is_reported_as_ended() {
    let mut rig = Rig::new();
    for _ in 0..5 {
        let token = token();
        let launch = rig.escaping(&token, &format!("{ALL_ESCAPED}; exit 3"));
        rig.order(&launch);
        rig.started(&launch);
        until_escaped(&token);
        fs::write(rig.path(&launch, "wd/go"), "").unwrap();
        assert_eq!(rig.ended(&launch).exit_code, Some(3));
        assert_eq!(with_token(&token), [0; 0]);
    }
}

#[test]
fn what_got_away_from_a_task_ends_when_the_task_is_ended() {
    let mut rig = Rig::new();
    // A termination and a time limit are the same order; a task that ignores the signal is killed.
    for (then, code) in [("sleep 1000", 143), ("trap '' TERM; while :; do sleep 0.02; done", 137)] {
        for order in [Order::Kill, Order::Abandon] {
            let token = token();
            let launch = rig.escaping(&token, then);
            rig.order(&launch);
            rig.started(&launch);
            until_escaped(&token);
            rig.runner.carry_out(order(launch.id));
            assert_eq!(rig.ended(&launch).exit_code, Some(code), "{then}");
            assert_eq!(with_token(&token), [0; 0], "{then}");
        }
    }
}

#[test]
fn the_end_of_one_task_leaves_alone_what_got_away_from_another() {
    let mut rig = Rig::new();
    let tokens = [token(), token()];
    let launches = tokens.each_ref().map(|token| rig.escaping(token, "sleep 1000"));
    for (launch, token) in launches.iter().zip(&tokens) {
        rig.order(launch);
        rig.started(launch);
        until_escaped(token);
    }
    rig.kill(&launches[0]);
    rig.ended(&launches[0]);
    assert_eq!(with_token(&tokens[0]), [0; 0]);
    until_escaped(&tokens[1]);
    rig.runner.stop();
    assert_eq!(with_token(&tokens[1]), [0; 0]);
}

/// The token of the test in its other half, see `a_program_that_is_killed`.
const TOKEN: &str = "DROPMILL_TEST_TOKEN";

#[test]
fn what_got_away_ends_with_a_program_that_is_killed_and_before_the_next_one_begins() {
    for next_begins_at_once in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let token = token();
        let life = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runner::tests::trees::a_program_that_is_killed", "--ignored", "--nocapture"])
            .env("DROPMILL_TEST_ROOT", folder.path())
            .env(TOKEN, &token)
            .output()
            .unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&life.status), Some(9), "{life:?}");
        if next_begins_at_once {
            let _rig = Rig::at(folder, |_| {});
            assert_eq!(with_token(&token), [0; 0], "beside the second execution");
        } else {
            until("all ends with the program", || with_token(&token).is_empty());
        }
    }
}

#[test]
#[ignore = "the other half of the test before: it kills its own process"]
fn a_program_that_is_killed() {
    let (Some(root), Ok(token)) = (std::env::var_os("DROPMILL_TEST_ROOT"), std::env::var(TOKEN)) else {
        return;
    };
    let nodes = Path::new(&root).join("nodes");
    let mut rig = Rig::with(|settings| settings.root = nodes);
    // The token must not be found in this process's own command line, and it is not: it is a variable.
    for _ in 0..2 {
        let launch = rig.escaping(&token, "sleep 1000");
        rig.order(&launch);
        rig.started(&launch);
    }
    let sleeps =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    until("everything escapes", || with_token(&token).iter().filter(|pid| sleeps(pid)).count() == 6);
    kill(std::process::id().cast_signed(), Signal::KILL);
}

#[test]
fn a_killed_shim_costs_its_own_task_alone() {
    let mut rig = Rig::new();
    let tokens = [token(), token()];
    let launches = tokens.each_ref().map(|token| rig.escaping(token, "sleep 1000"));
    let processes = launches.each_ref().map(|launch| {
        rig.order(launch);
        i32::try_from(rig.started(launch).0).unwrap()
    });
    tokens.iter().for_each(|token| until_escaped(token));
    kill(parent(processes[0]), Signal::KILL);
    let ending = rig.ended(&launches[0]);
    assert_eq!((ending.exit_code, ending.failure.unwrap().user_error), (None, false));
    assert_eq!(with_token(&tokens[0]), [0; 0]);
    assert!(!lives(processes[0]) && lives(processes[1]));
    until_escaped(&tokens[1]);
    assert_eq!(rig.prints("echo on"), "on\n");
}

#[test]
fn a_shim_that_was_killed_without_a_task_costs_nothing() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        let launch = rig.shell("echo $PPID");
        let ending = rig.run(&launch);
        assert_eq!((ending.exit_code, ending.failure), (Some(0), None));
        let shim = rig.output(&launch).trim().parse().unwrap();
        kill(shim, Signal::KILL);
        until("the shim ends", || !lives(shim));
    }
}

#[test]
fn a_killed_keeper_costs_nothing_and_another_one_takes_its_place() {
    let mut rig = Rig::new();
    let token = token();
    let stays = rig.escaping(&token, "sleep 1000");
    rig.order(&stays);
    let process = rig.started(&stays).0.try_into().unwrap();
    until_escaped(&token);
    let shim = parent(process);
    kill(parent(shim), Signal::KILL);
    // As many at once as need new shims.
    let others: Vec<_> = (0..4).map(|_| rig.shell("sleep 0.1; exit 4")).collect();
    others.iter().for_each(|launch| rig.order(launch));
    let ends = rig.all_ended(&others.iter().collect::<Vec<_>>());
    assert!(ends.values().all(|ending| ending.exit_code == Some(4)), "{ends:?}");
    assert!(lives(process));
    rig.kill(&stays);
    assert_eq!(rig.ended(&stays).exit_code, Some(143));
    assert_eq!(with_token(&token), [0; 0]);
}

#[test]
fn with_keeper_and_shim_killed_a_tasks_group_and_mark_are_what_is_left_to_find_it() {
    let mut rig = Rig::new();
    let launch = rig.shell("setsid sleep 1000 & echo $!; exec sleep 1000");
    rig.order(&launch);
    let process = rig.started(&launch).0.try_into().unwrap();
    until("its child runs", || rig.output(&launch).ends_with('\n'));
    let child = rig.output(&launch).trim().parse().unwrap();
    let shim = parent(process);
    kill(parent(shim), Signal::KILL);
    kill(shim, Signal::KILL);
    let ending = rig.ended(&launch);
    assert_eq!((ending.exit_code, ending.failure.unwrap().user_error), (None, false));
    assert!(!lives(process) && !lives(child));
    assert_eq!(rig.prints("echo on"), "on\n");
}

#[test]
fn a_signal_to_every_process_ends_no_shim_and_no_keeper() {
    let mut rig = Rig::new();
    let launch = rig.shell("trap 'exit 6' USR1; echo $PPID; while :; do sleep 0.02; done");
    rig.order(&launch);
    let process = rig.started(&launch).0.try_into().unwrap();
    until("it listens", || rig.output(&launch).ends_with('\n'));
    let shim = rig.output(&launch).trim().parse().unwrap();
    assert_eq!(parent(process), shim);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        kill(shim, signal);
        kill(parent(shim), signal);
    }
    kill(process, Signal::USR1);
    assert_eq!(rig.ended(&launch).exit_code, Some(6));
    // Tasks get the default actions, not those of the shim.
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131), ("PIPE", 141)] {
        let launch = rig.shell(&format!("ulimit -c 0; sh -c 'kill -{signal} $$; sleep 1000'; exit $?"));
        assert_eq!(rig.run(&launch).exit_code, Some(code), "{signal}");
    }
}

#[test]
fn orphans_that_die_while_their_task_runs_are_reaped() {
    let mut rig = Rig::new();
    let launch = rig.shell("for i in $(seq 50); do (setsid true &); done; echo done; sleep 1000");
    rig.order(&launch);
    let process: i32 = rig.started(&launch).0.try_into().unwrap();
    until("it made its orphans", || rig.output(&launch).ends_with('\n'));
    let shim = parent(process);
    let children =
        || proc::everybody().filter(|pid| proc::stat(*pid).is_some_and(|stat| stat.parent == shim));
    until("only the task is left", || children().eq([process]));
    rig.kill(&launch);
    assert_eq!(rig.ended(&launch).exit_code, Some(143));
}

#[test]
fn a_program_with_a_keeper_has_no_children_but_that() {
    let mut rig = Rig::new();
    let launch = rig
        .shell("(setsid sh -c 'echo $$ > pid; exec sleep 1000' &); until [ -s pid ]; do :; done; sleep 1000");
    rig.order(&launch);
    let process = rig.started(&launch).0.try_into().unwrap();
    let keeper = parent(parent(process));
    assert_eq!(parent(keeper), std::process::id().cast_signed());
    let name = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    // In tests the keeper has the arguments of a test.
    assert!(name(keeper).starts_with("task-keeper\0") && name(parent(process)).starts_with("task-shim\0"));
    let environment = fs::read_to_string(format!("/proc/{}/environ", parent(process))).unwrap();
    assert!(
        environment
            .split_terminator('\0')
            .all(|entry| entry.starts_with("DROPMILL_KEEPER=") || entry.starts_with("LD_LIBRARY_PATH=")),
        "{environment}"
    );
    rig.runner.stop();
    assert!(!lives(keeper));
    assert!(!Path::new(&format!("/proc/{keeper}")).exists(), "it is reaped");
}
