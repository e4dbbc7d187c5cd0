//! How the Blob service answers: headers that every answer has, refusals by code and status.

use super::store::Refused;
use axum::{body::Body, response::Response};
use dropmill_azure_wire::{
    blob::{VERSION, header as name},
    error::BlobErrorBody,
    time::{Timestamp, http_date, iso},
};
use http::{HeaderMap, HeaderValue, StatusCode};

/// A refusal: status, code, words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub error: BlobErrorBody,
}

/// Refuses with a code and words.
pub fn refuse(status: u16, code: &str, words: &str) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refusal { status, error: BlobErrorBody::new(code, words) }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoContainer => {
                refuse(404, "ContainerNotFound", "The specified container does not exist.")
            }
            Refused::ContainerExists => {
                refuse(409, "ContainerAlreadyExists", "The specified container already exists.")
            }
            Refused::NoBlob => refuse(404, "BlobNotFound", "The specified blob does not exist."),
            Refused::BlobExists => refuse(409, "BlobAlreadyExists", "The specified blob already exists."),
            Refused::ConditionFailed => refuse(
                412,
                "ConditionNotMet",
                "The condition specified using HTTP conditional header(s) is not met.",
            ),
            Refused::UnknownBlock => refuse(400, "InvalidBlockList", "The specified block list is invalid."),
            Refused::Failed(error) => {
                tracing::error!(%error, "blob store");
                refuse(
                    500,
                    "InternalError",
                    "The server encountered an internal error. Please retry the request.",
                )
            }
        }
    }
}

impl From<super::StoreError> for Refusal {
    fn from(error: super::StoreError) -> Self {
        Refused::Failed(error).into()
    }
}

/// An answer without body.
pub fn empty(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// An answer with XML.
pub fn xml(text: String) -> Response {
    let mut answer = Response::new(Body::from(text));
    answer.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// Headers of every answer.
pub fn dress(answer: &mut Response, asked: &HeaderMap, request_id: &str, now: Timestamp) {
    let version = asked.get(name::VERSION).cloned().unwrap_or(HeaderValue::from_static(VERSION));
    let headers = answer.headers_mut();
    headers.insert(name::VERSION, version);
    headers.insert(http::header::SERVER, HeaderValue::from_static("dropmill"));
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(name::REQUEST_ID, id);
    }
    if let Ok(date) = HeaderValue::try_from(http_date(now)) {
        headers.insert(http::header::DATE, date);
    }
    if let Some(id) = asked.get(name::CLIENT_REQUEST_ID) {
        headers.insert(name::CLIENT_REQUEST_ID, id.clone());
    }
}

/// A refusal as an answer. To HEAD the code stands in the header alone.
pub fn refusal(refusal: Refusal, is_head: bool, request_id: &str, now: Timestamp) -> Response {
    let code =
        HeaderValue::try_from(&refusal.error.code).unwrap_or(HeaderValue::from_static("InternalError"));
    let mut answer = if is_head || refusal.status == StatusCode::NOT_MODIFIED {
        empty(refusal.status)
    } else {
        let mut answer = xml(refusal.error.told_at(request_id, &iso(now)).write());
        *answer.status_mut() = refusal.status;
        answer
    };
    answer.headers_mut().insert(name::ERROR_CODE, code);
    answer
}
