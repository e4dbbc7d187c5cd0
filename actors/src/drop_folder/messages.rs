//! Messages to the drop folder, and its counts.

use super::{DropSettings, Maker};
use crate::feeder::Feeder;
use actix::prelude::*;
use dropmill_journal::{event::Event, past::RecoveredTask};
use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, rc::Rc};

/// Ways into runs, left here for the drop folder under their names: messages carry nothing that stays in its thread.
pub type Feeders = Rc<RefCell<BTreeMap<String, Feeder>>>;

/// A run takes files, its way in is among the feeders; or one of an earlier life goes on, with what it had taken.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StreamOpened {
    /// The run.
    pub run: String,
    /// What it had taken: task id and what is known of it. Such a run takes nothing more.
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
    /// Why it ended, if not because everything was done.
    pub reason: String,
}

/// A run of a previous process has ended, and files of it are not in their places: their results are published now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leftover {
    /// Name of the run.
    pub run: String,
    /// Its tasks: id and what is known of each.
    pub tasks: Vec<(String, RecoveredTask)>,
}

/// A file lies in the work folder, and no run that goes on knows it: take it up.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Adopt {
    /// Its path below the drop folder.
    pub relative: PathBuf,
    /// Its place in the work folder.
    pub place: String,
    /// Number of tasks that were made of it.
    pub attempts: u32,
}

/// Something may have changed in the folder.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RescanNow;

/// Go on with these settings and this maker of tasks; folders stay what they are. The current run takes nothing more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reload(pub DropSettings, pub Maker);

/// Take nothing more.
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
    /// Files that stand still and wait for room.
    pub waiting: u64,
    /// Files that may still be written.
    pub unsettled: u64,
    /// Files that were taken and are not in their places.
    pub in_flight: u64,
    /// Their bytes.
    pub bytes_in_flight: u64,
    /// Entries that cannot be inputs.
    pub refused: u64,
    /// Files that were ever seen.
    pub seen: u64,
    /// Files that are in their places with results.
    pub done: u64,
    /// Files that are in their places with the reason of their failure.
    pub failed: u64,
    /// Files that went away before they were taken.
    pub withdrawn: u64,
    /// Files that were written to after they were taken.
    #[serde(default)]
    pub changed: u64,
    /// What was tried again.
    pub retries: u64,
    /// Milliseconds from taking to its place, all files together.
    pub work_ms: u64,
    /// What keeps it from going on.
    pub waits_for: Option<String>,
}
