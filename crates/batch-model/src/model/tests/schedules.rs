//! Tests job schedules.

use super::{World, outcome_text, with};
use crate::model::query::Select;
use serde_json::{Value, json};

fn add(world: &mut World, schedule: Value, more: Value) -> String {
    let body = with(
        json!({"id": "s", "schedule": schedule, "jobSpecification": {"poolInfo": {"poolId": "p"}}}),
        more,
    );
    let outcome = outcome_text(world.model.create_schedule(serde_json::from_value(body).unwrap(), world.now));
    world.settle();
    outcome
}

fn world() -> World {
    let mut world = World::new();
    world.add_pool("p", json!({"targetDedicatedNodes": 1})).unwrap();
    world
}

fn seen(world: &World) -> Value {
    world.model.see_schedule(world.model.schedule_named("s").unwrap(), &Select::default())
}

fn jobs(world: &World) -> Vec<String> {
    let jobs = world.model.list_schedule_jobs("s", "", &Select::default(), "", 100).unwrap().0;
    jobs.iter().map(|job| format!("{} {}", job.id, job.state.as_ref().unwrap())).collect()
}

fn end_job(world: &mut World, id: &str) {
    world.model.terminate_job(id, None, world.now).unwrap();
    world.settle();
}

#[test]
fn a_schedule_without_recurrence_has_one_job_and_ends_with_it() {
    let mut world = world();
    assert_eq!(add(&mut world, json!({}), json!({})), "ok");
    assert_eq!(jobs(&world), ["s:job-1 active"]);
    assert_eq!(seen(&world)["executionInfo"]["recentJob"]["id"], "s:job-1");
    end_job(&mut world, "s:job-1");
    assert_eq!(
        (seen(&world)["state"].as_str(), jobs(&world)),
        (Some("completed"), vec!["s:job-1 completed".to_owned()])
    );
}

#[test]
fn a_job_starts_at_each_time_unless_the_previous_one_is_unfinished() {
    let mut world = world();
    add(&mut world, json!({"recurrenceInterval": "PT1H"}), json!({}));
    end_job(&mut world, "s:job-1");
    assert_eq!(jobs(&world), ["s:job-1 completed"], "the next is not due");
    world.pass(3601);
    assert_eq!(jobs(&world), ["s:job-1 completed", "s:job-2 active"]);
    world.pass(3 * 3600);
    assert_eq!(jobs(&world).len(), 2, "one at a time");
    end_job(&mut world, "s:job-2");
    assert_eq!(jobs(&world)[2], "s:job-3 active", "of the times that passed the latest counts");
    end_job(&mut world, "s:job-3");
    assert_eq!(jobs(&world).len(), 3);
}

#[test]
fn times_missed_by_more_than_the_start_window_are_skipped() {
    let mut world = world();
    add(&mut world, json!({"recurrenceInterval": "PT1H", "startWindow": "PT10M"}), json!({}));
    world.pass(3600 + 1200);
    end_job(&mut world, "s:job-1");
    assert_eq!(jobs(&world).len(), 1);
    world.pass(2401);
    assert_eq!(jobs(&world)[1], "s:job-2 active");
}

#[test]
fn a_schedule_starts_and_ends_at_its_times() {
    let mut world = world();
    let times = json!({
        "doNotRunUntil": "2026-03-02T11:00:00Z",
        "doNotRunAfter": "2026-03-02T12:30:00Z",
        "recurrenceInterval": "PT1H"
    });
    add(&mut world, times, json!({}));
    assert_eq!(jobs(&world).len(), 0);
    for count in [1, 2] {
        world.pass(3601);
        assert_eq!(jobs(&world).len(), count);
        end_job(&mut world, &format!("s:job-{count}"));
    }
    assert_eq!(seen(&world)["state"], "completed");
}

#[test]
fn schedules_are_disabled_changed_ended_and_deleted() {
    let mut world = world();
    add(&mut world, json!({"recurrenceInterval": "PT1H"}), json!({}));
    let now = world.now;
    assert_eq!(outcome_text(world.model.enable_schedule("s", false, now)), "ok");
    end_job(&mut world, "s:job-1");
    world.pass(7200);
    assert_eq!((jobs(&world).len(), seen(&world)["state"].as_str()), (1, Some("disabled")));
    let patch =
        serde_json::from_value(json!({"jobSpecification": {"priority": 5, "poolInfo": {"poolId": "p"}}}))
            .unwrap();
    assert_eq!(outcome_text(world.model.change_schedule("S", patch, false, world.now)), "ok");
    assert_eq!(outcome_text(world.model.enable_schedule("s", true, world.now)), "ok");
    assert_eq!(world.job("s:job-2")["priority"], 5);
    let folder = world.model.job("s:job-2").unwrap().directory();
    assert_eq!(folder, "workitems/s/job-2");
    assert_eq!(outcome_text(world.model.terminate_schedule("s", world.now)), "ok");
    world.settle();
    assert_eq!(
        (seen(&world)["state"].as_str(), world.job("s:job-2")["executionInfo"]["terminateReason"].as_str()),
        (Some("completed"), Some("TerminateJobSchedule"))
    );
    for refused in [world.model.terminate_schedule("s", now), world.model.enable_schedule("s", true, now)] {
        assert_eq!(outcome_text(refused), "409 JobScheduleCompleted");
    }
    assert_eq!(outcome_text(world.model.delete_schedule("s", now)), "ok");
    assert_eq!(outcome_text(world.model.delete_schedule("s", now)), "404 JobScheduleNotFound");
    assert_eq!(outcome_text(world.model.job("s:job-1")), "404 JobNotFound");
}

#[test]
fn the_auto_pool_of_a_schedule_runs_all_its_jobs_and_is_deleted_with_it() {
    let mut world = World::new();
    let image = json!({"imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 22.04"});
    let pool = json!({"vmSize": "a1", "targetDedicatedNodes": 1, "virtualMachineConfiguration": image});
    let auto = json!({"poolLifetimeOption": "jobschedule", "pool": pool});
    let job = json!({"jobSpecification": {"poolInfo": {"autoPoolSpecification": auto}}});
    assert_eq!(add(&mut world, json!({"recurrenceInterval": "PT1H"}), job), "ok");
    let pool_of =
        |world: &World, job: &str| world.job(job)["executionInfo"]["poolId"].as_str().unwrap().to_owned();
    let first = pool_of(&world, "s:job-1");
    end_job(&mut world, "s:job-1");
    world.pass(3601);
    assert_eq!(pool_of(&world, "s:job-2"), first);
    world.model.delete_schedule("s", world.now).unwrap();
    world.settle();
    assert_eq!(outcome_text(world.model.pool(&first)), "404 PoolNotFound");
}

#[test]
fn invalid_schedules_are_rejected_with_a_code() {
    let table = [
        (json!({"recurrenceInterval": "PT30S"}), json!({}), "400 InvalidPropertyValue"),
        (json!({"startWindow": "PT30S"}), json!({}), "400 InvalidPropertyValue"),
        (
            json!({"doNotRunUntil": "2026-03-02T11:00:00Z", "doNotRunAfter": "2026-03-02T11:00:00Z"}),
            json!({}),
            "400 InvalidPropertyValue",
        ),
        (json!({}), json!({"id": "a:b"}), "400 InvalidPropertyValue"),
        (json!({}), json!({"jobSpecification": {}}), "400 MissingRequiredProperty"),
        (json!({}), json!({"jobSpecification": null}), "400 MissingRequiredProperty"),
        (json!({}), json!({"schedule": null}), "400 MissingRequiredProperty"),
        (
            json!({}),
            json!({"jobSpecification": {"poolInfo": {"poolId": "p"}, "priority": "high"}}),
            "400 InvalidPropertyValue",
        ),
        (json!({}), json!({"jobSpecification": {"poolInfo": {"poolId": "none"}}}), "ok"),
        (json!({}), json!({}), "ok"),
    ];
    for (schedule, more, expected) in table {
        assert_eq!(add(&mut world(), schedule.clone(), more.clone()), expected, "{schedule} {more}");
    }
    let mut world = world();
    add(&mut world, json!({}), json!({}));
    assert_eq!(add(&mut world, json!({}), json!({"id": "S"})), "409 JobScheduleExists");
}

#[test]
fn a_job_that_ends_at_once_is_followed_at_the_next_time() {
    let mut world = world();
    let job =
        json!({"jobSpecification": {"poolInfo": {"poolId": "p"}, "onAllTasksComplete": "terminatejob"}});
    add(&mut world, json!({"recurrenceInterval": "PT1H"}), job);
    assert_eq!(jobs(&world), ["s:job-1 completed"]);
    world.pass(3601);
    assert_eq!(jobs(&world).len(), 2);
    assert_eq!(seen(&world)["state"], "active");
}
