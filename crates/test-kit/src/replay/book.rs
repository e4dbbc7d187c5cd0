//! The recorded responses, and the choice of the one to return.

use super::ReplayError;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dropmill_azure_client::record::{Exchange, RecordedBody, RecordedResponse};
use dropmill_azure_wire::{
    transport::{RequestBody, ResponseBody, Transport, TransportError},
    uri,
};
use futures_util::{StreamExt, future::BoxFuture, stream};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

/// How much earlier than recorded a read may be answered: a replay is slightly faster than the recording.
const AHEAD_MS: u64 = 50;
/// Longest delay of a write, shorter than the timeout of any request. A client that writes earlier than this
/// behaves differently from the recording.
const HELD: Duration = Duration::from_secs(5);
/// Query parameters that do not identify a request, or that differ from run to run.
const VOLATILE: &[&str] =
    &["api-version", "timeout", "sig", "se", "st", "sp", "sv", "sr", "spr", "skoid", "sks"];

/// The recorded responses by request.
#[derive(Clone)]
pub struct Book {
    state: Arc<Mutex<State>>,
    noticed: Arc<Notify>,
    began: Instant,
}

struct State {
    pages: BTreeMap<String, Page>,
    /// The recorded responses for each added task, by job and task.
    added: BTreeMap<(String, String), Vec<Value>>,
    missing: Option<ReplayError>,
}

/// All responses to one request.
#[derive(Default)]
struct Page {
    answers: Vec<Exchange>,
    given: usize,
}

impl Book {
    pub fn of(exchanges: &[Exchange]) -> Self {
        let mut pages: BTreeMap<String, Page> = BTreeMap::new();
        let mut added: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
        for exchange in exchanges {
            let page = pages.entry(key(&exchange.method, &exchange.path)).or_default();
            page.answers.push(exchange.clone());
            let recorded = collection(&exchange.path).zip(items(exchange));
            for (job, items) in recorded.into_iter() {
                for item in items {
                    let task = item["taskId"].as_str().unwrap_or_default().to_owned();
                    added.entry((job.to_owned(), task)).or_default().push(item);
                }
            }
        }
        let state = Arc::new(Mutex::new(State { pages, added, missing: None }));
        Self { state, noticed: Arc::default(), began: Instant::now() }
    }

    /// Resolves when a request has no recorded response.
    pub async fn missing(&self) -> ReplayError {
        loop {
            self.noticed.notified().await;
            if let Some(missing) = self.lock().missing.clone() {
                return missing;
            }
        }
    }

    /// Returns the recorded writes that were not requested.
    pub fn unasked(&self) -> Vec<String> {
        let state = self.lock();
        let writes = state.pages.iter().filter(|(key, _)| !reads(key));
        writes.filter(|(_, page)| page.given == 0).map(|(key, _)| key.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn miss(&self, request: &str, reason: impl Into<String>) -> TransportError {
        let (request, reason) = (request.to_owned(), reason.into());
        let error = ReplayError::Unknown { request, reason };
        let unsendable = TransportError::Unsendable(error.to_string());
        self.lock().missing.get_or_insert(error);
        self.noticed.notify_one();
        unsendable
    }

    fn answer(&self, asked: &str) -> Result<Exchange, TransportError> {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        let found = match state.pages.get_mut(asked) {
            None => Err("the recording has no such request"),
            Some(page) => page.turn(asked, now).ok_or("the recording has fewer such requests"),
        };
        drop(state);
        found.map_err(|reason| self.miss(asked, reason))
    }

    /// Delays a request so that it gets no response from the future. The first read of a state waits until
    /// the recorded time; if the client times out first, it asks again. Writes wait for their recorded time,
    /// so that things end in the recorded order.
    async fn wait(&self, asked: &str) {
        let early = self.lock().pages.get(asked).and_then(|page| {
            let moment = |at_ms: u64| self.began + Duration::from_millis(at_ms);
            let next = page.answers.get(page.given)?.at_ms;
            match reads(asked) {
                true if page.given > 0 => None,
                true if is_news(asked) => Some(moment(next)),
                true => Some(moment(next.saturating_sub(AHEAD_MS))),
                false => Some(moment(next).min(Instant::now() + HELD)),
            }
        });
        if let Some(moment) = early {
            sleep_until(moment).await;
        }
    }

    /// Builds the response to an added collection from the recorded responses for its tasks, because
    /// collections can be split differently.
    fn added(&self, asked: &str, job: &str, body: &[u8]) -> Result<Exchange, TransportError> {
        let mut exchange = self.answer_of_collection(asked)?;
        if !matches!(&exchange.answer, RecordedResponse::Answer { status: 200, .. }) {
            return Ok(exchange);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut responses = vec![];
        for task in body["value"].as_array().into_iter().flatten() {
            let id = task["id"].as_str().unwrap_or_default().to_owned();
            let mut state = self.lock();
            let items = state.added.get_mut(&(job.to_owned(), id.clone()));
            let item =
                items.and_then(
                    |items| if items.len() > 1 { Some(items.remove(0)) } else { items.first().cloned() },
                );
            drop(state);
            responses.push(item.ok_or_else(|| self.miss(asked, format!("task {id} was never added")))?);
        }
        if let RecordedResponse::Answer { body, .. } = &mut exchange.answer {
            *body = RecordedBody::Text(json!({ "value": responses }).to_string());
        }
        Ok(exchange)
    }

    fn answer_of_collection(&self, asked: &str) -> Result<Exchange, TransportError> {
        let mut state = self.lock();
        let page = state.pages.get_mut(asked).filter(|page| !page.answers.is_empty());
        let found = page.map(|page| {
            let place = page.given.min(page.answers.len() - 1);
            page.given += 1;
            page.answers[place].clone()
        });
        drop(state);
        found.ok_or_else(|| self.miss(asked, "no task was added in the recording"))
    }
}

impl Page {
    /// Returns the next response.
    fn turn(&mut self, asked: &str, now: u64) -> Option<Exchange> {
        let last = self.answers.len() - 1;
        let place = if reads(asked) {
            let until =
                |moment: u64| self.answers.partition_point(|answer| answer.at_ms <= moment).saturating_sub(1);
            // A change since a given time is reported once: such responses must not be skipped or returned
            // early.
            if is_news(asked) {
                self.given.min(until(now))
            } else {
                self.given.min(until(now.saturating_add(AHEAD_MS))).max(until(now))
            }
        } else if self.given > last && !may_be_repeated(asked) {
            return None;
        } else {
            self.given.min(last)
        };
        self.given = place + 1;
        Some(self.answers[place.min(last)].clone())
    }
}

fn reads(key: &str) -> bool {
    key.starts_with("GET ") || key.starts_with("HEAD ")
}

/// Returns whether a request asks for changes since a given time.
fn is_news(key: &str) -> bool {
    key.contains("datetime'*'")
}

/// Returns whether a request can be repeated any number of times, because it asks for a state that already
/// holds.
fn may_be_repeated(key: &str) -> bool {
    let path = key.split('?').next().unwrap_or_default();
    key.starts_with("DELETE ") || path.ends_with("/terminate") || path.ends_with("/resize")
}

/// Returns the job of `…/jobs/JOB/addtaskcollection`.
fn collection(path: &str) -> Option<&str> {
    path.split('?').next()?.strip_suffix("/addtaskcollection")?.rsplit('/').next()
}

fn items(exchange: &Exchange) -> Option<Vec<Value>> {
    let RecordedResponse::Answer { status: 200, body: RecordedBody::Text(body), .. } = &exchange.answer
    else {
        return None;
    };
    let answer: Value = serde_json::from_str(body).ok()?;
    answer["value"].as_array().cloned()
}

/// Returns the request without the parts that differ from run to run.
fn key(method: &str, path_and_query: &str) -> String {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let asked: BTreeSet<String> = uri::pairs(query)
        .filter(|(name, _)| !VOLATILE.contains(&&*name.to_ascii_lowercase()))
        .map(|(name, value)| format!("{name}={}", timeless(&value)))
        .collect();
    let asked: Vec<String> = asked.into_iter().collect();
    if asked.is_empty() { format!("{method} {path}") } else { format!("{method} {path}?{}", asked.join("&")) }
}

/// Returns a filter without its times.
fn timeless(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("datetime'") {
        result.push_str(before);
        result.push_str("datetime'*'");
        rest = after.split_once('\'').map_or("", |(_, rest)| rest);
    }
    result + rest
}

impl Transport for Book {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>> {
        let book = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            let asked = key(head.method.as_str(), &path);
            let exchange = match collection(&path).filter(|_| head.method == Method::POST) {
                None => {
                    book.wait(&asked).await;
                    book.answer(&asked)?
                }
                Some(job) => {
                    let body = body
                        .collect()
                        .await
                        .map_err(|error| TransportError::Unsendable(error.to_string()))?;
                    book.added(&asked, job, &body.to_bytes())?
                }
            };
            sleep(Duration::from_millis(exchange.took_ms)).await;
            match exchange.answer {
                RecordedResponse::NotConnected(what) => Err(TransportError::Connect(what)),
                RecordedResponse::NotSendable(what) => Err(TransportError::Unsendable(what)),
                RecordedResponse::Lost(what) if what.starts_with("nobody waited") => {
                    std::future::pending().await
                }
                RecordedResponse::Lost(what) => Err(TransportError::Broken(what)),
                RecordedResponse::Answer { status, headers, body, broken } => {
                    let bytes = content(&body).map_err(|reason| book.miss(&asked, reason))?;
                    let mut answer = Response::builder().status(status);
                    for (name, value) in headers {
                        // The text may have become shorter.
                        if name != "content-length"
                            || head.method == Method::HEAD
                            || matches!(body, RecordedBody::Base64(_))
                        {
                            answer = answer.header(name, value);
                        }
                    }
                    let body = if broken {
                        let frames = stream::iter([Ok(Frame::data(bytes))])
                            .chain(stream::iter([Err("the recorded connection broke here".into())]));
                        StreamBody::new(frames).boxed_unsync()
                    } else {
                        Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
                    };
                    answer.body(body).map_err(|error| {
                        book.miss(&asked, format!("the recorded response is invalid: {error}"))
                    })
                }
            }
        })
    }
}

fn content(body: &RecordedBody) -> Result<Bytes, String> {
    match body {
        RecordedBody::Empty => Ok(Bytes::new()),
        RecordedBody::Text(text) => Ok(text.clone().into_bytes().into()),
        RecordedBody::Base64(text) => {
            STANDARD.decode(text).map(Bytes::from).map_err(|error| error.to_string())
        }
        RecordedBody::Digest { bytes, .. } => Err(format!(
            "its response had {bytes} bytes, which were not recorded; record with --record-bytes {bytes}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_requests_have_the_same_key() {
        for (one, other) in [
            ("/jobs/j?api-version=1&timeout=30", "/jobs/j?timeout=5&api-version=2"),
            ("/a/c/b?sv=1&sig=x&comp=list", "/a/c/b?comp=list&sig=***"),
            (
                "/jobs/j/tasks?$filter=t%20ge%20datetime'2026-01-01T00%3A00%3A00Z'%20and%20x",
                "/jobs/j/tasks?$filter=t%20ge%20datetime'2027-01-01T00%3A00%3A00Z'%20and%20x",
            ),
        ] {
            assert_eq!(key("GET", one), key("GET", other));
        }
        assert_ne!(key("GET", "/c?comp=list&marker=1"), key("GET", "/c?comp=list&marker=2"));
        assert_ne!(key("GET", "/c"), key("HEAD", "/c"));
    }

    fn page(moments: &[u64]) -> Page {
        let exchange = |at_ms: &u64| Exchange {
            at_ms: *at_ms,
            took_ms: 0,
            method: "GET".into(),
            host: String::new(),
            path: "/x".into(),
            request_headers: BTreeMap::new(),
            request_body: RecordedBody::Empty,
            answer: RecordedResponse::Lost(String::new()),
        };
        Page { answers: moments.iter().map(exchange).collect(), given: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn writes_wait_for_their_recorded_time_but_not_for_long() {
        for (method, at_ms, after_ms) in
            [("DELETE", 1000, 1000), ("DELETE", 60_000, 5000), ("GET", 1000, 950), ("GET", 60_000, 59_950)]
        {
            let mut exchange = page(&[at_ms]).answers.remove(0);
            exchange.method = method.into();
            let answer = RecordedResponse::Answer {
                status: 202,
                headers: BTreeMap::new(),
                body: RecordedBody::Empty,
                broken: false,
            };
            exchange.answer = answer;
            let book = Book::of(&[exchange]);
            let request = Request::builder().method(method).uri("http://h/x");
            let body = dropmill_azure_wire::transport::full(Bytes::new());
            assert_eq!(book.send(request.body(body).unwrap()).await.unwrap().status(), 202);
            assert_eq!(book.began.elapsed(), Duration::from_millis(after_ms), "{method} {at_ms}");
        }
    }

    #[test]
    fn reads_return_the_state_of_their_time_and_writes_the_next_response() {
        let asked = |key: &str, moments: &[u64]| -> Vec<Option<u64>> {
            let mut page = page(&[0, 1000, 60_000, 61_000]);
            moments.iter().map(|now| page.turn(key, *now).map(|answer| answer.at_ms)).collect()
        };
        assert_eq!(asked("GET /x", &[0, 0, 900, 949]), [Some(0), Some(0), Some(0), Some(0)]);
        assert_eq!(asked("GET /x", &[0, 960, 970]), [Some(0), Some(1000), Some(1000)]);
        assert_eq!(asked("GET /x", &[0, 62_000, 62_000]), [Some(0), Some(61_000), Some(61_000)]);
        let news = "GET /x?$filter=t ge datetime'*'";
        assert_eq!(asked(news, &[62_000, 62_000, 62_000]), [Some(0), Some(1000), Some(60_000)]);
        let five = [0; 5];
        assert_eq!(asked("PUT /x", &five).last(), Some(&None));
        assert_eq!(asked("DELETE /x", &five).last(), Some(&Some(61_000)));
    }
}
