//! The job, and the submission of its tasks in bulk.
//!
//! A task is submitted as soon as its own input is uploaded. While few tasks wait, only one request is in
//! flight, so that tasks which become ready meanwhile share the next one; full chunks are sent in parallel.

mod adoption;
mod holding;

use crate::{
    bodies::{Signed, job_add, sas_expiry, task_add},
    deletion::{Deletion, delete_job},
    intervals::PollIntervals,
    item_list::ItemList,
    liveness::LivenessGuard,
    record::{Recorder, retrying},
    run_context::RunContext,
    run_keeper::{RunHappened, RunKeeper},
    self_upload,
    services::Services,
    shell::{Drives, Shell},
    task_monitor::{Answered, JobEnded, JobHeld, TaskMonitor},
};
use actix::prelude::*;
use adoption::{added_before, verdict};
use dropmill_azure_client::batch::BatchApi;
use dropmill_azure_wire::batch as wire;
use dropmill_journal::event::{EventKind, Role, Subject};
use dropmill_lifecycle::{
    Code, Elapsed, Failure, FailureKind,
    job::{Job, JobCommand, JobEvent, JobLimits, JobState},
    plan::RunPlan,
    run::RunEvent,
    task::TaskEvent,
};
use std::{collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};
use tokio::sync::Mutex;

const ME: Role = Role::JobSubmitter;
const SUBJECT: Subject = Subject::Job;
/// Maximum number of tasks in one request.
const CHUNK: usize = 100;

/// The actor that owns the job.
pub struct JobSubmitter {
    plan: Rc<RunPlan>,
    item_list: ItemList,
    services: Services,
    record: Recorder,
    tasks: Addr<TaskMonitor>,
    run: Addr<RunKeeper>,
    shell: Shell<Job>,
    /// Serializes requests about the job itself.
    turn: Arc<Mutex<()>>,
    /// Tasks to be added, by their index in the plan: they are added, and therefore started, in this order.
    queue: BTreeMap<u32, Waiting>,
    /// Less than `CHUNK` after the service rejected a request as too large.
    chunk: usize,
    in_flight: u32,
    looking: bool,
    /// Whether the last task was accepted, even if the job is not known to exist.
    all_in: bool,
    made: bool,
    /// Whether a previous process recorded the creation of the job.
    recorded: bool,
    signed: Option<Rc<Signed>>,
    cause: Option<u64>,
    _guard: LivenessGuard,
}

struct Waiting {
    index: u32,
    attempt: u32,
    cause: Option<u64>,
}

impl Waiting {
    fn answered(self, event: TaskEvent) -> Answered {
        let Self { index, attempt, cause } = self;
        Answered { index, attempt, event, cause }
    }
}

/// Notifies the submitter of an event of the job: the result of a request, or time that passed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct JobHappened {
    /// The event of the job.
    pub event: JobEvent,
    /// Number of the event that caused it.
    pub cause: Option<u64>,
}

/// The application's files are uploaded.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ApplicationUp;

/// A task is ready to be submitted.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Submit {
    /// Index of its item.
    pub index: u32,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Number of the event that made it ready.
    pub cause: Option<u64>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Fill;

impl JobSubmitter {
    /// Creates the submitter of one run's job.
    pub fn new(
        context: RunContext,
        tasks: Addr<TaskMonitor>,
        run: Addr<RunKeeper>,
        guard: LivenessGuard,
    ) -> Self {
        let RunContext { plan, item_list, services, record, past, .. } = context;
        let intervals = PollIntervals::new(&services, &plan);
        let limits = JobLimits {
            ending: plan.deadlines.cleanup,
            look_every: intervals.job,
            watch_every: intervals.longest,
            delays: plan.delays.clone(),
        };
        Self {
            plan,
            item_list,
            services,
            record,
            tasks,
            run,
            shell: Shell::new(if past.lives > 0 { JobState::Recovered } else { JobState::Absent }, limits),
            turn: Arc::default(),
            queue: BTreeMap::new(),
            chunk: CHUNK,
            in_flight: 0,
            looking: false,
            all_in: false,
            made: past.job.is_some(),
            recorded: past.job.is_some(),
            signed: None,
            cause: past.job,
            _guard: guard,
        }
    }

    fn note(&mut self, kind: EventKind) -> u64 {
        self.record.note(ME, SUBJECT, self.cause, kind)
    }

    fn create(&mut self, ctx: &mut Context<Self>) {
        let (batch, plan, turn) = (self.services.batch.clone(), self.plan.clone(), self.turn.clone());
        let recorded = self.recorded;
        let call = async move {
            let _turn = turn.lock().await;
            // A creation that arrives late, after a crash and the end of the run, would leave a job.
            if recorded && found_ours(&batch, &plan).await? {
                return Ok(true);
            }
            match batch.create_job(&job_add(&plan)).await {
                Ok(()) => Ok(false),
                Err(error) if error.code() == Some(Code::JobExists) || error.is_ambiguous() => {
                    match found_ours(&batch, &plan).await? {
                        true => Ok(true),
                        false => Err(Failure { kind: FailureKind::Transient, ..error.failure() }),
                    }
                }
                Err(error) => Err(error.failure()),
            }
        };
        ctx.spawn(call.into_actor(self).map(|outcome, submitter, ctx| match outcome {
            Ok(adopted) => {
                submitter.made = true;
                let seq = submitter.note(EventKind::JobCreated { adopted });
                submitter.cause = Some(seq);
                submitter.happened(JobEvent::Created, ctx);
            }
            Err(failure) => submitter.happened(JobEvent::CreateFailed(failure), ctx),
        }));
    }

    fn seal(&mut self, ctx: &mut Context<Self>) {
        let (batch, job, turn) = (self.services.batch.clone(), self.plan.job.id.clone(), self.turn.clone());
        let call = async move {
            let _turn = turn.lock().await;
            let patch = wire::JobPatch {
                on_all_tasks_complete: Some(wire::OnAllTasksComplete::TerminateJob),
                ..Default::default()
            };
            batch.patch_job(&job, &patch).await
        };
        ctx.spawn(call.into_actor(self).map(|outcome, submitter, ctx| {
            let event = match outcome {
                Ok(()) => JobEvent::SealSucceeded,
                Err(error) => JobEvent::SealFailed(error.failure()),
            };
            submitter.happened(event, ctx);
        }));
    }

    fn terminate(&mut self, reason: String, ctx: &mut Context<Self>) {
        let (batch, job, turn) = (self.services.batch.clone(), self.plan.job.id.clone(), self.turn.clone());
        let sent_reason = reason.clone();
        let call = async move {
            let _turn = turn.lock().await;
            batch.terminate_job(&job, Some(&sent_reason)).await
        };
        ctx.spawn(call.into_actor(self).map(move |outcome, submitter, ctx| match outcome {
            Ok(()) => {
                submitter.note(EventKind::JobTerminated { reason });
                submitter.happened(JobEvent::TerminateSucceeded, ctx);
            }
            Err(error) if error.is_not_found() || has_ended(error.code().as_ref()) => {
                submitter.happened(JobEvent::TerminateSucceeded, ctx);
            }
            Err(error) => submitter.happened(JobEvent::TerminateFailed(error.failure()), ctx),
        }));
    }

    fn delete(&mut self, ctx: &mut Context<Self>) {
        let (batch, job, turn) = (self.services.batch.clone(), self.plan.job.id.clone(), self.turn.clone());
        let call = async move {
            let _turn = turn.lock().await;
            delete_job(&batch, &job).await
        };
        ctx.spawn(call.into_actor(self).map(|outcome, submitter, ctx| match outcome {
            // A local service may delete it at once: poll before the first delay is over.
            Ok(Deletion::Accepted) => submitter.look(ctx),
            Ok(Deletion::Missing) => submitter.happened(JobEvent::FoundMissing, ctx),
            Ok(Deletion::UnderWay) => {}
            Err(error) => submitter.happened(JobEvent::DeleteFailed(error.failure()), ctx),
        }));
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.looking, true) {
            return;
        }
        let (batch, job) = (self.services.batch.clone(), self.plan.job.id.clone());
        let call = async move { batch.get_job(&job).await.map(|_| ()) };
        ctx.spawn(call.into_actor(self).map(|outcome, submitter, ctx| {
            submitter.looking = false;
            match outcome {
                Ok(()) => submitter.happened(JobEvent::SeenThere, ctx),
                Err(error) if error.is_not_found() => submitter.happened(JobEvent::FoundMissing, ctx),
                Err(error) => tracing::info!(%error, "cannot poll the job; polling again"),
            }
        }));
    }

    /// Sends chunks while there are tasks and free request slots.
    fn fill(&mut self, ctx: &mut Context<Self>) {
        while self.shell.state().takes_tasks() && !self.queue.is_empty() {
            let full = self.queue.len() >= self.chunk && self.in_flight < self.plan.limits.submissions;
            if self.in_flight > 0 && !full {
                return;
            }
            let chunk: Vec<_> = std::iter::from_fn(|| self.queue.pop_first())
                .take(self.chunk)
                .map(|(_, waiting)| waiting)
                .collect();
            self.send(chunk, ctx);
        }
    }

    fn send(&mut self, chunk: Vec<Waiting>, ctx: &mut Context<Self>) {
        self.in_flight += 1;
        let signed = self.signed();
        let services = &self.services;
        let tasks: Vec<_> = chunk
            .iter()
            .map(|waiting| {
                let item = self.item_list.item(waiting.index);
                task_add(&self.plan, &services.blob, &signed, &item, waiting.attempt)
            })
            .collect();
        let (batch, job) = (services.batch.clone(), self.plan.job.id.clone());
        let (blob, plan) = (services.blob.clone(), self.plan.clone());
        let call = async move {
            self_upload::create(&blob, &plan, tasks.iter().map(|task| task.id.clone()).collect()).await?;
            let results = match batch.add_tasks(&job, &tasks).await {
                Ok(results) => results,
                Err(error) if has_ended(error.code().as_ref()) => {
                    return added_before(&batch, &job, &tasks, error.failure()).await;
                }
                Err(error) => return Err(error.failure()),
            };
            let mut verdicts = vec![];
            for task in &tasks {
                let result = results.iter().find(|result| result.task_id.eq_ignore_ascii_case(&task.id));
                verdicts.push(verdict(&batch, &job, task, result).await);
            }
            Ok(verdicts)
        };
        ctx.spawn(call.into_actor(self).map(move |outcome, submitter, ctx| {
            submitter.in_flight -= 1;
            submitter.answered(chunk, outcome, ctx);
            submitter.fill(ctx);
        }));
    }

    fn answered(
        &mut self,
        chunk: Vec<Waiting>,
        outcome: Result<Vec<Result<bool, Failure>>, Failure>,
        ctx: &mut Context<Self>,
    ) {
        let verdicts = match outcome {
            Ok(verdicts) => verdicts,
            Err(failure) if failure.code == Code::RequestBodyTooLarge && chunk.len() > 1 => {
                self.chunk = (chunk.len() / 2).max(1);
                self.queue.extend(chunk.into_iter().map(|waiting| (waiting.index, waiting)));
                return;
            }
            Err(failure) if has_ended(Some(&failure.code)) => {
                // It does not concern single tasks: the run ends, and that closes them as unfinished.
                self.happened(JobEvent::FoundEnded(failure), ctx);
                return;
            }
            Err(failure) => {
                // Reported once for the request, not for each of its tasks.
                let kind = match failure.kind {
                    FailureKind::Permanent => {
                        EventKind::Degraded { reason: format!("tasks not added: {}", failure.message) }
                    }
                    // Each task has its own delay.
                    FailureKind::Transient | FailureKind::Ambiguous => {
                        retrying("add tasks", 1, Duration::ZERO, failure.clone())
                    }
                };
                self.note(kind);
                vec![Err(failure); chunk.len()]
            }
        };
        for (waiting, verdict) in chunk.into_iter().zip(verdicts) {
            let event = match verdict {
                Ok(adopted) => TaskEvent::Accepted { adopted },
                Err(failure) => TaskEvent::Refused(failure),
            };
            self.tasks.do_send(waiting.answered(event));
        }
    }

    /// The job accepts no more tasks: rejects the waiting ones.
    fn refuse_queue(&mut self) {
        for waiting in std::mem::take(&mut self.queue).into_values() {
            let event = TaskEvent::Refused(Failure::permanent(Code::JobTerminated, "the job was terminated"));
            self.tasks.do_send(waiting.answered(event));
        }
    }

    fn signed(&mut self) -> Rc<Signed> {
        if let Some(signed) = &self.signed {
            return signed.clone();
        }
        let expiry = sas_expiry(self.record.clock().now(), &self.plan);
        let signed = Rc::new(Signed::new(&self.plan, &self.services.blob, expiry));
        self.signed = Some(signed.clone());
        signed
    }
}

impl Drives<Job> for JobSubmitter {
    fn shell(&mut self) -> &mut Shell<Job> {
        &mut self.shell
    }

    fn now(&self) -> Elapsed {
        self.record.clock().elapsed()
    }

    fn carry_out(&mut self, command: JobCommand, ctx: &mut Context<Self>) {
        match command {
            JobCommand::Create => self.create(ctx),
            JobCommand::Seal => self.seal(ctx),
            JobCommand::Hold => self.hold(ctx),
            JobCommand::Terminate(reason) => self.terminate(reason, ctx),
            JobCommand::Delete => self.delete(ctx),
            JobCommand::Look => self.look(ctx),
            JobCommand::ReportOpen => {
                self.fill(ctx);
                if self.all_in {
                    self.happened(JobEvent::AllTasksIn, ctx);
                }
            }
            JobCommand::ReportDelay { what, attempt, rest, failure } => {
                self.note(retrying(what, attempt, rest, failure));
            }
            JobCommand::ReportLost(failure) => {
                self.run.do_send(RunHappened(RunEvent::Lost(failure)));
            }
            JobCommand::ReportHeld => {
                self.refuse_queue();
                self.tasks.do_send(JobHeld);
            }
            JobCommand::ReportTerminated => {
                self.refuse_queue();
                self.tasks.do_send(JobEnded);
            }
            JobCommand::ReportGone => {
                if self.made {
                    self.note(EventKind::JobDeleted {});
                }
                self.run.do_send(RunHappened(RunEvent::JobDone));
            }
            JobCommand::ReportLeft(reason) => {
                self.note(EventKind::LeftBehind { reason });
                self.run.do_send(RunHappened(RunEvent::JobDone));
            }
        }
    }
}

impl Actor for JobSubmitter {
    type Context = Context<Self>;
}

impl Handler<JobHappened> for JobSubmitter {
    type Result = ();
    fn handle(&mut self, JobHappened { event, cause }: JobHappened, ctx: &mut Context<Self>) {
        if self.cause.is_none() {
            self.cause = cause;
        }
        self.all_in |= event == JobEvent::AllTasksIn;
        let deleting = matches!(event, JobEvent::EndAsked | JobEvent::Released);
        if deleting || matches!(event, JobEvent::TerminateAsked(_) | JobEvent::HoldAsked) {
            self.refuse_queue();
        }
        self.happened(event, ctx);
    }
}

impl Handler<ApplicationUp> for JobSubmitter {
    type Result = ();
    fn handle(&mut self, _: ApplicationUp, ctx: &mut Context<Self>) {
        self.fill(ctx);
    }
}

impl Handler<Submit> for JobSubmitter {
    type Result = ();
    fn handle(&mut self, Submit { index, attempt, cause }: Submit, ctx: &mut Context<Self>) {
        self.all_in = false;
        let refuses = matches!(
            self.shell.state(),
            JobState::NeverCreated
                | JobState::Lost
                | JobState::Holding { .. }
                | JobState::Held
                | JobState::Terminating { .. }
                | JobState::Terminated
                | JobState::Deleting { .. }
                | JobState::Gone
                | JobState::Left
        );
        self.queue.insert(index, Waiting { index, attempt, cause });
        if refuses {
            self.refuse_queue();
        } else if self.queue.len() == 1 {
            // The rest of the mailbox is processed first.
            ctx.notify(Fill);
        } else if self.queue.len() >= self.chunk {
            self.fill(ctx);
        }
    }
}

impl Handler<Fill> for JobSubmitter {
    type Result = ();
    fn handle(&mut self, _: Fill, ctx: &mut Context<Self>) {
        self.fill(ctx);
    }
}

/// Returns whether a code means that the job has ended or is ending.
fn has_ended(code: Option<&Code>) -> bool {
    use Code::{JobBeingDeleted, JobBeingTerminated, JobCompleted, JobTerminating};
    matches!(code, Some(JobCompleted | JobBeingTerminated | JobTerminating | JobBeingDeleted))
}

/// Polls for the job; returns whether it exists and has this run's name.
///
/// # Errors
/// Fails if another job has its id, or if the service does not respond.
async fn found_ours(batch: &BatchApi, plan: &RunPlan) -> Result<bool, Failure> {
    let found = match batch.get_job(&plan.job.id).await {
        Ok(found) => found,
        Err(missing) if missing.is_not_found() => return Ok(false),
        Err(other) => return Err(still_unclear(other.failure())),
    };
    let mine = |item: &wire::MetadataItem| item.name == "dropmill-run" && item.value == plan.run;
    if found.metadata.iter().flatten().any(mine) {
        return Ok(true);
    }
    let message =
        format!("job {} exists but does not belong to this run: nothing was added to it", plan.job.id);
    Err(Failure::permanent(Code::JobExists, message))
}

/// The resource may have been created, and the check failed too: the result stays unknown.
pub fn still_unclear(look: Failure) -> Failure {
    match look.kind {
        FailureKind::Permanent => look,
        FailureKind::Transient | FailureKind::Ambiguous => Failure { kind: FailureKind::Ambiguous, ..look },
    }
}
