//! A scenario on a service that listens on sockets: its faults strike the HTTP clients of any language.
//!
//! The service, its nodes and its tasks are real, and so is the time. Two addresses on the Batch side belong to the
//! world itself and are asked with the Batch account's key like every other: `/__faults` and `/__clock`.

use crate::{Faults, FaultyWire, Scenario, ShiftedClock, World, operation, scenario};
use axum::{body::Body, extract::Request, response::Response};
use dropmill_azure_wire::{
    sign::{Scheme, SharedKey},
    time::{Clock, SharedClock, iso},
    transport::{RequestBody, ResponseBody, Transport, TransportError, full},
};
use dropmill_local_azure::service::LocalAzure;
use futures_util::{future::BoxFuture, stream};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

/// Where faults are listed, added and taken away.
const FAULTS: &str = "/__faults";
/// Where the service's clock is read and moved.
const CLOCK: &str = "/__clock";

/// What a served world consists of.
#[derive(Clone)]
pub struct Served {
    faults: Faults,
    clock: ShiftedClock,
    wall: SharedClock,
    key: SharedKey,
    service: LocalAzure,
}

/// A scenario holds what a service on sockets cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotServed(String);

impl Served {
    /// A world around a service that reads its time from `clock`, which is ahead of `wall` or behind.
    ///
    /// # Errors
    /// [`NotServed`] if the scenario has faults of nodes or of a disk at home: both are real here, or elsewhere.
    pub fn new(
        scenario: &Scenario,
        service: LocalAzure,
        clock: ShiftedClock,
        wall: SharedClock,
        seed: u64,
    ) -> Result<Self, NotServed> {
        for fault in &scenario.faults {
            can_be_served(fault)?;
        }
        let batch = service.connection().batch;
        let key = SharedKey::new(&batch.account, &batch.key).map_err(|error| NotServed(error.to_string()))?;
        let faults = Faults::new(scenario.faults.clone(), scenario.latency, seed);
        Ok(Self { faults, clock, wall, key, service })
    }

    /// The Batch side with its faults, and the addresses of the world.
    pub fn batch_router(&self) -> axum::Router {
        self.router(self.service.batch_router(), true)
    }

    /// The Blob side with its faults.
    pub fn blob_router(&self) -> axum::Router {
        self.router(self.service.blob_router(), false)
    }

    /// Lets the scenario's incidents happen at their times; must be called within a runtime.
    pub fn begin(&self, scenario: &Scenario) {
        let service_clock: SharedClock = Arc::new(self.clock.clone());
        let other = crate::simulation::somebody_else(&self.service, &service_clock);
        let world =
            World { service: self.service.clone(), clock: self.clock.clone(), other, pool: None, job: None };
        for incident in scenario.incidents.clone() {
            tokio::spawn(world.clone().run_incident(incident, || {}));
        }
    }

    fn router(&self, inside: axum::Router, controls: bool) -> axum::Router {
        let wire = FaultyWire::new(Arc::new(Inside(inside)), self.faults.clone(), Some(self.key.clone()));
        let world = self.clone();
        axum::Router::new().fallback(move |request: Request| {
            let (wire, world) = (wire.clone(), world.clone());
            async move {
                if controls && request.uri().path().starts_with("/__") {
                    return world.control(request).await;
                }
                let (head, body) = request.into_parts();
                let Ok(body) = body.collect().await else { return broken() };
                match wire.send(Request::from_parts(head, full(body.to_bytes()))).await {
                    Ok(answer) => answer.map(Body::new),
                    Err(_) => broken(),
                }
            }
        })
    }

    async fn control(&self, request: Request) -> Response {
        // A clock that was moved must not lock out whoever would move it back.
        if let Err(refusal) = self.key.verify(Scheme::Batch, &request, self.wall.now()) {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
            return told(status, &json!({ "code": refusal.code(Scheme::Batch) }));
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let wrong =
            |what: String| told(StatusCode::BAD_REQUEST, &json!({ "code": "InvalidFault", "message": what }));
        let rest = head.uri.path().strip_prefix(FAULTS);
        match (&head.method, head.uri.path(), rest) {
            (&Method::GET, CLOCK, _) => self.clock_told(),
            (&Method::PUT, CLOCK, _) => match serde_json::from_str::<Value>(&text)
                .ok()
                .and_then(|asked| asked["ahead_seconds"].as_i64())
            {
                Some(ahead) => {
                    self.clock.set(ahead);
                    // What waits for a moment looks at the clock again.
                    self.service.clock_moved();
                    self.clock_told()
                }
                None => wrong("write {\"ahead_seconds\": 60}; less than 0 is behind".into()),
            },
            (&Method::GET, _, Some("")) => {
                let list: Vec<Value> =
                    self.faults.list().iter().map(|(fault, struck)| fault.told(*struck)).collect();
                told(StatusCode::OK, &json!({ "value": list }))
            }
            (&Method::POST, _, Some("")) => {
                let fault = scenario::fault(&text).map_err(|error| error.to_string());
                let fault = fault.and_then(|fault| {
                    can_be_served(&fault).map_err(|error| error.to_string()).map(|()| fault)
                });
                match fault {
                    Ok(fault) => told(StatusCode::CREATED, &json!({ "number": self.faults.add(fault) })),
                    Err(what) => wrong(what),
                }
            }
            (&Method::DELETE, _, Some("")) => {
                told(StatusCode::OK, &json!({ "cleared": self.faults.clear(None) }))
            }
            (&Method::DELETE, _, Some(number)) => match number.trim_start_matches('/').parse() {
                Ok(number) if self.faults.clear(Some(number)) > 0 => {
                    told(StatusCode::OK, &json!({ "cleared": 1 }))
                }
                _ => told(StatusCode::NOT_FOUND, &json!({ "code": "FaultNotFound" })),
            },
            _ => told(
                StatusCode::NOT_FOUND,
                &json!({ "code": "ResourceNotFound", "message": "there are GET and PUT /__clock, GET, POST and DELETE /__faults, DELETE /__faults/NUMBER" }),
            ),
        }
    }

    fn clock_told(&self) -> Response {
        let told_now = json!({ "now": iso(self.clock.now()), "ahead_seconds": self.clock.ahead_seconds() });
        told(StatusCode::OK, &told_now)
    }
}

/// Sections of a scenario that count for nothing where nodes, tasks and time are real.
pub fn ignored(scenario: &Scenario) -> Vec<&'static str> {
    let plain = Scenario::uneventful();
    let mut ignored = vec![];
    if scenario.boot != plain.boot || !scenario.start_tasks.is_empty() {
        ignored.push("[nodes]");
    }
    if scenario.task != plain.task {
        ignored.push("[task]");
    }
    if !scenario.cases.is_empty() {
        ignored.push("[[tasks]]");
    }
    ignored
}

fn can_be_served(fault: &scenario::Fault) -> Result<(), NotServed> {
    match fault.on.iter().find(|name| operation::is_elsewhere(name)) {
        Some(name) => {
            let told = format!(
                "fault {}: {name:?} is no request of a client, and nodes are real here",
                fault.number
            );
            Err(NotServed(told))
        }
        None => Ok(()),
    }
}

fn told(status: StatusCode, value: &Value) -> Response {
    let mut answer = Response::new(Body::from(format!("{value}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

/// An answer that never begins: a body that fails before its first byte ends the connection.
fn broken() -> Response {
    let error: Result<bytes::Bytes, _> = Err("the connection is broken (scenario)");
    Response::new(Body::from_stream(stream::iter([error])))
}

/// The service itself, as a way for requests.
struct Inside(axum::Router);

impl Transport for Inside {
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'static, Result<http::Response<ResponseBody>, TransportError>> {
        let router = self.0.clone();
        Box::pin(async move {
            match router.oneshot(request.map(Body::new)).await {
                Ok(answer) => Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
                Err(never) => match never {},
            }
        })
    }
}
