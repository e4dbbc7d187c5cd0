//! The HTTP interface of Batch: checks and parses requests, passes them to the model, and sends responses.

mod answer;
mod files;
mod front;
mod jobs;
mod nodes;
mod pools;
mod routes;
mod schedules;
mod tasks;

use crate::batch_core::Core;
pub(crate) use front::Front;

use crate::admission::way_out;
use answer::{Outcome, dress, refused};
use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use dropmill_azure_wire::{
    batch::{Page, limit, requests, version::Family},
    error::BatchErrorBody,
    sign::{AuthError, Scheme, SharedKey},
    time::Timestamp,
    uri,
};
use futures_util::FutureExt;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::model::{
    Refusal,
    query::{Filter, Select},
};

/// Returns the router. All decisions use the raw path, whose percent-encoding is part of the signature.
pub fn router(core: Arc<Core>, front: Arc<Front>) -> axum::Router {
    let calls = Arc::new(AtomicU64::new(1));
    axum::Router::new().fallback(move |request: Request| {
        let (core, front) = (core.clone(), front.clone());
        let number = calls.fetch_add(1, Ordering::Relaxed);
        async move { serve(&core, &front, request, number).await }
    })
}

async fn serve(core: &Arc<Core>, front: &Front, request: Request, number: u64) -> Response {
    let now = core.now();
    // Not secret and unique within this service: the current time and a counter.
    let request_id = format!("{:08x}-0000-4000-8000-{number:012x}", now.as_second() & 0xffff_ffff);
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let outcome = AssertUnwindSafe(handle(core, front, &parts, body)).catch_unwind().await;
    let base = &*front.identity.base;
    let mut answer = match outcome {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) => refused(refusal, is_head, base, &request_id, now),
        Err(_) => {
            let words = "The server encountered an internal error. Please retry the request.";
            refused(Refusal::new(500, "InternalError", words), is_head, base, &request_id, now)
        }
    };
    dress(&mut answer, &parts.headers, request_id, now);
    answer
}

/// The context of an authorized request.
struct Ask<'a> {
    core: &'a Arc<Core>,
    front: &'a Front,
    method: &'a Method,
    /// Segments of the path, percent-encoded.
    path: Vec<&'a str>,
    query: &'a str,
    family: Family,
    headers: &'a HeaderMap,
    body: Bytes,
}

async fn handle(core: &Arc<Core>, front: &Front, parts: &http::request::Parts, body: Body) -> Outcome {
    authorize(&front.key, parts, core.now())?;
    let query = parts.uri.query().unwrap_or_default();
    let family = check_query(query)?;
    let body = read(body).await?;
    let path: Vec<&str> = parts.uri.path().trim_start_matches('/').split('/').collect();
    let ask = Ask { core, front, method: &parts.method, path, query, family, headers: &parts.headers, body };
    routes::route(&ask).await
}

fn authorize(key: &SharedKey, parts: &http::request::Parts, now: Timestamp) -> Result<(), Refusal> {
    let Err(refusal) = key.verify(Scheme::Batch, parts, now) else { return Ok(()) };
    let words = "Server failed to authenticate the request. Make sure the value of Authorization header is formed \
                 correctly including the signature.";
    let error = BatchErrorBody::new(refusal.code(Scheme::Batch), words);
    let error = match &refusal {
        AuthError::Missing => error,
        other => error.with("AuthenticationErrorDetail", other.detail()),
    };
    let error = match way_out(&refusal) {
        Some(way_out) => error.with("Reason", way_out),
        None => error,
    };
    Err(Refusal { status: refusal.status(), error: Box::new(error) })
}

/// Checks the common parameters of a query. Returns the family of its version.
fn check_query(query: &str) -> Result<Family, Refusal> {
    let family = check_version(query)?;
    if let Some(timeout) = uri::value(query, "timeout").filter(|timeout| timeout.parse::<u32>().is_err()) {
        return Err(Refusal::bad_query("timeout", "It must be a number of seconds")
            .with("QueryParameterValue", timeout.into_owned()));
    }
    if let Some(expand) =
        uri::value(query, "$expand").filter(|expand| !expand.split(',').all(|name| name.trim() == "stats"))
    {
        return Err(Refusal::bad_query("$expand", "It can only name stats")
            .with("QueryParameterValue", expand.into_owned()));
    }
    Ok(family)
}

/// Accepts every version from 2022-10-01.16.0 on; additions of versions after 2025-06-01 are unknown here.
fn check_version(query: &str) -> Result<Family, Refusal> {
    let Some(version) = uri::value(query, "api-version") else {
        let words = "A query parameter that's mandatory for this request is not specified.";
        let refusal = Refusal::new(400, "MissingRequiredQueryParameter", words);
        return Err(refusal.with("QueryParameterName", "api-version"));
    };
    if let Some(family) = Family::from_version(&version) {
        return Ok(family);
    }
    let words = "The specified api version string is invalid.";
    Err(Refusal::new(400, "UnsupportedRequestVersion", words)
        .with("QueryParameterValue", version.into_owned())
        .with(
            "Reason",
            "This service speaks version 2022-10-01.16.0 and later ones; use a newer client library",
        ))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    // A little more than the service allows, to distinguish a body that is too long from an interrupted one.
    let longest = limit::BODY_BYTES + (64 << 10);
    let read = Limited::new(body, longest).collect().await.map(|body| body.to_bytes());
    match read {
        Ok(bytes) if bytes.len() <= limit::BODY_BYTES => Ok(bytes),
        Err(error) if !error.is::<LengthLimitError>() => {
            let words = "The specified request body is not syntactically valid.";
            Err(Refusal::new(400, "InvalidRequestBody", words).with("Reason", "It was interrupted"))
        }
        _ => Err(Refusal::new(413, "RequestBodyTooLarge", "The request body is too large.")
            .with("MaxLimit", limit::BODY_BYTES.to_string())),
    }
}

impl Ask<'_> {
    /// Returns `http://host:port`, the address of the service for clients.
    fn base(&self) -> &str {
        &self.front.identity.base
    }

    fn value(&self, name: &str) -> String {
        uri::value(self.query, name).unwrap_or_default().into_owned()
    }

    /// Returns the selected properties.
    fn select(&self) -> Select {
        Select::parse(&self.value("$select"))
            .expanding(&self.value("$expand"), self.core.now())
            .for_family(self.family)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Parses the body, and checks for unknown values and properties.
    fn body<T: serde::de::DeserializeOwned>(&self) -> Result<T, Refusal> {
        let (report, value) = requests::read(self.family, self.method.as_str(), &self.path, &self.body);
        if let Some(wrong) = report.wrong {
            return Err(Refusal::invalid(&wrong.property, wrong.value, &wrong.reason));
        }
        for property in &report.unknown {
            if self.front.rejects_unknown(report.definition, property) {
                let words = "The specified request body has a property that the API does not have.";
                return Err(Refusal::new(400, "InvalidRequestBody", words).with("PropertyName", property));
            }
        }
        if let Ok(value) = value {
            return Ok(value);
        }
        // The positions in errors are those of a body that has known properties only.
        let ignored = without(&self.body, &report.unknown);
        let body = ignored.as_deref().unwrap_or(&self.body);
        let error = match serde_json::from_slice(body) {
            Ok(body) => return Ok(body),
            Err(error) => error,
        };
        if error.is_data()
            && let Ok(mut loose) = serde_json::from_slice::<serde_json::Value>(body)
            && numbers_of_texts(&mut loose)
            && let Ok(body) = serde_json::from_value(loose)
        {
            return Ok(body);
        }
        let reason = error.to_string();
        // serde writes the property between backticks.
        let missing = reason.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
        if let Some((property, _)) = missing {
            return Err(Refusal::missing(property));
        }
        if error.is_data() {
            return Err(Refusal::invalid("", "", &reason));
        }
        Err(Refusal::new(400, "InvalidRequestBody", "The specified request body is not syntactically valid.")
            .with("Reason", reason))
    }

    /// Parses a body that may be missing, which is like an empty one.
    fn body_or_default<T: serde::de::DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        if self.body.is_empty() { Ok(T::default()) } else { self.body() }
    }

    /// Parses `$filter` with these properties.
    fn filter(&self, properties: &[&str]) -> Result<Option<Filter>, Refusal> {
        let text = self.value("$filter");
        if text.is_empty() { Ok(None) } else { Filter::parse(&text, properties).map(Some) }
    }

    /// Returns a page of a short list that is computed for every request.
    fn slice<T: serde::Serialize>(&self, kind: &str, most: u32, mut all: Vec<T>) -> Outcome {
        let size = self.page_size(most)?;
        let token = self.value("$skiptoken");
        let bad = || Refusal::bad_query("$skiptoken", "it was not issued by this service");
        let from = if token.is_empty() { 0 } else { token.parse::<usize>().map_err(|_| bad())? };
        let mut value = all.split_off(from.min(all.len()));
        let next_link = (value.len() > size).then(|| routes::next_link(self, &(from + size).to_string()));
        value.truncate(size);
        let odata_metadata = Some(format!("{}/$metadata#{kind}", self.base()));
        Ok(answer::json(&Page { odata_metadata, value, next_link }))
    }

    fn page_size(&self, most: u32) -> Result<usize, Refusal> {
        match self.value("maxresults").as_str() {
            "" => Ok(most as usize),
            text => match text.parse::<u32>() {
                Ok(size) if (1..=most).contains(&size) => Ok(size as usize),
                _ => {
                    Err(Refusal::bad_query("maxresults", format!("It must be a number between 1 and {most}"))
                        .with("QueryParameterValue", text))
                }
            },
        }
    }
}

/// Returns a body without the properties at these paths; `None` if there are no paths, or it is not JSON.
/// Properties that the client's version does not have are ignored, even if another version has them.
fn without(body: &[u8], paths: &[String]) -> Option<Vec<u8>> {
    fn remove(value: &mut serde_json::Value, path: &str) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let (name, lists) = (name.trim_end_matches("[]"), name.ends_with("[]"));
        match (value.as_object_mut(), rest) {
            (Some(object), None) => drop(object.remove(name)),
            (Some(object), Some(rest)) => match object.get_mut(name) {
                Some(serde_json::Value::Array(list)) if lists => {
                    list.iter_mut().for_each(|each| remove(each, rest))
                }
                Some(below) => remove(below, rest),
                None => {}
            },
            (None, _) => {}
        }
    }
    if paths.is_empty() {
        return None;
    }
    let mut value = serde_json::from_slice(body).ok()?;
    paths.iter().for_each(|path| remove(&mut value, path));
    serde_json::to_vec(&value).ok()
}

/// Numeric properties that some clients write as text.
const NUMBERS: &[&str] = &[
    "targetDedicatedNodes",
    "targetLowPriorityNodes",
    "taskSlotsPerNode",
    "maxTaskRetryCount",
    "maxParallelTasks",
    "priority",
    "requiredSlots",
    "numberOfInstances",
];

/// Converts texts to numbers in these properties; returns whether there were any.
fn numbers_of_texts(value: &mut serde_json::Value) -> bool {
    let mut any = false;
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                let number = value
                    .as_str()
                    .filter(|_| NUMBERS.contains(&&**name))
                    .and_then(|text| text.parse::<i32>().ok());
                match number {
                    Some(number) => (*value, any) = (number.into(), true),
                    None => any |= numbers_of_texts(value),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(|value| any |= numbers_of_texts(value)),
        _ => {}
    }
    any
}

#[cfg(test)]
mod families;
#[cfg(test)]
pub(crate) mod operations;
#[cfg(test)]
pub(crate) mod tests;
