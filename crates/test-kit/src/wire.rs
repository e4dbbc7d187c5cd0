//! The transport between client and service, with the faults of a scenario.

mod rewrite;

use crate::{
    faults::Faults,
    operation::{self, Operation},
    scenario::{Arrives, Fault, FaultKind},
};
use bytes::Bytes;
use dropmill_azure_wire::{
    error::{BatchErrorBody, BlobErrorBody},
    sign::SharedKey,
    transport::{RequestBody, ResponseBody, Transport, TransportError, full},
};
use futures_util::{StreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use rewrite::Copies;
use std::sync::Arc;
use tokio::time::sleep;

/// Sends requests and injects faults.
#[derive(Clone)]
pub struct FaultyWire {
    inner: Arc<dyn Transport>,
    faults: Faults,
    /// Signs requests again that a fault changes.
    key: Option<SharedKey>,
    copies: Copies,
}

impl FaultyWire {
    /// Creates a transport that sends to `inner`. Times are tokio's. Without the Batch account's key no task
    /// can be removed from a collection, since the request could not be signed again.
    pub fn new(inner: Arc<dyn Transport>, faults: Faults, key: Option<SharedKey>) -> Self {
        Self { inner, faults, key, copies: Copies::default() }
    }
}

impl Transport for FaultyWire {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>> {
        let operation = Operation::of(request.method(), request.uri());
        let (latency, fault) = self.faults.draw(&operation);
        let wire = self.clone();
        Box::pin(async move {
            if !latency.is_zero() {
                sleep(latency).await;
            }
            match fault {
                None => wire.inner.send(request).await,
                Some(fault) => wire.suffer(request, &operation, &fault).await,
            }
        })
    }
}

impl FaultyWire {
    async fn suffer(
        &self,
        request: Request<RequestBody>,
        operation: &Operation,
        fault: &Fault,
    ) -> Result<Response<ResponseBody>, TransportError> {
        let inner = &*self.inner;
        match fault.deed {
            FaultKind::Refuse => Err(TransportError::Connect("connection refused (scenario)".into())),
            FaultKind::ResetBefore => {
                Err(TransportError::Broken("connection reset before the request (scenario)".into()))
            }
            FaultKind::ResetAfter => {
                finish(inner.send(request).await?).await?;
                Err(TransportError::Broken("connection reset before the response (scenario)".into()))
            }
            FaultKind::DropAnswer => {
                finish(inner.send(request).await?).await?;
                // The caller's timeout ends this.
                std::future::pending().await
            }
            FaultKind::Duplicate => {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(unsendable)?.to_bytes();
                let again = Request::from_parts(head.clone(), full(body.clone()));
                finish(inner.send(Request::from_parts(head, full(body))).await?).await?;
                inner.send(again).await
            }
            FaultKind::Delay => {
                sleep(fault.delay).await;
                inner.send(request).await
            }
            FaultKind::Truncate => {
                let (head, body) = inner.send(request).await?.into_parts();
                let bytes = body.collect().await.map_err(broken)?.to_bytes();
                Ok(Response::from_parts(head, first_half(bytes)))
            }
            FaultKind::Shorten => rewrite::shortened(inner.send(request).await?).await,
            FaultKind::Lengthen => rewrite::lengthened(inner.send(request).await?).await,
            FaultKind::Status => Ok(answer(operation, fault)),
            FaultKind::StatusAfter => {
                finish(inner.send(request).await?).await?;
                Ok(answer(operation, fault))
            }
            FaultKind::Stale => self.copies.stale(inner, fault.number, request).await,
            FaultKind::RepeatItems => rewrite::repeated(inner.send(request).await?).await,
            FaultKind::RefuseItems => rewrite::refuse_items(inner, request, fault, self.key.as_ref()).await,
            FaultKind::DiskFull | FaultKind::DiskFails => inner.send(request).await,
        }
    }
}

/// Reads the response of the service to its end.
async fn finish(response: Response<ResponseBody>) -> Result<(), TransportError> {
    response.into_body().collect().await.map(drop).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> TransportError {
    TransportError::Broken(error.to_string())
}

fn unsendable(error: impl std::fmt::Display) -> TransportError {
    TransportError::Unsendable(error.to_string())
}

/// Returns a body that breaks off in the middle.
fn first_half(body: Bytes) -> ResponseBody {
    let half = body.slice(..body.len() / 2);
    let frames = stream::iter([Ok(Frame::data(half))])
        .chain(stream::iter([Err("connection lost within a body (scenario)".into())]));
    StreamBody::new(frames).boxed_unsync()
}

/// Returns an error response as the service in question writes it, or the part of it that arrives.
fn answer(operation: &Operation, fault: &Fault) -> Response<ResponseBody> {
    let code = fault.code.as_str();
    let message = "Injected by the scenario.";
    let (kind, body) = if operation::is_blob(operation.name) {
        ("application/xml", BlobErrorBody::new(code, message).write())
    } else {
        let body = serde_json::to_string(&BatchErrorBody::new(code, message));
        ("application/json; odata=minimalmetadata", body.expect("texts are JSON"))
    };
    let whole = |body: Bytes| Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::builder().status(fault.status);
    if let Some(after) = fault.retry_after {
        response = response.header("retry-after", after.as_secs());
    }
    if fault.body == Arrives::None {
        return response.body(whole(Bytes::new())).expect("a scenario's status was checked");
    }
    response = response.header("content-type", kind);
    if operation::is_blob(operation.name) {
        response = response.header("x-ms-error-code", code);
    }
    let body = match fault.body {
        Arrives::Half => first_half(body.into()),
        Arrives::Whole | Arrives::None => whole(body.into()),
    };
    response.body(body).expect("a scenario's status was checked")
}
