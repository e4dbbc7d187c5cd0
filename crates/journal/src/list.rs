//! The runs of a state folder, each read from its journal.

use crate::{
    Journal, JournalError,
    event::Outcome,
    report::{ReportFold, TaskTally},
};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// One run of a state folder.
#[derive(Debug, Clone)]
pub struct RunSummary {
    /// Its folder.
    pub folder: PathBuf,
    /// What its journal says, or why it cannot be read.
    pub found: Result<RunFound, JournalError>,
}

/// What a journal says of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFound {
    /// The run.
    pub run: String,
    /// `run.name` of its run file.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// How it ended; none if it goes on, or was cut off: its lock tells which.
    pub outcome: Option<Outcome>,
    /// What became of its tasks.
    pub tasks: TaskTally,
    /// Milliseconds from its first event to its last.
    pub elapsed_ms: u64,
    /// How many things it left at its service.
    pub left_behind: usize,
}

/// The runs below `<state>/runs`, oldest first; none if there is no such folder.
///
/// # Errors
/// When the folder cannot be read. A journal that cannot be read is an entry that says so.
pub fn list_runs(state: &Path) -> std::io::Result<Vec<RunSummary>> {
    let mut runs = vec![];
    let entries = match std::fs::read_dir(state.join("runs")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(runs),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let folder = entry?.path();
        let journal = folder.join("journal.db");
        if !Journal::exists(&journal) {
            continue;
        }
        let found = Journal::read(&journal).map(|(header, events)| {
            let report = ReportFold::of(&events);
            RunFound {
                run: header.run,
                name: header.name,
                created: header.created,
                outcome: report.outcome,
                tasks: report.tasks,
                elapsed_ms: report.elapsed_ms,
                left_behind: report.left_behind.len(),
            }
        });
        if matches!(found, Err(JournalError::Empty { .. })) {
            continue;
        }
        runs.push(RunSummary { folder, found });
    }
    let key = |run: &RunSummary| run.found.as_ref().ok().map(|found| found.created);
    runs.sort_by(|one, other| (key(one), &one.folder).cmp(&(key(other), &other.folder)));
    Ok(runs)
}
