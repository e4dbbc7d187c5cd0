//! The runner's side: starts the keeper, gets shims for launches, and detects lost ones.

use super::{KeeperProgram, Line, Lock, MARK, Reply, Request, Start};
use crate::{
    orders::{NodeFailure, Spent},
    runner::control::lock,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Time for which an idle shim is kept for the next task.
const IDLE: Duration = Duration::from_secs(10);
/// Time for the keeper to exit after its line is closed: a little more than it gives its shims.
const ENDING: Timespec = Timespec { tv_sec: 7, tv_nsec: 0 };
/// Time for a lost shim's task to end: processes that wait for a disk without response do not end at all.
const SETTLING: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// Time for a program to show that it is a keeper.
const CHECKING: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// The keeper of one runner, and its idle shims.
pub(in crate::runner) struct Keeper {
    program: KeeperProgram,
    lock: Option<Lock>,
    state: Mutex<State>,
    idle: Mutex<Vec<(Instant, Shim)>>,
}

#[derive(Default)]
struct State {
    process: Option<Process>,
    /// Number of the keeper: a new one is started when it was killed.
    generation: u64,
    shims: u64,
}

struct Process {
    line: Line,
    child: Child,
}

/// A shim, ready for a task.
#[derive(Clone)]
struct Shim {
    number: u64,
    generation: u64,
    line: Arc<Line>,
}

impl Keeper {
    /// Starts the keeper, which holds the lock as long as it or one of its shims lives.
    ///
    /// # Errors
    /// Fails if the program cannot be started.
    pub fn start(program: KeeperProgram, lock: Option<Lock>) -> io::Result<Self> {
        let keeper = Self { program, lock, state: Mutex::default(), idle: Mutex::default() };
        // A shim for the first task.
        let shim = keeper.new_shim()?;
        keeper.give(shim);
        Ok(keeper)
    }

    /// Returns a shim for the commands of one launch.
    ///
    /// # Errors
    /// Fails if no process or socket can be created.
    pub fn lease(&self) -> io::Result<Lease<'_>> {
        let idle = lock(&self.idle).pop();
        let shim = idle.map_or_else(|| self.new_shim(), |(_, shim)| Ok(shim))?;
        Ok(Lease { keeper: self, shim, holds: Holds::Nothing })
    }

    /// Ends shims that were idle for a while; returns whether some are left.
    pub fn trim(&self) -> bool {
        let mut idle = lock(&self.idle);
        // The last used shim is used next, so the first ones have been idle longest.
        let old = idle.iter().take_while(|(since, _)| since.elapsed() >= IDLE).count();
        idle.drain(..old);
        !idle.is_empty()
    }

    /// Ends keeper and shims; no launch may be in progress.
    pub fn stop(&self) {
        lock(&self.idle).clear();
        if let Some(process) = lock(&self.state).process.take() {
            process.end(&ENDING);
        }
    }

    fn new_shim(&self) -> io::Result<Shim> {
        let (ours, theirs) = Line::pair()?;
        let mut state = lock(&self.state);
        state.shims += 1;
        let number = state.shims;
        self.ask(&mut state, &Request::NewShim(number), &[theirs.as_fd()])?;
        ours.send(&Request::BeShim.encode(), &self.handles())?;
        Ok(Shim { number, generation: state.generation, line: Arc::new(ours) })
    }

    /// Sends a request to the keeper; starts a new one first if it was killed.
    fn ask(
        &self,
        state: &mut MutexGuard<'_, State>,
        request: &Request,
        handles: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let request = request.encode();
        if let Some(process) = &state.process {
            let Err(error) = process.line.send(&request, handles) else { return Ok(()) };
            if !never_read(&error) {
                return Err(error);
            }
            tracing::error!(%error, "the keeper of task processes was killed: another one is started");
            state.process.take().into_iter().for_each(|process| process.end(&ENDING));
        }
        state.generation += 1;
        let process = Process::start(&self.program, &self.handles())?;
        let sent = process.line.send(&request, handles);
        state.process = Some(process);
        sent
    }

    /// Waits until nothing is left of a lost shim and its task; `false` if the keeper cannot confirm it.
    fn settle(&self, shim: &Shim) -> bool {
        let state = lock(&self.state);
        let Some(process) = state.process.as_ref().filter(|_| state.generation == shim.generation) else {
            return false;
        };
        if process.line.send(&Request::Settle(shim.number).encode(), &[]).is_err() {
            return false;
        }
        while has_answer(&process.line, &SETTLING) {
            match process.line.reply() {
                Ok(Reply::Settled(number)) if number == shim.number => return true,
                Ok(Reply::Settled(_) | Reply::Ready) => {}
                _ => return false,
            }
        }
        false
    }

    fn give(&self, shim: Shim) {
        lock(&self.idle).push((Instant::now(), shim));
    }

    fn handles(&self) -> Vec<BorrowedFd<'_>> {
        self.lock.iter().map(|lock| lock.0.as_fd()).collect()
    }
}

impl Process {
    fn start(program: &KeeperProgram, handles: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let (line, theirs) = Line::pair()?;
        let mut command = Command::new(&program.program);
        // No variables of this process, which tasks could read there, except those that its libraries need.
        command.arg0("task-keeper").args(&program.arguments).env_clear().env(MARK, "keeper");
        command.envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)));
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.current_dir("/").process_group(0).spawn()?;
        let process = Self { line, child };
        process.line.send(&Request::BeKeeper.encode(), handles)?;
        Ok(process)
    }

    /// Closes its line, and reaps it when it has exited; one that does not exit in time is left alone.
    fn end(mut self, patience: &Timespec) {
        drop(self.line);
        let handle = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty());
        if handle.is_ok_and(|handle| has_answer(&handle, patience)) {
            let _ = self.child.wait();
        } else {
            tracing::error!(
                process = self.child.id(),
                "the keeper does not end: processes of tasks may still run"
            );
        }
    }
}

/// Starts a program as a keeper, to check whether it is one.
pub(super) fn check(program: &KeeperProgram) -> io::Result<()> {
    let mut process = Process::start(program, &[])?;
    if has_answer(&process.line, &CHECKING) && matches!(process.line.reply(), Ok(Reply::Ready)) {
        process.end(&ENDING);
        return Ok(());
    }
    process.child.kill()?;
    process.child.wait()?;
    let what = format!("{} does not call `run_as_keeper` first of all", program.program.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// Waits until a socket or process handle is readable.
fn has_answer(handle: &impl AsFd, patience: &Timespec) -> bool {
    let mut watched = [PollFd::new(handle, PollFlags::IN)];
    loop {
        match poll(&mut watched, Some(patience)) {
            Err(Errno::INTR) => {}
            outcome => return outcome.is_ok_and(|ready| ready > 0),
        }
    }
}

impl Line {
    /// Waits for the next reply.
    fn reply(&self) -> io::Result<Reply> {
        let (message, _) = self.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Reply::decode(&message).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// A shim that is used by one launch. When dropped, it is used for the next launch; if something still runs
/// under it, that is ended first, together with the shim.
pub(in crate::runner) struct Lease<'a> {
    keeper: &'a Keeper,
    shim: Shim,
    holds: Holds,
}

/// The state of what runs under a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    Processes,
    /// The shim was lost, and its processes were ended.
    Settled,
}

/// The reason why a command was not started.
#[derive(Debug)]
pub(in crate::runner) enum NotStarted {
    /// The command's own failure.
    Failed(NodeFailure),
    /// No shim could be created.
    NoShim(io::Error),
    /// The shim was killed: the command may have been started.
    Lost(io::Error),
}

impl Lease<'_> {
    /// Starts a command; returns its process number and start time.
    ///
    /// # Errors
    /// See [`NotStarted`].
    pub fn start(&mut self, start: Start) -> Result<(i32, Option<u64>), NotStarted> {
        let request = Request::Start(Box::new(start)).encode();
        let held = std::mem::replace(&mut self.holds, Holds::Processes);
        let mut reply = self.ask(&request);
        if held == Holds::Nothing && reply.as_ref().is_err_and(never_read) {
            // The shim was killed while it was idle.
            self.shim = self.keeper.new_shim().map_err(NotStarted::NoShim)?;
            reply = self.ask(&request);
        }
        match reply {
            Ok(Reply::Started { process, start }) => Ok((process, start)),
            Ok(Reply::Failed(failure)) => {
                self.holds = held;
                Err(NotStarted::Failed(failure))
            }
            Ok(Reply::Broken(why)) => Err(NotStarted::NoShim(io::Error::other(why))),
            other => Err(NotStarted::Lost(unexpected(other))),
        }
    }

    fn ask(&self, request: &[u8]) -> io::Result<Reply> {
        self.shim.line.send(request, &[])?;
        self.shim.line.reply()
    }

    /// Returns the line for signals.
    pub fn line(&self) -> Arc<Line> {
        self.shim.line.clone()
    }

    /// Waits until a command that `stays` has exited; returns its exit code.
    ///
    /// # Errors
    /// Fails if the shim was killed.
    pub fn exited(&mut self) -> io::Result<i32> {
        match self.shim.line.reply() {
            Ok(Reply::Exited { code }) => Ok(code),
            other => Err(unexpected(other)),
        }
    }

    /// Waits until a command has exited and nothing is left of it; returns its exit code and resource usage.
    ///
    /// # Errors
    /// Fails if the shim was killed.
    pub fn ended(&mut self) -> io::Result<(i32, Spent)> {
        match self.shim.line.reply() {
            Ok(Reply::Ended { code, spent }) => {
                self.holds = Holds::Nothing;
                Ok((code, spent))
            }
            other => Err(unexpected(other)),
        }
    }

    /// Ends what is left of a command that `stays`.
    ///
    /// # Errors
    /// Fails if the shim was killed.
    pub fn end(&mut self) -> io::Result<Spent> {
        self.shim.line.send(&Request::End.encode(), &[])?;
        self.ended().map(|(_, spent)| spent)
    }

    /// After a failure of the shim: waits until nothing runs under it; `false` if the keeper cannot confirm
    /// it.
    pub fn settle(&mut self) -> bool {
        self.holds = Holds::Settled;
        self.keeper.settle(&self.shim)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        match self.holds {
            Holds::Nothing => self.keeper.give(self.shim.clone()),
            // Its launch panicked.
            Holds::Processes => {
                self.settle();
            }
            Holds::Settled => {}
        }
    }
}

/// Returns whether the other end was closed before it had read the last message.
fn never_read(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn unexpected(reply: io::Result<Reply>) -> io::Error {
    match reply {
        Ok(reply) => io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer {reply:?}")),
        Err(error) => error,
    }
}
