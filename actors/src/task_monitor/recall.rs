//! The states of tasks when a run is resumed.

use super::Task;
use dropmill_journal::{event::TaskEnding, past::RecoveredTask};
use dropmill_lifecycle::{
    Elapsed,
    task::{Ending, StopReason, TaskLimits, TaskState},
};

/// Returns the state of a task when the process starts.
pub fn recall(
    past: Option<&RecoveredTask>,
    run_ends: bool,
    now: Elapsed,
    limits: &TaskLimits,
    success_codes: &[i32],
) -> Task {
    let mut task = Task::fresh();
    let asked = past.and_then(|past| past.terminated.as_deref()).and_then(StopReason::of);
    // At the end of a run, the service is asked to terminate the job, not each task.
    let ended_by_us = past.and_then(|past| past.ended.as_ref()).is_some_and(TaskEnding::was_ended);
    let stopped = asked.or((run_ends && ended_by_us).then_some(StopReason::RunEnds));
    task.state = match past {
        Some(RecoveredTask { closed: Some(_), .. }) => TaskState::Closed,
        // What failed and was to be tried again is unfinished if the run ends: a poll finds it, and closes it.
        Some(RecoveredTask { again_at: Some(_), .. }) if run_ends => {
            stopping(Some(StopReason::RunEnds), now, limits)
        }
        Some(RecoveredTask { again_at: Some((cause, again_at)), .. }) => TaskState::AwaitingRetry {
            attempt: past.map_or(1, RecoveredTask::attempt),
            cause: cause.clone(),
            again_at: Elapsed(*again_at),
        },
        // A poll finds its end again, and closes it.
        Some(RecoveredTask { ended: Some(ended), delivered: None, .. })
            if !recorded_ending(ended, success_codes).success
                && stopped.is_some_and(|why| !why.is_failure()) =>
        {
            stopping(stopped, now, limits)
        }
        Some(RecoveredTask { ended: Some(ended), delivered, .. }) if delivered.is_some() || run_ends => {
            TaskState::Collecting { ending: recorded_ending(ended, success_codes), stopped }
        }
        Some(RecoveredTask { ended: None, .. }) if stopped.is_some_and(|why| why != StopReason::RunEnds) => {
            stopping(stopped, now, limits)
        }
        // A run that ends submits nothing; a task that was submitted without a recorded event may have
        // finished.
        _ if run_ends => TaskState::Recovered { input_ready: false },
        Some(RecoveredTask { submitted: true, .. }) => TaskState::Recovered { input_ready: false },
        _ => TaskState::Waiting,
    };
    if let Some(past) = past {
        (task.ended, task.cause, task.submitted) = (past.ended.clone(), past.cause, past.submitted);
        (task.retries, task.requeues) = (past.retries, past.requeues);
    }
    task
}

fn stopping(why: Option<StopReason>, now: Elapsed, limits: &TaskLimits) -> TaskState {
    let why = why.unwrap_or(StopReason::RunEnds);
    let again_at = (why != StopReason::RunEnds).then_some(now);
    TaskState::Stopping { why, may_run: true, again_at, until: now + limits.stopping }
}

/// Returns the recorded end of a task for its state machine.
pub fn recorded_ending(recorded: &TaskEnding, success_codes: &[i32]) -> Ending {
    let failure = recorded
        .failure_code
        .clone()
        .map(|code| (code, recorded.failure_message.clone().unwrap_or_default()));
    let started = recorded.started.is_some() || recorded.exit_code.is_some();
    let by_request = recorded.was_ended();
    let failure_code = recorded.failure_code.as_deref();
    let success = Ending::is_success(recorded.success, recorded.exit_code, failure_code, success_codes);
    Ending { success, started, by_request, exit_code: recorded.exit_code, failure }
}
