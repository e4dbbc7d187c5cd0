//! The folders of a drop folder's daemon: for new files, for work, and for results.
//!
//! The drop folder decides; a store moves files. [`DiskDropStore`] stores files on this machine,
//! [`MemoryDropStore`] in memory for simulations. After every step of a store, each file is complete and in
//! exactly one place, so that it is found after a crash.

mod disk;
mod memory;
mod names;
mod parcel;
mod rules;

pub use disk::{DiskDropStore, DropFolders};
pub use memory::{DIRECTORY, MemoryDropStore, OnShelf, Stored};
pub use names::{path_of, text_of};
pub use parcel::{NotPublished, Parcel, Root};
pub use rules::{Rules, RulesSettings, Unit};

use crate::{
    inputs::Inputs,
    place::{PlaceError, ResultPlace},
};
use dropmill_lifecycle::{arrival::FileSnapshot, plan::RunPlan};
use futures_util::future::BoxFuture;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The folders of one daemon. A *place* is the folder of one input below the work folder, `<run>/<task>`.
pub trait DropStore: Inputs {
    /// Lists the entries of the drop folder with their states, by relative path.
    ///
    /// # Errors
    /// Fails if the drop folder itself cannot be read.
    fn scan(&self, rules: &Rules) -> BoxFuture<'static, io::Result<Vec<(PathBuf, EntryState)>>>;

    /// Checks one entry of the drop folder.
    fn check(&self, rules: &Rules, relative: &Path) -> EntryState;

    /// Returns device and inode of the drop folder, which differ if another folder is mounted or moved there;
    /// `None` if it does not exist.
    fn identity(&self) -> Option<(u64, u64)>;

    /// Returns the free bytes of the work folder's file system, if they are known.
    fn free_bytes(&self) -> Option<u64>;

    /// Returns why change notifications of the drop folder are unreliable, if they are.
    fn unreliable(&self) -> Option<String>;

    /// Makes a change in the drop folder that working notifications report.
    ///
    /// # Errors
    /// Fails if the drop folder is not writable.
    fn probe(&self) -> io::Result<()>;

    /// Moves inputs from the drop folder to their places, in this order. Each is moved only if its metadata
    /// are unchanged.
    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Vec<Taken>>;

    /// Finds the input in a place. Completes an interrupted copy from another file system first.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    fn find(&self, place: &str, relative: &Path) -> Result<Option<StoredInput>, PlaceError>;

    /// Lists all inputs in the work folder: their places and file names.
    fn inputs(&self) -> Vec<(String, PathBuf)>;

    /// Returns the path of an input in its place, as in plans and events.
    fn source(&self, place: &str, relative: &Path) -> PathBuf;

    /// Moves a result or a failed input to its final place, and returns its path below that root. Recognises
    /// what a previous process put there. Compares the input with `parcel.look` before and after.
    fn publish(&self, parcel: Parcel) -> BoxFuture<'static, Result<Published, NotPublished>>;

    /// Returns the folder of results or failures.
    fn root(&self, root: Root) -> PathBuf;

    /// Removes the empty folder of a place.
    fn release(&self, place: &str);

    /// Removes the results of a task that are not published.
    fn discard_results(&self, run: &str, folder: &str);

    /// Removes the empty folders of a run that has ended.
    fn close_run(&self, run: &str);

    /// Removes the empty folders of interrupted processes in the work folder.
    fn prune(&self);

    /// Returns the place to which the results of a run are delivered before they are published.
    fn results(&self, plan: &RunPlan) -> Arc<dyn ResultPlace>;
}

/// The state of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryState {
    /// An input; the flag says whether its marker exists.
    Input(FileSnapshot, bool),
    /// An entry that cannot be an input, with the reason. It stays in place.
    Refused(Cow<'static, str>),
    /// An entry that is not an input now, with the reason: a name that producers use while they write, or too
    /// short.
    Ignored(&'static str),
    /// There is no entry with this name.
    Gone,
}

/// The content of a drop folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Number of inputs to be claimed.
    pub waiting: u64,
    /// Numbers of entries that stay in place, by reason.
    pub left_alone: BTreeMap<String, u64>,
}

/// An order to claim one input.
#[derive(Debug, Clone)]
pub struct Take {
    /// Number assigned by the caller.
    pub id: u32,
    /// Path below the drop folder.
    pub relative: PathBuf,
    /// Place for the input.
    pub place: String,
    /// Required metadata of the input.
    pub look: FileSnapshot,
    /// Path of its marker below the drop folder, which is removed first.
    pub marker: Option<PathBuf>,
    /// Whether to return a hash of its name and content.
    pub hash: bool,
}

/// The outcome of a [`Take`], with the hash of name and content if it was requested.
#[derive(Debug)]
pub struct Taken {
    /// Number assigned by the caller.
    pub id: u32,
    /// Whether it is in its place now.
    pub outcome: Result<(), NotTaken>,
    /// Hash in 64 hex digits; `None` also if the file cannot be read.
    pub key: Option<String>,
}

/// The reason why a file was not claimed.
#[derive(Debug)]
pub enum NotTaken {
    /// It does not exist: another process removed it.
    Gone,
    /// It was changed after the check; it stayed, or was moved back.
    Changed,
    /// The file system reports an error.
    Refused(PlaceError),
}

/// An input in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInput {
    /// Path as in plans and events.
    pub source: PathBuf,
    /// Metadata of the entry now.
    pub look: FileSnapshot,
    /// Whether it is a folder.
    pub whole_folder: bool,
}

/// A published result or failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Path below its root.
    pub place: PathBuf,
    /// Whether the input was kept in its place because it was changed after the delivery of its result.
    pub left: bool,
}
