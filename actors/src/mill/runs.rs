//! The interface to the stored runs of a mill.

use crate::{drop_folder::NewItem, feeder::Feeder, wiring::Canceller};
use dropmill_journal::{event::Event, past::RecoveredRun, report::Report};
use futures_util::future::LocalBoxFuture;

/// The runs of one daemon, and their pools.
pub trait RunStore {
    /// Creates and starts a run that accepts files. Its pool is recorded before it is created.
    ///
    /// # Errors
    /// Returns why it could not be created; a later attempt may succeed.
    fn open(&self) -> Result<StartedRun, String>;

    /// Returns the runs of previous processes that may still be needed, oldest first.
    ///
    /// # Errors
    /// Returns which run cannot be read, and why.
    fn stored(&self) -> Result<Vec<StoredRun>, String>;

    /// Resumes a stored run with these items.
    ///
    /// # Errors
    /// Returns why it cannot be resumed.
    fn resume(&self, run: &str, items: Vec<NewItem>) -> Result<StartedRun, String>;

    /// Records that a stored run has ended and is no longer needed.
    ///
    /// # Errors
    /// Returns why that could not be recorded.
    fn close(&self, run: &str) -> Result<(), String>;

    /// Returns the pools that may exist.
    fn pools(&self) -> Vec<String>;

    /// Removes the record of a deleted pool.
    fn forget_pool(&self, pool: &str);
}

/// A running run in the current actix system.
pub struct StartedRun {
    /// Name of the run.
    pub run: String,
    /// Id of its pool.
    pub pool: String,
    /// Its events, each once it is durable.
    pub events: async_channel::Receiver<Event>,
    /// Ends the run.
    pub canceller: Canceller,
    /// Adds tasks to the run.
    pub feeder: Feeder,
    /// Resolves when it has ended; its events must be received meanwhile.
    pub finished: LocalBoxFuture<'static, Result<Report, String>>,
}

/// A run that a previous process left.
pub struct StoredRun {
    /// Name of the run.
    pub run: String,
    /// State from its journal.
    pub past: RecoveredRun,
}
