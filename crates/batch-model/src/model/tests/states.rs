//! Tests the response to each request in each state.

use super::World;
use serde_json::json;

/// The requests for one kind of object, and the responses in each state. Also shown in `docs/emulator.md`.
struct Table {
    /// Table with `|` between cells: a line of states, then one line per request with its responses.
    text: &'static str,
    /// Creates a world with the object in a state.
    make: fn(&str) -> World,
}

impl Table {
    fn cells(&self) -> Vec<Vec<&'static str>> {
        let lines = self.text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| line.split('|').map(str::trim).collect()).collect()
    }
}

/// Checks every request in every state; reports all differences from the table together.
fn check(table: &Table) {
    let cells = table.cells();
    let (columns, lines) = cells.split_first().unwrap();
    let mut wrong = vec![];
    for line in lines {
        for (state, expected) in columns.iter().zip(line).skip(1) {
            let found = (table.make)(state).ask(line[0]);
            let expected = match *expected {
                "ok" => "ok".to_owned(),
                code if code.ends_with("NotFound") => format!("404 {code}"),
                code if code.starts_with("400 ") => code.to_owned(),
                code => format!("409 {code}"),
            };
            if found != expected {
                wrong.push(format!("{} while {state}: expected {expected}, found {found}", line[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn job_in(state: &str) -> World {
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

const JOBS: Table = Table { text: include_str!("../../../states/jobs.txt"), make: job_in };

#[test]
fn responses_of_jobs_depend_on_their_state() {
    check(&JOBS);
}

fn task_in(state: &str) -> World {
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

const TASKS: Table = Table { text: include_str!("../../../states/tasks.txt"), make: task_in };

#[test]
fn responses_of_tasks_depend_on_their_state() {
    check(&TASKS);
}

fn pool_in(state: &str) -> World {
    let mut world = World::new();
    world.boots_by_hand = state == "resizing";
    match state {
        "gone" => {}
        "with a formula" => {
            let formula = json!({"enableAutoScale": true, "autoScaleFormula": "$TargetDedicatedNodes = 1;"});
            world.add_pool("p", formula).unwrap();
            world.pass(60);
        }
        _ => world.add_pool("p", json!({"targetDedicatedNodes": 1})).unwrap(),
    }
    if state == "deleting" {
        world.model.delete_pool("p", world.now).unwrap();
        world.boots_by_hand = true;
    }
    world
}

const POOLS: Table = Table { text: include_str!("../../../states/pools.txt"), make: pool_in };

#[test]
fn responses_of_pools_depend_on_their_state() {
    check(&POOLS);
}

fn node_in(state: &str) -> World {
    let mut world = World::with_job(json!({}));
    match state {
        "idle" => {}
        "running" => {
            world.add_task("t", json!({})).unwrap();
            world.ends_by_hand = true;
        }
        "taking no tasks" => drop(world.ask("disable scheduling")),
        "start task failed" => {
            world = World::new();
            let start = json!({"commandLine": "false", "waitForSuccess": true});
            world.add_pool("p", json!({"targetDedicatedNodes": 1, "startTask": start})).unwrap();
            world.exit("startup", 1);
        }
        "starting" => {
            world.ask("deallocate node");
            world.boots_by_hand = true;
            world.ask("start node");
        }
        "deallocated" => drop(world.ask("deallocate node")),
        "gone" => drop(world.model.delete_pool("p", world.now)),
        moving => {
            world.add_task("t", json!({})).unwrap();
            (world.ends_by_hand, world.boots_by_hand) = (true, true);
            let verbs = [("rebooting", "reboot"), ("reimaging", "reimage"), ("deallocating", "deallocate")];
            let verb =
                verbs.iter().find(|(state, _)| *state == moving).unwrap_or_else(|| panic!("{moving}?")).1;
            world.ask(&format!("{verb} node terminate"));
        }
    }
    world
}

const NODES: Table = Table { text: include_str!("../../../states/nodes.txt"), make: node_in };

#[test]
fn responses_of_nodes_depend_on_their_state() {
    check(&NODES);
}

fn schedule_in(state: &str) -> World {
    let mut world = World::new();
    world.add_pool("p", json!({"targetDedicatedNodes": 1})).unwrap();
    if state != "gone" {
        let schedule = json!({"id": "s", "schedule": {"recurrenceInterval": "PT1H"}, "jobSpecification": {"poolInfo": {"poolId": "p"}}});
        world.model.create_schedule(serde_json::from_value(schedule).unwrap(), world.now).unwrap();
        world.settle();
        // A running task keeps the job, and therefore the schedule, from ending.
        world
            .model
            .add_task(
                "s:job-1",
                serde_json::from_value(json!({"id": "t", "commandLine": "x"})).unwrap(),
                world.now,
            )
            .unwrap();
        world.model.schedule_job("s:job-1", world.now);
        world.settle();
    }
    world.ends_by_hand = state.ends_with("ing");
    match state {
        "disabled" => drop(world.ask("disable schedule")),
        "terminating" | "completed" => drop(world.ask("terminate schedule")),
        "deleting" => drop(world.ask("delete schedule")),
        _ => {}
    }
    if state != "gone" {
        let schedule = world.model.schedule_named("s").unwrap();
        assert_eq!(world.model.see_schedule(schedule, &Default::default())["state"], state);
    }
    world
}

const SCHEDULES: Table = Table { text: include_str!("../../../states/job-schedules.txt"), make: schedule_in };

#[test]
fn responses_of_schedules_depend_on_their_state() {
    check(&SCHEDULES);
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
fn slots_of_a_pool_can_change_while_it_has_no_nodes() {
    for (nodes, slots, outcome_text, shown) in [
        (0, 4, "ok", 4),
        (1, 4, "409 OperationInvalidForCurrentState", 1),
        (0, 0, "400 InvalidPropertyValue", 1),
        (0, 257, "400 InvalidPropertyValue", 1),
    ] {
        let mut world = World::new();
        world.add_pool("p", json!({"targetDedicatedNodes": nodes})).unwrap();
        let patch = serde_json::from_value(json!({"taskSlotsPerNode": slots})).unwrap();
        assert_eq!(
            super::outcome_text(world.model.patch_pool("p", patch, world.now)),
            outcome_text,
            "{nodes} {slots}"
        );
        assert_eq!(world.pool("p")["taskSlotsPerNode"], shown, "{nodes} {slots}");
    }
}

#[test]
fn a_schedule_shows_its_next_time_while_there_is_one() {
    for (state, outcome_text) in [
        ("active", true),
        ("disabled", true),
        ("terminating", false),
        ("completed", false),
        ("deleting", false),
    ] {
        let world = schedule_in(state);
        let schedule = world.model.schedule_named("s").unwrap();
        let seen = world.model.see_schedule(schedule, &Default::default());
        assert_eq!(seen["executionInfo"]["nextRunTime"].is_string(), outcome_text, "{state}");
    }
}
