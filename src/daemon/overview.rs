//! How a drop folder stands, as its folders show it, whether or not a daemon watches it. `dropmill status` and `/status`
//! both show this.

use super::folders::{Folders, drop_settings, known_id, name_of};
use crate::{settings::Loaded, state::State};
use anyhow::{Context, Result};
use dropmill_actors::drop_store::{DiskDropStore, Rules};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Names of the notes that lie in a result, and in a failure.
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
    /// Inputs that were taken and are not in their places.
    #[serde(rename = "at_work")]
    pub running: usize,
    /// Results in their folder.
    pub done: usize,
    /// The folder of results.
    pub done_folder: PathBuf,
    /// Failures in their folder.
    pub failed: usize,
    /// The folder of failures.
    pub failed_folder: PathBuf,
    /// Entries of the drop folder that stay where they are.
    pub left_alone: Vec<LeftAlone>,
    /// What keeps the daemon from taking files, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// Entries that stay in the drop folder for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftAlone {
    /// The reason in one line.
    pub why: String,
    /// How many entries.
    pub count: u64,
}

impl Overview {
    /// Counts what lies in the folders of a run file's daemon. Nothing is created or changed.
    ///
    /// # Errors
    /// Fails if the run file has mistakes, or the drop folder cannot be read.
    pub fn read(loaded: &Loaded, state: &State) -> Result<Self> {
        let folders = Folders::of(loaded)?;
        let home = state.folder().join("watch").join(name_of(loaded, &folders));
        let rules = Rules::new(drop_settings(loaded, &folders).rules);
        let survey = match DiskDropStore::survey(&folders.directory, &rules) {
            // Before the first start there is none.
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

/// Counts the entries of a folder of results; with `deep`, those below its folders that are no results themselves.
fn count(folder: &Path, deep: bool) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // A result on its way from another file system.
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
