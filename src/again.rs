//! Decides which inputs `--skip-done` leaves out, and why each of the others is run again.
//!
//! An input is done if its latest result is still in its place, and was made from the same content by the
//! same recipe: command, environment, application, outputs. Everything is compared; an earlier success alone
//! is not enough.

use crate::{state::State, stored_run::StoredRun};
use anyhow::{Context, Result};
use dropmill_actors::place::{content_is, lies_there};
use dropmill_journal::{
    event::{EventKind, Verdict},
    results::{MadeFrom, OwnResult, OwnResults},
};
use dropmill_lifecycle::plan::{Item, Layout, RunPlan};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    sync::Arc,
};

/// Why an input is run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No run of this run file succeeded with it.
    NeverDone,
    /// A file of its result is missing, or has another length.
    ResultGone(String),
    /// A file of its result has other content.
    ResultChanged(String),
    /// Its length or its time has changed.
    InputChanged,
    /// These parts of the recipe have changed: `command`, `environment`, `application`, `outputs`.
    RecipeChanged(Vec<String>),
    /// There is no record of what its result was made from.
    Unknown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverDone => f.write_str("no run succeeded with it"),
            Self::ResultGone(path) => write!(f, "{path} is missing, or has another length"),
            Self::ResultChanged(path) => write!(f, "{path} has other content"),
            Self::InputChanged => f.write_str("the input changed"),
            Self::RecipeChanged(parts) => write!(f, "changed since: {}", parts.join(", ")),
            Self::Unknown => f.write_str("there is no record of what its result was made from"),
        }
    }
}

/// Returns the results that runs of a run file delivered to its output folder: from their record, or, if
/// there is none, from the journals of its runs.
///
/// # Errors Fails if the record or a journal cannot be read.
pub fn own_results(plan: &RunPlan, state: &State) -> Result<OwnResults> {
    let file = plan.run_file.as_deref().context("the run file has no canonical path")?;
    let mut own = OwnResults::open(&plan.output.directory, file, true)?;
    for result in unrecorded(plan, file, &own, state)? {
        own.learn(Arc::new(result));
    }
    Ok(own)
}

/// Creates the record of a run file's own results, if there is none, from the journals of its runs.
///
/// # Errors Fails as [`own_results`] does, or if the record cannot be written.
pub fn begin_record(plan: &RunPlan, state: &State) -> Result<()> {
    let Some(file) = plan.run_file.as_deref() else { return Ok(()) };
    let mut own = OwnResults::open(&plan.output.directory, file, false)?;
    for result in unrecorded(plan, file, &own, state)? {
        own.add(result)?;
    }
    Ok(own.sync()?)
}

/// Returns results of a release that kept no record. If all inputs share one folder, the names of these
/// results are unknown.
fn unrecorded(plan: &RunPlan, file: &Path, own: &OwnResults, state: &State) -> Result<Vec<OwnResult>> {
    let output = &plan.output.directory;
    let mut found = vec![];
    if own.is_empty() && output.is_dir() && plan.output.layout == Layout::ByInput {
        for (path, _) in state.runs_of(file)?.into_iter().rev() {
            found.extend(recorded(&path, output)?);
        }
    }
    Ok(found)
}

/// Returns the results that a run delivered to this output folder.
fn recorded(run: &Path, output: &Path) -> Result<Vec<OwnResult>> {
    let found = StoredRun::at(run)?;
    if found.plan.output.directory != output {
        return Ok(vec![]);
    }
    let items: BTreeMap<&str, &Item> = found.plan.items.iter().map(|item| (&*item.task, item)).collect();
    let mut results: BTreeMap<String, OwnResult> = BTreeMap::new();
    for event in &found.events {
        let Some(item) = event.subject.task().and_then(|task| items.get(task)) else {
            continue;
        };
        match &event.kind {
            EventKind::OutputDelivered { folder, files, .. } if !folder.is_empty() => {
                let made_from = MadeFrom {
                    bytes: item.size_bytes,
                    modified: item.modified,
                    recipe: recipe(&found.plan, item),
                };
                let result = OwnResult {
                    input: item.relative.clone(),
                    run: found.plan.run.clone(),
                    success: false,
                    folder: folder.clone(),
                    files: files.clone(),
                    made_from: Some(made_from),
                };
                results.insert(item.task.clone(), result);
            }
            EventKind::TaskClosed { verdict, .. } => {
                if let Some(result) = results.get_mut(&item.task) {
                    result.success = *verdict == Verdict::Succeeded;
                }
            }
            _ => {}
        }
    }
    Ok(results.into_values().collect())
}

/// Returns why an input is run again, or none if it is done. `check_content` reads and compares the content
/// of results; otherwise only their lengths are compared.
pub fn why(item: &Item, plan: &RunPlan, own: &OwnResults, check_content: bool) -> Option<Why> {
    let mut successes = own.of_input(&item.relative).filter(|result| result.success);
    let Some(latest) = successes.next() else { return Some(Why::NeverDone) };
    let Some(made_from) = &latest.made_from else { return Some(Why::Unknown) };
    let is_unknown = item.source.is_some() && made_from.modified.is_none();
    if is_unknown || made_from.recipe.is_empty() {
        return Some(Why::Unknown);
    }
    if (made_from.bytes, made_from.modified) != (item.size_bytes, item.modified) {
        return Some(Why::InputChanged);
    }
    let now = recipe(plan, item);
    let parts: BTreeSet<&String> = now.keys().chain(made_from.recipe.keys()).collect();
    let is_other = |part: &&&String| made_from.recipe.get(**part) != now.get(**part);
    let changed: Vec<String> = parts.iter().filter(is_other).map(|part| (*part).clone()).collect();
    if !changed.is_empty() {
        return Some(Why::RecipeChanged(changed));
    }
    // A result is recorded before it is moved to its place: after a crash, an earlier result of the same
    // lengths may be there.
    let may_be_earlier = successes.any(|earlier| lengths(earlier) == lengths(latest));
    for file in &latest.files {
        let place = match latest.folder.as_str() {
            "" => file.path.clone(),
            folder => format!("{folder}/{}", file.path),
        };
        let path = plan.output.directory.join(&place);
        if !lies_there(&path, file) {
            return Some(Why::ResultGone(place));
        }
        if (check_content || may_be_earlier) && !content_is(&path, file) {
            return Some(Why::ResultChanged(place));
        }
    }
    None
}

/// Returns why each input of a plan is done again, in the order of the plan; none for an input that is done. If several
/// inputs have one result, an input is done if that result is as it would be made now, or if the input has a result of
/// its own.
pub fn whys(plan: &RunPlan, own: &OwnResults, check_content: bool) -> Vec<Option<Why>> {
    let mut whys: Vec<_> = plan.items.iter().map(|item| why(item, plan, own, check_content)).collect();
    for item in &plan.chunks {
        let Some(chunk) = item.members().filter(|chunk| !chunk.own_results) else { continue };
        let of_all = why(item, plan, own, check_content);
        for why in &mut whys[chunk.first as usize..chunk.range().end as usize] {
            *why = match (why.take(), &of_all) {
                (None, _) | (_, None) => None,
                (Some(Why::NeverDone), Some(of_all)) => Some(of_all.clone()),
                (why, _) => why,
            };
        }
    }
    whys
}

/// Returns the digests of everything besides its source that a task's result depends on: the recipe of the
/// plan and that of the task.
fn recipe(plan: &RunPlan, item: &Item) -> BTreeMap<String, String> {
    plan.recipe.iter().chain(&item.recipe).map(|(part, digest)| (part.clone(), digest.clone())).collect()
}

fn lengths(result: &Arc<OwnResult>) -> (&str, Vec<(&str, u64)>) {
    (&result.folder, result.files.iter().map(|file| (file.path.as_str(), file.bytes)).collect())
}

#[cfg(test)]
mod tests;
