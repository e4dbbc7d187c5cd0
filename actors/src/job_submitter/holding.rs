//! Requests that the job starts no more tasks; running tasks go on.

use super::JobSubmitter;
use crate::shell::Drives;
use actix::prelude::*;
use dropmill_azure_wire::batch as wire;
use dropmill_journal::event::EventKind;
use dropmill_lifecycle::job::JobEvent;

impl JobSubmitter {
    /// Disables the job.
    pub(super) fn hold(&mut self, ctx: &mut Context<Self>) {
        let (batch, job, turn) = (self.services.batch.clone(), self.plan.job.id.clone(), self.turn.clone());
        let call = async move {
            let _turn = turn.lock().await;
            batch.disable_job(&job, wire::DisableTasks::Wait).await
        };
        ctx.spawn(call.into_actor(self).map(|outcome, submitter, ctx| match outcome {
            Ok(()) => {
                submitter.note(EventKind::JobDisabled {});
                submitter.happened(JobEvent::HoldSucceeded, ctx);
            }
            // A job that is not there, or has ended, starts nothing.
            Err(error) if error.is_not_found() || error.code().is_some_and(|code| is_over(&code)) => {
                submitter.happened(JobEvent::HoldSucceeded, ctx);
            }
            Err(error) => submitter.happened(JobEvent::HoldFailed(error.failure()), ctx),
        }));
    }
}

/// Whether a code says that the job has ended or is about to.
fn is_over(code: &dropmill_lifecycle::Code) -> bool {
    code.as_str() == "JobNotActive" || super::has_ended(Some(code))
}
