//! The handle of one launch, through which other threads ask it to end, in any stage.

use super::keeper::{Line, Request};
use crate::orders::{LaunchId, NodeRef, Spent};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Locks a mutex, even after a panic of another thread: the protected data are consistent between any two
/// statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reason why a launch must end. Later variants take precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    /// Its task must end: outputs are still stored, if its process had started.
    Kill,
    /// Its task will run again, or its node is removed: nothing is stored.
    Abandon,
    /// The service stops: nothing is stored, nothing is reported.
    Stop,
}

/// The target of signals for a launch's processes.
#[derive(Debug)]
pub(super) enum Target {
    /// A process group. Its number is not reused from the start of its leader until the leader is reaped.
    Group(Pid),
    /// Everything that a shim holds.
    Shim(Arc<Line>),
}

/// One launch from its order to its end.
#[derive(Debug)]
pub(super) struct Handle {
    /// Number of the launch.
    pub id: LaunchId,
    /// Node of the launch.
    pub node: NodeRef,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: Option<Ask>,
    /// The running command.
    target: Option<Target>,
    /// The group of a coordination command that succeeded: the processes that it left end with the launch.
    /// Its leader is not reaped until then.
    background: Option<Target>,
    /// Whether the command after the coordination may start.
    may_go_on: bool,
    /// Folder of the task while its process runs, to check the size of its output.
    directory: Option<PathBuf>,
    /// Whether it was running at the last check.
    seen: bool,
    /// Resource usage of its reaped processes.
    spent: Spent,
}

impl Handle {
    /// Creates the handle of a launch that has not started.
    pub fn new(id: LaunchId, node: NodeRef) -> Self {
        Self { id, node, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Returns the reason why it must end, if it must.
    pub fn asked(&self) -> Option<Ask> {
        lock(&self.state).asked
    }

    /// Waits for this time, or until it is asked for another end than `before`.
    pub fn wait_unless_asked(&self, before: Option<Ask>, length: Duration) {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, length, |state| state.asked == before);
        drop(waited);
    }

    /// Asks it to end and sends SIGTERM to its processes, if there are any.
    pub fn ask(&self, why: Ask) {
        let mut state = lock(&self.state);
        state.asked = state.asked.max(Some(why));
        state.signal(Signal::TERM);
        self.changed.notify_all();
    }

    /// Records that its process is running. Sends SIGTERM at once if it was asked to end before; returns
    /// whether it was.
    pub fn started(&self, target: Target, directory: PathBuf) -> bool {
        let mut state = lock(&self.state);
        (state.target, state.directory) = (Some(target), Some(directory));
        if state.asked.is_some() {
            signal(state.target.as_ref(), Signal::TERM);
        }
        state.asked.is_some()
    }

    /// Sends SIGKILL to its running processes.
    pub fn kill(&self) {
        lock(&self.state).signal(Signal::KILL);
    }

    /// Records that all of its processes have ended, or, without a shim, are about to be reaped: they get no
    /// more signals.
    pub fn over(&self) {
        let mut state = lock(&self.state);
        for target in [state.target.take(), state.background.take()] {
            signal(target.as_ref().filter(|target| matches!(target, Target::Group(_))), Signal::KILL);
        }
        state.directory = None;
    }

    /// Records that its coordination command succeeded and left processes running.
    pub fn leaves_running(&self) {
        let mut state = lock(&self.state);
        state.background = state.target.take_if(|target| matches!(target, Target::Group(_)));
    }

    /// Allows the command after its coordination to start.
    pub fn go_on(&self) {
        lock(&self.state).may_go_on = true;
        self.changed.notify_all();
    }

    /// Waits until that command may start (`true`), or until the launch must end.
    pub fn wait_to_go_on(&self) -> bool {
        let mut state = lock(&self.state);
        while !state.may_go_on && state.asked.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asked.is_none()
    }

    /// Adds the resource usage of a reaped process.
    pub fn spent(&self, more: Spent) {
        lock(&self.state).spent += more;
    }

    /// Returns the resource usage of its processes.
    pub fn all_spent(&self) -> Spent {
        lock(&self.state).spent
    }

    /// Returns its process groups, while they run.
    pub fn groups(&self) -> Vec<Pid> {
        let state = lock(&self.state);
        let group = |target: &Target| match target {
            Target::Group(group) => Some(*group),
            Target::Shim(_) => None,
        };
        state.target.iter().chain(&state.background).filter_map(group).collect()
    }

    /// Returns its folder, if it was already running at the last check.
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
    // It is no error if all processes, or the shim, have ended: the launch will notice it.
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
