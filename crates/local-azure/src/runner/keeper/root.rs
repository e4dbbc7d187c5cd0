//! The keeper itself: the parent of all shims, and of the processes of killed shims.

use super::{Line, MARK, Reply, Request, children};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use std::{
    io,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Interval for checking whether a killed process has ended.
const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// Time for shims to end their tasks after the program has exited. They need milliseconds, unless they are
/// stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until the other end of the line is closed; then no process is left below this one.
pub(super) fn run(line: &Line) {
    // Tasks must not inherit what an embedding program left open for its own children.
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
    let _ = line.send(&Reply::Ready.encode(), &[]);
    let mut keeper = Root { line, shims: vec![], settling: None, strays: false };
    while keeper.wait() {}
    keeper.finish();
}

struct Root<'a> {
    line: &'a Line,
    shims: Vec<Shim>,
    /// The shim of a [`Request::Settle`] without a reply yet.
    settling: Option<u64>,
    /// Whether there may be children that are not shims.
    strays: bool,
}

struct Shim {
    number: u64,
    process: Pid,
    handle: OwnedFd,
}

impl Root<'_> {
    /// Waits for the next event and handles it; returns `false` if the other end of the line is closed.
    fn wait(&mut self) -> bool {
        let mut watched = vec![PollFd::new(self.line, PollFlags::IN)];
        watched.extend(self.shims.iter().map(|shim| PollFd::new(&shim.handle, PollFlags::IN)));
        let woken = poll(&mut watched, self.strays.then_some(&SOON)).is_ok();
        let has_come = |watched: &PollFd<'_>| woken && !watched.revents().is_empty();
        let (asked, shim_gone) = (has_come(&watched[0]), watched[1..].iter().any(has_come));
        self.strays |= shim_gone;
        if asked {
            match self.line.receive() {
                Ok(Some((message, handles))) => self.carry_out(Request::decode(&message), handles),
                _ => return false,
            }
        }
        self.strays = self.strays && self.end_strays();
        let is_over = |number: &u64| !self.strays && self.shims.iter().all(|shim| shim.number != *number);
        if let Some(number) = self.settling.take_if(|number| is_over(number)) {
            let _ = self.line.send(&Reply::Settled(number).encode(), &[]);
        }
        true
    }

    fn carry_out(&mut self, request: Option<Request>, mut handles: Vec<OwnedFd>) {
        match request {
            Some(Request::NewShim(number)) => {
                handles.pop().into_iter().for_each(|socket| self.new_shim(number, socket));
            }
            Some(Request::Settle(number)) => {
                for shim in self.shims.iter().filter(|shim| shim.number == number) {
                    let _ = kill_process(shim.process, Signal::KILL);
                }
                (self.settling, self.strays) = (Some(number), true);
            }
            _ => {}
        }
    }

    fn new_shim(&mut self, number: u64, socket: OwnedFd) {
        let started = socket
            .try_clone()
            .map_err(|error| (error, None))
            .and_then(|spare| start_shim(socket).map_err(|error| (error, Some(spare))));
        match started {
            Ok((process, handle)) => self.shims.push(Shim { number, process, handle }),
            // Sent in place of the shim.
            Err((error, spare)) => spare.into_iter().for_each(|socket| {
                let _ = Line::new(socket).send(&Reply::Broken(error.to_string()).encode(), &[]);
            }),
        }
    }

    /// Kills the children that are not shims, and reaps the dead ones; returns whether there were any.
    fn end_strays(&mut self) -> bool {
        self.shims.retain(|shim| !is_gone(&shim.handle));
        let is_shim = |pid: &Pid| self.shims.iter().any(|shim| shim.process == *pid);
        let strays: Vec<_> = children::all().into_iter().filter(|pid| !is_shim(pid)).collect();
        for stray in &strays {
            let _ = kill_process(*stray, Signal::KILL);
        }
        children::reap(&strays);
        !strays.is_empty()
    }

    /// Handles the end of the program: shims end their tasks, and this process ends the rest.
    fn finish(&mut self) {
        let started = Instant::now();
        while !self.shims.is_empty() && started.elapsed() < PATIENCE {
            let mut watched: Vec<_> =
                self.shims.iter().map(|shim| PollFd::new(&shim.handle, PollFlags::IN)).collect();
            let _ = poll(&mut watched, Some(&SOON));
            self.end_strays();
        }
        children::end_all();
    }
}

/// Starts this executable again, as a shim that serves on the socket.
fn start_shim(socket: OwnedFd) -> io::Result<(Pid, OwnedFd)> {
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(MARK, "shim").stdin(Stdio::from(socket));
    std::os::unix::process::CommandExt::arg0(&mut command, "task-shim");
    let mut child = command.spawn()?;
    let shim = Pid::from_child(&child);
    match pidfd_open(shim, PidfdFlags::empty()) {
        Ok(handle) => Ok((shim, handle)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error.into())
        }
    }
}

fn is_gone(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)) == Ok(1)
}
