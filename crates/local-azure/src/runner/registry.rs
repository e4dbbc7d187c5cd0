//! What is under way: launches, the folders they use, nodes on their way out. Who must wait for whom.

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
    /// Nodes whose folders are about to go, and how often. What comes after waits.
    removing: BTreeMap<NodeRef, usize>,
    /// Folders that are to go as soon as nobody uses them: mostly none.
    doomed: Vec<Doomed>,
    closed: bool,
    /// Threads that want to hear of changes: mostly none.
    waiting: usize,
}

struct Entry {
    handle: Arc<Handle>,
    /// Its folder, as long as it uses it.
    folder: Option<PathBuf>,
}

/// A folder that was ordered to be removed while launches were using it, or folders in it.
struct Doomed {
    folder: PathBuf,
    users: BTreeSet<LaunchId>,
}

impl Registry {
    /// Takes in a launch; `false` if nothing is taken in any more.
    pub fn enter(&self, handle: Arc<Handle>, folder: Option<PathBuf>) -> bool {
        let mut state = lock(&self.state);
        if !state.closed {
            state.launches.insert(handle.id, Entry { handle, folder });
        }
        !state.closed
    }

    /// Waits while former folders in the place of a launch's are still in use and then to be removed, unless it is
    /// itself to end.
    pub fn wait_for_place(&self, handle: &Handle, folder: &Path) {
        let is_former =
            |doomed: &Doomed| folder.starts_with(&doomed.folder) && !doomed.users.contains(&handle.id);
        let must_wait =
            |state: &State| state.removing.contains_key(&handle.node) || state.doomed.iter().any(is_former);
        drop(self.wait_while(|state| must_wait(state) && handle.asked().is_none()));
    }

    /// A launch is done with its folder; called before its end is reported, so that whoever hears of the end may
    /// order the folder's removal or its next use. What was waiting for that goes to `remove`.
    pub fn leave_place(&self, launch: LaunchId, remove: impl Fn(PathBuf)) {
        let mut state = lock(&self.state);
        if let Some(entry) = state.launches.get_mut(&launch) {
            entry.folder = None;
        }
        let free = |doomed: &mut Doomed| doomed.users.remove(&launch) && doomed.users.is_empty();
        let freed: Vec<_> = state.doomed.extract_if(.., free).collect();
        if !freed.is_empty() {
            freed.into_iter().for_each(|doomed| remove(doomed.folder));
            self.tell(&state);
        }
    }

    /// Forgets a launch that has ended.
    pub fn leave(&self, launch: LaunchId) {
        let mut state = lock(&self.state);
        state.launches.remove(&launch);
        self.tell(&state);
    }

    /// A folder is to go: when the launches that use it or folders in it have left, else now, through `remove`.
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

    /// Whether a launch uses a folder on a node: one whose end has been told does not any more.
    pub fn uses(&self, node: &NodeRef) -> bool {
        lock(&self.state).launches.values().any(|entry| entry.folder.is_some() && entry.handle.node == *node)
    }

    /// A node is to go: what is entered from now on waits for [`Registry::node_gone`].
    pub fn node_goes(&self, node: &NodeRef) {
        *lock(&self.state).removing.entry(node.clone()).or_default() += 1;
    }

    /// Waits until all launches of a node that were asked to end have ended.
    pub fn wait_for_launches(&self, node: &NodeRef) {
        let ends = |entry: &Entry| entry.handle.node == *node && entry.handle.asked().is_some();
        drop(self.wait_while(|state| state.launches.values().any(ends)));
    }

    /// A node's folders are gone.
    pub fn node_gone(&self, node: &NodeRef) {
        let mut state = lock(&self.state);
        if let Some(times) = state.removing.get_mut(node) {
            *times -= 1;
            if *times == 0 {
                state.removing.remove(node);
            }
        }
        self.tell(&state);
    }

    /// Waits until a node is not being removed.
    pub fn wait_for_node(&self, node: &NodeRef) {
        drop(self.wait_while(|state| state.removing.contains_key(node) && !state.closed));
    }

    /// Takes in nothing any more.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.tell(&state);
    }

    /// Waits until nothing is under way.
    pub fn wait_for_all(&self) {
        drop(self.wait_while(|state| !state.launches.is_empty() || !state.removing.is_empty()));
    }

    /// Somebody was asked to end: those who wait may not have to any more.
    pub fn asked(&self) {
        self.tell(&lock(&self.state));
    }

    /// The handle of a launch that has not ended.
    pub fn handle(&self, launch: LaunchId) -> Option<Arc<Handle>> {
        lock(&self.state).launches.get(&launch).map(|entry| entry.handle.clone())
    }

    /// All handles, by number.
    pub fn handles(&self) -> Vec<Arc<Handle>> {
        lock(&self.state).launches.values().map(|entry| entry.handle.clone()).collect()
    }

    fn tell(&self, state: &State) {
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
