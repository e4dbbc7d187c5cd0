//! A shim: the subreaper of one task at a time.

use super::{Line, Reply, Request, Start, children};
use crate::{
    orders::{NodeFailure, Spent},
    runner::{
        failures,
        proc::{self, Ticks},
        program, spent,
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open, waitid,
    },
};

/// Interval for reaping dead orphans of a running task, in addition to interruptions by `SIGCHLD`.
const REAP_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Serves until the other end of the line is closed; then nothing of its tasks is left.
pub(super) fn run(line: &Line) {
    let mut shim = Shim { line, commands: vec![], reported: spent::of_children() };
    while shim.wait() {}
    shim.end_all();
}

struct Shim<'a> {
    line: &'a Line,
    /// Started commands that have not ended, in order of their start. They are not reaped before everything
    /// has ended: until then their numbers are those of their process groups.
    commands: Vec<Command>,
    /// Resource usage of all reaped children at the last report.
    reported: Spent,
}

struct Command {
    leader: Pid,
    handle: OwnedFd,
    stays: bool,
    exited: bool,
}

/// The reason for the end of a wait.
enum Woken {
    Request,
    Exit(usize),
    Nothing,
}

impl Shim<'_> {
    /// Waits for the next event and handles it; returns `false` if the other end of the line is closed.
    fn wait(&mut self) -> bool {
        match self.woken() {
            Woken::Request => match self.line.receive() {
                Ok(Some((message, _))) => self.carry_out(Request::decode(&message)),
                _ => return false,
            },
            Woken::Exit(index) => self.exited(index),
            Woken::Nothing => self.reap_orphans(),
        }
        true
    }

    fn woken(&self) -> Woken {
        let running = self.commands.iter().position(|command| !command.exited);
        let mut watched = vec![PollFd::new(self.line, PollFlags::IN)];
        watched.extend(running.map(|index| PollFd::new(&self.commands[index].handle, PollFlags::IN)));
        let patience = (!self.commands.is_empty()).then_some(&REAP_EVERY);
        if poll(&mut watched, patience).is_err() {
            return Woken::Nothing;
        }
        let has_come = |at: usize| watched.get(at).is_some_and(|watched| !watched.revents().is_empty());
        match (has_come(0), running) {
            (true, _) => Woken::Request,
            (false, Some(index)) if has_come(1) => Woken::Exit(index),
            _ => Woken::Nothing,
        }
    }

    fn carry_out(&mut self, request: Option<Request>) {
        match request {
            Some(Request::Start(start)) => match self.start(&start) {
                Ok(started) => self.reply(&started),
                Err(failure) => self.reply(&Reply::Failed(failure)),
            },
            Some(Request::Terminate) => self.signal(Signal::TERM),
            Some(Request::Kill) => {
                self.signal(Signal::KILL);
                for child in children::all() {
                    let _ = kill_process(child, Signal::KILL);
                }
            }
            Some(Request::End) => {
                self.end_all();
                self.report_end(0);
            }
            _ => {}
        }
    }

    fn start(&mut self, start: &Start) -> Result<Reply, NodeFailure> {
        let before = Ticks::now();
        let mut child = program::start(start)?;
        let leader = Pid::from_child(&child);
        let handle = pidfd_open(leader, PidfdFlags::empty()).map_err(|error| {
            // Without a handle its end would not be noticed. It is seconds old at most and has no children
            // yet.
            let _ = kill_process_group(leader, Signal::KILL);
            let _ = child.wait();
            failures::launch_failed(false, &start.line, &error.to_string())
        })?;
        self.commands.push(Command { leader, handle, stays: start.stays, exited: false });
        Ok(Reply::Started { process: proc::raw(leader), start: before.start_of(leader) })
    }

    /// Handles the exit of a command.
    fn exited(&mut self, index: usize) {
        let command = &mut self.commands[index];
        command.exited = true;
        let code = exit_code(command.leader);
        if command.stays {
            self.reply(&Reply::Exited { code });
        } else {
            self.end_all();
            self.report_end(code);
        }
    }

    /// Ends everything below this process; returns when nothing is left.
    fn end_all(&mut self) {
        // One signal reaches all members of a group at once, in which most processes stay.
        self.signal(Signal::KILL);
        self.commands.clear();
        children::end_all();
    }

    fn report_end(&mut self, code: i32) {
        let spent = spent::of_children();
        let more = spent - std::mem::replace(&mut self.reported, spent);
        self.reply(&Reply::Ended { code, spent: more });
    }

    fn signal(&self, signal: Signal) {
        for command in &self.commands {
            if kill_process_group(command.leader, signal).is_err() && !command.exited {
                // It has joined another group.
                let _ = kill_process(command.leader, signal);
            }
        }
    }

    /// Reaps the dead ones among the task's orphans.
    fn reap_orphans(&self) {
        let is_command = |pid: &Pid| self.commands.iter().any(|command| command.leader == *pid);
        let orphans: Vec<_> = children::all().into_iter().filter(|pid| !is_command(pid)).collect();
        children::reap(&orphans);
    }

    fn reply(&self, reply: &Reply) {
        // If the line is closed, the next wait notices it.
        let _ = self.line.send(&reply.encode(), &[]);
    }
}

/// Returns the exit code of a dead child, without reaping it.
fn exit_code(child: Pid) -> i32 {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(child), options) {
            Err(Errno::INTR) => {}
            Ok(Some(status)) => {
                let by_signal = || status.terminating_signal().map(|signal| 128 + signal);
                return status.exit_status().or_else(by_signal).unwrap_or(255);
            }
            _ => return 255,
        }
    }
}
