//! Tests kills in every stage, and the end of the runner.

use super::*;

#[test]
fn a_kill_begins_with_a_termination_signal() {
    let mut rig = Rig::with(|settings| settings.grace = SOON);
    let launch = rig.shell("trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.02; done");
    rig.order(&launch);
    rig.started(&launch);
    wait_for_output(&rig, &launch);
    rig.kill(&launch);
    assert_eq!(rig.ended(&launch).exit_code, Some(5));
    assert_eq!(rig.output(&launch), "ready\nasked\n");
}

#[test]
fn a_process_that_ignores_the_signal_is_killed_after_the_grace_period() {
    let mut rig = Rig::new();
    let launch = rig.shell("trap '' TERM; echo ready; while :; do sleep 0.02; done");
    rig.order(&launch);
    rig.started(&launch);
    wait_for_output(&rig, &launch);
    rig.kill(&launch);
    let ending = rig.ended(&launch);
    assert_eq!((ending.exit_code, ending.failure), (Some(137), None));
}

#[test]
fn a_kill_reaches_the_whole_group() {
    let mut rig = Rig::new();
    let launch = rig.shell("sleep 1000 & echo $!; sleep 1000 & echo $!; wait");
    rig.order(&launch);
    rig.started(&launch);
    while wait_for_output(&rig, &launch).lines().count() < 2 {
        std::thread::yield_now();
    }
    rig.kill(&launch);
    assert_eq!(rig.ended(&launch).exit_code, Some(143));
    for pid in rig.output(&launch).lines() {
        assert!(!lives(pid.parse().unwrap()), "{pid}");
    }
}

#[test]
fn a_stopped_process_can_be_killed_too() {
    let mut rig = Rig::new();
    let launch = rig.shell("kill -STOP $$");
    rig.order(&launch);
    let (process, _) = rig.started(&launch);
    let is_stopped = || fs::read_to_string(format!("/proc/{process}/stat")).unwrap().contains(") T ");
    while !is_stopped() {
        std::thread::yield_now();
    }
    rig.kill(&launch);
    assert_eq!(rig.ended(&launch).exit_code, Some(137));
}

#[test]
fn outputs_of_a_killed_task_are_stored() {
    let mut rig = Rig::new();
    let mut launch = rig.shell("echo ready; sleep 1000");
    launch.last_try = false;
    launch.output_files = vec![output("../stdout.txt", "log")];
    rig.order(&launch);
    rig.started(&launch);
    wait_for_output(&rig, &launch);
    rig.kill(&launch);
    assert_eq!(rig.ended(&launch).exit_code, Some(143));
    assert_eq!(rig.door.content("log"), b"ready\n");
}

#[test]
fn outputs_of_an_abandoned_attempt_are_not_stored() {
    let mut rig = Rig::new();
    let mut launch = rig.shell("echo ready; sleep 1000");
    launch.output_files = vec![output("../stdout.txt", "log")];
    rig.order(&launch);
    rig.started(&launch);
    wait_for_output(&rig, &launch);
    rig.runner.carry_out(Order::Abandon(launch.id));
    let ending = rig.ended(&launch);
    assert_eq!((ending.exit_code, ending.failure.unwrap().code), (Some(143), "TaskEnded".into()));
    assert_eq!(rig.door.stored(), [""; 0]);
}

#[test]
fn a_kill_during_downloads_prevents_the_start_of_the_command() {
    let mut rig = Rig::new();
    rig.door.put("a", b"1");
    let mut launch = rig.shell("true");
    launch.resource_files = vec![resource("a", "a"), resource("a", "b")];
    launch.output_files = vec![output("**", "x")];
    let (comes, open) = rig.door.close();
    rig.order(&launch);
    comes.recv_timeout(SOON).unwrap();
    rig.kill(&launch);
    drop(open);
    let NodeEvent::Ended { ending, .. } = rig.event() else { panic!("it was started") };
    assert_eq!((ending.exit_code, ending.failure.unwrap().code), (None, "TaskEnded".into()));
    assert!(rig.path(&launch, "wd/a").exists() && !rig.path(&launch, "wd/b").exists());
    assert_eq!(rig.door.stored(), [""; 0]);
}

#[test]
fn a_kill_during_uploads_ends_them() {
    let mut rig = Rig::new();
    let mut launch = rig.shell("for i in $(seq 1000); do : > $i; done; exit 4");
    launch.output_files = vec![output("*", "x")];
    let (comes, open) = rig.door.close();
    rig.order(&launch);
    comes.recv_timeout(SOON).unwrap();
    rig.kill(&launch);
    drop(open);
    let ending = rig.ended(&launch);
    assert_eq!((ending.exit_code, ending.failure.unwrap().code), (Some(4), "TaskEnded".into()));
    let stored = rig.door.stored().len();
    assert!(0 < stored && stored < 1000, "{stored}");
}

#[test]
fn a_late_kill_or_one_for_an_unknown_launch_does_nothing() {
    let mut rig = Rig::new();
    let launch = rig.shell("true");
    rig.run(&launch);
    rig.kill(&launch);
    rig.runner.carry_out(Order::Kill(999));
    assert_eq!(rig.prints("echo on"), "on\n");
}

#[test]
fn a_kill_at_the_same_time_as_the_order_leaves_nothing_running() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        let launch = rig.shell("sleep 1000");
        rig.order(&launch);
        rig.kill(&launch);
        let ending = rig.ended(&launch);
        assert!(matches!(ending.exit_code, None | Some(143 | 137)), "{ending:?}");
    }
}

#[test]
fn a_stop_ends_everything_without_reports() {
    let mut rig = Rig::new();
    let launches: Vec<_> = (0..20)
        .map(|index| match index % 3 {
            0 => rig.shell("echo ready; sleep 1000"),
            1 => rig.shell("trap '' TERM; echo ready; while :; do sleep 0.02; done"),
            _ => rig.shell("setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.02; done' & wait"),
        })
        .collect();
    launches.iter().for_each(|launch| rig.order(launch));
    let pids: Vec<_> = (0..20)
        .map(|_| match rig.event() {
            NodeEvent::Started { process: Some((pid, _)), .. } => pid,
            other => panic!("{other:?}"),
        })
        .collect();
    launches.iter().for_each(|launch| drop(wait_for_output(&rig, launch)));
    rig.runner.stop();
    assert!(rig.events.try_recv().is_err(), "what a stop cuts off is not reported");
    for pid in pids {
        assert!(!lives(pid.try_into().unwrap()));
    }
    assert_eq!(marked_processes(&rig), 0);
    rig.runner.stop();
    let late = rig.shell("echo late > late");
    rig.order(&late);
    assert!(!rig.path(&late, "wd").exists());
}

#[test]
fn processes_of_a_previous_process_are_ended_at_the_start() {
    let Rig { runner, folder, .. } = Rig::new();
    runner.stop();
    let marked = |mark: &str| {
        std::process::Command::new("/bin/sleep").arg("1000").env("DROPMILL_LAUNCH", mark).spawn().unwrap()
    };
    let mut left = marked(&runner.shared.orphans.tag(7));
    let mut other = marked("0123456789abcdef-7");
    let second = Rig::at(folder, |_| {});
    assert!(left.wait().is_err(), "it was ended and reaped");
    assert!(lives(other.id().try_into().unwrap()), "another root's task is none of ours");
    second.runner.stop();
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn processes_of_a_killed_service_are_ended_after_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let life = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runner::tests::endings::a_service_that_is_killed", "--ignored", "--nocapture"])
        .env("DROPMILL_TEST_ROOT", folder.path())
        .output()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&life.status), Some(9), "{life:?}");
    let pids = fs::read_to_string(folder.path().join("pids")).unwrap();
    let pids: Vec<i32> = pids.lines().map(|line| line.parse().unwrap()).collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    let rig = Rig::at(folder, |_| {});
    assert!(!pids.iter().any(|pid| lives(*pid)), "{pids:?}");
    assert_eq!(marked_processes(&rig), 0);
}

#[test]
#[ignore = "a part of the test above: it kills its own process"]
fn a_service_that_is_killed() {
    let Some(root) = std::env::var_os("DROPMILL_TEST_ROOT") else { return };
    let settings = RunnerSettings::new(Path::new(&root).join("nodes"), "local", "http://127.0.0.1:1");
    let pids = Path::new(&root).join("pids");
    // Without a keeper: with one, no process would be left.
    let mut rig =
        Rig::at(tempfile::tempdir().unwrap(), |ours| *ours = RunnerSettings { keeper: None, ..settings });
    let leave = "setsid sh -c 'echo $$ >> $PIDS; exec sleep 1000' & sleep 1000 & echo $! >> $PIDS; echo $$ >> $PIDS; wait";
    let mut launch = rig.shell(leave);
    launch.environment = vec![("PIDS".into(), pids.to_str().unwrap().into())];
    rig.order(&launch);
    rig.started(&launch);
    while fs::read_to_string(&pids).unwrap_or_default().lines().count() < 3 {
        std::thread::yield_now();
    }
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
}

#[test]
fn groups_of_a_previous_process_are_ended_if_they_are_still_the_same() {
    use std::os::unix::process::CommandExt;
    let rig = Rig::new();
    let mut left = std::process::Command::new("/bin/sleep").arg("1000").process_group(0).spawn().unwrap();
    let start = super::super::proc::start_time(rustix::process::Pid::from_child(&left)).unwrap();
    rig.runner.end_leftovers(&[(left.id(), start + 1), (u32::MAX, 1), (4_000_000, 1)]);
    assert!(left.try_wait().unwrap().is_none(), "another start time is another process");
    rig.runner.end_leftovers(&[(left.id(), start)]);
    assert!(!left.wait().unwrap().success());
}

/// Waits until the command has printed something, so that its setup is complete.
fn wait_for_output(rig: &Rig, launch: &Launch) -> String {
    loop {
        let text = rig.output(launch);
        if text.ends_with('\n') {
            return text;
        }
        std::thread::yield_now();
    }
}

/// Returns the number of processes with the mark of this rig's root.
pub(super) fn marked_processes(rig: &Rig) -> usize {
    let mark = format!("DROPMILL_LAUNCH={}", rig.runner.shared.orphans.tag(0).trim_end_matches('0'));
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("environ")).ok())
        .filter(|environment| {
            environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes()))
        })
        .count()
}
