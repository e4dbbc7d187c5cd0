//! Responses of the Batch service.

use crate::{model::Refusal, request_log::ErrorCode};
use axum::{body::Body, response::Response};
use dropmill_azure_wire::{
    batch::{RESPONSE_CONTENT_TYPE, header as name},
    etag::ETag,
    time::{Timestamp, http_date, iso},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

/// A response or an error.
pub type Outcome = Result<Response, Refusal>;

/// Returns a response without a body.
pub fn empty(status: u16) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// Returns a response with JSON.
pub fn json(value: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(value).expect("answers have only text for keys");
    let mut answer = Response::new(Body::from(bytes));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(RESPONSE_CONTENT_TYPE));
    answer
}

/// Returns a response with an entity, which begins with its type.
pub fn entity(base: &str, shape: &str, value: &impl Serialize) -> Response {
    let odata_metadata = format!("{base}/$metadata#{shape}/@Element");
    json(&dropmill_azure_wire::batch::ResponseBody { odata_metadata: &odata_metadata, entity: value })
}

/// Adds a header; an invalid value is omitted.
pub fn put(answer: &mut Response, name: &'static str, value: impl Into<String>) {
    if let Ok(value) = HeaderValue::try_from(value.into()) {
        answer.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// Adds ETag and modification time.
pub fn tagged(mut answer: Response, etag: &ETag, modified: Timestamp) -> Response {
    put(&mut answer, "etag", etag.as_str());
    put(&mut answer, "last-modified", http_date(modified));
    answer
}

/// Adds the URL of the entity.
pub fn named(mut answer: Response, url: &str) -> Response {
    put(&mut answer, name::DATA_SERVICE_ID, url);
    answer
}

/// Sets the common headers of every response.
pub fn dress(answer: &mut Response, asked: &HeaderMap, request_id: String, now: Timestamp) {
    put(answer, name::REQUEST_ID, request_id);
    put(answer, "date", http_date(now));
    let headers = answer.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("dropmill"));
    headers.insert(name::DATA_SERVICE_VERSION, HeaderValue::from_static("3.0"));
    let wants = asked
        .get(name::RETURN_CLIENT_REQUEST_ID)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    if wants && let Some(id) = asked.get(name::CLIENT_REQUEST_ID) {
        answer.headers_mut().insert(name::CLIENT_REQUEST_ID, id.clone());
    }
}

/// Converts an error to a response; for HEAD without a body.
pub fn refused(refusal: Refusal, is_head: bool, base: &str, request_id: &str, now: Timestamp) -> Response {
    if is_head || refusal.status == 304 {
        return empty(refusal.status);
    }
    let code = refusal.error.code.clone();
    let error = refusal.error.with_request_id(request_id, &iso(now)).with_metadata_url(base);
    let mut answer = json(&error);
    answer.extensions_mut().insert(ErrorCode(code));
    *answer.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if refusal.status == 401 {
        put(&mut answer, "www-authenticate", "SharedKey");
    }
    answer
}
