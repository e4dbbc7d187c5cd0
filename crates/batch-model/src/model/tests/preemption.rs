//! Tests preemption by more important tasks, and the log of nodes.

use super::World;
use dropmill_azure_wire::time::Timestamp;
use serde_json::{Value, json};

/// Creates a pool `p` of one node with these slots, and a job `j` of priority 0 with this many tasks on it.
fn busy(slots: u32, tasks: u32, allows: bool) -> World {
    let mut world = World::new();
    world.add_pool("p", json!({"targetDedicatedNodes": 1, "taskSlotsPerNode": slots})).unwrap();
    world.add_job("j", json!({"allowTaskPreemption": allows})).unwrap();
    for number in 0..tasks {
        world.add_task(&format!("t{number}"), json!({})).unwrap();
    }
    world
}

fn add(world: &mut World, job: &str, task: Value) {
    world.model.add_task(job, super::read(task), world.now).unwrap();
    world.model.schedule_job(job, world.now);
    world.settle();
}

#[test]
fn a_more_important_task_preempts_the_youngest_preemptible_one() {
    // Slots of the node, its tasks, whether they can be preempted, priority of the other job, slots of its
    // task; then the running tasks.
    type Row = (u32, u32, bool, i32, u32, &'static [&'static str]);
    let table: &[Row] = &[
        (2, 2, true, 10, 1, &["t0", "u"]),
        (3, 2, true, 10, 2, &["t0", "u"]),
        (3, 2, true, 10, 1, &["t0", "t1", "u"]),
        (2, 2, true, 10, 2, &["t0", "t1"]),
        (2, 2, true, 0, 1, &["t0", "t1"]),
        (2, 2, true, -1, 1, &["t0", "t1"]),
        (2, 2, false, 10, 1, &["t0", "t1"]),
    ];
    for (slots, tasks, allows, priority, needs, expected) in table {
        let mut world = busy(*slots, *tasks, *allows);
        world.add_job("k", json!({"priority": priority})).unwrap();
        add(&mut world, "k", json!({"id": "u", "commandLine": "x", "requiredSlots": needs}));
        assert_eq!(world.runs(), *expected, "{slots} {tasks} {allows} {priority} {needs}");
        if *expected == ["t0", "u"] {
            let task = world.task("t1");
            assert_eq!(
                (&task["state"], &task["executionInfo"]["requeueCount"]),
                (&json!("active"), &json!(1))
            );
        }
    }
}

#[test]
fn a_preempted_task_runs_again_and_one_is_preempted_at_a_time() {
    let mut world = busy(1, 1, true);
    world.ends_by_hand = true;
    world.add_job("k", json!({"priority": 1})).unwrap();
    for id in ["u", "v"] {
        add(&mut world, "k", json!({"id": id, "commandLine": "x"}));
    }
    assert_eq!(world.log.iter().filter(|line| *line == "kill").count(), 1, "it is on its way out already");
    world.end_killed();
    assert_eq!(world.runs(), ["u"]);
    world.exit("/u", 0);
    world.exit("/v", 0);
    assert_eq!(world.runs(), ["t0"]);
    world.exit("/t0", 0);
    assert_eq!(world.task("t0")["executionInfo"]["result"], "success");
}

#[test]
fn the_log_of_a_node_has_events_but_no_commands() {
    let mut world = World::with_job(json!({}));
    world.add_task("t", json!({"commandLine": "secret --key"})).unwrap();
    world.exit("/t", 3);
    let node = world.node_ids()[0].clone();
    let log = world.model.node_log("p", &node, Timestamp::MIN, None).unwrap().unwrap();
    let words: Vec<_> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let expected = [
        "boots, with 0 application packages",
        "is up",
        "from creating to idle",
        "launch 1 begins in workitems/j/job-1/t",
        "from idle to running",
        "launch 1: exit code 3",
        "from running to idle",
    ];
    assert_eq!(words, expected);
    let late = "2027-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(world.model.node_log("p", &node, late, None).unwrap(), None);
    for _ in 0..300 {
        world.ask("reboot node");
    }
    let log = world.model.node_log("p", &node, Timestamp::MIN, None).unwrap().unwrap();
    assert_eq!(log.lines().count(), 400);
}
