//! Tests launches of real processes. Tests wait for reports; timeouts only matter if a test fails.

mod commands;
mod endings;
mod escape;
mod files;
mod instances;
mod nodes;
mod outputs;
mod packages;
mod pretend;
mod resources;
mod storm;
mod strays;
mod trees;

use super::{
    ProcessRunner, RunnerSettings,
    keeper::{self, KeeperProgram},
};
use crate::orders::{
    BlobAccess, DoorError, FileToStore, GoOn, Launch, LaunchEnding, LaunchId, NodeEvent, NodeRef, Order,
    OutputFileOrder, ResourceFileOrder, ResourceSource, Runner, UploadCondition,
};
use dropmill_azure_wire::{blob::FileMetadata, command_line, secret::without_query, time::WallClock};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

/// Timeout of a test.
const SOON: Duration = Duration::from_secs(60);

/// A runner with its own folder.
struct Rig {
    runner: Arc<ProcessRunner>,
    events: mpsc::Receiver<NodeEvent>,
    door: Arc<MemoryDoor>,
    next: LaunchId,
    // Last: it is deleted after the runner.
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut RunnerSettings)) -> Self {
        Self::at(tempfile::tempdir().unwrap(), change)
    }

    /// Returns a runner without a keeper, as in a program whose `main` does not start one.
    fn without_keeper() -> Self {
        Self::with(|settings| settings.keeper = None)
    }

    fn at(folder: tempfile::TempDir, change: impl FnOnce(&mut RunnerSettings)) -> Self {
        let mut settings = RunnerSettings::new(folder.path().join("nodes"), "local", "http://127.0.0.1:1");
        settings.grace = Duration::from_millis(100);
        settings.keeper = Some(this_program());
        change(&mut settings);
        let (report, events) = mpsc::channel();
        let reports = Arc::new(move |event| drop(report.send(event)));
        let door = Arc::new(MemoryDoor::default());
        let runner = ProcessRunner::start(settings, Arc::new(WallClock), reports, door.clone()).unwrap();
        Self { runner, events, door, next: 1, folder }
    }

    /// Returns a launch of a command in a new task's folder on the node `n`.
    fn launch(&mut self, command: &[&str]) -> Launch {
        let id = self.next;
        self.next += 1;
        Launch {
            id,
            node: node(),
            directory: format!("workitems/job/job-1/task{id}"),
            command_line: command_line::quote(command),
            environment: Vec::new(),
            coordination: None,
            packages: Vec::new(),
            resource_files: Vec::new(),
            output_files: Vec::new(),
            last_try: true,
        }
    }

    fn shell(&mut self, script: &str) -> Launch {
        self.launch(&["/bin/sh", "-c", script])
    }

    fn order(&self, launch: &Launch) {
        self.runner.carry_out(Order::Launch(Box::new(launch.clone())));
    }

    fn kill(&self, launch: &Launch) {
        self.runner.carry_out(Order::Kill(launch.id));
    }

    fn event(&self) -> NodeEvent {
        self.events.recv_timeout(SOON).expect("an event should have come")
    }

    fn started(&self, launch: &Launch) -> (u32, u64) {
        match self.event() {
            NodeEvent::Started { launch: id, process: Some(process) } if id == launch.id => process,
            other => panic!("expected the start of {}, got {other:?}", launch.id),
        }
    }

    fn ended(&self, launch: &Launch) -> LaunchEnding {
        loop {
            match self.event() {
                NodeEvent::Ended { launch: id, ending } if id == launch.id => return ending,
                NodeEvent::Started { launch: id, .. } if id == launch.id => {}
                other => panic!("expected the end of {}, got {other:?}", launch.id),
            }
        }
    }

    /// Returns how these launches ended, in any order.
    fn all_ended(&self, launches: &[&Launch]) -> BTreeMap<LaunchId, LaunchEnding> {
        let mut ends = BTreeMap::new();
        while ends.len() < launches.len() {
            if let NodeEvent::Ended { launch, ending } = self.event()
                && launches.iter().any(|wanted| wanted.id == launch)
            {
                ends.insert(launch, ending);
            }
        }
        ends
    }

    fn run(&self, launch: &Launch) -> LaunchEnding {
        self.order(launch);
        self.ended(launch)
    }

    /// Runs a launch again in its folder.
    fn again(&mut self, launch: &Launch) -> LaunchEnding {
        let launch = Launch { id: self.next, ..launch.clone() };
        self.next += 1;
        self.run(&launch)
    }

    /// Runs a script that must succeed; returns its output.
    fn prints(&mut self, script: &str) -> String {
        let launch = self.shell(script);
        let ending = self.run(&launch);
        assert_eq!((ending.exit_code, &ending.failure), (Some(0), &None), "{}", self.error(&launch));
        self.output(&launch)
    }

    fn node(&self) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join("nodes/p/n")
    }

    fn path(&self, launch: &Launch, below: &str) -> PathBuf {
        self.node().join(&launch.directory).join(below)
    }

    fn output(&self, launch: &Launch) -> String {
        fs::read_to_string(self.path(launch, "stdout.txt")).unwrap()
    }

    fn error(&self, launch: &Launch) -> String {
        fs::read_to_string(self.path(launch, "stderr.txt")).unwrap_or_default()
    }
}

/// Returns this test program as a keeper: it runs only the test `keeper_process`.
fn this_program() -> KeeperProgram {
    let arguments = ["--exact", "runner::tests::keeper_process", "--ignored", "--nocapture"];
    KeeperProgram::new(std::env::current_exe().unwrap(), arguments)
}

#[test]
#[ignore = "the keeper of the other tests"]
fn keeper_process() {
    keeper::keep();
}

fn node() -> NodeRef {
    NodeRef { pool: "p".into(), node: "n".into() }
}

fn resource(blob: &str, path: &str) -> ResourceFileOrder {
    let source = ResourceSource::Url(format!("http://blob/in/{blob}?sig=secret"));
    ResourceFileOrder { source, file_path: path.into(), file_mode: None }
}

fn output(pattern: &str, path: &str) -> OutputFileOrder {
    OutputFileOrder {
        pattern: pattern.into(),
        container_url: "http://blob/out?sig=secret".into(),
        path: path.into(),
        condition: UploadCondition::TaskCompletion,
    }
}

/// Returns whether a process exists and is not dead.
fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Blobs in memory, by container URL and name, with the containers `in` and `out`.
#[derive(Default)]
struct MemoryDoor {
    blobs: Mutex<BTreeMap<String, Vec<u8>>>,
    calls: Mutex<usize>,
    gate: Mutex<Option<Gate>>,
    /// Number of further downloads of a blob `wide` that fail because of a full disk.
    full: Mutex<usize>,
}

/// Blocks calls: reports that one arrived, and waits until it may continue.
struct Gate {
    came: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

impl MemoryDoor {
    fn put(&self, name: &str, content: &[u8]) {
        self.blobs.lock().unwrap().insert(format!("http://blob/in/{name}"), content.into());
    }

    fn stored(&self) -> Vec<String> {
        let blobs = self.blobs.lock().unwrap();
        blobs.keys().filter_map(|name| Some(name.strip_prefix("http://blob/out/")?.to_owned())).collect()
    }

    fn content(&self, name: &str) -> Vec<u8> {
        self.blobs.lock().unwrap()[&format!("http://blob/out/{name}")].clone()
    }

    /// Blocks the next call until the sender is used or dropped.
    fn close(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (came, comes) = mpsc::channel();
        let (open, go_on) = mpsc::channel();
        *self.gate.lock().unwrap() = Some(Gate { came, go_on });
        (comes, open)
    }

    fn call(&self, url: &str) -> Result<String, DoorError> {
        *self.calls.lock().unwrap() += 1;
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.came.send(()).unwrap();
            let _ = gate.go_on.recv();
        }
        let shown = without_query(url);
        if !url.ends_with("?sig=secret") {
            return Err(DoorError::Denied(shown.into()));
        }
        if !["http://blob/in", "http://blob/out"].iter().any(|container| shown.starts_with(container)) {
            return Err(DoorError::NotFound(shown.into()));
        }
        Ok(shown.to_owned())
    }
}

impl BlobAccess for MemoryDoor {
    fn fetch(&self, url: &str, to: &Path, go_on: GoOn<'_>) -> Result<FileMetadata, DoorError> {
        if without_query(url).ends_with("/endless") {
            self.call(url)?;
            while go_on() {
                std::thread::yield_now();
            }
            return Err(DoorError::Stopped);
        }
        let content = self.fetch_bytes(url)?;
        if without_query(url).ends_with("/wide") && *self.full.lock().unwrap() > 0 {
            *self.full.lock().unwrap() -= 1;
            fs::write(to, "part").unwrap();
            return Err(DoorError::Local("no space (os error 28)".into()));
        }
        assert!(!to.exists() && to.is_absolute(), "{to:?}");
        fs::write(to, &content).map_err(|error| DoorError::Local(error.to_string()))?;
        Ok(FileMetadata::default())
    }
    fn list(&self, container_url: &str, prefix: &str, _: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        let container = self.call(container_url)?;
        let blobs = self.blobs.lock().unwrap();
        let names = blobs.keys().filter_map(|name| name.strip_prefix(&format!("{container}/")));
        Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }
    fn store(&self, container_url: &str, files: &[FileToStore], go_on: GoOn<'_>) -> Result<(), DoorError> {
        if files.iter().any(|file| file.name.ends_with("/endless")) {
            self.call(container_url)?;
            while go_on() {
                std::thread::yield_now();
            }
            return Err(DoorError::Stopped);
        }
        let read = |file: &FileToStore| Ok((file.name.clone(), fs::read(&file.path).unwrap()));
        self.store_bytes(container_url, &files.iter().map(read).collect::<Result<Vec<_>, DoorError>>()?)
    }
    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        let name = self.call(url)?;
        let name = percent_encoding::percent_decode_str(&name).decode_utf8().unwrap().into_owned();
        self.blobs.lock().unwrap().get(&name).cloned().ok_or(DoorError::NotFound(name))
    }
    fn store_bytes(&self, container_url: &str, files: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        let container = self.call(container_url)?;
        for (name, content) in files {
            self.blobs.lock().unwrap().insert(format!("{container}/{name}"), content.clone());
        }
        Ok(())
    }
}
