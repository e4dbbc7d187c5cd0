//! What may be asked in which state, and with what answer.

use super::World;
use serde_json::json;

/// Every request against every state; all that differ from the table are told at once.
fn check(table: &str, states: &[(&str, &dyn Fn() -> World)]) {
    let mut lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
    let columns: Vec<&str> = lines.next().unwrap().split('|').map(str::trim).collect();
    let mut wrong = vec![];
    for line in lines {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        for (state, expected) in columns.iter().zip(&cells).skip(1) {
            let make = states.iter().find(|(name, _)| name == state).unwrap_or_else(|| panic!("{state}?")).1;
            let found = make().ask(cells[0]);
            let expected = match *expected {
                "ok" => "ok".to_owned(),
                code if code.ends_with("NotFound") => format!("404 {code}"),
                code if code.starts_with("400 ") => code.to_owned(),
                code => format!("409 {code}"),
            };
            if found != expected {
                wrong.push(format!("{} while {state}: {found}, not {expected}", cells[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn job_in(state: &'static str) -> World {
    let mut world = World::with_job(json!({}));
    world.add_task("t", json!({})).unwrap();
    if state.ends_with("ing") {
        world.ends_by_hand = true;
    }
    match state {
        "active" => {}
        "disabling" => drop(world.ask("disable job wait")),
        "disabled" => drop(world.ask("disable job")),
        "terminating" => drop(world.ask("terminate job")),
        "completed" => drop(world.ask("terminate job")),
        "deleting" => drop(world.ask("delete job")),
        _ => drop(world.model.delete_job("j", world.now)),
    }
    world.settle();
    if state != "gone" {
        assert_eq!(world.job("j")["state"], state);
    }
    world
}

#[test]
fn jobs_answer_by_their_state() {
    check(
        "
        request               | active       | disabling    | disabled | terminating        | completed    | deleting        | gone
        patch job             | ok           | ok           | ok       | JobBeingTerminated | JobCompleted | JobBeingDeleted | JobNotFound
        put job               | ok           | ok           | ok       | JobBeingTerminated | JobCompleted | JobBeingDeleted | JobNotFound
        disable job requeue   | ok           | ok           | ok       | JobBeingTerminated | JobCompleted | JobBeingDeleted | JobNotFound
        disable job terminate | ok           | ok           | ok       | JobBeingTerminated | JobCompleted | JobBeingDeleted | JobNotFound
        disable job wait      | ok           | ok           | ok       | JobBeingTerminated | JobCompleted | JobBeingDeleted | JobNotFound
        enable job            | JobNotDisabled | JobNotDisabled | ok   | JobBeingTerminated | JobCompleted | JobBeingDeleted | JobNotFound
        terminate job         | ok           | ok           | ok       | JobBeingTerminated | JobCompleted | JobBeingDeleted | JobNotFound
        delete job            | ok           | ok           | ok       | ok                 | ok           | JobBeingDeleted | JobNotFound
        add task              | ok           | ok           | ok       | JobBeingTerminated | JobCompleted | JobBeingDeleted | JobNotFound
        ",
        &[
            ("active", &|| job_in("active")),
            ("disabling", &|| job_in("disabling")),
            ("disabled", &|| job_in("disabled")),
            ("terminating", &|| job_in("terminating")),
            ("completed", &|| job_in("completed")),
            ("deleting", &|| job_in("deleting")),
            ("gone", &|| job_in("gone")),
        ],
    );
}

fn task_in(state: &'static str) -> World {
    let mut world = World::with_job(json!({}));
    if state == "active" {
        world.ask("disable scheduling");
    }
    if state != "gone" {
        world.add_task("t", json!({})).unwrap();
    }
    match state {
        "active" | "gone" => {}
        "running" => world.ends_by_hand = true,
        "succeeded" => world.exit("t", 0),
        _ => world.exit("t", 1),
    }
    if state == "failed, job over" {
        world.ask("terminate job");
    }
    world
}

#[test]
fn tasks_answer_by_their_state() {
    check(
        "
        request         | active           | running          | succeeded     | failed        | failed, job over | gone
        put task        | ok               | ok               | TaskCompleted | TaskCompleted | TaskCompleted    | TaskNotFound
        terminate task  | ok               | ok               | TaskCompleted | TaskCompleted | TaskCompleted    | TaskNotFound
        reactivate task | TaskNotCompleted | TaskNotCompleted | TaskSucceeded | ok            | JobCompleted     | TaskNotFound
        delete task     | ok               | ok               | ok            | ok            | ok               | TaskNotFound
        ",
        &[
            ("active", &|| task_in("active")),
            ("running", &|| task_in("running")),
            ("succeeded", &|| task_in("succeeded")),
            ("failed", &|| task_in("failed")),
            ("failed, job over", &|| task_in("failed, job over")),
            ("gone", &|| task_in("gone")),
        ],
    );
}

fn pool_in(state: &'static str) -> World {
    let mut world = World::new();
    world.boots_by_hand = state == "resizing";
    if state != "gone" {
        world.add_pool("p", json!({"targetDedicatedNodes": 1})).unwrap();
    }
    if state == "deleting" {
        world.model.delete_pool("p", world.now).unwrap();
        world.boots_by_hand = true;
    }
    world
}

#[test]
fn pools_answer_by_their_state() {
    check(
        "
        request      | steady | resizing         | deleting         | gone
        patch pool   | ok     | ok               | PoolBeingDeleted | PoolNotFound
        update pool  | ok     | ok               | PoolBeingDeleted | PoolNotFound
        resize pool  | ok     | PoolBeingResized | PoolBeingDeleted | PoolNotFound
        stop resize  | ok     | ok               | PoolBeingDeleted | PoolNotFound
        remove nodes | ok     | PoolBeingResized | PoolBeingDeleted | PoolNotFound
        delete pool  | ok     | ok               | PoolBeingDeleted | PoolNotFound
        ",
        &[
            ("steady", &|| pool_in("steady")),
            ("resizing", &|| pool_in("resizing")),
            ("deleting", &|| pool_in("deleting")),
            ("gone", &|| pool_in("gone")),
        ],
    );
}

#[test]
fn metadata_without_pairs_is_not_shown() {
    let pair = json!([{"name": "n", "value": "v"}]);
    for (made, update, shown) in [
        (json!({"metadata": pair}), None, pair.clone()),
        (json!({"metadata": []}), None, json!(null)),
        (json!({}), None, json!(null)),
        (json!({"metadata": pair}), Some("patch pool"), json!(null)),
        (json!({"metadata": pair}), Some("update pool"), json!(null)),
    ] {
        let mut world = World::new();
        world.add_pool("p", made.clone()).unwrap();
        if let Some(request) = update {
            assert_eq!(world.ask(request), "ok");
        }
        assert_eq!(world.pool("p")["metadata"], shown, "{made} {update:?}");
    }
}

#[test]
fn slots_of_a_pool_change_while_it_has_no_nodes() {
    for (nodes, slots, told, shown) in [
        (0, 4, "ok", 4),
        (1, 4, "409 OperationInvalidForCurrentState", 1),
        (0, 0, "400 InvalidPropertyValue", 1),
        (0, 257, "400 InvalidPropertyValue", 1),
    ] {
        let mut world = World::new();
        world.add_pool("p", json!({"targetDedicatedNodes": nodes})).unwrap();
        let patch = serde_json::from_value(json!({"taskSlotsPerNode": slots})).unwrap();
        assert_eq!(super::told(world.model.patch_pool("p", patch, world.now)), told, "{nodes} {slots}");
        assert_eq!(world.pool("p")["taskSlotsPerNode"], shown, "{nodes} {slots}");
    }
}
