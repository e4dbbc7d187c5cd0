//! Deletes large files of delivered tasks from the embedded service while the run continues.
//!
//! With the embedded service, an input is in its container and in its task's folder; a result is in that
//! folder, in its container and in the output folder. Without this actor, all copies would stay until the end
//! of the run. On Azure disk space is not scarce, and the containers are deleted at the end.

use crate::{run_context::RunContext, self_upload, services::Services};
use actix::prelude::*;
use dropmill_lifecycle::plan::{RunPlan, When, attempt_id};
use futures_util::{StreamExt, stream};
use std::rc::Rc;

/// Minimum size of input and result for early deletion of a task's files. For smaller tasks, the requests
/// would cost more than the disk space is worth.
pub const EARLY_FROM_BYTES: u64 = 1 << 20;
/// Maximum number of tasks whose files are deleted at the same time.
const AT_ONCE: usize = 4;
/// Blobs up to this length are in the database of the embedded service; deleting them frees no disk space.
const SMALL: u64 = 64 << 10;

/// The actor that deletes delivered files.
pub struct SpaceKeeper {
    context: RunContext,
    spent: Vec<ResultDelivered>,
    freeing: bool,
}

/// Notifies that all files of a task are delivered, so the service's copies are no longer needed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ResultDelivered {
    /// Index of its item.
    pub index: u32,
    /// Number of its last attempt, from 1.
    pub attempt: u32,
    /// Total length of the delivered files.
    pub bytes: u64,
}

impl SpaceKeeper {
    /// Creates the actor for one run.
    pub fn new(context: RunContext) -> Self {
        Self { context, spent: vec![], freeing: false }
    }

    /// Deletes the files of delivered tasks. Failures are left to the cleanup at the end.
    fn free(&mut self, ctx: &mut Context<Self>) {
        if self.freeing || self.spent.is_empty() {
            return;
        }
        self.freeing = true;
        let spent = std::mem::take(&mut self.spent);
        let tasks: Vec<_> = spent
            .iter()
            .map(|spent| (self.context.item_list.item(spent.index).task.clone(), spent.attempt))
            .collect();
        let (plan, services) = (self.context.plan.clone(), self.context.services.clone());
        let durable = self.context.record.when_durable();
        let call = async move {
            // The delivery must be durable in the journal first: after a crash, the files cannot be
            // downloaded again.
            let Ok(waiting) = durable.await else { return };
            if waiting.await.is_err() {
                return;
            }
            let free = |(task, attempt): (String, u32)| {
                let (services, plan) = (&services, &plan);
                async move { free(services, plan, &task, attempt).await }
            };
            stream::iter(tasks).for_each_concurrent(AT_ONCE, free).await;
        };
        ctx.spawn(call.into_actor(self).map(|(), keeper, ctx| {
            keeper.freeing = false;
            keeper.free(ctx);
        }));
    }
}

/// Returns whether the plan always deletes job and containers, so that their files may be deleted early.
pub fn may_delete_early(plan: &RunPlan) -> bool {
    [plan.cleanup.job, plan.cleanup.containers].iter().all(|when| *when == When::Always)
}

/// Deletes the working folders of a task's attempts, its input, and its outputs.
async fn free(services: &Services, plan: &Rc<RunPlan>, task: &str, attempt: u32) {
    let (inputs, outputs) = (plan.input_container(), plan.output_container());
    let ids: Vec<_> = (1..=attempt).map(|attempt| attempt_id(task, attempt)).collect();
    for id in &ids {
        let _ = services.batch.delete_task_file(&plan.job.id, id, "wd").await.inspect_err(log_failure);
    }
    if plan.job.self_upload {
        for id in &ids {
            let own = self_upload::container(plan, id);
            let _ = services.blob.delete_container(&own).await.inspect_err(log_failure);
        }
    }
    let stored = ids.iter().map(|id| (&outputs, id.as_str()));
    for (container, id) in std::iter::once((&inputs, task)).chain(stored) {
        let blobs = services.blob.list_blobs(container, &format!("{id}/")).await.inspect_err(log_failure);
        for blob in blobs.into_iter().flatten().filter(|blob| blob.size_bytes > SMALL) {
            let _ = services.blob.delete_blob(container, &blob.name).await.inspect_err(log_failure);
        }
    }
}

fn log_failure(error: &impl std::fmt::Display) {
    tracing::debug!(%error, "not deleted early; the cleanup at the end deletes it");
}

impl Actor for SpaceKeeper {
    type Context = Context<Self>;
}

impl Handler<ResultDelivered> for SpaceKeeper {
    type Result = ();
    fn handle(&mut self, home: ResultDelivered, ctx: &mut Context<Self>) {
        let input = self.context.item_list.item(home.index).size_bytes;
        let is_worth_it = input.saturating_add(home.bytes) >= EARLY_FROM_BYTES;
        if is_worth_it && self.context.services.is_embedded() && may_delete_early(&self.context.plan) {
            self.spent.push(home);
            self.free(ctx);
        }
    }
}
