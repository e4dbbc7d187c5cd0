//! Tests the HTTP interface like a client: signed requests in process, with fake nodes.

use crate::{
    orders::NodeRef,
    runner::{FakeRunner, FakeSettings, Pretend},
    service::{LocalAzure, RunnerChoice, ServiceSettings},
};
use axum::body::Body;
use dropmill_azure_wire::{
    sign::{Scheme, SharedKey},
    time::{Clock, SharedClock, Timestamp},
};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tower::ServiceExt;

const VERSION: &str = "api-version=2024-07-01.20.0";

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        "2026-03-02T10:11:12Z".parse().unwrap()
    }
}

pub struct Rig {
    azure: LocalAzure,
    key: SharedKey,
}

/// A response: status, headers and body.
pub struct Reply {
    status: u16,
    headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    /// Returns `200`, or status and code.
    pub fn outcome(&self) -> String {
        match self.body["code"].as_str() {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.to_string(),
        }
    }

    fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub fn ids(&self) -> Vec<&str> {
        self.body["value"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect()
    }
}

impl Rig {
    /// Creates a service whose tasks print `stdout`.
    fn new(stdout: &str) -> Self {
        Self::with(stdout, ServiceSettings::in_memory())
    }

    pub fn with(stdout: &str, settings: ServiceSettings) -> Self {
        let stdout = stdout.to_owned();
        let clock: SharedClock = Arc::new(Fixed);
        let runner_clock = clock.clone();
        let make = RunnerChoice::Custom(Box::new(move |reports, door| {
            let settings = FakeSettings {
                script: Arc::new(move |_| Pretend { stdout: stdout.clone(), ..Pretend::default() }),
                boot: Arc::new(|_: &NodeRef| Duration::from_secs(1)),
            };
            FakeRunner::start(settings, runner_clock, reports, door)
        }));
        let azure = LocalAzure::open(settings, clock, make).unwrap();
        let batch = azure.connection().batch;
        Self { key: SharedKey::new(&batch.account, &batch.key).unwrap(), azure }
    }

    /// Creates a pool `p`, a job `j`, and tasks `t0` to `t4`, which have run and printed a greeting.
    pub async fn with_tasks() -> Self {
        Self::with_tasks_that_print("hello").await
    }

    async fn with_tasks_that_print(stdout: &str) -> Self {
        let rig = Self::new(stdout);
        assert_eq!(rig.post("pools", pool("p")).await.outcome(), "201");
        assert_eq!(rig.post("jobs", json!({"id": "j", "poolInfo": {"poolId": "p"}})).await.outcome(), "201");
        let tasks: Vec<_> = (0..5).map(|n| json!({"id": format!("t{n}"), "commandLine": "x"})).collect();
        assert_eq!(rig.post("jobs/j/addtaskcollection", json!({"value": tasks})).await.outcome(), "200");
        tokio::time::sleep(Duration::from_secs(60)).await;
        rig
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let join = if path.contains('?') { '&' } else { '?' };
        let version = if path.contains("api-version") { String::new() } else { format!("{join}{VERSION}") };
        let text = body.map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned));
        let mut request = Request::builder().method(method).uri(format!("http://batch/{path}{version}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.header("host", "batch").body(Body::from(text.unwrap_or_default())).unwrap();
        self.key.authorize(Scheme::Batch, &mut request, Fixed.now());
        let answer = self.azure.batch_router().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask("POST", path, &[], Some(body)).await
    }
}

fn pool(id: &str) -> Value {
    let image = json!({"imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 22.04"});
    json!({"id": id, "vmSize": "a1", "targetDedicatedNodes": 1, "virtualMachineConfiguration": image})
}

#[tokio::test(start_paused = true)]
async fn conditional_headers_apply_to_reads_and_writes() {
    let rig = Rig::with_tasks().await;
    let tag = rig.get("jobs/j").await.header("etag");
    let quoted = format!("\"{tag}\"");
    let (early, late) = ("Sun, 01 Mar 2026 00:00:00 GMT", "Tue, 03 Mar 2026 00:00:00 GMT");
    // Header, value; GET, PATCH.
    let table = [
        ("if-match", &*tag, "200", "200"),
        ("if-match", &*quoted, "200", "200"),
        ("if-match", "*", "200", "200"),
        ("if-match", "0x1", "412 ConditionNotMet", "412 ConditionNotMet"),
        ("if-none-match", "0x1", "200", "200"),
        ("if-none-match", &*tag, "304", "412 ConditionNotMet"),
        ("if-modified-since", early, "200", "200"),
        ("if-modified-since", late, "304", "412 ConditionNotMet"),
        ("if-unmodified-since", late, "200", "200"),
        ("if-unmodified-since", early, "412 ConditionNotMet", "412 ConditionNotMet"),
        ("if-modified-since", "yesterday", "400 InvalidHeaderValue", "400 InvalidHeaderValue"),
    ];
    for (header, value, read, write) in table {
        let got = rig.ask("GET", "jobs/j", &[(header, value)], None).await;
        assert_eq!(got.outcome(), read, "GET {header}: {value}");
        // Even a change without effect creates a new ETag, so a separate job is used.
        rig.post("jobs", json!({"id": "k", "poolInfo": {"poolId": "p"}})).await;
        let own = rig.get("jobs/k").await.header("etag");
        let value = value.replace(&tag, &own);
        let got = rig.ask("PATCH", "jobs/k", &[(header, &value)], Some(json!({"priority": 1}))).await;
        assert_eq!(got.outcome(), write, "PATCH {header}: {value}");
        rig.ask("DELETE", "jobs/k", &[], None).await;
    }
    let both = [("if-match", "*"), ("if-none-match", "0x1")];
    let got = rig.ask("GET", "pools/p", &both, None).await;
    assert_eq!(got.outcome(), "400 MultipleConditionHeadersNotSupported");
}

#[tokio::test(start_paused = true)]
async fn lists_are_filtered_selected_and_paged() {
    let rig = Rig::with_tasks().await;
    let table: [(&str, &[&str]); 14] = [
        ("", &["t0", "t1", "t2", "t3", "t4"]),
        ("id eq 't1'", &["t1"]),
        ("startswith(id,'t')", &["t0", "t1", "t2", "t3", "t4"]),
        ("startswith(id,'x')", &[]),
        ("state eq 'Completed'", &["t0", "t1", "t2", "t3", "t4"]),
        ("state eq 'active' or id eq 't3'", &["t3"]),
        ("(id eq 't1' or id eq 't2') and id ne 't2'", &["t1"]),
        ("id eq 't1' or id eq 't2' and id eq 't3'", &["t1"]),
        ("executionInfo/exitCode ge 0 and executionInfo/exitCode lt 1 and id gt 't3'", &["t4"]),
        ("executionInfo/result eq 'success' and id le 't0'", &["t0"]),
        ("stateTransitionTime gt DateTime'2030-01-01T00:00:00Z'", &[]),
        ("creationTime lt DateTime'Tue, 03 Mar 2026 00:00:00 GMT' and id eq 't2'", &["t2"]),
        ("state eq 'completed' and stateTransitionTime gt DateTime'2020-01-01' and id eq 't2'", &["t2"]),
        ("id eq 'it''s'", &[]),
    ];
    let encode = dropmill_azure_wire::uri::encode;
    for (filter, expected) in table {
        let reply = rig.get(&format!("jobs/j/tasks?$filter={}", encode(filter))).await;
        let mut ids = reply.ids();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{filter}");
        // In pages of two, following absolute links.
        let mut all = vec![];
        let mut next = Some(format!("jobs/j/tasks?$filter={}&maxresults=2", encode(filter)));
        while let Some(path) = next {
            let reply = rig.get(&path).await;
            assert!(reply.ids().len() <= 2);
            all.extend(reply.ids().into_iter().map(str::to_owned));
            let link = reply.body["odata.nextLink"].as_str().map(str::to_owned);
            next = link.map(|link| link.strip_prefix("http://batch/").unwrap().to_owned());
        }
        all.sort_unstable();
        assert_eq!(all, expected, "{filter} in pages");
    }
    for wrong in [
        "id",
        "id eq",
        "id eq 't",
        "id is 't'",
        "name eq 'x'",
        "ID eq 'x'",
        "state eq 5",
        "exitCode eq 'x'",
        "(id eq 't'",
        "id eq 't')",
        "id eq 't' and",
        "and",
        "startswith(id)",
        "startswith(state",
        "creationTime gt 'x'",
        "creationTime gt DateTime'x'",
        "executionInfo/exitCode eq 99999999999999999999",
        "'",
        "((((",
    ] {
        let reply = rig.get(&format!("jobs/j/tasks?$filter={}", encode(wrong))).await;
        assert_eq!(reply.outcome(), "400 InvalidQueryParameterValue", "{wrong}");
    }
    let long = vec!["id eq 't'"; 500].join(" or ");
    assert_eq!(rig.get(&format!("jobs/j/tasks?$filter={}", encode(&long))).await.status, 400);
    let reply = rig.get("jobs/j/tasks/t0?$select=id,%20state").await;
    let mut names: Vec<_> = reply.body.as_object().unwrap().keys().collect();
    names.retain(|name| !name.starts_with("odata"));
    assert_eq!(names, ["id", "state"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_client_gets_a_hint() {
    let rig = Rig::new("");
    let reply = rig.get("jobs?api-version=2021-06-01.14.0").await;
    assert!(reply.body["values"].to_string().contains("2022-10-01.16.0 and later"), "{}", reply.body);
    for (authorization, status, words) in [
        ("Bearer abc", 400, "dropmill env"),
        ("SharedKey other:AAAA", 403, "dropmill env"),
        ("Basic abc", 400, ""),
    ] {
        let request =
            Request::get(format!("http://batch/jobs?{VERSION}")).header("authorization", authorization);
        let request =
            request.header("ocp-date", "Mon, 02 Mar 2026 10:11:12 GMT").body(Body::empty()).unwrap();
        let answer = rig.azure.batch_router().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{authorization}");
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(text.contains("dropmill env"), !words.is_empty(), "{authorization}: {text}");
    }
    let request =
        Request::get("http://127.0.0.1:10000/devstoreaccount1/c?restype=container").body(Body::empty());
    let answer = rig.azure.blob_router().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 404);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("UseDevelopmentStorage=true"), "{text:?}");
}

#[tokio::test(start_paused = true)]
async fn common_parameters_of_requests_are_checked() {
    let rig = Rig::with_tasks().await;
    let table = [
        ("jobs?api-version=2022-10-01.16.0", "200"),
        ("jobs?api-version=2025-06-01", "200"),
        ("jobs?api-version=2031-01-01.99.0", "200"),
        ("jobs?api-version=2021-06-01.14.0", "400 UnsupportedRequestVersion"),
        ("jobs?api-version=newest", "400 UnsupportedRequestVersion"),
        ("jobs?api-version=", "400 UnsupportedRequestVersion"),
        ("jobs?timeout=30", "200"),
        ("jobs?timeOut=30", "200"),
        ("jobs?timeout=soon", "400 InvalidQueryParameterValue"),
        ("jobs?maxresults=1000", "200"),
        ("jobs?maxresults=0", "400 InvalidQueryParameterValue"),
        ("jobs?maxresults=1001", "400 InvalidQueryParameterValue"),
        ("jobs?maxResults=x", "400 InvalidQueryParameterValue"),
        ("nodecounts?maxresults=11", "400 InvalidQueryParameterValue"),
        ("nodecounts?$filter=poolId%20eq%20'p'", "200"),
        ("jobs?$expand=stats", "200"),
        ("jobs?$expand=all", "400 InvalidQueryParameterValue"),
        ("jobs/j/tasks?$filter=state%20eq%20'completed'&$skiptoken=x%7Cy", "400 InvalidQueryParameterValue"),
        ("supportedimages?$skiptoken=x", "400 InvalidQueryParameterValue"),
        ("supportedimages?$filter=osType%20eq%20'linux'%20and%20verificationType%20eq%20'verified'", "200"),
        ("jobs/none", "404 JobNotFound"),
        ("jobs/j/tasks/none", "404 TaskNotFound"),
        ("pools/none", "404 PoolNotFound"),
        ("pools/p/nodes/none", "404 NodeNotFound"),
        ("applications/none", "404 ApplicationNotFound"),
        ("jobs/j/jobpreparationandreleasetaskstatus", "409 JobPreparationTaskOrReleaseTaskNotSpecified"),
        ("nothing", "404 ResourceNotFound"),
    ];
    for (path, expected) in table {
        assert_eq!(rig.get(path).await.outcome(), expected, "{path}");
    }
    let none = Request::get("http://batch/jobs?api-version=2024-07-01.20.0").body(Body::empty()).unwrap();
    assert_eq!(rig.azure.batch_router().oneshot(none).await.unwrap().status(), 401);
    assert_eq!(rig.ask("HEAD", "pools/p", &[], None).await.status, 200);
    assert_eq!(rig.ask("HEAD", "pools/none", &[], None).await.status, 404);
    assert_eq!(rig.ask("PUT", "pools/p", &[], None).await.outcome(), "405 UnsupportedHttpVerb");
}

#[tokio::test(start_paused = true)]
async fn unknown_values_are_rejected_and_unknown_properties_in_strict_mode() {
    for strict in [false, true] {
        let rig = Rig::with("", ServiceSettings { strict, ..ServiceSettings::in_memory() });
        rig.post("pools", pool("p")).await;
        rig.post("jobs", json!({"id": "j", "poolInfo": {"poolId": "p"}})).await;
        let on_pool = |more: Value| {
            let mut body = json!({"id": "k", "poolInfo": {"poolId": "p"}, "commandLine": "x"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let file = |condition: &str| {
            let to = json!({"container": {"containerUrl": "http://127.0.0.1:1/c"}});
            json!([{"filePattern": "x", "destination": to, "uploadOptions": {"uploadCondition": condition}}])
        };
        let auto_user = json!({"userIdentity": {"autoUser": {"elevationLevel": "root"}}});
        let exit = json!({"exitConditions": {"default": {"jobAction": "stop"}}});
        for (path, more, property) in [
            ("jobs", json!({"onAllTasksComplete": "end"}), "onAllTasksComplete"),
            ("jobs", json!({"onTaskFailure": "end"}), "onTaskFailure"),
            (
                "jobs/j/tasks",
                json!({"outputFiles": file("always")}),
                "outputFiles[].uploadOptions.uploadCondition",
            ),
            ("jobs/j/tasks", auto_user, "userIdentity.autoUser.elevationLevel"),
            ("jobs/j/tasks", exit, "exitConditions.default.jobAction"),
            ("pools/p/resize", json!({"nodeDeallocationOption": "gently"}), "nodeDeallocationOption"),
            ("jobs/j/tasks", json!({"commandLine": {}}), "commandLine"),
        ] {
            let reply = rig.post(path, on_pool(more)).await;
            assert_eq!(reply.outcome(), "400 InvalidPropertyValue", "{path} {property}");
            assert_eq!(reply.body["values"][0]["value"], property);
        }
        let mut policy = pool("q");
        policy["taskSchedulingPolicy"] = json!({"nodeFillType": "fill"});
        assert_eq!(rig.post("pools", policy).await.outcome(), "400 InvalidPropertyValue");
        for (path, body, property) in [
            (
                "jobs",
                json!({"id": "k", "poolInfo": {"poolId": "p"}, "maxTasksPerNode": 2}),
                "maxTasksPerNode",
            ),
            ("jobs/j/tasks", json!({"id": "t", "commandLine": "x", "dependson": {}}), "dependson"),
        ] {
            let reply = rig.post(path, body).await;
            assert_eq!(reply.outcome(), if strict { "400 InvalidRequestBody" } else { "201" }, "{path}");
            if strict {
                assert_eq!(reply.body["values"][0]["value"], property);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_names_the_property_and_the_problem() {
    let rig = Rig::with_tasks().await;
    let table = [
        (json!({"id": "x"}), "400 MissingRequiredProperty", "commandLine"),
        (json!({"commandLine": "x"}), "400 MissingRequiredProperty", "id"),
        (
            json!({"id": "x", "commandLine": "x", "requiredSlots": 0}),
            "400 InvalidPropertyValue",
            "requiredSlots",
        ),
    ];
    for (body, expected, property) in table {
        let reply = rig.post("jobs/j/tasks", body).await;
        assert_eq!(reply.outcome(), expected);
        assert_eq!(reply.body["values"][0]["key"], "PropertyName");
        assert_eq!(reply.body["values"][0]["value"], property);
        let text = reply.body["message"]["value"].as_str().unwrap();
        assert!(text.contains("\nRequestId:") && text.contains("\nTime:"), "{text}");
        assert!(reply.body["odata.metadata"].as_str().unwrap().ends_with(".errors/@Element"));
        assert_eq!(reply.header("content-type"), "application/json;odata=minimalmetadata");
    }
    for body in ["", "{", "[]", "null", "5", "{\"id\": {}}", "\u{0}", &"[".repeat(10_000)] {
        for path in
            ["jobs", "pools", "jobs/j/tasks", "jobs/j/addtaskcollection", "jobs/j/disable", "pools/p/resize"]
        {
            let reply = rig.post(path, json!(body)).await;
            assert!(
                (400..500).contains(&reply.status),
                "{path} {}: {}",
                &body[..body.len().min(20)],
                reply.outcome()
            );
        }
    }
    // Some clients write numbers as text.
    let texts = json!({"targetDedicatedNodes": "2"});
    assert_eq!(rig.post("pools/p/resize", texts).await.outcome(), "202");
    let kinds = [
        (json!({"id": "x", "commandLine": {}}), "400 InvalidPropertyValue"),
        (json!("{"), "400 InvalidRequestBody"),
    ];
    for (body, expected) in kinds {
        assert_eq!(rig.post("jobs/j/tasks", body).await.outcome(), expected);
    }
    let secret =
        json!([{"name": "ann", "password": "hidden", "linuxUserConfiguration": {"sshPrivateKey": "hidden"}}]);
    let mut body = pool("with-users");
    body["userAccounts"] = secret;
    assert_eq!(rig.post("pools", body).await.outcome(), "201");
    assert!(!rig.get("pools/with-users").await.body.to_string().contains("hidden"));
    let big = "x".repeat((1 << 20) + 1);
    assert_eq!(rig.post("jobs", json!(big)).await.outcome(), "413 RequestBodyTooLarge");
    let many = vec![json!({"id": "x", "commandLine": "x"}); 101];
    let reply = rig.post("jobs/j/addtaskcollection", json!({"value": many})).await;
    assert_eq!(reply.outcome(), "400 InvalidPropertyValue");
    // An interrupted body is not a body that is too long.
    let broken = Body::from_stream(futures_util::stream::iter([
        Ok(bytes::Bytes::from_static(b"{")),
        Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
    ]));
    let mut request = Request::post(format!("http://batch/jobs?{VERSION}")).body(broken).unwrap();
    rig.key.authorize(Scheme::Batch, &mut request, Fixed.now());
    assert_eq!(rig.azure.batch_router().oneshot(request).await.unwrap().status(), 400);
}

#[tokio::test(start_paused = true)]
async fn the_extensions_of_a_node_are_those_of_its_pool_without_secrets() {
    let rig = Rig::new("");
    let mut body = pool("p");
    body["virtualMachineConfiguration"]["extensions"] =
        json!([{"name": "e", "publisher": "x", "type": "y", "protectedSettings": {"key": "hidden"}}]);
    assert_eq!(rig.post("pools", body).await.outcome(), "201");
    let node = rig.get("pools/p/nodes").await.ids()[0].to_owned();
    let all = rig.get(&format!("pools/p/nodes/{node}/extensions")).await;
    assert_eq!(all.body["value"][0]["vmExtension"]["name"], "e");
    let one = rig.get(&format!("pools/p/nodes/{node}/extensions/e")).await;
    assert_eq!(one.body["provisioningState"], "Succeeded");
    for reply in [all, one, rig.get("pools/p").await] {
        assert!(!reply.body.to_string().contains("hidden"), "{}", reply.body);
    }
}

#[tokio::test(start_paused = true)]
async fn files_are_listed_and_read_in_ranges() {
    let rig = Rig::with_tasks().await;
    let listed = rig.get("jobs/j/tasks/t0/files?recursive=true").await;
    let names: Vec<_> = listed.body["value"].as_array().unwrap().iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["stderr.txt", "stdout.txt", "wd"]);
    let listed = rig.get("jobs/j/tasks/t0/files?$filter=startswith(name,'stdo')").await;
    assert_eq!(listed.body["value"].as_array().unwrap().len(), 1);
    let file = "jobs/j/tasks/t0/files/stdout.txt";
    for (range, status, length) in [
        (None, 200, "5"),
        (Some("bytes=0-1"), 200, "2"),
        (Some("bytes=3-"), 200, "2"),
        (Some("bytes=3-99"), 200, "2"),
        (Some("bytes=5-"), 416, ""),
        (Some("bytes=2-1"), 416, ""),
        (Some("bytes=100-200"), 416, ""),
        (Some("bytes=4-2"), 416, ""),
        (Some("bytes=99999999999999999999-"), 416, ""),
        (Some("bytes=0-99999999999999999999"), 416, ""),
        (Some("bytes=1-18446744073709551615"), 200, "4"),
        (Some("lines=1"), 416, ""),
    ] {
        let headers: Vec<_> = range.map(|range| ("ocp-range", range)).into_iter().collect();
        let reply = rig.ask("GET", file, &headers, None).await;
        assert_eq!(reply.status, status, "{range:?}");
        if status == 200 {
            assert_eq!(reply.header("content-length"), length, "{range:?}");
            assert_eq!(reply.header("ocp-batch-file-isdirectory"), "False");
        }
    }
    assert_eq!(rig.ask("HEAD", file, &[], None).await.header("content-length"), "5");
    for bad in ["..%2F..%2Fx", "%2Fetc%2Fpasswd", "none", "wd%2F..%2F..%2Fx"] {
        assert_eq!(
            rig.get(&format!("jobs/j/tasks/t0/files/{bad}")).await.outcome(),
            "404 FileNotFound",
            "{bad}"
        );
    }
    assert_eq!(rig.ask("DELETE", file, &[], None).await.status, 200);
    assert_eq!(rig.get(file).await.outcome(), "404 FileNotFound");
    let node = rig.get("pools/p/nodes").await.ids()[0].to_owned();
    let reply = rig.get(&format!("pools/p/nodes/{node}/files/workitems%2Fj%2Fjob-1%2Ft1%2Fstdout.txt")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(rig.get(&format!("pools/p/nodes/{node}/remoteloginsettings")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_long_file_is_sent_in_pieces_and_interrupted_when_it_is_deleted() {
    let content: String = (0..100_000).map(|number| format!("{number:06}\n")).collect();
    let rig = Rig::with_tasks_that_print(&content).await;
    for (range, expected) in [("bytes=0-", &*content), ("bytes=7-599999", &content[7..600_000])] {
        let mut body = rig.body_of_stdout(range).await;
        let (mut read, mut longest) = (vec![], 0);
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().unwrap();
            longest = longest.max(bytes.len());
            read.extend_from_slice(&bytes);
        }
        assert!(read == expected.as_bytes(), "{range}: {} bytes", read.len());
        assert!(longest <= 256 << 10, "{longest} bytes at once");
    }
    let mut body = rig.body_of_stdout("bytes=0-").await;
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(rig.ask("DELETE", "jobs/j/tasks/t0/files/stdout.txt", &[], None).await.status, 200);
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return;
        }
    }
    panic!("the response for a deleted file was complete");
}

impl Rig {
    async fn body_of_stdout(&self, range: &str) -> Body {
        let request = Request::get(format!("http://batch/jobs/j/tasks/t0/files/stdout.txt?{VERSION}"));
        let mut request = request.header("ocp-range", range).body(Body::empty()).unwrap();
        self.key.authorize(Scheme::Batch, &mut request, Fixed.now());
        self.azure.batch_router().oneshot(request).await.unwrap().into_body()
    }
}
