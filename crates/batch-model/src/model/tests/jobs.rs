//! Tests jobs: preparation and release tasks, managers, auto pools, and how they end.

use super::{World, outcome_text, with};
use crate::model::query::Select;
use serde_json::{Value, json};

fn preparing(more: Value) -> World {
    World::with_job(with(
        json!({
            "jobPreparationTask": {"commandLine": "prepare"},
            "jobReleaseTask": {"commandLine": "release"}
        }),
        more,
    ))
}

fn statuses(world: &World) -> Vec<Value> {
    let page = world.model.list_preparations("j", "", &Select::default(), "", 10).unwrap().0;
    page.iter().map(|status| serde_json::to_value(status).unwrap()).collect()
}

#[test]
fn a_node_runs_the_preparation_before_its_first_task_and_the_release_when_the_job_ends() {
    let mut world = preparing(json!({}));
    assert_eq!(world.runs(), [""; 0], "nothing is prepared before there is a task");
    world.add_task("t", json!({})).unwrap();
    assert_eq!(world.runs(), ["jobpreparation"]);
    assert_eq!(world.task("t")["state"], "preparing");
    world.exit("jobpreparation", 0);
    assert_eq!((world.runs(), world.task("t")["state"].as_str().unwrap()), (vec!["t".to_owned()], "running"));
    let launch = world.running.values().next().unwrap();
    let folder = launch.environment.iter().find(|(name, _)| name == "AZ_BATCH_JOB_PREP_DIR").unwrap();
    assert_eq!(folder.1, "workitems/j/job-1/jobpreparation");
    world.exit("/t", 0);
    world.add_task("u", json!({})).unwrap();
    assert_eq!(world.runs(), ["u"], "it is prepared already");
    assert_eq!(world.ask("terminate job"), "ok");
    assert_eq!(
        (world.runs(), world.job("j")["state"].as_str()),
        (vec!["jobrelease".to_owned()], Some("terminating"))
    );
    world.exit("jobrelease", 1);
    assert_eq!(world.job("j")["state"], "completed", "how the release went changes nothing");
    let status = &statuses(&world)[0];
    assert_eq!(status["jobPreparationTaskExecutionInfo"]["result"], "success");
    assert_eq!(status["jobReleaseTaskExecutionInfo"]["exitCode"], 1);
    assert_eq!(world.ask("delete job"), "ok");
    assert_eq!(
        outcome_text(world.model.job("j")),
        "404 JobNotFound",
        "what was released is not released again"
    );
    for folder in ["t", "u", "jobpreparation", "jobrelease"] {
        assert!(
            world.log.contains(&format!("remove workitems/j/job-1/{folder}")),
            "{folder}: {:?}",
            world.log
        );
    }
}

#[test]
fn after_a_failed_preparation_the_task_runs_on_another_node() {
    // Allowed retries; exit codes; then the node of the task.
    let table: [(i32, &[i32], &str); 3] =
        [(0, &[1], "preparing"), (1, &[1, 0], "running"), (1, &[1, 1], "preparing")];
    for (retries, codes, state) in table {
        let mut world = World::new();
        world.add_pool("p", json!({"targetDedicatedNodes": 2})).unwrap();
        let task = json!({"commandLine": "x", "constraints": {"maxTaskRetryCount": retries}});
        world.add_job("j", json!({"jobPreparationTask": task})).unwrap();
        world.add_task("t", json!({})).unwrap();
        let first = world.task("t")["nodeInfo"]["nodeId"].clone();
        for code in codes {
            world.exit("jobpreparation", *code);
        }
        assert_eq!(world.task("t")["state"], state, "{codes:?}");
        assert_eq!(world.task("t")["nodeInfo"]["nodeId"] == first, state == "running", "{codes:?}");
        if state == "preparing" {
            world.exit("jobpreparation", 2);
            if retries == 1 {
                world.exit("jobpreparation", 2);
            }
            assert_eq!(world.task("t")["state"], "active", "no node is left");
            assert_eq!(world.task("t")["executionInfo"]["requeueCount"], 0);
            assert_eq!(world.ask("reboot node"), "ok");
            assert_eq!(world.task("t")["state"], "preparing", "a node that booted anew tries again");
        }
    }
}

#[test]
fn tasks_do_not_wait_for_a_preparation_without_wait_for_success() {
    let task = json!({"commandLine": "x", "waitForSuccess": false});
    let mut world = World::with_job(json!({"jobPreparationTask": task}));
    world.add_task("t", json!({})).unwrap();
    assert_eq!(world.runs(), ["jobpreparation", "t"]);
    world.exit("jobpreparation", 1);
    world.exit("/t", 0);
    world.add_task("u", json!({})).unwrap();
    assert_eq!(world.runs(), ["u"]);
}

#[test]
fn a_task_that_waits_for_a_preparation_can_be_ended() {
    for (request, state) in [
        ("terminate task", "completed"),
        ("disable job requeue", "active"),
        ("disable job terminate", "completed"),
        ("terminate job", "completed"),
        ("disable scheduling requeue", "active"),
        ("disable scheduling terminate", "completed"),
        ("reboot node terminate", "completed"),
    ] {
        let mut world = preparing(json!({}));
        world.boots_by_hand = true;
        world.add_task("t", json!({})).unwrap();
        assert_eq!(world.ask(request), "ok");
        assert_eq!(world.task("t")["state"], state, "{request}");
        assert_eq!(world.nodes()[0]["runningTaskSlotsCount"], 0, "{request}");
    }
    let mut world = preparing(json!({}));
    world.add_task("t", json!({})).unwrap();
    assert_eq!(world.ask("delete task"), "ok");
    assert_eq!(outcome_text(world.model.task("j", "t")), "404 TaskNotFound");
}

#[test]
fn a_preparation_runs_again_after_a_reboot_unless_disabled() {
    for (request, reruns, expected) in [
        ("reboot node", true, "jobpreparation"),
        ("reboot node", false, "u"),
        ("reimage node", false, "jobpreparation"),
    ] {
        let task = json!({"commandLine": "x", "rerunOnNodeRebootAfterSuccess": reruns});
        let mut world = World::with_job(json!({"jobPreparationTask": task}));
        world.add_task("t", json!({})).unwrap();
        world.exit("jobpreparation", 0);
        world.exit("/t", 0);
        world.ask(request);
        world.add_task("u", json!({})).unwrap();
        assert_eq!(world.runs(), [expected], "{request} {reruns}");
    }
}

#[test]
fn preparations_and_releases_have_time_limits() {
    let mut world = World::with_job(json!({
        "jobPreparationTask": {"commandLine": "x", "constraints": {"maxWallClockTime": "PT1M"}},
        "jobReleaseTask": {"commandLine": "x", "maxWallClockTime": "PT2M"}
    }));
    world.add_task("t", json!({})).unwrap();
    world.pass(61);
    assert_eq!((world.runs(), world.task("t")["state"].as_str()), (vec![], Some("active")));
    world.ask("terminate job");
    assert_eq!(world.runs(), ["jobrelease"]);
    world.pass(121);
    assert_eq!(world.job("j")["state"], "completed");
}

#[test]
fn a_release_waits_for_a_booting_node_but_not_for_a_removed_one() {
    let mut world = preparing(
        json!({"jobPreparationTask": {"commandLine": "x", "rerunOnNodeRebootAfterSuccess": false}}),
    );
    world.add_task("t", json!({})).unwrap();
    world.exit("jobpreparation", 0);
    world.exit("/t", 0);
    world.boots_by_hand = true;
    world.ask("reboot node");
    world.ask("terminate job");
    assert_eq!(world.job("j")["state"], "terminating");
    world.boot_all();
    assert_eq!(world.runs(), ["jobrelease"]);
    world.ask("remove nodes");
    assert_eq!(world.job("j")["state"], "completed");
}

#[test]
fn a_manager_runs_first_and_ends_the_job_with_it() {
    for (kill, expected) in [(true, "completed"), (false, "active")] {
        let manager = json!({"id": "boss", "commandLine": "x", "killJobOnCompletion": kill});
        let mut world = World::with_job(json!({"jobManagerTask": manager}));
        assert_eq!(world.runs(), ["boss"]);
        world.add_task("t", json!({})).unwrap();
        world.exit("boss", 0);
        assert_eq!(world.job("j")["state"], expected);
        if kill {
            assert_eq!(world.job("j")["executionInfo"]["terminateReason"], "JMComplete");
            assert_eq!(world.task("t")["state"], "active", "what waited waits for ever");
        }
    }
}

#[test]
fn an_auto_pool_is_deleted_with_its_job_unless_it_is_kept() {
    for keeps in [false, true] {
        let mut world = World::new();
        let image = json!({"imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 22.04"});
        let pool = json!({"vmSize": "a1", "targetDedicatedNodes": 1, "virtualMachineConfiguration": image});
        let auto = json!({"autoPoolIdPrefix": "made", "poolLifetimeOption": "job", "keepAlive": keeps, "pool": pool});
        world.add_job("j", json!({"poolInfo": {"autoPoolSpecification": auto}})).unwrap();
        let id = world.job("j")["executionInfo"]["poolId"].as_str().unwrap().to_owned();
        assert!(
            id.starts_with("made_")
                && id.len() == 41
                && id == id.replace("made", "").to_uppercase().replacen('_', "made_", 1)
        );
        world.add_task("t", json!({})).unwrap();
        world.exit("/t", 0);
        assert_eq!(world.ask("put job"), "409 JobNotDisabled");
        assert_eq!(world.ask("terminate job"), "ok");
        assert_eq!(world.model.pool(&id).is_ok(), keeps);
    }
}

#[test]
fn a_job_whose_auto_pool_cannot_be_created_ends_at_once() {
    let mut world = World::new();
    let auto = json!({"poolLifetimeOption": "job", "pool": {"vmSize": "a1"}});
    world.add_job("j", json!({"poolInfo": {"autoPoolSpecification": auto}})).unwrap();
    let job = world.job("j");
    assert_eq!(job["state"], "completed");
    assert_eq!(job["executionInfo"]["schedulingError"]["code"], "InvalidAutoPoolSettings");
}

#[test]
fn jobs_end_when_all_tasks_are_completed_or_at_their_time_limit() {
    let mut world = World::with_job(json!({"onAllTasksComplete": "terminatejob"}));
    assert_eq!(world.job("j")["state"], "completed", "a job without tasks has none unfinished");
    assert_eq!(world.job("j")["executionInfo"]["terminateReason"], "AllTasksComplete");

    let mut world2 = World::with_job(json!({"constraints": {"maxWallClockTime": "PT1H"}}));
    world2.add_task("t", json!({})).unwrap();
    world2.pass(3599);
    assert_eq!(world2.job("j")["state"], "active");
    world2.pass(2);
    assert_eq!(world2.job("j")["state"], "completed");
    assert_eq!(world2.job("j")["executionInfo"]["terminateReason"], "MaxWallClockTimeExpiry");
    assert_eq!(world2.task("t")["executionInfo"]["failureInfo"]["code"], "TaskEnded");
    world.settle();
}

#[test]
fn invalid_jobs_are_rejected_with_a_code() {
    let table = [
        (json!({"id": "a b"}), "400 InvalidPropertyValue"),
        (json!({"id": "x".repeat(65)}), "400 InvalidPropertyValue"),
        (json!({"priority": 1001}), "400 InvalidPropertyValue"),
        (json!({"maxParallelTasks": 0}), "400 InvalidPropertyValue"),
        (json!({"constraints": {"maxTaskRetryCount": -2}}), "400 InvalidPropertyValue"),
        (json!({"constraints": {"maxWallClockTime": "PT0S"}}), "400 InvalidPropertyValue"),
        (json!({"poolInfo": {}}), "400 MissingRequiredProperty"),
        (json!({"poolInfo": {"poolId": "a b"}}), "400 InvalidPropertyValue"),
        (
            json!({"poolInfo": {"autoPoolSpecification": {"poolLifetimeOption": "job"}}}),
            "400 MissingRequiredProperty",
        ),
        (json!({"jobReleaseTask": {"commandLine": "x"}}), "400 InvalidPropertyValue"),
        (json!({"jobPreparationTask": {"commandLine": " "}}), "400 MissingRequiredProperty"),
        (json!({"jobManagerTask": {"id": "m", "commandLine": ""}}), "400 MissingRequiredProperty"),
        (json!({"commonEnvironmentSettings": [{"name": "A=B"}]}), "400 InvalidPropertyValue"),
        (json!({"id": "J"}), "409 JobExists"),
        (json!({"id": "k"}), "ok"),
    ];
    for (more, expected) in table {
        let mut world = World::with_job(json!({}));
        let body = with(json!({"id": "new"}), more.clone());
        let id = body["id"].as_str().unwrap().to_owned();
        assert_eq!(outcome_text(world.add_job(&id, more.clone())), expected, "{more}");
    }
}

#[test]
fn a_disabled_job_accepts_tasks_and_can_move_to_another_pool() {
    let mut world = World::with_job(json!({}));
    world.add_pool("q", json!({"targetDedicatedNodes": 1})).unwrap();
    let moved = |world: &mut World| {
        let patch = serde_json::from_value(json!({"poolInfo": {"poolId": "q"}})).unwrap();
        let outcome = outcome_text(world.model.patch_job("j", patch, world.now));
        world.settle();
        outcome
    };
    assert_eq!(moved(&mut world), "409 JobNotDisabled");
    world.ask("disable job");
    world.add_task("t", json!({})).unwrap();
    assert_eq!(world.task("t")["state"], "active");
    assert_eq!(moved(&mut world), "ok");
    world.ask("enable job");
    assert_eq!(world.task("t")["nodeInfo"]["poolId"], "q");
}

#[test]
fn more_important_jobs_go_first_within_their_limits_of_parallel_tasks() {
    let mut world = World::new();
    world.add_pool("p", json!({"targetDedicatedNodes": 1, "taskSlotsPerNode": 4})).unwrap();
    world.add_job("low", json!({"maxParallelTasks": 1})).unwrap();
    world.add_job("j", json!({"priority": 10, "maxParallelTasks": 2})).unwrap();
    world.ask("disable scheduling");
    let now = world.now;
    for number in 0..3 {
        let task = json!({"id": format!("low{number}"), "commandLine": "x"});
        world.model.add_task("low", serde_json::from_value(task).unwrap(), now).unwrap();
        world.add_task(&format!("high{number}"), json!({})).unwrap();
    }
    world.ask("enable scheduling");
    assert_eq!(world.runs(), ["high0", "high1", "low0"]);
    world.exit("high0", 0);
    assert_eq!(world.runs(), ["high1", "high2", "low0"]);
}
