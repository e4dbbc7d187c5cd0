//! The transitions that only tasks for several inputs, and the inputs of such tasks, have.

use super::{
    Ending, Step, StopReason, TaskCommand, TaskEvent, TaskLimits, TaskState, Verdict, close, may_pass,
};
use crate::{FailureKind, attempts::Cause};
use std::ops::ControlFlow::{self, Break, Continue};

/// The attempt number of a task for several inputs that has ended and is not split: no other attempt follows it, even if
/// the number of attempts is unlimited.
pub(super) const LAST_ATTEMPT: u32 = u32::MAX;

/// Applies an event that has to do with chunks; returns state and event unchanged if both do not.
pub(super) fn apply(
    state: TaskState,
    event: TaskEvent,
    limits: &TaskLimits,
) -> ControlFlow<Step, (TaskState, TaskEvent)> {
    use {TaskCommand as Do, TaskEvent as On, TaskState as Is};
    let may_split = !limits.no_more_attempts;
    match (state, event) {
        // One bad input fails alone. This is no retry of the same task: the attempts of each input count from there.
        (
            Is::Recovered { .. }
            | Is::Queued { .. }
            | Is::Running { .. }
            | Is::Ready { .. }
            | Is::Resting { .. },
            On::SeenChunkEnded(ending),
        ) if may_split && ending.may_differ_singly() => Break((Is::Closed, vec![Do::Split(ending.detail())])),
        // Its inputs did not make the node fail. Which losses are followed by another attempt, each input decides.
        (Is::Stopping { why: StopReason::NodeLost, .. }, On::SeenChunkEnded(ending))
            if may_split && !ending.success =>
        {
            let detail =
                if ending.by_request { StopReason::NodeLost.detail().into() } else { ending.detail() };
            Break((Is::Closed, vec![Do::Split(detail)]))
        }
        // A file that cannot be read fails alone, too. What may pass would keep each input waiting as long again.
        (Is::Waiting | Is::Recovered { .. }, On::ChunkInputFailed(failure))
            if may_split && failure.kind == FailureKind::Permanent =>
        {
            Break((Is::Closed, vec![Do::Split(format!("input not uploaded: {}", failure.message))]))
        }
        (state, On::ChunkInputFailed(failure)) => Continue((state, On::InputFailed(failure))),
        // Every other end is that of a task that has no attempt left.
        (state, On::SeenChunkEnded(ending)) => {
            Continue((state, On::SeenEnded { attempt: LAST_ATTEMPT, ending }))
        }

        (Is::InChunk, On::ChunkSplit) => Break((Is::Waiting, vec![])),
        (Is::InChunk, On::ChunkClosed(verdict)) => Break(close(verdict)),
        // Its own result was found among the outputs of the task of its chunk.
        (Is::InChunk, On::Delivered) => Break(close(Verdict::Succeeded)),
        (Is::InChunk, On::DeliveredShort(patterns)) => Break(close(Verdict::Failed {
            cause: format!("exit code 0, but no file matches outputs {patterns:?}"),
            delivered: true,
            may_pass: false,
        })),
        (Is::InChunk, On::DeliveryFailed(failure)) => Break(close(Verdict::Failed {
            cause: format!("results not delivered: {}", failure.message),
            delivered: false,
            may_pass: may_pass(&failure),
        })),
        // The task of its chunk is terminated or held back, and closes it.
        (Is::InChunk, _) => Break((Is::InChunk, vec![])),
        unchanged => Continue(unchanged),
    }
}

impl Ending {
    /// Returns whether the inputs of a task that ended so may end otherwise if each has a task of its own: the command
    /// ran, and it exited with a code that is no success, or took too long.
    fn may_differ_singly(&self) -> bool {
        match self.cause() {
            Some(Cause::ExitCode(_)) => true,
            Some(Cause::Timeout) => self.started,
            Some(Cause::NodeLost | Cause::Inputs | Cause::Outputs | Cause::Environment) | None => false,
        }
    }
}
