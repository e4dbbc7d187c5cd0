//! Tests that a task's processes end with it, with its keeper, or with the program, whatever they do to
//! escape.

use super::{
    super::proc,
    escape::{self, Escape, until},
    *,
};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Command;

impl Rig {
    /// Returns a launch whose processes escape, and which then runs another command.
    fn escaping(&mut self, then: &str) -> (Launch, Escape) {
        let escape = Escape::new(self.folder.path());
        (self.shell(&escape.script(then)), escape)
    }

    /// Does the same as [`Rig::escaping`], started and waited for; also returns the number of its process.
    fn escaped(&mut self, then: &str) -> (Launch, Escape, i32) {
        let (launch, escape) = self.escaping(then);
        self.order(&launch);
        let (process, _) = self.started(&launch);
        escape.until_running();
        assert!(!escape.is_over());
        (launch, escape, process.try_into().unwrap())
    }
}

fn parent(pid: i32) -> i32 {
    proc::stat(pid).unwrap().parent
}

fn children(of: i32) -> Vec<i32> {
    proc::everybody().filter(|pid| proc::stat(*pid).is_some_and(|stat| stat.parent == of)).collect()
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn escaped_processes_end_before_their_task_is_reported_as_ended() {
    let mut rig = Rig::new();
    for _ in 0..5 {
        let (launch, escape, _) = rig.escaped("until [ -e go ]; do sleep 0.01; done; exit 3");
        fs::write(rig.path(&launch, "wd/go"), "").unwrap();
        assert_eq!(rig.ended(&launch).exit_code, Some(3));
        assert!(escape.is_over(), "{:?}", escape.running());
    }
}

#[test]
fn escaped_processes_end_when_their_task_is_ended() {
    let mut rig = Rig::new();
    // Termination and a time limit are the same order; a task that ignores the signal is killed.
    for (then, code) in [("sleep 1000", 143), ("trap '' TERM; while :; do sleep 0.02; done", 137)] {
        for order in [Order::Kill, Order::Abandon] {
            let (launch, escape, _) = rig.escaped(then);
            rig.runner.carry_out(order(launch.id));
            assert_eq!(rig.ended(&launch).exit_code, Some(code), "{then}");
            assert!(escape.is_over(), "{then}: {:?}", escape.running());
        }
    }
}

#[test]
fn the_end_of_a_task_does_not_affect_escaped_processes_of_another() {
    let mut rig = Rig::new();
    let (ends, ending, _) = rig.escaped("sleep 1000");
    let (_, staying, stays) = rig.escaped("sleep 1000");
    rig.kill(&ends);
    rig.ended(&ends);
    assert!(ending.is_over(), "{:?}", ending.running());
    assert!(lives(stays));
    staying.until_running();
    rig.runner.stop();
    assert!(staying.is_over(), "{:?}", staying.running());
}

/// Variables that `a_program_that_is_killed` reads.
const PASSED: [&str; 4] =
    ["DROPMILL_TEST_ROOT", "DROPMILL_TEST_TOKEN", "DROPMILL_TEST_PIPE", "DROPMILL_TEST_BEFORE"];

/// Runs a program whose tasks let processes escape, and kills it; returns its folder and the escaped
/// processes.
fn kill_a_program(before: &str) -> (tempfile::TempDir, Escape) {
    let folder = tempfile::tempdir().unwrap();
    let escape = Escape::new(folder.path());
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "runner::tests::trees::a_program_that_is_killed", "--ignored", "--nocapture"]);
    program.env(PASSED[0], folder.path()).env(PASSED[1], &escape.token).env(PASSED[2], &escape.path);
    let ended = program.env(PASSED[3], before).output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(9), "{ended:?}");
    (folder, escape)
}

#[test]
fn escaped_processes_end_with_a_killed_program() {
    for before in ["", "kill the keeper"] {
        let (_folder, escape) = kill_a_program(before);
        escape.until_over();
    }
}

#[test]
fn the_next_program_starts_when_nothing_of_a_killed_one_is_left() {
    // The keeper kills a stopped shim after some seconds: the next program must wait that long. (The kernel
    // continues stopped processes when their process group is orphaned; this program, as their next parent in
    // the same session, prevents that.)
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let (folder, escape) = kill_a_program("stop the shims");
    assert!(!escape.is_over());
    let _rig = Rig::at(folder, |_| {});
    assert!(escape.is_over(), "beside the second execution: {:?}", escape.running());
}

#[test]
#[ignore = "a part of the tests above: it kills its own process"]
fn a_program_that_is_killed() {
    let [Ok(root), Ok(token), Ok(pipe), Ok(before)] = PASSED.map(std::env::var) else { return };
    let nodes = Path::new(&root).join("nodes");
    let mut rig = Rig::with(|settings| settings.root = nodes);
    let own = std::process::id().cast_signed();
    let shims = [(); 2].map(|()| {
        let launch = rig.shell(&escape::script(&token, Path::new(&pipe), "sleep 1000"));
        rig.order(&launch);
        parent(rig.started(&launch).0.try_into().unwrap())
    });
    escape::until_running(&token, 2);
    match &*before {
        "stop the shims" => shims.into_iter().for_each(|shim| kill(shim, Signal::STOP)),
        "kill the keeper" => kill(children(own)[0], Signal::KILL),
        _ => {}
    }
    kill(own, Signal::KILL);
}

#[test]
fn a_killed_shim_affects_only_its_own_task() {
    let mut rig = Rig::new();
    let (loses, lost, process) = rig.escaped("sleep 1000");
    let (_, staying, stays) = rig.escaped("sleep 1000");
    kill(parent(process), Signal::KILL);
    let ending = rig.ended(&loses);
    assert_eq!((ending.exit_code, ending.failure.unwrap().user_error), (None, false));
    assert!(lost.is_over(), "{:?}", lost.running());
    assert!(lives(stays));
    staying.until_running();
    assert_eq!(rig.prints("echo on"), "on\n");
}

#[test]
fn a_shim_killed_without_a_task_affects_nothing() {
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
fn a_killed_keeper_affects_nothing_and_is_replaced() {
    let mut rig = Rig::new();
    let (stays, escape, process) = rig.escaped("sleep 1000");
    let shim = parent(process);
    kill(parent(shim), Signal::KILL);
    // As many in parallel as needed to require new shims.
    let others: Vec<_> = (0..4).map(|_| rig.shell("sleep 0.1; exit 4")).collect();
    others.iter().for_each(|launch| rig.order(launch));
    let ends = rig.all_ended(&others.iter().collect::<Vec<_>>());
    assert!(ends.values().all(|ending| ending.exit_code == Some(4)), "{ends:?}");
    assert!(lives(process));
    rig.kill(&stays);
    assert_eq!(rig.ended(&stays).exit_code, Some(143));
    assert!(escape.is_over(), "{:?}", escape.running());
}

#[test]
fn without_keeper_and_shim_a_task_is_found_by_its_group_and_mark() {
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
fn orphans_that_exit_while_their_task_runs_are_reaped() {
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
fn a_program_with_a_keeper_has_no_other_children() {
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
