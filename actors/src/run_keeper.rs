//! The run as a whole: when it ends, why, and the cleanup before its end.

use crate::{
    deletion::{Part, delete_part},
    item_list::ItemList,
    job_submitter::{JobHappened, JobSubmitter},
    liveness::LivenessGuard,
    pool_keeper::{PoolHappened, PoolKeeper},
    record::Recorder,
    result_collector::{Finish, ResultCollector, Settle, WhenDurable},
    run_context::RunContext,
    services::Services,
    shell::{Drives, Shell},
    storage_uploader::{CleanContainers, EndUploads, StartUploads, StorageUploader},
    task_monitor::{AbandonTasks, HoldTasks, ResumeTasks, StopTasks, TaskAdded, TaskMonitor},
};
use actix::prelude::*;
use dropmill_journal::{
    event::{EndReason as EventReason, EventKind, Outcome, Role, Subject, VERSION, Verdict},
    past::RecoveredRun,
    report::Report,
};
use dropmill_lifecycle::{
    Code, Elapsed, Failure,
    job::JobEvent,
    plan::{Item, RunPlan},
    pool::PoolEvent,
    run::{EndReason, Open, Run, RunCommand, RunEvent, RunLimits, RunState, Tally},
};
use std::{rc::Rc, time::Duration};

const ME: Role = Role::RunKeeper;
const SUBJECT: Subject = Subject::Run;
/// How long the end of tasks waits until its reason is durable.
const RECORD_PATIENCE: Duration = Duration::from_secs(2);

/// The actor that starts and ends a run.
pub struct RunKeeper {
    plan: Rc<RunPlan>,
    item_list: ItemList,
    services: Services,
    record: Recorder,
    crew: RunActors,
    shell: Shell<Run>,
    /// Number of the event that started this process of the run.
    started: u64,
    past: Rc<RecoveredRun>,
    /// Resources that are deleted (`true`) or kept at the end.
    delete: Open,
    /// Parts that are cleaned up on behalf of a crashed actor.
    taken_over: Vec<Part>,
    report: async_channel::Sender<Report>,
    _guard: LivenessGuard,
}

/// The actors that it controls.
#[derive(Clone)]
pub struct RunActors {
    /// Uploads application and inputs.
    pub uploader: Addr<StorageUploader>,
    /// Owns the pool.
    pub pool: Addr<PoolKeeper>,
    /// Owns the job.
    pub job: Addr<JobSubmitter>,
    /// Owns the tasks.
    pub tasks: Addr<TaskMonitor>,
    /// The actor that records events.
    pub collector: Addr<ResultCollector>,
}

/// Notifies the keeper of an event of the run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RunHappened(pub RunEvent);

/// The task for these inputs failed: each follows as a task of its own, for which its input is uploaded.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ChunkIsSplit(pub std::ops::Range<u32>);

/// Notifies the keeper that an actor crashed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ActorDied(pub Role);

/// Starts the run.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StartRun;

impl RunKeeper {
    /// Creates the keeper of one run; the report is sent through `report`.
    pub fn new(
        context: RunContext,
        crew: RunActors,
        report: async_channel::Sender<Report>,
        guard: LivenessGuard,
    ) -> Self {
        let RunContext { plan, item_list, services, record, past, .. } = context;
        // A task that waits for its next attempt is no standstill.
        let longest_wait = plan.job.retry_policy().delays.longest();
        let limits = RunLimits {
            run: plan.deadlines.run,
            no_progress: plan.deadlines.no_progress.map(|longest| longest + longest_wait),
            ending: plan.deadlines.delivery,
            cancelled: plan.deadlines.cancelled,
            hurry: Duration::from_secs(5),
            // Each part has its own timeout; this is for a part whose actor crashed.
            cleanup: plan.deadlines.cleanup + Duration::from_secs(30),
            policy: plan.cleanup,
            max_failures: plan.most_failures(),
        };
        Self {
            plan,
            item_list,
            services,
            record,
            crew,
            shell: Shell::new(RunState::Fresh, limits).keeping_early_timers(),
            started: past.started,
            past,
            delete: Open { job: false, pool: false, containers: false },
            taken_over: vec![],
            report,
            _guard: guard,
        }
    }

    fn note(&mut self, kind: EventKind) -> u64 {
        let cause = (self.started > 0).then_some(self.started);
        self.record.note(ME, SUBJECT, cause, kind)
    }

    /// Ends the tasks after the end of the run is durable: after a restart, tasks that were terminated must
    /// not count as failed.
    fn end_tasks(&mut self, reason: &'static str, ctx: &mut Context<Self>) {
        let collector = self.crew.collector.clone();
        let recorded = async move {
            // A full disk must not keep tasks running.
            let durable = async { collector.send(WhenDurable).await.ok()?.await.ok() };
            let _ = tokio::time::timeout(RECORD_PATIENCE, durable).await;
        };
        ctx.spawn(recorded.into_actor(self).map(move |(), keeper, _| {
            keeper.crew.uploader.do_send(EndUploads);
            keeper.crew.tasks.do_send(StopTasks);
            let event = JobEvent::TerminateAsked(reason.into());
            keeper.crew.job.do_send(JobHappened { event, cause: None });
        }));
    }

    /// Starts no more tasks. Those that run may end, and what they leave is delivered.
    fn hold_tasks(&mut self) {
        self.crew.uploader.do_send(EndUploads);
        self.crew.tasks.do_send(HoldTasks);
        self.crew.job.do_send(JobHappened { event: JobEvent::HoldAsked, cause: Some(self.started) });
    }

    fn clean_up(&mut self, delete: Open, ctx: &mut Context<Self>) {
        // A pool that the run file names is shared: it is never deleted.
        self.delete = Open { pool: delete.pool && self.plan.pool.own, ..delete };
        if self.crew.job.connected() {
            let event = if self.delete.job { JobEvent::EndAsked } else { JobEvent::Released };
            self.crew.job.do_send(JobHappened { event, cause: None });
        } else {
            self.clean_for_crashed_actor(Part::Job, ctx);
        }
        if self.crew.pool.connected() {
            let event = if self.delete.pool { PoolEvent::EndAsked } else { PoolEvent::Released };
            self.crew.pool.do_send(PoolHappened { event, cause: None });
        } else {
            self.clean_for_crashed_actor(Part::Pool, ctx);
        }
        if self.crew.uploader.connected() {
            self.crew.uploader.do_send(CleanContainers { delete: self.delete.containers });
        } else {
            self.clean_for_crashed_actor(Part::Containers, ctx);
        }
    }

    /// An actor that crashes during its cleanup has not completed it, or not noticed its end.
    fn take_over(&mut self, actor: &Role, ctx: &mut Context<Self>) {
        let RunState::Cleaning { open, .. } = &self.shell.state() else { return };
        match actor {
            Role::JobSubmitter if open.job => self.clean_for_crashed_actor(Part::Job, ctx),
            Role::PoolKeeper if open.pool => self.clean_for_crashed_actor(Part::Pool, ctx),
            Role::StorageUploader if open.containers => self.clean_for_crashed_actor(Part::Containers, ctx),
            _ => {}
        }
    }

    /// Deletes the resources of a crashed actor; one attempt, whose outcome is recorded.
    fn clean_for_crashed_actor(&mut self, part: Part, ctx: &mut Context<Self>) {
        if self.taken_over.contains(&part) {
            return;
        }
        self.taken_over.push(part);
        let delete = match part {
            Part::Job => self.delete.job,
            Part::Pool => self.delete.pool,
            Part::Containers => self.delete.containers,
        };
        let (services, plan) = (self.services.clone(), self.plan.clone());
        let call = async move {
            match delete {
                true => delete_part(&services, &plan, part).await,
                false => Err(Failure::permanent(Code::Kept, "kept, because its actor crashed")),
            }
        };
        ctx.spawn(call.into_actor(self).map(move |outcome, keeper, ctx| {
            let (subject, done) = match part {
                Part::Job => (Subject::Job, RunEvent::JobDone),
                Part::Pool => (Subject::Pool, RunEvent::PoolDone),
                Part::Containers => (Subject::Containers, RunEvent::ContainersDone),
            };
            if let Err(failure) = outcome {
                let kind = EventKind::LeftBehind { reason: failure.message };
                keeper.record.note(ME, subject, Some(keeper.started), kind);
            }
            keeper.happened(done, ctx);
        }));
    }

    fn report_left(&mut self, open: Open) {
        for (is_open, subject) in
            [(open.job, Subject::Job), (open.pool, Subject::Pool), (open.containers, Subject::Containers)]
        {
            if is_open {
                let reason = "not known to be deleted when the cleanup deadline passed".into();
                self.record.note(ME, subject, Some(self.started), EventKind::LeftBehind { reason });
            }
        }
    }

    fn finish(&mut self, reason: EndReason, tally: Tally, ctx: &mut Context<Self>) {
        let outcome = match reason {
            EndReason::AllTasksClosed if tally.failed + tally.unfinished == 0 => Outcome::Succeeded,
            EndReason::AllTasksClosed => Outcome::TasksFailed,
            EndReason::Deadline => Outcome::Deadline,
            EndReason::Cancelled => Outcome::Cancelled,
            EndReason::Infrastructure => Outcome::Infrastructure,
        };
        self.note(EventKind::RunEnded {
            outcome,
            succeeded: tally.succeeded.into(),
            failed: tally.failed.into(),
            unfinished: tally.unfinished.into(),
        });
        if self.crew.collector.connected() {
            self.crew.collector.do_send(Finish(self.report.clone()));
        } else {
            // There will be no report: `RunHandle::finished` notices that this actor stops.
            ctx.stop();
        }
    }
}

impl RunKeeper {
    fn note_start(&mut self, tasks: u32) -> u64 {
        self.note(EventKind::RunStarted {
            name: self.plan.name.clone(),
            service: self.plan.service.clone(),
            tasks: tasks.into(),
            version: VERSION.into(),
        })
    }

    /// Resumes after a previous process was interrupted.
    fn resume(&mut self, tasks: u32, ctx: &mut Context<Self>) {
        let tally = tally_of(&self.past, tasks, &self.plan);
        self.started = match self.past.started {
            // It was interrupted before any of its events was durable.
            0 => self.note_start(tasks),
            _ => {
                let open = (tally.open - tally.chunks).into();
                self.note(EventKind::RunResumed { life: self.past.lives + 1, open })
            }
        };
        let ending = self.past.ending.map(machine_reason);
        self.happened(RunEvent::Resumed { tally, ending, open_ended: self.plan.open_ended }, ctx);
        self.crew.tasks.do_send(ResumeTasks);
        // Where no more tasks are started, nothing more is needed to start them.
        let held = self.plan.most_failures().is_some_and(|limit| tally.failed >= limit);
        if matches!(self.shell.state(), RunState::Working { .. }) && !held {
            self.crew.uploader.do_send(StartUploads(self.started));
        }
    }
}

impl Drives<Run> for RunKeeper {
    fn shell(&mut self) -> &mut Shell<Run> {
        &mut self.shell
    }

    fn now(&self) -> Elapsed {
        self.record.clock().elapsed()
    }

    fn carry_out(&mut self, command: RunCommand, ctx: &mut Context<Self>) {
        match command {
            RunCommand::ReportDeadline(which) => {
                self.note(EventKind::DeadlinePassed { which: which.into() });
            }
            RunCommand::ReportEnd { reason, detail } => {
                self.note(EventKind::EndAsked { reason: event_reason(reason), detail });
            }
            RunCommand::ReportMaxFailures { failed, limit } => {
                // A previous process may have recorded it.
                if !self.past.max_failures_reached {
                    let (failed, limit) = (failed.into(), limit.into());
                    self.note(EventKind::MaxFailuresReached { failed, limit });
                }
            }
            RunCommand::HoldTasks => self.hold_tasks(),
            RunCommand::EndTasks { reason } => self.end_tasks(reason, ctx),
            RunCommand::AbandonTasks => self.crew.tasks.do_send(AbandonTasks),
            RunCommand::CloseTasks => {
                let reason = "tasks could not be closed individually, because their actor crashed".into();
                self.note(EventKind::Degraded { reason });
            }
            RunCommand::Settle => match self.crew.collector.connected() {
                true => self.crew.collector.do_send(Settle(ctx.address())),
                // No more events can be recorded; pool and job are still deleted.
                false => ctx.notify(RunHappened(RunEvent::Settled)),
            },
            RunCommand::CleanUp(delete) => self.clean_up(delete, ctx),
            RunCommand::ReportLeft(open) => self.report_left(open),
            RunCommand::Finish { reason, tally } => self.finish(reason, tally, ctx),
        }
    }
}

impl Actor for RunKeeper {
    type Context = Context<Self>;
}

impl Handler<StartRun> for RunKeeper {
    type Result = ();
    fn handle(&mut self, _: StartRun, ctx: &mut Context<Self>) {
        let chunks = u32::try_from(self.plan.chunks.len()).unwrap_or(u32::MAX);
        let (tasks, open_ended) = (self.item_list.len() - chunks, self.plan.open_ended);
        if self.past.lives > 0 {
            return self.resume(tasks, ctx);
        }
        self.started = self.note_start(tasks);
        self.happened(RunEvent::Begun { tasks, open_ended }, ctx);
        if chunks > 0 {
            self.happened(RunEvent::ChunksAdded(chunks), ctx);
        }
        self.crew.uploader.do_send(StartUploads(self.started));
    }
}

impl Handler<RunHappened> for RunKeeper {
    type Result = ();
    fn handle(&mut self, RunHappened(event): RunHappened, ctx: &mut Context<Self>) {
        self.happened(event, ctx);
    }
}

impl Handler<ChunkIsSplit> for RunKeeper {
    type Result = ();
    fn handle(&mut self, ChunkIsSplit(inputs): ChunkIsSplit, _: &mut Context<Self>) {
        inputs.for_each(|index| self.crew.uploader.do_send(TaskAdded(index)));
    }
}

impl Handler<ActorDied> for RunKeeper {
    type Result = ();
    fn handle(&mut self, ActorDied(actor): ActorDied, ctx: &mut Context<Self>) {
        tracing::error!(%actor, "actor lost");
        if *self.shell.state() == RunState::Over {
            if !self.crew.collector.connected() {
                // It has not sent the report, and never will: `RunHandle::finished` notices that this actor
                // stops.
                ctx.stop();
            }
            return;
        }
        self.note(EventKind::ActorLost { actor: actor.clone() });
        let message = format!("actor {actor} died: a defect of this program; see its log");
        self.happened(RunEvent::ActorLost(Failure::permanent(Code::ActorLost, message)), ctx);
        if matches!(self.shell.state(), RunState::Settling { .. }) && !self.crew.collector.connected() {
            self.happened(RunEvent::Settled, ctx);
        }
        self.take_over(&actor, ctx);
    }
}

/// Returns the numbers of tasks by verdict in previous processes.
fn tally_of(past: &RecoveredRun, tasks: u32, plan: &RunPlan) -> Tally {
    let is_open = |chunk: &&Item| past.tasks.get(&chunk.task).is_none_or(|task| !task.is_past_chunk());
    let chunks = u32::try_from(plan.chunks.iter().filter(is_open).count()).unwrap_or(u32::MAX);
    let mut tally = Tally { open: tasks + chunks, chunks, ..Tally::default() };
    for last in past.tasks.values().filter_map(|task| task.closed.as_ref()) {
        tally.open = tally.open.saturating_sub(1);
        match last.verdict {
            Verdict::Succeeded => tally.succeeded += 1,
            Verdict::Failed => tally.failed += 1,
            Verdict::Unfinished => tally.unfinished += 1,
        }
        tally.undelivered += u32::from(last.undelivered);
    }
    tally
}

fn machine_reason(reason: EventReason) -> EndReason {
    match reason {
        EventReason::AllTasksClosed => EndReason::AllTasksClosed,
        EventReason::Deadline => EndReason::Deadline,
        EventReason::Cancelled => EndReason::Cancelled,
        EventReason::Infrastructure => EndReason::Infrastructure,
    }
}

fn event_reason(reason: EndReason) -> EventReason {
    match reason {
        EndReason::AllTasksClosed => EventReason::AllTasksClosed,
        EndReason::Deadline => EventReason::Deadline,
        EndReason::Cancelled => EventReason::Cancelled,
        EndReason::Infrastructure => EventReason::Infrastructure,
    }
}
