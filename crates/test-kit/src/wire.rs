//! The wire between client and service, with faults on it as a scenario says.
//!
//! Every draw comes from seeded generators, one for each fault, in the order in which requests are made: one seed, one
//! story.

use crate::{
    operation::{self, Operation},
    scenario::{Deed, Fault},
};
use bytes::Bytes;
use dropmill_azure_wire::{
    error::{BatchErrorBody, BlobErrorBody},
    transport::{RequestBody, ResponseBody, Transport, TransportError, full},
};
use futures_util::{StreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Carries requests, and does to them what its faults say.
pub struct FaultyWire {
    inner: Arc<dyn Transport>,
    latency: (Duration, Duration),
    began: Instant,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: ChaCha8Rng,
    faults: Vec<Aimed>,
    log: Vec<Struck>,
    requests: u64,
}

struct Aimed {
    fault: Fault,
    rng: ChaCha8Rng,
    /// Requests that it could have struck.
    seen: u32,
    struck: u32,
}

/// A fault that struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    /// When, from the beginning.
    pub at: Duration,
    /// Which fault: its number in the scenario, from 1.
    pub fault: u32,
    /// On what operation.
    pub operation: &'static str,
    /// About what.
    pub subject: String,
}

/// What a wire did; cloning it gives another view of the same.
#[derive(Clone)]
pub struct WireLog(Arc<Mutex<State>>);

impl WireLog {
    /// Faults that struck, in order.
    pub fn struck(&self) -> Vec<Struck> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).log.clone()
    }

    /// Requests that were made.
    pub fn requests(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).requests
    }
}

impl FaultyWire {
    /// A wire to `inner`. Must be made, and used, within a tokio runtime: its time is tokio's.
    pub fn new(
        inner: Arc<dyn Transport>,
        faults: Vec<Fault>,
        latency: (Duration, Duration),
        seed: u64,
    ) -> (Self, WireLog) {
        let stream = |stream| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream);
            rng
        };
        let aim =
            |fault: Fault| Aimed { rng: stream(1000 + u64::from(fault.number)), fault, seen: 0, struck: 0 };
        let faults = faults.into_iter().map(aim).collect();
        let rng = stream(7);
        let state = Arc::new(Mutex::new(State { rng, faults, log: vec![], requests: 0 }));
        let log = WireLog(state.clone());
        (Self { inner, latency, began: Instant::now(), state }, log)
    }

    /// How long the request travels, and what happens to it.
    fn draw(&self, operation: &Operation) -> (Duration, Option<Fault>) {
        let at = self.began.elapsed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { rng, faults, log, requests } = &mut *state;
        *requests += 1;
        let (least, most) = (self.latency.0.as_millis() as u64, self.latency.1.as_millis() as u64);
        let latency =
            Duration::from_millis(if most > least { rng.random_range(least..=most) } else { least });
        let mut struck = None;
        for aimed in faults.iter_mut() {
            // Each counts and draws whatever another does.
            if aimed.strikes(operation, at) && struck.is_none() {
                aimed.struck += 1;
                let subject = operation.subject.clone();
                log.push(Struck { at, fault: aimed.fault.number, operation: operation.name, subject });
                struck = Some(aimed.fault.clone());
            }
        }
        (latency, struck)
    }
}

impl Aimed {
    fn strikes(&mut self, operation: &Operation, at: Duration) -> bool {
        if !self.fault.fits(operation) {
            return false;
        }
        let fault = &self.fault;
        let lucky =
            fault.probability.is_none_or(|probability| self.rng.random_bool(probability.clamp(0.0, 1.0)));
        if at < fault.from || fault.until.is_some_and(|until| at >= until) {
            return false;
        }
        self.seen += 1;
        let aimed = match (fault.nth, fault.every) {
            (Some(nth), _) => self.seen == nth,
            (None, Some(every)) => self.seen.is_multiple_of(every.max(1)),
            (None, None) => true,
        };
        lucky && aimed && fault.times.is_none_or(|times| self.struck < times)
    }
}

impl Transport for FaultyWire {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>> {
        let operation = Operation::of(request.method(), request.uri());
        let (latency, fault) = self.draw(&operation);
        let inner = self.inner.clone();
        Box::pin(async move {
            if !latency.is_zero() {
                sleep(latency).await;
            }
            match fault {
                None => inner.send(request).await,
                Some(fault) => suffer(&*inner, request, &operation, &fault).await,
            }
        })
    }
}

async fn suffer(
    inner: &dyn Transport,
    request: Request<RequestBody>,
    operation: &Operation,
    fault: &Fault,
) -> Result<Response<ResponseBody>, TransportError> {
    match fault.deed {
        Deed::Refuse => Err(TransportError::Connect("connection refused (scenario)".into())),
        Deed::ResetBefore => {
            Err(TransportError::Broken("connection reset before the request (scenario)".into()))
        }
        Deed::ResetAfter => {
            finish(inner.send(request).await?).await?;
            Err(TransportError::Broken("connection reset before the answer (scenario)".into()))
        }
        Deed::DropAnswer => {
            finish(inner.send(request).await?).await?;
            // The caller's own patience ends this.
            std::future::pending().await
        }
        Deed::Duplicate => {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(unsendable)?.to_bytes();
            let again = Request::from_parts(head.clone(), full(body.clone()));
            finish(inner.send(Request::from_parts(head, full(body))).await?).await?;
            inner.send(again).await
        }
        Deed::Delay => {
            sleep(fault.delay).await;
            inner.send(request).await
        }
        Deed::Truncate => {
            let (head, body) = inner.send(request).await?.into_parts();
            let bytes = body.collect().await.map_err(broken)?.to_bytes();
            let half = bytes.slice(..bytes.len() / 2);
            let frames = stream::iter([Ok(Frame::data(half))])
                .chain(stream::iter([Err("connection lost in the middle of a body (scenario)".into())]));
            Ok(Response::from_parts(head, StreamBody::new(frames).boxed_unsync()))
        }
        Deed::Status => Ok(answer(operation, fault)),
        Deed::StatusAfter => {
            finish(inner.send(request).await?).await?;
            Ok(answer(operation, fault))
        }
    }
}

/// Lets the service come to the end of its answer.
async fn finish(response: Response<ResponseBody>) -> Result<(), TransportError> {
    response.into_body().collect().await.map(drop).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> TransportError {
    TransportError::Broken(error.to_string())
}

fn unsendable(error: impl std::fmt::Display) -> TransportError {
    TransportError::Unsendable(error.to_string())
}

/// A refusal as the service in question writes it.
fn answer(operation: &Operation, fault: &Fault) -> Response<ResponseBody> {
    let code = fault.code.as_str();
    let message = "The scenario says so.";
    let (kind, body) = if operation::is_blob(operation.name) {
        ("application/xml", BlobErrorBody::new(code, message).write())
    } else {
        let body = serde_json::to_string(&BatchErrorBody::new(code, message));
        ("application/json; odata=minimalmetadata", body.expect("texts are JSON"))
    };
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::builder().status(fault.status).header("content-type", kind);
    if operation::is_blob(operation.name) {
        response = response.header("x-ms-error-code", code);
    }
    if let Some(after) = fault.retry_after {
        response = response.header("retry-after", after.as_secs());
    }
    response.body(body).expect("a scenario's status was checked")
}
