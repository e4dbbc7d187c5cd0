//! Tests pools and their nodes: resizing, restarting and removing, with each option for their tasks.

use super::{World, outcome_text};
use serde_json::{Value, json};

fn resize(world: &mut World, body: Value) -> String {
    let outcome =
        outcome_text(world.model.resize_pool("p", &serde_json::from_value(body).unwrap(), world.now));
    world.settle();
    outcome
}

fn states(world: &World) -> Vec<String> {
    let mut states: Vec<_> =
        world.nodes().iter().map(|node| node["state"].as_str().unwrap().to_owned()).collect();
    states.sort();
    states
}

/// Creates a node that runs task `t`, with an option for it.
fn running() -> World {
    let mut world = World::with_job(json!({}));
    world.add_task("t", json!({})).unwrap();
    world.ends_by_hand = true;
    world.boots_by_hand = true;
    world
}

#[test]
fn a_node_carries_out_an_action_as_soon_as_the_option_allows_it() {
    // Option; state of the node at once, after its task was ended, after the task ended on its own; end of
    // the task.
    let table = [
        ("reboot node requeue", "rebooting", "active", "launch kill boot"),
        ("reboot node terminate", "rebooting", "completed", "launch kill boot"),
        ("reboot node taskcompletion", "running", "completed", "launch boot"),
        ("reimage node", "reimaging", "active", "launch kill remove-node boot"),
        ("reimage node taskcompletion", "running", "completed", "launch remove-node boot"),
        ("deallocate node terminate", "deallocating", "completed", "launch kill"),
    ];
    for (request, at_once, task, orders) in table {
        let mut world = running();
        world.log.retain(|line| line != "boot");
        assert_eq!(world.ask(request), "ok", "{request}");
        assert_eq!(states(&world), [at_once], "{request}");
        if at_once == "running" {
            world.exit("t", 0);
        } else {
            world.end_killed();
        }
        assert_eq!(world.task("t")["state"], task, "{request}");
        let words =
            world.log.join(" ").replace("remove node", "remove-node").replace("workitems/j/job-1/t", "");
        assert_eq!(words.split_whitespace().collect::<Vec<_>>().join(" "), orders, "{request}");
        if request.starts_with("deallocate") {
            assert_eq!(states(&world), ["deallocated"]);
            assert_eq!(world.ask("reboot node"), "409 OperationInvalidForCurrentState");
            assert_eq!(world.ask("start node"), "ok");
            assert_eq!(states(&world), ["starting"]);
        }
        world.boot_all();
        // A task that was queued again runs on it.
        assert_eq!(states(&world), [if task == "active" { "running" } else { "idle" }], "{request}");
    }
}

#[test]
fn a_node_shows_the_state_of_its_current_action() {
    let mut world = running();
    world.exit("t", 0);
    for (request, state) in [("reboot node", "NodeBeingRebooted"), ("reimage node", "NodeBeingReimaged")] {
        assert_eq!(world.ask(request), "ok");
        for refused in ["reboot node", "reimage node", "deallocate node", "start node"] {
            assert_eq!(world.ask(refused), format!("409 {state}"), "{refused} after {request}");
        }
        world.boot_all();
    }
    assert_eq!(world.ask("start node"), "409 OperationInvalidForCurrentState");
}

#[test]
fn a_pool_shrinks_according_to_the_option() {
    // Option; nodes and state of the task at once; and after the task ended on its own, if it was not ended.
    let table = [
        ("requeue", 1, "active"),
        ("terminate", 0, "completed"),
        ("taskcompletion", 1, "running"),
        ("retaineddata", 1, "running"),
    ];
    for (option, nodes, task) in table {
        let mut world = World::with_job(json!({}));
        world.add_task("t", json!({"constraints": {"retentionTime": "PT1H"}})).unwrap();
        world.ends_by_hand = option == "requeue";
        let wish =
            json!({"targetDedicatedNodes": 0, "nodeDeallocationOption": option, "resizeTimeout": "PT2H"});
        assert_eq!(resize(&mut world, wish), "ok");
        if option == "requeue" {
            // The node reports the end of the task with its removal.
            assert_eq!((world.nodes().len(), world.task("t")["state"].as_str()), (0, Some("active")));
            continue;
        }
        assert_eq!(
            (world.nodes().len(), world.task("t")["state"].as_str().unwrap()),
            (nodes, task),
            "{option}"
        );
        if nodes == 1 {
            assert_eq!(world.pool("p")["allocationState"], "resizing", "{option}");
            world.exit("t", 0);
            assert_eq!(world.nodes().len(), usize::from(option == "retaineddata"), "{option}");
            world.pass(3601);
        }
        assert_eq!(world.nodes().len(), 0, "{option}");
        assert_eq!(world.pool("p")["allocationState"], "steady", "{option}");
    }
}

#[test]
fn a_resize_ends_at_its_timeout_or_when_it_is_stopped() {
    for (how, code) in [("timeout", "AllocationTimedout"), ("stop", "ResizeStopped")] {
        let mut world = World::with_job(json!({}));
        world.add_task("t", json!({})).unwrap();
        let wish = json!({"targetDedicatedNodes": 0, "nodeDeallocationOption": "taskcompletion"});
        resize(&mut world, wish);
        if how == "stop" {
            assert_eq!(world.ask("stop resize"), "ok");
        } else {
            world.pass(16 * 60);
        }
        let pool = world.pool("p");
        assert_eq!(pool["allocationState"], "steady", "{how}");
        assert_eq!(pool["resizeErrors"][0]["code"], code, "{how}");
        world.exit("t", 0);
        assert_eq!(states(&world), ["idle"], "the node stayed: {how}");
        world.add_task("u", json!({})).unwrap();
        assert_eq!(world.runs(), ["u"], "{how}");
    }
}

#[test]
fn nodes_that_do_not_start_in_time_are_no_longer_requested() {
    let mut world = World::new();
    world.boots_by_hand = true;
    world.add_pool("p", json!({"targetDedicatedNodes": 2, "targetLowPriorityNodes": 1})).unwrap();
    assert_eq!(states(&world), ["creating"; 3]);
    world.pass(15 * 60 + 1);
    let pool = world.pool("p");
    assert_eq!(
        (pool["allocationState"].as_str(), pool["currentDedicatedNodes"].as_i64()),
        (Some("steady"), Some(0))
    );
    assert_eq!(pool["resizeErrors"][0]["code"], "AllocationTimedout");
    assert_eq!(pool["targetDedicatedNodes"], 2, "what was wanted is still outcome_text");
}

#[test]
fn invalid_numbers_of_nodes_are_rejected_with_a_code() {
    let table = [
        (json!({}), "400 MissingRequiredProperty"),
        (json!({"targetDedicatedNodes": -1}), "400 InvalidPropertyValue"),
        (json!({"targetDedicatedNodes": 100_000}), "400 InvalidPropertyValue"),
        (json!({"targetDedicatedNodes": 1, "resizeTimeout": "PT1M"}), "400 InvalidPropertyValue"),
        (json!({"targetDedicatedNodes": 1, "nodeDeallocationOption": "gently"}), "400 InvalidPropertyValue"),
        (json!({"targetLowPriorityNodes": 1}), "ok"),
    ];
    for (body, expected) in table {
        let mut world = World::with_job(json!({}));
        assert_eq!(resize(&mut world, body.clone()), expected, "{body}");
    }
}

#[test]
fn a_start_task_is_retried_and_then_the_node_accepts_no_tasks() {
    // Allowed retries, whether tasks wait for success; exit codes; final state of the node.
    let table: [(i32, bool, &[i32], &str); 5] = [
        (0, true, &[0], "idle"),
        (0, true, &[1], "starttaskfailed"),
        (2, true, &[1, 1, 0], "idle"),
        (1, true, &[1, 1], "starttaskfailed"),
        (0, false, &[1], "idle"),
    ];
    for (retries, waits, codes, expected) in table {
        let mut world = World::new();
        let start_task = json!({"commandLine": "x", "maxTaskRetryCount": retries, "waitForSuccess": waits});
        world.add_pool("p", json!({"targetDedicatedNodes": 1, "startTask": start_task})).unwrap();
        let before = if waits { "waitingforstarttask" } else { "idle" };
        assert_eq!(states(&world), [before]);
        for code in codes {
            world.exit("startup", *code);
        }
        assert_eq!(states(&world), [expected], "{codes:?}");
        let info = &world.nodes()[0]["startTaskInfo"];
        assert_eq!(info["retryCount"], codes.len() as i64 - 1);
        assert_eq!(info["result"], if *codes.last().unwrap() == 0 { "success" } else { "failure" });
        assert_eq!(world.ask("reboot node"), "ok");
        assert_eq!(world.runs(), ["startup"], "it runs again after a reboot");
    }
}

#[test]
fn scheduling_is_disabled_according_to_the_option() {
    for (option, node, task) in [
        ("requeue", "offline", "active"),
        ("terminate", "offline", "completed"),
        ("taskcompletion", "running", "running"),
    ] {
        let mut world = World::with_job(json!({}));
        world.add_task("t", json!({})).unwrap();
        assert_eq!(world.ask(&format!("disable scheduling {option}")), "ok");
        assert_eq!(
            (states(&world), world.task("t")["state"].as_str().unwrap()),
            (vec![node.to_owned()], task)
        );
        assert_eq!(world.ask("disable scheduling"), "409 NodeAlreadyInTargetSchedulingState");
        if task == "running" {
            world.exit("t", 0);
            assert_eq!(states(&world), ["offline"]);
        }
        assert_eq!(world.ask("enable scheduling"), "ok");
        assert_eq!(states(&world), [if option == "requeue" { "running" } else { "idle" }]);
    }
    let mut world = World::with_job(json!({}));
    assert_eq!(world.ask("disable scheduling retaineddata"), "400 InvalidPropertyValue");
    assert_eq!(world.ask("enable scheduling"), "409 NodeAlreadyInTargetSchedulingState");
}

#[test]
fn users_of_nodes_are_added_and_deleted() {
    let mut world = World::with_job(json!({}));
    let node = world.node_ids()[0].clone();
    let now = world.now;
    let model = &mut world.model;
    let user = |name: &str| serde_json::from_value(json!({"name": name, "password": "secret"})).unwrap();
    let update = serde_json::from_value(json!({"password": "another"})).unwrap();
    assert_eq!(outcome_text(model.update_user("p", &node, "ann", &update)), "404 NodeUserNotFound");
    assert_eq!(outcome_text(model.add_user("p", &node, &user("ann"), now)), "ok");
    assert_eq!(outcome_text(model.add_user("p", &node, &user("ann"), now)), "409 NodeUserExists");
    assert_eq!(outcome_text(model.update_user("p", &node, "ann", &update)), "ok");
    assert_eq!(outcome_text(model.delete_user("p", &node, "ann")), "ok");
    assert_eq!(outcome_text(model.delete_user("p", &node, "ann")), "404 NodeUserNotFound");
    assert_eq!(outcome_text(model.add_user("p", &node, &user("../x"), now)), "400 InvalidPropertyValue");
    assert_eq!(outcome_text(model.add_user("p", "other", &user("ann"), now)), "404 NodeNotFound");
    assert!(!format!("{:?}", model.take_effects().changes).contains("secret"));
}

#[test]
fn a_node_shows_tasks_that_ended_on_it_even_after_their_deletion() {
    let mut world = World::with_job(json!({}));
    for id in ["a", "b", "c"] {
        world.add_task(id, json!({})).unwrap();
        world.exit(id, 0);
    }
    let recent = |world: &World| {
        let tasks = world.nodes()[0]["recentTasks"].as_array().unwrap().clone();
        tasks
            .iter()
            .map(|task| (task["taskId"].as_str().unwrap().to_owned(), task.clone()))
            .collect::<Vec<_>>()
    };
    let before = recent(&world);
    assert_eq!(before.iter().map(|(id, _)| &**id).collect::<Vec<_>>(), ["c", "b", "a"]);
    world.model.delete_task("j", "b", world.now).unwrap();
    world.settle();
    assert_eq!(recent(&world), before);
    world.model.delete_job("j", world.now).unwrap();
    world.settle();
    assert!(world.model.job("j").is_err());
    assert_eq!(recent(&world), before);
}

#[test]
fn a_node_shows_the_version_of_its_image() {
    for (version, exact) in [
        (json!("latest"), json!("1.0.0")),
        (json!("22.04.1"), json!("22.04.1")),
        (json!(null), json!("1.0.0")),
    ] {
        let mut world = World::new();
        let image = json!({"publisher": "canonical", "offer": "o", "sku": "s", "version": version});
        let machine = json!({"imageReference": image, "nodeAgentSKUId": "x"});
        world
            .add_pool("p", json!({"targetDedicatedNodes": 1, "virtualMachineConfiguration": machine}))
            .unwrap();
        assert_eq!(
            world.nodes()[0]["virtualMachineInfo"]["imageReference"]["exactVersion"],
            exact,
            "{version}"
        );
    }
}
