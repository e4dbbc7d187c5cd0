//! Failed attempts, and the end of new ones: `run.max_failures` was reached, or the run ends.

use super::TaskMonitor;
use crate::shell::DrivesMany;
use actix::prelude::*;
use dropmill_journal::event::EventKind;
use dropmill_lifecycle::{
    attempts::Cause,
    task::{TaskEvent, TaskLimits},
};
use std::time::Duration;

/// Too many tasks failed: no more are started. Those that run may end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct HoldTasks;

/// The job starts no more tasks.
#[derive(Message)]
#[rtype(result = "()")]
pub struct JobHeld;

impl TaskMonitor {
    /// Records that an attempt failed, and when another begins.
    pub(super) fn attempt_failed(
        &mut self,
        index: u32,
        attempt: u32,
        cause: Cause,
        detail: String,
        again_after: Option<Duration>,
    ) {
        let again_at = again_after.and_then(|delay| self.record.clock().now().checked_add(delay).ok());
        let after_ms = again_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        let reason = cause.word().as_str().into();
        let kind = EventKind::TaskAttemptFailed { attempt, reason, cause: detail, after_ms, again_at };
        let seq = self.note(index, kind);
        self.tasks[index as usize].cause = Some(seq);
    }

    /// From now on no attempt is started any more, whatever fails.
    pub(super) fn start_no_more(&mut self) {
        let limits = TaskLimits { no_more_attempts: true, ..self.shells.limits().clone() };
        self.shells.set_limits(limits);
        self.unsubmitted = 0;
    }
}

impl Handler<HoldTasks> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, _: HoldTasks, ctx: &mut Context<Self>) {
        self.start_no_more();
        self.every(&TaskEvent::HoldAsked, ctx);
    }
}

impl Handler<JobHeld> for TaskMonitor {
    type Result = ();
    fn handle(&mut self, _: JobHeld, ctx: &mut Context<Self>) {
        self.held = true;
        self.schedule.hinted = true;
        self.set_timer(ctx);
        self.plan_look(ctx);
    }
}
