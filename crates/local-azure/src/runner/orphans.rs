//! Processes that outlive their command, if there is no keeper: they are found, ended and reaped.
//!
//! A command's process group is ended by one signal, but `setsid` and double forks leave the group. There are
//! three ways to find them. This process is a child subreaper, so every orphaned descendant becomes its
//! child. Every launch has a mark in its environment. And its processes start in its folder and write their
//! output there. A process that removed all of these (cleared its environment and executed again, left its
//! session, changed its folder, closed its files) is not recognised while other children of this process
//! could look the same, and it outlives this process if that is killed. A keeper ends these too (`keeper/`);
//! then only the marks are used, for what a previous process left and for what a killed keeper had.
//!
//! Usually a launch leaves nothing, and then all this costs one `pread`.

use super::{
    control::lock,
    environment::TAG,
    place::hex,
    proc::{Stat, everybody, raw, stat},
    spent,
};
use crate::orders::LaunchId;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpgrp, getpid, kill_process, kill_process_group,
        pidfd_open, pidfd_send_signal, set_child_subreaper, waitid,
    },
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Time after which a dead child without a waiter counts as an orphan: code of this process that starts
/// processes itself waits for them sooner.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// Children that this process did not start.
pub(super) struct Orphans {
    me: i32,
    /// Children of the first thread, to which the kernel gives orphans; `None` if the kernel has no such
    /// file.
    children: Option<File>,
    root: PathBuf,
    mark: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Orphans whose launch is known. A child's number is not reused until this process reaps it.
    owners: BTreeMap<i32, LaunchId>,
    /// Orphans that a thread is ending now.
    claimed: BTreeSet<i32>,
    /// Dead children of unknown origin, with the time when they were found.
    dead: BTreeMap<(i32, u64), Instant>,
}

impl Orphans {
    /// Finds the processes of a root, the canonical folder of all nodes, by their marks.
    pub fn new(root: &Path) -> Self {
        let me = raw(getpid());
        Self {
            me,
            children: File::open(format!("/proc/{me}/task/{me}/children")).ok(),
            root: root.to_owned(),
            mark: hex(&Sha256::digest(root.as_os_str().as_bytes())[..8]),
            state: Mutex::default(),
        }
    }

    /// Makes this process the parent of orphaned descendants: without a keeper, they could not be found.
    pub fn adopt() {
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            tracing::warn!(%error, "no child subreaper: orphans of tasks are found by their mark only");
        }
    }

    /// Returns the value of the variable that marks a launch: a later process with the same root uses the
    /// same mark.
    pub fn tag(&self, launch: LaunchId) -> String {
        format!("{}-{launch}", self.mark)
    }

    /// Ends and reaps everything that a launch left. Its leader is dead but not reaped, so `group` is still
    /// its own. Processes of earlier launches (not `alive`) are ended too.
    pub fn sweep(&self, launch: LaunchId, group: Pid, directory: &Path, alive: &dyn Fn(LaunchId) -> bool) {
        let started = Instant::now();
        loop {
            // This kills the members of the group; each round makes their children visible.
            let _ = kill_process_group(group, Signal::KILL);
            let found = self.claim(|pid, stat| {
                let owner = self.owner(pid);
                stat.group == raw(group)
                    || owner.is_some_and(|owner| owner == launch || !alive(owner))
                    || (owner.is_none() && !stat.dead && works_in(pid, directory))
            });
            if found.is_empty() {
                return;
            }
            self.end(&found);
            if started.elapsed() > Duration::from_secs(10) {
                tracing::warn!(
                    launch,
                    left = found.len(),
                    "a task keeps making processes while it is being ended"
                );
            }
        }
    }

    /// Reaps dead orphans: those of living groups at once, unknown ones after a while without a waiter.
    pub fn reap_dead(&self, groups: &BTreeSet<i32>) {
        let own_group = raw(getpgrp());
        let now = Instant::now();
        let mut still_dead = BTreeMap::new();
        let before = std::mem::take(&mut lock(&self.state).dead);
        let found = self.claim(|pid, stat| {
            if !stat.dead || stat.group == own_group || groups.contains(&pid) {
                return false;
            }
            let since = *before.get(&(pid, stat.start)).unwrap_or(&now);
            let reap = groups.contains(&stat.group) || now.duration_since(since) >= FORGOTTEN;
            if !reap {
                still_dead.insert((pid, stat.start), since);
            }
            reap
        });
        lock(&self.state).dead = still_dead;
        self.end(&found);
    }

    /// Ends every process of this root, wherever it is in the process tree; returns when none is left.
    pub fn end_all(&self) {
        loop {
            let orphans = self
                .claim(|pid, stat| !stat.dead && (self.owner(pid).is_some() || works_in(pid, &self.root)));
            self.end(&orphans);
            if !self.end_marked(|_| true) && orphans.is_empty() {
                return;
            }
        }
    }

    /// Ends the processes with a launch's mark, wherever they are in the process tree; returns when none is
    /// left.
    pub fn end_launch(&self, launch: LaunchId) {
        while self.end_marked(|owner| owner == launch.to_string()) {}
    }

    /// Ends the processes with the mark of this root and of a launch that `wanted` selects; returns whether
    /// there were any.
    fn end_marked(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let mark = format!("{TAG}={}-", self.mark);
        let marked: Vec<_> = everybody()
            .filter(|pid| *pid != self.me)
            .filter_map(|pid| Some((pid, handle_of(pid)?)))
            .filter(|(pid, _)| variable(*pid, &mark).is_some_and(|launch| wanted(&launch)))
            .filter(|(_, handle)| pidfd_send_signal(handle, Signal::KILL).is_ok())
            .collect();
        for (pid, handle) in &marked {
            wait_gone(handle);
            reap(*pid);
        }
        !marked.is_empty()
    }

    /// Ends the process groups of a previous process. A leader is identified by number and start time, so
    /// that a reused number is left alone.
    pub fn end_groups(&self, leaders: &[(u32, u64)]) {
        for (number, start) in leaders {
            let Ok(leader) = i32::try_from(*number) else { continue };
            let (Some(pid), Some(handle)) = (Pid::from_raw(leader), handle_of(leader)) else { continue };
            let same = stat(leader).is_some_and(|stat| stat.start == *start && stat.group == leader);
            if same && kill_process_group(pid, Signal::KILL).is_ok() {
                wait_gone(&handle);
            }
        }
    }

    /// Takes the orphans that `wanted` selects, for this caller only until it has ended them.
    fn claim(&self, mut wanted: impl FnMut(i32, Stat) -> bool) -> Vec<i32> {
        let mut found = Vec::new();
        for pid in self.adopted() {
            if lock(&self.state).claimed.contains(&pid) {
                continue;
            }
            let Some(stat) = stat(pid).filter(|stat| stat.parent == self.me) else { continue };
            if wanted(pid, stat) && lock(&self.state).claimed.insert(pid) {
                found.push(pid);
            }
        }
        found
    }

    fn end(&self, claimed: &[i32]) {
        for pid in claimed {
            let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        for pid in claimed {
            reap(*pid);
            let mut state = lock(&self.state);
            state.owners.remove(pid);
            state.claimed.remove(pid);
        }
    }

    /// Returns the launch whose mark a process has.
    fn owner(&self, pid: i32) -> Option<LaunchId> {
        if let Some(owner) = lock(&self.state).owners.get(&pid) {
            return Some(*owner);
        }
        let launch = variable(pid, &format!("{TAG}={}-", self.mark))?.parse().ok()?;
        lock(&self.state).owners.insert(pid, launch);
        Some(launch)
    }

    fn adopted(&self) -> Vec<i32> {
        let Some(children) = &self.children else {
            return everybody().filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == self.me)).collect();
        };
        let mut text = Vec::new();
        let mut page = [0; 4096];
        while let Ok(length @ 1..) = children.read_at(&mut page, text.len() as u64) {
            text.extend_from_slice(&page[..length]);
        }
        String::from_utf8_lossy(&text).split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }
}

/// Waits until a child is dead, without reaping it: until then its number is not reused. Returns its exit
/// code, if it exited.
pub(super) fn wait_dead(pid: Pid) -> Option<i32> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Err(Errno::INTR) => {}
            outcome => return outcome.ok().flatten()?.exit_status(),
        }
    }
}

/// Waits for a child's end and reaps it; does nothing if it is not a child.
fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let ((), _) = spent::measured(|| {
            while matches!(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED), Err(Errno::INTR)) {}
        });
    }
}

fn handle_of(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

fn wait_gone(handle: &OwnedFd) {
    while poll(&mut [PollFd::new(handle, PollFlags::IN)], None) == Err(Errno::INTR) {}
}

/// Returns the rest of the environment entry with this prefix.
fn variable(pid: i32, beginning: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value =
        environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(beginning.as_bytes()))?;
    String::from_utf8(value.to_vec()).ok()
}

/// Returns whether a process has its working folder or one of its first three handles in the folder.
fn works_in(pid: i32, folder: &Path) -> bool {
    ["cwd", "fd/0", "fd/1", "fd/2"].iter().any(|link| {
        fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|target| target.starts_with(folder))
    })
}
