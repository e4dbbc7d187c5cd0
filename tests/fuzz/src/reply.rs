//! Rules that every response of the service must follow.

use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use std::sync::OnceLock;
use tower::ServiceExt;

/// Error codes that have a 5xx status although the client caused them.
const DOCUMENTED: [&str; 2] = ["NotImplemented", "TooManyEnableAutoScaleRequests"];

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status of the response.
    pub status: StatusCode,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Complete body; empty if there is none.
    pub body: Vec<u8>,
}

/// Returns `true` if requests and responses are to be printed, as in `run --again`.
fn prints() -> bool {
    static PRINTS: OnceLock<bool> = OnceLock::new();
    *PRINTS.get_or_init(|| std::env::var_os("DROPMILL_FUZZ_PRINTS").is_some())
}

/// Sends a request, reads the complete response and checks it.
pub async fn send(router: Router, request: Request<Body>) -> Reply {
    let line = prints().then(|| format!("{} {}", request.method(), request.uri()));
    let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    if let Some(line) = line {
        eprintln!("{} {line}", response.status().as_u16());
    }
    read(response).await
}

async fn read(response: Response) -> Reply {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the body is complete").to_bytes().to_vec();
    let reply = Reply { status: parts.status, headers: parts.headers, body };
    if reply.status.is_server_error() {
        let text = String::from_utf8_lossy(&reply.body);
        let header =
            reply.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let documented = |code: &&str| header == *code || text.contains(*code);
        // Batch responses to HEAD have no error code; the status 501 is enough.
        let silent = reply.body.is_empty() && reply.status == StatusCode::NOT_IMPLEMENTED;
        assert!(silent || DOCUMENTED.iter().any(|code| documented(code)), "{}: {text}", reply.status);
    }
    if reply.status == StatusCode::NOT_MODIFIED || reply.status == StatusCode::NO_CONTENT {
        assert!(reply.body.is_empty(), "{} has a body", reply.status);
    }
    reply
}

impl Reply {
    /// Parses the body as JSON; returns null for an empty body.
    pub fn json(&self) -> serde_json::Value {
        if self.body.is_empty() {
            return serde_json::Value::Null;
        }
        serde_json::from_slice(&self.body).expect("a Batch body is JSON")
    }
}
