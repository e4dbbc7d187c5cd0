//! Crashes of the orchestrator, at every step with an effect that is visible outside the process: before and
//! after each commit of the journal, before and after each request that changes something at the service
//! (reads change nothing), and after each delivered result.

use dropmill_actors::place::{Delivery, PlaceError, Placed, ResultPlace};
use dropmill_azure_wire::transport::{RequestBody, ResponseBody, Transport, TransportError};
use dropmill_journal::{JournalError, event::Event};
use futures_util::future::{BoxFuture, pending};
use std::{
    collections::BTreeSet,
    fmt,
    io::Write,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// A point at which the orchestrator crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// The events of this commit are lost.
    BeforeCommit(u64),
    /// The events of this commit are durable, but the process does not learn of it.
    AfterCommit(u64),
    /// This request is not sent.
    BeforeCall(u64),
    /// The service carries out this request, but the process receives no response.
    AfterCall(u64),
    /// This result is delivered, but the process does not learn of it.
    AfterDelivery(u64),
    /// These files of a drop folder are not claimed.
    BeforeTake(u64),
    /// These files are claimed, but the process does not learn of it.
    AfterTake(u64),
    /// This result of a drop folder is not published.
    BeforePublish(u64),
    /// The input has been moved to its result, which is not published yet.
    WithinPublish(u64),
    /// This result is published, but the process does not learn of it.
    AfterPublish(u64),
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeCommit(number) => write!(f, "before commit {number}"),
            Self::AfterCommit(number) => write!(f, "after commit {number}"),
            Self::BeforeCall(number) => write!(f, "before call {number}"),
            Self::AfterCall(number) => write!(f, "after call {number}"),
            Self::AfterDelivery(number) => write!(f, "after delivery {number}"),
            Self::BeforeTake(number) => write!(f, "before take {number}"),
            Self::AfterTake(number) => write!(f, "after take {number}"),
            Self::BeforePublish(number) => write!(f, "before publish {number}"),
            Self::WithinPublish(number) => write!(f, "within publish {number}"),
            Self::AfterPublish(number) => write!(f, "after publish {number}"),
        }
    }
}

impl FromStr for CrashPoint {
    type Err = String;

    /// Parses the text that `Display` writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        let point: Option<fn(u64) -> Self> = match words[..] {
            ["before", "commit", _] => Some(Self::BeforeCommit),
            ["after", "commit", _] => Some(Self::AfterCommit),
            ["before", "call", _] => Some(Self::BeforeCall),
            ["after", "call", _] => Some(Self::AfterCall),
            ["after", "delivery", _] => Some(Self::AfterDelivery),
            ["before", "take", _] => Some(Self::BeforeTake),
            ["after", "take", _] => Some(Self::AfterTake),
            ["before", "publish", _] => Some(Self::BeforePublish),
            ["within", "publish", _] => Some(Self::WithinPublish),
            ["after", "publish", _] => Some(Self::AfterPublish),
            _ => None,
        };
        let number = words.last().and_then(|word| word.parse().ok());
        let wrong = "expected a crash point such as \"before commit 3\": before or after commit, call, take or publish; within publish; after delivery";
        point.zip(number).map(|(point, number)| point(number)).ok_or_else(|| wrong.to_owned())
    }
}

/// How many steps there were before or after which a crash is possible; the counts include all processes of
/// the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of commits of the journal.
    pub commits: u64,
    /// Number of requests that change something at the service.
    pub calls: u64,
    /// Number of delivered results.
    pub deliveries: u64,
    /// Number of groups of files claimed from a drop folder.
    pub takes: u64,
    /// Number of results published to a drop folder.
    pub publications: u64,
}

impl Counts {
    /// Returns every crash point within these counts.
    pub fn points(self) -> Vec<CrashPoint> {
        let commits =
            (1..=self.commits).flat_map(|at| [CrashPoint::BeforeCommit(at), CrashPoint::AfterCommit(at)]);
        let calls = (1..=self.calls).flat_map(|at| [CrashPoint::BeforeCall(at), CrashPoint::AfterCall(at)]);
        let takes = (1..=self.takes).flat_map(|at| [CrashPoint::BeforeTake(at), CrashPoint::AfterTake(at)]);
        let publish =
            |at| [CrashPoint::BeforePublish(at), CrashPoint::WithinPublish(at), CrashPoint::AfterPublish(at)];
        let publications = (1..=self.publications).flat_map(publish);
        let deliveries = (1..=self.deliveries).map(CrashPoint::AfterDelivery);
        commits.chain(calls).chain(deliveries).chain(takes).chain(publications).collect()
    }
}

/// Counts steps, and prevents all further steps once a crash point is reached.
pub struct CrashInjector {
    at: Vec<CrashPoint>,
    counts: [AtomicU64; 5],
    reached: Notify,
    /// Events of all processes, as the journal would store them.
    kept: Mutex<Vec<Event>>,
}

impl CrashInjector {
    /// Creates an injector that crashes the process at each of these points, once.
    pub fn at(points: Vec<CrashPoint>) -> Arc<Self> {
        Arc::new(Self {
            at: points,
            counts: Default::default(),
            reached: Notify::new(),
            kept: Mutex::default(),
        })
    }

    /// Resolves when a crash point is reached.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Returns the crash point if the process crashes at this step; `make` creates a point from a count.
    pub(crate) fn counts(&self, what: usize, make: &[fn(u64) -> CrashPoint]) -> Option<CrashPoint> {
        let count = self.counts[what].fetch_add(1, Ordering::Relaxed) + 1;
        make.iter().map(|make| make(count)).find(|point| self.at.contains(point))
    }

    pub(crate) fn die(&self) {
        self.reached.notify_one();
    }

    /// Returns the counts so far.
    pub fn count(&self) -> Counts {
        let [commits, calls, deliveries, takes, publications] =
            [0, 1, 2, 3, 4].map(|what| self.counts[what].load(Ordering::Relaxed));
        Counts { commits, calls, deliveries, takes, publications }
    }

    /// Returns the events of all processes.
    pub fn events(&self) -> Vec<Event> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores events as a journal does; after a crash it returns nothing.
    pub fn keep(&self, events: Vec<Event>) -> Option<Result<(), JournalError>> {
        let point = self.counts(0, &[CrashPoint::BeforeCommit, CrashPoint::AfterCommit]);
        if !matches!(point, Some(CrashPoint::BeforeCommit(_))) {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
        }
        if point.is_some() {
            self.die();
            return None;
        }
        Some(Ok(()))
    }
}

/// A transport of a process that can crash.
pub struct Crashable<T: ?Sized> {
    /// Decides when the process crashes.
    pub injector: Arc<CrashInjector>,
    /// The wrapped transport.
    pub inner: Arc<T>,
}

impl Transport for Crashable<dyn Transport> {
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'static, Result<http::Response<ResponseBody>, TransportError>> {
        let (injector, inner) = (self.injector.clone(), self.inner.clone());
        Box::pin(async move {
            let looks = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
            let calls: [fn(u64) -> CrashPoint; 2] = [CrashPoint::BeforeCall, CrashPoint::AfterCall];
            let point = if looks { None } else { injector.counts(1, &calls) };
            if let Some(CrashPoint::BeforeCall(_)) = point {
                injector.die();
                return pending().await;
            }
            let answer = inner.send(request).await;
            if point.is_some() {
                injector.die();
                return pending().await;
            }
            answer
        })
    }
}

impl ResultPlace for Crashable<dyn ResultPlace> {
    fn stage(&self, task: &str, needs_bytes: u64, keep: &BTreeSet<String>) -> Result<bool, PlaceError> {
        self.inner.stage(task, needs_bytes, keep)
    }
    fn create(&self, task: &str, path: &str) -> Result<Box<dyn Write + Send>, PlaceError> {
        self.inner.create(task, path)
    }
    fn publish(&self, delivery: Delivery) -> BoxFuture<'static, Result<Placed, PlaceError>> {
        let (injector, inner) = (self.injector.clone(), self.inner.clone());
        Box::pin(async move {
            let published = inner.publish(delivery).await;
            if injector.counts(2, &[CrashPoint::AfterDelivery]).is_some() {
                injector.die();
                return pending().await;
            }
            published
        })
    }
    fn discard(&self, task: &str) {
        self.inner.discard(task);
    }
}
