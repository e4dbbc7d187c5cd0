//! The runner with real processes: accepts orders, tracks running launches, and ends everything at its end.

use super::{
    control::{Ask, Handle, lock},
    crew::ThreadPool,
    environment::{NodeEnvironment, default_environment},
    failures,
    files::DiskFiles,
    keeper::{Keeper, KeeperProgram, Lock},
    launch,
    orphans::Orphans,
    packages::Packages,
    place::{NODE_FOLDERS, Places},
    registry::Registry,
    removal::Removal,
    supervisor::Supervisor,
};
use crate::{
    orders::{
        BlobAccess, Launch, LaunchEnding, LaunchId, NodeEvent, NodeFiles, NodeRef, Order, PackageOrder,
        Reports, Runner, Spent,
    },
    turns::Turns,
};
use dropmill_azure_wire::time::SharedClock;
use dropmill_private_files as private_files;
use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Longest wait until the keeper of a previous process has ended its processes, which takes milliseconds.
const FORMER_KEEPER: Duration = Duration::from_secs(10);

/// Settings of a [`ProcessRunner`].
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// Folder of all nodes, created if it does not exist; no other process may use it.
    pub root: PathBuf,
    /// Value of `AZ_BATCH_ACCOUNT_NAME`.
    pub account_name: String,
    /// Value of `AZ_BATCH_ACCOUNT_URL`.
    pub account_url: String,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Bytes kept of `stdout.txt` and of `stderr.txt`: half from the start, half from the end.
    pub max_output_bytes: u64,
    /// Variables of every command, see [`default_environment`]. Never those of the service.
    pub environment: Vec<(String, String)>,
    /// Additional variables of every command; they override those.
    pub inherited: NodeEnvironment,
    /// The program that holds the processes of tasks, see [`KeeperProgram`]. Without it, processes that left
    /// the group, the session and the environment of their task outlive a crash of this process.
    pub keeper: Option<KeeperProgram>,
    /// Time for which [`Runner::stop`] may continue to delete removed folders; the rest is deleted at the
    /// next start.
    pub cleanup_at_stop: Duration,
}

impl RunnerSettings {
    /// Creates settings with a grace period of 5 seconds, 1 GiB of output, 5 seconds for the cleanup, and the
    /// keeper of this process.
    pub fn new(root: PathBuf, account_name: impl Into<String>, account_url: impl Into<String>) -> Self {
        Self {
            root,
            account_name: account_name.into(),
            account_url: account_url.into(),
            grace: Duration::from_secs(5),
            max_output_bytes: 1 << 30,
            environment: default_environment(),
            inherited: NodeEnvironment::default(),
            keeper: KeeperProgram::of_this_process(),
            cleanup_at_stop: Duration::from_secs(5),
        }
    }
}

/// Runs tasks as processes of this machine, in folders like those of a Batch node.
///
/// It marks every handle above 2 as close-on-exec, because a task must not inherit handles of the service.
/// Without a keeper, it makes this process a child subreaper. Dropping it stops it.
pub struct ProcessRunner {
    pub(super) shared: Arc<Shared>,
    files: DiskFiles,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The parts that launches on different threads share.
pub(super) struct Shared {
    pub settings: RunnerSettings,
    pub clock: SharedClock,
    pub door: Arc<dyn BlobAccess>,
    pub places: Places,
    pub orphans: Orphans,
    pub removal: Removal,
    pub packages: Packages,
    /// Limits how many launches create folders and processes at a time, so that a thousand launches do not
    /// delay everything else.
    pub starts: Turns,
    reports: Reports,
    /// Holds the processes of launches; without it, `orphans` finds as many as possible.
    pub keeper: Option<Keeper>,
    supervisor: Supervisor,
    crew: Arc<ThreadPool>,
    pub registry: Registry,
    stopping: AtomicBool,
}

impl ProcessRunner {
    /// Creates the root, ends what a previous process left running there, and waits for orders.
    ///
    /// # Errors
    /// Fails if the root cannot be created or a thread cannot be started.
    pub fn start(
        settings: RunnerSettings,
        clock: SharedClock,
        reports: Reports,
        door: Arc<dyn BlobAccess>,
    ) -> io::Result<Arc<Self>> {
        private_files::folder(&settings.root)?;
        let root = fs::canonicalize(&settings.root)?;
        let used_before = fs::read_dir(&root)?.next().is_some();
        let places = Places::new(root);
        private_files::folder(&places.trash())?;
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let lock = Lock::take(places.root(), FORMER_KEEPER)?;
        let orphans = Orphans::new(places.root());
        if used_before {
            orphans.end_all();
        }
        let keeper = keeper(&settings, lock);
        if keeper.is_none() {
            Orphans::adopt();
        }
        let shared = Arc::new(Shared {
            clock,
            door,
            orphans,
            removal: Removal::new(places.trash()),
            packages: Packages::default(),
            starts: Turns::new(2 * std::thread::available_parallelism().map_or(1, usize::from)),
            reports,
            keeper,
            supervisor: Supervisor::default(),
            crew: Arc::default(),
            registry: Registry::default(),
            stopping: AtomicBool::new(false),
            places: places.clone(),
            settings,
        });
        let thread = |name: &str, work: fn(&Shared)| {
            let shared = shared.clone();
            std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared))
        };
        let supervisor = thread("node-supervisor", |shared| shared.supervisor.run(shared))?;
        let removal = match thread("node-removal", |shared| shared.removal.run()) {
            Ok(removal) => removal,
            Err(error) => {
                shared.supervisor.close();
                return Err(error);
            }
        };
        let threads = Mutex::new(vec![supervisor, removal]);
        Ok(Arc::new(Self { shared, files: DiskFiles::new(places), threads }))
    }

    /// Ends process groups of a previous process by their leaders' process ids and start times, as reported
    /// in [`NodeEvent::Started`]. [`ProcessRunner::start`] has already ended all processes with this root's
    /// mark; this is for a root that was moved in between.
    pub fn end_leftovers(&self, leaders: &[(u32, u64)]) {
        self.shared.orphans.end_groups(leaders);
    }
}

/// Returns the keeper of the settings, if it can be started.
fn keeper(settings: &RunnerSettings, lock: Option<Lock>) -> Option<Keeper> {
    let program = settings.keeper.clone()?;
    let started = Keeper::start(program, lock);
    started
        .inspect_err(
            |error| tracing::error!(%error, "cannot start the keeper of task processes: working without it"),
        )
        .ok()
}

impl Runner for ProcessRunner {
    fn carry_out(&self, order: Order) {
        match order {
            Order::Boot { node, packages } => self.boot(node, packages),
            Order::Launch(launch) => self.launch(*launch),
            Order::GoOn(launch) => drop(self.shared.registry.handle(launch).map(|handle| handle.go_on())),
            Order::Kill(launch) => self.end(launch, Ask::Kill),
            Order::Abandon(launch) => self.end(launch, Ask::Abandon),
            Order::RemoveTask { node, directory } => self.remove_task(&node, &directory),
            Order::Remove(node) => self.remove(node),
        }
    }

    fn files(&self) -> &dyn NodeFiles {
        &self.files
    }

    fn stop(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return;
        }
        let shared = &self.shared;
        shared.stopping.store(true, Ordering::Release);
        shared.registry.close();
        for handle in shared.registry.handles() {
            shared.end(handle, Ask::Stop);
        }
        shared.registry.wait_for_all();
        shared.supervisor.close();
        shared.removal.close(shared.settings.cleanup_at_stop);
        shared.crew.close();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the node runner panicked");
            }
        }
        match &shared.keeper {
            Some(keeper) => keeper.stop(),
            None => shared.orphans.end_all(),
        }
    }
}

impl Drop for ProcessRunner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl ProcessRunner {
    fn boot(&self, node: NodeRef, packages: Vec<PackageOrder>) {
        let shared = self.shared.clone();
        self.work(move || {
            shared.registry.wait_for_node(&node);
            let root = shared.places.node(&node);
            for folder in NODE_FOLDERS {
                if let Err(error) = shared.places.make(&root.join(folder)) {
                    // Its launches will report it to users.
                    tracing::error!(folder, root = %root.display(), %error, "cannot create a node's folder");
                }
            }
            // Processes that still run there, because the node boots only in the model, keep their files.
            let renew = !shared.registry.uses(&node);
            shared.report(match shared.packages.provide(&root, &packages, renew) {
                Ok(()) => NodeEvent::Booted(node),
                Err(failure) => NodeEvent::BootFailed { node, failure },
            });
        });
    }

    fn launch(&self, order: Launch) {
        let handle = Arc::new(Handle::new(order.id, order.node.clone()));
        let folder = self.shared.places.task(&order.node, &order.directory).map(|place| place.directory);
        if !self.shared.registry.enter(handle.clone(), folder) {
            return;
        }
        self.shared.supervisor.wake();
        let shared = self.shared.clone();
        let id = order.id;
        let worked = self.shared.crew.work(move || {
            let living = std::panic::AssertUnwindSafe(|| launch::live(&shared, &handle, &order));
            if std::panic::catch_unwind(living).is_err() {
                shared.give_up(id, "the runner panicked");
            }
            shared.registry.leave(id);
        });
        if let Err(error) = worked {
            self.shared.give_up(id, &error.to_string());
            self.shared.registry.leave(id);
        }
    }

    fn end(&self, launch: LaunchId, why: Ask) {
        if let Some(handle) = self.shared.registry.handle(launch) {
            self.shared.end(handle, why);
        }
    }

    fn remove_task(&self, node: &NodeRef, directory: &str) {
        let Some(place) = self.shared.places.task(node, directory) else {
            tracing::warn!(directory, "the folder is not valid on a node: nothing to remove");
            return;
        };
        self.shared.registry.remove_folder(place.directory, |folder| self.shared.removal.ask(folder));
    }

    fn remove(&self, node: NodeRef) {
        self.shared.registry.node_goes(&node);
        for handle in self.shared.registry.handles() {
            if handle.node == node {
                self.shared.end(handle, Ask::Abandon);
            }
        }
        let shared = self.shared.clone();
        self.work(move || {
            shared.registry.wait_for_launches(&node);
            let root = shared.places.node(&node);
            if let Err(error) = shared.removal.discard_now(&root) {
                tracing::warn!(root = %root.display(), %error, "cannot remove a node's folders");
            }
            // The pool's folder is removed with its last node.
            let _ = root.parent().map(fs::remove_dir);
            // Reported before anything new on the node can be reported.
            shared.report(NodeEvent::Removed(node.clone()));
            shared.registry.node_gone(&node);
        });
    }

    fn work(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(error) = self.shared.crew.work(job) {
            tracing::error!(%error, "cannot create a thread: a node cannot be booted or removed");
        }
    }
}

impl Shared {
    /// Reports an event, unless the runner has stopped reporting.
    pub fn report(&self, event: NodeEvent) {
        if !self.stopping.load(Ordering::Acquire) {
            (self.reports)(event);
        }
    }

    /// Asks a launch to end, and makes sure that it does.
    pub fn end(&self, handle: Arc<Handle>, why: Ask) {
        handle.ask(why);
        self.supervisor.kill_after(self.settings.grace, handle);
        self.registry.asked();
    }

    /// Schedules the kill of a launch that was asked to end before it had a process.
    pub fn kill_later(&self, launch: LaunchId) {
        let handle = self.registry.handle(launch);
        handle.into_iter().for_each(|handle| self.supervisor.kill_after(self.settings.grace, handle));
    }

    /// Frees the folder of a launch that has ended but was not reported yet.
    pub fn leave_place(&self, launch: LaunchId) {
        self.registry.leave_place(launch, |folder| self.removal.ask(folder));
    }

    fn give_up(&self, launch: LaunchId, what: &str) {
        self.leave_place(launch);
        let now = self.clock.now();
        let failure = Some(failures::ours(what));
        let ending =
            LaunchEnding { started: now, ended: now, exit_code: None, failure, spent: Spent::default() };
        self.report(NodeEvent::Ended { launch, ending });
    }
}
