//! Shared by tests of the whole program: a folder with a run file, and the program that runs in it.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../../crates/local-azure/src/runner/tests/escape.rs"]
pub mod escape;
pub mod mill;

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};
use tempfile::TempDir;

/// The folder of a user of the program.
pub struct Desk {
    folder: TempDir,
}

/// Returns the same command with another umask.
pub fn under(umask: &str, command: &Command) -> Command {
    let mut under = Command::new("/bin/sh");
    under.args(["-c", "umask \"$0\" && exec \"$@\"", umask]);
    under.arg(command.get_program()).args(command.get_args());
    under.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => under.env(name, value),
            None => under.env_remove(name),
        };
    }
    under
}

/// The output of `run --json`.
pub struct Said {
    pub exit: Option<i32>,
    pub events: Vec<Value>,
    pub report: Value,
    pub stderr: String,
}

impl Desk {
    /// Creates an empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Creates an empty folder whose name has this prefix.
    pub fn called(name: &str) -> Self {
        Self { folder: tempfile::Builder::new().prefix(name).tempdir().unwrap() }
    }

    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Returns a command of the program, with its own state folder and without settings of the caller.
    pub fn dropmill(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dropmill"));
        command.args(arguments).arg("--state").arg(self.path("state")).current_dir(self.folder.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DROPMILL__")) {
            command.env_remove(name);
        }
        if !arguments.iter().any(|argument| self.sets_slots(argument)) {
            // The default depends on the machine; tests must not.
            command.env("DROPMILL__POOL__SLOTS_PER_NODE", "1");
        }
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    fn sets_slots(&self, file: &str) -> bool {
        fs::read_to_string(self.path(file)).is_ok_and(|text| text.contains("slots_per_node"))
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.dropmill(arguments).output().unwrap()
    }

    /// Runs a command that must be rejected; returns exit code and standard error. A command that does not
    /// end is killed.
    pub fn refused(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.dropmill(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
            let _ = sender.send(text);
        });
        let printed = receiver.recv_timeout(mill::PATIENCE);
        let _ = child.kill();
        let exit = child.wait().unwrap().code();
        (exit, printed.unwrap_or_else(|_| panic!("not rejected: {arguments:?}")))
    }

    /// Runs `run FILE --json` until it ends.
    pub fn run(&self, file: &str) -> Said {
        let output = self.output(&["run", file, "--json"]);
        said(output.status.code(), &output.stdout, &output.stderr)
    }

    /// Runs a command that prints events until it ends.
    pub fn run_with(&self, arguments: &[&str]) -> Said {
        let output = self.output(arguments);
        said(output.status.code(), &output.stdout, &output.stderr)
    }

    /// Starts `run FILE --json`.
    pub fn start(&self, file: &str) -> Going {
        self.start_with(&["run", file, "--json"])
    }

    /// Starts a command that prints events.
    pub fn start_with(&self, arguments: &[&str]) -> Going {
        self.start_in(arguments, &[])
    }

    /// Likewise, with more variables.
    pub fn start_in(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Going {
        let mut command = self.dropmill(arguments);
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Going { child, lines, seen: String::new() }
    }

    /// Returns every file below a folder, as relative paths, sorted, without the record of results.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let top = self.path(folder);
        let mut found = vec![];
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    if !path.ends_with(".dropmill") {
                        folders.push(path);
                    }
                } else {
                    found.push(path.strip_prefix(&top).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// Returns processes whose working folder is below this folder.
    pub fn processes(&self) -> Vec<String> {
        let here = self.folder.path().to_string_lossy().into_owned();
        let mut found = vec![];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            let works_here = fs::read_link(entry.path().join("cwd"))
                .is_ok_and(|folder| folder.to_string_lossy().contains(&format!("{here}/state")));
            if id.bytes().all(|byte| byte.is_ascii_digit()) && works_here {
                found.push(id);
            }
        }
        found
    }
}

/// A run that is running.
pub struct Going {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Going {
    /// Reads events until one has this kind; panics if the run ends before.
    pub fn until(&mut self, kind: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "no {kind} in:\n{}", self.seen);
            self.seen.push_str(&line);
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["kind"] == kind {
                return event;
            }
        }
    }

    /// Reads events until one has this kind; returns whether there was one before the end.
    pub fn reaches(&mut self, kind: &str) -> bool {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            self.seen.push_str(&line);
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["kind"] == kind {
                return true;
            }
            line.clear();
        }
        false
    }

    /// Kills the run at once, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits for the end and returns the output.
    pub fn end(mut self) -> Said {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            self.seen.push_str(&line);
            line.clear();
        }
        let output = self.child.wait_with_output().unwrap();
        said(output.status.code(), self.seen.as_bytes(), &output.stderr)
    }
}

fn said(exit: Option<i32>, stdout: &[u8], stderr: &[u8]) -> Said {
    let lines = String::from_utf8_lossy(stdout);
    let mut events: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let report = match events.last() {
        Some(last) if last["kind"] == "report" => events.pop().unwrap_or_default(),
        _ => Value::Null,
    };
    Said { exit, events, report, stderr: String::from_utf8_lossy(stderr).into_owned() }
}

impl Said {
    /// Returns the payloads of the events of one kind.
    pub fn of(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["kind"] == kind).map(|event| &event["payload"]).collect()
    }

    #[track_caller]
    pub fn exited(&self, code: i32) -> &Self {
        assert_eq!(self.exit, Some(code), "stderr:\n{}\nreport: {:#}", self.stderr, self.report);
        self
    }
}

/// Returns a run file over `data/**/*.txt`, with a task command as a TOML array.
pub fn run_file(command: &str, more: &str) -> String {
    format!(
        r#"
[run]
name = "lines"

[input]
files = ["data/**/*"]

[task]
command = {command}

[pool]
nodes = 3

[output]
directory = "out"
{more}
"#
    )
}

/// A process that ends with the test, even if the test fails.
pub struct Ending(pub Child);

impl Ending {
    /// Kills the process at once.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A `serve` process that ends with the test.
pub struct Served {
    pub child: Child,
    pub connection: Value,
}

impl Served {
    pub fn on(desk: &Desk) -> Self {
        Self::with(desk, &[])
    }

    /// Starts the service with additional arguments.
    pub fn with(desk: &Desk, more: &[&str]) -> Self {
        Self::begin(Self::command(desk, more))
    }

    /// Starts the service with additional arguments; its standard error goes to a file.
    pub fn writing_to(desk: &Desk, more: &[&str], errors: &Path) -> Self {
        let mut command = Self::command(desk, more);
        command.stderr(fs::File::create(errors).unwrap());
        Self::begin(command)
    }

    /// Starts the service with another umask.
    pub fn under(desk: &Desk, umask: &str, more: &[&str]) -> Self {
        Self::begin(under(umask, &Self::command(desk, more)))
    }

    fn command(desk: &Desk, more: &[&str]) -> Command {
        let arguments = ["serve", "--json", "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"];
        desk.dropmill(&[&arguments[..], more].concat())
    }

    fn begin(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, connection: serde_json::from_str(&line).unwrap() }
    }

    pub fn text(&self, pointer: &str) -> &str {
        self.connection.pointer(pointer).unwrap().as_str().unwrap()
    }

    /// Kills the service.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the service normally, and returns its exit code.
    pub fn end(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the `[service]` section for this service; the keys are in `BATCH_KEY` and `STORAGE_KEY`.
pub fn on_sockets(served: &Served) -> String {
    format!(
        r#"[service]
kind = "azure"
batch_endpoint = "{}"
batch_account = "{}"
batch_key = {{ env = "BATCH_KEY" }}
blob_endpoint = "{}"
storage_account = "{}"
storage_key = {{ env = "STORAGE_KEY" }}
"#,
        served.text("/batch/endpoint"),
        served.text("/batch/account"),
        served.text("/blob/endpoint"),
        served.text("/blob/account"),
    )
}
