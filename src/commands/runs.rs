//! `dropmill runs`: lists the runs of the state folder, and removes them.

use crate::{
    cli::RunsCommand,
    error::UsageError,
    render::say::{self, length},
    settings::Length,
    state::{State, holder, is_held},
};
use anyhow::{Context, Result};
use dropmill_azure_wire::time::{Clock, Timestamp, WallClock, iso_seconds};
use dropmill_journal::{RunSummary, list_runs};
use serde_json::json;
use std::{fs, path::Path};

/// Lists the runs, oldest first, or removes some.
pub fn runs(state: &State, what: Option<RunsCommand>, as_json: bool) -> Result<u8> {
    match what {
        None => list(state, as_json),
        Some(RunsCommand::Remove { runs, force }) => remove(state, &runs, force),
        Some(RunsCommand::Prune { older_than, force, dry_run }) => prune(state, older_than, force, dry_run),
    }
}

/// Returns the state of a run in one word.
fn state_of(run: &RunSummary) -> String {
    match &run.found {
        Err(_) => "damaged".into(),
        Ok(found) => match found.outcome {
            Some(outcome) => {
                let word = serde_json::to_value(outcome).unwrap_or_default();
                word.as_str().unwrap_or_default().to_owned()
            }
            None if is_held(&run.folder) => "running".into(),
            None => "interrupted".into(),
        },
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn list(state: &State, as_json: bool) -> Result<u8> {
    let runs = list_runs(state.folder())?;
    if as_json {
        list_as_json(&runs);
        return Ok(0);
    }
    if runs.is_empty() {
        say::note(&format!(
            "no runs in {}: `dropmill run FILE` starts one",
            state.folder().join("runs").display()
        ));
        return Ok(0);
    }
    let now = WallClock.now();
    let mut rows = vec![];
    // Programs that read the table need no header.
    if say::is_terminal() {
        rows.push(
            ["RUN", "STATE", "STARTED", "DURATION", "DONE", "FAILED", "TASKS", "PID"].map(String::from),
        );
    }
    let mut damaged = vec![];
    for run in &runs {
        let how = state_of(run);
        match &run.found {
            Err(error) => {
                rows.push([
                    name_of(&run.folder),
                    how,
                    "".into(),
                    "".into(),
                    "".into(),
                    "".into(),
                    "".into(),
                    "".into(),
                ]);
                damaged.push(format!("{}: {error}", name_of(&run.folder)));
            }
            Ok(found) => {
                let is_live = how == "running";
                let lasted = match is_live {
                    true => u64::try_from(now.duration_since(found.created).as_millis()).unwrap_or(0),
                    false => found.elapsed_ms,
                };
                let tasks = &found.tasks;
                let pid = holder(&run.folder).filter(|_| is_live);
                let pid =
                    pid.and_then(|holder| Some(holder.strip_prefix("pid ")?.split(' ').next()?.to_owned()));
                rows.push([
                    found.run.clone(),
                    how,
                    iso_seconds(found.created),
                    length(lasted),
                    tasks.succeeded.to_string(),
                    tasks.failed.to_string(),
                    tasks.total.to_string(),
                    pid.unwrap_or_default(),
                ]);
            }
        }
    }
    say::lines(table(&rows));
    say::notes(damaged);
    Ok(0)
}

/// Aligns the columns of a table; numbers stand at the right.
fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let cells: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| say::shown(cell))).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cell = |(column, cell): (usize, &String)| match column {
            0..=2 => format!("{cell:<0$}", widths[column]),
            _ => format!("{cell:>0$}", widths[column]),
        };
        row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}

fn list_as_json(runs: &[RunSummary]) {
    for run in runs {
        let is_read = match &run.found {
            Err(error) => say::json(
                &json!({ "run": name_of(&run.folder), "state": "damaged", "error": error.to_string() }),
            ),
            Ok(found) => say::json(&json!({
                "run": found.run,
                "name": found.name,
                "created": found.created,
                "state": state_of(run),
                "tasks": found.tasks,
                "elapsed_ms": found.elapsed_ms,
                "left_behind": found.left_behind,
            })),
        };
        if !is_read {
            return;
        }
    }
}

/// Removes the folders of runs. All are checked before the first is removed.
fn remove(state: &State, names: &[String], force: bool) -> Result<u8> {
    let runs = list_runs(state.folder())?;
    let mut folders = vec![];
    for name in names {
        let folder = state.find_run(name)?;
        let run = runs.iter().find(|run| run.folder == folder);
        if let (Some(run), false) = (run, force) {
            may_be_removed(run)?;
        }
        folders.push(folder);
    }
    folders.dedup();
    for folder in &folders {
        remove_folder(state, folder)?;
        say::note(&format!("{}: removed; its results stay", name_of(folder)));
    }
    Ok(0)
}

/// Checks that nothing is lost with the folder of a run.
fn may_be_removed(run: &RunSummary) -> Result<(), UsageError> {
    let refused = |why: String| UsageError::NotRemoved { run: name_of(&run.folder), why };
    match &run.found {
        Err(error) => Err(refused(format!("its journal is damaged ({error})"))),
        Ok(found) if found.outcome.is_none() => {
            let next = format!("`dropmill resume {}` continues it", found.run);
            Err(refused(match is_held(&run.folder) {
                true => "a process works on it".into(),
                false => format!("it was interrupted: {next}"),
            }))
        }
        Ok(found) if found.left_behind > 0 => {
            let next = format!("`dropmill show {}` lists it", found.run);
            Err(refused(format!("it left {} things at its service: {next}", found.left_behind)))
        }
        Ok(_) => Ok(()),
    }
}

fn remove_folder(state: &State, folder: &Path) -> Result<()> {
    // Nobody may start to work on it meanwhile.
    let _held = state.hold_run(folder, WallClock.now())?;
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

/// Removes runs that ended some time ago and left nothing.
fn prune(state: &State, older_than: Length, force: bool, dry_run: bool) -> Result<u8> {
    let now: Timestamp = WallClock.now();
    let mut kept = 0;
    let mut removed = 0;
    for run in list_runs(state.folder())? {
        let Ok(found) = &run.found else { continue };
        let since_start = u64::try_from(now.duration_since(found.created).as_millis()).unwrap_or(0);
        let since_end = since_start.saturating_sub(found.elapsed_ms);
        if u128::from(since_end) < older_than.0.as_millis() {
            continue;
        }
        let is_live = found.outcome.is_none() && is_held(&run.folder);
        if is_live || (!force && may_be_removed(&run).is_err()) {
            kept += 1;
            continue;
        }
        removed += 1;
        match dry_run {
            true => say::line(&found.run),
            false => {
                remove_folder(state, &run.folder)?;
                say::line(&found.run)
            }
        };
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    let more = match kept {
        0 => String::new(),
        kept => format!("; {kept} stay, because they have not ended or left something at their service"),
    };
    say::note(&format!("{removed} runs {verb}{more}"));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_hostile_names_stay_in_theirs() {
        let rows = [["RUN", "STATE", "STARTED", "N"], ["a", "running", "now", "3"], ["b\nc", "x", "", "120"]];
        let rows = rows.map(|row| row.map(String::from));
        let expected =
            ["RUN   STATE    STARTED    N", "a     running  now        3", "b\\nc  x                 120"];
        assert_eq!(table(&rows), expected);
    }
}
