//! Tests every Batch request as the service receives it.

use crate::{
    description::{Description, operation},
    service::{Answer, Seen, Service, batch_options, json, refusal, status, with_body},
};
use dropmill_azure_client::{
    batch::{BatchApi, BatchOptions, Part},
    credential::{Credential, TokenError, TokenSource},
    error::BatchError,
};
use dropmill_azure_wire::{batch::*, secret::Secret};
use dropmill_lifecycle::FailureKind;
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json as value};
use std::{sync::Arc, time::Duration};

type Calling = fn(BatchApi) -> BoxFuture<'static, Result<(), BatchError>>;

/// A request, its expected form, the response, and the definition of its body.
struct Case(&'static str, u16, &'static str, Calling);

macro_rules! call {
    ($api:ident => { $call:expr }) => {
        call!($api => $call)
    };
    ($api:ident => $call:expr) => {
        |$api| async move { $call.await.map(drop) }.boxed()
    };
}

fn cases() -> Vec<Case> {
    vec![
        Case(
            "POST /pools",
            201,
            "PoolAddParameter",
            call!(api => api.create_pool(&full("PoolAddParameter"))),
        ),
        Case("GET /pools/p", 200, "", call!(api => api.get_pool("p"))),
        Case("DELETE /pools/p", 202, "", call!(api => api.delete_pool("p"))),
        Case(
            "PATCH /pools/p",
            200,
            "PoolPatchParameter",
            call!(api => api.patch_pool("p", &full("PoolPatchParameter"))),
        ),
        Case(
            "POST /pools/p/resize",
            202,
            "PoolResizeParameter",
            call!(api => {
                api.resize_pool("p", &PoolResize { target_dedicated_nodes: Some(3), ..Default::default() })
            }),
        ),
        Case("POST /pools/p/stopresize", 202, "", call!(api => api.stop_resize("p"))),
        Case("GET /pools", 200, "", call!(api => api.list_pools(None, None))),
        Case("GET /nodecounts", 200, "", call!(api => api.pool_node_counts(None))),
        Case("GET /pools/p/nodes", 200, "", call!(api => api.list_nodes("p", None, None))),
        Case(
            "POST /pools/p/removenodes",
            202,
            "NodeRemoveParameter",
            call!(api => {
                api.remove_nodes("p", &["n1".into()], Some(NodeDeallocationOption::TaskCompletion))
            }),
        ),
        Case(
            "POST /pools/p/nodes/n/reboot",
            202,
            "NodeRebootParameter",
            call!(api => api.reboot_node("p", "n")),
        ),
        Case("POST /jobs", 201, "JobAddParameter", call!(api => api.create_job(&full("JobAddParameter")))),
        Case("GET /jobs/j", 200, "", call!(api => api.get_job("j"))),
        Case(
            "PATCH /jobs/j",
            200,
            "JobPatchParameter",
            call!(api => api.patch_job("j", &full("JobPatchParameter"))),
        ),
        Case(
            "POST /jobs/j/terminate",
            202,
            "JobTerminateParameter",
            call!(api => api.terminate_job("j", Some("why"))),
        ),
        Case("POST /jobs/j/terminate", 202, "", call!(api => api.terminate_job("j", None))),
        Case("DELETE /jobs/j", 202, "", call!(api => api.delete_job("j"))),
        Case("GET /jobs", 200, "", call!(api => api.list_jobs(None, None))),
        Case(
            "POST /jobs/j/addtaskcollection",
            200,
            "TaskAddCollectionParameter",
            call!(api => {
                api.add_tasks("j", &[full("TaskAddParameter")])
            }),
        ),
        Case("GET /jobs/j/tasks/t", 200, "", call!(api => api.get_task("j", "t"))),
        Case("GET /jobs/j/tasks", 200, "", call!(api => api.list_tasks("j", None, None))),
        Case("GET /jobs/j/taskcounts", 200, "", call!(api => api.task_counts("j"))),
        Case("POST /jobs/j/tasks/t/terminate", 204, "", call!(api => api.terminate_task("j", "t"))),
        Case("DELETE /jobs/j/tasks/t", 200, "", call!(api => api.delete_task("j", "t"))),
        Case("POST /jobs/j/tasks/t/reactivate", 204, "", call!(api => api.reactivate_task("j", "t"))),
        Case("GET /jobs/j/tasks/t/files", 200, "", call!(api => api.list_task_files("j", "t", false))),
        Case(
            "GET /jobs/j/tasks/t/files/wd%2Fa%20b.txt",
            200,
            "",
            call!(api => api.get_task_file("j", "t", "wd/a b.txt")),
        ),
        Case(
            "DELETE /jobs/j/tasks/t/files/wd%2Fa%20b.txt?&recursive=true",
            200,
            "",
            call!(api => api.delete_task_file("j", "t", "wd/a b.txt")),
        ),
        Case(
            "GET /pools/p/nodes/n/files/startup%2Fstderr.txt",
            200,
            "",
            call!(api => {
                api.get_node_file("p", "n", "startup/stderr.txt")
            }),
        ),
    ]
}

/// Returns the newest description of a body. A client's models describe version 2025-06-01, but not every
/// body.
fn description_of(definition: &str) -> Description {
    let newest = Description::of_2025();
    if newest.has(definition) { newest } else { Description::of_20() }
}

/// Returns an entity with every property of the published description, except read-only ones.
fn full<T: serde::de::DeserializeOwned>(definition: &str) -> T {
    let mut body = description_of(definition).full_body(definition);
    without_server_values(&mut body);
    serde_json::from_value(body).unwrap()
}

fn without_server_values(body: &mut Value) {
    match body {
        Value::Object(properties) => {
            properties.remove("exactVersion");
            properties.values_mut().for_each(without_server_values);
        }
        Value::Array(items) => items.iter_mut().for_each(without_server_values),
        _ => {}
    }
}

/// Headers that the official client adds to every request, and those of HTTP.
const OF_EVERY_CALL: &[&str] = &[
    "accept",
    "authorization",
    "client-request-id",
    "content-length",
    "host",
    "return-client-request-id",
    "user-agent",
];
/// Requests with an optional body, which have none here.
const OPTIONAL_BODY: &[&str] = &["POST /jobs/j/terminate"];

#[tokio::test]
async fn every_request_has_its_documented_form() {
    for Case(line, code, definition, calling) in cases() {
        let service = Service::answering(move |seen| {
            let id = seen.path.rsplit('/').next().unwrap_or_default().to_owned();
            let counts = value!({"active":1,"running":0,"completed":0,"succeeded":0,"failed":0});
            let body = value!({"id":id,"vmSize":"s","value":[],"taskCounts":counts,"taskSlotCounts":counts});
            if matches!(code, 201 | 202 | 204) { status(code, &[]) } else { json(code, &body) }
        });
        calling(service.batch()).await.unwrap_or_else(|error| panic!("{line}: {error:?}"));
        let asked = service.asked();
        assert_eq!(asked.len(), 1, "{line}");
        let (path, more) = line.split_once('?').unwrap_or((line, ""));
        assert_eq!(asked[0].line(), format!("{path}?api-version=2025-06-01&timeOut=30{more}"));
        let (method, path) = path.split_once(' ').unwrap();
        let operation = operation(method, path);
        let known = |list: &str, name: &str| {
            operation[list]
                .as_array()
                .unwrap()
                .iter()
                .any(|known| known.as_str().unwrap().eq_ignore_ascii_case(name))
        };
        for (name, _) in dropmill_azure_wire::uri::pairs(&asked[0].query) {
            assert!(known("query", &name), "{line}: {name}");
        }
        for name in asked[0].header_names() {
            assert!(OF_EVERY_CALL.contains(&name) || known("headers", name), "{line}: {name}");
        }
        assert!(operation["success"].as_array().unwrap().contains(&value!(code)), "{line}: {code}");
        assert_eq!(
            known("headers", "content-type"),
            OPTIONAL_BODY.contains(&line) || !definition.is_empty(),
            "{line}"
        );
        assert_eq!(asked[0].header("return-client-request-id"), "true");
        assert_eq!(asked[0].header("ocp-date"), "Mon, 02 Mar 2026 10:11:12 GMT");
        if definition.is_empty() {
            assert!(asked[0].body.is_empty(), "{line}");
            assert_eq!(asked[0].header("content-type"), "", "{line}");
        } else {
            let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
            let faults = description_of(definition).problems_of_request(definition, &body);
            assert_eq!(faults, [""; 0], "{line}");
            assert_eq!(asked[0].header("content-type"), "application/json; odata=minimalmetadata");
        }
    }
}

#[tokio::test]
async fn every_error_names_operation_and_subject() {
    let mut lines = String::new();
    for Case(line, _, _, calling) in cases() {
        let service = Service::answering(|_| refusal(409, "SomeNewCode"));
        let error = calling(service.batch()).await.unwrap_err();
        lines.push_str(&format!("{line}: {error} {:?}\n", error.kind()));
    }
    insta::assert_snapshot!(lines);
}

#[tokio::test]
async fn a_filter_and_a_selection_are_encoded() {
    let service = Service::answering(|_| json(200, &value!({"value": []})));
    let filter = "state eq 'completed' and stateTransitionTime gt DateTime'2026-01-01T00:00:00Z'";
    service.batch().list_tasks("j", Some(filter), Some(TASK_STATUS_SELECT)).await.unwrap();
    service.batch().pool_node_counts(Some("p")).await.unwrap();
    let queries: Vec<String> = service.asked().into_iter().map(|seen| seen.query).collect();
    insta::assert_snapshot!(queries.join("\n"), @"
    api-version=2025-06-01&timeOut=30&$filter=state%20eq%20%27completed%27%20and%20stateTransitionTime%20gt%20DateTime%272026-01-01T00%3A00%3A00Z%27&$select=id%2Cstate%2CstateTransitionTime%2CexecutionInfo%2CnodeInfo
    api-version=2025-06-01&timeOut=30&$filter=poolId%20eq%20%27p%27
    ");
}

#[tokio::test]
async fn each_added_task_has_its_own_result() {
    let service = Service::answering(|_| {
        json(
            200,
            &value!({"value": [
                {"status": "Success", "taskId": "t1", "eTag": "0x1"},
                {"status": "clienterror", "taskId": "t2", "error": {"code": "TaskExists", "message": {"value": "There."}}},
                {"status": "servererror", "taskId": "t3"},
            ]}),
        )
    });
    let tasks: Vec<TaskAdd> = ["t1", "t2", "t3"].map(task).into();
    let results = service.batch().add_tasks("j", &tasks).await.unwrap();
    let found: Vec<_> = results.iter().map(|result| (result.task_id.as_str(), &result.status)).collect();
    assert_eq!(
        found,
        [
            ("t1", &TaskAddStatus::Success),
            ("t2", &TaskAddStatus::ClientError),
            ("t3", &TaskAddStatus::ServerError)
        ]
    );
}

#[tokio::test]
async fn a_collection_that_the_service_would_reject_is_not_sent() {
    let service = Service::answering(|_| panic!("nothing is sent"));
    let api = service.batch();
    for (count, length, code) in [
        (0, 1, "InvalidPropertyValue"),
        (101, 1, "InvalidPropertyValue"),
        (100, 11_000, "RequestBodyTooLarge"),
    ] {
        let task = TaskAdd { command_line: "x".repeat(length), ..task("t") };
        let error = api.add_tasks("j", &vec![task; count]).await.unwrap_err();
        assert_eq!((error.code(), error.kind()), (Some(code.into()), FailureKind::Permanent));
    }
    assert!(api.remove_nodes("p", &[], None).await.is_err());
    assert_eq!(service.asked().len(), 0);
}

fn task(id: &str) -> TaskAdd {
    TaskAdd { id: id.into(), command_line: "/bin/true".into(), ..Default::default() }
}

/// Serves a file of 26 letters like the real service: HEAD returns its length, ranges are in `ocp-range`.
fn letters(seen: &Seen, honours_ranges: bool) -> Answer {
    let all = b"abcdefghijklmnopqrstuvwxyz".as_slice();
    if seen.method == "HEAD" {
        return status(200, &[("content-length", "26")]);
    }
    let range = seen.header("ocp-range").strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let part = match range {
        Some((first, last)) if honours_ranges => {
            &all[first.parse::<usize>().unwrap()..=last.parse::<usize>().unwrap().min(25)]
        }
        _ => all,
    };
    with_body(200, &[("content-type", "text/html")], part.to_vec())
}

#[tokio::test]
async fn a_part_of_a_file_is_read_with_and_without_support_for_ranges() {
    for honours_ranges in [true, false] {
        let service = Service::answering(move |seen| letters(&seen, honours_ranges));
        let api = service.batch();
        for (part, letters) in [
            (Part::Whole, "abcdefghijklmnopqrstuvwxyz"),
            (Part::Tail(3), "xyz"),
            (Part::Tail(100), "abcdefghijklmnopqrstuvwxyz"),
            (Part::Tail(0), ""),
            (Part::Range(1, 3), "bcd"),
            (Part::Range(24, 25), "yz"),
        ] {
            let bytes = api.get_task_file_part("j", "t", "stdout.txt", part).await.unwrap();
            assert_eq!(bytes, letters, "{part:?}");
            let bytes = api.get_node_file_part("p", "n", "startup/stdout.txt", part).await.unwrap();
            assert_eq!(bytes, letters, "{part:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_file_has_an_empty_tail() {
    let service = Service::answering(|_| status(200, &[("content-length", "0")]));
    assert_eq!(service.batch().get_task_file_tail("j", "t", "stderr.txt", 100).await.unwrap(), "");
    assert_eq!(service.asked().len(), 1);
}

#[tokio::test]
async fn request_ids_depend_on_the_seed() {
    let names = || async {
        let service = Service::answering(|_| json(200, &value!({"id": "j"})));
        let api = service.batch();
        for _ in 0..3 {
            api.get_job("j").await.unwrap();
        }
        service.asked().iter().map(|seen| seen.header("client-request-id").to_owned()).collect::<Vec<_>>()
    };
    let (first, second) = (names().await, names().await);
    assert_eq!(first, second);
    assert_ne!(first[0], first[1]);
    for name in first {
        let groups: Vec<usize> = name.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{name}");
        assert_eq!(&name[14..15], "4", "{name}");
        assert!(matches!(&name[19..20], "8" | "9" | "a" | "b"), "{name}");
    }
}

#[tokio::test]
async fn version_and_deadline_can_be_chosen() {
    let service = Service::answering(|_| json(200, &value!({"id": "j"})));
    let options = batch_options(service.in_process(), "http://service.local:1");
    let options =
        BatchOptions { api_version: "2024-02-01.19.0".into(), timeout: Duration::from_secs(5), ..options };
    BatchApi::new(options).get_job("j").await.unwrap();
    assert_eq!(service.asked()[0].query, "api-version=2024-02-01.19.0&timeOut=5");
}

struct Tokens(Result<&'static str, bool>);

impl TokenSource for Tokens {
    fn token(&self, scope: &'static str) -> BoxFuture<'static, Result<Secret, TokenError>> {
        assert_eq!(scope, "https://batch.core.windows.net/.default");
        let outcome = self.0;
        async move {
            outcome.map(Secret::new).map_err(|may_pass| TokenError { reason: "no network".into(), may_pass })
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_token_authorizes_a_request() {
    let service = Service::answering(|_| json(200, &value!({"id": "j"})));
    let api = |outcome| {
        let options = batch_options(service.in_process(), "http://service.local:1");
        BatchApi::new(BatchOptions { credential: Credential::Token(Arc::new(Tokens(outcome))), ..options })
    };
    api(Ok("T0KEN")).get_job("j").await.unwrap();
    let asked = &service.asked()[0];
    assert_eq!(asked.header("authorization"), "Bearer T0KEN");
    assert_eq!(asked.header("ocp-date"), "Mon, 02 Mar 2026 10:11:12 GMT");
    for (may_pass, kind) in [(true, FailureKind::Transient), (false, FailureKind::Permanent)] {
        let error = api(Err(may_pass)).get_job("j").await.unwrap_err();
        assert_eq!(error.failure().message, "get job j: not sent: no token: no network");
        assert_eq!(error.kind(), kind);
    }
    assert!(api(Ok("two\nlines")).get_job("j").await.is_err());
    assert_eq!(service.asked().len(), 1);
    assert!(!format!("{:?}", api(Ok("T0KEN"))).contains("T0KEN"));
}
