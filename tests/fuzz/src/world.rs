//! A service in memory, in virtual time, with nodes that pretend: made anew for every input, so that an input that
//! found something finds it again.

use crate::{
    answer::{Told, ask},
    script::Asked,
};
use axum::{Router, body::Body};
use dropmill_azure_wire::{
    sas::{Grant, Permissions},
    sign::{Scheme, SharedKey},
    time::{Clock, SharedClock, Timestamp},
};
use dropmill_local_azure::{
    orders::NodeRef,
    runner::{Pretend, PretendRunner, PretendSettings},
    service::{LocalAzure, RunnerChoice, ServiceSettings},
};
use http::{HeaderValue, Request, header};
use jiff::SignedDuration;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// When every world begins.
const BEGINNING: i64 = 1_767_225_600;
/// Most seconds that one input may let pass.
const LONGEST: u64 = 2 * 24 * 3600;
const VERSION: &str = "api-version=2024-07-01.20.0";

struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        let began = Timestamp::from_second(BEGINNING).expect("a moment of this century");
        began + SignedDuration::try_from(self.0.elapsed()).unwrap_or(SignedDuration::MAX)
    }
}

/// Runs a future in virtual time.
pub fn in_virtual_time<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime on this thread").block_on(future)
}

/// The service and the keys to it.
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

/// How a task ends, by the first word of its command line.
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
    /// A service that has nothing yet.
    pub fn open() -> Self {
        let clock: SharedClock = Arc::new(Virtual(Instant::now()));
        let runner_clock = clock.clone();
        let make = RunnerChoice::Custom(Box::new(move |reports, door| {
            let settings = PretendSettings {
                script: Arc::new(|launch| script(&launch.command_line)),
                boot: Arc::new(|_: &NodeRef| Duration::from_secs(1)),
            };
            PretendRunner::start(settings, runner_clock, reports, door)
        }));
        let service = LocalAzure::open(ServiceSettings::in_memory(), clock.clone(), make);
        let service = service.expect("a service in memory has nothing that could be missing");
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

    /// The service.
    pub fn service(&self) -> &LocalAzure {
        &self.service
    }

    /// The key of the Blob account.
    pub fn blob_key(&self) -> &SharedKey {
        &self.blob_key
    }

    /// The moment it is now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A pool `p` with one node, a job `j` with a task `t0` that ended and `t1` that runs, a schedule `s`.
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
            let answer = world.batch_text("POST", path, body).await;
            assert!(answer.status.is_success(), "{path}: {:?}", answer.json());
        }
        world.wait(30).await;
        let nodes = world.batch_text("GET", "pools/p/nodes", "").await.json();
        world.node = nodes["value"][0]["id"].as_str().expect("the pool has its node").to_owned();
        world
    }

    /// A container `con` with the blobs `a` and `dir/b`.
    pub async fn with_blobs() -> Self {
        let world = Self::open();
        for (target, body) in [
            ("/local/con?restype=container", ""),
            ("/local/con/a", "hello"),
            ("/local/con/dir/b", "0123456789"),
        ] {
            let request = Request::put(format!("http://blob{target}")).header("x-ms-blob-type", "BlockBlob");
            let mut request = request.body(Body::from(body)).expect("a request by the book");
            world.blob_key.authorize(Scheme::Storage, &mut request, world.now());
            let answer = world.blob(request).await;
            assert!(answer.status.is_success(), "{target}: {}", answer.status);
        }
        world
    }

    /// Lets time pass, with everything that falls into it.
    pub async fn wait(&mut self, seconds: u64) {
        let seconds = seconds.min(LONGEST - self.waited);
        self.waited += seconds;
        let _ = tokio::time::timeout(Duration::from_secs(seconds), self.service.alarms()).await;
    }

    /// Sends a request of Batch, signed.
    pub async fn batch(&self, mut request: Request<Body>) -> Told {
        self.batch_key.authorize(Scheme::Batch, &mut request, self.now());
        ask(self.batch.clone(), request).await
    }

    /// Sends a request of Batch by method, path and body.
    pub async fn batch_text(&self, method: &str, path: &str, body: &str) -> Told {
        let joint = if path.contains('?') { '&' } else { '?' };
        let request = Request::builder().method(method).uri(format!("http://batch/{path}{joint}{VERSION}"));
        let request = request.header("host", "batch").body(Body::from(body.to_owned()));
        self.batch(request.expect("a request by the book")).await
    }

    /// Sends a request of Batch as a script has it. `NODE` stands for the id of the pool's node.
    pub async fn batch_asked(&self, mut asked: Asked) -> Option<Told> {
        if !asked.target.contains("api-version") {
            let joint = if asked.target.contains('?') { '&' } else { '?' };
            asked.target.push_str(&format!("{joint}{VERSION}"));
        }
        asked.target = asked.target.replace("NODE", &self.node);
        if let Ok(text) = std::str::from_utf8(&asked.body) {
            asked.body = text.replace("NODE", &self.node).into_bytes();
        }
        Some(self.batch(asked.request("batch")?).await)
    }

    /// Sends a request of Blob as it is.
    pub async fn blob(&self, request: Request<Body>) -> Told {
        ask(self.blob.clone(), request).await
    }

    /// A SAS of the container `con`.
    pub fn sas(&self, letters: &str) -> String {
        let until = self.now() + SignedDuration::from_hours(1);
        let grant = Grant::to_container("con", Permissions::parse(letters), until);
        grant.sign(&self.blob_key).expose().to_owned()
    }

    /// Sends a request of Blob as a script has it: by the owner, by `none`, or with a `sas:rl` of the container `con`.
    /// `SAS` in it stands for one with all rights.
    pub async fn blob_asked(&self, mut asked: Asked) -> Option<Told> {
        let sender = std::mem::take(&mut asked.sender);
        let all = self.sas("racwdl");
        asked.target = format!("/local{}", asked.target.replace("SAS", &all));
        if let Ok(text) = std::str::from_utf8(&asked.body) {
            asked.body = text.replace("SAS", &all).into_bytes();
        }
        for (_, value) in &mut asked.headers {
            if let Ok(text) = value.to_str()
                && text.contains("SAS")
            {
                *value = HeaderValue::from_str(&text.replace("SAS", &all)).ok()?;
            }
        }
        let sas = sender.strip_prefix("sas:");
        if let Some(letters) = sas {
            let joint = if asked.target.contains('?') { '&' } else { '?' };
            asked.target.push_str(&format!("{joint}{}", self.sas(letters)));
        }
        let length = asked.body.len();
        let mut request = asked.request("127.0.0.1:10000")?;
        request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        if sas.is_none() && sender != "none" {
            self.blob_key.authorize(Scheme::Storage, &mut request, self.now());
        }
        Some(self.blob(request).await)
    }
}
