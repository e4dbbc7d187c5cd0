//! What is under way: launches, the folders they use, nodes on their way out. Who must wait for whom.

use super::control::{Handle, lock};
use crate::orders::{LaunchId, NodeRef};
use std::{
    collections::BTreeMap,
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
    /// Launches whose folder is to go when they end: mostly none, and then nobody need look for them.
    removing_tasks: usize,
    closed: bool,
    /// Threads that want to hear of changes: mostly none.
    waiting: usize,
}

struct Entry {
    handle: Arc<Handle>,
    /// Its folder, as long as it uses it.
    folder: Option<PathBuf>,
    /// The folder was ordered to be removed meanwhile.
    remove: bool,
}

impl Registry {
    /// Takes in a launch; `false` if nothing is taken in any more.
    pub fn enter(&self, handle: Arc<Handle>, folder: Option<PathBuf>) -> bool {
        let mut state = lock(&self.state);
        if !state.closed {
            state.launches.insert(handle.id, Entry { handle, folder, remove: false });
        }
        !state.closed
    }

    /// Waits while former folders in the place of a launch's are still in use and then to be removed, unless it is
    /// itself to end.
    pub fn wait_for_place(&self, handle: &Handle, folder: &Path) {
        let is_former = |entry: &Entry| {
            entry.remove && entry.handle.id != handle.id && entry.folder.as_deref() == Some(folder)
        };
        let must_wait = |state: &State| {
            state.removing.contains_key(&handle.node)
                || (state.removing_tasks > 0 && state.launches.values().any(is_former))
        };
        drop(self.wait_while(|state| must_wait(state) && handle.asked().is_none()));
    }

    /// A launch is done with its folder; called before its end is reported, so that whoever hears of the end may
    /// order the folder's removal or its next use. The folder, if `remove` shall have it now.
    pub fn leave_place(&self, launch: LaunchId, remove: impl FnOnce(PathBuf)) {
        let mut state = lock(&self.state);
        let Some(entry) = state.launches.get_mut(&launch) else { return };
        let folder = entry.folder.take();
        if std::mem::take(&mut entry.remove) {
            state.removing_tasks -= 1;
            folder.map(remove);
            self.tell(&state);
        }
    }

    /// Forgets a launch that has ended.
    pub fn leave(&self, launch: LaunchId) {
        let mut state = lock(&self.state);
        state.launches.remove(&launch);
        self.tell(&state);
    }

    /// A task's folder is to go: by its launch if one uses it, else now, through `remove`.
    pub fn remove_task(&self, folder: PathBuf, remove: impl FnOnce(PathBuf)) {
        let mut state = lock(&self.state);
        let uses = |entry: &&mut Entry| entry.folder.as_ref() == Some(&folder);
        match state.launches.values_mut().find(uses) {
            Some(entry) if entry.remove => {}
            Some(entry) => {
                entry.remove = true;
                state.removing_tasks += 1;
            }
            None => remove(folder),
        }
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
