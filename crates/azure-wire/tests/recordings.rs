//! Recorded requests and responses of the real service survive a round trip through our types.

#![allow(clippy::unwrap_used, missing_docs)]

use dropmill_azure_wire::{
    batch::*,
    duration::IsoDuration,
    error::BatchErrorBody,
    time::{parse_http_date, parse_iso},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type RoundTrip = fn(Value) -> Result<Value, serde_json::Error>;

/// Deserialises a body as `T` and serialises it again.
fn through<T: DeserializeOwned + Serialize>(body: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(body)?)
}

/// Returns the name and round trip of the type of a response body.
fn type_of_response(method: &str, path: &[&str], status: u64) -> Option<(&'static str, RoundTrip)> {
    Some(match (method, path) {
        _ if status >= 400 => ("error", through::<BatchErrorBody>),
        ("GET", ["pools"]) => ("pools", through::<Page<Pool>>),
        ("GET", ["pools", _]) => ("pool", through::<Pool>),
        ("POST", ["pools", _, "evaluateautoscale"]) => ("evaluation", through::<AutoScaleRun>),
        ("GET", ["pools", _, "nodes"]) => ("nodes", through::<Page<ComputeNode>>),
        ("GET", ["pools", _, "nodes", _]) => ("node", through::<ComputeNode>),
        ("GET", ["pools", _, "nodes", _, "files"]) => ("files", through::<Page<NodeFile>>),
        ("GET", ["pools", _, "nodes", _, "remoteloginsettings"]) => ("login", through::<RemoteLoginSettings>),
        ("POST", ["pools", _, "nodes", _, "uploadbatchservicelogs"]) => {
            ("logs", through::<UploadNodeLogsResult>)
        }
        ("GET", ["jobs"] | ["jobschedules", _, "jobs"]) => ("jobs", through::<Page<Job>>),
        ("GET", ["jobs", _]) => ("job", through::<Job>),
        ("GET", ["jobs", _, "jobpreparationandreleasetaskstatus"]) => {
            ("preparations", through::<Page<JobPreparationAndReleaseStatus>>)
        }
        // Since 2020-03 the counts are nested in `taskCounts`, next to `taskSlotCounts`.
        ("GET", ["jobs", _, "taskcounts"]) => ("task counts", through::<TaskCounts>),
        ("POST", ["jobs", _, "addtaskcollection"]) => ("collection", through::<TaskAddCollectionResult>),
        ("GET", ["jobs", _, "tasks"]) => ("tasks", through::<Page<Task>>),
        ("GET", ["jobs", _, "tasks", _]) => ("task", through::<Task>),
        ("GET", ["jobs", _, "tasks", _, "subtasksinfo"]) => ("subtasks", through::<Page<Subtask>>),
        ("GET", ["jobs", _, "tasks", _, "files"]) => ("files", through::<Page<NodeFile>>),
        ("GET", ["nodecounts"]) => ("node counts", through::<Page<PoolNodeCounts>>),
        ("GET", ["supportedimages"]) => ("images", through::<Page<ImageInformation>>),
        _ => return None,
    })
}

/// Returns the name and round trip of the type of a request body.
fn type_of_request(method: &str, path: &[&str]) -> Option<(&'static str, RoundTrip)> {
    Some(match (method, path) {
        ("POST", ["pools"]) => ("> pool", through::<PoolAdd>),
        ("PATCH", ["pools", _]) => ("> pool patch", through::<PoolPatch>),
        ("POST", ["pools", _, "resize"]) => ("> resize", through::<PoolResize>),
        ("POST", ["pools", _, "removenodes"]) => ("> removal", through::<NodeRemove>),
        ("POST", ["pools", _, "enableautoscale"]) => ("> autoscale", through::<PoolEnableAutoScale>),
        ("POST", ["pools", _, "evaluateautoscale"]) => ("> evaluation", through::<PoolEvaluateAutoScale>),
        ("POST", ["pools", _, "nodes", _, "reboot"]) => ("> reboot", through::<NodeReboot>),
        ("POST", ["pools", _, "nodes", _, "reimage"]) => ("> reimage", through::<NodeReimage>),
        ("POST", ["pools", _, "nodes", _, "uploadbatchservicelogs"]) => ("> logs", through::<UploadNodeLogs>),
        ("POST", ["pools", _, "nodes", _, "users"]) => ("> user", through::<NodeUserAdd>),
        ("PUT", ["pools", _, "nodes", _, "users", _]) => ("> user update", through::<NodeUserUpdate>),
        ("POST", ["jobs"]) => ("> job", through::<JobAdd>),
        ("PATCH", ["jobs", _]) => ("> job patch", through::<JobPatch>),
        ("PUT", ["jobs", _]) => ("> job update", through::<JobUpdate>),
        ("POST", ["jobs", _, "tasks"]) => ("> task", through::<TaskAdd>),
        _ => return None,
    })
}

/// Expected differences: first word, end of the path, and reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("lost", "odata.metadata", "metadata URL of the response; not needed, and written by `ResponseBody`"),
    ("lost", "maxTasksPerNode", "became taskSlotsPerNode after 2020-03"),
    ("lost", "runElevated", "became userIdentity after 2016-07"),
    ("lost", "currentDedicated", "became currentDedicatedNodes after 2017-01"),
    ("lost", "targetDedicated", "became targetDedicatedNodes after 2017-01"),
    ("lost", "targetOSVersion", "became osVersion after 2018-08"),
    ("lost", "currentOSVersion", "ended after 2018-08"),
    ("lost", "resizeError", "became resizeErrors after 2017-01"),
    ("lost", "blobSource", "became httpUrl after 2018-08"),
    ("added", "httpUrl", "was blobSource until 2018-08"),
    ("lost", "executionInfo.schedulingError", "of tasks; became failureInfo after 2017-01"),
    ("added", "dedicated.deallocated", "counted since 2024-07"),
    ("added", "dedicated.deallocating", "counted since 2024-07"),
    ("added", "dedicated.upgradingOS", "counted since 2024-02"),
    ("added", "lowPriority.deallocated", "counted since 2024-07"),
    ("added", "lowPriority.deallocating", "counted since 2024-07"),
    ("added", "lowPriority.upgradingOS", "counted since 2024-02"),
    ("added", "id", "not selected, so empty in our type; such a response is never written"),
];

/// Strings that the service writes in varying case; we write the case of the description.
const ANY_CASE: &[&str] =
    &["status", "category", "nodeFillType", "result", "osType", "verificationType", "onAllTasksComplete"];

fn same(name: &str, theirs: &str, ours: &str) -> bool {
    theirs == ours
        || ANY_CASE.contains(&name) && theirs.eq_ignore_ascii_case(ours)
        || parse_iso(theirs).is_some_and(|time| Some(time) == parse_iso(ours))
        || theirs.parse::<IsoDuration>().is_ok_and(|length| Ok(length) == ours.parse())
}

/// Appends all differences between a recorded body and our output, with their paths.
fn compare(path: &str, theirs: &Value, ours: &Value, differences: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match ours.get(name) {
                    Some(ours) => compare(&path, value, ours, differences),
                    // A null value equals an absent one.
                    None if value.is_null() => {}
                    None => differences.push(format!("lost {path}")),
                }
            }
            for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
                differences.push(format!("added {path}.{name}").replace(" .", " "));
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (theirs, ours) in theirs.iter().zip(ours) {
                compare(&format!("{path}[]"), theirs, ours, differences);
            }
        }
        (Value::String(theirs), Value::String(ours))
            if same(path.rsplit('.').next().unwrap(), theirs, ours) => {}
        _ if theirs == ours => {}
        _ => differences.push(format!("changed {path}: {theirs} to {ours}")),
    }
}

/// Returns the index of the entry in `ALLOWED` that permits a difference.
fn allowance(difference: &str) -> Option<usize> {
    let (kind, path) = difference.split_once(' ').unwrap();
    ALLOWED.iter().position(|(allowed, end, _)| {
        kind == *allowed && path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// The result of checking all bodies.
#[derive(Default)]
struct Findings {
    /// Number of checked bodies by type.
    checked: BTreeMap<&'static str, u32>,
    /// Differences that `ALLOWED` does not permit.
    wrong: BTreeSet<String>,
    /// Indices of used entries of `ALLOWED`.
    needed: BTreeSet<usize>,
}

impl Findings {
    fn check(&mut self, (kind, round_trip): (&'static str, RoundTrip), body: &Value, at: &str) {
        if body.is_null() {
            return;
        }
        *self.checked.entry(kind).or_default() += 1;
        let ours = match round_trip(body.clone()) {
            Ok(ours) => ours,
            Err(error) => {
                self.wrong.insert(format!("{at}: {kind}: {error}"));
                return;
            }
        };
        let mut differences = Vec::new();
        compare("", body, &ours, &mut differences);
        for difference in differences {
            match allowance(&difference) {
                Some(needed) => _ = self.needed.insert(needed),
                None => _ = self.wrong.insert(format!("{at}: {kind}: {difference}")),
            }
        }
    }
}

/// Returns all recorded interactions with the name of their file.
fn interactions() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings");
    let mut all = Vec::new();
    for set in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(set).unwrap().map(|entry| entry.unwrap().path()) {
            let mut recording: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            let sessions = match (recording["interactions"].take(), recording["cases"].take()) {
                (Value::Array(session), _) => vec![session],
                (_, Value::Object(cases)) => {
                    cases.into_iter().map(|(_, session)| serde_json::from_value(session).unwrap()).collect()
                }
                _ => panic!("{name}: no interactions and no cases"),
            };
            all.extend(sessions.into_iter().flatten().map(|interaction| (name.clone(), interaction)));
        }
    }
    all
}

#[test]
fn every_recorded_body_survives_a_round_trip() {
    let mut found = Findings::default();
    for (name, interaction) in interactions() {
        let method = interaction["method"].as_str().unwrap();
        let path = interaction["path"].as_str().unwrap().split('?').next().unwrap();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let at = format!("{name}: {method} {path}");
        if let Some(response) = type_of_response(method, &segments, interaction["status"].as_u64().unwrap()) {
            found.check(response, &interaction["response_body_json"], &at);
        }
        if let Some(request) = type_of_request(method, &segments) {
            found.check(request, &interaction["request_body_json"], &at);
        }
    }
    assert!(found.wrong.is_empty(), "{}", Vec::from_iter(found.wrong).join("\n"));
    let idle =
        (0..ALLOWED.len()).filter(|allowed| !found.needed.contains(allowed)).map(|allowed| ALLOWED[allowed]);
    assert_eq!(idle.collect::<Vec<_>>(), [], "unused entries of ALLOWED");
    insta::assert_debug_snapshot!(found.checked);
}

#[test]
fn every_error_of_the_service_is_parsed_and_no_error_of_a_proxy() {
    let (mut codes, mut none) = (BTreeSet::new(), 0);
    for (name, interaction) in interactions() {
        if interaction["status"].as_u64() < Some(400) {
            continue;
        }
        let body = match &interaction["response_body_json"] {
            Value::Null => interaction["response_body"].as_str().unwrap_or_default().to_owned(),
            json => json.to_string(),
        };
        match BatchErrorBody::read(body.as_bytes()) {
            Some(error) => {
                assert!(!error.text().is_empty() && !error.text().contains("RequestId"), "{name}: {error:?}");
                codes.insert(error.code);
            }
            None => {
                assert!(body.is_empty() || body.starts_with("<!DOCTYPE HTML"), "{name}: {body}");
                none += 1;
            }
        }
    }
    insta::assert_debug_snapshot!((codes, none));
}

#[test]
fn every_recorded_date_header_is_parsed() {
    let mut read = 0;
    for (name, interaction) in interactions() {
        for header in ["date", "last-modified"] {
            if let Some(date) = interaction["response_headers"][header].as_str() {
                assert!(parse_http_date(date).is_some(), "{name}: {header}: {date}");
                read += 1;
            }
        }
    }
    assert!(read > 500, "{read} dates");
}
