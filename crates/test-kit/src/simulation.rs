//! Simulates one run, from its plan to its events.

use crate::{
    ShiftedClock, VirtualClock,
    crash::{Counts, CrashInjector, CrashPoint, Crashable},
    elsewhere::{FaultyDoor, FaultyPlace},
    faults::{Faults, Struck},
    scenario::{Incident, IncidentKind, Scenario},
    script::{self, Launches},
    wire::FaultyWire,
    world::World,
};
use actix::System;
use dropmill_actors::{
    Canceller, RunParts, Services,
    inputs::PathInputs,
    place::{MemoryPlace, ResultPlace},
};
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions, FileReads},
    in_process::InProcess,
};
use dropmill_azure_wire::{sign::SharedKey, time::SharedClock, transport::Transport};
use dropmill_journal::{
    Journal,
    event::Event,
    past::RecoveredRun,
    report::{Report, ReportFold},
    trace,
};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_local_azure::{
    orders::Launch,
    runner::{FakeRunner, FakeSettings, Pretend, Script},
    service::{Access, Connection, LocalAzure, RunnerChoice, ServiceSettings},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};
use tokio::task::LocalSet;

/// The inputs of a simulation; [`Simulation::run`] starts it.
pub struct Simulation {
    plan: RunPlan,
    scenario: Scenario,
    script: Option<Script>,
    cancel_after: Option<Duration>,
    seed: u64,
    wire: Option<Wire>,
    crashes: Vec<CrashPoint>,
    down: Duration,
}

/// Wraps the transport between client and service.
type Wire = Box<dyn FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>>;

/// The result of a simulation.
pub struct Simulated {
    /// The plan of the run.
    pub plan: RunPlan,
    /// All events, in order.
    pub events: Vec<Event>,
    /// The report of the run.
    pub report: Report,
    /// The results by path below the output folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Logs of successful tasks that the folder of the run keeps, by task and name.
    pub logs: BTreeMap<(String, String), Vec<u8>>,
    /// Injected faults, in order.
    pub struck: Vec<Struck>,
    /// Number of requests that the client sent.
    pub requests: u64,
    /// Virtual time of the simulation, over all processes.
    pub lasted: Duration,
    /// `true` if an incident of the scenario deletes the job or the pool.
    pub meddled: bool,
    /// Number of crashes of the orchestrator.
    pub crashes: u32,
    /// How many steps there were before or after which a crash is possible.
    pub counts: Counts,
    /// How often each task was started on a node, as counted by the nodes.
    pub launches: BTreeMap<String, u32>,
    /// Resources that the run created and the service still has: `pool`, `job`, `container/<name>`.
    pub remains: Vec<String>,
}

/// The run did not end in time, or has no report.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; so far:\n{outline}")]
pub struct SimulationError {
    /// What is wrong.
    pub reason: String,
    /// Outline of the events until then.
    pub outline: String,
}

impl Simulated {
    /// Returns the full canonical trace.
    pub fn trace(&self) -> String {
        trace::full(&self.events)
    }

    /// Returns the canonical trace with one line per subject.
    pub fn outline(&self) -> String {
        trace::outline(&self.events)
    }
}

impl Simulation {
    /// Creates a simulation of `plan` in which every command takes a second and succeeds.
    pub fn of(plan: RunPlan) -> Self {
        let scenario = Scenario::uneventful();
        Self {
            plan,
            scenario,
            script: None,
            cancel_after: None,
            seed: 1,
            wire: None,
            crashes: vec![],
            down: Duration::ZERO,
        }
    }

    /// Sets how nodes, tasks and the wire behave.
    #[must_use]
    pub fn scenario(mut self, scenario: Scenario) -> Self {
        self.scenario = scenario;
        self
    }

    /// Sets what each launch (of a start task or a task) does, instead of the scenario.
    #[must_use]
    pub fn script(mut self, script: impl Fn(&Launch) -> Pretend + Send + Sync + 'static) -> Self {
        self.script = Some(Arc::new(script));
        self
    }

    /// Sets how long a node takes to boot.
    #[must_use]
    pub fn boot(mut self, boot: Duration) -> Self {
        self.scenario.boot = boot;
        self
    }

    /// Cancels the run after this time.
    #[must_use]
    pub fn cancel_after(mut self, after: Duration) -> Self {
        self.cancel_after = Some(after);
        self
    }

    /// Sets whether the service publishes change notifications. The embedded service does, Azure does not.
    #[must_use]
    pub fn hints(mut self, hints: bool) -> Self {
        self.scenario.hints = hints;
        self
    }

    /// Sets the seed for the scheduling order and the random faults.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Wraps the transport between client and service: `wire` receives the transport to the service.
    #[must_use]
    pub fn wire(mut self, wire: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport> + 'static) -> Self {
        self.wire = Some(Box::new(wire));
        self
    }

    /// Crashes the orchestrator at these points; after each crash a new process resumes the run.
    #[must_use]
    pub fn crash_at(mut self, points: Vec<CrashPoint>) -> Self {
        self.crashes = points;
        self
    }

    /// Sets the time between a crash and the next process, during which the service keeps running.
    #[must_use]
    pub fn down_for(mut self, time: Duration) -> Self {
        self.down = time;
        self
    }

    /// Runs the simulation in virtual time, on this thread.
    ///
    /// # Panics
    /// Panics if the run does not end within the scenario's bound or has no report. Both are defects.
    pub fn run(self) -> Simulated {
        self.try_run().unwrap_or_else(|stuck| panic!("{stuck}"))
    }

    /// Runs the simulation as [`Simulation::run`] does.
    ///
    /// # Errors
    /// Fails if the run does not end within the scenario's bound, or has no report because the actor that
    /// makes the report crashed.
    pub fn try_run(self) -> Result<Simulated, SimulationError> {
        let bound = self.scenario.bound + self.down * u32::try_from(self.crashes.len()).unwrap_or(u32::MAX);
        let injector = CrashInjector::at(self.crashes.clone());
        let recorded = injector.clone();
        let lived = stuck_after(bound, self.live(injector));
        lived.map_err(|reason| SimulationError { reason, outline: trace::outline(&recorded.events()) })
    }

    async fn live(self, injector: Arc<CrashInjector>) -> Result<Simulated, String> {
        let began = tokio::time::Instant::now();
        let clock: SharedClock = Arc::new(VirtualClock::begin());
        let script::Acts { script, boot } = script::acts(&self.scenario, &self.plan);
        let launches = Launches::default();
        let script = launches.count(self.script.unwrap_or(script));
        let skewed = ShiftedClock::new(clock.clone(), self.scenario.clock_ahead_seconds);
        let service_clock: SharedClock = Arc::new(skewed.clone());
        let faults = Faults::new(self.scenario.faults.clone(), self.scenario.latency, self.seed);
        let runner = RunnerChoice::Custom(Box::new({
            let (clock, faults) = (service_clock.clone(), faults.clone());
            move |reports, door| {
                let settings = FakeSettings { script, boot };
                FakeRunner::start(settings, clock, reports, Arc::new(FaultyDoor::new(door, faults)))
            }
        }));
        let settings = ServiceSettings { seed: self.seed, ..ServiceSettings::in_memory() };
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
        let wire = FaultyWire::new(direct.clone(), faults.clone(), key);
        let mut transport: Arc<dyn Transport> = Arc::new(wire);
        if let Some(wire) = self.wire {
            transport = wire(transport);
        }
        transport = Arc::new(Crashable { injector: injector.clone(), inner: transport });
        let hints = self.scenario.hints.then(|| service.changes());
        let services = Services { hints, ..clients(&connection, transport, &clock, self.seed, 1) };
        // The client of an outside user, with a transport without faults and the right time.
        let other = clients(&connection, direct, &service_clock, self.seed, 3);
        let place = MemoryPlace::with_layout(self.plan.output.layout);
        let faulty: Arc<dyn ResultPlace> =
            Arc::new(FaultyPlace::new(Arc::new(place.clone()), faults.clone()));
        let plan = self.plan;
        let world = World {
            service: service.clone(),
            clock: skewed,
            other: other.clone(),
            pool: Some(plan.pool.id.clone()),
            job: Some(plan.job.id.clone()),
        };
        let mut incidents = self.scenario.incidents;
        let meddles =
            |incident: &Incident| matches!(incident.what, IncidentKind::DeleteJob | IncidentKind::DeletePool);
        let meddled = incidents.iter().any(meddles);
        let cancel = |at| Incident { at, what: IncidentKind::Cancel, lasts: None };
        incidents.extend(self.cancel_after.map(cancel));
        // The running process, which a scheduled cancellation must reach.
        let living = Rc::<RefCell<Option<Canceller>>>::default();
        for incident in incidents {
            if incident.at.is_zero() {
                // Before the first request to the service.
                world.inject(&incident.what);
            }
            let living = living.clone();
            let cancel = move || {
                if let Some(living) = &*living.borrow() {
                    living.cancel("cancelled by the scenario");
                }
            };
            actix::spawn(world.clone().run_incident(incident, cancel));
        }
        let mut crashes = 0;
        let report = loop {
            let life = one_life(crashes == 0, &plan, &services, &faulty, &clock, &injector, &living);
            // The tasks that a process spawned end with the process.
            let actors = LocalSet::new();
            let ended = actors.run_until(life).await;
            drop(actors);
            if let Some(report) = ended {
                break report?;
            }
            crashes += 1;
            tokio::time::sleep(self.down).await;
        };
        let events = injector.events();
        let remains = remains(&other, &plan).await;
        service.stop();
        Ok(Simulated {
            plan,
            events,
            report,
            files: place.files(),
            logs: place.logs(),
            lasted: began.elapsed(),
            struck: faults.struck(),
            requests: faults.requests(),
            meddled,
            crashes,
            counts: injector.count(),
            remains,
            launches: launches.counts(),
        })
    }
}

/// Runs a future in virtual time, on this thread. Fails if it takes longer than `bound`.
pub(crate) fn stuck_after<T>(
    bound: Duration,
    play: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O can always be built")
    };
    System::with_tokio_rt(runtime).block_on(async move {
        match tokio::time::timeout(bound, play).await {
            Ok(played) => played,
            Err(_) => Err(format!("the run did not end within {bound:?} of virtual time")),
        }
    })
}

/// Runs one process of the orchestrator. Returns its report, or `None` if it crashed.
async fn one_life(
    first: bool,
    plan: &RunPlan,
    services: &Services,
    place: &Arc<dyn ResultPlace>,
    clock: &SharedClock,
    injector: &Arc<CrashInjector>,
    living: &RefCell<Option<Canceller>>,
) -> Option<Result<Report, String>> {
    let events = injector.events();
    if RecoveredRun::of(&events).ended.is_some() {
        // It crashed when nothing was left to do.
        return Some(Ok(ReportFold::of(&events)));
    }
    let journal = Journal::answered_by({
        let injector = injector.clone();
        move |events| injector.keep(events)
    });
    let place: Arc<dyn ResultPlace> =
        Arc::new(Crashable { injector: injector.clone(), inner: place.clone() });
    let parts = RunParts {
        plan: plan.clone(),
        services: services.clone(),
        place,
        inputs: Arc::new(PathInputs),
        journal,
        clock: clock.clone(),
        earlier: (!first).then_some(events),
    };
    let run = parts.start();
    living.replace(Some(run.canceller()));
    let events = run.events();
    actix::spawn(async move { while events.recv().await.is_ok() {} });
    tokio::select! {
        biased;
        () = injector.reached() => None,
        report = run.finished() => Some(report.map_err(|error| error.to_string())),
    }
}

/// Returns a client of an outside user, who has the keys of the service and a transport without faults.
pub(crate) fn somebody_else(service: &LocalAzure, clock: &SharedClock) -> Services {
    let connection = service.connection();
    let direct = InProcess::new()
        .serving(&connection.batch.endpoint, service.batch_router())
        .serving(&connection.blob.endpoint, service.blob_router());
    clients(&connection, Arc::new(direct), clock, 0, 3)
}

pub(crate) fn clients(
    connection: &Connection,
    transport: Arc<dyn Transport>,
    clock: &SharedClock,
    seed: u64,
    stream: u64,
) -> Services {
    let endpoint =
        |access: &Access| Endpoint::parse(&access.endpoint).expect("the service returns a valid address");
    let key = |access: &Access| {
        SharedKey::new(&access.account, &access.key).expect("the service returns valid keys")
    };
    let rng = |stream| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        rng
    };
    let batch = BatchApi::new(BatchOptions::new(
        endpoint(&connection.batch),
        key(&connection.batch).into(),
        transport.clone(),
        clock.clone(),
        rng(stream),
    ));
    let blob = BlobApi::new(BlobOptions {
        file_reads: FileReads::Inline,
        ..BlobOptions::new(
            endpoint(&connection.blob),
            key(&connection.blob),
            transport,
            clock.clone(),
            rng(stream + 1),
        )
    });
    Services { batch, blob, hints: None }
}

/// Returns the resources that the run created and the service still has.
async fn remains(other: &Services, plan: &RunPlan) -> Vec<String> {
    let mut remains = vec![];
    if other.batch.get_pool(&plan.pool.id).await.is_ok() {
        remains.push("pool".to_owned());
    }
    if other.batch.get_job(&plan.job.id).await.is_ok() {
        remains.push("job".to_owned());
    }
    for container in [plan.app_container(), plan.input_container(), plan.output_container()] {
        if other.blob.container_exists(&container).await.unwrap_or(false) {
            remains.push(format!("container/{container}"));
        }
    }
    remains
}
