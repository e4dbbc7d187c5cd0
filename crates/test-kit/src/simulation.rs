//! One run in the simulated world, from its plan to its events.

use crate::VirtualClock;
use actix::System;
use dropmill_actors::{Services, place::MemoryPlace, start};
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions, FileReads},
    in_process::InProcess,
};
use dropmill_azure_wire::{sign::SharedKey, time::SharedClock, transport::Transport};
use dropmill_journal::{Journal, event::Event, report::Report, trace};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_local_azure::{
    orders::Launch,
    runner::{Pretend, PretendRunner, PretendSettings},
    service::{Access, LocalAzure, RunnerChoice, ServiceSettings},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Longest virtual time of a simulation: a run that is not over by then is stuck.
const TOO_LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a simulation shall do.
pub struct Simulation {
    plan: RunPlan,
    script: Arc<dyn Fn(&Launch) -> Pretend + Send + Sync>,
    boot: Duration,
    cancel_after: Option<Duration>,
    hints: bool,
    seed: u64,
    wire: Option<Wire>,
}

/// Puts something between client and service.
type Wire = Box<dyn FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>>;

/// What came of it.
pub struct Simulated {
    /// Every event, in order.
    pub events: Vec<Event>,
    /// The report.
    pub report: Report,
    /// The results by path below the output folder.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Simulated {
    /// The canonical trace, whole.
    pub fn trace(&self) -> String {
        trace::full(&self.events)
    }

    /// The canonical trace, one line for each life.
    pub fn outline(&self) -> String {
        trace::outline(&self.events)
    }
}

impl Simulation {
    /// A simulation of `plan` in which every command takes a second and succeeds.
    pub fn of(plan: RunPlan) -> Self {
        Self {
            plan,
            script: Arc::new(|_| Pretend { duration: Duration::from_secs(1), ..Pretend::default() }),
            boot: Duration::from_secs(60),
            cancel_after: None,
            hints: false,
            seed: 1,
            wire: None,
        }
    }

    /// What each launch (start task or task) does.
    #[must_use]
    pub fn script(mut self, script: impl Fn(&Launch) -> Pretend + Send + Sync + 'static) -> Self {
        self.script = Arc::new(script);
        self
    }

    /// How long a node takes to boot.
    #[must_use]
    pub fn boot(mut self, boot: Duration) -> Self {
        self.boot = boot;
        self
    }

    /// Asks the run to end after this time.
    #[must_use]
    pub fn cancel_after(mut self, after: Duration) -> Self {
        self.cancel_after = Some(after);
        self
    }

    /// Whether the service hints at changes, as the embedded one does; Azure does not.
    #[must_use]
    pub fn hints(mut self, hints: bool) -> Self {
        self.hints = hints;
        self
    }

    /// Another interleaving.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Puts a wire between client and service: it is given the way to the service and carries the client's requests.
    #[must_use]
    pub fn wire(mut self, wire: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport> + 'static) -> Self {
        self.wire = Some(Box::new(wire));
        self
    }

    /// Runs it, on this thread, in no time.
    ///
    /// # Panics
    /// When the run is not over after a week of virtual time, or has no report because the actor that makes it died:
    /// both are defects.
    pub fn run(self) -> Simulated {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime needs nothing of the machine")
        };
        System::with_tokio_rt(runtime).block_on(async move {
            match tokio::time::timeout(TOO_LONG, self.live()).await {
                Ok(simulated) => simulated,
                Err(_) => panic!("the run is not over after a week of virtual time"),
            }
        })
    }

    async fn live(self) -> Simulated {
        let clock: SharedClock = Arc::new(VirtualClock::begin());
        let (script, boot) = (self.script.clone(), self.boot);
        let runner = RunnerChoice::Custom(Box::new({
            let clock = clock.clone();
            move |reports, door| {
                let settings = PretendSettings { script, boot: Arc::new(move |_| boot) };
                PretendRunner::start(settings, clock, reports, door)
            }
        }));
        let settings = ServiceSettings { seed: self.seed, ..ServiceSettings::in_memory() };
        let service = LocalAzure::open(settings, clock.clone(), runner).expect("nothing on disk to go wrong");
        actix::spawn({
            let service = service.clone();
            async move { service.alarms().await }
        });
        let connection = service.connection();
        let mut transport: Arc<dyn Transport> = Arc::new(
            InProcess::new()
                .serving(&connection.batch.endpoint, service.batch_router())
                .serving(&connection.blob.endpoint, service.blob_router()),
        );
        if let Some(wire) = self.wire {
            transport = wire(transport);
        }
        let endpoint =
            |access: &Access| Endpoint::parse(&access.endpoint).expect("the service knows its address");
        let key = |access: &Access| {
            SharedKey::new(&access.account, &access.key).expect("the service makes good keys")
        };
        let rng = |stream| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(stream);
            rng
        };
        let batch = BatchApi::new(BatchOptions::new(
            endpoint(&connection.batch),
            key(&connection.batch).into(),
            transport.clone(),
            clock.clone(),
            rng(1),
        ));
        let blob = BlobApi::new(BlobOptions {
            file_reads: FileReads::Inline,
            ..BlobOptions::new(
                endpoint(&connection.blob),
                key(&connection.blob),
                transport,
                clock.clone(),
                rng(2),
            )
        });
        let hints = self.hints.then(|| service.changes());
        let place = MemoryPlace::default();
        let journal = Journal::in_memory();
        let services = Services { batch, blob, hints };
        let run = start(self.plan, services, Arc::new(place.clone()), journal, clock);
        if let Some(after) = self.cancel_after {
            let canceller = run.canceller();
            actix::spawn(async move {
                tokio::time::sleep(after).await;
                canceller.cancel("asked by the test");
            });
        }
        let received = run.events();
        let collecting = actix::spawn(async move {
            let mut events = vec![];
            while let Ok(event) = received.recv().await {
                events.push(event);
            }
            events
        });
        let report = run.finished().await.expect("keeper and collector live");
        let events = collecting.await.expect("the collecting task lives");
        service.stop();
        Simulated { events, report, files: place.files() }
    }
}
