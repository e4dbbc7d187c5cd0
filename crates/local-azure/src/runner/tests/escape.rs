//! Processes that do everything to escape from the task that started them. The tests of the whole program use
//! this file, too.
#![allow(dead_code)]

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Timeout of a test.
const SOON: Duration = Duration::from_secs(60);

/// Four ways to escape, the last one a chain of processes that each start the next in a new session and exit.
/// They have nothing in common with the task: no environment, no folder, no output, no session, no parent.
/// `TOKEN` is in the command line of each. `FIFO` is open in all processes of the task.
const SCRIPT: &str = r#"
exec 9> FIFO
(
exec < /dev/null > /dev/null 2>&1
cd /
env -i sleep TOKEN &
env -i setsid sleep TOKEN &
env -i sh -c '(setsid sleep TOKEN &)' &
env -i setsid sh -c 'setsid sh -c "$0" "$0" "$1" &' 'setsid sh -c "$0" "$0" "$1" &' TOKEN &
)
"#;

/// The escaping processes of a task.
pub struct Escape {
    /// A word that no other process of this machine has in its command line, and that `sleep` accepts as a
    /// time.
    pub token: String,
    /// A named pipe that the task and all its processes have open for writing: its end is reached exactly
    /// when none of them is left.
    pub path: PathBuf,
    reader: OwnedFd,
}

impl Escape {
    /// Creates it with its pipe in a folder.
    pub fn new(folder: &Path) -> Self {
        static USED: AtomicU32 = AtomicU32::new(0);
        let token = format!("8{:07}.{:04}", std::process::id(), USED.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!("escape-{token}"));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let reader = open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
        Self { token, path, reader }
    }

    /// Returns a shell script that lets processes escape, and then runs another command.
    pub fn script(&self, then: &str) -> String {
        script(&self.token, &self.path, then)
    }

    /// Waits until all have escaped.
    pub fn until_running(&self) {
        until_running(&self.token, 1);
    }

    /// Returns whether no process of the task is left.
    pub fn is_over(&self) -> bool {
        match rustix::io::read(&self.reader, &mut [0; 1]) {
            Ok(length) => length == 0,
            Err(error) => {
                assert_eq!(error, Errno::AGAIN);
                false
            }
        }
    }

    /// Waits until no process of the task is left.
    pub fn until_over(&self) {
        let patience = Timespec { tv_sec: SOON.as_secs().cast_signed(), tv_nsec: 0 };
        let mut watched = [PollFd::new(&self.reader, PollFlags::empty())];
        while poll(&mut watched, Some(&patience)) == Err(Errno::INTR) {}
        assert!(self.is_over(), "processes of a task are left: {:?}", self.running());
    }

    /// Returns the command lines found in a scan of all processes. It may miss members of the chain.
    pub fn running(&self) -> Vec<String> {
        running(&self.token)
    }
}

impl Drop for Escape {
    /// A test that fails leaves no process running.
    fn drop(&mut self) {
        let started = Instant::now();
        while !self.is_over() && started.elapsed() < SOON {
            look(&self.token, |handle, _| {
                let _ = pidfd_send_signal(handle, Signal::KILL);
            });
        }
    }
}

/// The script of [`Escape::script`].
pub fn script(token: &str, path: &Path, then: &str) -> String {
    SCRIPT.replace("TOKEN", token).replace("FIFO", path.to_str().unwrap()) + then
}

/// Waits until all processes of this many tasks have escaped.
pub fn until_running(token: &str, tasks: usize) {
    let is_chain = |line: &String| line.starts_with("sh\0-c\0setsid") || line.starts_with("setsid\0sh");
    let mut chain = false;
    until("everything gets away", || {
        let lines = running(token);
        chain |= lines.iter().any(is_chain);
        chain && lines.iter().filter(|line| line.starts_with("sleep\0")).count() == 3 * tasks
    });
}

fn running(token: &str) -> Vec<String> {
    let mut lines = vec![];
    look(token, |_, line| lines.push(line.to_owned()));
    lines
}

/// Shows the processes with a word in their command lines.
fn look(token: &str, mut show: impl FnMut(&OwnedFd, &str)) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        // Opened before the command line is read: then both belong to the same process, or the process of the
        // handle has ended.
        let Some(handle) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.contains(token) {
            show(&handle, &line);
        }
    }
}

/// Waits for a state; the timeout only matters if a test fails.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "{what}");
        std::thread::yield_now();
    }
}
