//! The runner that really runs: takes orders, keeps count of what is under way, ends everything at its end.

use super::{
    control::{Ask, Handle, lock},
    crew::Crew,
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
        BlobDoor, Launch, LaunchEnding, LaunchId, NodeEvent, NodeFiles, NodeRef, Order, PackageOrder,
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

/// How long to wait until the keeper of a previous process has ended what it kept, which takes milliseconds.
const FORMER_KEEPER: Duration = Duration::from_secs(10);

/// How a [`ProcessRunner`] works.
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// Folder of all nodes, made if it is not there: nobody else may use it.
    pub root: PathBuf,
    /// `AZ_BATCH_ACCOUNT_NAME`.
    pub account_name: String,
    /// `AZ_BATCH_ACCOUNT_URL`.
    pub account_url: String,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Bytes kept of each of `stdout.txt` and `stderr.txt`: half from the start, half from the end.
    pub max_output_bytes: u64,
    /// Variables of every command, see [`default_environment`]. Never the service's own.
    pub environment: Vec<(String, String)>,
    /// Further variables of every command, which outweigh those.
    pub inherited: NodeEnvironment,
    /// What holds the processes of tasks, see [`KeeperProgram`]. Without it, processes that left the group, the session
    /// and the environment of their task at once outlive a crash of this process.
    pub keeper: Option<KeeperProgram>,
    /// How long [`Runner::stop`] may go on deleting what was ordered to be removed; the rest goes at the next start.
    pub cleanup_at_stop: Duration,
}

impl RunnerSettings {
    /// A grace of 5 seconds, 1 GiB of output, 5 seconds for cleaning up, the keeper of this process.
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

/// Runs tasks as processes of this machine, in folders laid out as on a Batch node.
///
/// It marks every handle above 2 as not to be inherited, because a task must get no handle of the service's, and, without
/// a keeper, makes this process a child subreaper. Dropping it stops it.
pub struct ProcessRunner {
    pub(super) shared: Arc<Shared>,
    files: DiskFiles,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What launches on their threads share.
pub(super) struct Shared {
    pub settings: RunnerSettings,
    pub clock: SharedClock,
    pub door: Arc<dyn BlobDoor>,
    pub places: Places,
    pub orphans: Orphans,
    pub removal: Removal,
    pub packages: Packages,
    /// Folders and processes are made by a few at a time, so that a thousand launches do not starve the rest.
    pub starts: Turns,
    reports: Reports,
    /// Holds the processes of launches; without it, `orphans` does what it can.
    pub keeper: Option<Keeper>,
    supervisor: Supervisor,
    crew: Arc<Crew>,
    pub registry: Registry,
    stopping: AtomicBool,
}

impl ProcessRunner {
    /// Makes the root, ends what a former life left running there, and waits for orders.
    ///
    /// # Errors
    /// When the root cannot be made or a thread cannot be started.
    pub fn start(
        settings: RunnerSettings,
        clock: SharedClock,
        reports: Reports,
        door: Arc<dyn BlobDoor>,
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

    /// Ends process groups of a former life by their leaders' process ids and start times, as reported in
    /// [`NodeEvent::Started`]. [`ProcessRunner::start`] has ended all that carry this root's mark before; this is
    /// for a root that was moved in between.
    pub fn end_leftovers(&self, leaders: &[(u32, u64)]) {
        self.shared.orphans.end_groups(leaders);
    }
}

/// The keeper that the settings name, if it can be started.
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
                    // Its launches will say so where users look.
                    tracing::error!(folder, root = %root.display(), %error, "a node's folder could not be made");
                }
            }
            // What runs there still, because the node only boots in the model, keeps what it uses.
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
            tracing::warn!(directory, "no such folder can be on a node: nothing to remove");
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
                tracing::warn!(root = %root.display(), %error, "a node's folders could not be removed");
            }
            // The pool's folder goes with its last node.
            let _ = root.parent().map(fs::remove_dir);
            // Told before anything new on the node can be.
            shared.report(NodeEvent::Removed(node.clone()));
            shared.registry.node_gone(&node);
        });
    }

    fn work(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(error) = self.shared.crew.work(job) {
            tracing::error!(%error, "no thread can be made: a node neither boots nor goes");
        }
    }
}

impl Shared {
    /// Tells what happened, unless nobody is to hear of it any more.
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

    /// A launch that was asked to end before it had a process has one now.
    pub fn kill_later(&self, launch: LaunchId) {
        let handle = self.registry.handle(launch);
        handle.into_iter().for_each(|handle| self.supervisor.kill_after(self.settings.grace, handle));
    }

    /// A launch is over in all but the telling.
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
