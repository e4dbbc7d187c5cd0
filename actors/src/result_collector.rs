//! Adds every event to journal, report and subscriptions.
//!
//! Pending events are committed in one transaction; only then are they published and acknowledged. While the
//! disk fails, nothing is acknowledged and nothing is lost: the same events are tried again. A failed flush
//! is not retried: only the next process can find out what the disk contains.

use crate::{
    liveness::LivenessGuard,
    run_keeper::{RunHappened, RunKeeper},
};
use actix::prelude::*;
use dropmill_journal::{
    Journal, JournalError,
    event::{EndReason, Event, EventKind},
    report::{Report, ReportFold},
};
use dropmill_lifecycle::run::RunEvent;
use std::{sync::PoisonError, time::Duration};

/// Delay before a failed commit is tried again.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// How long an interrupted run waits for a failing disk.
const RECORD_PATIENCE: Duration = Duration::from_secs(20);
/// Minimum time between two commits while no caller waits for one: a flush costs as much as a short task.
pub const COMMIT_EVERY: Duration = Duration::from_millis(10);
/// The same for a run whose events have waiting callers: each file of a drop folder.
pub const COMMIT_SOON: Duration = Duration::ZERO;

/// The actor that records events.
pub struct ResultCollector {
    journal: Journal,
    commit_every: Duration,
    waiting: Vec<Event>,
    committing: bool,
    /// A commit is requested but has not begun: the rest of the mailbox is included.
    ordered: bool,
    /// A commit after the minimum time, if no caller requests one before.
    paced: Option<SpawnHandle>,
    last_commit: Option<tokio::time::Instant>,
    last_noted: u64,
    last_durable: u64,
    fold: ReportFold,
    subscribers: Vec<async_channel::Sender<Event>>,
    /// Callers that wait until an event is durable.
    awaited: Vec<(u64, tokio::sync::oneshot::Sender<()>)>,
    settle_asked: Option<Addr<RunKeeper>>,
    finish: Option<async_channel::Sender<Report>>,
    /// Time when the user interrupted the run.
    interrupted: Option<tokio::time::Instant>,
    unrecorded: Unrecorded,
    _guard: LivenessGuard,
}

/// The reason why events could not be recorded, if the run ended because of that.
pub type Unrecorded = std::sync::Arc<std::sync::Mutex<Option<String>>>;

/// An event was recorded by an actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Noted(pub Event);

/// Responds once everything noted before it is durable.
#[derive(Message)]
#[rtype(result = "tokio::sync::oneshot::Receiver<()>")]
pub struct WhenDurable;

/// Notifies the keeper once every event so far is durable.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Settle(pub Addr<RunKeeper>);

/// The last event was noted: once it is durable, send the report.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Finish(pub async_channel::Sender<Report>);

#[derive(Message)]
#[rtype(result = "()")]
struct Commit;

impl ResultCollector {
    /// Creates the collector of `journal`; `fold` contains its events up to number `last`; committed events
    /// are also sent to each of `subscribers`.
    pub fn new(
        journal: Journal,
        commit_every: Duration,
        (last, fold): (u64, ReportFold),
        subscribers: Vec<async_channel::Sender<Event>>,
        unrecorded: Unrecorded,
        guard: LivenessGuard,
    ) -> Self {
        Self {
            journal,
            commit_every,
            waiting: vec![],
            committing: false,
            ordered: false,
            paced: None,
            last_commit: None,
            last_noted: last,
            last_durable: last,
            fold,
            subscribers,
            awaited: vec![],
            settle_asked: None,
            finish: None,
            interrupted: None,
            unrecorded,
            _guard: guard,
        }
    }

    fn order_commit(&mut self, ctx: &mut Context<Self>) {
        if self.ordered || self.committing || self.waiting.is_empty() {
            return;
        }
        let rest =
            self.last_commit.map_or(Duration::ZERO, |last| self.commit_every.saturating_sub(last.elapsed()));
        let somebody_waits = self.settle_asked.is_some() || self.finish.is_some() || !self.awaited.is_empty();
        if rest.is_zero() || somebody_waits {
            if let Some(paced) = self.paced.take() {
                ctx.cancel_future(paced);
            }
            self.ordered = true;
            ctx.notify(Commit);
        } else if self.paced.is_none() {
            self.paced = Some(ctx.run_later(rest, |collector, ctx| {
                collector.paced = None;
                collector.last_commit = None;
                collector.order_commit(ctx);
            }));
        }
    }

    fn answer(&mut self) {
        for (seq, waiting) in std::mem::take(&mut self.awaited) {
            if seq <= self.last_durable {
                // The caller may have stopped waiting.
                let _ = waiting.send(());
            } else {
                self.awaited.push((seq, waiting));
            }
        }
        if self.last_durable < self.last_noted {
            return;
        }
        if let Some(keeper) = self.settle_asked.take() {
            keeper.do_send(RunHappened(RunEvent::Settled));
        }
        if let Some(finish) = self.finish.take() {
            self.subscribers.clear();
            // The handle may have been dropped; the journal is complete.
            let _ = finish.try_send(self.fold.report());
        }
    }
}

impl Actor for ResultCollector {
    type Context = Context<Self>;
}

impl Handler<Noted> for ResultCollector {
    type Result = ();
    fn handle(&mut self, Noted(event): Noted, ctx: &mut Context<Self>) {
        self.last_noted = event.seq;
        if matches!(event.kind, EventKind::EndAsked { reason: EndReason::Cancelled, .. }) {
            self.interrupted = Some(tokio::time::Instant::now());
        }
        self.waiting.push(event);
        self.order_commit(ctx);
    }
}

impl Handler<Commit> for ResultCollector {
    type Result = ();
    fn handle(&mut self, _: Commit, ctx: &mut Context<Self>) {
        self.ordered = false;
        self.committing = true;
        self.last_commit = Some(tokio::time::Instant::now());
        let events = std::mem::take(&mut self.waiting);
        let committed = self.journal.append(events.clone());
        ctx.spawn(committed.into_actor(self).then(move |outcome, collector, ctx| {
            let mut published = vec![];
            match outcome {
                Ok(()) => {
                    collector.last_durable = events.last().map_or(collector.last_durable, |event| event.seq);
                    for event in &events {
                        collector.fold.apply(event);
                    }
                    published = events;
                }
                Err(error @ (JournalError::Closed | JournalError::FlushFailed { .. })) => {
                    // No later attempt can succeed: the run ends instead of waiting for ever.
                    tracing::error!(%error, "cannot record events any more");
                    ctx.stop();
                    return async {}.into_actor(collector).boxed_local();
                }
                Err(error) if collector.interrupted.is_some_and(|since| since.elapsed() >= RECORD_PATIENCE) => {
                    tracing::error!(%error, "cannot record events, and the run was interrupted: it ends without them");
                    let mut unrecorded = collector.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
                    *unrecorded = Some(error.to_string());
                    ctx.stop();
                    return async {}.into_actor(collector).boxed_local();
                }
                Err(error) => {
                    tracing::error!(%error, "cannot record events; trying again in {COMMIT_AGAIN:?}");
                    let mut again = events;
                    again.append(&mut collector.waiting);
                    collector.waiting = again;
                    ctx.run_later(COMMIT_AGAIN, |collector, ctx| {
                        collector.committing = false;
                        collector.order_commit(ctx);
                    });
                    return async {}.into_actor(collector).boxed_local();
                }
            }
            // A slow subscriber delays the record, so that it misses no event.
            let subscribers = collector.subscribers.clone();
            async move {
                for subscriber in &subscribers {
                    for event in &published {
                        if subscriber.send(event.clone()).await.is_err() {
                            break;
                        }
                    }
                }
            }
            .into_actor(collector)
            .map(|(), collector, ctx: &mut Context<Self>| {
                collector.subscribers.retain(|subscriber| !subscriber.is_closed());
                collector.committing = false;
                collector.answer();
                collector.order_commit(ctx);
            })
            .boxed_local()
        }));
    }
}

impl Handler<WhenDurable> for ResultCollector {
    type Result = MessageResult<WhenDurable>;
    fn handle(&mut self, _: WhenDurable, ctx: &mut Context<Self>) -> Self::Result {
        let (waiting, durable) = tokio::sync::oneshot::channel();
        self.awaited.push((self.last_noted, waiting));
        self.order_commit(ctx);
        if !self.committing {
            self.answer();
        }
        MessageResult(durable)
    }
}

impl Handler<Settle> for ResultCollector {
    type Result = ();
    fn handle(&mut self, Settle(keeper): Settle, ctx: &mut Context<Self>) {
        self.settle_asked = Some(keeper);
        self.order_commit(ctx);
        if !self.committing {
            self.answer();
        }
    }
}

impl Handler<Finish> for ResultCollector {
    type Result = ();
    fn handle(&mut self, Finish(report): Finish, ctx: &mut Context<Self>) {
        self.finish = Some(report);
        self.order_commit(ctx);
        if !self.committing {
            self.answer();
        }
    }
}
