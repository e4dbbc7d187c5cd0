//! Starts the actors of a run and ends them: the only module that knows all of them.
//!
//! The last receiver starts first, so that no actor sends a message to one that does not exist.

use crate::{
    deletion::{Part, delete_part},
    feeder::Feeder,
    inputs::{Inputs, PathInputs},
    item_list::ItemList,
    job_submitter::JobSubmitter,
    liveness::LivenessGuard,
    output_fetcher::OutputFetcher,
    place::ResultPlace,
    pool_keeper::PoolKeeper,
    record::Recorder,
    result_collector::{COMMIT_EVERY, COMMIT_SOON, ResultCollector, Unrecorded},
    run_context::RunContext,
    run_keeper::{ActorDied, RunActors, RunHappened, RunKeeper, StartRun},
    services::Services,
    space_keeper::SpaceKeeper,
    storage_uploader::{self, StorageUploader},
    task_monitor::{self, TaskMonitor},
    time::RunClock,
};
use actix::prelude::*;
use dropmill_azure_wire::time::SharedClock;
use dropmill_journal::{
    Journal,
    event::{Event, Role},
    past::RecoveredRun,
    report::{Report, ReportFold},
};
use dropmill_lifecycle::{
    plan::{RunPlan, When},
    run::RunEvent,
};
use std::{
    rc::Rc,
    sync::{Arc, PoisonError},
};

/// Number of events that a subscriber may lag behind before the record waits for it.
const SUBSCRIPTION: usize = 4096;

/// A started run. Dropping it does not end the run.
pub struct RunHandle {
    keeper: Addr<RunKeeper>,
    feeder: Feeder,
    events: async_channel::Receiver<Event>,
    report: async_channel::Receiver<Report>,
    deaths: async_channel::Receiver<Role>,
    unrecorded: Unrecorded,
    services: Services,
    plan: Rc<RunPlan>,
    actors: Vec<Recipient<StopActor>>,
}

/// The run has ended. Actors that hold each other's addresses would otherwise stay for ever.
#[derive(Message)]
#[rtype(result = "()")]
struct StopActor;

macro_rules! stops {
    ($($actor:ty),+) => { $(
        impl Handler<StopActor> for $actor {
            type Result = ();
            fn handle(&mut self, _: StopActor, ctx: &mut Context<Self>) {
                ctx.stop();
            }
        }
    )+ };
}

stops!(
    RunKeeper,
    StorageUploader,
    PoolKeeper,
    JobSubmitter,
    TaskMonitor,
    OutputFetcher,
    SpaceKeeper,
    ResultCollector
);

/// The reason why a run has no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The actor that ends the run has crashed; pool and job were deleted if the plan always deletes them,
    /// and if the service could be reached.
    #[error(
        "actor {actor} died, a defect of this program: the run has no report; its journal shows how far it came"
    )]
    ActorLost {
        /// Role of the actor.
        actor: Role,
    },
    /// The run was interrupted, and its record could not be written.
    #[error(
        "the run ended, and its last events are not recorded ({why}): make room and `dropmill resume` it, nothing that was \
         delivered is done again"
    )]
    Unrecorded {
        /// Error of the disk.
        why: String,
    },
}

impl RunError {
    /// Determines why a run has no report: its record could not be written, or the actor crashed.
    fn of(actor: Role, unrecorded: &Unrecorded) -> Self {
        match unrecorded.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(why) => Self::Unrecorded { why },
            None => Self::ActorLost { actor },
        }
    }
}

/// Ends a run from elsewhere.
#[derive(Clone)]
pub struct Canceller {
    keeper: Addr<RunKeeper>,
}

impl Canceller {
    /// Asks the run to shut down; `detail` says who asked.
    pub fn cancel(&self, detail: &str) {
        self.keeper.do_send(RunHappened(RunEvent::CancelAsked(detail.to_owned())));
    }
}

/// The parts with which a run is started.
pub struct RunParts {
    /// Plan of the run.
    pub plan: RunPlan,
    /// Services that execute it.
    pub services: Services,
    /// Place for results.
    pub place: Arc<dyn ResultPlace>,
    /// Source of the inputs.
    pub inputs: Arc<dyn Inputs>,
    /// Journal for its events.
    pub journal: Journal,
    /// Source of the time.
    pub clock: SharedClock,
    /// Events of previous processes in the journal, if the run is resumed. Even without events, the run may
    /// have created resources: it was interrupted before its first event was durable.
    pub earlier: Option<Vec<Event>>,
}

/// Starts a run in the current actix system.
pub fn start(
    plan: RunPlan,
    services: Services,
    place: Arc<dyn ResultPlace>,
    journal: Journal,
    clock: SharedClock,
) -> RunHandle {
    RunParts { plan, services, place, inputs: Arc::new(PathInputs), journal, clock, earlier: None }.start()
}

impl RunParts {
    /// Starts the run, or resumes it, in the current actix system.
    pub fn start(self) -> RunHandle {
        let (mut past, mut fold) = (RecoveredRun::default(), ReportFold::default());
        if let Some(events) = &self.earlier {
            past = RecoveredRun::of(events);
            past.lives = past.lives.max(1);
            events.iter().for_each(|event| fold.apply(event));
        }
        begin(self, past, fold)
    }
}

fn begin(parts: RunParts, past: RecoveredRun, fold: ReportFold) -> RunHandle {
    let RunParts { plan, services, place, inputs, journal, clock, .. } = parts;
    let plan = Rc::new(plan);
    let item_list = ItemList::of(&plan);
    let past = Rc::new(past);
    let clock = RunClock::begin(clock, past.elapsed_ms);
    let (died, deaths) = async_channel::unbounded();
    let (subscriber, events) = async_channel::bounded(SUBSCRIPTION);
    let (reported, report) = async_channel::bounded(1);
    let guard = |actor| LivenessGuard::new(actor, died.clone());

    let run = Context::<RunKeeper>::new();
    let uploader = Context::<StorageUploader>::new();
    let pool = Context::<PoolKeeper>::new();
    let job = Context::<JobSubmitter>::new();
    let tasks = Context::<TaskMonitor>::new();
    let outputs = Context::<OutputFetcher>::new();

    let commit_every = if plan.open_ended { COMMIT_SOON } else { COMMIT_EVERY };
    let collecting = guard(Role::ResultCollector);
    let unrecorded = Unrecorded::default();
    let (so_far, said) = ((past.last, fold), unrecorded.clone());
    let collector = ResultCollector::new(journal, commit_every, so_far, vec![subscriber], said, collecting);
    let collector = collector.start();
    let record = Recorder::new(&plan.run, clock, past.last, collector.clone());
    let crew = RunActors {
        uploader: uploader.address(),
        pool: pool.address(),
        job: job.address(),
        tasks: tasks.address(),
        collector,
    };
    let (keeper, fetcher) = (run.address(), outputs.address());

    let context =
        RunContext { plan: plan.clone(), item_list, services: services.clone(), inputs, record, past };
    let space = SpaceKeeper::new(context.clone()).start();
    let fetching = guard(Role::OutputFetcher);
    outputs.run(OutputFetcher::new(context.clone(), place, crew.tasks.clone(), space.clone(), fetching));
    let to = task_monitor::Listeners { job: crew.job.clone(), outputs: fetcher.clone(), run: keeper.clone() };
    tasks.run(TaskMonitor::new(context.clone(), to, guard(Role::TaskMonitor)));
    let submitting = guard(Role::JobSubmitter);
    job.run(JobSubmitter::new(context.clone(), crew.tasks.clone(), keeper.clone(), submitting));
    let keeping = guard(Role::PoolKeeper);
    pool.run(PoolKeeper::new(context.clone(), crew.job.clone(), keeper.clone(), keeping));
    let to = storage_uploader::Listeners {
        pool: crew.pool.clone(),
        job: crew.job.clone(),
        tasks: crew.tasks.clone(),
        run: keeper.clone(),
    };
    uploader.run(StorageUploader::new(context.clone(), to, guard(Role::StorageUploader)));
    let feeder = Feeder {
        item_list: context.item_list.clone(),
        record: context.record.clone(),
        crew: crew.clone(),
        keeper: keeper.clone(),
    };
    let actors = vec![
        keeper.clone().recipient(),
        crew.uploader.clone().recipient(),
        crew.pool.clone().recipient(),
        crew.job.clone().recipient(),
        crew.tasks.clone().recipient(),
        fetcher.recipient(),
        space.recipient(),
        crew.collector.clone().recipient(),
    ];
    run.run(RunKeeper::new(context, crew, reported, guard(Role::RunKeeper)));

    keeper.do_send(StartRun);
    RunHandle { keeper, feeder, events, report, deaths, unrecorded, services, plan, actors }
}

impl RunHandle {
    /// Returns a receiver of every event of the run once it is durable, in order. Clones share the events.
    pub fn events(&self) -> async_channel::Receiver<Event> {
        self.events.clone()
    }

    /// Returns a feeder for adding tasks, if the plan is open-ended.
    pub fn feeder(&self) -> Feeder {
        self.feeder.clone()
    }

    /// Returns a canceller for ending the run.
    pub fn canceller(&self) -> Canceller {
        Canceller { keeper: self.keeper.clone() }
    }

    /// Waits until the run has ended. Its events must be received meanwhile, or their receivers dropped: a
    /// slow receiver delays the record.
    ///
    /// # Errors
    /// Fails if the actor that ends the run has crashed.
    pub async fn finished(mut self) -> Result<Report, RunError> {
        let actors = std::mem::take(&mut self.actors);
        let outcome = self.outcome().await;
        actors.iter().for_each(|actor| actor.do_send(StopActor));
        outcome
    }

    async fn outcome(self) -> Result<Report, RunError> {
        let Self { keeper, feeder, events, report, deaths, unrecorded, services, plan, .. } = self;
        drop(feeder);
        let heard = events.downgrade();
        drop(events);
        loop {
            // An available report counts, whichever actor has stopped.
            tokio::select! {
                biased;
                Ok(report) = report.recv() => return Ok(report),
                Ok(actor) = deaths.recv() => match actor {
                    Role::RunKeeper => {
                        for (part, when) in [(Part::Job, plan.cleanup.job), (Part::Pool, plan.cleanup.pool)] {
                            if when == When::Always
                                && let Err(failure) = delete_part(&services, &plan, part).await
                            {
                                tracing::error!(?part, %failure, "cannot delete");
                            }
                        }
                        // There will be no last event: subscribers must not wait for it.
                        if let Some(events) = heard.upgrade() {
                            events.close();
                        }
                        return Err(RunError::ActorLost { actor });
                    }
                    Role::ResultCollector => {
                        keeper.do_send(ActorDied(actor.clone()));
                        wait_for_the_end(&keeper, &deaths).await;
                        return Err(RunError::of(actor, &unrecorded));
                    }
                    _ => keeper.do_send(ActorDied(actor)),
                },
            }
        }
    }
}

/// Without a collector there is no report; the keeper still cleans up, then stops.
async fn wait_for_the_end(keeper: &Addr<RunKeeper>, deaths: &async_channel::Receiver<Role>) {
    while keeper.connected() {
        match deaths.recv().await {
            Ok(Role::RunKeeper) | Err(_) => return,
            Ok(actor) => keeper.do_send(ActorDied(actor)),
        }
    }
}
