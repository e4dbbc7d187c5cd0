//! Runs as the state folder stores them.

#[cfg(feature = "cli")]
use crate::error::UsageError;
use crate::{
    plan::stored,
    settings::{Loaded, Settings, Task, in_code, load},
    state::State,
};
use anyhow::{Context, Result, bail};
use dropmill_actors::place::DiskPlace;
use dropmill_azure_wire::time::SharedClock;
#[cfg(feature = "cli")]
use dropmill_journal::tasks::{TaskRow, TaskTable};
use dropmill_journal::{Journal, RunHeader, event::Event, past::RecoveredRun, report::ReportFold};
use dropmill_lifecycle::plan::RunPlan;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder for standard output and error of successful tasks in a run's folder, for the layout `mirror`.
pub const LOGS: &str = "logs";
/// The task settings of a drop folder's run, stored beside its plan.
pub const TASK: &str = "task.json";
/// The settings of a run that has no run file.
pub const SETTINGS: &str = "settings.json";

/// The content of standard input, if a run read it.
pub const STANDARD_INPUT: &str = "standard-input";

/// A run as it is stored in the state folder.
pub struct StoredRun {
    /// The folder of the run.
    pub path: PathBuf,
    /// The header of its journal.
    pub header: RunHeader,
    /// The plan of the run.
    pub plan: RunPlan,
    /// The events of its journal.
    pub events: Vec<Event>,
}

/// Settings that were made in code, as stored in the folder of their run. They contain no keys, only where to
/// find them.
#[derive(Serialize, Deserialize)]
pub struct StoredSettings {
    /// The folder that paths in the settings are relative to.
    pub base: PathBuf,
    /// The settings of the run.
    pub settings: Settings,
}

impl StoredRun {
    /// Reads the run that has this name, or this unique prefix of a name.
    ///
    /// # Errors
    /// Fails if there is no such run, or several, or if its folder cannot be read.
    pub fn find(run: &str, state: &State) -> Result<Self> {
        Self::at(&state.find_run(run)?)
    }

    /// Reads the folder of a run; every event is checked.
    ///
    /// # Errors
    /// Fails if journal or plan cannot be read, or do not belong together.
    pub fn at(path: &Path) -> Result<Self> {
        let (header, events) = Journal::read(&path.join("journal.db"))?;
        let file = path.join("plan.json");
        let body = dropmill_private_files::read(&file)?;
        if hash(&body) != header.plan {
            bail!(
                "{} is not the plan that the run's journal names: restore it from a copy, or start a new run",
                file.display()
            );
        }
        let plan = stored::from_bytes(&file, &body)?;
        Ok(Self { path: path.to_owned(), header, plan, events })
    }

    /// Returns the state of the run, rebuilt from its journal.
    pub fn past(&self) -> RecoveredRun {
        RecoveredRun::of(&self.events)
    }

    /// Returns the state of every task: of those that events name, and of those that are only planned.
    #[cfg(feature = "cli")]
    pub fn tasks(&self) -> TaskTable {
        let mut table = TaskTable::of(&self.events);
        self.plan.items.iter().for_each(|item| table.expect(&item.task, &item.relative));
        table
    }

    /// Returns the id of the task that a person means by an input, a part of it, or an id.
    ///
    /// # Errors
    /// Fails if no task or several match.
    #[cfg(feature = "cli")]
    pub fn find_task(&self, table: &TaskTable, name: &str) -> Result<String, UsageError> {
        let run = self.header.run.clone();
        match &*table.find(name) {
            [row] => Ok(row.task.clone()),
            [] => Err(UsageError::UnknownTask { run, task: name.to_owned() }),
            rows => {
                let title = |row: &&TaskRow| row.input.clone().unwrap_or_else(|| row.task.clone());
                let examples = rows.iter().take(3).map(title).collect();
                let (task, count) = (name.to_owned(), rows.len());
                Err(UsageError::AmbiguousTask { run, task, count, examples })
            }
        }
    }

    /// Removes what a process that was interrupted after the end of the run had no time to remove.
    ///
    /// # Errors
    /// Fails if it cannot be removed, or another process works on the run.
    pub fn tidy(&self, state: &State, clock: &SharedClock) -> Result<()> {
        let service = self.path.join("service");
        if self.past().ended.is_some()
            && service.exists()
            && ReportFold::of(&self.events).left_behind.is_empty()
        {
            let _held = state.hold_run(&self.path, clock.now())?;
            clear(&service)?;
        }
        // The folder is empty, or it contains files that somebody has to look at.
        let _ = fs::remove_dir(DiskPlace::staging(&self.plan.run, &self.plan.output));
        Ok(())
    }

    /// Returns the task settings for tasks that are added while the run is running.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    pub fn task(&self) -> Result<Task> {
        let file = self.path.join(TASK);
        let body = dropmill_private_files::read(&file)?;
        serde_json::from_slice(&body).with_context(|| format!("read {}", file.display()))
    }

    /// Reads the run file of the run as it is now, or the stored settings of a run that was made in code.
    /// `more` holds `section.key=value` that override those that the run was started with.
    ///
    /// # Errors Fails if they cannot be read or have mistakes.
    pub fn load(&self, more: &[String], environment: Vec<(String, String)>) -> Result<Loaded> {
        let path = self.path.join(SETTINGS);
        match dropmill_private_files::read(&path) {
            Ok(body) => {
                let stored: StoredSettings =
                    serde_json::from_slice(&body).with_context(|| format!("read {}", path.display()))?;
                return Ok(in_code(&stored.settings, &stored.base, more)?);
            }
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let run = &self.header.run;
        let file = self.header.file.as_ref();
        let file = file.with_context(|| format!("the journal of run {run} names no run file"))?;
        Ok(load(file, &[&self.header.set, more].concat(), environment)?)
    }
}

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Returns the digest of a plan that the header of a journal names.
pub fn hash(body: &[u8]) -> String {
    Sha256::digest(body).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
