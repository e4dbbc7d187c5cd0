//! Launches in progress, the folders they use, and nodes that are being removed; decides who must wait.

use super::control::{Handle, lock};
use crate::orders::{LaunchId, NodeRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// All launches that have not ended, and all nodes that are being removed.
#[derive(Default)]
pub(super) struct Registry {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    launches: BTreeMap<LaunchId, Entry>,
    /// Nodes whose folders are about to be removed, with a count. New launches on them wait.
    removing: BTreeMap<NodeRef, usize>,
    /// Folders to be removed as soon as they are unused: usually none.
    doomed: Vec<Doomed>,
    closed: bool,
    /// Number of threads that wait for changes: usually none.
    waiting: usize,
}

struct Entry {
    handle: Arc<Handle>,
    /// Its folder, as long as it uses it.
    folder: Option<PathBuf>,
}

/// A folder whose removal was ordered while launches were using it, or folders in it.
struct Doomed {
    folder: PathBuf,
    users: BTreeSet<LaunchId>,
}

impl Registry {
    /// Adds a launch; returns `false` if the registry is closed.
    pub fn enter(&self, handle: Arc<Handle>, folder: Option<PathBuf>) -> bool {
        let mut state = lock(&self.state);
        if !state.closed {
            state.launches.insert(handle.id, Entry { handle, folder });
        }
        !state.closed
    }

    /// Waits while an old folder in the place of the launch's folder is in use and must be removed, unless
    /// the launch must end.
    pub fn wait_for_place(&self, handle: &Handle, folder: &Path) {
        let is_former =
            |doomed: &Doomed| folder.starts_with(&doomed.folder) && !doomed.users.contains(&handle.id);
        let must_wait =
            |state: &State| state.removing.contains_key(&handle.node) || state.doomed.iter().any(is_former);
        drop(self.wait_while(|state| must_wait(state) && handle.asked().is_none()));
    }

    /// Frees the folder of a launch; called before its end is reported, so that the receiver may order the
    /// folder's removal or reuse. Folders that waited for this are passed to `remove`.
    pub fn leave_place(&self, launch: LaunchId, remove: impl Fn(PathBuf)) {
        let mut state = lock(&self.state);
        if let Some(entry) = state.launches.get_mut(&launch) {
            entry.folder = None;
        }
        let free = |doomed: &mut Doomed| doomed.users.remove(&launch) && doomed.users.is_empty();
        let freed: Vec<_> = state.doomed.extract_if(.., free).collect();
        if !freed.is_empty() {
            freed.into_iter().for_each(|doomed| remove(doomed.folder));
            self.notify(&state);
        }
    }

    /// Removes a launch that has ended.
    pub fn leave(&self, launch: LaunchId) {
        let mut state = lock(&self.state);
        state.launches.remove(&launch);
        self.notify(&state);
    }

    /// Removes a folder through `remove`: when the launches that use it or folders in it have left it,
    /// otherwise now.
    pub fn remove_folder(&self, folder: PathBuf, remove: impl Fn(PathBuf)) {
        let mut state = lock(&self.state);
        let uses = |entry: &Entry| entry.folder.as_ref().is_some_and(|used| used.starts_with(&folder));
        let users: BTreeSet<_> =
            state.launches.iter().filter(|(_, entry)| uses(entry)).map(|(id, _)| *id).collect();
        match users.is_empty() {
            true => remove(folder),
            false => state.doomed.push(Doomed { folder, users }),
        }
    }

    /// Returns whether a launch uses a folder on a node; a launch whose end was reported does not.
    pub fn uses(&self, node: &NodeRef) -> bool {
        lock(&self.state).launches.values().any(|entry| entry.folder.is_some() && entry.handle.node == *node)
    }

    /// Marks a node as being removed: later launches wait for [`Registry::node_gone`].
    pub fn node_goes(&self, node: &NodeRef) {
        *lock(&self.state).removing.entry(node.clone()).or_default() += 1;
    }

    /// Waits until all launches of a node that were asked to end have ended.
    pub fn wait_for_launches(&self, node: &NodeRef) {
        let ends = |entry: &Entry| entry.handle.node == *node && entry.handle.asked().is_some();
        drop(self.wait_while(|state| state.launches.values().any(ends)));
    }

    /// Records that a node's folders are removed.
    pub fn node_gone(&self, node: &NodeRef) {
        let mut state = lock(&self.state);
        if let Some(times) = state.removing.get_mut(node) {
            *times -= 1;
            if *times == 0 {
                state.removing.remove(node);
            }
        }
        self.notify(&state);
    }

    /// Waits until a node is not being removed.
    pub fn wait_for_node(&self, node: &NodeRef) {
        drop(self.wait_while(|state| state.removing.contains_key(node) && !state.closed));
    }

    /// Closes the registry for new launches.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.notify(&state);
    }

    /// Waits until no launch is in progress.
    pub fn wait_for_all(&self) {
        drop(self.wait_while(|state| !state.launches.is_empty() || !state.removing.is_empty()));
    }

    /// Notifies waiting threads that a launch was asked to end.
    pub fn asked(&self) {
        self.notify(&lock(&self.state));
    }

    /// Returns the handle of a launch that has not ended.
    pub fn handle(&self, launch: LaunchId) -> Option<Arc<Handle>> {
        lock(&self.state).launches.get(&launch).map(|entry| entry.handle.clone())
    }

    /// Returns all handles, by number.
    pub fn handles(&self) -> Vec<Arc<Handle>> {
        lock(&self.state).launches.values().map(|entry| entry.handle.clone()).collect()
    }

    fn notify(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn wait_while(&self, mut condition: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        while condition(&state) {
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state
    }
}
