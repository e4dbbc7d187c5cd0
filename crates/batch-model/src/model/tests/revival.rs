//! Tests how a service that was killed starts again.

use super::World;
use serde_json::json;

#[test]
fn running_tasks_are_queued_again_and_completed_ones_stay_completed() {
    let mut world = World::with_job(json!({"usesTaskDependencies": true}));
    world.add_task("done", json!({})).unwrap();
    world.exit("/done", 0);
    world.add_task("t", json!({})).unwrap();
    world.add_task("waits", json!({"dependsOn": {"taskIds": ["t"]}})).unwrap();
    let mut world = world.begin_anew();
    assert_eq!(world.runs(), ["t"]);
    assert_eq!(world.task("done")["state"], "completed");
    assert_eq!(world.model.task_counts("j").unwrap().task_counts.succeeded, 1);
    world.exit("/t", 0);
    assert_eq!(world.runs(), ["waits"]);
    world.pass(8 * 24 * 3600);
    assert!(world.log.contains(&"remove workitems/j/job-1/done".to_owned()), "its files are kept no longer");
}

#[test]
fn preparations_run_again_and_an_ending_job_still_runs_its_release() {
    let chores = json!({"jobPreparationTask": {"commandLine": "x"}, "jobReleaseTask": {"commandLine": "x"}});
    let mut world = World::with_job(chores);
    world.add_task("t", json!({})).unwrap();
    let mut world = world.begin_anew();
    assert_eq!(world.runs(), ["jobpreparation"]);
    world.exit("jobpreparation", 0);
    world.exit("/t", 0);
    world.ask("terminate job");
    assert_eq!(world.runs(), ["jobrelease"]);
    let mut world = world.begin_anew();
    assert_eq!(world.runs(), ["jobrelease"], "how far it came is not known");
    world.exit("jobrelease", 0);
    assert_eq!(world.job("j")["state"], "completed");
    let world = world.begin_anew();
    assert_eq!((world.runs().len(), world.job("j")["state"].as_str()), (0, Some("completed")));
}

#[test]
fn nodes_boot_again_and_removed_ones_stay_removed() {
    let mut world = World::with_job(json!({}));
    world.add_task("t", json!({})).unwrap();
    let resize = json!({"targetDedicatedNodes": 0, "nodeDeallocationOption": "taskcompletion"});
    world.model.resize_pool("p", &serde_json::from_value(resize).unwrap(), world.now).unwrap();
    world.settle();
    let mut world = world.begin_anew();
    assert_eq!((world.nodes().len(), world.task("t")["state"].as_str()), (0, Some("active")));
    assert_eq!(world.ask("resize pool"), "ok");
    assert_eq!(world.runs(), ["t"]);
}

#[test]
fn schedules_and_formulas_continue() {
    let mut world = World::new();
    world
        .add_pool("p", json!({"enableAutoScale": true, "autoScaleFormula": "$TargetDedicatedNodes = 2;"}))
        .unwrap();
    assert_eq!(world.nodes().len(), 2);
    let job = json!({"poolInfo": {"poolId": "p"}, "onAllTasksComplete": "terminatejob"});
    let schedule = json!({"id": "s", "schedule": {"recurrenceInterval": "PT1H"}, "jobSpecification": job});
    world.model.create_schedule(serde_json::from_value(schedule).unwrap(), world.now).unwrap();
    world.settle();
    let mut world = world.begin_anew();
    assert_eq!(world.nodes().len(), 2);
    world.pass(3601);
    assert!(world.model.job("s:job-2").is_ok());
    assert!(
        world.pool("p")["autoScaleRun"]["results"].as_str().unwrap().starts_with("$TargetDedicatedNodes=2")
    );
}
