//! Simulates a drop folder: the real mill and drop folder, files in memory that users change, and processes
//! that crash between any two steps and restart.

mod runs;
mod store;

use crate::{
    ShiftedClock, VirtualClock,
    crash::{Counts, CrashInjector, CrashPoint, Crashable},
    elsewhere::FaultyDoor,
    faults::{Faults, Struck},
    scenario::{FileAction, FileChange, Incident, IncidentKind, Scenario},
    script::{self, Launches},
    simulation::{clients, stuck_after},
    wire::FaultyWire,
    world::World,
};
use dropmill_actors::{
    Services,
    drop_folder::{DropSettings, Maker},
    drop_store::{DIRECTORY, MemoryDropStore},
    mill::{MillHandle, MillNotice, MillParts},
};
use dropmill_azure_client::in_process::InProcess;
use dropmill_azure_wire::{sign::SharedKey, time::SharedClock, transport::Transport};
use dropmill_journal::{
    DuplicateIndex,
    event::{Event, EventKind},
    trace,
};
use dropmill_lifecycle::{mill::MillLimits, plan::RunPlan};
use dropmill_local_azure::{
    runner::{FakeRunner, FakeSettings},
    service::{LocalAzure, RunnerChoice, ServiceSettings},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use runs::{MemoryRuns, StoredRuns};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use store::{CrashableStore, Fetched};
use tokio::task::LocalSet;

/// Time between two checks whether all work is done.
const CHECK_EVERY: Duration = Duration::from_secs(20);
/// Longest time, after the last change and the last fault, until every file is in its place.
const SETTLING: Duration = Duration::from_secs(24 * 3600);

/// A run file with a drop folder, ready to be simulated.
#[derive(Clone)]
pub struct MillPlan {
    /// The settings of the drop folder.
    pub settings: DropSettings,
    /// Creates tasks from files.
    pub make: Maker,
    /// Creates the plan of a run from its name.
    pub stream: Arc<dyn Fn(&str) -> RunPlan + Send + Sync>,
    /// Timeouts of the daemon.
    pub limits: MillLimits,
    /// Whether pools are kept when the daemon ends.
    pub keeps_pools: bool,
}

/// A drop folder to simulate.
pub struct MillSimulation {
    plan: MillPlan,
    scenario: Scenario,
    seed: u64,
    crashes: Vec<CrashPoint>,
    down: Duration,
}

/// The result of the simulation.
pub struct SimulatedMill {
    /// The simulated run file.
    pub plan: MillPlan,
    /// All events of all runs, in the order in which they became durable.
    pub events: Vec<Event>,
    /// Names of the runs, in the order of their creation.
    pub runs: Vec<String>,
    /// The folders at the end.
    pub store: MemoryDropStore,
    /// Files that users put into the drop folder, by number, with their names.
    pub put: BTreeMap<u64, PathBuf>,
    /// The last content that a node read as the input of each task.
    pub fetched: BTreeMap<String, Vec<u8>>,
    /// Files that were in no place or in two, with the time.
    pub misplaced: Vec<String>,
    /// The messages of the daemon.
    pub notices: Vec<MillNotice>,
    /// Injected faults, in order.
    pub struck: Vec<Struck>,
    /// Number of requests that the client sent.
    pub requests: u64,
    /// Virtual time of the simulation.
    pub lasted: Duration,
    /// Number of crashes of the daemon.
    pub crashes: u32,
    /// How many steps there were before or after which a crash is possible.
    pub counts: Counts,
    /// How often each task was started on a node.
    pub launches: BTreeMap<String, u32>,
    /// Pools that the service still has.
    pub pools: Vec<String>,
}

/// A simulation that did not end, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; so far:\n{outline}")]
pub struct StuckMill {
    /// What is wrong.
    pub reason: String,
    /// Outline of the events until then.
    pub outline: String,
}

impl MillSimulation {
    /// Simulates a run file in which every command takes a second and succeeds.
    pub fn new(plan: MillPlan) -> Self {
        Self { plan, scenario: Scenario::uneventful(), seed: 1, crashes: vec![], down: Duration::ZERO }
    }

    /// Sets how users, nodes, tasks and the wire behave.
    #[must_use]
    pub fn scenario(mut self, scenario: Scenario) -> Self {
        self.scenario = scenario;
        self
    }

    /// Sets the seed of all random choices.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Crashes the daemon at these points; after each crash it is started again.
    #[must_use]
    pub fn crash_at(mut self, points: Vec<CrashPoint>) -> Self {
        self.crashes = points;
        self
    }

    /// Sets the time between a crash and the next start.
    #[must_use]
    pub fn down_for(mut self, time: Duration) -> Self {
        self.down = time;
        self
    }

    /// Runs the simulation in virtual time, on this thread.
    ///
    /// # Errors
    /// Fails if a file is not in its place long after the last change, or if the daemon cannot be started
    /// again.
    pub fn try_run(self) -> Result<SimulatedMill, StuckMill> {
        let bound = self.scenario.bound + self.down * u32::try_from(self.crashes.len()).unwrap_or(u32::MAX);
        let injector = CrashInjector::at(self.crashes.clone());
        let recorded = injector.clone();
        let lived = stuck_after(bound, self.live(injector));
        lived.map_err(|reason| StuckMill { reason, outline: outline(&recorded.events()) })
    }

    async fn live(self, injector: Arc<CrashInjector>) -> Result<SimulatedMill, String> {
        let began = tokio::time::Instant::now();
        let stage = Stage::new(&self, injector);
        let (changes, last) = scheduled(&self.scenario, self.seed);
        let cast = stage.play(changes, self.scenario.incidents.clone());
        let deadline = last + SETTLING + self.down * u32::try_from(self.crashes.len()).unwrap_or(u32::MAX);
        let mut crashes = 0;
        loop {
            // The tasks that a process spawned end with the process.
            let actors = LocalSet::new();
            let lived = actors.run_until(stage.one_life(&self.plan, &cast, began + deadline)).await;
            drop(actors);
            stage.check_places(&cast);
            match lived {
                Lived::Done => break,
                Lived::Crashed => crashes += 1,
                Lived::Restarted => {}
                Lived::SimulationError(reason) => return Err(reason),
            }
            cast.handle.take();
            tokio::time::sleep(self.down).await;
        }
        let pools = stage.other.batch.list_pools(None, Some("id")).await.unwrap_or_default();
        stage.service.stop();
        Ok(SimulatedMill {
            plan: self.plan,
            events: stage.injector.events(),
            runs: stage.stored.names(),
            store: stage.store.clone(),
            put: cast.put.take(),
            fetched: stage.fetched.contents(),
            misplaced: cast.misplaced.take(),
            notices: cast.notices.take(),
            struck: stage.faults.struck(),
            requests: stage.faults.requests(),
            lasted: began.elapsed(),
            crashes,
            counts: stage.injector.count(),
            launches: stage.launches.counts(),
            pools: pools.into_iter().map(|pool| pool.id).collect(),
        })
    }
}

/// How a process of the daemon ended.
enum Lived {
    /// All work is done.
    Done,
    /// The process crashed.
    Crashed,
    /// It was stopped by a request, and more work is left.
    Restarted,
    /// It does not end.
    SimulationError(String),
}

/// The parts that are kept between processes: the service, the disk, the transport.
struct Stage {
    injector: Arc<CrashInjector>,
    clock: SharedClock,
    service: LocalAzure,
    skewed: ShiftedClock,
    services: Services,
    other: Services,
    faults: Faults,
    store: MemoryDropStore,
    stored: Rc<StoredRuns>,
    known: Rc<DuplicateIndex>,
    fetched: Fetched,
    launches: Launches,
    notifies: bool,
}

/// The users of the folder, and what they see.
#[derive(Default)]
struct Cast {
    put: RefCell<BTreeMap<u64, PathBuf>>,
    /// The last file that was put under each name.
    latest: RefCell<BTreeMap<PathBuf, u64>>,
    misplaced: RefCell<Vec<String>>,
    notices: RefCell<Vec<MillNotice>>,
    handle: RefCell<Option<MillHandle>>,
    /// Number of changes and incidents that are still to come.
    to_come: Cell<usize>,
    /// The daemon was asked to stop.
    ordered: Cell<bool>,
}

impl Stage {
    fn new(simulation: &MillSimulation, injector: Arc<CrashInjector>) -> Self {
        let (scenario, seed) = (&simulation.scenario, simulation.seed);
        let clock: SharedClock = Arc::new(VirtualClock::begin());
        let plan = (simulation.plan.stream)("simulated");
        let script::Acts { script, boot } = script::acts(scenario, &plan);
        let launches = Launches::default();
        let script = launches.count(script);
        let skewed = ShiftedClock::new(clock.clone(), scenario.clock_ahead_seconds);
        let service_clock: SharedClock = Arc::new(skewed.clone());
        let faults = Faults::new(scenario.faults.clone(), scenario.latency, seed);
        let fetched = Fetched::default();
        let runner = RunnerChoice::Custom(Box::new({
            let (clock, faults, fetched) = (service_clock.clone(), faults.clone(), fetched.clone());
            move |reports, door| {
                let settings = FakeSettings { script, boot };
                let door = fetched.behind(Arc::new(FaultyDoor::new(door, faults)));
                FakeRunner::start(settings, clock, reports, door)
            }
        }));
        let settings = ServiceSettings { seed, ..ServiceSettings::in_memory() };
        let service = LocalAzure::open(settings, service_clock.clone(), runner)
            .expect("an empty folder has no invalid data");
        actix::spawn({
            let service = service.clone();
            async move { service.alarms().await }
        });
        let connection = service.connection();
        let direct: Arc<dyn Transport> = Arc::new(
            InProcess::new()
                .serving(&connection.batch.endpoint, service.batch_router())
                .serving(&connection.blob.endpoint, service.blob_router()),
        );
        let key = SharedKey::new(&connection.batch.account, &connection.batch.key).ok();
        let wire: Arc<dyn Transport> = Arc::new(FaultyWire::new(direct.clone(), faults.clone(), key));
        let wire = Arc::new(Crashable { injector: injector.clone(), inner: wire });
        let hints = scenario.hints.then(|| service.changes());
        let services = Services { hints, ..clients(&connection, wire, &clock, seed, 1) };
        let other = clients(&connection, direct, &service_clock, seed, 3);
        Self {
            injector,
            clock,
            service,
            skewed,
            services,
            other,
            faults,
            store: MemoryDropStore::default(),
            stored: Rc::default(),
            known: Rc::new(DuplicateIndex::in_memory().expect("SQLite can open a database in memory")),
            fetched,
            launches,
            notifies: scenario.hints,
        }
    }

    /// Schedules the changes of users and the incidents.
    fn play(&self, changes: Vec<(Duration, FileChange)>, incidents: Vec<Incident>) -> Rc<Cast> {
        let cast = Rc::new(Cast::default());
        cast.to_come.set(changes.len() + incidents.len());
        for (at, change) in changes {
            let (cast, store, notifies) = (cast.clone(), self.store.clone(), self.notifies);
            actix::spawn(async move {
                tokio::time::sleep(at).await;
                cast.change(&store, change, notifies);
                cast.to_come.set(cast.to_come.get() - 1);
            });
        }
        let world = World {
            service: self.service.clone(),
            clock: self.skewed.clone(),
            other: self.other.clone(),
            pool: None,
            job: None,
        };
        for incident in incidents {
            let (cast, world) = (cast.clone(), world.clone());
            if incident.at.is_zero() && incident.what != IncidentKind::Cancel {
                world.inject(&incident.what);
            }
            actix::spawn(async move {
                let order = cast.clone();
                world.run_incident(incident, move || order.order_to_end()).await;
                cast.to_come.set(cast.to_come.get() - 1);
            });
        }
        cast
    }

    async fn one_life(&self, plan: &MillPlan, cast: &Rc<Cast>, deadline: tokio::time::Instant) -> Lived {
        let store =
            Arc::new(CrashableStore::new(self.store.clone(), self.injector.clone(), self.faults.clone()));
        let runs = MemoryRuns {
            plan: plan.clone(),
            services: self.services.clone(),
            store: store.clone(),
            injector: self.injector.clone(),
            clock: self.clock.clone(),
            stored: self.stored.clone(),
        };
        let (said, says) = async_channel::unbounded();
        let parts = MillParts {
            settings: plan.settings.clone(),
            store,
            make: plan.make.clone(),
            runs: Rc::new(runs),
            services: self.services.clone(),
            known: self.known.clone(),
            limits: plan.limits.clone(),
            keeps_pools: plan.keeps_pools,
            notices: said,
            events: Rc::new(|_| Box::pin(async {})),
        };
        let mill = match parts.start() {
            Ok(mill) => mill,
            Err(error) => {
                return Lived::SimulationError(format!("the daemon cannot be started again: {error}"));
            }
        };
        cast.ordered.set(false);
        cast.handle.replace(Some(mill.clone()));
        let hearing = cast.clone();
        actix::spawn(async move {
            while let Ok(notice) = says.recv().await {
                hearing.notices.borrow_mut().push(notice);
            }
        });
        tokio::select! {
            biased;
            () = self.injector.reached() => Lived::Crashed,
            // Work that did not end within a timeout is finished by the next process.
            () = mill.over() => match cast.is_quiet() && self.is_done() && self.nothing_is_left(plan) {
                true => Lived::Done,
                false => Lived::Restarted,
            },
            stuck = self.watch(cast, &mill, deadline) => stuck,
        }
    }

    /// Asks the daemon to stop once nothing is left to do.
    async fn watch(&self, cast: &Rc<Cast>, mill: &MillHandle, deadline: tokio::time::Instant) -> Lived {
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            self.check_places(cast);
            if tokio::time::Instant::now() > deadline {
                let places: Vec<_> = self.store.whereabouts().into_values().flatten().collect();
                return Lived::SimulationError(format!(
                    "not every file is in its place after {SETTLING:?}: {places:?}"
                ));
            }
            if cast.is_quiet() && !cast.ordered.get() && self.is_done() {
                let status = mill.status().await;
                if status.is_some_and(|(files, _)| files.waiting + files.unsettled + files.in_flight == 0) {
                    mill.drain();
                }
            }
        }
    }

    /// Returns whether no file is left that the daemon should claim or process.
    fn is_done(&self) -> bool {
        let places = self.store.whereabouts();
        let left = |place: &String| place.starts_with("work/") || place.starts_with("drop/");
        let links = self.store.links();
        places.iter().filter(|(inode, _)| !links.contains(inode)).all(|(_, places)| !places.iter().any(left))
    }

    /// Returns whether every run has ended, and the daemon has no pool left to delete.
    fn nothing_is_left(&self, plan: &MillPlan) -> bool {
        let events = self.injector.events();
        let ends: BTreeSet<&str> = events
            .iter()
            .filter(|event| matches!(event.kind, EventKind::RunEnded { .. }))
            .map(|event| event.run.as_str())
            .collect();
        let all_ended = self.stored.names().iter().all(|run| ends.contains(run.as_str()));
        all_ended && (plan.keeps_pools || self.stored.has_no_pools())
    }

    fn check_places(&self, cast: &Rc<Cast>) {
        for (inode, places) in self.store.whereabouts() {
            if places.len() != 1 {
                let name = cast.put.borrow().get(&inode).cloned().unwrap_or_default();
                cast.misplaced.borrow_mut().push(format!("{} is in {places:?}", name.display()));
            }
        }
    }
}

impl Cast {
    fn is_quiet(&self) -> bool {
        self.to_come.get() == 0
    }

    /// Asks the daemon to drain; the second time, to stop at once.
    fn order_to_end(&self) {
        if let Some(mill) = &*self.handle.borrow() {
            match self.ordered.replace(true) {
                false => mill.drain(),
                true => mill.stop(),
            }
        }
    }

    fn change(&self, store: &MemoryDropStore, change: FileChange, notifies: bool) {
        let name = Path::new(&change.name);
        let complete = match change.what {
            FileAction::Put(text) => {
                let inode = store.put(name, text.as_bytes());
                self.put.borrow_mut().insert(inode, name.to_owned());
                self.latest.borrow_mut().insert(name.to_owned(), inode);
                true
            }
            FileAction::Append(text) => {
                if let Some(inode) = self.latest.borrow().get(name) {
                    store.append(*inode, text.as_bytes());
                }
                false
            }
            FileAction::Remove => {
                store.remove(name);
                false
            }
            FileAction::Link => {
                store.put_link(name);
                true
            }
        };
        if notifies && let Some(mill) = &*self.handle.borrow() {
            mill.changed(Path::new(DIRECTORY).join(name), complete);
        }
    }
}

/// Draws the time of each change. Returns the changes, and the time of the last change or incident.
fn scheduled(scenario: &Scenario, seed: u64) -> (Vec<(Duration, FileChange)>, Duration) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(11);
    let mut changes = vec![];
    for change in &scenario.files {
        let most = u64::try_from(change.within.as_millis()).unwrap_or(u64::MAX);
        let later = if most > 0 { rng.random_range(0..=most) } else { 0 };
        changes.push((change.at + Duration::from_millis(later), change.clone()));
    }
    let incidents =
        scenario.incidents.iter().map(|incident| incident.at + incident.lasts.unwrap_or_default());
    let faults = scenario.faults.iter().map(|fault| fault.until.unwrap_or_default());
    let last = changes.iter().map(|(at, _)| *at).chain(incidents).chain(faults).max().unwrap_or_default();
    (changes, last)
}

/// Returns the outlines of all runs, in the order of their creation.
fn outline(events: &[Event]) -> String {
    each_run(events, trace::outline)
}

/// Formats each run, in the order of their creation.
fn each_run(events: &[Event], write: impl Fn(&[Event]) -> String) -> String {
    let mut runs: Vec<&str> = vec![];
    for event in events {
        if !runs.contains(&event.run.as_str()) {
            runs.push(&event.run);
        }
    }
    let of = |run: &&str| {
        let own: Vec<Event> = events.iter().filter(|event| event.run == **run).cloned().collect();
        write(&own)
    };
    let outlines: Vec<String> = runs.iter().map(of).collect();
    let named = outlines.iter().enumerate().map(|(at, outline)| format!("-- run {}\n{outline}", at + 1));
    named.collect::<Vec<_>>().join("")
}

impl SimulatedMill {
    /// Returns the full traces of the runs.
    pub fn trace(&self) -> String {
        each_run(&self.events, trace::full)
    }

    /// Returns the outlines of the runs, and the content of the folders at the end.
    pub fn outline(&self) -> String {
        let mut text = outline(&self.events);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("-- folders\n");
        text + &self.results()
    }

    /// Returns the content of the folders at the end, one line per result or file.
    pub fn results(&self) -> String {
        let mut lines = vec![];
        for ((root, place), shelf) in self.store.shelves() {
            let mut names: Vec<String> = shelf.files.keys().cloned().collect();
            names.extend(shelf.input.map(|input| {
                format!("the input \"{}\"", String::from_utf8_lossy(&input.content).escape_debug())
            }));
            lines.push(format!(
                "{}/{}: {}",
                format!("{root:?}").to_lowercase(),
                place.display(),
                names.join(", ")
            ));
        }
        for places in self.store.whereabouts().into_values() {
            lines.extend(
                places
                    .into_iter()
                    .filter(|place| !place.starts_with("Done/") && !place.starts_with("Failed/")),
            );
        }
        lines.sort();
        lines.join("\n") + "\n"
    }
}
