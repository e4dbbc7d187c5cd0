//! Records the requests and responses of a run in a file, for inspection and for offline replay.
//!
//! Each line is one exchange in JSON. Secrets are not recorded: only headers on a list, no signature of a
//! SAS, no password, key or value of a variable in JSON, and none of the texts that the caller lists as
//! secret. Bodies of blobs are recorded as length and SHA-256. Other response bodies are recorded completely
//! up to a limit, because a replay must return them.

mod redact;

pub use redact::redacted;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dropmill_azure_wire::{
    secret::Secret,
    transport::{BoxError, RequestBody, ResponseBody, Transport, TransportError, full},
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

/// Default maximum length of a response body that is recorded completely.
pub const KEPT_BYTES: usize = 64 << 10;

/// Names of recorded headers, of requests and responses.
const HEADERS: &[&str] = &[
    "content-encoding",
    "content-length",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "last-modified",
    "ocp-batch-file-isdirectory",
    "ocp-batch-file-mode",
    "ocp-range",
    "range",
    "request-id",
    "retry-after",
    "x-ms-blob-content-md5",
    "x-ms-blob-type",
    "x-ms-error-code",
    "x-ms-range",
    "x-ms-request-id",
    "x-ms-version",
];

/// The header line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Version of this format: [`FORMAT`].
    pub dropmill_recording: u32,
    /// Start time, ISO 8601.
    pub began: String,
    /// Address and account of Batch.
    pub batch: (String, String),
    /// Address and account of Blob.
    pub blob: (String, String),
    /// Whether the service published change notifications.
    pub hints: bool,
}

/// The version that is written and read.
pub const FORMAT: u32 = 1;

/// One request and its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// Time of the request, in milliseconds since the start of the recording.
    pub at_ms: u64,
    /// Duration until the end of the response, in milliseconds.
    pub took_ms: u64,
    /// `GET`, `PUT`, …
    pub method: String,
    /// Scheme, host and port of the URL.
    pub host: String,
    /// Path and query, without signatures.
    pub path: String,
    /// Headers on the list.
    pub request_headers: BTreeMap<String, String>,
    /// Body of the request.
    pub request_body: RecordedBody,
    /// Result of the request.
    pub answer: RecordedResponse,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedResponse {
    /// The service responded.
    Answer {
        /// HTTP status of the response.
        status: u16,
        /// Headers on the list.
        headers: BTreeMap<String, String>,
        /// Body, or the part of it that arrived.
        body: RecordedBody,
        /// Whether the body was interrupted.
        #[serde(default)]
        broken: bool,
    },
    /// The connection could not be opened.
    NotConnected(String),
    /// The connection broke, or the client stopped waiting for the response.
    Lost(String),
    /// The request could not be sent.
    NotSendable(String),
}

/// A recorded body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedBody {
    /// There is no body.
    Empty,
    /// Text, without secrets.
    Text(String),
    /// Bytes, in base64.
    Base64(String),
    /// Content is not recorded.
    Digest {
        /// Length in bytes.
        bytes: u64,
        /// SHA-256 of the body in hex.
        sha256: String,
    },
}

/// A writer for exchanges, one line each.
#[derive(Clone)]
pub struct Sink {
    inner: Arc<Mutex<Writing>>,
}

struct Writing {
    to: Box<dyn Write + Send>,
    failed: Option<String>,
}

impl Sink {
    /// Creates a sink that writes to `to`; every line is written at once.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self { inner: Arc::new(Mutex::new(Writing { to: Box::new(to), failed: None })) }
    }

    /// Writes the first line.
    pub fn open(&self, opening: &Opening) {
        self.write(&serde_json::to_string(opening).expect("an opening has only text for keys"));
    }

    /// Returns the first error of writing, because of which the recording is incomplete.
    pub fn failure(&self) -> Option<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).failed.clone()
    }

    fn write(&self, line: &str) {
        let mut writing = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let written: io::Result<()> =
            writing.to.write_all(format!("{line}\n").as_bytes()).and_then(|()| writing.to.flush());
        if let (Err(error), None) = (written, &writing.failed) {
            writing.failed = Some(error.to_string());
        }
    }
}

/// A transport that records requests and responses.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<dyn Transport>,
    notes: Arc<Notes>,
}

struct Notes {
    sink: Sink,
    kept_bytes: usize,
    quiet: Vec<Secret>,
    began: Instant,
}

impl Recorder {
    /// Records what `inner` sends. Response bodies that are neither JSON nor XML and longer than `kept_bytes`
    /// are recorded as digests; none of the texts in `quiet` is written anywhere.
    pub fn new(inner: Arc<dyn Transport>, sink: Sink, kept_bytes: usize, quiet: Vec<Secret>) -> Self {
        let notes = Notes { sink, kept_bytes, quiet, began: Instant::now() };
        Self { inner, notes: Arc::new(notes) }
    }
}

impl Notes {
    fn milliseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note(&self, mut exchange: Exchange, answer: RecordedResponse) {
        exchange.took_ms = self.milliseconds().saturating_sub(exchange.at_ms);
        exchange.answer = answer;
        let mut line = serde_json::to_string(&exchange).expect("exchanges have only text for keys");
        for secret in &self.quiet {
            if secret.expose().len() >= 8 {
                line = line.replace(secret.expose(), "***");
            }
        }
        self.sink.write(&line);
    }
}

impl Transport for Recorder {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>> {
        let (inner, notes) = (self.inner.clone(), self.notes.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|error| TransportError::Unsendable(error.to_string()))?;
            let body = body.to_bytes();
            let uri = &head.uri;
            let exchange = Exchange {
                at_ms: notes.milliseconds(),
                took_ms: 0,
                method: head.method.to_string(),
                host: format!(
                    "{}://{}",
                    uri.scheme_str().unwrap_or("http"),
                    uri.host().map_or("", |_| { uri.authority().map_or("", |authority| authority.as_str()) })
                ),
                path: redact::text(uri.path_and_query().map_or("/", |path| path.as_str())),
                request_headers: headers(&head.headers),
                request_body: kept(&head.headers, &body, None),
                answer: RecordedResponse::Lost("nobody waited for it".into()),
            };
            // A caller that stops waiting drops this value, which is recorded too.
            let mut pending = Pending { notes, exchange: Some(exchange) };
            match inner.send(Request::from_parts(head, full(body))).await {
                Ok(answer) => {
                    let (parts, body) = answer.into_parts();
                    let status = parts.status.as_u16();
                    let headers = parts.headers.clone();
                    let heard = Heard {
                        body,
                        status,
                        headers,
                        bytes: vec![],
                        whole: Sha256::new(),
                        length: 0,
                        pending,
                    };
                    Ok(Response::from_parts(parts, heard.boxed_unsync()))
                }
                Err(error) => {
                    pending.done(match &error {
                        TransportError::Connect(what) => RecordedResponse::NotConnected(redact::text(what)),
                        TransportError::Broken(what) => RecordedResponse::Lost(redact::text(what)),
                        TransportError::Unsendable(what) => RecordedResponse::NotSendable(redact::text(what)),
                    });
                    Err(error)
                }
            }
        })
    }
}

/// An exchange that is not written yet.
struct Pending {
    notes: Arc<Notes>,
    exchange: Option<Exchange>,
}

impl Pending {
    fn done(&mut self, answer: RecordedResponse) {
        if let Some(exchange) = self.exchange.take() {
            self.notes.note(exchange, answer);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.done(RecordedResponse::Lost("nobody waited for it".into()));
    }
}

/// The body of a response, recorded while it is read.
struct Heard {
    body: ResponseBody,
    status: u16,
    headers: HeaderMap,
    /// The beginning of the body, up to the recording limit.
    bytes: Vec<u8>,
    whole: Sha256,
    length: u64,
    pending: Pending,
}

impl Heard {
    fn end(&mut self, broken: bool) {
        if self.pending.exchange.is_none() {
            return;
        }
        let body = if self.length > self.bytes.len() as u64 {
            RecordedBody::Digest { bytes: self.length, sha256: hex(&self.whole.clone().finalize()) }
        } else {
            kept(&self.headers, &self.bytes, Some(self.pending.notes.kept_bytes))
        };
        let headers = headers(&self.headers);
        self.pending.done(RecordedResponse::Answer { status: self.status, headers, body, broken });
    }
}

impl Body for Heard {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    let bound = if is_text(&self.headers) { 64 << 20 } else { self.pending.notes.kept_bytes };
                    let room = bound.saturating_sub(self.bytes.len()).min(data.len());
                    self.bytes.extend_from_slice(&data[..room]);
                    self.whole.update(data);
                    self.length += data.len() as u64;
                }
                // The caller may not poll again after the last byte.
                if self.body.is_end_stream() {
                    self.end(false);
                }
            }
            Poll::Ready(None) => self.end(false),
            Poll::Ready(Some(Err(_))) => self.end(true),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        // The body was not read to its end: it was complete, or its reader was dropped.
        let whole = self.body.is_end_stream();
        self.end(!whole);
    }
}

fn headers(all: &HeaderMap) -> BTreeMap<String, String> {
    let known = all.iter().filter(|(name, _)| HEADERS.contains(&name.as_str()));
    known.filter_map(|(name, value)| Some((name.to_string(), redact::text(value.to_str().ok()?)))).collect()
}

/// Returns whether a body is text: JSON of Batch or XML of Blob.
fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json") || kind.starts_with("application/xml"))
}

fn kept(headers: &HeaderMap, body: &[u8], bound: Option<usize>) -> RecordedBody {
    if body.is_empty() {
        return RecordedBody::Empty;
    }
    if is_text(headers)
        && let Ok(text) = std::str::from_utf8(body)
    {
        return RecordedBody::Text(redact::body(text));
    }
    if bound.is_some_and(|bound| body.len() <= bound) {
        return RecordedBody::Base64(STANDARD.encode(body));
    }
    RecordedBody::Digest { bytes: body.len() as u64, sha256: hex(&Sha256::digest(body)) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
