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
    /// Folder of the run.
    pub folder: PathBuf,
    /// The content of its journal, or the error that prevents reading it.
    pub found: Result<RunFound, JournalError>,
}

/// A summary of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFound {
    /// Name of the run.
    pub run: String,
    /// `run.name` of its run file.
    pub name: String,
    /// Time of its creation.
    pub created: Timestamp,
    /// Outcome of the run; `None` if it is running or was interrupted: the lock distinguishes the two.
    pub outcome: Option<Outcome>,
    /// Numbers of tasks by verdict.
    pub tasks: TaskTally,
    /// Milliseconds from its first event to its last.
    pub elapsed_ms: u64,
    /// How many things it left at its service.
    pub left_behind: usize,
}

/// Returns the runs below `<state>/runs`, oldest first; an empty list if the folder does not exist.
///
/// # Errors
/// Fails if the folder cannot be read. A journal that cannot be read becomes an entry with an error.
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
