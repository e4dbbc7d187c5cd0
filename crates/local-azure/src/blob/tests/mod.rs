//! Tests the HTTP interface without a socket.

mod absent;
mod addresses;
mod appends;
mod batches;
mod copies;
mod delegation;
mod elsewhere;
mod hostile;
mod leases;
mod metadata;
mod protocol;
mod resources;
mod sums;
mod tags;
mod tiers;

use super::{BlobService, BlobSettings};
use crate::durability::Durability;
use ::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::body::Body;
use dropmill_azure_wire::{
    sas::{Grant, Permissions},
    secret::Secret,
    sign::{Scheme, SharedKey},
    time::{Clock, Timestamp, http_date, parse_iso},
};
use http_body_util::BodyExt;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use tower::ServiceExt;

const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A clock that stands at noon plus a number of seconds.
#[derive(Debug, Default)]
struct Noon(AtomicI64);

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        let noon = parse_iso("2026-07-01T12:00:00Z").unwrap().as_second();
        Timestamp::from_second(noon + self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// A service of the account `acc` with the container `box`, and its clock.
struct Desk(BlobService, Arc<Noon>);

/// The headers of a table row.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// A response of the service.
struct Said {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Said {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn key() -> SharedKey {
    SharedKey::new("acc", &Secret::new(KEY)).unwrap()
}

/// Creates a request that is dated and signed by the owner.
fn signed(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    key().authorize(Scheme::Storage, &mut request, Noon::default().now());
    request
}

/// Returns the settings of a service in memory, reached without TLS.
fn settings() -> BlobSettings {
    BlobSettings {
        state_dir: None,
        durability: Durability::Process,
        account: "acc".into(),
        key: Secret::new(KEY),
        endpoint: "http://127.0.0.1:10000/acc".into(),
        allow_https_only_sas: false,
    }
}

/// Returns the URL of a blob of `box` with a SAS for reading it.
fn readable(name: &str) -> String {
    with_sas(name, Permissions::READ)
}

/// Returns the URL of a blob of `box` with a SAS for the container.
fn with_sas(name: &str, permissions: Permissions) -> String {
    let sas = Grant::to_container("box", permissions, parse_iso("2026-07-02").unwrap()).sign(&key());
    format!("http://127.0.0.1:10000/acc/box/{name}?{}", sas.expose())
}

impl Desk {
    /// Creates a service in memory.
    async fn new() -> Self {
        Self::at(None).await
    }

    /// Creates a service in a folder, or in memory.
    async fn at(state_dir: Option<PathBuf>) -> Self {
        Self::with(BlobSettings { state_dir, ..settings() }).await
    }

    async fn with(settings: BlobSettings) -> Self {
        let clock = Arc::new(Noon::default());
        let desk = Self(BlobService::open(settings, clock.clone()).unwrap(), clock);
        if desk.own("GET", "/acc/box?restype=container", &[], "").await.status == 200 {
            return desk;
        }
        assert_eq!(desk.own("PUT", "/acc/box?restype=container", &[], "").await.status, 201);
        desk
    }

    /// Advances the clock; signatures are valid for 15 minutes.
    fn later(&self, seconds: i64) {
        self.1.0.fetch_add(seconds, Ordering::Relaxed);
    }

    async fn send(&self, request: Request<Body>) -> Said {
        let answer = self.0.router().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Said { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request of the owner.
    async fn own(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Said {
        self.send(signed(method, target, headers, body)).await
    }

    async fn put(&self, name: &str, content: &str) {
        let target = format!("/acc/box/{name}");
        let said = self.own("PUT", &target, &[("x-ms-blob-type", "BlockBlob")], content).await;
        assert_eq!(said.status, 201, "{}", said.body);
    }

    async fn content(&self, name: &str) -> String {
        self.own("GET", &format!("/acc/box/{name}"), &[], "").await.body
    }
}
