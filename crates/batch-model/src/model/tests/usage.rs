//! Tests core hours of pools, and statistics.

use super::{NodeAction, World, read};
use crate::{model::query::Select, orders::Spent};
use dropmill_azure_wire::time::Timestamp;
use serde_json::{Value, json};

/// Returns the usage within a time range, one text per interval: pool, start, end, hours.
fn usage(world: &World, from: Option<&str>, to: Option<&str>) -> Vec<String> {
    let moment = |text: &str| format!("2026-03-02T{text}:00Z").parse::<Timestamp>().unwrap();
    let all = world.model.pool_usage(from.map(moment), to.map(moment), world.now).unwrap();
    let clock = |moment: Timestamp| moment.to_string()[11..16].to_owned();
    let word = |usage: &dropmill_azure_wire::batch::PoolUsageMetrics| {
        let (from, to) = (clock(usage.start_time), clock(usage.end_time));
        format!("{} {from} {to} {:.3}", usage.pool_id, usage.total_core_hours)
    };
    all.iter().map(word).collect()
}

fn statistics(seen: &impl serde::Serialize) -> Value {
    serde_json::to_value(seen).unwrap()["stats"].clone()
}

/// The simulated time starts at ten; nodes have four cores.
#[test]
fn core_hours_are_listed_by_pool_and_half_hour_even_for_deleted_pools() {
    let mut world = World::new();
    world.pass(600);
    world.add_pool("p", json!({"targetDedicatedNodes": 1, "targetLowPriorityNodes": 1})).unwrap();
    world.pass(1500);
    assert_eq!(usage(&world, None, None), ["p 10:30 10:35 0.667"], "the interval that goes on");
    world.add_pool("q", json!({"targetDedicatedNodes": 1})).unwrap();
    world.pass(1500);
    assert_eq!(world.ask("delete pool"), "ok");
    world.pass(3600);
    let all = [
        "p 10:00 10:30 2.667",
        "p 10:30 11:00 4.000",
        "q 10:30 11:00 1.667",
        "q 11:00 11:30 2.000",
        "q 11:30 12:00 2.000",
    ];
    assert_eq!(usage(&world, Some("09:00"), None), all);
    assert_eq!(
        usage(&world, Some("10:01"), Some("11:15")),
        ["p 10:30 11:00 4.000", "q 10:30 11:00 1.667", "q 11:00 11:15 1.000"]
    );
    let world = world.begin_anew();
    assert_eq!(usage(&world, Some("09:00"), None), all, "also in another life");
    let (from, to) = ("2026-03-02T11:30:00Z".parse().unwrap(), "2026-03-02T11:00:00Z".parse().unwrap());
    assert_eq!(
        super::outcome_text(world.model.pool_usage(Some(from), Some(to), world.now)),
        "400 InvalidQueryParameterValue"
    );
}

#[test]
fn a_deallocated_machine_does_not_count() {
    let mut world = World::new();
    world.add_pool("p", json!({"targetDedicatedNodes": 1})).unwrap();
    world.pass(600);
    let (node, now) = (world.node_ids()[0].clone(), world.now);
    world.model.restart_node("p", &node, NodeAction::Deallocate, None, now).unwrap();
    world.settle();
    world.pass(600);
    world.model.start_node("p", &node, world.now).unwrap();
    world.settle();
    world.pass(300);
    assert_eq!(usage(&world, Some("10:00"), None), ["p 10:00 10:25 1.000"]);
    let select = Select::default().expanding("stats", world.now);
    let seen = world.model.see_pool(world.model.pool("p").unwrap(), &select);
    let stats = statistics(&seen);
    assert_eq!(stats["usageStats"]["dedicatedCoreTime"], "PT1H");
    assert_eq!(stats["url"], "http://batch/pools/p");
}

#[test]
fn statistics_of_jobs_and_tasks_are_returned_only_on_request() {
    let mut world = World::with_job(json!({}));
    world.add_task("one", json!({"constraints": {"maxTaskRetryCount": 1}})).unwrap();
    world.add_task("two", json!({})).unwrap();
    world.exit("/one", 1);
    world.pass(60);
    world.exit("/one", 1);
    world.pass(30);
    world.exit("/two", 0);
    assert_eq!(world.job("j").get("stats"), None);
    assert_eq!(world.task("one").get("stats"), None);
    for select in
        [Select::default().expanding("stats", world.now), Select::parse("stats").expanding("", world.now)]
    {
        let job = world.model.job("j").unwrap();
        let stats = statistics(&world.model.see_job(job, &select));
        let number = |name: &str| stats[name].clone();
        assert_eq!((number("numSucceededTasks"), number("numFailedTasks")), (json!("1"), json!("1")));
        assert_eq!((number("numTaskRetries"), number("url")), (json!("1"), json!("http://batch/jobs/j")));
        let task = world.model.task("j", "two").unwrap();
        let stats = statistics(&world.model.see_task(job, task, &select));
        assert_eq!(stats["url"], "http://batch/jobs/j/tasks/two");
        assert!(stats["waitTime"].as_str().unwrap().starts_with("PT"), "{stats}");
    }
}

#[test]
fn the_resource_usage_of_each_last_attempt_is_kept_after_a_restart() {
    let mut world = World::with_job(json!({}));
    world.add_task("one", json!({"constraints": {"maxTaskRetryCount": 1}})).unwrap();
    world.add_task("two", json!({})).unwrap();
    let spent = Spent { user_us: 1_500_000, kernel_us: 250_000, read_blocks: 1 << 21, written_blocks: 1 };
    world.spends = Spent { user_us: 9_000_000, ..spent };
    world.exit("/one", 1);
    world.spends = spent;
    world.exit("/one", 1);
    world.exit("/two", 0);
    let world = world.begin_anew();
    let select = Select::default().expanding("stats", world.now);
    let job = world.model.job("j").unwrap();
    let used = |stats: Value| {
        ["userCPUTime", "kernelCPUTime", "readIOps", "writeIOps", "readIOGiB"].map(|name| stats[name].clone())
    };
    let task = world.model.task("j", "one").unwrap();
    let once = used(statistics(&world.model.see_task(job, task, &select)));
    assert_eq!(json!(once), json!(["PT1.5S", "PT0.25S", "2097152", "1", 1.0]));
    let both = used(statistics(&world.model.see_job(job, &select)));
    assert_eq!(json!(both), json!(["PT3S", "PT0.5S", "4194304", "2", 2.0]));
}

#[test]
fn a_schedule_has_the_statistics_of_its_jobs() {
    let mut world = World::new();
    world.add_pool("p", json!({"targetDedicatedNodes": 1})).unwrap();
    let job = json!({"poolInfo": {"poolId": "p"}});
    let schedule = json!({"id": "s", "schedule": {}, "jobSpecification": job});
    world.model.create_schedule(read(schedule), world.now).unwrap();
    world.settle();
    let task = json!({"id": "t", "commandLine": "x"});
    world.model.add_task("s:job-1", read(task), world.now).unwrap();
    world.model.schedule_job("s:job-1", world.now);
    world.settle();
    world.exit("/t", 1);
    let select = Select::default().expanding("stats", world.now);
    let seen = world.model.see_schedule(world.model.schedule_named("s").unwrap(), &select);
    assert_eq!(seen["stats"]["numFailedTasks"], "1");
    assert_eq!(seen["stats"]["url"], "http://batch/jobschedules/s");
}
