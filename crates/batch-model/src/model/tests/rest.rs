//! Tests stored tasks: the specification is unchanged, rows of earlier versions can be read, and nothing is
//! left of deleted tasks.

use super::{World, outcome_text};
use crate::model::{JobKey, Task, TaskFacts, TaskKey, Tasks, facts::json, query::Select};
use dropmill_azure_wire::batch::TaskAdd;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs, path::Path};

const PROPERTIES: &str = include_str!("../../../../azure-wire/src/batch/requests.txt");

/// Generates random request bodies from the list of all their properties.
struct Bodies {
    definitions: BTreeMap<&'static str, Vec<(&'static str, &'static str)>>,
    rng: ChaCha8Rng,
}

impl Bodies {
    fn new(seed: u64) -> Self {
        let definition = |line: &'static str| {
            let mut words = line.split(' ');
            let name = words.next()?;
            let name_only = |of: &'static str| of.split(['<', '>']).next().unwrap_or(of);
            let properties = words.filter_map(|word| word.split_once(':'));
            Some((name, properties.map(|(of, kind)| (name_only(of), kind)).collect()))
        };
        let (_, lines) = PROPERTIES.split_once("\n\n").unwrap();
        Self {
            definitions: lines.lines().filter_map(definition).collect(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    fn text(&mut self) -> String {
        const LETTERS: &[char] = &['a', 'B', '7', '-', '"', '\\', '\n', 'ß', '€', '🦀', ' ', '%', '/'];
        let length = self.rng.random_range(0..40);
        (0..length).map(|_| LETTERS[self.rng.random_range(0..LETTERS.len())]).collect()
    }

    fn value(&mut self, name: &str, kind: &str) -> Value {
        if let Some(of) = kind.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let count = self.rng.random_range(0..4);
            return (0..count).map(|_| self.value(name, of)).collect();
        }
        match kind {
            "text" if name.ends_with("Time") => json!(format!("PT{}S", self.rng.random_range(1..90_000))),
            "text" => self.text().into(),
            "number" => self.rng.random_range(-5..5_000).into(),
            "truth" => self.rng.random_bool(0.5).into(),
            "any" => json!({"any": self.text()}),
            kind if self.definitions.contains_key(kind) => self.body(kind, 0.97),
            kind => kind.split('|').next().unwrap_or_default().into(),
        }
    }

    /// Returns a body with a random choice of its properties.
    fn body(&mut self, definition: &str, share: f64) -> Value {
        let properties = self.definitions[definition].clone();
        let mut body = Map::new();
        for (name, kind) in properties {
            if self.rng.random_bool(share) {
                body.insert(name.into(), self.value(name, kind));
            }
        }
        body.into()
    }

    /// Returns a task, if the body can be parsed as one.
    fn task(&mut self) -> Option<TaskAdd> {
        let share = self.rng.random_range(0.1..1.0);
        let body = super::with(
            self.body("TaskAddParameter", share),
            json!({"id": "Task", "commandLine": self.text()}),
        );
        serde_json::from_value(body).ok()
    }
}

fn put(tasks: &mut Tasks, number: usize, add: &TaskAdd) -> TaskKey {
    let key = TaskKey::of(&number.to_string());
    let add = TaskAdd { id: number.to_string(), ..add.clone() };
    let facts = TaskFacts::new(number as u64, "2026-03-02T10:00:00Z".parse().unwrap());
    tasks.insert(key.clone(), Task::new(&key, &add, json(&add), facts));
    key
}

/// Checks the properties that the model stores beside the packed specification.
fn check(tasks: &Tasks, key: &TaskKey, add: &TaskAdd) {
    let task = tasks.get(key).unwrap();
    let add = TaskAdd { id: key.to_string(), ..add.clone() };
    assert_eq!(task.asked(), add);
    assert_eq!(*task.id, add.id);
    assert_eq!(task.slots(), add.required_slots.unwrap_or(1));
    assert_eq!(task.depends_on(), add.depends_on.as_ref());
    assert_eq!(task.exit_conditions(), add.exit_conditions.as_ref());
    assert_eq!(task.is_multi(), add.multi_instance_settings.is_some());
    let limits = add.constraints.unwrap_or_default();
    assert_eq!(task.max_retries(), limits.max_task_retry_count.unwrap_or(0));
    assert_eq!(task.wall_clock().as_std(), limits.max_wall_clock_time.and_then(|limit| limit.as_std()));
    let kept = limits.retention_time.and_then(|kept| kept.as_std());
    assert_eq!(task.kept_until(), kept.and_then(|kept| task.facts.state_at().checked_add(kept).ok()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn the_specification_of_a_task_is_stored_unchanged(seed in any::<u64>(), count in 1..12_usize) {
        let mut bodies = Bodies::new(seed);
        let all: Vec<TaskAdd> = (0..count * 3).filter_map(|_| bodies.task()).collect();
        let mut tasks = Tasks::new(false);
        let mut keys = vec![];
        for (number, add) in all.iter().enumerate() {
            keys.push(put(&mut tasks, number, add));
        }
        for (key, add) in keys.iter().zip(&all) {
            check(&tasks, key, add);
        }
    }
}

#[test]
fn random_bodies_have_every_property() {
    let mut bodies = Bodies::new(1);
    let all: Vec<TaskAdd> = (0..200).filter_map(|_| bodies.task()).collect();
    assert!(all.len() > 50, "many bodies can be read: {}", all.len());
    assert!(all.iter().any(|add| add.multi_instance_settings.is_some() && add.container_settings.is_some()));
    let has_options = |add: &TaskAdd| add.exit_conditions.as_ref().is_some_and(|of| of.default.is_some());
    assert!(all.iter().any(|add| has_options(add) && add.output_files.is_some() && add.depends_on.is_some()));
}

/// Returns every object in a recording that is the body of a new task.
fn tasks_in(value: &Value, found: &mut Vec<TaskAdd>) {
    match value {
        Value::Array(all) => all.iter().for_each(|value| tasks_in(value, found)),
        Value::Object(all) => {
            if all.contains_key("commandLine") && all.contains_key("id") {
                found.extend(serde_json::from_value(value.clone()));
            }
            all.values().for_each(|value| tasks_in(value, found));
        }
        Value::String(text) if text.contains("commandLine") => {
            if let Ok(value) = serde_json::from_str::<Value>(text) {
                tasks_in(&value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn recorded_tasks_are_stored_unchanged() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings");
    let mut all = vec![];
    for client in fs::read_dir(folder).unwrap().filter_map(|entry| fs::read_dir(entry.unwrap().path()).ok()) {
        for file in client {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            tasks_in(&serde_json::from_str(&text).unwrap(), &mut all);
        }
    }
    assert!(all.len() > 100, "{} recorded tasks", all.len());
    let mut tasks = Tasks::new(false);
    let keys: Vec<_> = all.iter().enumerate().map(|(number, add)| put(&mut tasks, number, add)).collect();
    for (key, add) in keys.iter().zip(&all) {
        check(&tasks, key, add);
    }
}

#[test]
fn a_task_whose_limits_change_is_packed_again() {
    let mut world = World::with_job(json!({}));
    world.ends_by_hand = true;
    world
        .add_task("t", json!({"displayName": "a name", "environmentSettings": [{"name": "A", "value": "b"}]}))
        .unwrap();
    let limits = serde_json::from_value(json!({"maxTaskRetryCount": 7, "maxWallClockTime": "PT9M"})).unwrap();
    world.model.update_task("J", "T", Some(limits), world.now).unwrap();
    world.settle();
    let check = |world: &World| {
        let task = world.model.task("j", "t").unwrap();
        assert_eq!(task.max_retries(), 7);
        let asked = serde_json::to_value(task.asked()).unwrap();
        assert_eq!(
            (&asked["constraints"]["maxWallClockTime"], &asked["displayName"]),
            (&json!("PT9M"), &json!("a name"))
        );
        let seen = world.model.see_task(world.model.job("j").unwrap(), task, &Select::default());
        assert_eq!(serde_json::to_value(seen).unwrap()["environmentSettings"], asked["environmentSettings"]);
    };
    check(&world);
    check(&world.begin_anew());
}

/// Rows in the format of earlier versions.
const ROWS: [&str; 4] = [
    r#"{"number":3,"etag":"0x8DE76A1E4D60000","modified":"2026-03-02T10:00:00Z","created":"2026-03-02T10:00:00Z","state":"active","state_at":"2026-03-02T10:00:00Z","info":{"retryCount":0,"requeueCount":0},"files_gone":false}"#,
    r#"{"number":4,"etag":"0x8DE76A1E4D60001","modified":"2026-03-02T10:00:00.0000001Z","created":"2026-03-02T10:00:00Z","state":"running","state_at":"2026-03-02T10:00:01Z","previous":["active","2026-03-02T10:00:00.5Z"],"info":{"startTime":"2026-03-02T10:00:01Z","retryCount":0,"requeueCount":1,"lastRequeueTime":"2026-03-02T10:00:00.25Z"},"node":["Pool","tvmps_1_d"],"launch":77,"process":[12,345],"ending":"Requeued","files_gone":false,"released":true}"#,
    r#"{"number":5,"etag":"0x8DE76A1E4D60000","modified":"2026-03-02T10:00:00Z","created":"2026-03-02T10:00:00Z","state":"completed","state_at":"2026-03-02T10:00:03Z","previous":["running","2026-03-02T10:00:01Z"],"info":{"startTime":"2026-03-02T10:00:01Z","endTime":"2026-03-02T10:00:03Z","exitCode":1,"failureInfo":{"category":"usererror","code":"FailureExitCode","message":"m"},"retryCount":2,"lastRetryTime":"2026-03-02T10:00:02Z","requeueCount":0,"result":"failure"},"node":["p","tvmps_1_d"],"spent":{"user_us":1,"kernel_us":2,"read_blocks":3,"written_blocks":4},"files_gone":true}"#,
    r#"{"number":6,"etag":"0x8DE76A1E4D60000","modified":"2026-03-02T10:00:00Z","created":"2026-03-02T10:00:00Z","state":"completed","state_at":"2026-03-02T10:00:03Z","info":{"endTime":"2026-03-02T10:00:03Z","exitCode":0,"retryCount":0,"requeueCount":0,"result":"success"},"node":["p","tvmps_1_d"],"files_gone":false,"group":{"subtasks":[{"node":["p","tvmps_2_d"],"state":"completed","state_at":"2026-03-02T10:00:03Z","previous":["running","2026-03-02T10:00:01Z"],"info":{"startTime":"2026-03-02T10:00:01Z","exitCode":0,"retryCount":0,"requeueCount":0,"result":"success"}}]}}"#,
];

#[test]
fn rows_of_earlier_versions_are_read_and_written_unchanged() {
    for row in ROWS {
        let facts: TaskFacts = serde_json::from_str(row).unwrap();
        let (read, written): (Value, Value) =
            (serde_json::from_str(row).unwrap(), serde_json::from_str(&json(&facts)).unwrap());
        let but_the_tag = |mut row: Value| {
            row["etag"] = Value::Null;
            row
        };
        assert_eq!(but_the_tag(written), but_the_tag(read));
    }
    let facts: TaskFacts = serde_json::from_str(ROWS[1]).unwrap();
    assert_eq!(facts.etag().as_str(), format!("0x{:X}", facts.modified().as_nanosecond() / 100));
    let unknown = ROWS[0].replace("\"active\"", "\"dreaming\"");
    let message = serde_json::from_str::<TaskFacts>(&unknown).unwrap_err().to_string();
    assert!(message.contains("unknown state dreaming"), "{message}");
}

#[test]
fn nothing_is_left_of_deleted_objects() {
    let mut world =
        World::with_job(json!({"usesTaskDependencies": true, "constraints": {"maxWallClockTime": "P1D"}}));
    for id in ["1", "2", "gone-first"] {
        let on = json!({"dependsOn": {"taskIds": ["gone-first"], "taskIdRanges": [{"start": 1, "end": 1}]}});
        world.add_task(id, if id == "2" { on } else { json!({}) }).unwrap();
    }
    while let Some(launch) = world.running.keys().next().copied() {
        world.end_launch(launch, 0);
        world.settle();
    }
    assert!(world.model.alarms.len() > 3, "files are kept for a while, and the job's time is limited");
    for id in ["gone-first", "2", "1"] {
        world.model.delete_task("j", id, world.now).unwrap();
    }
    world.settle();
    assert!(world.model.jobs.get(&JobKey::of("j")).unwrap().tasks.holds_nothing());
    world.add_task("3", json!({})).unwrap();
    world.model.delete_job("j", world.now).unwrap();
    world.model.delete_pool("p", world.now).unwrap();
    world.settle();
    assert_eq!(
        (outcome_text(world.model.job("j")), outcome_text(world.model.pool("p"))),
        ("404 JobNotFound".into(), "404 PoolNotFound".into())
    );
    let model = &world.model;
    assert!(
        model.launches.is_empty() && model.limits.is_empty() && model.alarms.is_empty(),
        "{:?}",
        model.alarms
    );
    assert!(model.jobs.hold_nothing());
}
