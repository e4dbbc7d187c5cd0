//! Where results come home: a folder on this machine, or memory for simulations.
//!
//! A result is staged beside its place, made durable, and published by one rename, so no reader ever
//! sees half of it. Many results that wait are made durable together: one `syncfs` costs about as
//! much as the `fsync` of a single small file.

mod disk;
mod memory;
mod publisher;
mod same;
mod taken;

pub use disk::DiskPlace;
pub(crate) use disk::{may_pass, refused};
pub use memory::MemoryPlace;
pub use same::{content_is, lies_there};

use dropmill_azure_wire::{blob::FileMetadata, time::Timestamp};
use dropmill_journal::event::DeliveredFile;
use dropmill_lifecycle::plan::Superseded;
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

/// Where results come home.
pub trait ResultPlace: Send + Sync {
    /// Prepares the staging place of a task's result, for `needs_bytes` more than is there. Removes what an earlier try
    /// left there, except the files in `keep`. Returns whether all of those are there; if not, the place is empty.
    ///
    /// # Errors
    /// Fails if it cannot be made, or if there is no room for so much.
    fn stage(&self, task: &str, needs_bytes: u64, keep: &BTreeSet<String>) -> Result<bool, PlaceError>;

    /// A new file of a staged result, `/` between the segments of its path; folders are made as needed.
    ///
    /// # Errors
    /// When it cannot be made.
    fn create(&self, task: &str, path: &str) -> Result<Box<dyn Write + Send>, PlaceError>;

    /// Gives a staged file the mode and the time that its blob remembers.
    ///
    /// # Errors
    /// Fails if the file system refuses.
    fn settle(&self, task: &str, path: &str, facts: &FileMetadata) -> Result<(), PlaceError> {
        let _ = (task, path, facts);
        Ok(())
    }

    /// Makes a staged result durable and puts it in its place, or beside it if that is taken and both are kept.
    fn publish(&self, delivery: Delivery) -> BoxFuture<'static, Result<Placed, PlaceError>>;

    /// Throws a staged result away.
    fn discard(&self, task: &str);
}

/// A staged result, complete.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The task it is of.
    pub task: String,
    /// Folder below the output folder; empty for a flat layout.
    pub folder: String,
    /// The input that it is made of.
    pub input: InputOf,
    /// Whether its task succeeded.
    pub success: bool,
    /// Its files.
    pub files: Vec<DeliveredFile>,
    /// The result of an earlier try that it takes the place of, if that is still as it was delivered.
    pub supersedes: Option<Superseded>,
}

/// The input of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputOf {
    /// Its path, as the plan names it.
    pub relative: String,
    /// Its own name: what standard output and error are called by in a flat layout.
    pub name: String,
    /// Its length when the plan was made.
    pub bytes: u64,
    /// Digests of what its task is made from beside it.
    pub recipe: BTreeMap<String, String>,
    /// When it was last changed, as the file system said when the plan was made.
    pub modified: Option<Timestamp>,
}

/// Where a result went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its folder below the output folder; empty if its files lie there singly.
    pub folder: String,
    /// Its files, each with its place if that does not follow from its path.
    pub files: Vec<DeliveredFile>,
    /// It took the place of an earlier result.
    pub replaced: bool,
    /// What it lies beside, because that is in its place, in one line.
    pub beside: Option<String>,
}

/// Why a result could not be put in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The file system refused: full, read-only, failing.
    #[error("{what} {path}: {reason}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
        /// What came back.
        reason: String,
        /// Waiting may help (no space, quota).
        may_pass: bool,
    },
    /// The place is taken, and `output.existing` says to refuse.
    #[error("{path} exists with other content: move it away, or set output.existing")]
    Taken {
        /// The place.
        path: String,
    },
}

/// Bytes that a name may have on the file systems there are.
pub(crate) const LONGEST_NAME: usize = 255;

/// The name beside `name` that is tried after `tries` that were taken: `a.txt`, `a~2.txt`, `a~3.txt`, …; a folder's
/// whole name is its stem. A name that would be too long then loses the end of its stem.
pub(crate) fn beside(name: &str, tries: u32, is_folder: bool) -> String {
    if tries == 0 {
        return name.to_owned();
    }
    let (folder, name) = name.split_at(name.rfind('/').map_or(0, |at| at + 1));
    let number = format!("~{}", tries + 1);
    let ending = name.rfind('.').filter(|dot| *dot > 0 && !is_folder).map_or("", |dot| &name[dot..]);
    // An ending that leaves no room for a stem is none.
    let ending = if ending.len() + number.len() < LONGEST_NAME { ending } else { "" };
    let mut room = (name.len() - ending.len()).min(LONGEST_NAME - number.len() - ending.len());
    while !name.is_char_boundary(room) {
        room -= 1;
    }
    format!("{folder}{}{number}{ending}", &name[..room])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_beside_keeps_the_ending_of_a_file() {
        let table = [
            ("a.txt", 0, false, "a.txt"),
            ("a.txt", 1, false, "a~2.txt"),
            ("d.x/a", 2, false, "d.x/a~3"),
            (".hidden", 1, false, ".hidden~2"),
            ("data/a.txt", 1, true, "data/a.txt~2"),
        ];
        for (name, tries, is_folder, expected) in table {
            assert_eq!(beside(name, tries, is_folder), expected);
        }
    }

    #[test]
    fn a_name_beside_is_never_longer_than_names_may_be() {
        for (name, is_folder, expected) in [
            ("n".repeat(255), true, "n".repeat(253) + "~2"),
            ("n".repeat(251) + ".txt", false, "n".repeat(249) + "~2.txt"),
            // Cut between two letters, not within one.
            ("ü".repeat(127) + "n", true, "ü".repeat(126) + "~2"),
            (".".to_owned() + &"x".repeat(254), false, ".".to_owned() + &"x".repeat(252) + "~2"),
            ("n.".to_owned() + &"x".repeat(253), false, "n.".to_owned() + &"x".repeat(251) + "~2"),
            ("deep/".to_owned() + &"n".repeat(255), true, "deep/".to_owned() + &"n".repeat(253) + "~2"),
        ] {
            assert_eq!(beside(&name, 1, is_folder), expected);
        }
    }
}
