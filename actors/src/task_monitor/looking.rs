//! Polls of the tasks of the job, and their results.

use super::{TaskMonitor, recall::recorded_ending};
use crate::{
    job_submitter::JobHappened, poll_schedule::PollQuery, run_keeper::RunHappened, shell::DrivesMany,
};
use actix::prelude::*;
use dropmill_azure_client::error::BatchError;
use dropmill_azure_wire::batch as wire;
use dropmill_journal::event::{EventKind, TaskEnding};
use dropmill_lifecycle::{
    job::JobEvent,
    run::RunEvent,
    task::{Ending, TaskEvent, TaskState},
};

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LookNow;

impl Handler<LookNow> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, _: LookNow, ctx: &mut Context<Self>) {
        (self.planned, self.ordered) = (None, false);
        self.look(ctx);
    }
}

impl TaskMonitor {
    /// Plans the next poll, if one is needed: at once after a change notification, otherwise after the
    /// interval.
    pub(super) fn plan_look(&mut self, ctx: &mut Context<Self>) {
        if self.recalls || self.schedule.in_flight || self.watched == 0 {
            return;
        }
        if let Some(handle) = self.planned.take() {
            ctx.cancel_future(handle);
        }
        let rest = self.schedule.due(self.watched).since(self.record.clock().elapsed());
        if !rest.is_zero() {
            self.planned = Some(ctx.notify_later(LookNow, rest));
        } else if !std::mem::replace(&mut self.ordered, true) {
            // Even a timer of zero length would round up to the next millisecond.
            ctx.notify(LookNow);
        }
    }

    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        if self.schedule.in_flight || self.watched == 0 {
            return;
        }
        let now = self.record.clock().elapsed();
        // A task that is held back is in no list but the whole one.
        let look = self.schedule.begin(now, self.ending || self.held);
        let filter = self.schedule.filter(look, now);
        let held = self.held;
        let (batch, job) = (self.services.batch.clone(), self.plan.job.id.clone());
        if look == PollQuery::Count {
            let call = async move { batch.task_counts(&job).await };
            ctx.spawn(call.into_actor(self).map(|outcome, monitor, ctx| {
                monitor.schedule.in_flight = false;
                monitor.counted(outcome, ctx);
                monitor.plan_look(ctx);
            }));
            return;
        }
        let call =
            async move { batch.list_tasks(&job, filter.as_deref(), Some(wire::TASK_STATUS_SELECT)).await };
        ctx.spawn(call.into_actor(self).map(move |outcome, monitor, ctx| {
            monitor.schedule.in_flight = false;
            monitor.seen(look, held, outcome, ctx);
            monitor.plan_look(ctx);
        }));
    }

    fn counted(&mut self, outcome: Result<wire::TaskCountsResult, BatchError>, ctx: &mut Context<Self>) {
        match outcome {
            Ok(counts) => {
                let counts = counts.task_counts;
                let submitted = || self.tasks.iter().filter(|task| task.submitted);
                let ended = submitted().filter(|task| !task.state.is_watched()).count();
                let there =
                    i64::from(counts.active) + i64::from(counts.running) + i64::from(counts.completed);
                let there = there - i64::from(self.retried);
                let completed = i64::from(counts.completed) - i64::from(self.retried);
                let all_there = there >= i64::try_from(submitted().count()).unwrap_or(i64::MAX);
                let all_seen = completed <= i64::try_from(ended).unwrap_or(i64::MAX);
                self.schedule.counted(all_there && all_seen);
            }
            Err(error) => self.look_failed(PollQuery::Count, &error, ctx),
        }
    }

    fn look_failed(&mut self, look: PollQuery, error: &BatchError, ctx: &mut Context<Self>) {
        tracing::info!(%error, "cannot poll the tasks; polling again");
        if error.is_not_found() {
            self.job_is_missing(ctx);
        }
        self.schedule.failed(look);
    }

    pub(super) fn seen(
        &mut self,
        look: PollQuery,
        held: bool,
        outcome: Result<Vec<wire::TaskStatus>, BatchError>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.record.clock().elapsed();
        let listed = match outcome {
            Ok(listed) => listed,
            Err(error) => return self.look_failed(look, &error, ctx),
        };
        // Only what was asked for after the job was held says that a task waits for ever.
        let held = look == PollQuery::All && held;
        let mut news = false;
        let mut missing: Option<Vec<bool>> = (look == PollQuery::All).then(|| vec![true; self.tasks.len()]);
        for status in listed {
            let Some(&index) = self.by_id.get(&*status.id) else { continue };
            if let Some(missing) = &mut missing {
                missing[index as usize] = false;
            }
            let waits = status.state == wire::TaskState::Active;
            news |= self.seen_one(index, status, ctx);
            if held && waits {
                self.happened(index, TaskEvent::HeldBack, ctx);
            }
        }
        for (index, missing) in missing.into_iter().flatten().enumerate() {
            if missing && self.tasks[index].state.is_watched() && !self.ending {
                self.tasks[index].submitted = false;
                let event = if held { TaskEvent::HeldBack } else { TaskEvent::Vanished };
                self.happened(u32::try_from(index).unwrap_or(u32::MAX), event, ctx);
            }
        }
        self.schedule.made(now, news);
        if news {
            self.to.run.do_send(RunHappened(RunEvent::Progressed));
        }
    }

    /// Reports once that the service has a task.
    pub(super) fn submitted(&mut self, index: u32, adopted: bool) {
        if !std::mem::replace(&mut self.tasks[index as usize].submitted, true) {
            let seq = self.note(index, EventKind::TaskSubmitted { adopted });
            self.tasks[index as usize].cause = Some(seq);
        }
    }

    /// Processes the status of one task; returns whether it is new.
    fn seen_one(&mut self, index: u32, status: wire::TaskStatus, ctx: &mut Context<Self>) -> bool {
        let requeued = self.requeued(index, &status, ctx);
        let state = &self.tasks[index as usize].state;
        match status.state {
            wire::TaskState::Completed => {
                if let Some(moment) = status.state_transition_time {
                    self.schedule.ended_at(moment);
                }
                if !state.is_watched()
                    && !matches!(state, TaskState::Ready { .. } | TaskState::Resting { .. })
                {
                    return false;
                }
                self.submitted(index, false);
                let attempt = self.tasks[index as usize].attempt();
                let (mut details, ending) = ending_of(status, &self.plan.job.success_codes);
                details.retries += attempt - 1;
                // A previous process may have recorded it.
                if self.tasks[index as usize].ended.as_ref() != Some(&details) {
                    self.tasks[index as usize].ended = Some(details.clone());
                    let seq = self.note(index, EventKind::TaskEnded(details));
                    self.tasks[index as usize].cause = Some(seq);
                }
                let event = self.of_chunk(index, TaskEvent::SeenEnded { attempt, ending });
                self.happened(index, event, ctx);
                true
            }
            wire::TaskState::Running => {
                let news = matches!(state, TaskState::Queued { .. } | TaskState::Recovered { .. });
                if news {
                    self.submitted(index, false);
                    let started = status.execution_info.as_ref().and_then(|info| info.start_time);
                    let node = status.node_info.and_then(|info| info.node_id).map(String::from);
                    self.note(index, EventKind::TaskRunning { node, started });
                }
                self.happened(index, TaskEvent::SeenRunning, ctx);
                news || requeued
            }
            wire::TaskState::Active | wire::TaskState::Preparing => {
                let news = matches!(state, TaskState::Running { .. });
                self.happened(index, TaskEvent::SeenActive, ctx);
                news || requeued
            }
            wire::TaskState::Other(_) => false,
        }
    }

    /// Whether the service was seen to have queued the latest attempt again since it was last seen.
    fn requeued(&mut self, index: u32, status: &wire::TaskStatus, ctx: &mut Context<Self>) -> bool {
        let task = &mut self.tasks[index as usize];
        let requeues = status.execution_info.as_ref().map_or(0, |info| info.requeue_count);
        let requeues = u32::try_from(requeues).unwrap_or_default();
        if requeues <= task.requeues || !task.state.is_watched() {
            return false;
        }
        task.requeues = requeues;
        self.note(index, EventKind::TaskRequeued { requeues });
        if status.state != wire::TaskState::Completed {
            self.happened(index, TaskEvent::NodeLost, ctx);
        }
        true
    }

    pub(super) fn job_is_missing(&mut self, ctx: &mut Context<Self>) {
        if !self.ending {
            // The job was deleted: the run ends, and that closes the tasks.
            return self.to.job.do_send(JobHappened { event: JobEvent::FoundMissing, cause: None });
        }
        for index in 0..self.tasks.len() {
            if self.tasks[index].state.is_watched() {
                self.happened(u32::try_from(index).unwrap_or(u32::MAX), TaskEvent::JobEnded, ctx);
            }
        }
    }
}

/// Returns the end of a task from its status, for the record and for the state machine.
fn ending_of(status: wire::TaskStatus, success_codes: &[i32]) -> (TaskEnding, Ending) {
    let info = status.execution_info.unwrap_or_default();
    let failure = info
        .failure_info
        .map(|failure| (failure.code.clone().unwrap_or_default(), crate::failure::message(&failure)));
    let success = match info.result {
        Some(wire::TaskResult::Success) => true,
        Some(_) => false,
        None => failure.is_none() && info.exit_code == Some(0),
    };
    let (failure_code, failure_message) = failure.unzip();
    let details = TaskEnding {
        success,
        exit_code: info.exit_code,
        failure_code,
        failure_message,
        node: status.node_info.and_then(|info| info.node_id).map(String::from),
        started: info.start_time,
        ended: info.end_time,
        retries: u32::try_from(info.retry_count).unwrap_or_default(),
        requeues: u32::try_from(info.requeue_count).unwrap_or_default(),
    };
    let ending = recorded_ending(&details, success_codes);
    (details, ending)
}
