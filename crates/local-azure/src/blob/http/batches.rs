//! Batch requests: deletions of blobs and changes of their tier in one body. Each part is signed separately
//! and has its own response.

use super::{
    Answered, act,
    answer::{Refusal, dress, empty, not_here, refusal, refuse},
    intake::small,
};
use crate::blob::{
    Inner,
    address::{Address, inside},
    authorize::{HERE, authorize, check_signature},
};
use crate::reception::Peer;
use axum::{body::Body, response::Response};
use dropmill_azure_wire::{sas, uri};
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use std::sync::Arc;

/// Maximum number of requests in one.
const MOST: usize = 256;
/// Maximum length in bytes.
const LONGEST: usize = 4 << 20;

/// Returns whether a query is a batch request.
pub fn is_one(query: &str) -> bool {
    uri::value(query, "comp").is_some_and(|comp| comp.eq_ignore_ascii_case("batch"))
}

/// Carries out all parts.
pub async fn carry_out(
    inner: &Arc<Inner>,
    parts: &Parts,
    inside: &str,
    body: &mut Body,
    request_id: &str,
) -> Answered {
    let query = parts.uri.query().unwrap_or_default();
    let address = Address::read(inside)?;
    if parts.headers.contains_key(header::AUTHORIZATION) || !sas::is_present(query) {
        authorize(inner, parts.into(), &address, HERE)?;
    } else {
        // The batch has no effect of its own: each part is authorized separately. But a client without any
        // valid signature is rejected before its body is received.
        let from = parts.extensions.get().map_or(HERE, |Peer(from)| *from);
        check_signature(inner, query, &address, from)?;
    }
    let boundary =
        parts.headers.get(header::CONTENT_TYPE).and_then(|value| boundary_of(value.to_str().ok()?));
    let boundary = boundary.ok_or_else(|| {
        refuse(400, "InvalidHeaderValue", "The content of a batch must be multipart/mixed with a boundary.")
    })?;
    let body = small(body, LONGEST).await?;
    let text = std::str::from_utf8(&body).map_err(|_| malformed("it is not UTF-8"))?;
    let asked = split(text, boundary)?;
    let mut answers = String::new();
    for (number, (id, mut request)) in asked.into_iter().enumerate() {
        // A part has the same client as the whole.
        request.extensions.clone_from(&parts.extensions);
        let now = inner.clock.now();
        let answer = one(inner, inside, &request).await;
        let mut answer = answer.unwrap_or_else(|refused| refusal(refused, false, request_id, now));
        dress(&mut answer, &request.headers, request_id, now);
        let id = id.unwrap_or_else(|| number.to_string());
        write(&mut answers, &id, answer).await?;
    }
    answers.push_str("--batchresponse--\r\n");
    let mut answer = empty(StatusCode::ACCEPTED);
    *answer.body_mut() = Body::from(answers);
    let kind = HeaderValue::from_static("multipart/mixed; boundary=batchresponse");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(answer)
}

fn malformed(why: &str) -> Refusal {
    refuse(400, "InvalidInput", &format!("The batch is invalid: {why}."))
}

fn boundary_of(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    let boundary = rest.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?.trim_matches('"');
    (kind.trim().eq_ignore_ascii_case("multipart/mixed") && !boundary.is_empty()).then_some(boundary)
}

/// Returns the requests of a batch, each with its Content-ID.
fn split(text: &str, boundary: &str) -> Result<Vec<(Option<String>, Parts)>, Refusal> {
    let opening = format!("--{boundary}");
    let mut found = vec![];
    // Text before the first boundary is not a part; neither is what follows the `--` after the last.
    for part in text.split(opening.as_str()).skip(1) {
        if part.starts_with("--") {
            return if found.is_empty() { Err(malformed("it has no parts")) } else { Ok(found) };
        }
        if found.len() == MOST {
            return Err(malformed("it has more than 256 parts"));
        }
        let mut lines = part.lines().map(str::trim_end).skip(1);
        let id = lines.by_ref().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
        let id = id.filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-id"));
        let id = id.map(|(_, value)| value.trim().to_owned()).last();
        found.push((id, request(lines)?));
    }
    Err(malformed("it does not end"))
}

fn request<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Parts, Refusal> {
    let mut lines = lines.skip_while(|line| line.is_empty());
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let mut request = Request::builder().method(method).uri(target);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header has no colon"))?;
        request = request.header(name.trim(), value.trim());
    }
    let request = request.body(()).map_err(|error| malformed(&error.to_string()))?;
    Ok(request.into_parts().0)
}

/// Carries out one part. Some clients include the account in its path, some do not.
async fn one(inner: &Arc<Inner>, batch: &str, parts: &Parts) -> Answered {
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let plain = path.strip_prefix('/').unwrap_or(path);
    let inside = inside("", path, inner.key.account()).unwrap_or(plain);
    let comp = uri::value(query, "comp").unwrap_or_default().to_ascii_lowercase();
    let is_blob = inside.split_once('/').is_some_and(|(_, blob)| !blob.is_empty());
    let allowed = (parts.method == Method::DELETE && comp.is_empty())
        || (parts.method == Method::PUT && comp == "tier");
    if !allowed || !is_blob {
        return Err(not_here("batches of requests other than deletions of blobs and changes of their tier"));
    }
    // A batch for a container may contain requests for its blobs only.
    if !batch.is_empty() && inside.split('/').next() != Some(batch) {
        return Err(refuse(400, "InvalidInput", "The batch was sent to another container."));
    }
    act(inner, parts, inside, &mut Body::empty()).await
}

async fn write(to: &mut String, id: &str, mut answer: Response) -> Result<(), Refusal> {
    let body = small(answer.body_mut(), LONGEST).await?;
    let (status, reason) = (answer.status().as_u16(), answer.status().canonical_reason().unwrap_or_default());
    to.push_str("--batchresponse\r\nContent-Type: application/http\r\n");
    to.push_str(&format!("Content-ID: {id}\r\n\r\nHTTP/1.1 {status} {reason}\r\n"));
    for (name, value) in answer.headers() {
        to.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    to.push_str(&format!("content-length: {}\r\n\r\n{}\r\n", body.len(), String::from_utf8_lossy(&body)));
    Ok(())
}
