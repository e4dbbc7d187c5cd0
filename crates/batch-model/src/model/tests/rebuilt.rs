//! Tests that every index matches the objects, in whatever order pools, jobs, schedules and tasks are
//! created, deleted and created again.

use super::{World, with};
use crate::model::{Capacity, Model, PoolKey, ServiceIncident};
use dropmill_azure_wire::batch::JobState;
use proptest::prelude::*;
use serde_json::json;

const POOLS: [&str; 2] = ["p", "Q"];
const JOBS: [&str; 2] = ["j", "K"];

#[derive(Debug, Clone)]
enum Step {
    MakePool { pool: usize, nodes: u8 },
    DeletePool { pool: usize },
    Resize { pool: usize, nodes: u8 },
    MakeJob { job: usize, pool: usize, waits: bool },
    DeleteJob { job: usize },
    TerminateJob { job: usize },
    DisableJob { job: usize },
    EnableJob { job: usize },
    MoveJob { job: usize, pool: usize, priority: i32 },
    MakeSchedule { pool: usize },
    DeleteSchedule,
    AddTask { job: usize, task: u8, slots: u8, waits: u8 },
    Inject { which: usize },
    PatchPool { pool: usize, slots: u8 },
    DeleteTask { job: usize, task: u8 },
    TerminateTask { job: usize, task: u8 },
    Reactivate { job: usize, task: u8 },
    Exit { at: usize, well: bool },
    Boot,
    EndKilled,
    Pass { seconds: u16 },
    Anew,
}

fn step() -> impl Strategy<Value = Step> {
    let (pool, job) = (|| 0..POOLS.len(), || 0..JOBS.len());
    prop_oneof![
        4 => (pool(), 0..3_u8).prop_map(|(pool, nodes)| Step::MakePool { pool, nodes }),
        3 => pool().prop_map(|pool| Step::DeletePool { pool }),
        2 => (pool(), 0..3_u8).prop_map(|(pool, nodes)| Step::Resize { pool, nodes }),
        4 => (job(), pool(), any::<bool>()).prop_map(|(job, pool, waits)| Step::MakeJob { job, pool, waits }),
        2 => job().prop_map(|job| Step::DeleteJob { job }),
        1 => job().prop_map(|job| Step::TerminateJob { job }),
        1 => job().prop_map(|job| Step::DisableJob { job }),
        1 => job().prop_map(|job| Step::EnableJob { job }),
        2 => (job(), pool(), -2..3_i32).prop_map(|(job, pool, priority)| Step::MoveJob { job, pool, priority }),
        1 => pool().prop_map(|pool| Step::MakeSchedule { pool }),
        1 => Just(Step::DeleteSchedule),
        8 => (job(), 0..5_u8, 1..3_u8, 0..4_u8)
            .prop_map(|(job, task, slots, waits)| Step::AddTask { job, task, slots, waits }),
        1 => (0..5_usize).prop_map(|which| Step::Inject { which }),
        1 => (pool(), 1..4_u8).prop_map(|(pool, slots)| Step::PatchPool { pool, slots }),
        2 => (job(), 0..5_u8).prop_map(|(job, task)| Step::DeleteTask { job, task }),
        1 => (job(), 0..5_u8).prop_map(|(job, task)| Step::TerminateTask { job, task }),
        1 => (job(), 0..5_u8).prop_map(|(job, task)| Step::Reactivate { job, task }),
        6 => (0..6_usize, any::<bool>()).prop_map(|(at, well)| Step::Exit { at, well }),
        3 => Just(Step::Boot),
        3 => Just(Step::EndKilled),
        1 => (1..5000_u16).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Anew),
    ]
}

/// Applies a step; it may also be rejected.
fn take(mut world: World, step: &Step) -> World {
    let now = world.now;
    let read = |body| serde_json::from_value(body);
    match step {
        Step::MakePool { pool, nodes } => {
            let _ =
                world.add_pool(POOLS[*pool], json!({"targetDedicatedNodes": nodes, "taskSlotsPerNode": 2}));
        }
        Step::DeletePool { pool } => drop(world.model.delete_pool(POOLS[*pool], now)),
        Step::Resize { pool, nodes } => {
            let resize = serde_json::from_value(json!({"targetDedicatedNodes": nodes})).unwrap();
            let _ = world.model.resize_pool(POOLS[*pool], &resize, now);
        }
        Step::MakeJob { job, pool, waits } => {
            let more = json!({"poolInfo": {"poolId": POOLS[*pool]}, "usesTaskDependencies": waits});
            let _ = world.add_job(JOBS[*job], more);
        }
        Step::DeleteJob { job } => drop(world.model.delete_job(JOBS[*job], now)),
        Step::TerminateJob { job } => drop(world.model.terminate_job(JOBS[*job], None, now)),
        Step::DisableJob { job } => {
            drop(world.model.disable_job(JOBS[*job], &"requeue".into(), now));
        }
        Step::EnableJob { job } => drop(world.model.enable_job(JOBS[*job], now)),
        Step::MoveJob { job, pool, priority } => {
            let patch = json!({"poolInfo": {"poolId": POOLS[*pool]}, "priority": priority});
            let _ = world.model.patch_job(JOBS[*job], serde_json::from_value(patch).unwrap(), now);
        }
        Step::MakeSchedule { pool } => {
            let job = json!({"poolInfo": {"poolId": POOLS[*pool]},
                             "jobManagerTask": {"id": "manager", "commandLine": "true"}});
            let recurs = json!({"recurrenceInterval": "PT20M"});
            let ask = json!({"id": "s", "schedule": recurs, "jobSpecification": job});
            let _ = world.model.create_schedule(serde_json::from_value(ask).unwrap(), now);
        }
        Step::DeleteSchedule => drop(world.model.delete_schedule("s", now)),
        Step::AddTask { job, task, slots, waits } => {
            // A failure of a task that others depend on may satisfy the dependency, too.
            let on = match waits {
                0 => json!({"exitConditions": {"default": {"dependencyAction": "satisfy"}}}),
                1 => json!({"dependsOn": {"taskIds": ["0"]}}),
                2 => json!({"dependsOn": {"taskIds": ["0"], "taskIdRanges": [{"start": 0, "end": 1}]}}),
                _ => json!({}),
            };
            let body = json!({"id": task.to_string(), "commandLine": "true", "requiredSlots": slots,
                              "constraints": {"maxTaskRetryCount": 1}});
            let _ = world.model.add_task(JOBS[*job], read(with(body, on)).unwrap(), now);
            world.model.schedule_job(JOBS[*job], now);
        }
        Step::Inject { which } => {
            let all = [
                ServiceIncident::Preempt { nodes: 1 },
                ServiceIncident::Return,
                ServiceIncident::Break { nodes: 1 },
                ServiceIncident::Recover,
                ServiceIncident::Capacity(Capacity::quota(2)),
            ];
            world.model.inject(&all[*which], now);
        }
        Step::PatchPool { pool, slots } => {
            let patch = serde_json::from_value(json!({"taskSlotsPerNode": slots})).unwrap();
            let _ = world.model.patch_pool(POOLS[*pool], patch, now);
        }
        Step::DeleteTask { job, task } => {
            drop(world.model.delete_task(JOBS[*job], &task.to_string(), now));
        }
        Step::TerminateTask { job, task } => {
            drop(world.model.terminate_task(JOBS[*job], &task.to_string(), now));
        }
        Step::Reactivate { job, task } => {
            drop(world.model.reactivate_task(JOBS[*job], &task.to_string(), now));
        }
        Step::Exit { at, well } => {
            if let Some(launch) = world.running.keys().nth(*at).copied() {
                world.end_launch(launch, i32::from(!well));
            }
        }
        Step::Boot => world.boot_all(),
        Step::EndKilled => world.end_killed(),
        Step::Pass { seconds } => world.pass(u64::from(*seconds)),
        Step::Anew => {
            let (boots, ends) = (world.boots_by_hand, world.ends_by_hand);
            world = world.begin_anew_as(boots, ends);
        }
    }
    world.settle();
    world
}

/// Compares every index with one that is built from the objects.
pub fn check(model: &Model) {
    model.jobs.check();
    for pool in model.pools.values() {
        pool.nodes.check();
    }
}

/// Checks that no task waits although it could run.
fn check_progress(model: &Model) {
    for job in model.jobs.values().filter(|job| job.state == JobState::Active) {
        let Some(pool) = job.pool_id().and_then(|id| model.pools.get(&PoolKey::of(id))) else { continue };
        if pool.deleting {
            continue;
        }
        let most_free = pool.nodes.values().filter(|node| node.takes_tasks());
        let most_free = most_free.map(|node| pool.slots_per_node() - node.slots.taken()).max().unwrap_or(0);
        for (_, task) in job.tasks.ready() {
            let slots = job.tasks.get(task).unwrap().slots();
            assert!(slots > most_free, "task {task} of {} waits, {most_free} slots are free", job.spec.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_index_matches_the_objects_after_any_order_of_changes(
        by_hand in any::<(bool, bool)>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new();
        (world.boots_by_hand, world.ends_by_hand) = by_hand;
        for step in &steps {
            world = take(world, step);
            check(&world.model);
            check_progress(&world.model);
        }
    }
}
