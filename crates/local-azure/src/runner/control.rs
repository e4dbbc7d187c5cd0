//! The handle on one launch: whoever wants it ended speaks to it here, whatever stage it is in.

use crate::orders::{LaunchId, NodeRef, Spent};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Locks, also after a panic elsewhere: what these locks protect is whole between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a launch is to end. The later ones outweigh the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    /// Its task is to end: outputs are still stored, if its process had started.
    Kill,
    /// Its task will run again, or its node goes: nothing is stored.
    Abandon,
    /// The service goes: nothing is stored, nothing reported.
    Stop,
}

/// One launch from its order to its end.
#[derive(Debug)]
pub(super) struct Handle {
    /// Which.
    pub id: LaunchId,
    /// Where.
    pub node: NodeRef,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: Option<Ask>,
    /// The process group, from the start of its leader until just before the leader is reaped: as long as it
    /// stands here, its number belongs to nobody else.
    group: Option<Pid>,
    /// The group of a coordination that ended well: what it left running goes with the launch. Its leader is not
    /// reaped until then.
    background: Option<Pid>,
    /// Whether what follows the coordination may begin.
    may_go_on: bool,
    /// The task's folder while its process runs, for whoever looks after the size of its output.
    directory: Option<PathBuf>,
    /// Whether it was running at the last look.
    seen: bool,
    /// What its processes took that are reaped.
    spent: Spent,
}

impl Handle {
    /// A launch that nobody works on yet.
    pub fn new(id: LaunchId, node: NodeRef) -> Self {
        Self { id, node, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Why it is to end, if it is.
    pub fn asked(&self) -> Option<Ask> {
        lock(&self.state).asked
    }

    /// Asks it to end and sends SIGTERM to its process group, if there is one yet.
    pub fn ask(&self, why: Ask) {
        let mut state = lock(&self.state);
        state.asked = state.asked.max(Some(why));
        signal(state.group, Signal::TERM);
        signal(state.background, Signal::TERM);
        self.changed.notify_all();
    }

    /// Its process runs now. Asked before, it is told at once. Whether it was asked.
    pub fn started(&self, leader: Pid, directory: PathBuf) -> bool {
        let mut state = lock(&self.state);
        (state.group, state.directory) = (Some(leader), Some(directory));
        if state.asked.is_some() {
            signal(state.group, Signal::TERM);
        }
        state.asked.is_some()
    }

    /// SIGKILL to the process group, if it still runs.
    pub fn kill(&self) {
        let state = lock(&self.state);
        signal(state.group, Signal::KILL);
        signal(state.background, Signal::KILL);
    }

    /// Its process is over and about to be reaped: from here on nobody signals its group any more.
    pub fn over(&self) {
        let mut state = lock(&self.state);
        signal(state.group.take(), Signal::KILL);
        state.directory = None;
    }

    /// Its coordination ended well and what that left goes on running.
    pub fn leaves_running(&self) {
        let mut state = lock(&self.state);
        state.background = state.group.take();
    }

    /// What its coordination left is over, too.
    pub fn nothing_runs(&self) {
        signal(lock(&self.state).background.take(), Signal::KILL);
    }

    /// What follows its coordination may begin.
    pub fn go_on(&self) {
        lock(&self.state).may_go_on = true;
        self.changed.notify_all();
    }

    /// Waits until what follows may begin (`true`), or until it is to end.
    pub fn wait_to_go_on(&self) -> bool {
        let mut state = lock(&self.state);
        while !state.may_go_on && state.asked.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asked.is_none()
    }

    /// One of its processes is reaped and took so much.
    pub fn spent(&self, more: Spent) {
        lock(&self.state).spent += more;
    }

    /// What its processes took.
    pub fn all_spent(&self) -> Spent {
        lock(&self.state).spent
    }

    /// Its process groups, while they run.
    pub fn groups(&self) -> Vec<Pid> {
        let state = lock(&self.state);
        state.group.into_iter().chain(state.background).collect()
    }

    /// Its folder, if it ran at the last look already.
    pub fn still_running(&self) -> Option<PathBuf> {
        let mut state = lock(&self.state);
        let runs = state.directory.is_some();
        let seen = std::mem::replace(&mut state.seen, runs);
        state.directory.clone().filter(|_| seen)
    }
}

/// Groups whose processes are all gone are no error: that is what was wanted.
fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group
        && let Err(error) = kill_process_group(group, signal)
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!(?group, ?signal, %error, "a process group could not be signalled");
    }
}
