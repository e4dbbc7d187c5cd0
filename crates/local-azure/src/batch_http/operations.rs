//! Tests that every operation of the protocol is implemented and documented.

use super::tests::Rig;
use dropmill_azure_wire::operation::{Operation, Service};
use serde_json::json;

/// Minimal bodies. `p`, `j`, `t`, `s` exist; `NODE` is a node.
const BODIES: &[(Operation, &str)] = &[
    (
        Operation::CreatePool,
        r#"{"id":"q","vmSize":"a1","virtualMachineConfiguration":{"imageReference":{},"nodeAgentSKUId":"x"}}"#,
    ),
    (Operation::PatchPool, r#"{}"#),
    (Operation::UpdatePool, r#"{"metadata":[],"applicationPackageReferences":[]}"#),
    (Operation::ResizePool, r#"{"targetDedicatedNodes":2}"#),
    (Operation::RemoveNodes, r#"{"nodeList":["NODE"]}"#),
    (Operation::EnableAutoScale, r#"{"autoScaleFormula":"$TargetDedicatedNodes = 1;"}"#),
    (Operation::EvaluateAutoScale, r#"{"autoScaleFormula":"x = 1;"}"#),
    (Operation::AddNodeUser, r#"{"name":"ann"}"#),
    (Operation::UpdateNodeUser, r#"{}"#),
    (Operation::UploadNodeLogs, r#"{"containerUrl":"http://a/b","startTime":"2026-03-02T10:00:00Z"}"#),
    (Operation::CreateJob, r#"{"id":"k","poolInfo":{"poolId":"p"}}"#),
    (Operation::PatchJob, r#"{}"#),
    (Operation::UpdateJob, r#"{"poolInfo":{"poolId":"p"}}"#),
    (Operation::DisableJob, r#"{"disableTasks":"wait"}"#),
    (Operation::AddTask, r#"{"id":"u","commandLine":"x"}"#),
    (Operation::AddTasks, r#"{"value":[{"id":"u","commandLine":"x"}]}"#),
    (Operation::UpdateTask, r#"{}"#),
    (Operation::CreateSchedule, r#"{"id":"r","schedule":{},"jobSpecification":{"poolInfo":{"poolId":"p"}}}"#),
    (Operation::PatchSchedule, r#"{}"#),
    (Operation::UpdateSchedule, r#"{"schedule":{},"jobSpecification":{"poolInfo":{"poolId":"p"}}}"#),
];

/// Returns method, path and body of every operation.
pub fn operations() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    let all = Operation::ALL.iter().filter(|operation| operation.service() == Service::Batch);
    all.map(|operation| {
        let body = BODIES.iter().find(|(of, _)| of == operation).map_or("", |(_, body)| *body);
        (operation.method().to_string(), operation.path(), body)
    })
}

/// Responses that differ from the success of an operation.
const OTHERWISE: &[(&str, &str)] = &[
    ("GET applications/{id}", "404 ApplicationNotFound"),
    ("POST pools/{p}/evaluateautoscale", "409 OperationInvalidForCurrentState"),
    ("POST pools/{p}/nodes/{n}/start", "409 OperationInvalidForCurrentState"),
    ("POST pools/{p}/nodes/{n}/enablescheduling", "409 NodeAlreadyInTargetSchedulingState"),
    ("PUT pools/{p}/nodes/{n}/users/{u}", "404 NodeUserNotFound"),
    ("DELETE pools/{p}/nodes/{n}/users/{u}", "404 NodeUserNotFound"),
    ("GET pools/{p}/nodes/{n}/extensions/{e}", "404 ResourceNotFound"),
    ("POST jobs/{j}/enable", "409 JobNotDisabled"),
    ("GET jobs/{j}/jobpreparationandreleasetaskstatus", "409 JobPreparationTaskOrReleaseTaskNotSpecified"),
    ("PUT jobs/{j}/tasks/{t}", "409 TaskCompleted"),
    ("POST jobs/{j}/tasks/{t}/terminate", "409 TaskCompleted"),
    ("POST jobs/{j}/tasks/{t}/reactivate", "409 TaskSucceeded"),
];

/// Returns the status of success, according to the protocol.
fn success(method: &str, path: &str) -> u16 {
    let last = path.rsplit('/').next().unwrap();
    match (method, last) {
        ("POST", "pools" | "jobs" | "tasks" | "jobschedules" | "users") => 201,
        ("POST", "updateproperties") => 204,
        ("POST", "disable" | "enable") if path.starts_with("jobschedules") => 204,
        ("POST", "terminate" | "reactivate") if path.contains("tasks") => 204,
        ("POST", "enableautoscale" | "disableautoscale" | "evaluateautoscale" | "addtaskcollection") => 200,
        ("POST", "disablescheduling" | "enablescheduling" | "uploadbatchservicelogs") => 200,
        ("POST", _) => 202,
        ("DELETE", _) if path.contains("tasks") || path.contains("users") || path.contains("files") => 200,
        ("DELETE", _) => 202,
        _ => 200,
    }
}

#[tokio::test(start_paused = true)]
async fn every_operation_has_the_status_of_the_protocol() {
    for (method, path, body) in operations() {
        let method = method.as_str();
        let rig = Rig::with_tasks().await;
        let schedule = json!({"id": "s", "schedule": {}, "jobSpecification": {"poolInfo": {"poolId": "p"}}});
        assert_eq!(rig.post("jobschedules", schedule).await.outcome(), "201");
        let node = rig.get("pools/p/nodes").await.ids()[0].to_owned();
        let file =
            if path.starts_with("pools") { "workitems%2Fj%2Fjob-1%2Ft0%2Fstdout.txt" } else { "stdout.txt" };
        let names =
            [("{p}", "p"), ("{j}", "j"), ("{t}", "t0"), ("{s}", "s"), ("{n}", &*node), ("{path}", file)];
        let filled = names.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
        let filled = filled.replace(['{', '}'], "");
        let body = (!body.is_empty()).then(|| json!(body.replace("NODE", &node)));
        let found = rig.ask(method, &filled, &[], body).await.outcome();
        let name = format!("{method} {path}");
        let other = OTHERWISE.iter().find(|(operation, _)| *operation == name);
        let expected =
            other.map_or_else(|| success(method, path).to_string(), |(_, outcome)| (*outcome).to_owned());
        assert_eq!(found, expected, "{name}");
    }
}

/// Operations with conditions, according to the protocol; for files, only times.
const CONDITIONAL: &[&str] = &[
    "HEAD jobschedules/{s}",
    "DELETE jobschedules/{s}",
    "GET jobschedules/{s}",
    "PATCH jobschedules/{s}",
    "PUT jobschedules/{s}",
    "POST jobschedules/{s}/disable",
    "POST jobschedules/{s}/enable",
    "POST jobschedules/{s}/terminate",
    "DELETE jobs/{j}",
    "GET jobs/{j}",
    "PATCH jobs/{j}",
    "PUT jobs/{j}",
    "POST jobs/{j}/disable",
    "POST jobs/{j}/enable",
    "POST jobs/{j}/terminate",
    "DELETE pools/{p}",
    "HEAD pools/{p}",
    "GET pools/{p}",
    "PATCH pools/{p}",
    "POST pools/{p}/enableautoscale",
    "POST pools/{p}/resize",
    "POST pools/{p}/stopresize",
    "POST pools/{p}/removenodes",
    "DELETE jobs/{j}/tasks/{t}",
    "GET jobs/{j}/tasks/{t}",
    "PUT jobs/{j}/tasks/{t}",
    "POST jobs/{j}/tasks/{t}/terminate",
    "POST jobs/{j}/tasks/{t}/reactivate",
];

#[tokio::test(start_paused = true)]
async fn every_operation_with_conditions_checks_them() {
    let rig = Rig::with_tasks().await;
    let schedule = json!({"id": "s", "schedule": {}, "jobSpecification": {"poolInfo": {"poolId": "p"}}});
    assert_eq!(rig.post("jobschedules", schedule).await.outcome(), "201");
    let node = rig.get("pools/p/nodes").await.ids()[0].to_owned();
    let names = [("{p}", "p"), ("{j}", "j"), ("{t}", "t0"), ("{s}", "s"), ("{n}", &*node)];
    let fill =
        |path: &str| names.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
    for name in CONDITIONAL {
        let (method, path) = name.split_once(' ').unwrap();
        let known = operations().find(|(verb, known, _)| *verb == method && *known == path);
        let (_, _, body) = known.unwrap_or_else(|| panic!("{name} is no operation"));
        let body = (!body.is_empty()).then(|| json!(body.replace("NODE", &node)));
        // A failed request changes nothing: all are sent to the same entities.
        for (header, value) in [("if-match", "0x1"), ("if-unmodified-since", "Sun, 01 Mar 2026 00:00:00 GMT")]
        {
            let outcome = rig.ask(method, &fill(path), &[(header, value)], body.clone()).await.outcome();
            let expected = if method == "HEAD" { "412" } else { "412 ConditionNotMet" };
            assert_eq!(outcome, expected, "{name} {header}");
        }
    }
    for path in [
        "jobs/j/tasks/t0/files/stdout.txt",
        &format!("pools/p/nodes/{node}/files/workitems%2Fj%2Fjob-1%2Ft0%2Fstdout.txt"),
    ] {
        for (header, value, expected) in [
            ("if-modified-since", "Sun, 01 Mar 2026 00:00:00 GMT", 200),
            ("if-modified-since", "Tue, 03 Mar 2026 00:00:00 GMT", 304),
            ("if-unmodified-since", "Tue, 03 Mar 2026 00:00:00 GMT", 200),
            ("if-unmodified-since", "Sun, 01 Mar 2026 00:00:00 GMT", 412),
            ("if-match", "0x1", 200),
        ] {
            for method in ["GET", "HEAD"] {
                let outcome = rig.ask(method, path, &[(header, value)], None).await.outcome();
                assert!(
                    outcome.starts_with(&expected.to_string()),
                    "{method} {path} {header} {value}: {outcome}"
                );
            }
        }
    }
}
