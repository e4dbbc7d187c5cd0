//! Tests tasks: dependencies, exit conditions, attempts, limits and placement.

use super::{World, outcome_text};
use crate::orders::ResourceSource;
use serde_json::{Value, json};

#[test]
fn exit_conditions_decide_about_the_job_and_dependent_tasks() {
    let satisfy = json!({"dependencyAction": "satisfy"});
    let block = json!({"dependencyAction": "block"});
    let terminate = json!({"jobAction": "terminate"});
    let disable = json!({"jobAction": "disable"});
    // Exit code, conditions; then the state of the dependent task and of the job.
    let table = [
        (0, json!({}), "running", "active"),
        (1, json!({}), "active", "active"),
        (1, json!({"default": satisfy}), "running", "active"),
        (0, json!({"default": block}), "running", "active"),
        (2, json!({"exitCodes": [{"code": 2, "exitOptions": satisfy}]}), "running", "active"),
        (
            2,
            json!({"exitCodes": [{"code": 2, "exitOptions": satisfy}], "default": block}),
            "running",
            "active",
        ),
        (3, json!({"exitCodes": [{"code": 2, "exitOptions": satisfy}]}), "active", "active"),
        (4, json!({"exitCodeRanges": [{"start": 3, "end": 5, "exitOptions": satisfy}]}), "running", "active"),
        (6, json!({"exitCodeRanges": [{"start": 3, "end": 5, "exitOptions": satisfy}]}), "active", "active"),
        (0, json!({"exitCodes": [{"code": 0, "exitOptions": block}]}), "active", "active"),
        (1, json!({"default": terminate}), "active", "completed"),
        (1, json!({"default": disable}), "active", "disabled"),
    ];
    for (code, conditions, dependent, job) in table {
        let mut world = World::with_job(
            json!({"usesTaskDependencies": true, "onTaskFailure": "performexitoptionsjobaction"}),
        );
        world.add_task("t", json!({"exitConditions": conditions})).unwrap();
        world.add_task("u", json!({"dependsOn": {"taskIds": ["T"]}})).unwrap();
        assert_eq!(world.runs(), ["t"]);
        world.exit("/t", code);
        let states = (world.task("u")["state"].clone(), world.job("j")["state"].clone());
        assert_eq!(states, (dependent.into(), job.into()), "{code} {conditions}");
        if job == "completed" {
            assert_eq!(world.job("j")["executionInfo"]["terminateReason"], "TaskFailed");
        }
    }
}

#[test]
fn a_task_can_depend_on_ids_and_ranges_that_do_not_exist_yet() {
    let mut world = World::with_job(json!({"usesTaskDependencies": true}));
    world
        .add_task("last", json!({"dependsOn": {"taskIds": ["x"], "taskIdRanges": [{"start": 1, "end": 2}]}}))
        .unwrap();
    for id in ["1", "x", "002"] {
        assert_eq!(world.task("last")["state"], "active");
        world.add_task(id, json!({})).unwrap();
        world.exit(&format!("/{id}"), 0);
    }
    assert_eq!(world.runs(), ["last"]);
}

#[test]
fn a_task_is_retried_up_to_its_limit() {
    // Retries of the job and of the task; number of attempts.
    for (job, task, tries) in [(0, None, 1), (2, None, 3), (2, Some(0), 1), (0, Some(1), 2)] {
        let mut world = World::with_job(json!({"constraints": {"maxTaskRetryCount": job}}));
        let constraints = task.map_or(json!({}), |task| json!({"constraints": {"maxTaskRetryCount": task}}));
        world.add_task("t", constraints).unwrap();
        for _ in 0..tries {
            assert_eq!(world.task("t")["state"], "running");
            world.exit("/t", 9);
        }
        let task = world.task("t");
        assert_eq!(
            (task["state"].as_str(), task["executionInfo"]["retryCount"].as_i64()),
            (Some("completed"), Some(tries - 1))
        );
        let failure = &task["executionInfo"]["failureInfo"];
        assert_eq!(
            (failure["category"].as_str(), failure["code"].as_str()),
            (Some("usererror"), Some("FailureExitCode"))
        );
    }
}

#[test]
fn a_task_that_exceeds_its_time_limit_is_ended_and_not_retried() {
    let mut world = World::with_job(json!({}));
    let constraints = json!({"constraints": {"maxWallClockTime": "PT1M", "maxTaskRetryCount": 3}});
    world.add_task("t", constraints).unwrap();
    world.pass(61);
    let info = &world.task("t")["executionInfo"];
    assert_eq!(
        (info["failureInfo"]["code"].as_str(), info["exitCode"].as_i64()),
        (Some("TaskEnded"), Some(137))
    );
    assert_eq!(info["retryCount"], 0);
}

#[test]
fn files_are_kept_for_their_retention_time_even_after_a_second_run() {
    let mut world = World::with_job(json!({}));
    world.add_task("t", json!({"constraints": {"retentionTime": "PT1H"}})).unwrap();
    world.exit("/t", 1);
    world.pass(3000);
    assert_eq!(world.ask("reactivate task"), "ok");
    assert_eq!(world.task("t")["executionInfo"]["retryCount"], 0);
    world.exit("/t", 0);
    world.pass(1000);
    assert!(!world.log.iter().any(|line| line.starts_with("remove")), "{:?}", world.log);
    world.pass(3000);
    assert!(world.log.contains(&"remove workitems/j/job-1/t".to_owned()));
}

#[test]
fn tasks_fill_nodes_according_to_the_fill_type() {
    for (fill, expected) in [("spread", [1, 1]), ("pack", [0, 2])] {
        let mut world = World::new();
        let policy = json!({"nodeFillType": fill});
        let pool = json!({"targetDedicatedNodes": 2, "taskSlotsPerNode": 4, "taskSchedulingPolicy": policy});
        world.add_pool("p", pool).unwrap();
        world.add_job("j", json!({})).unwrap();
        for id in ["a", "b"] {
            world.add_task(id, json!({"requiredSlots": 2})).unwrap();
        }
        let mut running: Vec<_> =
            world.nodes().iter().map(|node| node["runningTasksCount"].as_i64().unwrap()).collect();
        running.sort();
        assert_eq!(running, expected, "{fill}");
        world.add_task("big", json!({"requiredSlots": 4})).unwrap();
        world.add_task("small", json!({"requiredSlots": 1})).unwrap();
        let state = |id: &str| world.task(id)["state"].as_str().unwrap().to_owned();
        let states = (state("big"), state("small"));
        let runs = |runs: bool| if runs { "running" } else { "active" }.to_owned();
        assert_eq!(states, (runs(fill == "pack"), runs(fill == "spread")), "{fill}");
    }
}

#[test]
fn a_slot_is_given_to_another_task_only_after_its_process_has_ended() {
    let mut world = World::new();
    world.add_pool("p", json!({"targetDedicatedNodes": 1, "taskSlotsPerNode": 4})).unwrap();
    world.add_job("j", json!({})).unwrap();
    world.ends_by_hand = true;
    for (id, slots) in [("a", 1), ("b", 2), ("c", 1), ("d", 1), ("e", 2)] {
        world.add_task(id, json!({"requiredSlots": slots})).unwrap();
    }
    let node = world.node_ids()[0].clone();
    let slots = |world: &World| -> Vec<String> {
        let launches = world.running.values().map(|launch| {
            let variable = |name: &str| &launch.environment.iter().find(|(of, _)| of == name).unwrap().1;
            assert_eq!(variable("DROPMILL_NODE"), &node);
            format!("{}:{}", variable("AZ_BATCH_TASK_ID"), variable("DROPMILL_SLOT"))
        });
        launches.collect()
    };
    assert_eq!(slots(&world), ["a:0", "b:1", "c:3"]);
    // Its process may still run for as long as the grace.
    world.model.terminate_task("j", "a", world.now).unwrap();
    world.settle();
    assert_eq!(slots(&world), ["a:0", "b:1", "c:3"]);
    world.end_killed();
    assert_eq!(slots(&world), ["b:1", "c:3", "d:0"]);
    world.exit("c", 0);
    world.exit("d", 0);
    assert_eq!(slots(&world), ["b:1", "e:0"]);
    world.exit("b", 0);
    world.add_task("f", json!({"requiredSlots": 1})).unwrap();
    assert_eq!(slots(&world), ["e:0", "f:1"]);
}

#[test]
fn a_task_runs_on_its_preferred_node_if_it_has_free_slots() {
    let mut world = World::new();
    world.add_pool("p", json!({"targetDedicatedNodes": 3})).unwrap();
    world.add_job("j", json!({})).unwrap();
    let last = world.node_ids()[2].clone();
    let like = json!({"affinityInfo": {"affinityId": format!("TVM:{last}")}});
    world.add_task("a", like.clone()).unwrap();
    world.add_task("b", like).unwrap();
    assert_eq!(world.task("a")["nodeInfo"]["nodeId"], *last);
    assert_ne!(world.task("b")["nodeInfo"]["nodeId"], *last);
    assert_eq!(world.task("b")["state"], "running");
}

#[test]
fn invalid_tasks_are_rejected_with_a_code() {
    let file = |file: Value| json!({"resourceFiles": [file]});
    let table = [
        (json!({"id": ""}), "400 InvalidPropertyValue"),
        (json!({"id": "a/b"}), "400 InvalidPropertyValue"),
        (json!({"commandLine": " "}), "400 MissingRequiredProperty"),
        (json!({"requiredSlots": 0}), "400 InvalidPropertyValue"),
        (json!({"requiredSlots": 2}), "ok"),
        (json!({"dependsOn": {"taskIds": ["x"]}}), "400 TaskDependenciesNotSpecifiedOnJob"),
        (json!({"constraints": {"maxTaskRetryCount": -2}}), "400 InvalidPropertyValue"),
        (json!({"constraints": {"maxWallClockTime": "PT0S"}}), "400 InvalidPropertyValue"),
        (json!({"constraints": {"retentionTime": "-PT1S"}}), "400 InvalidPropertyValue"),
        (json!({"environmentSettings": [{"name": "", "value": "x"}]}), "400 InvalidPropertyValue"),
        (file(json!({})), "400 InvalidPropertyValue"),
        (file(json!({"httpUrl": "http://a/b"})), "400 MissingRequiredProperty"),
        (
            file(json!({"httpUrl": "http://a/b", "storageContainerUrl": "http://a"})),
            "400 InvalidPropertyValue",
        ),
        (file(json!({"autoStorageContainerName": "a/b"})), "400 InvalidPropertyValue"),
        (file(json!({"autoStorageContainerName": "inputs"})), "ok"),
        (json!({"id": "jobpreparation"}), "409 TaskIdSameAsJobPreparationTask"),
        (json!({"id": "JobRelease"}), "409 TaskIdSameAsJobReleaseTask"),
        (json!({"id": "T"}), "409 TaskExists"),
        (json!({"id": "fine"}), "ok"),
    ];
    for (more, expected) in table {
        let chore = json!({"commandLine": "x"});
        let mut world = World::with_job(json!({"jobPreparationTask": chore, "jobReleaseTask": chore}));
        world.add_task("t", json!({})).unwrap();
        assert_eq!(outcome_text(world.add_task("new", more.clone())), expected, "{more}");
    }
    let mut world = World::with_job(json!({"usesTaskDependencies": true}));
    let long = "x".repeat(64);
    let table = [
        (json!({"taskIds": vec![long; 1001]}), "400 TaskDependencyListTooLong"),
        (json!({"taskIds": ["a b"]}), "400 InvalidPropertyValue"),
        (json!({"taskIdRanges": [{"start": 3, "end": 1}]}), "400 InvalidPropertyValue"),
        (
            json!({"taskIdRanges": vec![json!({"start": 1, "end": 1}); 5000]}),
            "400 TaskDependencyRangesTooLong",
        ),
    ];
    for (on, expected) in table {
        assert_eq!(outcome_text(world.add_task("new", json!({"dependsOn": on}))), expected);
    }
}

#[test]
fn counts_follow_tasks_through_their_states() {
    let counts = |world: &World| {
        let counts = world.model.task_counts("j").unwrap().task_counts;
        [counts.active, counts.running, counts.completed, counts.succeeded, counts.failed]
    };
    let mut world = World::with_job(json!({"jobPreparationTask": {"commandLine": "x"}}));
    for id in ["a", "b", "c"] {
        world.add_task(id, json!({})).unwrap();
    }
    assert_eq!(counts(&world), [2, 1, 0, 0, 0], "preparing counts as running");
    world.exit("jobpreparation", 0);
    world.exit("/a", 0);
    world.exit("/b", 1);
    assert_eq!(counts(&world), [0, 1, 2, 1, 1]);
    world.exit("/c", 0);
    world.model.delete_task("j", "a", world.now).unwrap();
    world.model.reactivate_task("j", "b", world.now).unwrap();
    world.settle();
    assert_eq!(counts(&world), [0, 1, 1, 1, 0]);
}

#[test]
fn a_container_of_the_linked_storage_account_is_read_with_a_sas() {
    let mut world = World::with_job(json!({}));
    let file = json!({"autoStorageContainerName": "inputs", "blobPrefix": "a/", "filePath": "in"});
    world.add_task("t", json!({"resourceFiles": [file]})).unwrap();
    let order = &world.running.values().next().unwrap().resource_files[0];
    let ResourceSource::Container { url, prefix } = &order.source else { panic!("{order:?}") };
    assert!(
        url.starts_with("http://blob/local/inputs?") && url.contains("sp=rl") && url.contains("sig="),
        "{url}"
    );
    assert_eq!((&**prefix, &*order.file_path), ("a/", "in"));
    assert!(!format!("{order:?}").contains("sig="));
}

#[test]
fn a_released_task_stays_released_when_its_dependency_is_deleted() {
    let mut world = World::with_job(json!({"usesTaskDependencies": true}));
    world.add_task("first", json!({})).unwrap();
    world.exit("first", 0);
    world.add_task("busy", json!({})).unwrap();
    let on = |ids: &[&str]| json!({"dependsOn": {"taskIds": ids}});
    world.add_task("released", on(&["first"])).unwrap();
    world.model.delete_task("j", "first", world.now).unwrap();
    world.settle();
    // A task that is added later waits for the next task of that id.
    world.add_task("later", on(&["first"])).unwrap();
    for anew in [false, true] {
        if anew {
            world = world.begin_anew();
        }
        assert_eq!(world.runs(), ["busy"], "the only slot is taken");
    }
    world.exit("busy", 0);
    assert_eq!(world.runs(), ["released"]);
    world.exit("released", 0);
    assert_eq!(world.runs(), Vec::<String>::new());
}

#[test]
fn tasks_of_a_job_run_in_a_pool_that_is_created_later() {
    for anew in [false, true] {
        let mut world = World::with_job(json!({}));
        world.ask("disable scheduling");
        world.add_task("t", json!({})).unwrap();
        world.ask("delete pool");
        if anew {
            world = world.begin_anew();
        }
        world.add_pool("P", json!({"targetDedicatedNodes": 1})).unwrap();
        assert_eq!(world.runs(), ["t"]);
        world.exit("t", 0);
        world.add_task("u", json!({})).unwrap();
        assert_eq!(world.runs(), ["u"]);
    }
}

#[test]
fn slots_of_a_deleted_job_are_used_by_others() {
    let mut world = World::with_job(json!({}));
    world.add_job("k", json!({})).unwrap();
    let task = |id: &str| serde_json::from_value(json!({"id": id, "commandLine": "x"})).unwrap();
    world.add_task("t", json!({})).unwrap();
    world.model.add_task("k", task("u"), world.now).unwrap();
    world.model.schedule_job("k", world.now);
    assert_eq!(world.runs(), ["t"]);
    assert_eq!(world.ask("delete job"), "ok");
    assert_eq!(world.runs(), ["u"]);
}

#[test]
fn a_job_created_before_its_pool_waits_for_it() {
    let read = |body| serde_json::from_value(body).unwrap();
    let schedule = json!({"id": "s", "schedule": {"recurrenceInterval": "PT1H"},
                          "jobSpecification": {"poolInfo": {"poolId": "later"}}});
    for way in ["job", "patch", "put", "schedule"] {
        let mut world = World::new();
        let pool = json!({"poolInfo": {"poolId": "later"}});
        let first = if matches!(way, "patch" | "put") { json!({}) } else { pool.clone() };
        world.add_job("j", first).unwrap();
        let now = world.now;
        let mut id = "j";
        match way {
            "patch" | "put" => {
                world.ask("disable job");
                match way {
                    "patch" => {
                        drop(world.model.patch_job("j", serde_json::from_value(pool).unwrap(), now).unwrap())
                    }
                    _ => {
                        drop(world.model.update_job("j", serde_json::from_value(pool).unwrap(), now).unwrap())
                    }
                }
                world.ask("enable job");
            }
            "schedule" => {
                world.model.create_schedule(serde_json::from_value(schedule.clone()).unwrap(), now).unwrap();
                id = "s:job-1";
            }
            _ => {}
        }
        world.model.add_task(id, read(json!({"id": "t", "commandLine": "true"})), now).unwrap();
        world.model.schedule_job(id, now);
        world.settle();
        assert_eq!(world.runs(), Vec::<String>::new(), "{way}");
        world.add_pool("later", json!({"targetDedicatedNodes": 1})).unwrap();
        assert_eq!(world.runs(), ["t"], "{way}");
    }
}

#[test]
fn tasks_that_need_more_slots_than_a_node_has_block_no_others() {
    let mut world = World::with_job(json!({}));
    for number in 0..100 {
        world.add_task(&format!("big-{number}"), json!({"requiredSlots": 2})).unwrap();
    }
    world.add_task("small", json!({})).unwrap();
    assert_eq!(world.runs(), ["small"]);
    world.exit("small", 0);
    assert_eq!(world.runs(), Vec::<String>::new());
    // A pool with larger nodes runs them.
    world.ask("delete pool");
    world.add_pool("p", json!({"targetDedicatedNodes": 1, "taskSlotsPerNode": 2})).unwrap();
    assert_eq!(world.runs(), ["big-0"]);
}
