//! The handle on one launch: whoever wants it ended speaks to it here, whatever stage it is in.

use super::keeper::{Line, Request};
use crate::orders::{LaunchId, NodeRef, Spent};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
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

/// Where signals for a launch's processes go.
#[derive(Debug)]
pub(super) enum Target {
    /// To a process group. No other group has its number from the start of its leader until just before the leader is
    /// reaped.
    Group(Pid),
    /// To everything that a shim holds.
    Shim(Arc<Line>),
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
    /// What runs.
    target: Option<Target>,
    /// The group of a coordination that ended well: what it left running goes with the launch. Its leader is not
    /// reaped until then.
    background: Option<Target>,
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

    /// Waits for so long, or until it is asked for another end than `before`.
    pub fn wait_unless_asked(&self, before: Option<Ask>, length: Duration) {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, length, |state| state.asked == before);
        drop(waited);
    }

    /// Asks it to end and sends SIGTERM to its processes, if there are some yet.
    pub fn ask(&self, why: Ask) {
        let mut state = lock(&self.state);
        state.asked = state.asked.max(Some(why));
        state.signal(Signal::TERM);
        self.changed.notify_all();
    }

    /// Its process runs now. If it was asked to end before, SIGTERM follows at once. Whether it was asked.
    pub fn started(&self, target: Target, directory: PathBuf) -> bool {
        let mut state = lock(&self.state);
        (state.target, state.directory) = (Some(target), Some(directory));
        if state.asked.is_some() {
            signal(state.target.as_ref(), Signal::TERM);
        }
        state.asked.is_some()
    }

    /// SIGKILL to its processes, if they still run.
    pub fn kill(&self) {
        lock(&self.state).signal(Signal::KILL);
    }

    /// All of its processes are over, or, without a shim, about to be reaped: they are not signalled any more.
    pub fn over(&self) {
        let mut state = lock(&self.state);
        for target in [state.target.take(), state.background.take()] {
            signal(target.as_ref().filter(|target| matches!(target, Target::Group(_))), Signal::KILL);
        }
        state.directory = None;
    }

    /// Its coordination ended well and what that left goes on running.
    pub fn leaves_running(&self) {
        let mut state = lock(&self.state);
        state.background = state.target.take_if(|target| matches!(target, Target::Group(_)));
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
        let group = |target: &Target| match target {
            Target::Group(group) => Some(*group),
            Target::Shim(_) => None,
        };
        state.target.iter().chain(&state.background).filter_map(group).collect()
    }

    /// Its folder, if it ran at the last look already.
    pub fn still_running(&self) -> Option<PathBuf> {
        let mut state = lock(&self.state);
        let runs = state.directory.is_some();
        let seen = std::mem::replace(&mut state.seen, runs);
        state.directory.clone().filter(|_| seen)
    }
}

impl State {
    fn signal(&self, what: Signal) {
        signal(self.target.as_ref(), what);
        signal(self.background.as_ref(), what);
    }
}

fn signal(target: Option<&Target>, signal: Signal) {
    let outcome = match target {
        None => return,
        Some(Target::Group(group)) => kill_process_group(*group, signal).map_err(std::io::Error::from),
        Some(Target::Shim(line)) => {
            let request = if signal == Signal::KILL { Request::Kill } else { Request::Terminate };
            line.send(&request.encode(), &[])
        }
    };
    // That all processes, or the shim, are gone is no error: the launch is about to notice.
    let gone = |error: &std::io::Error| {
        error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
            || matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset)
    };
    if let Err(error) = outcome
        && !gone(&error)
    {
        tracing::warn!(?target, ?signal, %error, "cannot signal the processes of a task");
    }
}
