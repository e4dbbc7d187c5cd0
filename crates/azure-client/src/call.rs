//! One request: an address, headers and a signature, one exchange within a timeout, and the response.

use crate::{
    classify,
    credential::{BATCH_SCOPE, Credential},
    doubt::{Author, Doubts},
    endpoint::Endpoint,
    error::{CallError, ErrorResponse, tried},
    operation::{CallInfo, Effect, Operation, Service},
    shown::shown,
};
use bytes::{Bytes, BytesMut};
use dropmill_azure_wire::{
    batch,
    error::BatchErrorBody,
    secret::without_query,
    sign::Scheme,
    time::{SharedClock, http_date},
    transport::{RequestBody, ResponseBody, Transport, TransportError, full},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Maximum length of a response body that is read into memory and parsed.
const LONGEST_ANSWER: u64 = 64 << 20;
/// Maximum length of an error response that is read.
const LONGEST_REFUSAL: u64 = 256 << 10;
/// Slowest connection that is supported; it extends the timeout of a request by the time for its body.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;

/// The common parts of all requests of one API.
pub(crate) struct Caller {
    pub transport: Arc<dyn Transport>,
    pub endpoint: Endpoint,
    pub credential: Credential,
    pub clock: SharedClock,
    pub timeout: Duration,
    pub service: Service,
    /// Random generator for request ids.
    pub rng: Mutex<ChaCha8Rng>,
    /// Decides whether a rejection of the key or the address is final.
    pub doubts: Mutex<Doubts>,
}

/// A request to be sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub tried: CallInfo,
    pub method: Method,
    /// Percent-encoded, including the endpoint's base path.
    pub path_and_query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// HTTP statuses that mean success.
    pub ok: &'static [u16],
}

/// A complete successful response.
#[derive(Debug)]
pub(crate) struct ApiResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn new(operation: Operation, subject: impl Into<String>, path_and_query: String) -> Self {
        let ok: &[u16] = &[200];
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self {
            tried: tried(operation, subject),
            method: operation.method(),
            path_and_query,
            headers,
            body,
            ok,
        }
    }

    pub fn ok(mut self, ok: &'static [u16]) -> Self {
        self.ok = ok;
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a header whose value may not be visible ASCII.
    pub fn text_header(mut self, name: &'static str, value: &str) -> Result<Self, CallError> {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.headers.insert(HeaderName::from_static(name), value);
                Ok(self)
            }
            Err(_) => Err(self.unsendable(
                "InvalidHeaderValue",
                format!("{name} contains characters that are invalid in a header"),
            )),
        }
    }

    pub fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    pub fn unsendable(&self, code: &'static str, problem: impl Into<String>) -> CallError {
        CallError::Unsendable { tried: self.tried.clone(), code, problem: problem.into() }
    }

    fn unreachable(&self, source: TransportError) -> CallError {
        CallError::Unreachable { tried: self.tried.clone(), source }
    }
}

impl ApiResponse {
    /// Parses the body as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self, tried: &CallInfo) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let problem =
                if is_html(&self.headers) { "an HTML page".to_owned() } else { shown(&error.to_string()) };
            self.broken(tried, problem)
        })
    }

    pub fn broken(&self, tried: &CallInfo, problem: impl Into<String>) -> CallError {
        broken(tried, self.status, &self.headers, problem)
    }
}

impl Caller {
    /// Sends the request and reads the complete response, both within the timeout.
    pub async fn exchange(&self, call: Call) -> Result<ApiResponse, CallError> {
        let deadline = self.timeout + Duration::from_secs(call.body.len() as u64 / SLOWEST_BYTES_PER_SECOND);
        let whole = async {
            let response = self.open(&call).await?;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            let body = match collect(body, LONGEST_ANSWER).await {
                Ok(body) => body,
                // The service carried it out, and the rest of the response is not needed.
                Err(Uncollected::Broken(_)) if status == 201 || status == 202 || status == 204 => {
                    Bytes::new()
                }
                Err(Uncollected::Broken(problem)) => {
                    return Err(call.unreachable(TransportError::Broken(problem)));
                }
                Err(Uncollected::TooLong) => {
                    return Err(CallError::TooLarge {
                        tried: call.tried.clone(),
                        limit_bytes: LONGEST_ANSWER,
                    });
                }
            };
            Ok(ApiResponse { status, headers: parts.headers, body })
        };
        match timeout(deadline, whole).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::TimedOut { tried: call.tried, waited: deadline }),
        }
    }

    /// Sends the request and returns as soon as its response begins. The timeout covers this, and the whole
    /// body of an error response. The caller reads the body of a success.
    pub async fn stream(&self, call: Call) -> Result<Response<ResponseBody>, CallError> {
        match timeout(self.timeout, self.open(&call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::TimedOut { tried: call.tried, waited: self.timeout }),
        }
    }

    async fn open(&self, call: &Call) -> Result<Response<ResponseBody>, CallError> {
        let began = Instant::now();
        let CallInfo { operation, subject } = &call.tried;
        let token = match &self.credential {
            Credential::SharedKey(_) => None,
            Credential::Token(source) => {
                let token = source.token(BATCH_SCOPE).await;
                Some(token.map_err(|source| CallError::NoToken { tried: call.tried.clone(), source })?)
            }
        };
        let bearer = token.as_ref().map(|token| token.expose());
        let mut outcome = self.transport.send(self.request(call, bearer)?).await;
        if let (Err(TransportError::Broken(problem)), Effect::Reads) = (&outcome, operation.effect()) {
            // An idle connection that was closed breaks the next request on it. A read is sent again.
            tracing::debug!(%operation, subject, problem, "connection lost before the response, sending again");
            outcome = self.transport.send(self.request(call, bearer)?).await;
        }
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let response = match outcome {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%operation, subject, milliseconds, %error, "no response");
                return Err(call.unreachable(error));
            }
        };
        let status = response.status().as_u16();
        let request_id = request_id(response.headers());
        tracing::debug!(%operation, subject, status, milliseconds, request_id, "answer");
        if call.ok.contains(&status) {
            if is_html(response.headers()) && !may_be_html(*operation) {
                return Err(broken(&call.tried, status, response.headers(), "an HTML page"));
            }
            self.doubts().accepted(*operation);
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        if parts.status.is_success() || parts.status.is_informational() {
            return Err(broken(&call.tried, status, &parts.headers, "unexpected success status"));
        }
        let body = collect(body, LONGEST_REFUSAL).await.ok();
        Err(CallError::Refused(Box::new(self.refused(call, parts.status, &parts.headers, body))))
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, call: &Call, bearer: Option<&str>) -> Result<Request<RequestBody>, CallError> {
        let uri = self.endpoint.uri(call.path_and_query.clone()).map_err(|error| call.unreachable(error))?;
        let mut request = Request::new(full(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.clone_from(&call.headers);
        let id = HeaderValue::from_str(&self.name_call()).expect("a GUID is visible ASCII");
        let scheme = match self.service {
            Service::Batch => {
                headers.insert(batch::header::CLIENT_REQUEST_ID, id);
                headers.insert(batch::header::RETURN_CLIENT_REQUEST_ID, HeaderValue::from_static("true"));
                headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
                Scheme::Batch
            }
            Service::Blob => {
                headers.insert("x-ms-client-request-id", id);
                headers.insert("x-ms-version", HeaderValue::from_static(crate::blob::X_MS_VERSION));
                Scheme::Storage
            }
        };
        match (&self.credential, bearer) {
            (Credential::SharedKey(key), _) => key.authorize(scheme, &mut request, self.clock.now()),
            (Credential::Token(_), token) => {
                let value = HeaderValue::try_from(format!("Bearer {}", token.unwrap_or_default()));
                let Ok(mut value) = value else {
                    return Err(call.unsendable(
                        "InvalidAuthenticationInfo",
                        "the token contains characters that are invalid in a header",
                    ));
                };
                value.set_sensitive(true);
                let date = HeaderValue::try_from(http_date(self.clock.now())).expect("a date is ASCII");
                let headers = request.headers_mut();
                headers.insert(header::AUTHORIZATION, value);
                headers.insert(scheme.date_header(), date);
                if !call.body.is_empty() || !matches!(call.method, Method::GET | Method::HEAD) {
                    headers.insert(header::CONTENT_LENGTH, call.body.len().into());
                }
            }
        }
        Ok(request)
    }

    /// Returns a GUID as request id, the same in every run with the same seed.
    fn name_call(&self) -> String {
        let mut bytes = [0u8; 16];
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        let number = u128::from_be_bytes(bytes);
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            number >> 96,
            (number >> 80) & 0xffff,
            (number >> 64) & 0xfff,
            (number >> 48) & 0x3fff | 0x8000,
            number & 0xffff_ffff_ffff
        )
    }

    /// Parses an error response; `body` is `None` if the connection broke within it.
    fn refused(
        &self,
        call: &Call,
        status: StatusCode,
        headers: &HeaderMap,
        body: Option<Bytes>,
    ) -> ErrorResponse {
        let now = self.clock.now();
        let text = body.as_deref().unwrap_or_default();
        let said = match self.service {
            Service::Batch => said_by_batch(text),
            Service::Blob => crate::blob::said_by_blob(headers, text),
        };
        let mut said = said.unwrap_or_default();
        let author = match (said.code.is_empty(), body) {
            (false, _) => Author::Service,
            // The response to a HEAD has no body; Batch has no header for the code.
            (true, Some(_)) if call.method == Method::HEAD && request_id(headers) != "-" => Author::Service,
            (true, Some(_)) => Author::Unknown,
            (true, None) => Author::Lost,
        };
        if said.code.is_empty() {
            said.code = status_word(status);
        }
        if status.is_redirection()
            && let Some(target) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok())
        {
            said.message = format!("not followed to {}", shown_address(target));
        }
        // Its other values repeat the request, including the signature.
        said.values.retain(|(name, _)| name != "AuthenticationErrorDetail");
        let clock_ahead_seconds =
            if said.code == "AuthenticationFailed" { classify::clock_ahead(headers, now) } else { None };
        let believed = self.is_believed(call.tried.operation, status.as_u16(), &said.code, author);
        ErrorResponse {
            tried: call.tried.clone(),
            status: status.as_u16(),
            author,
            believed,
            code: said.code,
            message: said.message,
            request_id: request_id(headers).to_owned(),
            values: said.values,
            retry_after: classify::retry_after(headers, now),
            clock_ahead_seconds,
        }
    }

    /// Counts a rejection, and returns whether a doubtful one counts as final.
    fn is_believed(&self, operation: Operation, status: u16, code: &str, author: Author) -> bool {
        if classify::proves_the_key(status, author) {
            self.doubts().accepted(operation);
        }
        classify::is_doubtful(status, code, author)
            && self.doubts().refused(operation, author, Instant::now())
    }
}

/// The content of an error response, escaped for display.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub code: String,
    pub message: String,
    pub values: Vec<(String, String)>,
}

fn said_by_batch(body: &[u8]) -> Option<Said> {
    let body = BatchErrorBody::read(body)?;
    let value = |text: &Option<String>| shown(text.as_deref().unwrap_or_default());
    let values = body.values.iter().flatten().take(10);
    Some(Said {
        code: shown(&body.code),
        message: shown(body.text()),
        values: values.map(|detail| (value(&detail.key), value(&detail.value))).collect(),
    })
}

/// Returns `BadGateway` for `Bad Gateway`.
fn status_word(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => reason.split([' ', '-', '\'']).collect(),
        None => format!("Status{}", status.as_u16()),
    }
}

/// Returns an address from a response without parts that may be secret: query, fragment, user.
pub(crate) fn shown_address(address: &str) -> String {
    let bare = without_query(address);
    let (scheme, rest) = bare.split_once("//").unwrap_or(("", bare));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default();
    shown(&format!("{scheme}//{host}/{path}"))
}

/// Returns the service's request id; `-` if there is none.
pub(crate) fn request_id(headers: &HeaderMap) -> &str {
    let id = headers.get(batch::header::REQUEST_ID).or_else(|| headers.get("x-ms-request-id"));
    // Header values are visible ASCII here, so they only need a length limit.
    id.and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty() && id.len() <= 100).unwrap_or("-")
}

pub(crate) fn broken(
    tried: &CallInfo,
    status: u16,
    headers: &HeaderMap,
    problem: impl Into<String>,
) -> CallError {
    let (tried, request_id) = (tried.clone(), request_id(headers).to_owned());
    CallError::BrokenAnswer { tried, status, problem: problem.into(), request_id }
}

/// Returns whether a response is an HTML page of a gateway or a captive portal.
fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.len() >= 9 && kind[..9].eq_ignore_ascii_case(b"text/html")
}

/// Returns whether HTML is a valid response: a user may store pages as blobs.
fn may_be_html(operation: Operation) -> bool {
    use Operation as Op;
    matches!(
        operation,
        Op::GetBlob | Op::HeadBlob | Op::GetTaskFile | Op::HeadTaskFile | Op::GetNodeFile | Op::HeadNodeFile
    )
}

/// The reason why a body is incomplete.
pub(crate) enum Uncollected {
    Broken(String),
    TooLong,
}

/// Reads a body into memory. A body that arrived in one piece is not copied.
pub(crate) async fn collect(mut body: ResponseBody, limit_bytes: u64) -> Result<Bytes, Uncollected> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Uncollected::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if (first.len() + all.len() + data.len()) as u64 > limit_bytes {
            return Err(Uncollected::TooLong);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
