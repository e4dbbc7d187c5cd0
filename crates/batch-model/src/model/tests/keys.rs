//! Tests that ids that differ only in case name the same object, shown in the first spelling, and that all
//! references share one text.

use super::{World, outcome_text};
use crate::model::{Alarm, JobKey, What, query::Select};
use crate::orders::{LaunchEnding, NodeEvent, Spent};
use dropmill_azure_wire::batch::TaskState;
use serde_json::json;
use std::ptr;

/// Creates a pool, a job that names it in another spelling, and a task that depends on another in another
/// spelling.
fn world() -> World {
    let mut world = World::new();
    world.ends_by_hand = true;
    world.add_pool("Mill", json!({"targetDedicatedNodes": 1})).unwrap();
    let more = json!({"poolInfo": {"poolId": "mILL"}, "usesTaskDependencies": true});
    world.add_job("J", more).unwrap();
    world.add_task("First", json!({"dependsOn": {"taskIds": ["ZERO"]}})).unwrap();
    world.add_task("Zero", json!({"constraints": {"retentionTime": "PT1H"}})).unwrap();
    world
}

#[test]
fn ids_that_differ_in_case_are_one_key_everywhere() {
    let mut world = world();
    let now = world.now;
    assert_eq!(outcome_text(world.add_pool("mill", json!({}))), "409 PoolExists");
    assert_eq!(outcome_text(world.add_job("j", json!({}))), "409 JobExists");
    assert_eq!(outcome_text(world.add_task("zERO", json!({}))), "409 TaskExists");
    let ran: Vec<_> = world.running.values().map(|launch| launch.directory.clone()).collect();
    assert_eq!(ran, ["workitems/J/job-1/Zero"], "it runs under the id that it was added with");
    let launch = *world.running.keys().next().unwrap();
    world.end_launch(launch, 0);
    world.settle();
    let ran: Vec<_> = world.running.values().map(|launch| launch.directory.clone()).collect();
    assert_eq!(ran, ["workitems/J/job-1/First"], "what it waited for is over");

    let model = &mut world.model;
    let node = model.pool("MILL").unwrap().nodes.values().next().unwrap().id.to_string();
    assert_eq!(model.node("mill", &node.to_uppercase()).unwrap().id.as_str(), node);
    let task = model.task("j", "FIRST").unwrap();
    assert_eq!(&*task.nodes().next().unwrap().pool_id, "Mill");
    let seen = model.see_task(model.job("j").unwrap(), task, &Select::default());
    assert_eq!(
        (seen.goes.id.as_str(), seen.goes.url.as_deref()),
        ("First", Some("http://batch/jobs/J/tasks/First"))
    );
    model.disable_scheduling("MILL", &node.to_uppercase(), None, now).unwrap();
    assert_eq!(
        outcome_text(model.disable_scheduling("mill", &node, None, now)),
        "409 NodeAlreadyInTargetSchedulingState"
    );

    let ask = json!({"id": "Daily", "schedule": {"recurrenceInterval": "PT1H"},
                     "jobSpecification": {"poolInfo": {"poolId": "MILL"}}});
    model.create_schedule(serde_json::from_value(ask.clone()).unwrap(), now).unwrap();
    let again = json!({"id": "dAILY"});
    let again = serde_json::from_value(super::with(ask, again)).unwrap();
    assert_eq!(outcome_text(model.create_schedule(again, now)), "409 JobScheduleExists");
    assert_eq!(model.job("DAILY:JOB-1").unwrap().spec.id, "Daily:job-1");
    model.delete_schedule("daily", now).unwrap();
    assert_eq!(outcome_text(model.job("Daily:job-1")), "404 JobNotFound");
    model.delete_task("j", "zero", now).unwrap();
    assert_eq!(outcome_text(model.task("J", "Zero")), "404 TaskNotFound");
}

#[test]
fn all_references_to_a_task_share_the_text_of_its_key() {
    let mut world = world();
    let launch = *world.running.keys().next().unwrap();
    let check = |world: &World, state: &TaskState| {
        let (job_key, job) = world.model.jobs.iter().next().unwrap();
        let (key, task) = job.tasks.iter().find(|(key, _)| key.as_str() == "zero").unwrap();
        let text = key.as_str();
        let mut in_state = job.tasks.in_state(state).map(|(_, key)| key.as_str());
        assert!(in_state.any(|other| ptr::eq(other, text)), "the index by state");
        for what in world.model.launches.values() {
            let What::Task { job, task, .. } = what else { continue };
            assert!(ptr::eq(job.as_str(), job_key.as_str()), "a launch names the job");
            assert!(task.as_str() != text || ptr::eq(task.as_str(), text), "a launch names the task");
        }
        for (_, alarm) in &world.model.alarms {
            let Alarm::Retention { job, task } = alarm else { continue };
            assert!(ptr::eq(job.as_str(), job_key.as_str()) && ptr::eq(task.as_str(), text), "an alarm");
        }
        for place in task.nodes() {
            let (pool_key, pool) = world.model.pools.iter().next().unwrap();
            let (node, of) = pool.nodes.range(place.node.clone()).next().unwrap();
            assert!(ptr::eq(place.pool.as_str(), pool_key.as_str()), "a place names the pool");
            assert!(ptr::eq(place.node.as_str(), node.as_str()), "a place names the node");
            for recent in &of.recent {
                assert!(ptr::eq(recent.task.as_str(), text), "a node's recent task");
            }
        }
    };
    check(&world, &TaskState::Running);
    world.end_launch(launch, 0);
    world.settle();
    check(&world, &TaskState::Completed);
    let mut world = world.begin_anew();
    world.settle();
    check(&world, &TaskState::Completed);
    assert!(world.model.alarms.iter().any(|(_, alarm)| matches!(alarm, Alarm::Retention { .. })));
    assert!(world.model.jobs.get(&JobKey::of("J")).is_some());
}

#[test]
fn a_node_may_be_removed_before_the_ends_of_its_launches_are_reported() {
    let mut world = World::with_job(json!({"jobPreparationTask": {"commandLine": "x"}}));
    world.ends_by_hand = true;
    world.add_task("t", json!({})).unwrap();
    let chore = *world.running.keys().next().unwrap();
    let node = world.running[&chore].node.clone();
    for launch in [chore, chore + 1] {
        world.model.delete_pool("p", world.now).ok();
        world.model.happened(NodeEvent::Removed(node.clone()), world.now);
        let ended = LaunchEnding {
            started: world.now,
            ended: world.now,
            exit_code: Some(0),
            failure: None,
            spent: Spent::default(),
        };
        world.model.happened(NodeEvent::Ended { launch, ending: ended.clone() }, world.now);
        world.model.happened(NodeEvent::Ended { launch, ending: ended }, world.now);
        world.model.happened(NodeEvent::Coordinated { launch }, world.now);
        world.model.happened(NodeEvent::Started { launch, process: None }, world.now);
    }
    assert_eq!(outcome_text(world.model.pool("p")), "404 PoolNotFound");
    world.model.delete_job("j", world.now).unwrap();
    assert_eq!(outcome_text(world.model.job("j")), "404 JobNotFound");
}
