//! Tests multi-instance tasks.

use super::{World, outcome_text};
use serde_json::{Value, json};

/// Creates a pool `p` whose nodes can communicate, and a job `j` on it.
fn world(nodes: u32, job: Value) -> World {
    let mut world = World::new();
    let pool = json!({"targetDedicatedNodes": nodes, "enableInterNodeCommunication": true});
    world.add_pool("p", pool).unwrap();
    world.add_job("j", job).unwrap();
    world
}

fn on(nodes: u32) -> Value {
    json!({"multiInstanceSettings": {"numberOfInstances": nodes, "coordinationCommandLine": "meet"}})
}

fn subtasks(world: &World) -> Vec<String> {
    let all = world.model.subtasks("j", "t", &super::Select::default()).unwrap();
    let word = |subtask: &dropmill_azure_wire::batch::Subtask| {
        let seen = serde_json::to_value(subtask).unwrap();
        let part = |name: &str| seen[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} {}", seen["id"], part("state"), part("result"), seen["exitCode"])
    };
    all.iter().map(word).collect()
}

/// Returns the task's state, result, exit code, retries and requeues.
fn stands(world: &World) -> String {
    let task = world.task("t");
    let info = &task["executionInfo"];
    let part = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let (retries, requeues) = (&info["retryCount"], &info["requeueCount"]);
    format!("{} {} {} {retries} {requeues}", part(&task["state"]), part(&info["result"]), info["exitCode"])
}

fn nobody_is_busy(world: &World) {
    for node in world.nodes() {
        assert_eq!((&node["state"], &node["runningTaskSlotsCount"]), (&json!("idle"), &json!(0)), "{node}");
    }
    assert!(world.model.launches.is_empty() && world.model.limits.is_empty());
}

#[test]
fn it_waits_for_enough_free_nodes_and_younger_tasks_do_not_overtake_it() {
    let mut world = world(3, json!({}));
    world.add_task("s", json!({})).unwrap();
    world.add_task("t", on(3)).unwrap();
    world.add_task("u", json!({})).unwrap();
    assert_eq!(world.runs(), ["s"]);
    assert_eq!(stands(&world), "active - null 0 0");
    world.exit("/s", 0);
    assert_eq!(world.runs(), ["0", "1", "2"]);
    for folder in ["/t/0", "/t/1", "/t/2"] {
        world.coordinate(folder);
    }
    world.exit("/t/0", 0);
    assert_eq!(stands(&world), "completed success 0 0 0");
    assert_eq!(subtasks(&world), ["1 completed success 0", "2 completed success 0"]);
    assert_eq!(world.runs(), ["u"]);
    world.exit("/u", 0);
    nobody_is_busy(&world);
}

#[test]
fn it_stays_active_on_a_pool_without_inter_node_communication_and_blocks_no_others() {
    let table = [
        json!({"targetDedicatedNodes": 2}),
        json!({"targetDedicatedNodes": 2, "enableInterNodeCommunication": true, "taskSlotsPerNode": 2}),
        json!({"targetDedicatedNodes": 1, "enableInterNodeCommunication": true}),
    ];
    for pool in table {
        let mut world = World::new();
        world.add_pool("p", pool.clone()).unwrap();
        world.add_job("j", json!({})).unwrap();
        world.add_task("t", on(2)).unwrap();
        world.add_task("u", json!({})).unwrap();
        assert_eq!((world.runs(), &*stands(&world)), (vec!["u".to_owned()], "active - null 0 0"), "{pool}");
    }
}

#[test]
fn the_primary_continues_after_the_last_coordination_command() {
    let mut world = world(2, json!({}));
    world.add_task("t", on(2)).unwrap();
    assert_eq!(subtasks(&world), ["1 running - null"]);
    world.coordinate("/t/0");
    assert!(!world.log.contains(&"go on".to_owned()));
    world.coordinate("/t/1");
    assert_eq!(world.log.iter().filter(|line| *line == "go on").count(), 1);
    assert_eq!(world.runs(), ["0", "1"], "the subtask keeps its node");
    world.exit("/t/0", 0);
    assert_eq!(world.log.iter().filter(|line| *line == "go on").count(), 2, "the subtask may end");
    nobody_is_busy(&world);
}

#[test]
fn a_failed_instance_ends_all_and_the_task_is_retried_like_any_other() {
    // Which instance exits, its exit code, after which coordination commands; then the state of the task.
    type Row = (&'static str, i32, &'static [&'static str], i32, &'static str, &'static str);
    let table: &[Row] = &[
        ("/t/1", 7, &[], 0, "completed failure 7 0 0", "1 completed failure 7, 2 completed failure 137"),
        ("/t/0", 7, &[], 0, "completed failure 7 0 0", "1 completed failure 137, 2 completed failure 137"),
        (
            "/t/1",
            7,
            &["/t/0", "/t/2"],
            0,
            "completed failure 7 0 0",
            "1 completed failure 7, 2 completed failure 137",
        ),
        (
            "/t/0",
            5,
            &["/t/0", "/t/1", "/t/2"],
            0,
            "completed failure 5 0 0",
            "1 completed success 0, 2 completed success 0",
        ),
        ("/t/1", 7, &[], 1, "running - null 1 0", "1 running - null, 2 running - null"),
        ("/t/0", 5, &["/t/0", "/t/1", "/t/2"], 1, "running - null 1 0", "1 running - null, 2 running - null"),
    ];
    for (folder, code, coordinated, retries, expected, others) in table {
        let mut world = world(3, json!({}));
        let limits = json!({"constraints": {"maxTaskRetryCount": retries}});
        world.add_task("t", super::with(on(3), limits)).unwrap();
        coordinated.iter().for_each(|folder| world.coordinate(folder));
        world.exit(folder, *code);
        assert_eq!(
            (&*stands(&world), &*subtasks(&world).join(", ")),
            (*expected, *others),
            "{folder} {code}"
        );
        if *retries == 0 {
            nobody_is_busy(&world);
        }
    }
}

#[test]
fn a_task_that_failed_because_of_a_subtask_names_it() {
    let mut world = world(2, json!({}));
    world.add_task("t", on(2)).unwrap();
    world.exit("/t/1", 7);
    let failure = world.task("t")["executionInfo"]["failureInfo"].clone();
    assert_eq!(failure["code"], "FailureExitCode");
    let detail = json!({"name": "SubtaskId", "value": "1"});
    assert!(failure["details"].as_array().unwrap().contains(&detail), "{failure}");
}

#[test]
fn it_always_ends_on_all_nodes() {
    let table = [
        ("terminate task", "completed failure 137 0 0"),
        ("terminate job", "completed failure 137 0 0"),
        ("disable job requeue", "active - null 0 1"),
        ("disable job terminate", "completed failure 137 0 0"),
        ("reboot node", "running - null 0 1"),
        ("reboot node terminate", "completed failure 137 0 0"),
        ("remove nodes", "active - null 0 1"),
    ];
    for coordinated in [&[][..], &["/t/0"], &["/t/0", "/t/1"]] {
        for (what, expected) in table {
            let mut world = world(2, json!({}));
            world.add_task("t", on(2)).unwrap();
            coordinated.iter().for_each(|folder| world.coordinate(folder));
            assert_eq!(world.ask(what), "ok", "{what}");
            assert_eq!(stands(&world), expected, "{what}");
            if !expected.starts_with("running") {
                assert_eq!(world.runs(), Vec::<String>::new(), "{what}");
                nobody_is_busy(&world);
            }
        }
    }
    let mut world = world(2, json!({}));
    world.add_task("t", on(2)).unwrap();
    assert_eq!(world.ask("delete task"), "ok");
    assert_eq!(outcome_text(world.model.task("j", "t")), "404 TaskNotFound");
    let removed = world.log.iter().filter(|line| *line == "remove workitems/j/job-1/t").count();
    assert_eq!(removed, 2, "its files on both nodes");
    nobody_is_busy(&world);
}

#[test]
fn the_end_of_a_subtask_after_the_primary_changes_nothing() {
    for what in ["terminate task", "reboot node requeue"] {
        let mut world = world(2, json!({}));
        world.ends_by_hand = true;
        world.add_task("t", on(2)).unwrap();
        let subtask = world.task_node(1);
        for folder in ["/t/0", "/t/1"] {
            world.coordinate(folder);
        }
        world.stubborn = true;
        world.exit("/t/0", 0);
        assert_eq!(stands(&world), "running - null 0 0", "the subtask has not ended yet");
        match what {
            "terminate task" => assert_eq!(world.ask(what), "ok"),
            _ => {
                let now = world.now;
                world.model.restart_node("p", &subtask, super::NodeAction::Reboot, None, now).unwrap();
                world.settle();
            }
        }
        world.end_killed();
        assert_eq!(stands(&world), "completed success 0 0 0", "{what}");
    }
}

#[test]
fn its_time_limit_includes_the_coordination() {
    let mut world = world(2, json!({}));
    let limits = json!({"constraints": {"maxWallClockTime": "PT1M"}});
    world.add_task("t", super::with(on(2), limits)).unwrap();
    world.coordinate("/t/0");
    world.coordinate("/t/1");
    world.pass(61);
    assert_eq!(stands(&world), "completed failure 137 0 0");
    assert_eq!(world.task("t")["executionInfo"]["failureInfo"]["code"], "TaskEnded");
    nobody_is_busy(&world);
}

#[test]
fn each_instance_has_the_addresses_of_the_others_and_its_own_folder_and_files() {
    let mut world = world(2, json!({"commonEnvironmentSettings": [{"name": "A", "value": "1"}]}));
    let file = |path: &str| json!([{"httpUrl": "http://blob/local/c/b", "filePath": path}]);
    let mut more = on(2);
    more["multiInstanceSettings"]["commonResourceFiles"] = file("common");
    more["resourceFiles"] = file("own");
    world.add_task("t", more).unwrap();
    let mut seen = vec![];
    for launch in world.running.values() {
        let coordination = launch.coordination.as_ref().unwrap();
        assert_eq!(coordination.command_line, "meet");
        assert_eq!(coordination.common_resource_files.len(), 1);
        let own: Vec<_> = launch.resource_files.iter().map(|file| &*file.file_path).collect();
        let get = |name: &str| {
            launch.environment.iter().find(|(known, _)| known == name).map_or("-", |(_, value)| value)
        };
        assert_eq!(get("AZ_BATCH_HOST_LIST"), "127.0.0.1,127.0.0.1");
        assert_eq!(get("AZ_BATCH_NODE_LIST"), "127.0.0.1;127.0.0.1");
        assert_eq!(get("AZ_BATCH_MASTER_NODE"), "127.0.0.1:6000");
        assert_eq!(get("CCP_NODES"), "2 127.0.0.1 4 127.0.0.1 4");
        assert_eq!(get("AZ_BATCH_TASK_SHARED_DIR"), "workitems/j/job-1/t");
        assert_eq!(get("A"), "1");
        let master = get("AZ_BATCH_IS_CURRENT_NODE_MASTER");
        seen.push(format!("{} {:?} {master} {own:?}", launch.directory, launch.command_line));
    }
    let expected = [r#"workitems/j/job-1/t/0 "true" true ["own"]"#, r#"workitems/j/job-1/t/1 "" false []"#];
    assert_eq!(seen, expected);
    assert_eq!(world.task("t")["nodeInfo"]["taskRootDirectory"], "workitems/j/job-1/t/0");
    let recent: Vec<_> =
        world.nodes().iter().map(|node| node["recentTasks"][0]["subtaskId"].clone()).collect();
    assert!(recent.contains(&json!(1)) && recent.contains(&Value::Null), "{recent:?}");
}

#[test]
fn invalid_settings_are_rejected() {
    let table = [
        (json!({"coordinationCommandLine": " "}), json!({}), "400 MissingRequiredProperty"),
        (
            json!({"coordinationCommandLine": "x", "numberOfInstances": 0}),
            json!({}),
            "400 InvalidPropertyValue",
        ),
        (json!({"coordinationCommandLine": "x"}), json!({"requiredSlots": 2}), "400 InvalidPropertyValue"),
        (
            json!({"coordinationCommandLine": "x", "commonResourceFiles": [{"filePath": "a"}]}),
            json!({}),
            "400 InvalidPropertyValue",
        ),
    ];
    for (settings, more, expected) in table {
        let mut world = world(1, json!({}));
        let task = super::with(json!({"multiInstanceSettings": settings}), more);
        assert_eq!(outcome_text(world.add_task("t", task.clone())), expected, "{task}");
    }
}

#[test]
fn every_node_runs_the_jobs_preparation_first() {
    let mut world = world(2, json!({"jobPreparationTask": {"commandLine": "x"}}));
    world.add_task("t", on(2)).unwrap();
    assert_eq!(world.runs(), ["jobpreparation", "jobpreparation"]);
    world.exit("jobpreparation", 0);
    assert_eq!((world.runs().len(), &*stands(&world)), (1, "preparing - null 0 0"));
    world.exit("jobpreparation", 0);
    assert_eq!(world.runs(), ["0", "1"]);
    assert_eq!(stands(&world), "running - null 0 0");
}

#[test]
fn a_node_with_a_failed_preparation_is_not_used() {
    let mut world = world(2, json!({"jobPreparationTask": {"commandLine": "x"}}));
    world.add_task("t", on(2)).unwrap();
    world.exit("jobpreparation", 1);
    world.exit("jobpreparation", 0);
    assert_eq!((world.runs().len(), &*stands(&world)), (0, "active - null 0 0"));
    nobody_is_busy(&world);
    let resize = json!({"targetDedicatedNodes": 3});
    world.model.resize_pool("p", &super::read(resize), world.now).unwrap();
    world.settle();
    world.exit("jobpreparation", 0);
    assert_eq!(world.runs(), ["0", "1"]);
}

#[test]
fn after_a_restart_of_the_service_it_is_queued_again_unless_completed() {
    for coordinated in [&[][..], &["/t/0", "/t/1"]] {
        let mut world = world(2, json!({}));
        world.add_task("t", on(2)).unwrap();
        coordinated.iter().for_each(|folder| world.coordinate(folder));
        let mut world = world.begin_anew();
        assert_eq!((world.runs().len(), &*stands(&world)), (2, "running - null 0 1"));
        for folder in ["/t/0", "/t/1"] {
            world.coordinate(folder);
        }
        world.exit("/t/0", 0);
        let mut world = world.begin_anew();
        assert_eq!(stands(&world), "completed success 0 0 1");
        assert_eq!(subtasks(&world), ["1 completed success 0"]);
        world.pass(8 * 24 * 3600);
        let removed = world.log.iter().filter(|line| *line == "remove workitems/j/job-1/t").count();
        assert_eq!(removed, 2, "its files are kept no longer, on both nodes");
    }
}
