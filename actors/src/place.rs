//! The place of results: a folder on this machine, or memory for simulations.
//!
//! A result is staged beside its place, made durable, and published by one rename, so that no reader ever
//! sees an incomplete one. Many waiting results are made durable together: one `syncfs` costs about as much
//! as the `fsync` of a single small file.

mod disk;
mod layout;
mod logs;
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

/// A place for results.
pub trait ResultPlace: Send + Sync {
    /// Prepares the staging area of a task's result, for `needs_bytes` additional bytes. Removes the remains
    /// of an earlier attempt, except the files in `keep`. Returns whether all of those exist; if not, the
    /// area is empty.
    ///
    /// # Errors
    /// Fails if it cannot be created, or if there is too little space.
    fn stage(&self, task: &str, needs_bytes: u64, keep: &BTreeSet<String>) -> Result<bool, PlaceError>;

    /// Creates a file of a staged result, with `/` between the segments of its path; missing folders are
    /// created.
    ///
    /// # Errors
    /// Fails if it cannot be created.
    fn create(&self, task: &str, path: &str) -> Result<Box<dyn Write + Send>, PlaceError>;

    /// Sets mode and modification time of a staged file from the metadata of its blob.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    fn settle(&self, task: &str, path: &str, facts: &FileMetadata) -> Result<(), PlaceError> {
        let _ = (task, path, facts);
        Ok(())
    }

    /// Makes a staged result durable and moves it to its place, or to another name if the place is taken and
    /// both are kept.
    fn publish(&self, delivery: Delivery) -> BoxFuture<'static, Result<Placed, PlaceError>>;

    /// Discards a staged result.
    fn discard(&self, task: &str);
}

/// A complete staged result.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Id of the task.
    pub task: String,
    /// Folder below the output folder: of this result alone, or with the layout `mirror` the folder of its input.
    pub folder: String,
    /// Input from which it was made.
    pub input: InputOf,
    /// Whether its task succeeded.
    pub success: bool,
    /// Files of the result.
    pub files: Vec<DeliveredFile>,
    /// The result of an earlier attempt that it replaces, if that is unchanged.
    pub supersedes: Option<Superseded>,
}

/// The input of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputOf {
    /// Path as in the plan.
    pub relative: String,
    /// File name: the name of standard output and error in a flat layout.
    pub name: String,
    /// Length when the plan was created.
    pub bytes: u64,
    /// Digests of everything else from which the task is made.
    pub recipe: BTreeMap<String, String>,
    /// Modification time when the plan was created.
    pub modified: Option<Timestamp>,
}

/// The place of a delivered result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Folder below the output folder; empty if its files are not in a common folder.
    pub folder: String,
    /// Files of the result, each with its place if that differs from its path.
    pub files: Vec<DeliveredFile>,
    /// Whether it replaced an earlier result.
    pub replaced: bool,
    /// Reason for another name, because its place was taken, in one line.
    pub beside: Option<String>,
}

/// The reason why a result could not be moved to its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The file system reports an error: full, read-only, defective.
    #[error("{what} {path}: {reason}")]
    Refused {
        /// Attempted operation, as a verb for the message.
        what: &'static str,
        /// Path of the file or folder.
        path: String,
        /// Error of the file system.
        reason: String,
        /// Whether waiting may help (no space, quota).
        may_pass: bool,
    },
    /// The place is taken, and `output.existing` says to fail.
    #[error("{path} exists with other content: move it away, or set output.existing")]
    Taken {
        /// Path of the place.
        path: String,
    },
}

/// Maximum length of a name on common file systems, in bytes.
pub(crate) const LONGEST_NAME: usize = 255;

/// Returns the next name after `tries` names that were taken: `a.txt`, `a~2.txt`, `a~3.txt`, …; a folder's
/// whole name is its stem. If the name would be too long, the end of its stem is cut.
pub(crate) fn beside(name: &str, tries: u32, is_folder: bool) -> String {
    if tries == 0 {
        return name.to_owned();
    }
    let (folder, name) = name.split_at(name.rfind('/').map_or(0, |at| at + 1));
    let number = format!("~{}", tries + 1);
    let ending = name.rfind('.').filter(|dot| *dot > 0 && !is_folder).map_or("", |dot| &name[dot..]);
    // An extension that leaves no room for a stem is ignored.
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
    fn another_name_keeps_the_extension_of_a_file() {
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
    fn another_name_is_never_too_long() {
        for (name, is_folder, expected) in [
            ("n".repeat(255), true, "n".repeat(253) + "~2"),
            ("n".repeat(251) + ".txt", false, "n".repeat(249) + "~2.txt"),
            // Cut between two characters, not within one.
            ("ü".repeat(127) + "n", true, "ü".repeat(126) + "~2"),
            (".".to_owned() + &"x".repeat(254), false, ".".to_owned() + &"x".repeat(252) + "~2"),
            ("n.".to_owned() + &"x".repeat(253), false, "n.".to_owned() + &"x".repeat(251) + "~2"),
            ("deep/".to_owned() + &"n".repeat(255), true, "deep/".to_owned() + &"n".repeat(253) + "~2"),
        ] {
            assert_eq!(beside(&name, 1, is_folder), expected);
        }
    }
}
