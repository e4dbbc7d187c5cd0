//! Tests that stored tasks need little memory, and that deleted ones free theirs. It has its own test binary
//! because it counts every allocation of the process.

#![allow(clippy::unwrap_used)]

use dropmill_azure_wire::{
    batch::{JobAdd, PoolAdd, TaskAdd},
    time::Timestamp,
};
use dropmill_batch_model::{
    model::{Identity, Model},
    orders::{LaunchEnding, NodeEvent, Order, Spent},
};
use peak_alloc::PeakAlloc;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const TASKS: usize = 2000;
/// Maximum requested memory of a waiting task, in bytes. The allocator adds its own overhead.
const MOST_AT_REST: usize = 470;
/// Maximum memory of a completed task, which also has its times, its node, and the alarm of its files.
const MOST_WHEN_OVER: usize = 800;
/// Maximum memory that may remain after thousands of tasks: capacities of lists and one-time allocations.
const MOST_LEFT: usize = 4096;

fn used() -> usize {
    ALLOCATOR.current_usage()
}

/// Creates a task like the orchestrator's; every hundredth waits for the one before.
fn task(number: usize) -> TaskAdd {
    let name = |number: usize| format!("{number:08}-txt-0123456789ab");
    let sas = format!("sv=2022-11-02&se=2026-12-03T06%3A00%3A00Z&sr=b&sp=r&sig={}%3D", "x".repeat(43));
    let blob = "http://127.0.0.1:10000/devstoreaccount1/memory-20261130-060000-abcdef";
    let output = |pattern: &str, path: String| {
        let container = json!({"containerUrl": format!("{blob}-output?{sas}"), "path": path});
        let options = json!({"uploadCondition": "taskcompletion"});
        json!({"filePattern": pattern, "destination": {"container": container}, "uploadOptions": options})
    };
    let variable = |of: &str| json!({"name": format!("DROPMILL_{of}"), "value": name(number)});
    let variables = ["RUN", "INPUT", "INPUT_NAME", "INPUT_STEM"].map(variable);
    let waits_for = (number % 100 == 99).then(|| json!({"taskIds": [name(number - 1)]}));
    let url = format!("{blob}-input/{}/{number:08}.txt?{sas}", name(number));
    let body = json!({
        "id": name(number), "commandLine": format!("/bin/cp {number:08}.txt copy"),
        "resourceFiles": [{"httpUrl": url, "filePath": format!("{number:08}.txt"), "fileMode": "0644"}],
        "outputFiles": [output("../std*.txt", name(number)), output("copy", format!("{}/wd/copy", name(number)))],
        "environmentSettings": variables,
        "constraints": {"maxTaskRetryCount": 0}, "requiredSlots": 1, "dependsOn": waits_for,
    });
    serde_json::from_value(body).unwrap()
}

fn pool(id: &str, nodes: i32) -> PoolAdd {
    let machine = json!({"imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 22.04"});
    let body = json!({"id": id, "vmSize": "standard_d2s_v3", "virtualMachineConfiguration": machine,
                      "targetDedicatedNodes": nodes});
    serde_json::from_value(body).unwrap()
}

fn job(id: &str, pool: &str) -> JobAdd {
    let body = json!({"id": id, "poolInfo": {"poolId": pool}, "usesTaskDependencies": true});
    serde_json::from_value(body).unwrap()
}

fn add(model: &mut Model, job: &str, numbers: std::ops::Range<usize>, now: Timestamp) {
    for number in numbers {
        model.add_task(job, task(number), now).unwrap();
        drop(model.take_effects());
    }
}

/// Carries out the orders for nodes: they boot, and each task succeeds at once.
fn work(model: &mut Model, now: Timestamp) {
    loop {
        let orders = model.take_effects().orders;
        if orders.is_empty() {
            return;
        }
        for order in orders {
            match order {
                Order::Boot { node, .. } => model.happened(NodeEvent::Booted(node), now),
                Order::Remove(node) => model.happened(NodeEvent::Removed(node), now),
                Order::Launch(launch) => {
                    let (exit_code, spent) = (Some(0), Spent { user_us: 1, ..Spent::default() });
                    let ending = LaunchEnding { started: now, ended: now, exit_code, failure: None, spent };
                    model.happened(NodeEvent::Started { launch: launch.id, process: Some((1, 1)) }, now);
                    model.happened(NodeEvent::Ended { launch: launch.id, ending }, now);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn stored_tasks_are_small_and_deleted_ones_free_their_memory() {
    let now: Timestamp = "2026-03-02T10:00:00Z".parse().unwrap();
    let identity = Identity { base: "http://127.0.0.1:1".into(), account: "local".into() };
    let mut model = Model::new(identity, ChaCha8Rng::seed_from_u64(1), 0, true);
    model.create_pool(pool("idle", 0), now).unwrap();
    model.create_job(job("waits", "idle"), now).unwrap();
    // Make all one-time allocations now.
    add(&mut model, "waits", 0..10, now);
    model.delete_task("waits", &task(9).id, now).unwrap();
    drop(model.take_effects());

    let before = used();
    add(&mut model, "waits", 10..10 + TASKS, now);
    let each = (used() - before) / TASKS;
    println!("a waiting task needs {each} bytes");
    assert!(each <= MOST_AT_REST, "a waiting task needs {each} bytes");
    for number in 10..10 + TASKS {
        model.delete_task("waits", &task(number).id, now).unwrap();
        drop(model.take_effects());
    }
    let left = used().saturating_sub(before);
    assert!(left <= MOST_LEFT, "{left} bytes are left of tasks that were deleted one by one");

    let before = used();
    model.create_pool(pool("works", 4), now).unwrap();
    model.create_job(job("runs", "works"), now).unwrap();
    work(&mut model, now);
    let empty = used();
    add(&mut model, "runs", 0..TASKS, now);
    model.schedule_job("runs", now);
    work(&mut model, now);
    let counts = model.task_counts("runs").unwrap().task_counts;
    assert_eq!(usize::try_from(counts.succeeded), Ok(TASKS), "{counts:?}");
    let each = (used() - empty) / TASKS;
    println!("a completed task needs {each} bytes");
    assert!(each <= MOST_WHEN_OVER, "a completed task needs {each} bytes");
    model.delete_job("runs", now).unwrap();
    model.delete_pool("works", now).unwrap();
    work(&mut model, now);
    assert!(model.pool("works").is_err() && model.job("runs").is_err());
    let left = used().saturating_sub(before);
    assert!(left <= MOST_LEFT, "{left} bytes are left of a pool and a job that were deleted");
}
