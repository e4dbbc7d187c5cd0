//! A daemon over a drop folder, in a thread of its own.

use super::options::{BEHIND, Common, Source, in_a_thread};
use crate::{
    daemon::{self, AskStatus, Command, DaemonEvent, Status},
    error::Error,
    settings::{Loaded, Settings},
};
use dropmill_azure_wire::time::WallClock;
use std::{path::Path, sync::Arc};

/// A running daemon. Dropping the last handle stops it at once; the next daemon resumes its runs.
///
/// # Examples
///
/// ```no_run
/// use dropmill::{Daemon, DaemonEvent};
///
/// # fn example() -> Result<(), dropmill::Error> {
/// let (daemon, events) = Daemon::from_file("run.toml").start()?;
/// while let Ok(event) = events.recv_blocking() {
///     if let DaemonEvent::Finished { input, outcome, .. } = event {
///         println!("{input}: {outcome}");
///         daemon.drain();
///     }
/// }
/// daemon.ended_blocking()
/// # }
/// ```
pub struct Daemon {
    builder: DaemonBuilder,
    orders: async_channel::Sender<Command>,
    asks: AskStatus,
    ended: async_channel::Receiver<Result<(), Error>>,
}

/// A daemon that is not started yet.
#[derive(Debug, Clone)]
pub struct DaemonBuilder {
    common: Common,
    source: Source,
}

impl Daemon {
    /// Prepares a daemon of a run file that has a section `watch`.
    pub fn from_file(file: impl AsRef<Path>) -> DaemonBuilder {
        DaemonBuilder { common: Common::default(), source: Source::File(file.as_ref().to_owned()) }
    }

    /// Prepares a daemon of settings that are made in code and have a `watch.directory`. Paths in them are relative to
    /// `base`.
    pub fn from_settings(settings: Settings, base: impl AsRef<Path>) -> DaemonBuilder {
        let source = Source::Code(Box::new(settings), base.as_ref().to_owned());
        DaemonBuilder { common: Common::default(), source }
    }

    /// The former name of [`Daemon::from_file`].
    #[deprecated(note = "use `Daemon::from_file`")]
    pub fn of_file(file: impl AsRef<Path>) -> DaemonBuilder {
        Self::from_file(file)
    }

    /// Takes no further files and ends running tasks, within `watch.drain`; then [`Daemon::ended`] resolves.
    pub fn drain(&self) {
        let _ = self.orders.try_send(Command::Drain);
    }

    /// Stops at once. No task on this machine outlives it; the next daemon resumes its runs.
    pub fn stop(&self) {
        let _ = self.orders.try_send(Command::Stop);
    }

    /// Scans the drop folder now, without waiting for a change notification.
    pub fn rescan(&self) {
        let _ = self.orders.try_send(Command::Look);
    }

    /// Reads the run file again: the next run uses it. Keys that take effect at the next start only are listed in
    /// [`DaemonEvent::Reloaded`].
    ///
    /// # Errors
    /// Fails if the run file has mistakes; the daemon then keeps its settings.
    pub fn reload(&self) -> Result<(), Error> {
        let loaded = self.builder.load()?;
        let _ = self.orders.try_send(Command::Reload(Box::new(loaded)));
        Ok(())
    }

    /// Returns the status of the daemon; nothing if it has ended.
    pub async fn status(&self) -> Option<Status> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.asks.send(answer).await.ok()?;
        answered.await.ok()
    }

    /// Waits for the end of the daemon. Events must be received meanwhile, or their receivers dropped.
    ///
    /// # Errors
    /// Returns the error that stopped the daemon.
    pub async fn ended(&self) -> Result<(), Error> {
        self.ended.recv().await.unwrap_or(Err(Error::ThreadEnded("daemon")))
    }

    /// Waits for the end of the daemon, in code without `async`.
    ///
    /// # Errors
    /// As [`Daemon::ended`].
    pub fn ended_blocking(&self) -> Result<(), Error> {
        self.ended.recv_blocking().unwrap_or(Err(Error::ThreadEnded("daemon")))
    }
}

impl DaemonBuilder {
    /// Sets a key over the settings: `section.key=value`.
    #[must_use]
    pub fn set(mut self, set: &str) -> Self {
        self.common = self.common.set(set);
        self
    }

    /// Sets the state folder. Default: that of the program, `$XDG_STATE_HOME/dropmill` or `~/.local/state/dropmill`.
    #[must_use]
    pub fn state(mut self, folder: impl AsRef<Path>) -> Self {
        self.common = self.common.state(folder);
        self
    }

    /// Starts the daemon. Returns it with a receiver of its events.
    ///
    /// # Errors
    /// Fails if the settings have mistakes, a feature is missing, or another process watches the folder.
    pub fn start(self) -> Result<(Daemon, async_channel::Receiver<DaemonEvent>), Error> {
        let (loaded, state) = (self.load()?, self.common.find_state()?);
        let daemon = daemon::Daemon::open(loaded, state, Arc::new(WallClock))?;
        let (orders, ordered) = async_channel::unbounded();
        let (asks, asked) = async_channel::unbounded();
        let (events, receiver) = async_channel::bounded(BEHIND);
        let (reported, ended) = async_channel::bounded(1);
        in_a_thread("dropmill-watch", move || async move {
            let _ = reported.send(daemon.work(ordered, asked, events).await.map_err(Error::from)).await;
        })?;
        Ok((Daemon { builder: self, orders, asks, ended }, receiver))
    }

    fn load(&self) -> Result<Loaded, Error> {
        self.source.load(&self.common)
    }
}
