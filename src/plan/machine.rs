//! Checks that this machine can carry out a plan, before the first task starts.

use crate::{
    plan::{files::normal, variables},
    settings::{Loaded, Problem, Problems, ServiceKind},
};
use dropmill_actors::space_keeper::{EARLY_FROM_BYTES, may_delete_early};
use dropmill_lifecycle::plan::RunPlan;
use rustix::fs::{Access, access};
use std::path::Path;

/// Disk space for the embedded service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most bytes that inputs and application use at the same time.
    pub needs_bytes: u64,
    /// Free bytes on the file system of the state folder.
    pub free_bytes: u64,
}

/// Checks that results can be written to the output folder, and that there is enough disk space for the
/// inputs.
///
/// # Errors Returns everything that this machine cannot do.
pub fn check(loaded: &Loaded, plan: &RunPlan, state: &Path) -> Result<(), Problems> {
    let mut problems = vec![];
    problems.extend(output(&plan.output.directory));
    if loaded.settings.service.kind == ServiceKind::Embedded
        && let Some(Room { needs_bytes, free_bytes }) = room(plan, state).filter(|room| room.is_short())
    {
        let what = format!(
            "they take {needs_bytes} B in {}, where {free_bytes} B are free: free some, or name a state folder elsewhere \
             with --state",
            state.display()
        );
        problems.push(Problem::new("input.files", what));
    }
    if problems.is_empty() { Ok(()) } else { Err(loaded.problems(problems)) }
}

/// Checks that the keys of the service and the secrets of tasks are available. A run finds that out by itself before its
/// first call.
///
/// # Errors Returns each key that is not available, and why.
pub fn keys(loaded: &Loaded) -> Result<(), Problems> {
    let service = &loaded.settings.service;
    let mut problems = vec![];
    for (key, source) in [("batch_key", &service.batch_key), ("storage_key", &service.storage_key)] {
        if service.kind == ServiceKind::Azure
            && let Some(Err(what)) = source.as_ref().map(|source| source.fetch(&loaded.base))
        {
            problems.push(Problem::new(format!("service.{key}"), what));
        }
    }
    problems.extend(variables::secrets(loaded).err().into_iter().flatten());
    if problems.is_empty() { Ok(()) } else { Err(loaded.problems(problems)) }
}

/// Returns what is wrong with the folder of results, if anything is.
fn output(directory: &Path) -> Option<Problem> {
    let wrong = |what: String| Some(Problem::new("output.directory", what));
    let directory = normal(directory);
    let there = directory.ancestors().find(|folder| folder.symlink_metadata().is_ok())?;
    let shown = there.display();
    match there.metadata() {
        Err(error) => return wrong(format!("{shown}: {error}")),
        Ok(facts) if !facts.is_dir() => {
            return wrong(format!("{shown} is not a folder: move it away, or name another"));
        }
        Ok(_) => {}
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => None,
        Err(error) => wrong(format!("cannot write to {shown}: {}", std::io::Error::from(error))),
    }
}

/// Returns the disk space that the embedded service needs: all inputs and the application in its containers,
/// and copies of those that are in the folders of tasks at the same time. Returns none if the free space is
/// unknown.
pub fn room(plan: &RunPlan, state: &Path) -> Option<Room> {
    let nodes = plan.pool.nodes.saturating_add(plan.pool.spot_nodes);
    let slots = usize::try_from(nodes.saturating_mul(plan.pool.slots_per_node)).unwrap_or(usize::MAX);
    let sum = |bytes: &mut dyn Iterator<Item = u64>| bytes.fold(0, u64::saturating_add);
    let mut sizes: Vec<u64> = plan.items.iter().map(|item| item.size_bytes).collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    let inputs = sum(&mut sizes.iter().copied());
    // The folder of a task with a large input is emptied once its result is delivered; folders with small
    // inputs stay until the end.
    let freed = sizes.iter().take_while(|size| may_delete_early(plan) && **size >= EARLY_FROM_BYTES).count();
    let at_work = sum(&mut sizes[..freed].iter().take(slots).chain(&sizes[freed..]).copied());
    let application = sum(&mut plan.application.iter().map(|file| file.size_bytes));
    let application = application.saturating_mul(u64::from(nodes) + 1);
    let there = state.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    let free_bytes = there.f_bavail.saturating_mul(there.f_frsize);
    Some(Room { needs_bytes: inputs.saturating_add(at_work).saturating_add(application), free_bytes })
}

impl Room {
    fn is_short(&self) -> bool {
        self.needs_bytes > self.free_bytes
    }
}
