//! The children of a keeper or shim: listed, killed, reaped.
//!
//! A process in the list is a child that this process has not reaped, so its number is not reused, and a
//! signal cannot reach a wrong process. The functions must be called on the process's only thread.

use crate::runner::proc;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid},
};
use std::fs;

/// Returns the children of this process, including dead ones that are not reaped yet.
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

/// Kills children until there are none. Children of a killed process become children of this process: each
/// round makes the next generation visible, and a process that forks and exits faster than it is found is
/// found a round later.
///
/// `ECHILD` proves that no descendant is left, whatever the list of children showed: an orphan becomes a
/// child of this process before its parent can be reaped.
pub(super) fn end_all() {
    while reap_dead() {
        for child in all() {
            let _ = kill_process(child, Signal::KILL);
        }
        // One of the killed children has ended. Nothing is reaped here: `reap_dead` does that.
        let _ = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
}

/// Reaps dead children; returns whether there are children left.
fn reap_dead() -> bool {
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Reaps the dead ones among some children.
pub(super) fn reap(children: &[Pid]) {
    for child in children {
        let _ = waitid(WaitId::Pid(*child), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}
