//! Tests the creation and removal of nodes and task folders.

use super::*;

#[test]
fn a_node_boots_with_its_folders() {
    let rig = Rig::new();
    for _ in 0..2 {
        rig.runner.carry_out(Order::Boot { node: node(), packages: vec![] });
        assert_eq!(rig.event(), NodeEvent::Booted(node()));
    }
    for folder in
        ["applications", "fsmounts", "shared", "startup/wd", "startup/certs", "volatile", "workitems"]
    {
        assert!(rig.node().join(folder).is_dir(), "{folder}");
    }
}

#[test]
fn removing_a_node_ends_its_tasks_and_leaves_nothing() {
    let mut rig = Rig::new();
    let launch = rig.shell("trap '' TERM; while :; do sleep 0.02; done");
    let mut elsewhere = rig.shell("sleep 1000");
    elsewhere.node.node = "m".into();
    rig.order(&elsewhere);
    rig.started(&elsewhere);
    rig.order(&launch);
    rig.started(&launch);
    rig.runner.carry_out(Order::Remove(node()));
    let ending = rig.ended(&launch);
    assert!(matches!(ending.exit_code, Some(137 | 143)));
    assert_eq!(rig.event(), NodeEvent::Removed(node()));
    assert!(!rig.node().exists());
    rig.kill(&elsewhere);
    assert_eq!(rig.ended(&elsewhere).exit_code, Some(143), "the other node's task went on");
}

#[test]
fn a_node_that_is_created_again_at_once_is_empty() {
    let mut rig = Rig::new();
    for round in 0..20 {
        rig.runner.carry_out(Order::Boot { node: node(), packages: vec![] });
        assert_eq!(rig.event(), NodeEvent::Booted(node()), "{round}");
        assert_eq!(rig.prints("ls $AZ_BATCH_NODE_SHARED_DIR; : > $AZ_BATCH_NODE_SHARED_DIR/left"), "");
        rig.runner.carry_out(Order::Remove(node()));
        rig.runner.carry_out(Order::Boot { node: node(), packages: vec![] });
        let first = rig.event();
        let second = rig.event();
        assert_eq!([first, second], [NodeEvent::Removed(node()), NodeEvent::Booted(node())]);
    }
}

#[test]
fn a_launch_ordered_after_a_removal_waits_for_it() {
    let mut rig = Rig::new();
    let before = rig.shell("trap '' TERM; while :; do sleep 0.02; done");
    rig.order(&before);
    rig.started(&before);
    rig.runner.carry_out(Order::Remove(node()));
    let after = rig.shell("ls -A ..");
    rig.order(&after);
    assert!(matches!(rig.ended(&before).exit_code, Some(137 | 143)));
    let mut removed = false;
    loop {
        match rig.event() {
            NodeEvent::Removed(gone) => removed = gone == node(),
            NodeEvent::Started { launch, .. } => assert!(launch == after.id && removed),
            NodeEvent::Ended { ending, .. } => break assert_eq!(ending.exit_code, Some(0)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_removed_folder_is_gone_when_its_path_is_needed_again() {
    let mut rig = Rig::new();
    let launch = rig.shell("ls; : > left");
    rig.run(&launch);
    rig.runner.carry_out(Order::RemoveTask { node: node(), directory: launch.directory.clone() });
    rig.again(&launch);
    assert_eq!(rig.output(&launch), "");
    rig.runner.carry_out(Order::RemoveTask { node: node(), directory: "../../x".into() });
}

#[test]
fn a_folder_still_in_use_is_removed_after_its_launch() {
    let mut rig = Rig::new();
    let launch = rig.shell("echo ready > ready; sleep 1000");
    rig.order(&launch);
    rig.started(&launch);
    rig.runner.carry_out(Order::RemoveTask { node: node(), directory: launch.directory.clone() });
    assert!(rig.path(&launch, "wd").exists());
    rig.kill(&launch);
    rig.ended(&launch);
    rig.runner.stop();
    assert!(!rig.path(&launch, "").exists());
}

#[test]
fn a_launch_in_a_folder_still_in_use_waits_until_it_is_removed() {
    let mut rig = Rig::new();
    let launch = rig.shell("ls; : > left; sleep 1000");
    rig.order(&launch);
    rig.started(&launch);
    rig.runner.carry_out(Order::RemoveTask { node: node(), directory: launch.directory.clone() });
    let mut next = rig.shell("ls; : > new");
    next.directory = launch.directory.clone();
    rig.order(&next);
    rig.kill(&launch);
    rig.ended(&launch);
    assert_eq!(rig.ended(&next).exit_code, Some(0));
    assert_eq!(rig.output(&next), "");
    rig.runner.stop();
    assert!(rig.path(&next, "wd/new").exists(), "the order was about the former folder");
}

#[test]
fn the_folder_of_a_job_is_removed_when_its_last_task_has_ended() {
    let mut rig = Rig::new();
    let launches = [rig.shell("echo > ready; sleep 1000"), rig.shell("echo > ready; sleep 1000")];
    for launch in &launches {
        rig.order(launch);
        rig.started(launch);
    }
    rig.runner.carry_out(Order::RemoveTask { node: node(), directory: "workitems/job".into() });
    rig.kill(&launches[0]);
    rig.ended(&launches[0]);
    assert!(rig.path(&launches[0], "wd").exists() && rig.path(&launches[1], "wd").exists());
    let mut next = rig.shell("ls ../..");
    next.directory = "workitems/job/job-1/new".into();
    rig.order(&next);
    rig.kill(&launches[1]);
    // The folder is free before the end is reported: either may be received first.
    let ends = rig.all_ended(&[&launches[1], &next]);
    assert_eq!(ends[&next.id].exit_code, Some(0));
    assert_eq!(rig.output(&next), "new\n", "the job of the same name begins with an empty folder");
}

#[test]
fn a_stop_deletes_folders_whose_removal_was_ordered() {
    let mut rig = Rig::new();
    for _ in 0..50 {
        let launch = rig.shell("mkdir -p a/b; : > a/b/c; chmod 500 a/b");
        rig.run(&launch);
        rig.runner.carry_out(Order::RemoveTask { node: node(), directory: launch.directory });
    }
    rig.runner.stop();
    assert_eq!(fs::read_dir(rig.node().join("workitems/job/job-1")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(rig.node().join("../../.trash")).unwrap().count(), 0);
}

#[test]
fn only_the_owner_can_access_the_root() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    let mode = fs::metadata(rig.folder.path().join("nodes")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
