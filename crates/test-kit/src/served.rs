//! Runs a scenario on a service that listens on sockets, so that its faults affect HTTP clients in any
//! language.
//!
//! The service, its nodes, its tasks and the time are real. The Batch address has two more paths, `/__faults`
//! and `/__clock`, which control the scenario. Requests to them are signed with the key of the Batch account.

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

/// Path to list, add and delete faults.
const FAULTS: &str = "/__faults";
/// Path to read and set the service's clock.
const CLOCK: &str = "/__clock";

/// The parts of a served scenario.
#[derive(Clone)]
pub struct Served {
    faults: Faults,
    clock: ShiftedClock,
    wall: SharedClock,
    key: SharedKey,
    service: LocalAzure,
}

/// The scenario contains something that a service on sockets cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotServed(String);

impl Served {
    /// Creates a world around a service that reads the time from `clock`, which is ahead of or behind `wall`.
    ///
    /// # Errors
    /// [`NotServed`] if the scenario has faults of nodes or of the local disk: nodes are real here, and the
    /// disk is on the client's side.
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

    /// Returns the Batch router with its faults and the two control paths.
    pub fn batch_router(&self) -> axum::Router {
        self.router(self.service.batch_router(), true)
    }

    /// Returns the Blob router with its faults.
    pub fn blob_router(&self) -> axum::Router {
        self.router(self.service.blob_router(), false)
    }

    /// Schedules the scenario's incidents; must be called within a runtime.
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
        // Checked with the real time, so that a client can undo a change of the clock.
        if let Err(refusal) = self.key.verify(Scheme::Batch, &request, self.wall.now()) {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
            return json_response(status, &json!({ "code": refusal.code(Scheme::Batch) }));
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let wrong = |what: String| {
            json_response(StatusCode::BAD_REQUEST, &json!({ "code": "InvalidFault", "message": what }))
        };
        let rest = head.uri.path().strip_prefix(FAULTS);
        match (&head.method, head.uri.path(), rest) {
            (&Method::GET, CLOCK, _) => self.clock_response(),
            (&Method::PUT, CLOCK, _) => match serde_json::from_str::<Value>(&text)
                .ok()
                .and_then(|asked| asked["ahead_seconds"].as_i64())
            {
                Some(ahead) => {
                    self.clock.set(ahead);
                    // Requests that wait for a time check the clock again.
                    self.service.clock_moved();
                    self.clock_response()
                }
                None => wrong(
                    "expected a body such as {\"ahead_seconds\": 60}; a negative number is behind".into(),
                ),
            },
            (&Method::GET, _, Some("")) => {
                let list: Vec<Value> =
                    self.faults.list().iter().map(|(fault, struck)| fault.to_json(*struck)).collect();
                json_response(StatusCode::OK, &json!({ "value": list }))
            }
            (&Method::POST, _, Some("")) => {
                let fault = scenario::fault(&text).map_err(|error| error.to_string());
                let fault = fault.and_then(|fault| {
                    can_be_served(&fault).map_err(|error| error.to_string()).map(|()| fault)
                });
                match fault {
                    Ok(fault) => {
                        json_response(StatusCode::CREATED, &json!({ "number": self.faults.add(fault) }))
                    }
                    Err(what) => wrong(what),
                }
            }
            (&Method::DELETE, _, Some("")) => {
                json_response(StatusCode::OK, &json!({ "cleared": self.faults.clear(None) }))
            }
            (&Method::DELETE, _, Some(number)) => match number.trim_start_matches('/').parse() {
                Ok(number) if self.faults.clear(Some(number)) > 0 => {
                    json_response(StatusCode::OK, &json!({ "cleared": 1 }))
                }
                _ => json_response(StatusCode::NOT_FOUND, &json!({ "code": "FaultNotFound" })),
            },
            _ => json_response(
                StatusCode::NOT_FOUND,
                &json!({ "code": "ResourceNotFound", "message": "expected GET or PUT /__clock, GET, POST or DELETE /__faults, or DELETE /__faults/NUMBER" }),
            ),
        }
    }

    fn clock_response(&self) -> Response {
        let clock = json!({ "now": iso(self.clock.now()), "ahead_seconds": self.clock.ahead_seconds() });
        json_response(StatusCode::OK, &clock)
    }
}

/// Returns the sections of a scenario that are ignored, because nodes, tasks and time are real.
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
            let message = format!(
                "fault {}: {name:?} is not a request of a client; real nodes have no faults",
                fault.number
            );
            Err(NotServed(message))
        }
        None => Ok(()),
    }
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut answer = Response::new(Body::from(format!("{value}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

/// Returns a response that ends the connection: its body fails before the first byte.
fn broken() -> Response {
    let error: Result<bytes::Bytes, _> = Err("connection reset (scenario)");
    Response::new(Body::from_stream(stream::iter([error])))
}

/// The service as a transport, without sockets.
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
