//! Deaths of the orchestrator, one at every point at which something of it becomes visible outside: before and after
//! each commit of the journal, before and after each call that changes something at the service (looks change
//! nothing), after each result is in its place.

use crate::{Scenario, oracle::Violation, player::Player};
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
    time::Duration,
};
use tokio::sync::Notify;

/// Where the orchestrator dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// The events of this commit are lost.
    BeforeCommit(u64),
    /// They are kept, and nobody hears of it.
    AfterCommit(u64),
    /// This call is not made.
    BeforeCall(u64),
    /// It is carried out, and nobody hears of it.
    AfterCall(u64),
    /// This result is in its place, and nobody hears of it.
    AfterDelivery(u64),
    /// These files of a drop folder are not taken.
    BeforeTake(u64),
    /// They are taken, and no process knows.
    AfterTake(u64),
    /// This result of a drop folder is not published.
    BeforePublish(u64),
    /// Its input has joined the results, which are not published yet.
    WithinPublish(u64),
    /// It is published, and no process knows.
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

    /// As it is displayed.
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
        let wrong = "expected for example \"before commit 3\": before or after a commit, call, take or publish, within a publish, after a delivery";
        point.zip(number).map(|(point, number)| point(number)).ok_or_else(|| wrong.to_owned())
    }
}

/// What happened so far that can be a point of death; counts go on over all lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commits of the journal.
    pub commits: u64,
    /// Calls to the service that change something.
    pub calls: u64,
    /// Results put in their places.
    pub deliveries: u64,
    /// Groups of files taken from a drop folder.
    pub takes: u64,
    /// Results of a drop folder published.
    pub publications: u64,
}

impl Counts {
    /// Every point of a run that came so far.
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

/// Counts what happens, and lets it happen no more once a point is reached.
pub struct CrashInjector {
    at: Vec<CrashPoint>,
    counts: [AtomicU64; 5],
    reached: Notify,
    /// Events of all lives, as the journal keeps them.
    kept: Mutex<Vec<Event>>,
}

impl CrashInjector {
    /// Dies at each of these points, once.
    pub fn at(points: Vec<CrashPoint>) -> Arc<Self> {
        Arc::new(Self {
            at: points,
            counts: Default::default(),
            reached: Notify::new(),
            kept: Mutex::default(),
        })
    }

    /// Resolves when a point is reached.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Whether the moment is one of death: `make` makes the point of a count.
    pub(crate) fn counts(&self, what: usize, make: &[fn(u64) -> CrashPoint]) -> Option<CrashPoint> {
        let count = self.counts[what].fetch_add(1, Ordering::Relaxed) + 1;
        make.iter().map(|make| make(count)).find(|point| self.at.contains(point))
    }

    pub(crate) fn die(&self) {
        self.reached.notify_one();
    }

    /// What happened so far.
    pub fn count(&self) -> Counts {
        let [commits, calls, deliveries, takes, publications] =
            [0, 1, 2, 3, 4].map(|what| self.counts[what].load(Ordering::Relaxed));
        Counts { commits, calls, deliveries, takes, publications }
    }

    /// The events of all lives.
    pub fn events(&self) -> Vec<Event> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps events, as a journal does; once dead it answers no more.
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

/// The wire of one who may die.
pub struct Crashable<T: ?Sized> {
    /// Whose.
    pub injector: Arc<CrashInjector>,
    /// What is behind.
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

/// A death, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashCase {
    /// Where the orchestrator dies.
    pub point: CrashPoint,
    /// How long nobody lives then.
    pub down: Duration,
}

impl fmt::Display for CrashCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.down.is_zero() {
            return write!(f, "{}", self.point);
        }
        write!(f, "{}, gone on with after {:?}", self.point, self.down)
    }
}

/// What deaths did to a run.
#[derive(Debug, Default)]
pub struct CrashSummary {
    /// Points at which it died and was resumed.
    pub points: u64,
    /// Of those, after how many it came to the same results.
    pub same: u64,
    /// What was broken, and where.
    pub broken: Vec<(CrashCase, Vec<Violation>)>,
    /// The first difference in what it came to.
    pub different: Option<(CrashCase, String)>,
}

/// How long nobody lives after a death: what was asked of the service is under way, or over since long.
const DOWN: [Duration; 2] = [Duration::ZERO, Duration::from_secs(3600)];

/// Lets a plan crash at every point of a scenario, one after the other, and start again: at once, and an hour later.
pub fn every_point(plan: &dyn Player, scenario: &Scenario, seed: u64) -> CrashSummary {
    let whole = plan.play(scenario, seed, vec![], Duration::ZERO);
    let deaths: Vec<_> = whole
        .counts
        .points()
        .into_iter()
        .flat_map(|point| DOWN.map(|down| CrashCase { point, down }))
        .collect();
    let judged = in_parallel(&deaths, |CrashCase { point, down }| {
        tracing::debug!(%point, ?down, "dies");
        plan.play(scenario, seed, vec![point], down)
    });
    let mut survey = CrashSummary { points: deaths.len() as u64, ..CrashSummary::default() };
    for (point, played) in deaths.into_iter().zip(judged) {
        if !played.violations.is_empty() {
            survey.broken.push((point, played.violations));
        } else if played.results == whole.results {
            survey.same += 1;
        } else if survey.different.is_none() {
            survey.different = Some((point, played.results));
        }
    }
    survey
}

/// Judges every point, on all processors.
fn in_parallel<R: Send>(points: &[CrashCase], judge: impl Fn(CrashCase) -> R + Sync) -> Vec<R> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(0);
    let mut judged: Vec<(u64, R)> = std::thread::scope(|scope| {
        let work = || {
            let mut mine = vec![];
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(point) = usize::try_from(at).ok().and_then(|at| points.get(at)) else { return mine };
                mine.push((at, judge(*point)));
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    });
    judged.sort_by_key(|(at, _)| *at);
    judged.into_iter().map(|(_, judged)| judged).collect()
}
