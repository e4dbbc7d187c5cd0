//! Responses that are valid but unusual: old copies, overlapping pages, and collections of which some tasks
//! are rejected.

use super::{broken, unsendable};
use crate::scenario::Fault;
use bytes::Bytes;
use dropmill_azure_wire::{
    error::BatchErrorBody,
    sign::{Scheme, SharedKey},
    time::parse_http_date,
    transport::{RequestBody, ResponseBody, Transport, TransportError, full},
};
use http::{Method, Request, Response, header, response::Parts};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The last real response to each request, by fault.
#[derive(Clone, Default)]
pub struct Copies(Arc<Mutex<BTreeMap<(u32, String), Whole>>>);

/// A response with its complete body.
#[derive(Clone)]
struct Whole {
    parts: Parts,
    body: Bytes,
}

impl Whole {
    async fn of(response: Response<ResponseBody>) -> Result<Self, TransportError> {
        let (parts, body) = response.into_parts();
        Ok(Self { parts, body: body.collect().await.map_err(broken)?.to_bytes() })
    }

    fn with(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.parts.headers.remove(header::CONTENT_LENGTH);
        self
    }

    fn into_response(self) -> Response<ResponseBody> {
        let body = Full::new(self.body).map_err(|never| match never {}).boxed_unsync();
        Response::from_parts(self.parts, body)
    }
}

impl Copies {
    /// Returns the previous response to the same request; for the first request, the real one.
    pub async fn stale(
        &self,
        inner: &dyn Transport,
        fault: u32,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, TransportError> {
        let (reads, asked) = (*request.method() == Method::GET, request.uri().to_string());
        let response = inner.send(request).await?;
        if !reads || !response.status().is_success() {
            return Ok(response);
        }
        let now = Whole::of(response).await?;
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = copies.insert((fault, asked), now.clone());
        // The `Date` must be that of the response, not that of the copy.
        let response = before.map_or(now.clone(), |before| Whole { parts: now.parts, body: before.body });
        Ok(response.into_response())
    }
}

/// Returns half of a response, with a matching Content-Length.
pub async fn shortened(response: Response<ResponseBody>) -> Result<Response<ResponseBody>, TransportError> {
    let mut whole = Whole::of(response).await?;
    let half = whole.body.slice(..whole.body.len() / 2);
    if !whole.body.is_empty() {
        whole.parts.headers.insert(header::CONTENT_LENGTH, half.len().into());
    }
    whole.body = half;
    Ok(whole.into_response())
}

/// Returns a response whose Content-Length is 1,000 bytes more than the length of its body.
pub async fn lengthened(response: Response<ResponseBody>) -> Result<Response<ResponseBody>, TransportError> {
    let mut whole = Whole::of(response).await?;
    if !whole.body.is_empty() {
        whole.parts.headers.insert(header::CONTENT_LENGTH, (whole.body.len() + 1000).into());
    }
    Ok(whole.into_response())
}

/// Returns a list with each entry twice.
pub async fn repeated(response: Response<ResponseBody>) -> Result<Response<ResponseBody>, TransportError> {
    if !response.status().is_success() {
        return Ok(response);
    }
    let whole = Whole::of(response).await?;
    if let Ok(mut list) = serde_json::from_slice::<Value>(&whole.body) {
        if let Some(items) = list.get_mut("value").and_then(Value::as_array_mut) {
            let again = items.clone();
            items.extend(again);
        }
        return Ok(whole.with(list.to_string()).into_response());
    }
    let text = String::from_utf8_lossy(&whole.body).into_owned();
    let entries = text.find("<Blobs>").zip(text.rfind("</Blobs>"));
    Ok(match entries {
        Some((from, to)) => {
            let items = &text[from + "<Blobs>".len()..to];
            let twice = format!("{}{items}{}", &text[..to], &text[to..]);
            whole.with(twice).into_response()
        }
        None => whole.into_response(),
    })
}

/// Removes every second task of a collection from the request, and adds them to the response as rejected.
pub async fn refuse_items(
    inner: &dyn Transport,
    request: Request<RequestBody>,
    fault: &Fault,
    key: Option<&SharedKey>,
) -> Result<Response<ResponseBody>, TransportError> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map_err(unsendable)?.to_bytes();
    let asked: Option<Value> = serde_json::from_slice(&body).ok();
    let tasks = asked.as_ref().and_then(|asked| asked.get("value")?.as_array());
    let (Some(tasks), Some(key)) = (tasks, key) else {
        return inner.send(Request::from_parts(head, full(body))).await;
    };
    let ids: Vec<String> = tasks.iter().map(|task| task["id"].as_str().unwrap_or_default().into()).collect();
    let kept: Vec<&Value> = tasks.iter().step_by(2).collect();
    let date = head.headers.get(Scheme::Batch.date_header()).or_else(|| head.headers.get(header::DATE));
    let date = date.and_then(|date| date.to_str().ok()).and_then(parse_http_date);
    let Some(date) = date else { return Err(unsendable("the request has no date")) };
    head.headers.remove(header::CONTENT_LENGTH);
    let mut request = Request::from_parts(head, full(json!({ "value": kept }).to_string()));
    // The service checks the changed request, so it must be signed again.
    key.authorize(Scheme::Batch, &mut request, date);
    let response = inner.send(request).await?;
    if !response.status().is_success() {
        return Ok(response);
    }
    let whole = Whole::of(response).await?;
    let mut answer: Value = serde_json::from_slice(&whole.body).map_err(broken)?;
    let items = answer.get_mut("value").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let mut items = items.into_iter();
    let status = if fault.status < 500 { "clienterror" } else { "servererror" };
    let error = serde_json::to_value(BatchErrorBody::new(&fault.code, "Injected by the scenario."));
    let error = error.expect("texts are JSON");
    let all: Vec<Value> = ids
        .iter()
        .enumerate()
        .filter_map(|(place, id)| match place % 2 {
            0 => items.next(),
            _ => Some(json!({ "status": status, "taskId": id, "error": error })),
        })
        .collect();
    answer["value"] = Value::Array(all);
    Ok(whole.with(answer.to_string()).into_response())
}
