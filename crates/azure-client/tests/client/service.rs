//! A test service: a closure that returns responses, behind an axum router that records the requests.

use axum::{Router, body::Body, extract::State};
use bytes::Bytes;
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions},
    in_process::InProcess,
};
use dropmill_azure_wire::{
    secret::Secret,
    sign::{Scheme, SharedKey},
    time::{Clock, SharedClock, Timestamp},
    transport::Transport,
};
use futures_util::{FutureExt, future::BoxFuture, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    io,
    sync::{Arc, Mutex},
};

pub const NOW: &str = "2026-03-02T10:11:12Z";
pub const KEY: &str = "YmF0Y2gtZGV2LWFjY291bnQta2V5LTAxMjM0NTY3ODk=";

/// A request as the service received it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Returns the names of all headers.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.keys().map(http::HeaderName::as_str)
    }

    /// Returns method, path and query in one line.
    pub fn line(&self) -> String {
        format!("{} {}?{}", self.method, self.path, self.query)
    }
}

pub type Answer = Response<Body>;
type Answering = dyn Fn(Seen) -> BoxFuture<'static, Answer> + Send + Sync;

/// A test service, and the requests that it received.
#[derive(Clone)]
pub struct Service {
    asked: Arc<Mutex<Vec<Seen>>>,
    answering: Arc<Answering>,
}

impl Service {
    /// Creates a service that responds at once.
    pub fn answering(answer: impl Fn(Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::answering_later(move |seen| std::future::ready(answer(seen)).boxed())
    }

    /// Creates a service that responds when the future is ready.
    pub fn answering_later(
        answer: impl Fn(Seen) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Self {
        Self { asked: Arc::default(), answering: Arc::new(answer) }
    }

    pub fn asked(&self) -> Vec<Seen> {
        self.asked.lock().unwrap().clone()
    }

    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }

    pub fn in_process(&self) -> Arc<InProcess> {
        Arc::new(InProcess::new().serving("http://service.local:1", self.router()))
    }

    pub fn batch(&self) -> BatchApi {
        batch_over(self.in_process(), "http://service.local:1")
    }

    pub fn blob(&self) -> BlobApi {
        blob_over(self.in_process(), "http://service.local:1/account")
    }
}

async fn serve(State(service): State<Service>, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let scheme = if parts.headers.contains_key("ocp-date") { Scheme::Batch } else { Scheme::Storage };
    if parts.headers.contains_key("authorization")
        && !parts.headers["authorization"].as_bytes().starts_with(b"Bearer")
    {
        key().verify(scheme, &parts, now()).expect("every request is signed as the service checks it");
    }
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let path = parts.uri.path().to_owned();
    let seen = Seen { method: parts.method, path, query, headers: parts.headers, body };
    service.asked.lock().unwrap().push(seen.clone());
    (service.answering)(seen).await
}

pub fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub fn key() -> SharedKey {
    SharedKey::new("account", &Secret::new(KEY)).unwrap()
}

pub fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

pub fn batch_options(transport: Arc<dyn Transport>, endpoint: &str) -> BatchOptions {
    BatchOptions::new(Endpoint::parse(endpoint).unwrap(), key().into(), transport, clock(), rng())
}

pub fn batch_over(transport: Arc<dyn Transport>, endpoint: &str) -> BatchApi {
    BatchApi::new(batch_options(transport, endpoint))
}

pub fn blob_options(transport: Arc<dyn Transport>, endpoint: &str) -> BlobOptions {
    BlobOptions::new(Endpoint::parse(endpoint).unwrap(), key(), transport, clock(), rng())
}

pub fn blob_over(transport: Arc<dyn Transport>, endpoint: &str) -> BlobApi {
    BlobApi::new(blob_options(transport, endpoint))
}

/// A clock that stands still.
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

pub fn clock() -> SharedClock {
    Arc::new(Still(now()))
}

/// Returns a response with a status and headers, without a body.
pub fn status(status: u16, headers: &[(&str, &str)]) -> Answer {
    with_body(status, headers, "")
}

pub fn with_body(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let response = Response::builder()
        .status(status)
        .header("request-id", "req-1")
        .header("date", "Mon, 02 Mar 2026 10:11:12 GMT");
    let response = headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(body.into()).unwrap()
}

pub fn json(code: u16, body: &serde_json::Value) -> Answer {
    with_body(code, &[("content-type", "application/json;odata=minimalmetadata")], body.to_string())
}

/// Returns an error response of Batch.
pub fn refusal(code: u16, error: &str) -> Answer {
    json(
        code,
        &serde_json::json!({"code": error, "message": {"lang": "en-US", "value": "It is so.\nRequestId:x"}}),
    )
}

/// Returns a body that is interrupted after its pieces.
pub fn breaking_off(pieces: Vec<Bytes>) -> Body {
    let pieces = pieces.into_iter().map(Ok).chain([Err(io::Error::other("connection reset"))]);
    Body::from_stream(stream::iter(pieces.collect::<Vec<io::Result<Bytes>>>()))
}

/// Returns a body that stalls after its pieces.
pub fn stalling(pieces: Vec<Bytes>) -> Body {
    use futures_util::StreamExt;
    let pieces: Vec<io::Result<Bytes>> = pieces.into_iter().map(Ok).collect();
    Body::from_stream(stream::iter(pieces).chain(stream::pending()))
}
