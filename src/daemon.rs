//! The daemon over a drop folder: opens runs that take its files, goes on with those of an earlier life, ends in order.

mod folders;
mod pools;

pub use folders::look;

use crate::{
    commands::services,
    life::{Found, Life},
    notify::{Notifier, notice_id},
    plan,
    settings::{Loaded, Policy, Settings, Task},
    state::{RunFolder, State},
};
use actix::{Addr, AsyncContext, Context};
use anyhow::{Context as _, Result};
use dropmill_actors::{
    Canceller, Services,
    drop_folder::{
        Adopt, Drain, DropCounts, DropFolder, DropSettings, Feeders, Hints, LookNow, NewItem, Reload,
        RunSaid, StreamOpened, StreamOver, Want, WhatIsThere, watch,
    },
    drop_store::{DropStore, Root, path_of, text_of},
};
use dropmill_azure_wire::time::SharedClock;
use dropmill_journal::{
    Outbox, SeenBefore,
    event::{EndReason, Event, Happening, Outcome},
    past::PastTask,
    report::Report,
};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_local_azure::service::LocalAzure;
use folders::{Folders, drop_settings, name_of, own_id, remember};
use pools::Pools;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// In the folder of a run that is over and needs no life of the daemon any more.
const OVER: &str = "over";
/// Seconds that a notice which was told is known, so that it is not told again.
const REMEMBER_NOTICES: i64 = 30 * 24 * 3600;
/// Shortest and longest rest before a run is opened after one that ended for want of a service.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What a daemon tells.
#[derive(Debug, Clone)]
pub enum Notice {
    /// It is at work.
    Ready,
    /// A file is in its place.
    Finished {
        /// The run and the task that it was.
        run: String,
        /// See `run`.
        task: String,
        /// Its path below the drop folder; a byte that is not UTF-8, and `%`, as `%XX`.
        input: String,
        /// `done`, `duplicate` or `failed`.
        outcome: &'static str,
        /// Where it is.
        place: PathBuf,
        /// Why it failed.
        cause: Option<String>,
    },
    /// No files are left: the service was told to take the nodes of this pool away until the next one comes.
    NodesReleased {
        /// Its id.
        pool: String,
    },
    /// The run file was read again: the next run does what it says now.
    Reloaded {
        /// Keys that changed too, and are read by the next start only.
        later: Vec<&'static str>,
    },
    /// An event of one of its runs.
    Event(Box<Event>),
    /// A line for people.
    Say(String),
}

/// What a daemon is told.
#[derive(Debug, Clone)]
pub enum Command {
    /// Take nothing more, end what goes on, then end.
    Drain,
    /// End at once; the next start goes on.
    Stop,
    /// Look at the folder now.
    Look,
    /// The run file was read again.
    Reload(Box<Loaded>),
}

/// How things stand.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// The drop folder.
    pub directory: PathBuf,
    /// The program that watches it.
    pub pid: u32,
    /// Files.
    pub files: DropCounts,
    /// Runs that go on.
    pub runs: Vec<String>,
}

/// Asks a daemon how things stand.
pub type AskStatus = async_channel::Sender<tokio::sync::oneshot::Sender<Status>>;

/// A daemon, ready to begin.
pub struct Daemon {
    loaded: Loaded,
    state: State,
    clock: SharedClock,
    home: RunFolder,
    settings: DropSettings,
    store: Arc<dyn DropStore>,
    /// The daemon's own work folder.
    work: PathBuf,
    /// Begins the ids of its pools.
    pool: String,
    pools: Pools,
}

struct Stream {
    canceller: Canceller,
}

/// A run's end.
struct Over {
    run: String,
    report: Result<Report>,
}

impl Daemon {
    /// Checks everything and takes hold of the folder.
    pub fn open(loaded: Loaded, state: State, clock: SharedClock) -> Result<Self> {
        let folders = Folders::of(&loaded)?;
        let name = name_of(&loaded, &folders);
        let home = state.daemon(&name, clock.now())?;
        let id = own_id(&home.path)?;
        let work = folders.work.join(&id);
        for folder in [&folders.directory, &folders.done, &folders.failed, &work] {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        // Mistakes of the run file must not be found when the first file comes.
        let pool = format!("{name}-{id}");
        plan::stream(&loaded, "checked", &pool, &work)?;
        let settings = drop_settings(&loaded, &folders);
        let store = Arc::new(folders.store(&work));
        let pools = Pools::of(&home.path)?;
        Ok(Self { loaded, state, clock, home, settings, store, work, pool, pools })
    }

    /// Works until it is told to end; in an actix system.
    pub async fn work(
        self,
        orders: async_channel::Receiver<Command>,
        asks: async_channel::Receiver<tokio::sync::oneshot::Sender<Status>>,
        notices: async_channel::Sender<Notice>,
    ) -> Result<()> {
        let (services, embedded) =
            services::open(&self.loaded, &self.home.path.join("service"), &self.clock, None)?;
        if let Some(service) = embedded.clone() {
            actix::spawn(async move { service.alarms().await });
        }
        let notifier = Notifier::begin(&self.loaded, &self.clock, || {
            let outbox = Outbox::open(&self.home.path.join("notices.db"))?;
            outbox.forget_before(self.clock.now().as_second() - REMEMBER_NOTICES)?;
            Ok(outbox)
        })?;
        let (wants, wanted) = async_channel::unbounded();
        let known = SeenBefore::open(&self.home.path.join("seen.db"))?;
        let oldest = self.clock.now().as_second() - remember(&self.loaded);
        known.forget_before(oldest)?;
        let (hints, feeders) = (Hints::default(), Feeders::default());
        let task = Rc::new(RefCell::new(self.loaded.settings.task.clone()));
        let shared = task.clone();
        let make = Rc::new(move |file: &NewItem| plan::dropped(&shared.borrow(), file));
        let context = Context::<DropFolder>::new();
        let address = context.address();
        let (directory, recursive) = (self.settings.directory.clone(), self.settings.rules.recursive);
        let watching = watch(&directory, recursive, hints.clone(), address.clone());
        if let Err(error) = &watching {
            let told =
                format!("{}: no notifications ({error}); it is looked at instead", directory.display());
            tell(&notices, Notice::Say(told)).await;
        }
        let folder = context.run(DropFolder::new(
            self.settings.clone(),
            self.store.clone(),
            make,
            hints,
            feeders.clone(),
            known,
            wants,
        ));
        let (over, overs) = async_channel::unbounded();
        let mut work = Work {
            daemon: self,
            notifier,
            services,
            embedded,
            folder,
            task,
            feeders,
            notices,
            over,
            streams: BTreeMap::new(),
            rest: Duration::ZERO,
            // Whatever an earlier life left standing.
            unreleased: true,
            current: None,
        };
        work.recall().await?;
        tell(&work.notices, Notice::Ready).await;
        let outcome = work.until_the_end(wanted, overs, orders, asks).await;
        drop(watching);
        // A run that could not end in time must not hold whoever listens: the next start goes on with it.
        work.notices.close();
        if let Some(service) = work.embedded {
            service.stop();
        }
        if let Some(notifier) = work.notifier.take() {
            notifier.end().await;
        }
        outcome
    }
}

struct Work {
    daemon: Daemon,
    notifier: Option<Notifier>,
    services: Services,
    embedded: Option<LocalAzure>,
    folder: Addr<DropFolder>,
    /// What is done with a file that goes into the next run.
    task: Rc<RefCell<Task>>,
    feeders: Feeders,
    notices: async_channel::Sender<Notice>,
    over: async_channel::Sender<Over>,
    streams: BTreeMap<String, Stream>,
    /// How long the next run waits for its beginning.
    rest: Duration,
    /// Nodes may be there for nothing.
    unreleased: bool,
    /// The plan of the latest run.
    current: Option<RunPlan>,
}

impl Work {
    async fn until_the_end(
        &mut self,
        wanted: async_channel::Receiver<Want>,
        overs: async_channel::Receiver<Over>,
        orders: async_channel::Receiver<Command>,
        asks: async_channel::Receiver<tokio::sync::oneshot::Sender<Status>>,
    ) -> Result<()> {
        let never = tokio::time::sleep(Duration::from_secs(u64::from(u32::MAX)));
        let mut patience = Box::pin(never);
        let drain = self.daemon.loaded.settings.watch.drain.0;
        let mut drains = 0;
        let mut gone = Box::pin(crate::state::taken_away(self.daemon.home.path.clone()));
        let soon = tokio::time::Instant::now() + REOPEN.1;
        let mut release_again = tokio::time::interval_at(soon, REOPEN.1);
        release_again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Ok(Command::Look) => self.folder.do_send(LookNow),
                    Ok(Command::Reload(loaded)) => self.reload(*loaded).await,
                    Ok(Command::Drain) => {
                        self.folder.do_send(Drain);
                        patience.as_mut().reset(tokio::time::Instant::now() + drain);
                    }
                    // Whoever could tell it is gone.
                    Ok(Command::Stop) | Err(_) => return Ok(()),
                },
                Ok(want) = wanted.recv() => match want {
                    Want::Stream => self.open_stream().await?,
                    Want::Say(line) => tell(&self.notices, Notice::Say(line)).await,
                    Want::Finished { run, task, input, outcome, place, cause } => {
                        self.inform(&run, &task, &input, outcome, &place, cause.as_deref());
                        tell(&self.notices, Notice::Finished { run, task, input, outcome, place, cause }).await;
                    }
                    Want::Drained => {
                        self.delete_pools().await;
                        return Ok(());
                    }
                },
                gone = &mut gone => return Err(gone),
                Ok(over) = overs.recv() => self.stream_over(over).await,
                Ok(ask) = asks.recv() => {
                    if let Ok(files) = self.folder.send(WhatIsThere).await {
                        let runs = self.streams.keys().cloned().collect();
                        let directory = self.daemon.settings.directory.clone();
                        let _ = ask.send(Status { directory, pid: std::process::id(), files, runs });
                    }
                }
                _ = release_again.tick(), if self.unreleased => self.release_if_idle().await,
                () = &mut patience => {
                    drains += 1;
                    if drains > 1 {
                        return Ok(());
                    }
                    let told = format!("not done within watch.drain ({drain:?}): tasks are ended, their files wait for the next start");
                    tell(&self.notices, Notice::Say(told)).await;
                    self.streams.values().for_each(|stream| stream.canceller.cancel("the daemon ends"));
                    patience.as_mut().reset(tokio::time::Instant::now() + drain);
                }
            }
        }
    }

    /// Whoever wants to be told of finished files, is; also if an earlier life had no time to.
    fn inform(&self, run: &str, task: &str, input: &str, outcome: &str, place: &Path, cause: Option<&str>) {
        let Some(notifier) = &self.notifier else { return };
        let place = text_of(place);
        let what = json!({
            "run": run, "task": task, "input": input, "outcome": outcome, "place": place, "cause": cause,
        });
        notifier.tell(&notice_id(&[run, task]), "finished", what);
    }

    /// Goes on with the runs of earlier lives, and takes up files that no run knows.
    async fn recall(&mut self) -> Result<()> {
        let (work, store) = (self.daemon.work.clone(), self.daemon.store.clone());
        let mut names: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
        let mut known = vec![];
        store.prune();
        for (path, _) in self.daemon.state.runs_of_daemon(&work)? {
            if path.join(OVER).exists() {
                continue;
            }
            let mut found = Found::at(&path)?;
            let past = found.past();
            for (task, past) in &past.tasks {
                if let (Some((outcome, place)), Some((input, _))) = (&past.published, &past.claimed) {
                    let root = store.root(if outcome == "failed" { Root::Failed } else { Root::Done });
                    let cause = past.failure.0.as_deref();
                    self.inform(&found.plan.run, task, input, outcome, &root.join(path_of(place)), cause);
                }
                if let Some((input, place)) = &past.claimed
                    && !past.settled
                {
                    let (run, folder) = place.split_once('/').unwrap_or((place, task));
                    names.insert((run.to_owned(), folder.to_owned()), path_of(input));
                }
            }
            if past.ended.is_some() {
                found.tidy(&self.daemon.state, &self.daemon.clock)?;
                crate::state::write_private(&path.join(OVER), b"")?;
                continue;
            }
            let what = found.task()?;
            let mut recalled: Vec<(String, PastTask)> = vec![];
            for (task, past) in past.tasks {
                let Some((input, place)) = &past.claimed else { continue };
                if past.settled && past.closed.is_none() {
                    continue;
                }
                let at = store.find(place, &path_of(input)).with_context(|| format!("take up {input}"))?;
                if at.is_none() && past.closed.is_none() {
                    // It was never taken: whoever has it, it is not this run.
                    continue;
                }
                if at.is_some() {
                    known.push(place.clone());
                }
                let size_bytes = at.as_ref().map_or(past.uploaded.unwrap_or(0), |at| at.look.size_bytes);
                let whole_folder = at.as_ref().is_some_and(|at| at.whole_folder);
                let source = at.map_or_else(|| store.source(place, &path_of(input)), |at| at.source);
                let (task_id, relative, run) = (task.clone(), input.clone(), found.plan.run.clone());
                let file = NewItem { task: task_id, relative, source, size_bytes, whole_folder, run };
                let mut item = plan::dropped(&what, &file);
                item.index = u32::try_from(found.plan.items.len()).unwrap_or(u32::MAX);
                found.plan.items.push(item);
                recalled.push((task, past));
            }
            let told = format!("{}: goes on with {} files", found.plan.run, recalled.len());
            tell(&self.notices, Notice::Say(told)).await;
            let loaded = self.daemon.loaded.clone();
            let life = Life::next(found, loaded, &self.daemon.state, &self.daemon.clock)?;
            self.daemon.pools.remember(&life.plan.pool.id)?;
            self.begin(life, Some(recalled));
        }
        for (place, name) in store.inputs() {
            if known.contains(&place) {
                continue;
            }
            let (run, task) = place.split_once('/').unwrap_or((&place, ""));
            let relative = names.get(&(run.to_owned(), task.to_owned())).cloned().unwrap_or(name);
            self.folder.do_send(Adopt { relative, place });
        }
        Ok(())
    }

    /// Goes on as the run file says now, from the next run on; what a daemon is made of stays until the next start.
    async fn reload(&mut self, mut loaded: Loaded) {
        let later = keep_what_stays(&self.daemon.loaded.settings, &mut loaded.settings);
        let checked = plan::stream(&loaded, "checked", &self.daemon.pool, &self.daemon.work);
        let folders = Folders::of(&loaded);
        let (Ok(_), Ok(folders)) = (&checked, &folders) else {
            let why = checked.err().map(|problems| problems.to_string());
            let why = why.or(folders.err().map(|error| error.to_string())).unwrap_or_default();
            return tell(&self.notices, Notice::Say(format!("not reloaded, goes on as before: {why}"))).await;
        };
        let settings = drop_settings(&loaded, folders);
        // The current run is closed before what the next one does changes.
        let _ = self.folder.send(Reload(settings.clone())).await;
        *self.task.borrow_mut() = loaded.settings.task.clone();
        (self.daemon.settings, self.daemon.loaded) = (settings, loaded);
        tell(&self.notices, Notice::Reloaded { later }).await;
    }

    async fn open_stream(&mut self) -> Result<()> {
        if !self.rest.is_zero() {
            tokio::time::sleep(self.rest).await;
        }
        let daemon = &self.daemon;
        let mut bytes = [0; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let name = &daemon.loaded.settings.run.name;
        let run = plan::run_name(name, daemon.clock.now(), &mut ChaCha8Rng::from_seed(bytes));
        let results = daemon.work.join(&run).join(".results");
        let plan = plan::stream(&daemon.loaded, &run, &daemon.pool, &results)?;
        self.daemon.pools.remember(&plan.pool.id)?;
        self.unreleased = true;
        self.current = Some(plan.clone());
        let watch = Some(daemon.work.clone());
        let life = Life::first(daemon.loaded.clone(), plan, watch, &daemon.state, &daemon.clock)?;
        self.begin(life, None);
        Ok(())
    }

    fn begin(&mut self, life: Life, recalled: Option<Vec<(String, PastTask)>>) {
        let run = life.plan.run.clone();
        self.current.get_or_insert_with(|| life.plan.clone());
        let at_work = life.begin_on(self.services.clone(), &self.daemon.clock);
        let (events, canceller, feeder) = (at_work.events(), at_work.canceller(), at_work.feeder());
        self.streams.insert(run.clone(), Stream { canceller });
        self.feeders.borrow_mut().insert(run.clone(), feeder);
        self.folder.do_send(StreamOpened { run: run.clone(), recalled });
        let (folder, notices, over) = (self.folder.clone(), self.notices.clone(), self.over.clone());
        let reading = actix::spawn(async move {
            while let Ok(event) = events.recv().await {
                if matters(&event) {
                    folder.do_send(RunSaid(event.clone()));
                }
                tell(&notices, Notice::Event(Box::new(event))).await;
            }
        });
        actix::spawn(async move {
            let report = at_work.finished().await;
            let _ = reading.await;
            let _ = over.send(Over { run, report }).await;
        });
    }

    async fn stream_over(&mut self, Over { run, report }: Over) {
        self.streams.remove(&run);
        let reason = match &report {
            Ok(report) => report.reason.clone().unwrap_or_default(),
            Err(error) => format!("{error:#}"),
        };
        let well = matches!(&report, Ok(report) if matches!(report.outcome, Some(Outcome::Succeeded | Outcome::TasksFailed)));
        // Whatever keeps runs from going on keeps the next one too, for a while.
        self.rest = if well { Duration::ZERO } else { (self.rest * 2).clamp(REOPEN.0, REOPEN.1) };
        if !well {
            tell(&self.notices, Notice::Say(format!("{run} ended: {reason}"))).await;
        }
        self.folder.do_send(StreamOver { run, reason });
        if well {
            self.release_if_idle().await;
        }
    }

    /// Nodes that wait for files cost, and so do pools that no run will ask for again.
    async fn release_if_idle(&mut self) {
        let work = self.folder.send(WhatIsThere).await.map_or(0, |files| files.waiting + files.in_flight);
        if work > 0 || !self.streams.is_empty() {
            return;
        }
        let current = self.current.as_ref().map(|plan| plan.pool.id.clone());
        self.unreleased = false;
        for pool in self.daemon.pools.known() {
            // Without a run in this life, the next one may ask for any of them.
            let superseded = !self.keeps_pools() && current.as_ref().is_some_and(|current| *current != pool);
            let done = match superseded {
                true => {
                    self.daemon.pools.delete(&self.services, &pool, &plan::shared_application(&pool)).await
                }
                false => self.daemon.pools.release(&self.services, &pool).await,
            };
            let notice = match done {
                Ok(()) => Notice::NodesReleased { pool },
                Err(error) => {
                    self.unreleased = true;
                    Notice::Say(format!("{error}; tried again in {:?}", REOPEN.1))
                }
            };
            tell(&self.notices, notice).await;
        }
    }

    fn keeps_pools(&self) -> bool {
        self.daemon.loaded.settings.cleanup.pool == Policy::Never
    }

    /// The pools are the daemon's: nobody else deletes them.
    async fn delete_pools(&self) {
        if self.keeps_pools() {
            return;
        }
        for pool in self.daemon.pools.known() {
            if let Err(error) =
                self.daemon.pools.delete(&self.services, &pool, &plan::shared_application(&pool)).await
            {
                tell(&self.notices, Notice::Say(error)).await;
            }
        }
    }
}

/// Puts back what a daemon cannot change while it works; what that was.
fn keep_what_stays(now: &Settings, then: &mut Settings) -> Vec<&'static str> {
    let mut kept = vec![];
    let mut keep = |name, differs: bool| {
        if differs {
            kept.push(name);
        }
    };
    let (watch, old) = (&mut then.watch, &now.watch);
    keep("run.name", then.run.name != now.run.name);
    keep("service", then.service != now.service);
    keep("notify", then.notify != now.notify);
    keep("watch.directory", watch.directory != old.directory);
    keep("watch.done", watch.done != old.done);
    keep("watch.failed", watch.failed != old.failed);
    keep("watch.work", watch.work != old.work);
    keep("watch.unit", watch.unit != old.unit);
    keep("watch.recursive", watch.recursive != old.recursive);
    keep("watch.listen", watch.listen != old.listen);
    (then.run.name, then.service, then.notify) =
        (now.run.name.clone(), now.service.clone(), now.notify.clone());
    (watch.directory, watch.done, watch.failed, watch.work) =
        (old.directory.clone(), old.done.clone(), old.failed.clone(), old.work.clone());
    (watch.unit, watch.recursive, watch.listen) = (old.unit, old.recursive, old.listen.clone());
    kept
}

async fn tell(notices: &async_channel::Sender<Notice>, notice: Notice) {
    // Whoever does not listen any more does not stop the daemon.
    let _ = notices.send(notice).await;
}

/// Events that a file's place depends on.
fn matters(event: &Event) -> bool {
    matches!(
        event.happening,
        Happening::TaskEnded(_) | Happening::OutputDelivered { .. } | Happening::TaskClosed { .. }
    ) || matches!(event.happening, Happening::EndAsked { reason: EndReason::Infrastructure, .. })
}
