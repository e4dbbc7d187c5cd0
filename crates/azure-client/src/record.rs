//! What a run said to its services and heard from them, kept in a file: for looking at, and for playing again offline.
//!
//! One exchange a line, as JSON. What is a secret is not kept: of headers only those on a list, of a SAS no signature,
//! of JSON no password, key or value of a variable, and nowhere a text that the recorder was told to keep quiet. The
//! bodies of blobs are kept as length and SHA-256; those of answers whole, up to a bound, since a replay must give
//! them again.

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

/// The longest body of an answer that is kept whole unless somebody says otherwise.
pub const KEPT_BYTES: usize = 64 << 10;

/// Headers that are kept, of requests and answers.
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

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Version of this format: [`FORMAT`].
    pub dropmill_recording: u32,
    /// When it began, ISO 8601.
    pub began: String,
    /// Address and account of Batch.
    pub batch: (String, String),
    /// Address and account of Blob.
    pub blob: (String, String),
    /// Whether the service hinted at changes.
    pub hints: bool,
}

/// The version that is written, and read.
pub const FORMAT: u32 = 1;

/// One request and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// When it was sent, in milliseconds from the beginning of the recording.
    pub at_ms: u64,
    /// How long it took until the end of its answer.
    pub took_ms: u64,
    /// `GET`, `PUT`, …
    pub method: String,
    /// Scheme, host and port.
    pub host: String,
    /// Path and query, without signatures.
    pub path: String,
    /// Headers on the list.
    pub request_headers: BTreeMap<String, String>,
    /// What was sent.
    pub request_body: RecordedBody,
    /// What came back.
    pub answer: RecordedResponse,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedResponse {
    /// An answer.
    Answer {
        /// Its status.
        status: u16,
        /// Headers on the list.
        headers: BTreeMap<String, String>,
        /// Its body, or as much of it as came.
        body: RecordedBody,
        /// The body broke off.
        #[serde(default)]
        broken: bool,
    },
    /// No connection.
    NotConnected(String),
    /// The connection broke, or nobody waited for the answer.
    Lost(String),
    /// It could not be sent.
    NotSendable(String),
}

/// A body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedBody {
    /// None.
    Empty,
    /// Text, without secrets.
    Text(String),
    /// Bytes, in base64.
    Base64(String),
    /// Not kept.
    Digest {
        /// Its length.
        bytes: u64,
        /// Its SHA-256 in hex.
        sha256: String,
    },
}

/// Where exchanges are written, a line each.
#[derive(Clone)]
pub struct Sink {
    inner: Arc<Mutex<Writing>>,
}

struct Writing {
    to: Box<dyn Write + Send>,
    failed: Option<String>,
}

impl Sink {
    /// Writes to `to`; every line is written at once.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self { inner: Arc::new(Mutex::new(Writing { to: Box::new(to), failed: None })) }
    }

    /// Writes the first line.
    pub fn open(&self, opening: &Opening) {
        self.write(&serde_json::to_string(opening).expect("an opening has only text for keys"));
    }

    /// What kept the recording from being whole: the first error of its file.
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

/// Carries requests, and keeps them and their answers.
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
    /// A recorder of what `inner` carries. Bodies of answers that are no JSON and longer than `kept_bytes` are kept as
    /// digests; none of the texts in `quiet` is written anywhere.
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
            // Whoever stops waiting drops it, and that is told, too.
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

/// The body of an answer, heard as it passes.
struct Heard {
    body: ResponseBody,
    status: u16,
    headers: HeaderMap,
    /// The beginning, as much as may be kept.
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
                // Nobody may ask again after the last byte.
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
        // Bodies that nobody reads to their end: all of it came, or its reader went.
        let whole = self.body.is_end_stream();
        self.end(!whole);
    }
}

fn headers(all: &HeaderMap) -> BTreeMap<String, String> {
    let known = all.iter().filter(|(name, _)| HEADERS.contains(&name.as_str()));
    known.filter_map(|(name, value)| Some((name.to_string(), redact::text(value.to_str().ok()?)))).collect()
}

/// Bodies that are understood: JSON of Batch, XML of Blob.
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
