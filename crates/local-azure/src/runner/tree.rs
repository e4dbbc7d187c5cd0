//! The processes of a launch, and the two ways to hold them.
//!
//! With a keeper, a shim starts the commands and ends what they left (`keeper/`). Without one, this process
//! starts them as process groups, and `orphans.rs` finds what left the group.

use super::{
    control::{Handle, Target},
    failures,
    keeper::{Lease, NotStarted, Start},
    orphans,
    proc::{self, Ticks},
    processes::Shared,
    program, spent,
};
use crate::orders::{LaunchId, NodeFailure};
use rustix::process::Pid;
use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ExitStatus},
};

/// Starts the commands of one launch, and ends all processes that they leave.
pub(super) struct Tree<'a> {
    shared: &'a Shared,
    handle: &'a Handle,
    launch: LaunchId,
    /// Folder of the task.
    directory: &'a Path,
    lease: Option<Lease<'a>>,
}

/// A started command.
#[derive(Debug)]
pub(super) struct Running {
    process: i32,
    start: Option<u64>,
    how: How,
}

#[derive(Debug)]
enum How {
    Group(Child),
    Kept {
        /// The same as [`Start::stays`].
        stays: bool,
        /// Exit code, once known.
        code: Option<i32>,
    },
}

impl Running {
    /// Returns its process number and start time.
    pub fn process(&self) -> Option<(u32, u64)> {
        Some((self.process.unsigned_abs(), self.start?))
    }
}

impl<'a> Tree<'a> {
    /// Creates the tree of a launch that has not started anything. A new shim starts while the launch's
    /// folders are created.
    ///
    /// # Errors
    /// Fails if no shim can be created.
    pub fn new(
        shared: &'a Shared,
        handle: &'a Handle,
        launch: LaunchId,
        directory: &'a Path,
    ) -> io::Result<Self> {
        let lease = shared.keeper.as_ref().map(|keeper| keeper.lease()).transpose()?;
        Ok(Self { shared, handle, launch, directory, lease })
    }

    /// Starts a command, and lets the launch's handle signal it.
    ///
    /// # Errors
    /// Returns the failure if no process could be started.
    pub fn start(&mut self, start: Start) -> Result<Running, NodeFailure> {
        let (running, target) = match &mut self.lease {
            None => {
                let before = Ticks::now();
                let child = program::start(&start)?;
                let leader = Pid::from_child(&child);
                let process = proc::raw(leader);
                let running = Running { process, start: before.start_of(leader), how: How::Group(child) };
                (running, Target::Group(leader))
            }
            Some(lease) => {
                let (stays, line) = (start.stays, start.line.clone());
                match lease.start(start) {
                    Ok((process, start)) => {
                        let running = Running { process, start, how: How::Kept { stays, code: None } };
                        (running, Target::Shim(lease.line()))
                    }
                    Err(NotStarted::Failed(failure)) => return Err(failure),
                    Err(NotStarted::NoShim(error)) => {
                        return Err(failures::launch_failed(false, &line, &error.to_string()));
                    }
                    Err(NotStarted::Lost(error)) => return Err(self.lost(&error, None)),
                }
            }
        };
        if self.handle.started(target, self.directory.to_owned()) {
            self.shared.kill_later(self.launch);
        }
        Ok(running)
    }

    /// Waits until a command that `stays` has exited; returns whether with 0. Processes that it left stay
    /// running.
    ///
    /// # Errors
    /// Fails if the shim was killed; nothing is left then.
    pub fn exited_well(&mut self, running: &mut Running) -> Result<bool, NodeFailure> {
        match (&mut self.lease, &mut running.how) {
            (Some(lease), How::Kept { code, .. }) => match lease.exited() {
                Ok(exited) => *code = Some(exited),
                Err(error) => return Err(self.lost(&error, running.process())),
            },
            (_, How::Group(child)) => return Ok(orphans::wait_dead(Pid::from_child(child)) == Some(0)),
            (None, How::Kept { .. }) => {}
        }
        Ok(matches!(running.how, How::Kept { code: Some(0), .. }))
    }

    /// Waits until a command has exited, and ends all that the launch left; returns its exit code.
    ///
    /// # Errors
    /// Fails if the shim was killed; nothing is left then.
    pub fn end(&mut self, running: Running) -> Result<i32, NodeFailure> {
        let process = running.process();
        match (&mut self.lease, running.how) {
            (Some(lease), How::Kept { stays, code }) => {
                let ended =
                    if stays { lease.end().map(|spent| (code.unwrap_or(255), spent)) } else { lease.ended() };
                let (code, spent) = ended.map_err(|error| self.lost(&error, process))?;
                self.handle.over();
                self.handle.spent(spent);
                Ok(code)
            }
            (_, How::Group(child)) => Ok(self.end_group(child)),
            (None, How::Kept { code, .. }) => Ok(code.unwrap_or(255)),
        }
    }

    fn end_group(&self, mut child: Child) -> i32 {
        let leader = Pid::from_child(&child);
        orphans::wait_dead(leader);
        self.handle.over();
        let alive = |id| self.shared.registry.handle(id).is_some();
        self.shared.orphans.sweep(self.launch, leader, self.directory, &alive);
        let (status, spent) = spent::measured(|| child.wait());
        self.handle.spent(spent);
        match status {
            Ok(status) => exit_code(status),
            Err(error) => {
                tracing::error!(launch = self.launch, %error, "cannot wait for a process");
                255
            }
        }
    }

    /// Handles a killed shim: the keeper ends its task, or, if that was killed too, all processes that can be
    /// found are ended.
    fn lost(&mut self, error: &io::Error, process: Option<(u32, u64)>) -> NodeFailure {
        tracing::error!(launch = self.launch, %error, "the process that holds a task's processes was killed");
        self.handle.over();
        if !self.lease.as_mut().is_some_and(Lease::settle) {
            self.shared.orphans.end_groups(process.as_slice());
            self.shared.orphans.end_launch(self.launch);
        }
        failures::ours("the process that holds the task's processes was killed")
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}
