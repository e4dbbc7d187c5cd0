//! A fake runner for simulations: it follows a script in virtual time, without threads, processes or a disk.
//!
//! Everything happens on the runtime on which orders are given (a current-thread one). Events at the same
//! time happen in the order of the orders, so the same orders always give the same reports.
//!
//! It only accesses the blobs of the service: a simulation opens no socket, so resource files and output
//! containers at other addresses are rejected (`BlobAccessDenied`, `ResourceContainerAccessDenied`,
//! `FileUploadAccessDenied`).

use super::{
    RunnerSettings,
    control::lock,
    environment, failures,
    memory::MemoryFiles,
    outputs::{self, Resolved},
    place::{NODE_FOLDERS, Places, TaskPlace},
    resources,
};
use crate::orders::{
    BlobAccess, Coordination, DoorError, Launch, LaunchEnding, LaunchId, NodeEvent, NodeFailure, NodeFiles,
    NodeRef, Order, Reports, Runner, Spent,
};
use dropmill_azure_wire::time::{SharedClock, Timestamp};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// The simulated behaviour of a launch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pretend {
    /// How long its process runs.
    pub duration: Duration,
    /// Exit code of the process.
    pub exit_code: i32,
    /// Text that it prints to standard output.
    pub stdout: String,
    /// Text that it prints to standard error.
    pub stderr: String,
    /// Files in its working folder after its exit, by relative path.
    pub outputs: Vec<(String, Vec<u8>)>,
    /// If set, it does not start after its resource files are downloaded; the other fields are ignored.
    pub failure: Option<NodeFailure>,
}

/// Returns the behaviour of each launch.
pub type Script = Arc<dyn Fn(&Launch) -> Pretend + Send + Sync>;

/// Settings of a [`FakeRunner`].
#[derive(Clone)]
pub struct FakeSettings {
    /// Behaviour of launches.
    pub script: Script,
    /// How long a node takes to boot.
    pub boot: Arc<dyn Fn(&NodeRef) -> Duration + Send + Sync>,
}

/// Simulates tasks. Orders must be given, and it must be dropped, within a tokio runtime.
pub struct FakeRunner {
    inner: Arc<Inner>,
}

struct Inner {
    settings: FakeSettings,
    clock: SharedClock,
    reports: Reports,
    door: Arc<dyn BlobAccess>,
    files: MemoryFiles,
    places: Places,
    /// Settings for the variables that patterns may contain.
    variables: RunnerSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Future events; those at the same time are in the order in which they were added.
    agenda: BTreeMap<(Instant, u64), Due>,
    next: u64,
    launches: BTreeMap<LaunchId, Running>,
    stopped: bool,
}

/// A launch that has not ended.
struct Running {
    launch: Launch,
    /// Its behaviour and start time, once its process runs.
    began: Option<(Pretend, Timestamp)>,
}

enum Due {
    Booted(NodeRef),
    Begin(LaunchId),
    Exit(LaunchId),
    /// Killed or, without its outputs, abandoned.
    Killed(LaunchId, bool),
    Removed(NodeRef),
}

impl FakeRunner {
    /// Creates a runner that waits for orders.
    pub fn start(
        settings: FakeSettings,
        clock: SharedClock,
        reports: Reports,
        door: Arc<dyn BlobAccess>,
    ) -> Arc<Self> {
        let variables = RunnerSettings::new("/mnt/batch/tasks".into(), "local", "http://localhost");
        let places = Places::new(variables.root.clone());
        let (files, state) = (MemoryFiles::default(), Mutex::default());
        let inner = Arc::new(Inner { settings, clock, reports, door, files, places, variables, state });
        Arc::new(Self { inner })
    }
}

impl Runner for FakeRunner {
    fn carry_out(&self, order: Order) {
        let inner = &self.inner;
        match order {
            Order::Boot { node, .. } => {
                let boot = (inner.settings.boot)(&node);
                inner.put_down(boot, Due::Booted(node));
            }
            Order::Launch(launch) => {
                let id = launch.id;
                lock(&inner.state).launches.insert(id, Running { launch: *launch, began: None });
                inner.put_down(Duration::ZERO, Due::Begin(id));
            }
            Order::GoOn(launch) => inner.go_on(launch),
            Order::Kill(launch) => inner.put_down(Duration::ZERO, Due::Killed(launch, true)),
            Order::Abandon(launch) => inner.put_down(Duration::ZERO, Due::Killed(launch, false)),
            Order::RemoveTask { node, directory } => inner.files.remove(&node, &directory),
            Order::Remove(node) => inner.put_down(Duration::ZERO, Due::Removed(node)),
        }
    }

    fn files(&self) -> &dyn NodeFiles {
        &self.inner.files
    }

    fn stop(&self) {
        *lock(&self.inner.state) = State { stopped: true, ..State::default() };
    }
}

impl Inner {
    fn put_down(self: &Arc<Self>, after: Duration, due: Due) {
        // The runtime's timers count whole milliseconds.
        let at = Instant::now() + Duration::from_millis(after.as_nanos().div_ceil(1_000_000) as u64);
        {
            let mut state = lock(&self.state);
            if state.stopped {
                return;
            }
            let key = (at, state.next);
            state.next += 1;
            state.agenda.insert(key, due);
        }
        let inner: Weak<Self> = Arc::downgrade(self);
        // The first of these to wake carries out all events that are due, in order.
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            if let Some(inner) = inner.upgrade() {
                inner.do_what_is_due();
            }
        });
    }

    fn do_what_is_due(self: &Arc<Self>) {
        let now = Instant::now();
        loop {
            let due = {
                let mut state = lock(&self.state);
                let Some(first) = state.agenda.first_entry().filter(|entry| entry.key().0 <= now) else {
                    return;
                };
                first.remove()
            };
            match due {
                Due::Booted(node) => {
                    for folder in NODE_FOLDERS {
                        self.files.make_folder(&node, folder, self.clock.now());
                    }
                    self.report(NodeEvent::Booted(node));
                }
                Due::Begin(id) => self.begin(id),
                Due::Exit(id) => {
                    let Some((launch, Some((pretend, began)))) = self.take(id) else { continue };
                    self.write(&launch, "wd", &pretend.outputs);
                    let uploaded = self.upload(&launch, &pretend.outputs);
                    let exit_code = if uploaded { pretend.exit_code } else { pretend.exit_code.max(1) };
                    let failure = self.store(&launch, exit_code, launch.last_try);
                    self.end(id, began, Some(exit_code), failure);
                }
                Due::Killed(id, store) => {
                    let Some((launch, began)) = self.take(id) else { continue };
                    match began {
                        Some((_, began)) => {
                            let failure =
                                if store { self.store(&launch, 137, true) } else { Some(failures::ended()) };
                            self.end(id, began, Some(137), failure);
                        }
                        None => self.end(id, self.clock.now(), None, Some(failures::ended())),
                    }
                }
                Due::Removed(node) => self.remove(node),
            }
        }
    }

    fn begin(self: &Arc<Self>, id: LaunchId) {
        let Some(launch) = lock(&self.state).launches.get(&id).map(|running| running.launch.clone()) else {
            return;
        };
        let began = self.clock.now();
        let pretend = match self.prepare(&launch) {
            Ok(pretend) => pretend,
            Err(failure) => {
                self.take(id);
                return self.end(id, began, None, Some(failure));
            }
        };
        let (duration, exit_code) = (pretend.duration, pretend.exit_code);
        let Some(()) =
            lock(&self.state).launches.get_mut(&id).map(|running| running.began = Some((pretend, began)))
        else {
            return;
        };
        self.report(NodeEvent::Started { launch: id, process: None });
        match launch.coordination {
            // A coordination command takes no time; it fails in a subtask that is to fail.
            Some(Coordination { is_primary, .. }) if is_primary || exit_code == 0 => {
                self.report(NodeEvent::Coordinated { launch: id });
            }
            _ => self.put_down(duration, Due::Exit(id)),
        }
    }

    fn go_on(self: &Arc<Self>, id: LaunchId) {
        let state = lock(&self.state);
        let Some(running) = state.launches.get(&id) else { return };
        let is_primary = running.launch.coordination.as_ref().is_some_and(|each| each.is_primary);
        let own = running.began.as_ref().filter(|_| is_primary).map(|(pretend, _)| pretend.duration);
        drop(state);
        self.put_down(own.unwrap_or_default(), Due::Exit(id));
    }

    /// Creates folders, downloads resource files, and returns the behaviour from the script.
    fn prepare(&self, launch: &Launch) -> Result<Pretend, NodeFailure> {
        let place = self.place(launch)?;
        let now = self.clock.now();
        self.files.make_folder(&launch.node, &format!("{}/wd", launch.directory), now);
        for file in &launch.resource_files {
            for wanted in resources::wanted(file, &*self.door, &|| true)? {
                let content = resources::content(file, &wanted, &*self.door)?;
                let path = self.below_the_node(&place, &place.working.join(&wanted.below).to_string_lossy());
                self.files.write(&launch.node, &path, &content, now);
            }
        }
        let pretend = (self.settings.script)(launch);
        if let Some(failure) = pretend.failure {
            return Err(failure);
        }
        let output = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        self.write(
            launch,
            "",
            &[output("stdout.txt", &pretend.stdout), output("stderr.txt", &pretend.stderr)],
        );
        Ok(pretend)
    }

    fn place(&self, launch: &Launch) -> Result<TaskPlace, NodeFailure> {
        let refused = || failures::no_directory(&launch.directory, "the task's folder is invalid");
        self.places.task(&launch.node, &launch.directory).ok_or_else(refused)
    }

    fn below_the_node(&self, place: &TaskPlace, path: &str) -> String {
        let root = place.node.to_string_lossy();
        path.strip_prefix(&*root).unwrap_or(path).trim_start_matches('/').to_owned()
    }

    fn write(&self, launch: &Launch, folder: &str, files: &[(String, Vec<u8>)]) {
        let now = self.clock.now();
        for (name, content) in files {
            let path = [&*launch.directory, folder, name].into_iter().filter(|part| !part.is_empty());
            self.files.write(&launch.node, &path.collect::<Vec<_>>().join("/"), content, now);
        }
    }

    /// Uploads the outputs as a task with `OUTPUT_CONTAINER_URL` does. Returns whether it succeeded. Blobs
    /// that an interrupted start of the same task uploaded are kept.
    fn upload(&self, launch: &Launch, outputs: &[(String, Vec<u8>)]) -> bool {
        let Some((_, url)) = launch.environment.iter().find(|(name, _)| name == "OUTPUT_CONTAINER_URL")
        else {
            return true;
        };
        outputs.iter().all(|output| match self.door.store_bytes(url, std::slice::from_ref(output)) {
            Err(DoorError::Denied(why)) => why.contains("does not allow to replace it"),
            stored => stored.is_ok(),
        })
    }

    /// Stores outputs by the same rules as a real node.
    fn store(&self, launch: &Launch, exit_code: i32, last_try: bool) -> Option<NodeFailure> {
        let place = self.place(launch).ok()?;
        let variables = environment::of(launch, &place, &self.variables, "");
        let mut failure = None;
        for order in launch.output_files.iter().filter(|order| outputs::is_due(order, exit_code, last_try)) {
            let stored = Resolved::new(order, &place, &variables).and_then(|resolved| {
                let base = self.below_the_node(&place, &resolved.base.to_string_lossy());
                let files = self.files.below(&launch.node, &base).into_iter();
                let files: BTreeMap<String, Vec<u8>> = files
                    .filter(|(name, _)| resolved.pattern.matches(name))
                    .map(|(name, content)| (resolved.blob_name(order, &name), content.to_vec()))
                    .collect();
                match files.is_empty() {
                    true => Ok(()),
                    false => {
                        self.door.store_bytes(&order.container_url, &files.into_iter().collect::<Vec<_>>())
                    }
                }
            });
            if let Err(error) = stored {
                failure.get_or_insert_with(|| failures::output(order, &error));
            }
        }
        failure
    }

    fn remove(&self, node: NodeRef) {
        let running: Vec<_> = {
            let state = lock(&self.state);
            let here = state.launches.iter().filter(|(_, running)| running.launch.node == node);
            here.map(|(id, _)| *id).collect()
        };
        for id in running {
            match self.take(id) {
                Some((_, Some((_, began)))) => self.end(id, began, Some(137), Some(failures::ended())),
                _ => self.end(id, self.clock.now(), None, Some(failures::ended())),
            }
        }
        self.files.remove(&node, "");
        self.report(NodeEvent::Removed(node));
    }

    fn take(&self, id: LaunchId) -> Option<(Launch, Option<(Pretend, Timestamp)>)> {
        lock(&self.state).launches.remove(&id).map(|running| (running.launch, running.began))
    }

    fn end(
        &self,
        launch: LaunchId,
        started: Timestamp,
        exit_code: Option<i32>,
        failure: Option<NodeFailure>,
    ) {
        let ending =
            LaunchEnding { started, ended: self.clock.now(), exit_code, failure, spent: Spent::default() };
        self.report(NodeEvent::Ended { launch, ending });
    }

    fn report(&self, event: NodeEvent) {
        if !lock(&self.state).stopped {
            (self.reports)(event);
        }
    }
}
