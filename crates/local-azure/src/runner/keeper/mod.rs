//! The keeper: processes of this program that hold the processes of tasks.
//!
//! A task may start processes that leave its process group, its session, its folder and its environment. The one thing
//! that no process can leave is its place in the process tree: Linux gives an orphan to its nearest living ancestor
//! that is a *child subreaper*. So each task has a subreaper of its own, which needs no rights:
//!
//! ```text
//! this program ── keeper ─┬─ shim ── a task, and all that it started
//!                         └─ shim ── another task, and all that it started
//! ```
//!
//! - A **shim** starts the commands of one task at a time. When the command exits, or when it is asked to, it kills and
//!   reaps until the kernel says that it has no child left: then nothing of the task runs any more, and not before
//!   that the task's end is reported. Afterwards the shim serves another task.
//! - The **keeper** starts the shims. When a shim is killed, its task's processes become the keeper's children, and the
//!   keeper kills every child that is not a shim.
//! - Each of them has a socket to this program. When the program ends in whatever way, the sockets close, and shims and
//!   keeper end everything below them.
//! - All of them hold a lock in the runner's folder. The next process that uses the folder waits until it is free, so
//!   that no task runs beside its second execution.
//!
//! Keeper and shims are this executable, started again: see [`run_as_keeper`]. Where that is not possible, the runner
//! starts tasks itself and finds what they leave as well as it can (`orphans.rs`).

mod children;
mod client;
mod line;
mod lock;
mod message;
mod root;
mod shim;

pub(super) use client::{Keeper, Lease, NotStarted};
pub(super) use line::Line;
pub(super) use lock::Lock;
pub(super) use message::{Reply, Request, Start};

use rustix::process::{getpid, set_child_subreaper};
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};
use tokio::signal::unix::{SignalKind, signal};

/// The variable that makes a process a keeper or a shim. Their command lines do not contain the name of the
/// program: `pkill -f dropmill` must end the program only, and the keeper then ends the tasks.
const MARK: &str = "DROPMILL_KEEPER";

/// How to start the keeper: an executable that calls [`run_as_keeper`] at the start of `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperProgram {
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// The program that [`KeeperProgram::of_this_process`] returns.
static REGISTERED: Mutex<Option<KeeperProgram>> = Mutex::new(None);

impl KeeperProgram {
    /// Returns the keeper that task runners of this process use by default: this executable if it called
    /// [`run_as_keeper`], the one passed to [`use_keeper`], or none.
    pub fn of_this_process() -> Option<Self> {
        super::control::lock(&REGISTERED).clone()
    }

    /// Creates it from an executable and the arguments with which it calls [`run_as_keeper`] at the start.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }
}

/// Acts as a keeper if this process was started as one, and returns whether it was.
///
/// Call it at the start of `main`, before threads and runtimes, and return when it returns `true`. When it
/// returns `false`, this is an ordinary process of the program, and its task runners start the same
/// executable again as their keeper. Then the tasks' processes end with their task and with this process,
/// even if it is killed, whatever they did to escape.
pub fn run_as_keeper() -> bool {
    if std::env::var_os(MARK).is_some() && keep() {
        return true;
    }
    // Not its path: an update may replace the file while the program runs.
    register(KeeperProgram::new("/proc/self/exe", [""; 0]));
    false
}

/// Makes the runners of this process use another executable as their keeper, for example the program
/// `dropmill`.
///
/// # Errors
/// Fails if the executable cannot be started or is not a keeper; nothing is changed then.
pub fn use_keeper(program: impl AsRef<Path>) -> io::Result<()> {
    let program = KeeperProgram::new(std::path::absolute(program)?, [""; 0]);
    client::check(&program)?;
    register(program);
    Ok(())
}

fn register(program: KeeperProgram) {
    *super::control::lock(&REGISTERED) = Some(program);
}

/// Serves on standard input until its other end closes; `false` if it is not the socket of a runner.
pub(super) fn keep() -> bool {
    let Ok(line) = Line::of_standard_input() else { return false };
    let (request, mut handles) = match line.receive() {
        Ok(Some((message, handles))) => (Request::decode(&message), handles),
        // The program ended before it sent anything.
        Ok(None) => return true,
        Err(_) => return false,
    };
    // Held until this process ends.
    let _lock = handles.pop();
    // Another process group is not reached by Ctrl-C, but service managers send SIGTERM to every process.
    handle_signals();
    // Orphans of tasks become this process's children. Without this, nothing can be guaranteed.
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        let _ = line.send(&Reply::Broken(error.to_string()).encode(), &[]);
        return true;
    }
    match request {
        Some(Request::BeKeeper) => {
            let _ = rustix::thread::set_name(c"task-keeper");
            root::run(&line);
        }
        Some(Request::BeShim) => {
            let _ = rustix::thread::set_name(c"task-shim");
            shim::run(&line);
        }
        _ => return false,
    }
    true
}

/// Makes signals that end a process by default do nothing, and lets the death of a child interrupt a wait.
///
/// Uses handlers, because a new program gets the default actions instead of them, as tasks must; ignored or
/// blocked signals would stay so in tasks. `SIGCHLD` must not be ignored, as it is if the embedding program
/// ignores it: dead children would be reaped without their exit codes.
fn handle_signals() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let _context = runtime.enter();
    let ending = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()];
    for kind in ending.into_iter().chain([SignalKind::child()]) {
        // The handler stays when the returned stream is dropped.
        drop(signal(kind));
    }
    // It is not needed any more, but must not be dropped within the runtime of an embedding program.
    std::mem::forget(runtime);
}
