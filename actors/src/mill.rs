//! The daemon of a drop folder: opens runs for its files, owns its pools, and shuts down in order.
//!
//! The mill owns the runs and the drop folder; the drop folder adds files to the current run. Every wait is a
//! state of a state machine, so that messages are answered at once.

mod recall;
mod runs;

pub use runs::{RunStore, StartedRun, StoredRun};

use crate::{
    bodies::pool_resize,
    deletion::delete_pool,
    drop_folder::{
        ChangedPaths, Drain, DropCounts, DropFolder, DropParts, DropSettings, Feeders, GetCounts, Maker,
        Reload, RescanNow, StreamEnded, StreamEvent, StreamOpened, watch,
    },
    drop_store::DropStore,
    services::Services,
    shell::{Drives, Shell},
    wiring::Canceller,
};
use actix::prelude::*;
use dropmill_journal::{
    DuplicateIndex,
    event::{EndReason, Event, EventKind, FileOutcome, Outcome},
    past::RecoveredTask,
    report::Report,
};
use dropmill_lifecycle::{
    Elapsed,
    mill::{Mill as MillMachine, MillCommand, MillEvent, MillLimits, MillState},
    plan::shared_application,
    pool::Nodes,
    release::{Release, ReleaseCommand, ReleaseEvent, ReleaseLimits, ReleaseState},
};
use futures_util::future::LocalBoxFuture;
use recall::{Recovered, Resumed};
use std::{collections::BTreeMap, path::PathBuf, rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Interval for checking whether nodes can be released.
const RELEASE_EVERY: Duration = Duration::from_secs(60);

/// A report of the mill to its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MillNotice {
    /// A file is in its final place.
    Finished(Finished),
    /// A file that a previous process published, perhaps without sending the notification.
    FinishedBefore(Finished),
    /// No files are left: the service was asked to remove the nodes of this pool.
    NodesReleased {
        /// Id of the pool.
        pool: String,
    },
    /// A message for people.
    Say(String),
}

/// A file in its final place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Run of its task.
    pub run: String,
    /// Id of the task.
    pub task: String,
    /// Path below the drop folder; `%` and bytes that are not UTF-8 are written as `%XX`.
    pub input: String,
    /// Outcome of the file.
    pub outcome: FileOutcome,
    /// Path of the result or failure.
    pub place: PathBuf,
    /// Why it failed.
    pub cause: Option<String>,
}

/// Receives every event of every run; the next event is read when it returns.
pub type EventSink = Rc<dyn Fn(Event) -> LocalBoxFuture<'static, ()>>;

/// The parts of a mill.
pub struct MillParts {
    /// Settings of the drop folder.
    pub settings: DropSettings,
    /// The folders of the daemon.
    pub store: Arc<dyn DropStore>,
    /// Creates tasks from files.
    pub make: Maker,
    /// The stored runs.
    pub runs: Rc<dyn RunStore>,
    /// The services that execute the runs.
    pub services: Services,
    /// Files that were processed before.
    pub known: Rc<DuplicateIndex>,
    /// Timeouts of the mill.
    pub limits: MillLimits,
    /// Whether pools are kept when the mill ends.
    pub keeps_pools: bool,
    /// Receives the reports.
    pub notices: async_channel::Sender<MillNotice>,
    /// Receives the events of the runs.
    pub events: EventSink,
}

/// A running mill; cheap to clone.
#[derive(Clone)]
pub struct MillHandle {
    mill: Addr<Mill>,
    folder: Addr<DropFolder>,
    hints: ChangedPaths,
    over: async_channel::Receiver<()>,
}

impl MillParts {
    /// Restores the state of previous processes, and starts the actors in the current actix system.
    ///
    /// # Errors
    /// Returns which state cannot be restored.
    pub fn start(self) -> Result<MillHandle, String> {
        let recovered = recall::recall(&*self.runs, &*self.store)?;
        let (hints, feeders) = (ChangedPaths::default(), Feeders::default());
        let mill = Context::<Mill>::new();
        let (ended, over) = async_channel::bounded(1);
        let parts = DropParts {
            settings: self.settings,
            store: self.store,
            make: self.make,
            hints: hints.clone(),
            feeders: feeders.clone(),
            known: self.known,
            mill: mill.address(),
            notices: self.notices.clone(),
        };
        let folder = DropFolder::new(parts).start();
        let handle = MillHandle { mill: mill.address(), folder: folder.clone(), hints, over };
        let check_at = Elapsed::default() + RELEASE_EVERY;
        mill.run(Mill {
            shell: Shell::new(MillState::default(), self.limits),
            nodes: Shell::new(ReleaseState::InUse { check_at }, ReleaseLimits { every: RELEASE_EVERY }),
            began: Instant::now(),
            runs: self.runs,
            services: self.services,
            keeps_pools: self.keeps_pools,
            folder,
            feeders,
            streams: BTreeMap::new(),
            pool: None,
            notices: self.notices,
            events: self.events,
            recovered: Some(Box::new(recovered)),
            ended,
        });
        Ok(handle)
    }
}

impl MillHandle {
    /// Watches the drop folder for change notifications, until the returned watcher is dropped.
    ///
    /// # Errors
    /// Fails if the file system does not send notifications: then only scans find files.
    pub fn watch(
        &self,
        directory: &std::path::Path,
        recursive: bool,
    ) -> Result<impl Sized + use<>, notify::Error> {
        watch(directory, recursive, self.hints.clone(), self.folder.clone())
    }

    /// Notifies the mill that a path has changed; `complete` means that its writer has closed it or moved it
    /// there.
    pub fn changed(&self, path: PathBuf, complete: bool) {
        if self.hints.changed(path, complete) {
            self.folder.do_send(RescanNow);
        }
    }

    /// Scans the drop folder now.
    pub fn rescan(&self) {
        self.folder.do_send(RescanNow);
    }

    /// Claims no more files, finishes those in flight, then ends.
    pub fn drain(&self) {
        self.mill.do_send(MillHappened(MillEvent::DrainAsked));
    }

    /// Ends at once: the next process continues with the files in flight.
    pub fn stop(&self) {
        self.mill.do_send(MillHappened(MillEvent::StopAsked));
    }

    /// Uses other settings, from the next run on.
    pub fn reload(&self, settings: DropSettings, make: Maker, limits: MillLimits, keeps_pools: bool) {
        self.folder.do_send(Reload(settings, make));
        self.mill.do_send(ReloadMill { limits, keeps_pools });
    }

    /// Returns counts of files and the names of runs; `None` if the mill has ended.
    pub async fn status(&self) -> Option<(DropCounts, Vec<String>)> {
        let counts = self.folder.send(GetCounts).await.ok()?;
        Some((counts, self.mill.send(GetRuns).await.ok()?))
    }

    /// Resolves when the mill has ended.
    pub async fn over(&self) {
        // The channel closes when the actor ends.
        let _ = self.over.recv().await;
    }
}

/// The actor of the daemon.
pub struct Mill {
    shell: Shell<MillMachine>,
    nodes: Shell<Release>,
    began: Instant,
    runs: Rc<dyn RunStore>,
    services: Services,
    keeps_pools: bool,
    folder: Addr<DropFolder>,
    feeders: Feeders,
    streams: BTreeMap<String, Canceller>,
    /// Pool of the latest run.
    pool: Option<String>,
    notices: async_channel::Sender<MillNotice>,
    events: EventSink,
    /// Boxed, because channels must not move.
    recovered: Option<Box<Recovered>>,
    ended: async_channel::Sender<()>,
}

/// Notifies the mill of an event of the daemon.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct MillHappened(pub MillEvent);

/// All files of an ended run are in their final places.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LeftoverDone(pub String);

#[derive(Message)]
#[rtype(result = "()")]
struct ReloadMill {
    limits: MillLimits,
    keeps_pools: bool,
}

#[derive(Message)]
#[rtype(result = "Vec<String>")]
struct GetRuns;

impl Mill {
    fn elapsed(&self) -> Elapsed {
        Elapsed(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn mill_happened(&mut self, event: MillEvent, ctx: &mut Context<Self>) {
        Drives::<MillMachine>::happened(self, event, ctx);
    }

    fn nodes_happened(&mut self, event: ReleaseEvent, ctx: &mut Context<Self>) {
        Drives::<Release>::happened(self, event, ctx);
    }

    fn report(&self, notice: MillNotice) {
        // The program has stopped listening because it ends.
        let _ = self.notices.try_send(notice);
    }

    fn open(&mut self, ctx: &mut Context<Self>) {
        match self.runs.open() {
            Ok(started) => {
                self.pool = Some(started.pool.clone());
                self.begin(started, None, ctx);
                ctx.notify(MillHappened(MillEvent::Opened));
            }
            Err(cause) => ctx.notify(MillHappened(MillEvent::OpenFailed(cause))),
        }
    }

    /// Adds a run to the drop folder, and listens to its events.
    fn begin(
        &mut self,
        started: StartedRun,
        tasks: Option<Vec<(String, RecoveredTask)>>,
        ctx: &mut Context<Self>,
    ) {
        let StartedRun { run, pool, events, canceller, feeder, finished } = started;
        self.pool.get_or_insert(pool);
        self.streams.insert(run.clone(), canceller);
        self.feeders.borrow_mut().insert(run.clone(), feeder);
        self.folder.do_send(StreamOpened { run: run.clone(), recovered: tasks });
        self.nodes_happened(ReleaseEvent::Used, ctx);
        let (folder, sink) = (self.folder.clone(), self.events.clone());
        let reading = actix::spawn(async move {
            while let Ok(event) = events.recv().await {
                if matters(&event) {
                    folder.do_send(StreamEvent(event.clone()));
                }
                sink(event).await;
            }
        });
        let ended = async move {
            let report = finished.await;
            let _ = reading.await;
            report
        };
        ctx.spawn(ended.into_actor(self).map(move |report, mill, ctx| mill.run_ended(run, &report, ctx)));
    }

    fn run_ended(&mut self, run: String, report: &Result<Report, String>, ctx: &mut Context<Self>) {
        self.streams.remove(&run);
        let reason = match report {
            Ok(report) => report.reason.clone().unwrap_or_default(),
            Err(error) => error.clone(),
        };
        let outcome = report.as_ref().ok().and_then(|report| report.outcome);
        let well = matches!(outcome, Some(Outcome::Succeeded | Outcome::TasksFailed));
        if !well {
            self.report(MillNotice::Say(format!("{run} ended: {reason}")));
        }
        self.folder.do_send(StreamEnded { run, reason });
        self.mill_happened(MillEvent::RunEnded { well }, ctx);
        if well {
            self.check_idle(ctx);
        }
    }

    /// Nodes cost money while they wait for files.
    fn check_idle(&mut self, ctx: &mut Context<Self>) {
        let counts = self.folder.send(GetCounts);
        ctx.spawn(counts.into_actor(self).map(|counts, mill, ctx| {
            let work = counts.map_or(0, |counts| counts.waiting + counts.in_flight);
            if work == 0 && mill.streams.is_empty() {
                mill.nodes_happened(ReleaseEvent::Idle, ctx);
            }
        }));
    }

    /// Removes the nodes of all pools. A pool that the run file no longer names is deleted.
    fn release(&mut self, ctx: &mut Context<Self>) {
        let (services, current, keeps) = (self.services.clone(), self.pool.clone(), self.keeps_pools);
        let pools = self.runs.pools();
        let asked = async move {
            let mut answers = vec![];
            for pool in pools {
                // Before this process has a run, any of the pools may be the current one.
                let superseded = !keeps && current.as_ref().is_some_and(|current| *current != pool);
                let answer = match superseded {
                    true => delete_pool_and_application(&services, &pool).await,
                    false => release_nodes(&services, &pool).await,
                };
                answers.push((pool, superseded, answer));
            }
            answers
        };
        ctx.spawn(asked.into_actor(self).map(|answers, mill, ctx| {
            let all = answers.iter().all(|(_, _, answer)| answer.is_ok());
            for (pool, superseded, answer) in answers {
                match answer {
                    Ok(()) => {
                        if superseded {
                            mill.runs.forget_pool(&pool);
                        }
                        mill.report(MillNotice::NodesReleased { pool });
                    }
                    Err(error) => {
                        mill.report(MillNotice::Say(format!("{error}; next attempt in {RELEASE_EVERY:?}")));
                    }
                }
            }
            mill.nodes_happened(ReleaseEvent::Answered { all }, ctx);
        }));
    }

    fn delete_pools(&mut self, ctx: &mut Context<Self>) {
        let (services, keeps, pools) = (self.services.clone(), self.keeps_pools, self.runs.pools());
        let deleted = async move {
            let mut answers = vec![];
            for pool in pools.into_iter().filter(|_| !keeps) {
                let answer = delete_pool_and_application(&services, &pool).await;
                answers.push((pool, answer));
            }
            answers
        };
        ctx.spawn(deleted.into_actor(self).map(|answers, mill, ctx| {
            let all = answers.iter().all(|(_, answer)| answer.is_ok());
            for (pool, answer) in answers {
                match answer {
                    Ok(()) => mill.runs.forget_pool(&pool),
                    Err(error) => mill.report(MillNotice::Say(error)),
                }
            }
            mill.mill_happened(MillEvent::PoolsAnswered { all }, ctx);
        }));
    }
}

impl Drives<MillMachine> for Mill {
    fn shell(&mut self) -> &mut Shell<MillMachine> {
        &mut self.shell
    }

    fn now(&self) -> Elapsed {
        self.elapsed()
    }

    fn carry_out(&mut self, command: MillCommand, ctx: &mut Context<Self>) {
        match command {
            MillCommand::Open => self.open(ctx),
            MillCommand::StopTaking => self.folder.do_send(Drain),
            MillCommand::CancelRuns => {
                let message = "files in flight did not end within watch.drain: their tasks are terminated, and the files wait for the next start";
                self.report(MillNotice::Say(message.into()));
                self.streams.values().for_each(|run| run.cancel("the daemon ends"));
            }
            MillCommand::DeletePools => self.delete_pools(ctx),
            MillCommand::ReportDelay { delay, cause } => {
                self.report(MillNotice::Say(format!(
                    "cannot begin a run: {cause}; next attempt in {delay:?}"
                )));
            }
            MillCommand::Finish => {
                let _ = self.ended.try_send(());
                ctx.stop();
            }
        }
    }
}

impl Drives<Release> for Mill {
    fn shell(&mut self) -> &mut Shell<Release> {
        &mut self.nodes
    }

    fn now(&self) -> Elapsed {
        self.elapsed()
    }

    fn carry_out(&mut self, command: ReleaseCommand, ctx: &mut Context<Self>) {
        match command {
            ReleaseCommand::CheckIdle => self.check_idle(ctx),
            ReleaseCommand::Release => self.release(ctx),
        }
    }
}

impl Actor for Mill {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        let Recovered { resumed, leftovers, adopted, finished } =
            self.recovered.take().map(|recovered| *recovered).unwrap_or_default();
        finished.into_iter().for_each(|finished| self.report(MillNotice::FinishedBefore(finished)));
        for Resumed { run, tasks } in resumed {
            self.report(MillNotice::Say(format!("{}: resumed with {} files", run.run, tasks.len())));
            self.begin(run, Some(tasks), ctx);
        }
        leftovers.into_iter().for_each(|leftover| self.folder.do_send(leftover));
        adopted.into_iter().for_each(|adopt| self.folder.do_send(adopt));
        Drives::<MillMachine>::set_timer(self, ctx);
        Drives::<Release>::set_timer(self, ctx);
    }
}

impl Handler<MillHappened> for Mill {
    type Result = ();
    fn handle(&mut self, MillHappened(event): MillHappened, ctx: &mut Context<Self>) {
        self.mill_happened(event, ctx);
    }
}

impl Handler<ReloadMill> for Mill {
    type Result = ();
    fn handle(&mut self, ReloadMill { limits, keeps_pools }: ReloadMill, _: &mut Context<Self>) {
        self.shell.set_limits(limits);
        self.keeps_pools = keeps_pools;
    }
}

impl Handler<LeftoverDone> for Mill {
    type Result = ();
    fn handle(&mut self, LeftoverDone(run): LeftoverDone, _: &mut Context<Self>) {
        if let Err(error) = self.runs.close(&run) {
            tracing::warn!(%error, run, "the next start reads the run again");
        }
    }
}

impl Handler<GetRuns> for Mill {
    type Result = Vec<String>;
    fn handle(&mut self, _: GetRuns, _: &mut Context<Self>) -> Vec<String> {
        self.streams.keys().cloned().collect()
    }
}

/// Returns whether the place of a file depends on an event.
fn matters(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::TaskEnded(_) | EventKind::OutputDelivered { .. } | EventKind::TaskClosed { .. }
    ) || matches!(event.kind, EventKind::EndAsked { reason: EndReason::Infrastructure, .. })
}

/// Deletes a pool and the container of its application.
async fn delete_pool_and_application(services: &Services, pool: &str) -> Result<(), String> {
    delete_pool(&services.batch, pool)
        .await
        .map_err(|error| format!("cannot delete pool {pool}: {error}"))?;
    let application = shared_application(pool);
    match services.blob.delete_container(&application).await {
        Err(error) if !error.is_not_found() => Err(format!("cannot delete container {application}: {error}")),
        _ => Ok(()),
    }
}

/// Removes the nodes of a pool. The next run notices that they are missing, and requests them.
async fn release_nodes(services: &Services, pool: &str) -> Result<(), String> {
    let none = pool_resize(Nodes { dedicated: 0, spot: 0 });
    match services.batch.resize_pool(pool, &none).await {
        Err(error) if !error.is_not_found() => {
            Err(format!("cannot release the nodes of pool {pool}: {error}"))
        }
        _ => Ok(()),
    }
}
