//! Tasks for several inputs: how they end, and what follows for each input.

use super::TaskMonitor;
use crate::{
    run_keeper::{ChunkIsSplit, RunHappened},
    shell::DrivesMany,
};
use actix::prelude::*;
use dropmill_journal::{
    event::{EventKind, Verdict as EventVerdict},
    past::RecoveredRun,
};
use dropmill_lifecycle::{
    plan::{Chunk, Item, RunPlan},
    run::RunEvent,
    task::{TaskEvent, TaskState, Verdict},
};

/// Returns the initial state of a task that depends on its chunk; `None` if its own events decide.
pub(super) fn stands_in(plan: &RunPlan, past: &RecoveredRun, item: &Item) -> Option<TaskState> {
    let past_of = |item: &Item| past.tasks.get(&item.task);
    if item.members().is_some() {
        return past_of(item).is_some_and(|past| past.is_past_chunk()).then_some(TaskState::Closed);
    }
    let chunk = &plan.chunks[plan.chunk_of(item.index)?];
    let is_split = past_of(chunk).and_then(|past| past.chunk.as_ref()).is_some_and(|chunk| chunk.is_split);
    let is_closed = past_of(item).is_some_and(|past| past.closed.is_some());
    (!is_split && !is_closed).then_some(TaskState::InChunk)
}

impl TaskMonitor {
    /// The event as the machine of a task takes it: some mean more for a task for several inputs.
    pub(super) fn of_chunk(&self, index: u32, event: TaskEvent) -> TaskEvent {
        match event {
            event if self.item_list.item(index).members().is_none() => event,
            TaskEvent::SeenEnded { ending, .. } => TaskEvent::SeenChunkEnded(ending),
            TaskEvent::InputFailed(failure) => TaskEvent::ChunkInputFailed(failure),
            event => event,
        }
    }

    /// Turns each input of a task that failed into a task of its own.
    pub(super) fn split(&mut self, index: u32, cause: String, ctx: &mut Context<Self>) {
        let item = self.item_list.item(index);
        let Some(chunk) = item.members() else { return };
        let seq = self.note(index, EventKind::TaskSplit { inputs: chunk.count, cause });
        for member in chunk.range() {
            self.tasks[member as usize].cause = Some(seq);
            self.happened(member, TaskEvent::ChunkSplit, ctx);
        }
        self.to.run.do_send(ChunkIsSplit(chunk.range()));
        self.to.run.do_send(RunHappened(RunEvent::ChunkClosed));
    }

    /// Closes the inputs of a task that are still open, then the task.
    pub(super) fn close_chunk(
        &mut self,
        index: u32,
        chunk: &Chunk,
        verdict: Verdict,
        ctx: &mut Context<Self>,
    ) {
        for member in chunk.range() {
            if self.tasks[member as usize].state == TaskState::InChunk {
                self.tasks[member as usize].cause = self.tasks[index as usize].cause;
                self.happened(member, TaskEvent::ChunkClosed(verdict.clone()), ctx);
            }
        }
        let tail = self.tasks[index as usize].stderr_tail.take();
        let (verdict, cause, undelivered) = match verdict {
            Verdict::Succeeded => (EventVerdict::Succeeded, None, false),
            Verdict::Failed { cause, delivered, .. } => (EventVerdict::Failed, Some(cause), !delivered),
            Verdict::Unfinished { cause, delivered } => (EventVerdict::Unfinished, Some(cause), !delivered),
        };
        let stderr_tail = tail.filter(|_| cause.is_some());
        self.note(
            index,
            EventKind::ChunkClosed { verdict, inputs: chunk.count, cause, stderr_tail, undelivered },
        );
        self.to.run.do_send(RunHappened(RunEvent::ChunkClosed));
    }
}
