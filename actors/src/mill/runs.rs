//! What a mill asks of the place where its runs are kept.

use crate::{drop_folder::NewItem, feeder::Feeder, wiring::Canceller};
use dropmill_journal::{event::Event, past::RecoveredRun, report::Report};
use futures_util::future::LocalBoxFuture;

/// The runs of one daemon, and the pools that they asked for.
pub trait RunStore {
    /// Makes a run that takes files, and starts it. Its pool is remembered before it is asked for.
    ///
    /// # Errors
    /// Returns why it could not be made; a later attempt may succeed.
    fn open(&self) -> Result<StartedRun, String>;

    /// Returns the runs that previous processes left and that may still matter, oldest first.
    ///
    /// # Errors
    /// Returns which run cannot be read, and why.
    fn stored(&self) -> Result<Vec<StoredRun>, String>;

    /// Resumes a stored run with these items.
    ///
    /// # Errors
    /// Returns why it cannot be resumed.
    fn resume(&self, run: &str, items: Vec<NewItem>) -> Result<StartedRun, String>;

    /// Notes that a stored run has ended and matters no more.
    ///
    /// # Errors
    /// Returns why that could not be noted.
    fn close(&self, run: &str) -> Result<(), String>;

    /// Returns the pools that may exist.
    fn pools(&self) -> Vec<String>;

    /// Forgets a pool that the service has deleted.
    fn forget_pool(&self, pool: &str);
}

/// A run at work in the current actix system.
pub struct StartedRun {
    /// Name of the run.
    pub run: String,
    /// Id of its pool.
    pub pool: String,
    /// Its events, each once it is durable.
    pub events: async_channel::Receiver<Event>,
    /// The means to end it.
    pub canceller: Canceller,
    /// The means to add tasks to it.
    pub feeder: Feeder,
    /// Resolves when it has ended; its events must be received meanwhile.
    pub finished: LocalBoxFuture<'static, Result<Report, String>>,
}

/// A run that a previous process left.
pub struct StoredRun {
    /// Name of the run.
    pub run: String,
    /// What its journal says.
    pub past: RecoveredRun,
}
