//! A service in memory, in virtual time, with simulated nodes. Every input gets a new one, so that a finding
//! is reproducible.

use crate::{
    reply::{Reply, send},
    script::ScriptedRequest,
};
use axum::{Router, body::Body};
use dropmill_azure_wire::{
    sas::{Grant, Permissions},
    sign::{Scheme, SharedKey},
    time::{Clock, SharedClock, Timestamp},
};
use dropmill_local_azure::{
    orders::NodeRef,
    runner::{Pretend, FakeRunner, FakeSettings},
    service::{LocalAzure, RunnerChoice, ServiceSettings},
};
use http::{HeaderValue, Request, header};
use jiff::SignedDuration;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Start of the virtual time in Unix seconds: 2026-01-01.
const BEGINNING: i64 = 1_767_225_600;
/// Maximum virtual time of one input, in seconds.
const LONGEST: u64 = 2 * 24 * 3600;
const VERSION: &str = "api-version=2024-07-01.20.0";

struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        let began = Timestamp::from_second(BEGINNING).expect("a valid time");
        began + SignedDuration::try_from(self.0.elapsed()).unwrap_or(SignedDuration::MAX)
    }
}

/// Runs a future in virtual time.
pub fn in_virtual_time<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime on this thread").block_on(future)
}

/// The service and its account keys.
pub struct World {
    service: LocalAzure,
    batch: Router,
    blob: Router,
    batch_key: SharedKey,
    blob_key: SharedKey,
    clock: SharedClock,
    waited: u64,
    node: String,
}

/// Returns the simulated outcome of a task from the first word of its command line.
fn script(command: &str) -> Pretend {
    let seconds = |text: &str| Duration::from_secs(text.parse::<u32>().unwrap_or(1).into());
    let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
    let plain = Pretend { stdout: command.into(), duration: Duration::from_secs(1), ..Pretend::default() };
    match word {
        "exit" => Pretend { exit_code: rest.parse().unwrap_or(1), ..plain },
        "sleep" => Pretend { duration: seconds(rest), ..plain },
        "write" => Pretend { outputs: vec![(rest.into(), b"content".to_vec())], ..plain },
        _ => plain,
    }
}

impl World {
    /// Starts an empty service.
    pub fn open() -> Self {
        let clock: SharedClock = Arc::new(Virtual(Instant::now()));
        let runner_clock = clock.clone();
        let make = RunnerChoice::Custom(Box::new(move |reports, door| {
            let settings = FakeSettings {
                script: Arc::new(|launch| script(&launch.command_line)),
                boot: Arc::new(|_: &NodeRef| Duration::from_secs(1)),
            };
            FakeRunner::start(settings, runner_clock, reports, door)
        }));
        let service = LocalAzure::open(ServiceSettings::in_memory(), clock.clone(), make);
        let service = service.expect("a service in memory always starts");
        let connection = service.connection();
        let key = |access: &dropmill_local_azure::service::Access| {
            SharedKey::new(&access.account, &access.key).expect("the service's own key")
        };
        Self {
            batch: service.batch_router(),
            blob: service.blob_router(),
            batch_key: key(&connection.batch),
            blob_key: key(&connection.blob),
            service,
            clock,
            waited: 0,
            node: String::new(),
        }
    }

    /// Returns the service itself.
    pub fn service(&self) -> &LocalAzure {
        &self.service
    }

    /// Returns the key of the Blob account.
    pub fn blob_key(&self) -> &SharedKey {
        &self.blob_key
    }

    /// Returns the current virtual time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Starts a service with a pool `p` of one node, a job `j` with a completed task `t0` and a running task
    /// `t1`, and a schedule `s`.
    pub async fn with_tasks() -> Self {
        let mut world = Self::open();
        let image = r#"{"imageReference":{},"nodeAgentSKUId":"batch.node.ubuntu 22.04"}"#;
        let pool = format!(
            r#"{{"id":"p","vmSize":"a1","targetDedicatedNodes":1,"virtualMachineConfiguration":{image}}}"#
        );
        let tasks = r#"{"value":[{"id":"t0","commandLine":"write out.txt"},{"id":"t1","commandLine":"sleep 90000"}]}"#;
        for (path, body) in [
            ("pools", &*pool),
            ("jobs", r#"{"id":"j","poolInfo":{"poolId":"p"}}"#),
            ("jobs/j/addtaskcollection", tasks),
            ("jobschedules", r#"{"id":"s","schedule":{},"jobSpecification":{"poolInfo":{"poolId":"p"}}}"#),
        ] {
            let response = world.batch_text("POST", path, body).await;
            assert!(response.status.is_success(), "{path}: {:?}", response.json());
        }
        world.wait(30).await;
        let nodes = world.batch_text("GET", "pools/p/nodes", "").await.json();
        world.node = nodes["value"][0]["id"].as_str().expect("the pool has its node").to_owned();
        world
    }

    /// Starts a service with a container `con` that contains the blobs `a` and `dir/b`.
    pub async fn with_blobs() -> Self {
        let world = Self::open();
        for (target, body) in [
            ("/local/con?restype=container", ""),
            ("/local/con/a", "hello"),
            ("/local/con/dir/b", "0123456789"),
        ] {
            let request = Request::put(format!("http://blob{target}")).header("x-ms-blob-type", "BlockBlob");
            let mut request = request.body(Body::from(body)).expect("a valid request");
            world.blob_key.authorize(Scheme::Storage, &mut request, world.now());
            let response = world.blob(request).await;
            assert!(response.status.is_success(), "{target}: {}", response.status);
        }
        world
    }

    /// Advances the virtual time and runs everything that becomes due.
    pub async fn wait(&mut self, seconds: u64) {
        let seconds = seconds.min(LONGEST - self.waited);
        self.waited += seconds;
        let _ = tokio::time::timeout(Duration::from_secs(seconds), self.service.alarms()).await;
    }

    /// Signs and sends a Batch request.
    pub async fn batch(&self, mut request: Request<Body>) -> Reply {
        self.batch_key.authorize(Scheme::Batch, &mut request, self.now());
        send(self.batch.clone(), request).await
    }

    /// Sends a Batch request of this method, path and body.
    pub async fn batch_text(&self, method: &str, path: &str, body: &str) -> Reply {
        let joint = if path.contains('?') { '&' } else { '?' };
        let request = Request::builder().method(method).uri(format!("http://batch/{path}{joint}{VERSION}"));
        let request = request.header("host", "batch").body(Body::from(body.to_owned()));
        self.batch(request.expect("a valid request")).await
    }

    /// Sends a Batch request of a script. `NODE` is replaced by the id of the pool's node.
    pub async fn batch_scripted(&self, mut request: ScriptedRequest) -> Option<Reply> {
        if !request.target.contains("api-version") {
            let joint = if request.target.contains('?') { '&' } else { '?' };
            request.target.push_str(&format!("{joint}{VERSION}"));
        }
        request.target = request.target.replace("NODE", &self.node);
        if let Ok(text) = std::str::from_utf8(&request.body) {
            request.body = text.replace("NODE", &self.node).into_bytes();
        }
        Some(self.batch(request.request("batch")?).await)
    }

    /// Sends a Blob request unchanged.
    pub async fn blob(&self, request: Request<Body>) -> Reply {
        send(self.blob.clone(), request).await
    }

    /// Returns a SAS for the container `con` with these permissions.
    pub fn sas(&self, letters: &str) -> String {
        let until = self.now() + SignedDuration::from_hours(1);
        let grant = Grant::to_container("con", Permissions::parse(letters), until);
        grant.sign(&self.blob_key).expose().to_owned()
    }

    /// Sends a Blob request of a script: as the account owner, without authorization (`none`), or with a SAS
    /// of the container `con` (`sas:rl`). `SAS` in the text is replaced by a SAS with all permissions.
    pub async fn blob_scripted(&self, mut request: ScriptedRequest) -> Option<Reply> {
        let sender = std::mem::take(&mut request.sender);
        let all = self.sas("racwdl");
        request.target = format!("/local{}", request.target.replace("SAS", &all));
        if let Ok(text) = std::str::from_utf8(&request.body) {
            request.body = text.replace("SAS", &all).into_bytes();
        }
        for (_, value) in &mut request.headers {
            if let Ok(text) = value.to_str()
                && text.contains("SAS")
            {
                *value = HeaderValue::from_str(&text.replace("SAS", &all)).ok()?;
            }
        }
        let sas = sender.strip_prefix("sas:");
        if let Some(letters) = sas {
            let joint = if request.target.contains('?') { '&' } else { '?' };
            request.target.push_str(&format!("{joint}{}", self.sas(letters)));
        }
        let length = request.body.len();
        let mut request = request.request("127.0.0.1:10000")?;
        request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        if sas.is_none() && sender != "none" {
            self.blob_key.authorize(Scheme::Storage, &mut request, self.now());
        }
        Some(self.blob(request).await)
    }
}
