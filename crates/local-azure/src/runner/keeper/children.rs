//! The children of a keeper or shim: listed, killed, reaped.
//!
//! A process in the list is a child that this process has not reaped, so no other process has its number, and a signal
//! cannot reach a wrong one. The functions are for the process's only thread.

use crate::runner::proc;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid},
};
use std::fs;

/// The children of this process, dead ones that are not reaped yet among them.
pub(super) fn all() -> Vec<Pid> {
    let from_kernel = || -> Option<Vec<Pid>> {
        let mut found = vec![];
        for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
            let text = fs::read_to_string(thread.path().join("children")).ok()?;
            found.extend(text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
        }
        Some(found)
    };
    from_kernel().unwrap_or_else(|| {
        // A kernel without that list.
        let me = proc::raw(getpid());
        let ours = |pid: &i32| proc::stat(*pid).is_some_and(|stat| stat.parent == me);
        proc::everybody().filter(ours).filter_map(Pid::from_raw).collect()
    })
}

/// Kills children until there are none. Children of a killed process become this process's: each round brings the
/// next generation into view, and a process that forks and exits faster than it is found is found a round later.
///
/// `ECHILD` is the proof that no descendant is left, whatever the list of children showed: an orphan has become a
/// child of this process before its parent can be reaped.
pub(super) fn end_all() {
    while reap_dead() {
        for child in all() {
            let _ = kill_process(child, Signal::KILL);
        }
        // One of those that were killed dies now. Nothing is reaped: `reap_dead` does that.
        let _ = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
}

/// Reaps the dead; whether there are children left.
fn reap_dead() -> bool {
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Reaps the dead among some children.
pub(super) fn reap(children: &[Pid]) {
    for child in children {
        let _ = waitid(WaitId::Pid(*child), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}
