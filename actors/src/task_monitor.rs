//! Polls Batch for tasks and reports changes; deadlines of tasks are events of it.
//!
//! It owns the state of every task. Polls are level-triggered: no state is required to be seen. A poll
//! usually lists only tasks that ended since the last one; a full list is requested after a long time without
//! news, and while the run ends.

mod chunks;
mod holding;
mod looking;
mod recall;

pub use holding::{HoldTasks, JobHeld};

use crate::{
    intervals::PollIntervals,
    item_list::ItemList,
    job_submitter::{JobHappened, JobSubmitter, Submit},
    liveness::LivenessGuard,
    output_fetcher::{Fetch, OutputFetcher},
    poll_schedule::{PollQuery, PollSchedule},
    record::Recorder,
    run_context::RunContext,
    run_keeper::{RunHappened, RunKeeper},
    services::Services,
    shell::{DrivesMany, Shells},
};
use actix::prelude::*;
use dropmill_azure_wire::batch as wire;
use dropmill_journal::event::{EventKind, Role, Subject, TaskEnding, Verdict as EventVerdict};
use dropmill_lifecycle::{
    Elapsed,
    job::JobEvent,
    plan::{Item, RunPlan, attempt_id},
    run::{Closing, RunEvent},
    task::{StopReason, Task as TaskMachine, TaskCommand, TaskEvent, TaskLimits, TaskState, Verdict},
};
use recall::recall;
use std::{collections::BTreeMap, rc::Rc, time::Duration};

const ME: Role = Role::TaskMonitor;
/// Delay before a failed poll at the job's end is repeated.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The actor that owns the tasks.
pub struct TaskMonitor {
    plan: Rc<RunPlan>,
    item_list: ItemList,
    services: Services,
    record: Recorder,
    to: Listeners,
    shells: Shells<TaskMachine>,
    tasks: Vec<Task>,
    by_id: BTreeMap<String, u32>,
    /// Number of tasks that may still be submitted; at 0 the job is sealed.
    unsubmitted: u32,
    /// Number of attempts that were followed by another: the service has them in addition to the latest ones.
    retried: u32,
    /// More tasks may be added: the job is not sealed before.
    open_ended: bool,
    watched: u32,
    ending: bool,
    /// The job starts no more tasks: what a poll shows waiting will never run.
    held: bool,
    schedule: PollSchedule,
    /// The next poll.
    planned: Option<SpawnHandle>,
    /// The state of a previous process is not restored yet: a poll would report it as new.
    recalls: bool,
    /// A poll is requested, and begins after the waiting messages.
    ordered: bool,
    _guard: LivenessGuard,
}

/// The actors that it notifies.
pub struct Listeners {
    /// Submits tasks that are ready.
    pub job: Addr<JobSubmitter>,
    /// Downloads outputs of ended tasks.
    pub outputs: Addr<OutputFetcher>,
    /// Counts closed tasks.
    pub run: Addr<RunKeeper>,
}

struct Task {
    state: TaskState,
    /// Number of attempts before the latest.
    retries: u32,
    /// How often the service was seen to queue the latest attempt again.
    requeues: u32,
    /// Its recorded end.
    ended: Option<TaskEnding>,
    /// Number of its last event.
    cause: Option<u64>,
    /// Whether it was reported that the service has it.
    submitted: bool,
    stderr_tail: Option<String>,
}

impl Task {
    fn fresh() -> Self {
        Self {
            state: TaskState::Waiting,
            retries: 0,
            requeues: 0,
            ended: None,
            cause: None,
            submitted: false,
            stderr_tail: None,
        }
    }

    fn attempt(&self) -> u32 {
        self.retries + 1
    }
}

/// Notifies the monitor of an event of a task.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TaskHappened {
    /// Index of its item.
    pub index: u32,
    /// The event of the task.
    pub event: TaskEvent,
    /// Number of the event that caused it.
    pub cause: Option<u64>,
}

/// The response of the service to the submission of an attempt.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Answered {
    /// Index of the task's item.
    pub index: u32,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// `Accepted` or `Refused`.
    pub event: TaskEvent,
    /// Number of the event that led to the submission.
    pub cause: Option<u64>,
}

/// The last lines of a task's standard error were downloaded.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TailSeen {
    /// Index of its item.
    pub index: u32,
    /// The last lines.
    pub tail: String,
}

/// Continues with the tasks of a previous process.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ResumeTasks;

/// A task was added, with this index in the list of items.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TaskAdded(pub u32);

/// No more tasks will come.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct NoMoreTasks;

/// The run ends: end every task.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopTasks;

/// The job was terminated: waiting tasks will never run.
#[derive(Message)]
#[rtype(result = "()")]
pub struct JobEnded;

/// Stop waiting for tasks.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AbandonTasks;

impl TaskMonitor {
    /// Creates the monitor for all tasks of one run.
    pub fn new(context: RunContext, to: Listeners, guard: LivenessGuard) -> Self {
        let RunContext { plan, item_list, services, record, past, .. } = context;
        let limits = TaskLimits {
            queue: plan.deadlines.queue,
            // The service ends it first; this is for a service that does not.
            run: plan.job.task_timeout.map(|limit| limit + Duration::from_secs(60)),
            stopping: plan.deadlines.delivery,
            stop_again: plan.limits.poll_every,
            delays: plan.delays.clone(),
            keep_unfinished: !plan.open_ended,
            retry: plan.job.retry_policy(),
            no_more_attempts: past.ending.is_some(),
        };
        let now = record.clock().elapsed();
        let recovered = |item: &Item| match chunks::stands_in(&plan, &past, item) {
            Some(state) => Task { state, ..Task::fresh() },
            None => recall(
                past.tasks.get(&item.task),
                past.ending.is_some(),
                now,
                &limits,
                &plan.job.success_codes,
            ),
        };
        let items = item_list.items();
        let tasks: Vec<_> = items.iter().map(|item| recovered(item)).collect();
        let id = |item: &Item| attempt_id(&item.task, tasks[item.index as usize].attempt());
        let by_id = items.iter().map(|item| (id(item), item.index)).collect();
        let open_ended = plan.open_ended;
        let mut schedule = PollSchedule::new(PollIntervals::new(&services, &plan));
        if past.lives > 0 {
            schedule.ask_for_all();
        }
        let count = |wanted: &dyn Fn(&Task) -> bool| {
            u32::try_from(tasks.iter().filter(|task| wanted(task)).count()).unwrap_or(u32::MAX)
        };
        Self {
            unsubmitted: count(&|task| task.state.may_be_submitted(task.attempt(), &limits)),
            watched: count(&|task| task.state.is_watched()),
            retried: tasks.iter().map(|task| task.retries).sum(),
            plan,
            open_ended,
            item_list,
            services,
            record,
            to,
            shells: Shells::new(limits),
            tasks,
            by_id,
            ending: false,
            held: false,
            schedule,
            planned: None,
            recalls: past.lives > 0,
            ordered: false,
            _guard: guard,
        }
    }

    /// Once no more tasks will be added or submitted, the job may end on its own.
    fn seal(&self) {
        if self.unsubmitted == 0 && !self.ending && !self.open_ended {
            self.to.job.do_send(JobHappened { event: JobEvent::AllTasksIn, cause: None });
        }
    }

    fn may_be_submitted(&self, index: u32) -> bool {
        let task = &self.tasks[index as usize];
        task.state.may_be_submitted(task.attempt(), self.shells.limits())
    }

    fn subject(&self, index: u32) -> Subject {
        Subject::of_task(&self.item_list.item(index).task)
    }

    /// Returns the id of its latest attempt.
    fn id(&self, index: u32) -> String {
        attempt_id(&self.item_list.item(index).task, self.tasks[index as usize].attempt())
    }

    fn note(&mut self, index: u32, kind: EventKind) -> u64 {
        self.record.note(ME, self.subject(index), self.tasks[index as usize].cause, kind)
    }

    /// Switches to the next attempt: polls of the previous one are no longer news.
    fn retry(&mut self, index: u32, attempt: u32, cause: String) {
        let seq = self.note(index, EventKind::TaskRetried { attempt, cause });
        self.by_id.remove(&self.id(index));
        let task = &mut self.tasks[index as usize];
        (task.retries, task.cause) = (attempt - 1, Some(seq));
        (task.submitted, task.requeues, task.ended) = (false, 0, None);
        self.by_id.insert(self.id(index), index);
        self.retried += 1;
    }

    fn terminate(&mut self, index: u32, why: StopReason, ctx: &mut Context<Self>) {
        self.note(index, EventKind::TaskTerminateAsked { reason: why.as_str().into() });
        let (batch, job) = (self.services.batch.clone(), self.plan.job.id.clone());
        let task = self.id(index);
        let call = async move { batch.terminate_task(&job, &task).await };
        ctx.spawn(call.into_actor(self).map(|outcome, _, _| {
            if let Err(error) = outcome {
                tracing::info!(%error, "cannot terminate a task; trying again unless it has ended");
            }
        }));
    }

    fn close(&mut self, index: u32, verdict: Verdict, ctx: &mut Context<Self>) {
        let item = self.item_list.item(index);
        if let Some(chunk) = item.members() {
            return self.close_chunk(index, chunk, verdict, ctx);
        }
        let (event, closing, cause, delivered, may_pass) = match verdict {
            Verdict::Succeeded => (EventVerdict::Succeeded, Closing::Succeeded, None, true, false),
            Verdict::Failed { cause, delivered, may_pass } => {
                (EventVerdict::Failed, Closing::Failed, Some(cause), delivered, may_pass)
            }
            Verdict::Unfinished { cause, delivered } => {
                (EventVerdict::Unfinished, Closing::Unfinished, Some(cause), delivered, false)
            }
        };
        let tail = self.tasks[index as usize].stderr_tail.take().filter(|_| cause.is_some());
        let closed = EventKind::TaskClosed {
            verdict: event,
            cause,
            stderr_tail: tail,
            undelivered: !delivered,
            may_pass,
        };
        self.note(index, closed);
        self.to.run.do_send(RunHappened(RunEvent::TaskClosed { closing, delivered }));
    }

    fn every(&mut self, event: &TaskEvent, ctx: &mut Context<Self>) {
        for index in 0..self.tasks.len() {
            self.happened(u32::try_from(index).unwrap_or(u32::MAX), event.clone(), ctx);
        }
    }

    fn listen(&mut self, ctx: &mut Context<Self>) {
        let Some(mut hints) = self.services.hints.clone() else { return };
        let changed = async move { hints.changed().await.map(|()| hints) };
        ctx.spawn(changed.into_actor(self).map(|outcome, monitor, ctx| {
            let Ok(hints) = outcome else { return };
            monitor.services.hints = Some(hints);
            if !monitor.schedule.hinted {
                monitor.schedule.hinted = true;
                monitor.plan_look(ctx);
            }
            monitor.listen(ctx);
        }));
    }
}

impl DrivesMany<TaskMachine> for TaskMonitor {
    fn shells(&mut self) -> &mut Shells<TaskMachine> {
        &mut self.shells
    }

    fn machine(&mut self, index: u32) -> Option<(&mut TaskState, &mut Shells<TaskMachine>)> {
        Some((&mut self.tasks.get_mut(index as usize)?.state, &mut self.shells))
    }

    fn now(&self) -> Elapsed {
        self.record.clock().elapsed()
    }

    fn changed(&mut self, index: u32, before: &TaskState, ctx: &mut Context<Self>) {
        match (before.is_watched(), self.tasks[index as usize].state.is_watched()) {
            (false, true) => {
                self.watched += 1;
                self.plan_look(ctx);
            }
            (true, false) => self.watched -= 1,
            (true, true) | (false, false) => {}
        }
    }

    fn happened(&mut self, index: u32, event: TaskEvent, ctx: &mut Context<Self>) {
        let was_unsubmitted = self.may_be_submitted(index);
        self.drive(index, event, ctx);
        match (was_unsubmitted, self.may_be_submitted(index)) {
            (true, false) => {
                self.unsubmitted -= 1;
                self.seal();
            }
            (false, true) => self.unsubmitted += 1,
            (true, true) | (false, false) => {}
        }
        self.set_timer(ctx);
    }

    fn carry_out(&mut self, index: u32, command: TaskCommand, ctx: &mut Context<Self>) {
        let cause = self.tasks[index as usize].cause;
        match command {
            TaskCommand::Submit => {
                let attempt = self.tasks[index as usize].attempt();
                self.to.job.do_send(Submit { index, attempt, cause });
            }
            TaskCommand::ReportFailed { attempt, cause, detail, again_after } => {
                self.attempt_failed(index, attempt, cause, detail, again_after);
            }
            TaskCommand::ReportRetry { attempt, cause } => self.retry(index, attempt, cause),
            TaskCommand::ReportDelay { attempt, rest, failure } => {
                tracing::info!(task = %self.subject(index), attempt, ?rest, %failure, "cannot submit a task; trying again");
            }
            TaskCommand::ReportRunning => {}
            TaskCommand::ReportDeadline(which) => {
                let seq = self.note(index, EventKind::DeadlinePassed { which: which.into() });
                self.tasks[index as usize].cause = Some(seq);
            }
            TaskCommand::Terminate(why) => self.terminate(index, why, ctx),
            TaskCommand::Collect => {
                let task = &self.tasks[index as usize];
                let success = matches!(&task.state, TaskState::Collecting { ending, .. } if ending.success);
                self.to.outputs.do_send(Fetch { index, attempt: task.attempt(), success, cause });
            }
            TaskCommand::Split(cause) => self.split(index, cause, ctx),
            TaskCommand::Close(verdict) => self.close(index, verdict, ctx),
        }
    }
}

impl Actor for TaskMonitor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.listen(ctx);
    }
}

impl Handler<TaskAdded> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, TaskAdded(index): TaskAdded, ctx: &mut Context<Self>) {
        self.by_id.insert(self.item_list.item(index).task.clone(), index);
        self.tasks.push(Task::fresh());
        self.unsubmitted += 1;
        if self.ending {
            self.happened(index, TaskEvent::StopAsked, ctx);
        }
    }
}

impl Handler<NoMoreTasks> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, _: NoMoreTasks, _: &mut Context<Self>) {
        self.open_ended = false;
        self.seal();
    }
}

impl Handler<ResumeTasks> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, _: ResumeTasks, ctx: &mut Context<Self>) {
        self.recalls = false;
        for at in 0..self.tasks.len() {
            let index = u32::try_from(at).unwrap_or(u32::MAX);
            match &self.tasks[at].state {
                TaskState::Collecting { .. } => self.carry_out(index, TaskCommand::Collect, ctx),
                state @ TaskState::AwaitingRetry { .. } => self.shells.set_alarm(index, state),
                _ => {}
            }
        }
        self.plan_look(ctx);
        self.set_timer(ctx);
    }
}

impl Handler<TaskHappened> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, TaskHappened { index, event, cause }: TaskHappened, ctx: &mut Context<Self>) {
        let task = &mut self.tasks[index as usize];
        task.cause = cause.or(task.cause);
        let event = self.of_chunk(index, event);
        self.happened(index, event, ctx);
    }
}

impl Handler<Answered> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, answer: Answered, ctx: &mut Context<Self>) {
        let Answered { index, attempt, event, cause } = answer;
        let task = &mut self.tasks[index as usize];
        if task.attempt() != attempt {
            return;
        }
        match event {
            // A poll may have shown it before the response to the request arrived.
            TaskEvent::Accepted { adopted } if !task.submitted => {
                task.cause = cause.or(task.cause);
                self.submitted(index, adopted);
                if adopted {
                    // It may have ended before the last poll, which requested later changes only.
                    self.schedule.ask_for_all();
                }
            }
            TaskEvent::Accepted { .. } => {}
            _ => task.cause = cause.or(task.cause),
        }
        self.happened(index, event, ctx);
    }
}

impl Handler<TailSeen> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, TailSeen { index, tail }: TailSeen, _: &mut Context<Self>) {
        self.tasks[index as usize].stderr_tail = Some(tail);
    }
}

impl Handler<StopTasks> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, _: StopTasks, ctx: &mut Context<Self>) {
        self.ending = true;
        self.start_no_more();
        self.every(&TaskEvent::StopAsked, ctx);
        self.schedule.hinted = true;
        self.plan_look(ctx);
    }
}

impl Handler<JobEnded> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, _: JobEnded, ctx: &mut Context<Self>) {
        // Tasks that have just finished must not count as unfinished: one full poll first, then the others
        // are closed.
        let (batch, job) = (self.services.batch.clone(), self.plan.job.id.clone());
        let call = async move { batch.list_tasks(&job, None, Some(wire::TASK_STATUS_SELECT)).await };
        ctx.spawn(call.into_actor(self).map(|outcome, monitor, ctx| {
            if let Err(error) = &outcome
                && !error.is_not_found()
            {
                // Without that poll, it is unknown which tasks have finished. The timeout of each task limits
                // the attempts.
                if monitor.watched > 0 {
                    let asked = error.failure().retry_after.unwrap_or_default();
                    ctx.notify_later(JobEnded, asked.max(LOOK_AGAIN));
                }
                return;
            }
            let running: Vec<u32> = outcome
                .iter()
                .flatten()
                .filter(|status| status.state == wire::TaskState::Running)
                .filter_map(|status| monitor.by_id.get(&*status.id).copied())
                .collect();
            if outcome.is_ok() {
                monitor.seen(PollQuery::All, false, outcome, ctx);
            }
            for index in 0..monitor.tasks.len() {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                // Running tasks were asked to end; the following polls show their end.
                if !running.contains(&index) {
                    monitor.happened(index, TaskEvent::JobEnded, ctx);
                }
            }
        }));
    }
}

impl Handler<AbandonTasks> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, _: AbandonTasks, ctx: &mut Context<Self>) {
        self.every(&TaskEvent::Abandoned, ctx);
    }
}
