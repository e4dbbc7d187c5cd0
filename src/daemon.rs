//! The daemon over a drop folder: opens its folders, starts its actors, and forwards commands, status
//! requests and notices.

mod folders;
#[cfg(feature = "cli")]
mod overview;
mod pools;
mod runs;
#[cfg(feature = "simulate")]
mod simulated;

#[cfg(all(test, feature = "cli"))]
pub use overview::LeftAlone;
#[cfg(feature = "cli")]
pub use overview::Overview;
#[cfg(feature = "simulate")]
pub use simulated::simulated;

use crate::{
    notify::{Notifier, notice_id},
    plan, services,
    settings::{Loaded, Located, Policy, Settings, Task},
    state::{RunFolder, State},
};
use anyhow::{Result, anyhow};
use dropmill_actors::{
    drop_folder::{DropCounts, DropSettings, Maker, NewItem},
    drop_store::{DropStore, text_of},
    mill::{Finished, MillHandle, MillNotice, MillParts},
};
use dropmill_azure_wire::time::SharedClock;
use dropmill_journal::{
    DuplicateIndex, Outbox,
    event::{Event, FileOutcome},
};
use dropmill_lifecycle::{delays::Delays, mill::MillLimits};
use folders::{Folders, drop_settings, name_of, own_id, remember};
use pools::Pools;
use runs::DiskRuns;
use serde_json::json;
use std::{cell::RefCell, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

/// Seconds for which a delivered notification is remembered, so that it is not sent again.
const REMEMBER_NOTICES: i64 = 30 * 24 * 3600;
/// Seconds to wait before a run is opened again after one, two, … that could not be opened or ended with an
/// error.
const REOPEN: [u64; 7] = [1, 2, 4, 8, 16, 32, 60];
/// Shortest time limit for ending runs that were cancelled, and for deleting pools.
const ENDING: Duration = Duration::from_secs(10);
/// Longest wait for the last notices to be received.
const LAST_NOTICES: Duration = Duration::from_secs(5);

/// An event of a daemon.
#[derive(Debug, Clone)]
pub enum DaemonEvent {
    /// The daemon is running.
    Ready,
    /// The result or failure of a file was delivered.
    Finished {
        /// The name of its run.
        run: String,
        /// The id of its task.
        task: String,
        /// The path of the input below the drop folder; a byte that is not UTF-8, and `%`, as `%XX`.
        input: String,
        /// How it ended: `done`, `duplicate` or `failed`.
        outcome: FileOutcome,
        /// The folder of the result, or of the failure.
        place: PathBuf,
        /// Why it failed, if it did.
        cause: Option<String>,
    },
    /// No files are left: the service removes the nodes of this pool until the next file arrives.
    NodesReleased {
        /// The id of the pool.
        pool: String,
    },
    /// The run file was read again: the next run uses it.
    Reloaded {
        /// Keys that changed too, and take effect at the next start only.
        later: Vec<&'static str>,
    },
    /// An event of one of its runs.
    Event(Box<Event>),
    /// A line for people. Names in it are unescaped: [`shown`](crate::shown) makes them safe for a terminal.
    Say(String),
}

/// A command to a daemon.
#[derive(Debug, Clone)]
pub enum Command {
    /// Takes no more files, finishes running tasks, then ends.
    Drain,
    /// Ends at once; the next start continues the work.
    Stop,
    /// Scans the folder now.
    Look,
    /// Uses the run file that was read again.
    Reload(Box<Loaded>),
}

/// The state of a daemon.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// The drop folder.
    pub directory: PathBuf,
    /// The process that watches it.
    pub pid: u32,
    /// Numbers of files that the daemon works on.
    pub files: DropCounts,
    /// Runs that are running.
    pub runs: Vec<String>,
}

/// Requests the status of a daemon.
pub type AskStatus = async_channel::Sender<tokio::sync::oneshot::Sender<Status>>;

/// A daemon that is ready to start.
pub struct Daemon {
    loaded: Loaded,
    state: State,
    clock: SharedClock,
    home: RunFolder,
    settings: DropSettings,
    store: Arc<dyn DropStore>,
    /// The daemon's own work folder.
    work: PathBuf,
    /// Prefix of the ids of its pools.
    pool: String,
    pools: Pools,
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    warnings: Vec<Located>,
}

impl Daemon {
    /// Returns what may be a mistake in the settings.
    #[cfg(feature = "cli")]
    pub fn warnings(&self) -> &[Located] {
        &self.warnings
    }

    /// Checks everything and locks the daemon's state folder.
    ///
    /// # Errors
    /// Fails if the run file has mistakes, another process watches the folder, or a folder cannot be made.
    pub fn open(mut loaded: Loaded, state: State, clock: SharedClock) -> Result<Self> {
        inherit_only_what_is_named(&mut loaded.settings);
        services::check(&loaded.settings)?;
        let folders = Folders::of(&loaded)?;
        // Mistakes in the run file must be found now, not when the first file arrives.
        let plan::Examined { plan: checked, warnings } = plan::examine_stream(&loaded, &folders.work);
        let checked = checked?;
        folders.check_own_files(&loaded, &checked.application, state.folder())?;
        let name = name_of(&loaded, &folders);
        let home = state.daemon(&name, clock.now())?;
        let id = own_id(&home.path)?;
        let work = folders.work.join(&id);
        for folder in [&folders.work, &work] {
            dropmill_private_files::folder(folder)?;
        }
        let store = Arc::new(folders.store(&work)?);
        let pool = format!("{name}-{id}");
        let settings = drop_settings(&loaded, &folders);
        let pools = Pools::of(&home.path)?;
        Ok(Self { loaded, state, clock, home, settings, store, work, pool, pools, warnings })
    }

    /// Works until it receives the command to end; in an actix system.
    ///
    /// # Errors Returns why it could not start, or that its state folder was removed.
    pub async fn work(
        self,
        orders: async_channel::Receiver<Command>,
        asks: async_channel::Receiver<tokio::sync::oneshot::Sender<Status>>,
        notices: async_channel::Sender<DaemonEvent>,
    ) -> Result<()> {
        let (services, embedded) =
            services::open(&self.loaded, &self.home.path.join("service"), &self.clock, None)?;
        if let Some(service) = &embedded {
            actix::spawn(service.clone().alarms());
        }
        let notifier = Notifier::begin(&self.loaded, &self.clock, || {
            let outbox = Outbox::open(&self.home.path.join("notices.db"))?;
            outbox.forget_before(self.clock.now().as_second() - REMEMBER_NOTICES)?;
            Ok(outbox)
        })?;
        let known = DuplicateIndex::open(&self.home.path.join("seen.db"))?;
        known.forget_before(self.clock.now().as_second() - remember(&self.loaded))?;
        let loaded = Rc::new(RefCell::new(self.loaded));
        let runs = DiskRuns {
            loaded: loaded.clone(),
            state: self.state,
            clock: self.clock,
            services: services.clone(),
            store: self.store.clone(),
            work: self.work.clone(),
            pool: self.pool.clone(),
            pools: self.pools,
            found: RefCell::default(),
        };
        let (said, says) = async_channel::unbounded();
        let to = notices.clone();
        let parts = MillParts {
            settings: self.settings.clone(),
            store: self.store,
            make: maker(&loaded.borrow().settings.task),
            runs: Rc::new(runs),
            services,
            known: Rc::new(known),
            limits: limits(&loaded.borrow().settings),
            keeps_pools: keeps_pools(&loaded.borrow().settings),
            notices: said,
            events: Rc::new(move |event| {
                let to = to.clone();
                Box::pin(async move { send(&to, DaemonEvent::Event(Box::new(event))).await })
            }),
        };
        let mill = parts.start().map_err(|error| anyhow!(error))?;
        let directory = self.settings.directory.clone();
        let watching = mill.watch(&directory, self.settings.rules.recursive);
        if let Err(error) = &watching {
            let line = format!("cannot watch {}: {error}; polling instead", directory.display());
            send(&notices, DaemonEvent::Say(line)).await;
        }
        send(&notices, DaemonEvent::Ready).await;
        let answering = actix::spawn(answer(mill.clone(), asks, directory));
        let passing = actix::spawn(pass_on(says.clone(), notifier, notices.clone()));
        let orders =
            Orders { mill, orders, loaded, settings: self.settings, work: self.work, pool: self.pool };
        let outcome = tokio::select! {
            gone = crate::state::taken_away(self.home.path.clone()) => Err(gone.into()),
            () = orders.carry_out(&notices) => Ok(()),
        };
        drop(watching);
        answering.abort();
        says.close();
        let notifier = tokio::time::timeout(LAST_NOTICES, passing).await;
        // A run that could not end in time must not hold the receiver: the next start resumes it.
        notices.close();
        if let Some(service) = embedded {
            service.stop();
        }
        if let Ok(Ok(Some(notifier))) = notifier {
            notifier.end().await;
        }
        outcome
    }
}

/// Answers status requests, whatever the mill waits for.
async fn answer(
    mill: MillHandle,
    asks: async_channel::Receiver<tokio::sync::oneshot::Sender<Status>>,
    directory: PathBuf,
) {
    while let Ok(ask) = asks.recv().await {
        let Some((files, runs)) = mill.status().await else { return };
        let _ = ask.send(Status { directory: directory.clone(), pid: std::process::id(), files, runs });
    }
}

/// Forwards notices of the mill to the caller and to the receivers of notifications.
async fn pass_on(
    says: async_channel::Receiver<MillNotice>,
    notifier: Option<Notifier>,
    notices: async_channel::Sender<DaemonEvent>,
) -> Option<Notifier> {
    while let Ok(notice) = says.recv().await {
        if let (MillNotice::Finished(finished) | MillNotice::FinishedBefore(finished), Some(notifier)) =
            (&notice, &notifier)
        {
            inform(notifier, finished);
        }
        let notice = match notice {
            MillNotice::FinishedBefore(_) => continue,
            MillNotice::Finished(finished) => {
                let Finished { run, task, input, outcome, place, cause } = finished;
                DaemonEvent::Finished { run, task, input, outcome, place, cause }
            }
            MillNotice::NodesReleased { pool } => DaemonEvent::NodesReleased { pool },
            MillNotice::Say(line) => DaemonEvent::Say(line),
        };
        send(&notices, notice).await;
    }
    notifier
}

/// Sends the notification of a finished file, including one that a previous process had no time to send.
fn inform(notifier: &Notifier, finished: &Finished) {
    let Finished { run, task, input, outcome, place, cause } = finished;
    let place = text_of(place);
    let what = json!({
        "run": run, "task": task, "input": input, "outcome": outcome, "place": place, "cause": cause,
    });
    notifier.send(&notice_id(&[run, task]), "finished", what);
}

/// Carries out commands.
struct Orders {
    mill: MillHandle,
    orders: async_channel::Receiver<Command>,
    loaded: Rc<RefCell<Loaded>>,
    settings: DropSettings,
    work: PathBuf,
    pool: String,
}

impl Orders {
    /// Carries out commands until the mill has ended.
    async fn carry_out(mut self, notices: &async_channel::Sender<DaemonEvent>) {
        let over = self.mill.clone();
        let mut over = std::pin::pin!(over.over());
        loop {
            tokio::select! {
                biased;
                () = &mut over => return,
                order = self.orders.recv() => match order {
                    Ok(Command::Look) => self.mill.rescan(),
                    Ok(Command::Reload(loaded)) => {
                        let notice = self.reload(*loaded);
                        send(notices, notice).await;
                    }
                    Ok(Command::Drain) => self.mill.drain(),
                    // Without a sender, no further command to end can arrive.
                    Ok(Command::Stop) | Err(_) => {
                        self.mill.stop();
                        return over.await;
                    }
                },
            }
        }
    }

    /// Uses the new run file from the next run on; folders and service stay the same until the next start.
    fn reload(&mut self, mut loaded: Loaded) -> DaemonEvent {
        inherit_only_what_is_named(&mut loaded.settings);
        let later = keep_what_stays(&self.loaded.borrow().settings, &mut loaded.settings);
        let checked = plan::stream(&loaded, "checked", &self.pool, &self.work);
        let folders = Folders::of(&loaded);
        let (Ok(_), Ok(folders)) = (&checked, &folders) else {
            let why = checked.err().map(|problems| problems.to_string());
            let why = why.or(folders.err().map(|error| error.to_string())).unwrap_or_default();
            return DaemonEvent::Say(format!("not reloaded, the settings stay unchanged: {why}"));
        };
        self.settings = drop_settings(&loaded, folders);
        let (make, limits) = (maker(&loaded.settings.task), limits(&loaded.settings));
        self.mill.reload(self.settings.clone(), make, limits, keeps_pools(&loaded.settings));
        *self.loaded.borrow_mut() = loaded;
        DaemonEvent::Reloaded { later }
    }
}

fn maker(task: &Task) -> Maker {
    let task = task.clone();
    Arc::new(move |file: &NewItem| plan::dropped(&task, file))
}

fn limits(settings: &Settings) -> MillLimits {
    MillLimits {
        reopen: Delays { steps: REOPEN.map(Duration::from_secs).to_vec(), for_ever: true },
        drain: settings.watch.drain.0,
        ending: settings.watch.drain.0.max(ENDING),
        deletion: settings.watch.drain.0.max(ENDING),
    }
}

fn keeps_pools(settings: &Settings) -> bool {
    settings.cleanup.pool == Policy::Never
}

async fn send(notices: &async_channel::Sender<DaemonEvent>, notice: DaemonEvent) {
    // A receiver that is gone does not stop the daemon.
    let _ = notices.send(notice).await;
}

/// A daemon's environment is its service manager's, with a PATH that no user knows: tasks get nothing of it by default.
fn inherit_only_what_is_named(settings: &mut Settings) {
    settings.task.inherit.get_or_insert_default();
}

/// Restores the settings that a daemon cannot change while it works; returns which ones they were.
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
    keep("task.inherit", then.task.inherit != now.task.inherit);
    keep("task.secret_env", then.task.secret_env != now.task.secret_env);
    keep("watch.directory", watch.directory != old.directory);
    keep("watch.done", watch.done != old.done);
    keep("watch.failed", watch.failed != old.failed);
    keep("watch.work", watch.work != old.work);
    keep("watch.unit", watch.unit != old.unit);
    keep("watch.recursive", watch.recursive != old.recursive);
    keep("watch.listen", watch.listen != old.listen);
    (then.run.name, then.service, then.notify) =
        (now.run.name.clone(), now.service.clone(), now.notify.clone());
    (then.task.inherit, then.task.secret_env) = (now.task.inherit.clone(), now.task.secret_env.clone());
    (watch.directory, watch.done, watch.failed, watch.work) =
        (old.directory.clone(), old.done.clone(), old.failed.clone(), old.work.clone());
    (watch.unit, watch.recursive, watch.listen) = (old.unit, old.recursive, old.listen.clone());
    kept
}
