//! Tests instances of a task on several nodes: a coordination command, a wait, and what follows.

use super::{endings::marked_processes, *};
use crate::orders::Coordination;

/// Returns a launch with a coordination command, in the folder of an instance.
fn instance(rig: &mut Rig, coordination: &str, own: Option<&str>) -> Launch {
    let mut launch = rig.shell(own.unwrap_or_default());
    launch.directory = format!("workitems/job/job-1/task/{}", i32::from(own.is_none()));
    launch.environment = vec![("AZ_BATCH_TASK_SHARED_DIR".into(), "workitems/job/job-1/task".into())];
    launch.coordination = Some(Coordination {
        command_line: command_line::quote(["/bin/sh", "-c", coordination]),
        common_resource_files: vec![resource("common", "common.txt")],
        is_primary: own.is_some(),
    });
    launch
}

fn coordinated(rig: &Rig, launch: &Launch) {
    rig.started(launch);
    assert_eq!(rig.event(), NodeEvent::Coordinated { launch: launch.id });
}

fn rig() -> Rig {
    let rig = Rig::new();
    rig.door.put("common", b"of all");
    rig.door.put("own", b"of one");
    rig
}

#[test]
fn the_primary_runs_its_command_after_the_coordination_when_allowed() {
    let mut rig = rig();
    let own = "echo then; cat $AZ_BATCH_TASK_SHARED_DIR/common.txt own.txt; exit 3";
    let mut launch = instance(&mut rig, "echo first; pwd > where", Some(own));
    launch.resource_files = vec![resource("own", "own.txt")];
    launch.output_files = vec![output("../stdout.txt", "log")];
    rig.order(&launch);
    coordinated(&rig, &launch);
    assert_eq!(rig.output(&launch), "first\n", "it waits");
    rig.runner.carry_out(Order::GoOn(launch.id));
    rig.started(&launch);
    assert_eq!(rig.ended(&launch).exit_code, Some(3));
    assert_eq!(rig.output(&launch), "first\nthen\nof allof one");
    assert_eq!(rig.door.content("log"), b"first\nthen\nof allof one");
    let place = fs::read_to_string(rig.path(&launch, "wd/where")).unwrap();
    assert!(place.ends_with("workitems/job/job-1/task/0/wd\n"), "{place}");
}

#[test]
fn processes_of_a_coordination_run_until_its_launch_ends() {
    let script = "sleep 1000 & echo $! > pids; setsid sh -c 'echo $$ >> pids; exec sleep 1000' &
        while [ \"$(wc -l < pids)\" != 2 ]; do :; done";
    for ends in ["goes on", "killed", "abandoned"] {
        let mut rig = rig();
        let launch = instance(&mut rig, script, None);
        rig.order(&launch);
        coordinated(&rig, &launch);
        // The end of another launch does not affect it.
        assert_eq!(rig.prints("echo other"), "other\n");
        let pids = fs::read_to_string(rig.path(&launch, "wd/pids")).unwrap();
        let pids: Vec<i32> = pids.lines().map(|line| line.parse().unwrap()).collect();
        assert!(pids.len() == 2 && pids.iter().all(|pid| lives(*pid)), "{pids:?}");
        rig.runner.carry_out(match ends {
            "goes on" => Order::GoOn(launch.id),
            "killed" => Order::Kill(launch.id),
            _ => Order::Abandon(launch.id),
        });
        let ending = rig.ended(&launch);
        let code = ending.failure.map(|failure| failure.code);
        let expected = (ends != "goes on").then(|| "TaskEnded".to_owned());
        assert_eq!((ending.exit_code, code), (Some(0), expected), "{ends}");
        assert!(!pids.iter().any(|pid| lives(*pid)), "{ends}");
        assert_eq!(marked_processes(&rig), 0, "{ends}");
    }
}

#[test]
fn processes_of_a_primarys_coordination_end_with_the_primary() {
    let mut rig = rig();
    let launch = instance(&mut rig, "sleep 1000 & echo $! > pid", Some("kill -0 $(cat pid)"));
    rig.order(&launch);
    coordinated(&rig, &launch);
    let pid = fs::read_to_string(rig.path(&launch, "wd/pid")).unwrap().trim().parse().unwrap();
    rig.runner.carry_out(Order::GoOn(launch.id));
    assert_eq!(rig.ended(&launch).exit_code, Some(0), "it ran beside the command");
    assert!(!lives(pid));
    assert_eq!(marked_processes(&rig), 0);
}

#[test]
fn a_coordination_that_fails_ends_its_launch() {
    let mut rig = rig();
    for own in [None, Some("echo never")] {
        let launch = instance(&mut rig, "exit 4", own);
        rig.order(&launch);
        let ending = rig.ended(&launch);
        assert_eq!((ending.exit_code, ending.failure), (Some(4), None));
        assert_eq!(rig.output(&launch), "");
    }
    let mut launch = instance(&mut rig, "true", None);
    launch.coordination.as_mut().unwrap().command_line = "no-such-program".into();
    rig.order(&launch);
    let failure = rig.ended(&launch).failure.unwrap();
    assert_eq!(failure.code, "CommandProgramNotFound");
    launch = instance(&mut rig, "true", None);
    launch.coordination.as_mut().unwrap().common_resource_files = vec![resource("nothing", "a")];
    rig.order(&launch);
    assert_eq!(rig.ended(&launch).failure.unwrap().code, "BlobNotFound");
}

#[test]
fn stopping_the_runner_ends_waiting_launches() {
    let mut rig = rig();
    let launch = instance(&mut rig, "sleep 1000 & echo $! > pid", None);
    rig.order(&launch);
    coordinated(&rig, &launch);
    let pid = fs::read_to_string(rig.path(&launch, "wd/pid")).unwrap().trim().parse().unwrap();
    rig.runner.stop();
    assert!(!lives(pid));
}
