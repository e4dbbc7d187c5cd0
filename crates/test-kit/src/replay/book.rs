//! The recorded answers, and which of them is given when.

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

/// How far ahead of its time a state that is read may be, since things are a little quicker here than they were.
const AHEAD_MS: u64 = 50;
/// The longest that a write is held back: less than any call waits. Who writes so much earlier than then does something else.
const HELD: Duration = Duration::from_secs(5);
/// Parts of a query that tell nothing of what is asked for, or differ from run to run.
const VOLATILE: &[&str] =
    &["api-version", "timeout", "sig", "se", "st", "sp", "sv", "sr", "spr", "skoid", "sks"];

/// The recorded answers by request.
#[derive(Clone)]
pub struct Book {
    state: Arc<Mutex<State>>,
    noticed: Arc<Notify>,
    began: Instant,
}

struct State {
    pages: BTreeMap<String, Page>,
    /// What each task's adding was answered, by job and task.
    added: BTreeMap<(String, String), Vec<Value>>,
    missing: Option<ReplayError>,
}

/// Every answer to one request.
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
            let told = collection(&exchange.path).zip(items(exchange));
            for (job, items) in told.into_iter() {
                for item in items {
                    let task = item["taskId"].as_str().unwrap_or_default().to_owned();
                    added.entry((job.to_owned(), task)).or_default().push(item);
                }
            }
        }
        let state = Arc::new(Mutex::new(State { pages, added, missing: None }));
        Self { state, noticed: Arc::default(), began: Instant::now() }
    }

    /// Resolves when something was asked that is not in here.
    pub async fn missing(&self) -> ReplayError {
        loop {
            self.noticed.notified().await;
            if let Some(missing) = self.lock().missing.clone() {
                return missing;
            }
        }
    }

    /// Writes that nobody asked for.
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
        let told = TransportError::Unsendable(error.to_string());
        self.lock().missing.get_or_insert(error);
        self.noticed.notify_one();
        told
    }

    fn answer(&self, asked: &str) -> Result<Exchange, TransportError> {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        let found = match state.pages.get_mut(asked) {
            None => Err("nothing like it was asked"),
            Some(page) => page.turn(asked, now).ok_or("it was asked less often"),
        };
        drop(state);
        found.map_err(|reason| self.miss(asked, reason))
    }

    /// What is read before anybody had read it then is answered when it was: nobody sees the future. Who does not wait
    /// that long asks again. Writes go out when they did, so that what ends first is what ended first.
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

    /// The answer to a collection is made of what each of its tasks was answered, since it may be cut otherwise.
    fn added(&self, asked: &str, job: &str, body: &[u8]) -> Result<Exchange, TransportError> {
        let mut exchange = self.answer_of_collection(asked)?;
        if !matches!(&exchange.answer, RecordedResponse::Answer { status: 200, .. }) {
            return Ok(exchange);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut told = vec![];
        for task in body["value"].as_array().into_iter().flatten() {
            let id = task["id"].as_str().unwrap_or_default().to_owned();
            let mut state = self.lock();
            let items = state.added.get_mut(&(job.to_owned(), id.clone()));
            let item =
                items.and_then(
                    |items| if items.len() > 1 { Some(items.remove(0)) } else { items.first().cloned() },
                );
            drop(state);
            told.push(item.ok_or_else(|| self.miss(asked, format!("task {id} was never added")))?);
        }
        if let RecordedResponse::Answer { body, .. } = &mut exchange.answer {
            *body = RecordedBody::Text(json!({ "value": told }).to_string());
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
        found.ok_or_else(|| self.miss(asked, "no task was added"))
    }
}

impl Page {
    /// The answer whose turn it is.
    fn turn(&mut self, asked: &str, now: u64) -> Option<Exchange> {
        let last = self.answers.len() - 1;
        let place = if reads(asked) {
            let until =
                |moment: u64| self.answers.partition_point(|answer| answer.at_ms <= moment).saturating_sub(1);
            // What is asked for as news is told once: no answer of that kind may be left out, or come early.
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

/// What is asked for since a moment.
fn is_news(key: &str) -> bool {
    key.contains("datetime'*'")
}

/// Calls that ask for what is already so are made as often as somebody thinks fit.
fn may_be_repeated(key: &str) -> bool {
    let path = key.split('?').next().unwrap_or_default();
    key.starts_with("DELETE ") || path.ends_with("/terminate") || path.ends_with("/resize")
}

/// The job of `…/jobs/JOB/addtaskcollection`.
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

/// What is asked for, without what differs from run to run.
fn key(method: &str, path_and_query: &str) -> String {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let asked: BTreeSet<String> = uri::pairs(query)
        .filter(|(name, _)| !VOLATILE.contains(&&*name.to_ascii_lowercase()))
        .map(|(name, value)| format!("{name}={}", timeless(&value)))
        .collect();
    let asked: Vec<String> = asked.into_iter().collect();
    if asked.is_empty() { format!("{method} {path}") } else { format!("{method} {path}?{}", asked.join("&")) }
}

/// A filter without its moments.
fn timeless(text: &str) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("datetime'") {
        told.push_str(before);
        told.push_str("datetime'*'");
        rest = after.split_once('\'').map_or("", |(_, rest)| rest);
    }
    told + rest
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
                        // Texts may have become shorter.
                        if name != "content-length"
                            || head.method == Method::HEAD
                            || matches!(body, RecordedBody::Base64(_))
                        {
                            answer = answer.header(name, value);
                        }
                    }
                    let body = if broken {
                        let frames = stream::iter([Ok(Frame::data(bytes))])
                            .chain(stream::iter([Err("the connection broke here then".into())]));
                        StreamBody::new(frames).boxed_unsync()
                    } else {
                        Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
                    };
                    answer
                        .body(body)
                        .map_err(|error| book.miss(&asked, format!("its answer is none: {error}")))
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
        RecordedBody::Digest { bytes, .. } => {
            Err(format!("its answer had {bytes} bytes, and was not kept: record with --record-bytes {bytes}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_ask_for_the_same_have_one_key() {
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
    async fn writes_go_out_when_they_did_and_are_not_held_for_long() {
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
    fn reads_are_answered_in_turn_and_as_of_their_time_and_writes_in_turn_alone() {
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
