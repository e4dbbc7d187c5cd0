//! Restores the state of previous processes: runs to resume, inputs without a run, results to report again.

use super::{
    Finished,
    runs::{RunStore, StartedRun},
};
use crate::{
    drop_folder::{Adopt, Leftover, NewItem},
    drop_store::{DropStore, Root, path_of},
};
use dropmill_journal::{
    claims::ClaimFold,
    event::FileOutcome,
    past::{RecoveredRun, RecoveredTask},
};

/// Tasks of a run: their ids and recovered states.
pub type Tasks = Vec<(String, RecoveredTask)>;

/// A resumed run with its earlier tasks.
pub struct Resumed {
    pub run: StartedRun,
    pub tasks: Tasks,
}

/// The restored state.
#[derive(Default)]
pub struct Recovered {
    pub resumed: Vec<Resumed>,
    /// Runs that ended before all their files were in their final places.
    pub leftovers: Vec<Leftover>,
    pub adopted: Vec<Adopt>,
    /// Published results that a previous process may not have reported.
    pub finished: Vec<Finished>,
}

/// Reads the journals of the daemon's runs, resumes unfinished ones, and finds inputs without a run.
///
/// # Errors
/// Returns what cannot be read or resumed.
pub fn recall(runs: &dyn RunStore, store: &dyn DropStore) -> Result<Recovered, String> {
    store.prune();
    let mut recovered = Recovered::default();
    let mut stored = runs.stored()?;
    let mut claims = ClaimFold::default();
    for found in &stored {
        claims.add(&found.run, &found.past);
    }
    let mut known = vec![];
    for found in &mut stored {
        claims.settle(&found.run, &mut found.past);
        recovered.finished.extend(finished(&found.run, &found.past, store));
        if found.past.ended.is_some() {
            let tasks = unpublished(&found.past);
            if tasks.is_empty() {
                runs.close(&found.run)?;
                continue;
            }
            known.extend(places(&tasks));
            recovered.leftovers.push(Leftover { run: found.run.clone(), tasks });
            continue;
        }
        let (items, tasks) = open_tasks(&found.run, &found.past, store)?;
        known.extend(places(&tasks));
        recovered.resumed.push(Resumed { run: runs.resume(&found.run, items)?, tasks });
    }
    for (place, name) in store.inputs() {
        if !known.contains(&place) {
            let relative = claims.input_of(&place).map_or(name, path_of);
            let attempts = claims.attempts_of(&place);
            recovered.adopted.push(Adopt { relative, place, attempts });
        }
    }
    Ok(recovered)
}

/// Returns the tasks of an ended run whose files are not in their final places. A file whose task was not
/// closed was never claimed.
fn unpublished(past: &RecoveredRun) -> Tasks {
    let is_open = |past: &RecoveredTask| past.claimed.is_some() && past.closed.is_some() && !past.settled;
    let open = past.tasks.iter().filter(|(_, past)| is_open(past));
    open.map(|(task, past)| (task.clone(), past.clone())).collect()
}

/// Returns the places of unsettled files.
fn places(tasks: &[(String, RecoveredTask)]) -> Vec<String> {
    let open = tasks.iter().filter(|(_, past)| !past.settled);
    open.filter_map(|(_, past)| Some(past.claimed.as_ref()?.place.clone())).collect()
}

/// Returns the tasks of a resumed run that may still be at the service, or that its report must count.
fn open_tasks(
    run: &str,
    past: &RecoveredRun,
    store: &dyn DropStore,
) -> Result<(Vec<NewItem>, Tasks), String> {
    let (mut items, mut tasks) = (vec![], vec![]);
    for (task, past) in &past.tasks {
        let Some(claim) = &past.claimed else { continue };
        if past.settled && past.closed.is_none() {
            continue;
        }
        let relative = path_of(&claim.input);
        let found = store
            .find(&claim.place, &relative)
            .map_err(|error| format!("cannot restore {}: {error}", claim.input))?;
        if found.is_none() && past.closed.is_none() {
            // The file was never claimed, so it does not belong to this run.
            continue;
        }
        items.push(NewItem {
            task: task.clone(),
            relative: claim.input.clone(),
            size_bytes: found.as_ref().map_or(past.uploaded.unwrap_or(0), |found| found.look.size_bytes),
            whole_folder: found.as_ref().is_some_and(|found| found.whole_folder),
            source: found.map_or_else(|| store.source(&claim.place, &relative), |found| found.source),
            run: run.to_owned(),
        });
        tasks.push((task.clone(), past.clone()));
    }
    Ok((items, tasks))
}

fn finished(run: &str, past: &RecoveredRun, store: &dyn DropStore) -> Vec<Finished> {
    let published = past.tasks.iter().filter_map(|(task, past)| {
        let ((outcome, place), claim) = (past.published.as_ref()?, past.claimed.as_ref()?);
        let root = match outcome {
            FileOutcome::Failed => Root::Failed,
            FileOutcome::Done | FileOutcome::Duplicate | FileOutcome::Other(_) => Root::Done,
        };
        Some(Finished {
            run: run.to_owned(),
            task: task.clone(),
            input: claim.input.clone(),
            outcome: outcome.clone(),
            place: store.root(root).join(path_of(place)),
            cause: past.closed.as_ref().and_then(|last| last.cause.clone()),
        })
    });
    published.collect()
}
