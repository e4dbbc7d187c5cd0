//! Where tasks stand at the beginning of a later life of a run.

use super::Task;
use dropmill_journal::{event::TaskEnding, past::RecoveredTask};
use dropmill_lifecycle::{
    Elapsed,
    task::{Ending, StopReason, TaskLimits, TaskState},
};

/// Where a task stands at the beginning of a life of the run.
pub fn recall(past: Option<&RecoveredTask>, run_ends: bool, now: Elapsed, limits: &TaskLimits) -> Task {
    let mut task = Task::fresh();
    let asked = past.and_then(|past| past.terminated.as_deref()).and_then(StopReason::of);
    // At the end of a run the service is asked to end the job, not each task.
    let ended_by_us = past.and_then(|past| past.ended.as_ref()).is_some_and(TaskEnding::was_ended);
    let stopped = asked.or((run_ends && ended_by_us).then_some(StopReason::RunEnds));
    task.state = match past {
        Some(RecoveredTask { closed: Some(_), .. }) => TaskState::Closed,
        // A look shows it again, and closes it.
        Some(RecoveredTask { ended: Some(ended), delivered: None, .. })
            if !ended.success && stopped.is_some_and(|why| !why.is_failure()) =>
        {
            stopping(stopped, now, limits)
        }
        Some(RecoveredTask { ended: Some(ended), delivered, .. }) if delivered.is_some() || run_ends => {
            TaskState::Collecting { ending: ending_told(ended), stopped }
        }
        Some(RecoveredTask { ended: None, .. }) if stopped.is_some_and(|why| why != StopReason::RunEnds) => {
            stopping(stopped, now, limits)
        }
        // A run that ends has nothing to submit; what it submitted without a record of it may have finished.
        _ if run_ends => TaskState::Recovered { input_ready: false },
        Some(RecoveredTask { submitted: true, .. }) => TaskState::Recovered { input_ready: false },
        _ => TaskState::Waiting,
    };
    if let Some(past) = past {
        (task.ended, task.cause, task.submitted) = (past.ended.clone(), past.cause, past.submitted);
        task.retries = past.retries;
    }
    task
}

fn stopping(why: Option<StopReason>, now: Elapsed, limits: &TaskLimits) -> TaskState {
    let why = why.unwrap_or(StopReason::RunEnds);
    let again_at = (why != StopReason::RunEnds).then_some(now);
    TaskState::Stopping { why, may_run: true, again_at, until: now + limits.stopping }
}

/// What the record says of a task that is over, for its machine.
pub fn ending_told(told: &TaskEnding) -> Ending {
    let failure =
        told.failure_code.clone().map(|code| (code, told.failure_message.clone().unwrap_or_default()));
    let started = told.started.is_some() || told.exit_code.is_some();
    let by_request = told.was_ended();
    Ending { success: told.success, started, by_request, exit_code: told.exit_code, failure }
}
