//! A running daemon over a drop folder, for tests.

use super::Desk;
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::ffi::OsStringExt,
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

/// A daemon that prints nothing for this long while output is expected is stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const COUNT: &str = r#"
[run]
name = "mill"
[task]
shell = "case $DROPMILL_INPUT_NAME in bad*) echo no good >&2; exit 3;; esac; wc -c < \"$DROPMILL_INPUT\" > bytes.txt"
outputs = ["bytes.txt"]
[pool]
nodes = 2
slots_per_node = 1
[watch]
directory = "drop"
stable_for = "0s"
"#;

/// A running daemon.
pub struct Mill {
    pub child: Child,
    lines: Receiver<Value>,
}

impl Mill {
    pub fn start(desk: &Desk, more: &[&str]) -> Self {
        Self::start_in(desk, "state", more)
    }

    /// Starts a daemon with its own state folder, and waits until it is ready.
    pub fn start_in(desk: &Desk, state: &str, more: &[&str]) -> Self {
        Self::start_with(desk, state, more, &[])
    }

    /// Starts a daemon with another umask.
    pub fn start_under(desk: &Desk, umask: &str, more: &[&str]) -> Self {
        Self::begin(super::under(umask, &desk.dropmill(&[&["watch", "run.toml", "--json"], more].concat())))
    }

    /// Starts a daemon with additional environment variables.
    pub fn start_with(desk: &Desk, state: &str, more: &[&str], variables: &[(&str, &OsStr)]) -> Self {
        let mut command = desk.dropmill(&[&["watch", "run.toml", "--json"], more].concat());
        command.env("DROPMILL_STATE", desk.path(state));
        let state = desk.path(state);
        let mut arguments: Vec<_> = command.get_args().map(OsStr::to_owned).collect();
        let at = arguments.iter().position(|argument| argument == "--state").unwrap();
        arguments[at + 1] = state.into_os_string();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dropmill"));
        command.args(arguments).current_dir(desk.path(".")).envs(variables.iter().copied());
        Self::begin(command)
    }

    fn begin(mut command: std::process::Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        // The output is read all the time: a full pipe would block the daemon.
        let (said, lines) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while out.read_line(&mut line).unwrap_or(0) > 0 {
                let _ = said.send(serde_json::from_str(&line).unwrap());
                line.clear();
            }
        });
        let mut mill = Self { child, lines };
        assert!(mill.until(|said| said["kind"] == "ready").is_some(), "{}", mill.stderr());
        mill
    }

    pub fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(said) if wanted(&said) => return Some(said),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("nothing was said for long: {}", self.stderr()),
            }
        }
    }

    /// Waits until this many more files are in their places; returns the outcome of each.
    pub fn finished(&mut self, count: usize) -> BTreeMap<String, String> {
        let text = |said: &Value, key: &str| said[key].as_str().unwrap().to_owned();
        let mut all = BTreeMap::new();
        for _ in 0..count {
            let said = self.until(|said| said["kind"] == "finished");
            let said = said.unwrap_or_else(|| panic!("only {all:?}: {}", self.stderr()));
            all.insert(text(&said, "input"), text(&said, "outcome"));
        }
        all
    }

    pub fn stderr(&mut self) -> String {
        use std::io::Read;
        let mut errors = String::new();
        let _ = self.child.kill();
        let _ = self.child.stderr.take().unwrap().read_to_string(&mut errors);
        errors
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks the daemon to end normally, waits, and returns its exit code.
    pub fn end(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        while self.until(|_| true).is_some() {}
        self.child.wait().unwrap().code()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Mill {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn desk() -> Desk {
    desk_in(Desk::new())
}

/// Adds a drop folder and its run file to an existing folder.
pub fn desk_in(desk: Desk) -> Desk {
    desk.write("run.toml", COUNT);
    fs::create_dir(desk.path("drop")).unwrap();
    desk
}

/// Puts a complete file into the drop folder in one step, as careful producers do.
pub fn put(desk: &Desk, name: impl AsRef<Path>, content: &str) {
    let name = name.as_ref();
    let coming = desk.path("coming");
    fs::write(&coming, content).unwrap();
    fs::rename(coming, desk.path("drop").join(name)).unwrap();
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| String::from_utf8_lossy(&entry.unwrap().file_name().into_vec()).into_owned())
        .collect();
    names.sort();
    names
}
