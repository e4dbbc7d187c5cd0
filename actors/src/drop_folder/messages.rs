//! Messages to the drop folder, and its counts.

use super::{DropSettings, Maker};
use crate::feeder::Feeder;
use actix::prelude::*;
use dropmill_journal::{event::Event, past::RecoveredTask};
use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, rc::Rc};

/// Feeders of runs by name, stored here for the drop folder: messages cannot contain values that stay in its
/// thread.
pub type Feeders = Rc<RefCell<BTreeMap<String, Feeder>>>;

/// A run accepts files, and its feeder is stored; or a run of a previous process is resumed with its files.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StreamOpened {
    /// Name of the run.
    pub run: String,
    /// Its earlier tasks, if it is resumed: task id and recovered state. Such a run accepts no more files.
    pub recovered: Option<Vec<(String, RecoveredTask)>>,
}

/// A run recorded an event.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StreamEvent(pub Event);

/// A run has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StreamEnded {
    /// Name of the run.
    pub run: String,
    /// Reason for its end, unless all files are done.
    pub reason: String,
}

/// A run of a previous process has ended, and some of its files are not in their final places: their results
/// are published now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leftover {
    /// Name of the run.
    pub run: String,
    /// Its tasks: id and recovered state.
    pub tasks: Vec<(String, RecoveredTask)>,
}

/// A file in the work folder that no active run knows: process it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Adopt {
    /// Path below the drop folder.
    pub relative: PathBuf,
    /// Place of the file in the work folder.
    pub place: String,
    /// Number of tasks already made from it.
    pub attempts: u32,
}

/// Scan the folder, because something may have changed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RescanNow;

/// Use these settings and this maker of tasks; folders stay unchanged. The current run accepts no more files.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reload(pub DropSettings, pub Maker);

/// Claim no more files.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Asks for the counts.
#[derive(Message)]
#[rtype(result = "DropCounts")]
pub struct GetCounts;

/// Counts of files, since the start or now.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DropCounts {
    /// Stable files that wait for free capacity.
    pub waiting: u64,
    /// Files that may still be written to.
    pub unsettled: u64,
    /// Files that are claimed and not in their final places.
    pub in_flight: u64,
    /// Total length of these files.
    pub bytes_in_flight: u64,
    /// Entries that cannot be inputs.
    pub refused: u64,
    /// Number of files seen.
    pub seen: u64,
    /// Files with results in their final places.
    pub done: u64,
    /// Failed files in their final places.
    pub failed: u64,
    /// Files that disappeared before they were claimed.
    pub withdrawn: u64,
    /// Files that were changed after they were claimed.
    #[serde(default)]
    pub changed: u64,
    /// Number of retries.
    pub retries: u64,
    /// Total milliseconds from claim to final place, over all files.
    pub work_ms: u64,
    /// The reason why no files are claimed.
    pub waits_for: Option<String>,
}
