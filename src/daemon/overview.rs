//! The state of a drop folder, read from its folders, whether or not a daemon watches it. `dropmill
//! status` and `/status` both show this.

use super::folders::{Folders, drop_settings, known_id, name_of};
use crate::{settings::Loaded, state::State};
use anyhow::{Context, Result};
use dropmill_actors::drop_store::{DiskDropStore, Rules};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Names of the notes in the folder of a result or of a failure.
const NOTES: [&str; 4] = ["result.json", "result.json~note", "reason.json", "reason.json~note"];

/// A drop folder and the folders that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The drop folder.
    pub directory: PathBuf,
    /// The process that watches it: `pid 12 since …`.
    pub holder: Option<String>,
    /// Inputs in the drop folder that will be taken.
    pub waiting: u64,
    /// Inputs that were taken and whose results are not in their places yet.
    #[serde(rename = "at_work")]
    pub running: usize,
    /// Number of results in their folder.
    pub done: usize,
    /// The folder of results.
    pub done_folder: PathBuf,
    /// Number of failures in their folder.
    pub failed: usize,
    /// The folder of failures.
    pub failed_folder: PathBuf,
    /// Entries of the drop folder that stay where they are.
    pub left_alone: Vec<LeftAlone>,
    /// The reason why the daemon takes no files, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// Entries that stay in the drop folder for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftAlone {
    /// The reason in one line.
    pub why: String,
    /// How many entries.
    pub count: u64,
}

impl Overview {
    /// Counts the entries of the folders of a run file's daemon. Nothing is created or changed.
    ///
    /// # Errors Fails if the run file has mistakes, or the drop folder cannot be read.
    pub fn read(loaded: &Loaded, state: &State) -> Result<Self> {
        let folders = Folders::of(loaded)?;
        let home = state.folder().join("watch").join(name_of(loaded, &folders));
        let rules = Rules::new(drop_settings(loaded, &folders).rules);
        let survey = match DiskDropStore::survey(&folders.directory, &rules) {
            // Before the first start, the folder does not exist.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Default::default(),
            read => read.with_context(|| format!("cannot read {}", folders.directory.display()))?,
        };
        let inputs = |id| DiskDropStore::inputs_below(&folders.work.join(id)).len();
        let left_alone = survey.left_alone.into_iter().map(|(why, count)| LeftAlone { why, count });
        let mut left_alone: Vec<_> = left_alone.collect();
        left_alone.sort_by(|one, other| (other.count, &one.why).cmp(&(one.count, &other.why)));
        let deep = rules.is_recursive();
        Ok(Self {
            holder: crate::state::holder(&home),
            waiting: survey.waiting,
            running: known_id(&home)?.map_or(0, inputs),
            done: count(&folders.done, deep),
            failed: count(&folders.failed, deep),
            directory: folders.directory,
            done_folder: folders.done,
            failed_folder: folders.failed,
            left_alone,
            waits_for: None,
        })
    }
}

/// Counts the entries of a folder of results; with `deep`, also those in subfolders that are not results
/// themselves.
fn count(folder: &Path, deep: bool) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // A result that is being copied from another file system.
        if entry.file_name().as_encoded_bytes().starts_with(b".dropmill") {
            continue;
        }
        let path = entry.path();
        let is_folder = deep && entry.file_type().is_ok_and(|kind| kind.is_dir());
        found += match is_folder && !NOTES.iter().any(|note| path.join(note).exists()) {
            true => count(&path, deep),
            false => 1,
        };
    }
    found
}
