//! Logs one line per request: who sent it, and the response.

use crate::reception::Peer;
use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use dropmill_azure_wire::time::{SharedClock, Timestamp};
use http::Method;
use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// A request with its response, or one whose client disconnected first. `Display` formats it as a line
/// without secrets: `2026-03-02T10:11:12.000Z 127.0.0.1 batch 409 PoolExists 3 ms POST
/// /pools?api-version=2025-06-01`.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Time of the request.
    pub at: Timestamp,
    /// Address of the client; `None` if it is in this process.
    pub peer: Option<IpAddr>,
    /// `batch` or `blob`.
    pub service: &'static str,
    /// HTTP method of the request.
    pub method: Method,
    /// Path and query; the signature of a SAS is replaced by `***`.
    pub target: String,
    /// Status of the response; `None` if the client disconnected first.
    pub status: Option<u16>,
    /// Error code; empty if there is none.
    pub code: String,
    /// Time until the response began, or the client disconnected.
    pub took: Duration,
}

/// The function that receives the lines.
pub type Receiver = Arc<dyn Fn(&Logged) + Send + Sync>;

/// The error code of a response, as an extension of it.
#[derive(Debug, Clone)]
pub(crate) struct ErrorCode(pub String);

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, peer, service, method, target, status, code, took } = self;
        let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
        let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let code = if code.is_empty() { "-" } else { code };
        write!(f, "{at:.3} {peer} {service} {status} {code} {} ms {method} {target}", took.as_millis())
    }
}

/// Adds logging of each request to a router.
pub fn logged(router: Router, service: &'static str, clock: SharedClock, receiver: Receiver) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let open = Open {
            logged: Logged {
                at: clock.now(),
                peer: request.extensions().get::<Peer>().map(|Peer(peer)| *peer),
                service,
                method: request.method().clone(),
                target: without_signature(
                    request.uri().path_and_query().map_or("", |target| target.as_str()),
                ),
                status: None,
                code: String::new(),
                took: Duration::ZERO,
            },
            began: Instant::now(),
            receiver: receiver.clone(),
        };
        async move { open.answered(next.run(request).await) }
    }))
}

/// A request without a response yet. If it is dropped, the client has disconnected.
struct Open {
    logged: Logged,
    began: Instant,
    receiver: Receiver,
}

impl Open {
    fn answered(mut self, answer: Response) -> Response {
        self.logged.status = Some(answer.status().as_u16());
        let code = answer.extensions().get::<ErrorCode>().map(|ErrorCode(code)| code.clone());
        let header = answer.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok());
        self.logged.code = code.or_else(|| header.map(str::to_owned)).unwrap_or_default();
        answer
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.logged.took = self.began.elapsed();
        (self.receiver)(&self.logged);
    }
}

/// Returns a path and query without the signature of a SAS.
fn without_signature(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if dropmill_azure_wire::uri::decode(name).eq_ignore_ascii_case("sig") => {
            format!("{name}=***")
        }
        _ => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(hidden).collect();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use dropmill_azure_wire::time::Clock;
    use futures_util::FutureExt;
    use std::sync::Mutex;
    use tower::ServiceExt;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            "2026-03-02T10:11:12Z".parse().unwrap()
        }
    }

    #[test]
    fn a_signature_is_not_logged_in_any_spelling() {
        for (target, expected) in [
            ("/c/b?sv=1&sig=abc%3D&sp=r", "/c/b?sv=1&sig=***&sp=r"),
            ("/c/b?SIG=abc", "/c/b?SIG=***"),
            ("/c/b?%73ig=abc", "/c/b?%73ig=***"),
            ("/c/sig=abc", "/c/sig=abc"),
            ("/c?signature=1", "/c?signature=1"),
            ("/c?", "/c?"),
        ] {
            assert_eq!(without_signature(target), expected);
        }
    }

    #[tokio::test]
    async fn each_request_is_reported_with_or_without_its_response() {
        let lines = Arc::new(Mutex::new(vec![]));
        let receiver: Receiver = {
            let lines = lines.clone();
            Arc::new(move |logged: &Logged| {
                let logged = Logged { took: Duration::from_millis(3), ..logged.clone() };
                lines.lock().unwrap().push(logged.to_string());
            })
        };
        let refused = || async {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = http::StatusCode::CONFLICT;
            answer.extensions_mut().insert(ErrorCode("PoolExists".into()));
            answer
        };
        let router = Router::new()
            .route("/fine", get(|| async { "" }))
            .route("/refused", get(refused))
            .route("/coded", get(|| async { ([("x-ms-error-code", "BlobNotFound")], "") }))
            .route("/never", get(std::future::pending::<&str>));
        let router = logged(router, "batch", Arc::new(Fixed), receiver);
        let ask = |path: &str| {
            let mut request = Request::get(path).body(Body::empty()).unwrap();
            request.extensions_mut().insert(Peer([127, 0, 0, 1].into()));
            router.clone().oneshot(request)
        };
        for path in ["/fine?sig=x", "/refused", "/coded"] {
            ask(path).await.unwrap();
        }
        let mut never = Box::pin(ask("/never"));
        assert!((&mut never).now_or_never().is_none());
        drop(never);
        assert_eq!(
            *lines.lock().unwrap(),
            [
                "2026-03-02T10:11:12.000Z 127.0.0.1 batch 200 - 3 ms GET /fine?sig=***",
                "2026-03-02T10:11:12.000Z 127.0.0.1 batch 409 PoolExists 3 ms GET /refused",
                "2026-03-02T10:11:12.000Z 127.0.0.1 batch 200 BlobNotFound 3 ms GET /coded",
                "2026-03-02T10:11:12.000Z 127.0.0.1 batch - - 3 ms GET /never",
            ]
        );
    }
}
