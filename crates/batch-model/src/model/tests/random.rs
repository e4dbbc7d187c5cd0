//! Tests random requests in random order: counts stay right, and in the end everything can be deleted.

use super::{World, outcome_text};
use crate::{model::JobKey, orders::NodeEvent};
use dropmill_azure_wire::batch::TaskState;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const REQUESTS: &[&str] = &[
    "patch job",
    "disable job requeue",
    "disable job terminate",
    "disable job wait",
    "enable job",
    "terminate job",
    "delete job",
    "terminate task",
    "reactivate task",
    "delete task",
    "resize pool",
    "stop resize",
    "remove nodes",
    "reboot node requeue",
    "reboot node taskcompletion",
    "reimage node terminate",
    "deallocate node",
    "start node",
    "disable scheduling requeue",
    "disable scheduling taskcompletion",
    "enable scheduling",
];

#[derive(Debug, Clone)]
enum Step {
    Ask(usize),
    AddTask(u8, bool, u8),
    AddGroup(u8, u8),
    Coordinate(usize),
    AddJob(u8),
    Exit(usize, bool),
    Resize(u8, u8),
    Boot,
    EndKilled,
    Pass(u16),
    Anew,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..REQUESTS.len()).prop_map(Step::Ask),
        5 => (0..6_u8, any::<bool>(), 1..3_u8).prop_map(|(id, waits, slots)| Step::AddTask(id, waits, slots)),
        2 => (0..6_u8, 1..3_u8).prop_map(|(id, nodes)| Step::AddGroup(id, nodes)),
        4 => (0..4_usize).prop_map(Step::Coordinate),
        1 => (0..4_u8).prop_map(Step::AddJob),
        5 => (0..8_usize, any::<bool>()).prop_map(|(at, well)| Step::Exit(at, well)),
        2 => (0..4_u8, 0..4_u8).prop_map(|(nodes, option)| Step::Resize(nodes, option)),
        3 => Just(Step::Boot),
        2 => Just(Step::EndKilled),
        1 => (1..2000_u16).prop_map(Step::Pass),
        1 => Just(Step::Anew),
    ]
}

fn job(kind: u8) -> Value {
    let chores = json!({"jobPreparationTask": {"commandLine": "x"}, "jobReleaseTask": {"commandLine": "x"}});
    let base = json!({"usesTaskDependencies": true, "constraints": {"maxTaskRetryCount": 1}});
    match kind {
        0 => base,
        1 => super::with(base, chores),
        2 => super::with(base, json!({"onAllTasksComplete": "terminatejob"})),
        _ => super::with(base, json!({"maxParallelTasks": 1, "constraints": {"maxWallClockTime": "PT30M"}})),
    }
}

fn take(mut world: World, step: &Step) -> World {
    match step {
        Step::Ask(which) => drop(world.ask(REQUESTS[*which])),
        Step::AddTask(id, waits, slots) => {
            let on = if *waits { json!({"dependsOn": {"taskIds": ["t", "1"]}}) } else { json!({}) };
            let id = if *id == 0 { "t".to_owned() } else { id.to_string() };
            let _ = world.add_task(&id, super::with(on, json!({"requiredSlots": slots})));
        }
        Step::AddGroup(id, nodes) => {
            let settings = json!({"numberOfInstances": nodes, "coordinationCommandLine": "meet"});
            let _ = world.add_task(&id.to_string(), json!({"multiInstanceSettings": settings}));
        }
        Step::Coordinate(at) => {
            let waiting = world.running.iter().filter(|(_, launch)| launch.coordination.is_some());
            if let Some(launch) = waiting.map(|(id, _)| *id).nth(*at) {
                world.model.happened(NodeEvent::Coordinated { launch }, world.now);
                world.settle();
            }
        }
        Step::AddJob(kind) => drop(world.add_job("j", job(*kind))),
        Step::Exit(at, well) => {
            let found = world.running.keys().nth(*at).copied();
            if let Some(launch) = found {
                world.end_launch(launch, i32::from(!well));
                world.settle();
            }
        }
        Step::Resize(nodes, option) => {
            let option = ["requeue", "terminate", "taskcompletion", "retaineddata"][usize::from(*option)];
            let body = json!({"targetDedicatedNodes": nodes, "nodeDeallocationOption": option});
            let _ = world.model.resize_pool("p", &serde_json::from_value(body).unwrap(), world.now);
            world.settle();
        }
        Step::Boot => world.boot_all(),
        Step::EndKilled => world.end_killed(),
        Step::Pass(seconds) => world.pass(u64::from(*seconds)),
        Step::Anew => {
            let (boots, ends) = (world.boots_by_hand, world.ends_by_hand);
            world = world.begin_anew_as(boots, ends);
        }
    }
    world
}

/// Checks that all counts match the objects.
fn check(world: &World) {
    let model = &world.model;
    let mut slots: BTreeMap<&str, BTreeMap<_, i32>> = BTreeMap::new();
    for job in model.jobs.values() {
        for (key, task) in job.tasks.iter() {
            let state = &task.facts.state();
            let on_node = matches!(state, TaskState::Running | TaskState::Preparing);
            assert_eq!(!task.live_launches().is_empty(), *state == TaskState::Running, "{key} {state}");
            for (number, place) in task.nodes().enumerate().filter(|_| on_node) {
                let runs = task.launch_of(number).is_some() || *state == TaskState::Preparing;
                let on_this = slots.entry(place.node.as_str()).or_default();
                if runs {
                    on_this.insert((JobKey::of(&job.spec.id), key.clone()), task.slots());
                }
            }
        }
        let counts = model.task_counts(&job.spec.id).unwrap();
        let (tasks, slots) = (counts.task_counts, counts.task_slot_counts);
        assert!(tasks.failed >= 0 && tasks.succeeded >= 0, "{tasks:?}");
        assert!(slots.failed >= tasks.failed && slots.active >= tasks.active, "{slots:?} {tasks:?}");
    }
    for pool in model.pools.values() {
        for node in pool.nodes.values() {
            let held = slots.get(node.id.as_str()).cloned().unwrap_or_default();
            assert_eq!(node.slots.taken(), held.values().sum::<i32>(), "{node:?}");
            assert_eq!(node.slots.held(), held, "{node:?}");
        }
    }
    let mut held = BTreeSet::new();
    for launch in world.running.values() {
        let slot = launch.environment.iter().find(|(name, _)| name == "DROPMILL_SLOT");
        if let Some((_, slot)) = slot {
            assert!(held.insert((launch.node.clone(), slot)), "two tasks run in slot {slot}: {launch:?}");
        }
    }
    super::rebuilt::check(model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn counts_stay_right_and_everything_can_be_deleted(
        kind in 0..4_u8,
        by_hand in any::<(bool, bool)>(),
        together in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        let pool = json!({"enableInterNodeCommunication": true, "taskSlotsPerNode": 2 - i32::from(together)});
        world.add_pool("p", super::with(json!({"targetDedicatedNodes": 2}), pool)).unwrap();
        world.add_job("j", job(kind)).unwrap();
        (world.boots_by_hand, world.ends_by_hand) = by_hand;
        for step in &steps {
            world = take(world, step);
            check(&world);
        }
        (world.boots_by_hand, world.ends_by_hand) = (false, false);
        world.end_killed();
        world.boot_all();
        let _ = world.model.delete_job("j", world.now);
        let _ = world.model.delete_pool("p", world.now);
        world.settle();
        while let Some(launch) = world.running.keys().next().copied() {
            world.end_launch(launch, 0);
            world.settle();
        }
        prop_assert_eq!(outcome_text(world.model.job("j")), "404 JobNotFound");
        prop_assert_eq!(outcome_text(world.model.pool("p")), "404 PoolNotFound");
        prop_assert!(world.model.launches.is_empty() && world.model.limits.is_empty());
    }
}
