//! The folders of a drop folder's daemon: where files appear, are worked on, and end.
//!
//! The drop folder decides; a store moves. [`DiskDropStore`] keeps files on this machine, [`MemoryDropStore`] keeps them in
//! memory for simulations. Every step of a store leaves each file whole in exactly one place, so that a process that is
//! killed between two steps finds it again.

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
    /// Lists the entries of the drop folder that are inputs or cannot be inputs, by path below it.
    ///
    /// # Errors
    /// Fails if the drop folder itself cannot be read.
    fn scan(&self, rules: &Rules) -> BoxFuture<'static, io::Result<Vec<(PathBuf, EntryState)>>>;

    /// Checks one entry of the drop folder.
    fn check(&self, rules: &Rules, relative: &Path) -> EntryState;

    /// Returns device and inode of the drop folder, which another folder mounted or moved there does not have; `None` while
    /// there is none.
    fn identity(&self) -> Option<(u64, u64)>;

    /// Returns the free bytes of the work folder's file system, if it can be asked.
    fn free_bytes(&self) -> Option<u64>;

    /// Returns why change notifications of the drop folder cannot be relied on, if they cannot.
    fn unreliable(&self) -> Option<String>;

    /// Changes something in the drop folder that a working change notification reports.
    ///
    /// # Errors
    /// Fails if the drop folder is not writable.
    fn probe(&self) -> io::Result<()>;

    /// Takes inputs from the drop folder into their places, in this order. Each is taken only if it still looks as it did.
    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Vec<Taken>>;

    /// Finds the input at a place. An interrupted copy from another file system is completed first.
    ///
    /// # Errors
    /// Fails if the file system refuses.
    fn find(&self, place: &str, relative: &Path) -> Result<Option<StoredInput>, PlaceError>;

    /// Lists all inputs in the work folder: their places and file names.
    fn inputs(&self) -> Vec<(String, PathBuf)>;

    /// Returns the path of an input in its place, as plans and events name it.
    fn source(&self, place: &str, relative: &Path) -> PathBuf;

    /// Puts a result, or a failure, where people look for it, and returns its path below that root. A parcel that an earlier
    /// process put there is recognised. Compares the input with `parcel.look` before and after.
    fn publish(&self, parcel: Parcel) -> BoxFuture<'static, Result<Published, NotPublished>>;

    /// Returns the folder that results and failures appear in.
    fn root(&self, root: Root) -> PathBuf;

    /// Removes the empty folder of a place.
    fn release(&self, place: &str);

    /// Removes what a task left that is not to be published.
    fn discard_results(&self, run: &str, folder: &str);

    /// Removes the empty folders of a run that has ended.
    fn close_run(&self, run: &str);

    /// Removes the empty folders that interrupted processes left in the work folder.
    fn prune(&self);

    /// Returns where the results of a run are delivered until they are published.
    fn results(&self, plan: &RunPlan) -> Arc<dyn ResultPlace>;
}

/// What a check of an entry found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryState {
    /// An input; the flag says whether its marker is there.
    Input(FileSnapshot, bool),
    /// Something that cannot be an input, and why. It stays where it is.
    Refused(Cow<'static, str>),
    /// Something that is no input now, and why: a name that producers use while they write, or too short.
    Ignored(&'static str),
    /// No entry of that name.
    Gone,
}

/// What lies in a drop folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Inputs that will be taken.
    pub waiting: u64,
    /// How many entries stay where they are, by their reason.
    pub left_alone: BTreeMap<String, u64>,
}

/// An order to take one input.
#[derive(Debug, Clone)]
pub struct Take {
    /// The caller's number for it.
    pub id: u32,
    /// Path below the drop folder.
    pub relative: PathBuf,
    /// The place that it is taken into.
    pub place: String,
    /// How it must look.
    pub look: FileSnapshot,
    /// Path of its marker below the drop folder: removed first.
    pub marker: Option<PathBuf>,
    /// Return a hash of its name and content.
    pub hash: bool,
}

/// The outcome of a [`Take`], with the hash of name and content if one was asked for.
#[derive(Debug)]
pub struct Taken {
    /// The caller's number.
    pub id: u32,
    /// Whether it lies in its place now.
    pub outcome: Result<(), NotTaken>,
    /// 64 hex digits; `None` also if it cannot be read.
    pub key: Option<String>,
}

/// Why a file was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It is not there: another process was quicker.
    Gone,
    /// It was written to after the check; it stayed, or was put back, where it was.
    Changed,
    /// The file system refused.
    Refused(PlaceError),
}

/// An input that lies in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInput {
    /// Its path, as plans and events name it.
    pub source: PathBuf,
    /// How it looks now.
    pub look: FileSnapshot,
    /// Whether it is a folder.
    pub whole_folder: bool,
}

/// A parcel that was put in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Path below its root.
    pub place: PathBuf,
    /// The input was to be removed, but it was written to after its result was delivered: it is kept in its place.
    pub left: bool,
}
