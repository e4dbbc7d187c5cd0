//! Checks that this machine can carry out a plan, before the first task starts.

use crate::{
    plan::files::normal,
    settings::{KeySource, Loaded, Problem, ServiceKind, readable_size as size},
};
use dropmill_actors::space_keeper::{EARLY_FROM_BYTES, may_delete_early};
use dropmill_lifecycle::plan::{Item, RunPlan};
use rustix::fs::{Access, access};
use std::path::Path;

/// Less free space than this is worth a warning.
const LITTLE: u64 = 64 << 20;
/// A folder, standard output and standard error: the least that a result has.
const FILES_OF_A_RESULT: u64 = 3;

/// Disk space for the embedded service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most bytes that inputs and application use at the same time.
    pub needs_bytes: u64,
    /// Free bytes on the file system of the state folder.
    pub free_bytes: u64,
}

/// Returns why the state folder has no room for the inputs, if it has not.
pub fn short_of_room(loaded: &Loaded, plan: &RunPlan, state: &Path) -> Option<Problem> {
    if loaded.settings.service.kind != ServiceKind::Embedded {
        return None;
    }
    let Room { needs_bytes, free_bytes } = room(plan, state).filter(|room| room.is_short())?;
    let what = format!(
        "inputs need {} ({needs_bytes} B) in {}, where {} are free: free some space, or name a state folder elsewhere with \
         --state",
        size(needs_bytes),
        state.display(),
        size(free_bytes),
    );
    Some(Problem::new(if loaded.settings.input.files.is_empty() { "input" } else { "input.files" }, what))
}

/// Returns a warning if the file system of the results is nearly full.
pub fn nearly_full(plan: &RunPlan) -> Option<Problem> {
    let free = space(&plan.output.directory)?;
    let folder = plan.output.directory.display();
    let files = u64::try_from(plan.items.len()).unwrap_or(u64::MAX).saturating_mul(FILES_OF_A_RESULT);
    let what = match free {
        Space { free_bytes, .. } if free_bytes < LITTLE => {
            format!("{} are free in {folder}", size(free_bytes))
        }
        Space { free_files: Some(free_files), .. } if free_files < files => format!(
            "the results of {} tasks need at least {files} files and folders, and the file system of {folder} can hold {free_files} \
             more",
            plan.items.len()
        ),
        Space { .. } => return None,
    };
    Some(Problem::new("output.directory", format!("{what}: free some space, or name another folder")))
}

/// Returns why the state folder cannot be used, if it cannot. A run finds that out when it makes its folder.
pub fn state_folder(state: &Path) -> Option<Problem> {
    let what = unwritable(state)?;
    Some(Problem::new("", format!("state folder: {what}, or name another with --state")))
}

/// Returns each key of the service and of notifications that is not available, and why. A run finds that out before its first
/// call.
pub fn keys(loaded: &Loaded) -> Vec<Problem> {
    let (service, notify) = (&loaded.settings.service, &loaded.settings.notify);
    let is_azure = service.kind == ServiceKind::Azure;
    let used = [
        ("service.batch_key", service.batch_key.as_ref().filter(|_| is_azure)),
        ("service.storage_key", service.storage_key.as_ref().filter(|_| is_azure)),
        ("notify.secret", notify.secret.as_ref().filter(|_| notify.url.is_some())),
    ];
    let missing = |(key, source): (&str, Option<&KeySource>)| {
        let what = source?.fetch(&loaded.base).err()?;
        Some(Problem::new(key, what))
    };
    used.into_iter().filter_map(missing).collect()
}

/// Returns what is wrong with the folder of results, if anything is.
pub fn output_folder(directory: &Path) -> Option<Problem> {
    unwritable(directory).map(|what| Problem::new("output.directory", what))
}

/// Returns why no files can be created in a folder, which need not exist.
fn unwritable(directory: &Path) -> Option<String> {
    let directory = normal(directory);
    let there = directory.ancestors().find(|folder| folder.symlink_metadata().is_ok())?;
    let shown = there.display();
    match there.metadata() {
        Err(error) => return Some(format!("{shown}: {error}")),
        Ok(facts) if !facts.is_dir() => {
            return Some(format!("{shown} is not a folder: move it away, or name another"));
        }
        Ok(_) => {}
    }
    let error = access(there, Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some(format!("cannot write to {shown}: {}", std::io::Error::from(error)))
}

/// Returns the free space of the file system of a folder, which need not exist. `None` if it is not known.
pub fn space(folder: &Path) -> Option<Space> {
    let there = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    let free_bytes = there.f_bavail.saturating_mul(there.f_frsize);
    // Some file systems have no fixed number of files, and report 0 of 0.
    Some(Space {
        free_bytes,
        free_files: (there.f_files > 0).then_some(there.f_favail),
        device: there.f_fsid,
    })
}

/// Returns the disk space that the embedded service needs: all inputs and the application in its containers,
/// and copies of those that are in the folders of tasks at the same time. Returns none if the free space is
/// unknown.
pub fn room(plan: &RunPlan, state: &Path) -> Option<Room> {
    let nodes = plan.pool.nodes.saturating_add(plan.pool.spot_nodes);
    let slots = usize::try_from(nodes.saturating_mul(plan.pool.slots_per_node)).unwrap_or(usize::MAX);
    let sum = |bytes: &mut dyn Iterator<Item = u64>| bytes.fold(0, u64::saturating_add);
    let single = |item: &&Item| plan.chunk_of(item.index).is_none();
    let tasks = plan.chunks.iter().chain(plan.items.iter().filter(single));
    let mut sizes: Vec<u64> = tasks.map(|item| item.size_bytes).collect();
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    let inputs = sum(&mut sizes.iter().copied());
    // The folder of a task with a large input is emptied once its result is delivered; folders with small
    // inputs stay until the end.
    let freed = sizes.iter().take_while(|size| may_delete_early(plan) && **size >= EARLY_FROM_BYTES).count();
    let at_work = sum(&mut sizes[..freed].iter().take(slots).chain(&sizes[freed..]).copied());
    let application = sum(&mut plan.application.iter().map(|file| file.size_bytes));
    let application = application.saturating_mul(u64::from(nodes) + 1);
    let free_bytes = space(state)?.free_bytes;
    Some(Room { needs_bytes: inputs.saturating_add(at_work).saturating_add(application), free_bytes })
}

/// Free space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that the caller may still write.
    pub free_bytes: u64,
    /// Files that can still be created, if that is limited.
    pub free_files: Option<u64>,
    /// Identifies the file system.
    pub device: u64,
}

impl Room {
    fn is_short(&self) -> bool {
        self.needs_bytes > self.free_bytes
    }
}
