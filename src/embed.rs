//! Dropmill inside another program: a run, or a daemon over a drop folder, in a thread of its own.
//!
//! A program calls [`run_as_keeper`](crate::run_as_keeper) first in `main`, so that the processes of its tasks end with it.
//! Nothing else is global: no signal is handled, nothing is printed, the process is never ended, and any number of
//! runs and daemons may be at work at once. Handles are asynchronous and need no particular runtime; from plain code
//! use the `_blocking` forms.
//!
//! ```no_run
//! # async fn example() -> Result<(), dropmill::Error> {
//! let (run, events) = dropmill::Run::of_file("run.toml").set("pool.nodes=2").start()?;
//! while let Ok(event) = events.recv().await {
//!     println!("{} {}", event.seq, event.subject);
//! }
//! println!("{:?}", run.finished().await?.outcome);
//! # Ok(())
//! # }
//! ```

use crate::{
    commands::start_of,
    daemon::{self, Command, Status},
    life::AtWork,
    settings::load,
    state::State,
};
use dropmill_actors::Canceller;
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_journal::{event::Event, report::Report};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use crate::daemon::Notice;

/// Events that whoever listens may be behind before the run waits for them.
const BEHIND: usize = 4096;

/// Why something could not be begun or brought to its end; says what was tried, on what, and what came back.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Error(Arc<str>);

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self(format!("{error:#}").into())
    }
}

/// How a run or a daemon is begun.
#[derive(Debug, Clone)]
struct Beginning {
    file: PathBuf,
    set: Vec<String>,
    state: Option<PathBuf>,
}

/// A run of a run file, to be begun.
#[derive(Debug, Clone)]
pub struct RunBuilder {
    how: Beginning,
    resume: bool,
}

/// A run at work. Dropping it does not end the run.
pub struct Run {
    name: String,
    canceller: Canceller,
    report: async_channel::Receiver<Result<Report, Error>>,
}

/// A daemon over a drop folder, to be begun.
#[derive(Debug, Clone)]
pub struct DaemonBuilder {
    how: Beginning,
}

/// A daemon at work. Dropping every handle of it ends it at once; the next one goes on.
pub struct Daemon {
    orders: async_channel::Sender<Command>,
    asks: daemon::AskStatus,
    ended: async_channel::Receiver<Result<(), Error>>,
}

impl Run {
    /// A run of this run file: TOML, YAML or JSON by its ending.
    pub fn of_file(file: impl AsRef<Path>) -> RunBuilder {
        RunBuilder { how: Beginning::of(file.as_ref()), resume: false }
    }

    /// Its name: what `dropmill show` and `dropmill trace` know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks it to end in order: tasks are ended, what finished is fetched, what costs money is deleted.
    pub fn cancel(&self, why: &str) {
        self.canceller.cancel(why);
    }

    /// Waits for its end. Events must be received meanwhile, or their receivers dropped.
    ///
    /// # Errors
    /// When it could not be brought to its end; that tasks failed is in the report.
    pub async fn finished(self) -> Result<Report, Error> {
        self.report.recv().await.unwrap_or_else(|_| Err(Error("the thread of the run is gone".into())))
    }

    /// As [`Run::finished`], from plain code.
    ///
    /// # Errors
    /// See there.
    pub fn finished_blocking(self) -> Result<Report, Error> {
        self.report.recv_blocking().unwrap_or_else(|_| Err(Error("the thread of the run is gone".into())))
    }
}

impl RunBuilder {
    /// Sets a key over the file: `section.key=value`.
    #[must_use]
    pub fn set(mut self, set: &str) -> Self {
        self.how.set.push(set.to_owned());
        self
    }

    /// The state folder; without it the one that the program uses.
    #[must_use]
    pub fn state(mut self, folder: impl AsRef<Path>) -> Self {
        self.how.state = Some(folder.as_ref().to_owned());
        self
    }

    /// Goes on with the latest run of the file that was cut off, if there is one.
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.resume = true;
        self
    }

    /// Begins: the run, and every event of it once it is durable, in order.
    ///
    /// # Errors
    /// Everything that is wrong with the run file, or a state folder that is in use.
    pub fn start(self) -> Result<(Run, async_channel::Receiver<Event>), Error> {
        let (loaded, state) = self.how.read()?;
        let clock: SharedClock = Arc::new(WallClock);
        let life = start_of(loaded, self.resume, &state, &clock)?;
        let name = life.plan.run.clone();
        let (reported, report) = async_channel::bounded(1);
        let (begun, beginning) = std::sync::mpsc::channel();
        in_a_thread("dropmill-run", move || async move {
            let at_work: AtWork = match life.begin(&clock) {
                Ok(at_work) => at_work,
                Err(error) => {
                    let _ = begun.send(Err(Error::from(error)));
                    return;
                }
            };
            let _ = begun.send(Ok((at_work.canceller(), at_work.events())));
            let _ = reported.send(at_work.finished().await.map_err(Error::from)).await;
        })?;
        let begun = beginning.recv().map_err(|_| Error("the thread of the run is gone".into()))?;
        let (canceller, events) = begun?;
        Ok((Run { name, canceller, report }, events))
    }
}

impl Daemon {
    /// A daemon of this run file, which has a section `watch`.
    pub fn of_file(file: impl AsRef<Path>) -> DaemonBuilder {
        DaemonBuilder { how: Beginning::of(file.as_ref()) }
    }

    /// Takes nothing more and ends what goes on, within `watch.drain`; then [`Daemon::ended`] resolves.
    pub fn drain(&self) {
        let _ = self.orders.try_send(Command::Drain);
    }

    /// Ends at once. No task of this machine outlives it; the next daemon goes on.
    pub fn stop(&self) {
        let _ = self.orders.try_send(Command::Stop);
    }

    /// How things stand; nothing if it has ended.
    pub async fn status(&self) -> Option<Status> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.asks.send(answer).await.ok()?;
        answered.await.ok()
    }

    /// Waits for its end. Notices must be received meanwhile, or their receivers dropped.
    ///
    /// # Errors
    /// When it ended because it could not go on.
    pub async fn ended(&self) -> Result<(), Error> {
        self.ended.recv().await.unwrap_or_else(|_| Err(Error("the thread of the daemon is gone".into())))
    }

    /// As [`Daemon::ended`], from plain code.
    ///
    /// # Errors
    /// See there.
    pub fn ended_blocking(&self) -> Result<(), Error> {
        self.ended.recv_blocking().unwrap_or_else(|_| Err(Error("the thread of the daemon is gone".into())))
    }
}

impl DaemonBuilder {
    /// Sets a key over the file: `section.key=value`.
    #[must_use]
    pub fn set(mut self, set: &str) -> Self {
        self.how.set.push(set.to_owned());
        self
    }

    /// The state folder; without it the one that the program uses.
    #[must_use]
    pub fn state(mut self, folder: impl AsRef<Path>) -> Self {
        self.how.state = Some(folder.as_ref().to_owned());
        self
    }

    /// Begins: the daemon, and what it tells.
    ///
    /// # Errors
    /// Everything that is wrong with the run file, or another daemon on the same folder and state.
    pub fn start(self) -> Result<(Daemon, async_channel::Receiver<Notice>), Error> {
        let (loaded, state) = self.how.read()?;
        let daemon = daemon::Daemon::open(loaded, state, Arc::new(WallClock))?;
        let (orders, ordered) = async_channel::unbounded();
        let (asks, asked) = async_channel::unbounded();
        let (notices, noticed) = async_channel::bounded(BEHIND);
        let (told, ended) = async_channel::bounded(1);
        in_a_thread("dropmill-watch", move || async move {
            let _ = told.send(daemon.work(ordered, asked, notices).await.map_err(Error::from)).await;
        })?;
        Ok((Daemon { orders, asks, ended }, noticed))
    }
}

impl Beginning {
    fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), set: vec![], state: None }
    }

    fn read(&self) -> Result<(crate::settings::Loaded, State), Error> {
        let loaded =
            load(&self.file, &self.set, []).map_err(|problems| Error(problems.to_string().into()))?;
        Ok((loaded, State::at(self.state.clone())?))
    }
}

/// Actors live in one thread: theirs, not the caller's.
fn in_a_thread<F: Future<Output = ()> + 'static>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<(), Error> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be started")
    };
    let thread = std::thread::Builder::new().name(name.to_owned());
    let begun = thread.spawn(move || actix::System::with_tokio_rt(runtime).block_on(async { work().await }));
    begun.map(|_| ()).map_err(|error| Error(format!("a thread could not be started: {error}").into()))
}
