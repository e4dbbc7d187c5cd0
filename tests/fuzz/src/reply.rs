//! What every answer keeps to, whatever was asked.

use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use std::sync::OnceLock;
use tower::ServiceExt;

/// Codes that stand with a status of 500 and more and are the caller's doing all the same.
const DOCUMENTED: [&str; 2] = ["NotImplemented", "TooManyEnableAutoScaleRequests"];

/// An answer, whole.
#[derive(Debug)]
pub struct Told {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// Whether to print what is asked and answered: `run --again` wants it.
fn prints() -> bool {
    static PRINTS: OnceLock<bool> = OnceLock::new();
    *PRINTS.get_or_init(|| std::env::var_os("DROPMILL_FUZZ_PRINTS").is_some())
}

/// Sends a request, takes the answer in and checks it.
pub async fn ask(router: Router, request: Request<Body>) -> Told {
    let asked = prints().then(|| format!("{} {}", request.method(), request.uri()));
    let answer = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    if let Some(asked) = asked {
        eprintln!("{} {asked}", answer.status().as_u16());
    }
    told(answer).await
}

async fn told(answer: Response) -> Told {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("an answer has an end").to_bytes().to_vec();
    let told = Told { status: parts.status, headers: parts.headers, body };
    if told.status.is_server_error() {
        let text = String::from_utf8_lossy(&told.body);
        let header =
            told.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let documented = |code: &&str| header == *code || text.contains(*code);
        // To HEAD no code is told in Batch; 501 alone stands for itself.
        let silent = told.body.is_empty() && told.status == StatusCode::NOT_IMPLEMENTED;
        assert!(silent || DOCUMENTED.iter().any(|code| documented(code)), "{}: {text}", told.status);
    }
    if told.status == StatusCode::NOT_MODIFIED || told.status == StatusCode::NO_CONTENT {
        assert!(told.body.is_empty(), "{} has a body", told.status);
    }
    told
}

impl Told {
    /// The body as JSON, if there is any.
    pub fn json(&self) -> serde_json::Value {
        if self.body.is_empty() {
            return serde_json::Value::Null;
        }
        serde_json::from_slice(&self.body).expect("what says that it is JSON is JSON")
    }
}
