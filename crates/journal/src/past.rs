//! The state of a run after the events of previous processes, from which the next process resumes.
//!
//! Everything that is recorded has happened, but not everything that happened is recorded: the next process
//! also checks the service and the output folder, under names that are derived from the run.

use crate::event::{
    DeliveredFile, EndReason, Event, EventKind, FileOutcome, Outcome, Subject, TaskEnding, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// The state of a run, rebuilt from its journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecoveredRun {
    /// Number of the last event.
    pub last: u64,
    /// Total duration of the run in milliseconds, over all processes.
    pub elapsed_ms: u64,
    /// Number of processes that have worked on the run.
    pub lives: u32,
    /// Number of the event that started the run.
    pub started: u64,
    /// Containers that were created and not deleted.
    pub containers: BTreeSet<String>,
    /// Uploaded files of the application, with their lengths.
    pub application: BTreeMap<String, u64>,
    /// Uploaded files that tasks share, by the names of their blobs, with their lengths.
    pub shared_files: BTreeMap<String, u64>,
    /// Number of the event that created the pool, unless it was deleted.
    pub pool: Option<u64>,
    /// Number of the event that created the job, unless it was deleted.
    pub job: Option<u64>,
    /// Tasks that have at least one event, by id.
    pub tasks: BTreeMap<String, RecoveredTask>,
    /// Reason why the run was asked to end, if it was.
    pub ending: Option<EndReason>,
    /// Whether so many tasks failed that no more are started.
    pub max_failures_reached: bool,
    /// Outcome of the run, if it has ended: then nothing is left to resume.
    pub ended: Option<Outcome>,
}

/// The state of a task, rebuilt from its events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecoveredTask {
    /// Number of the last event of the task.
    pub cause: Option<u64>,
    /// Length of the uploaded input.
    pub uploaded: Option<u64>,
    /// Number of earlier attempts; the other fields describe the latest attempt.
    pub retries: u32,
    /// Whether the service accepted it.
    pub submitted: bool,
    /// Reason why the service was asked to terminate it, if it was.
    pub terminated: Option<String>,
    /// What the service reported about its end.
    pub ended: Option<TaskEnding>,
    /// How often the service was seen to queue the latest attempt again.
    pub requeues: u32,
    /// Why the latest attempt failed, in one line, and when another begins, in milliseconds since the run began.
    pub again_at: Option<(String, u64)>,
    /// Delivered files of the task.
    pub delivered: Option<Vec<DeliveredFile>>,
    /// Final result of the task.
    pub closed: Option<LastWord>,
    /// Its state as a task for several inputs, if it is one.
    pub chunk: Option<RecoveredChunk>,
    /// Folder of the delivered files.
    pub folder: Option<String>,
    /// The file of the drop folder that the task was made from.
    pub claimed: Option<RecoveredClaim>,
    /// Whether that file was withdrawn, or its result is in its final place.
    pub settled: bool,
    /// In the latter case, the outcome and the path below the folder for it.
    pub published: Option<(FileOutcome, String)>,
}

/// The state of a task for several inputs, rebuilt from its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveredChunk {
    /// Whether each of its inputs follows as a task of its own.
    pub is_split: bool,
    /// Whether it is closed, and so is each of its inputs.
    pub is_closed: bool,
    /// Whether a part of its outputs is, or may be, only at the service.
    pub undelivered: bool,
}

/// The final result of a task, as recorded by its event.
#[derive(Debug, Clone, PartialEq)]
pub struct LastWord {
    /// Final verdict on the task.
    pub verdict: Verdict,
    /// Whether a part of its results is, or may be, only at the service.
    pub undelivered: bool,
    /// Whether the reason is external and possibly temporary.
    pub may_pass: bool,
    /// Reason why it did not succeed, in one line.
    pub cause: Option<String>,
    /// The last lines of its standard error.
    pub stderr_tail: Option<String>,
}

/// A file of a drop folder from which a task is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveredClaim {
    /// Path below the drop folder; `%` and bytes that are not UTF-8 are written as `%XX`.
    pub input: String,
    /// Place of the file below the work folder.
    pub place: String,
    /// Number of the attempt to process the file, from 1.
    pub attempt: u32,
    /// Metadata of the file when it was claimed, as in the event.
    pub look: Option<String>,
}

impl RecoveredRun {
    /// Rebuilds the state from events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut past = Self::default();
        events.into_iter().for_each(|event| past.apply(event));
        past
    }

    /// Processes the next event.
    pub fn apply(&mut self, event: &Event) {
        self.last = event.seq;
        self.elapsed_ms = self.elapsed_ms.max(event.elapsed_ms);
        let container = match &event.subject {
            Subject::Container(name) => Some(name.clone()),
            _ => None,
        };
        match &event.kind {
            EventKind::RunStarted { .. } => {
                self.lives = 1;
                self.started = event.seq;
            }
            EventKind::RunResumed { life, .. } => self.lives = *life,
            EventKind::ContainerReady {} => {
                self.containers.extend(container);
            }
            EventKind::ContainerDeleted {} => {
                container.map(|name| self.containers.remove(&name));
            }
            EventKind::ApplicationUploaded { bytes, .. } => {
                if let Subject::File(name) = &event.subject {
                    self.application.insert(name.clone(), *bytes);
                }
            }
            EventKind::SharedFileUploaded { bytes, .. } => {
                if let Subject::File(name) = &event.subject {
                    self.shared_files.insert(name.clone(), *bytes);
                }
            }
            EventKind::PoolCreated { .. } => self.pool = Some(event.seq),
            EventKind::PoolDeleted {} => self.pool = None,
            EventKind::JobCreated { .. } => self.job = Some(event.seq),
            EventKind::JobDeleted {} => self.job = None,
            EventKind::MaxFailuresReached { .. } => self.max_failures_reached = true,
            EventKind::EndAsked { reason, .. } => self.ending = Some(*reason),
            EventKind::RunEnded { outcome, .. } => self.ended = Some(*outcome),
            _ => {
                if let Subject::Task(id) = &event.subject {
                    self.tasks.entry(id.clone()).or_default().apply(event);
                }
            }
        }
    }
}

impl RecoveredTask {
    /// Returns whether it is a task for several inputs that is closed or split.
    pub fn is_past_chunk(&self) -> bool {
        self.chunk.as_ref().is_some_and(|chunk| chunk.is_split || chunk.is_closed)
    }

    /// Returns the number of the latest attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.retries + 1
    }

    fn apply(&mut self, event: &Event) {
        self.cause = Some(event.seq);
        match &event.kind {
            EventKind::InputUploaded { bytes, .. } => self.uploaded = Some(*bytes),
            EventKind::TaskSubmitted { .. } => self.submitted = true,
            EventKind::TaskTerminateAsked { reason } => self.terminated = Some(reason.clone()),
            EventKind::TaskEnded(ending) => self.ended = Some(ending.clone()),
            EventKind::TaskRequeued { requeues } => self.requeues = *requeues,
            EventKind::TaskAttemptFailed { cause, after_ms, .. } => {
                self.again_at = after_ms.map(|after_ms| (cause.clone(), event.elapsed_ms + after_ms));
            }
            EventKind::TaskRetried { attempt, .. } => {
                self.retries = attempt.saturating_sub(1);
                (self.submitted, self.terminated, self.ended) = (false, None, None);
                (self.requeues, self.again_at) = (0, None);
            }
            EventKind::OutputDelivered { files, folder, .. } => {
                self.delivered = Some(files.clone());
                self.folder = Some(folder.clone());
            }
            EventKind::TaskClosed { verdict, undelivered, may_pass, cause, stderr_tail } => {
                let (cause, stderr_tail) = (cause.clone(), stderr_tail.clone());
                let (verdict, undelivered, may_pass) = (*verdict, *undelivered, *may_pass);
                self.closed = Some(LastWord { verdict, undelivered, may_pass, cause, stderr_tail });
            }
            EventKind::ChunkFormed { .. } => {
                self.chunk.get_or_insert_default();
            }
            EventKind::TaskSplit { .. } => self.chunk.get_or_insert_default().is_split = true,
            EventKind::ChunkClosed { undelivered, .. } => {
                let chunk = self.chunk.get_or_insert_default();
                (chunk.is_closed, chunk.undelivered) = (true, *undelivered);
            }
            EventKind::FileClaimed { input, place, attempt, look, .. } => {
                let (input, place, look) = (input.clone(), place.clone(), look.clone());
                self.claimed = Some(RecoveredClaim { input, place, attempt: *attempt, look });
            }
            EventKind::FileWithdrawn { .. } => self.settled = true,
            EventKind::FilePublished { outcome, place } => {
                self.settled = true;
                self.published = Some((outcome.clone(), place.clone()));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn fold(said: &[(&str, EventKind)]) -> RecoveredRun {
        let events: Vec<_> = said
            .iter()
            .enumerate()
            .map(|(at, (subject, kind))| Event {
                seq: at as u64 + 1,
                at: Timestamp::UNIX_EPOCH,
                elapsed_ms: at as u64 * 10,
                run: "lines-1".into(),
                actor: "somebody".into(),
                subject: (*subject).into(),
                cause: None,
                kind: kind.clone(),
            })
            .collect();
        RecoveredRun::of(&events)
    }

    #[test]
    fn created_resources_are_known_until_they_are_deleted() {
        let made = [
            ("container/c", EventKind::ContainerReady {}),
            (
                "pool",
                EventKind::PoolCreated { nodes: 1, spot_nodes: 0, adopted: false, slots_per_node: Some(4) },
            ),
            ("job", EventKind::JobCreated { adopted: false }),
        ];
        let past = fold(&made);
        assert_eq!((past.pool, past.job, past.containers.len()), (Some(2), Some(3), 1));
        let gone = [
            ("container/c", EventKind::ContainerDeleted {}),
            ("pool", EventKind::PoolDeleted {}),
            ("job", EventKind::JobDeleted {}),
        ];
        let past = fold(&[made, gone].concat());
        assert_eq!((past.pool, past.job, past.containers.len()), (None, None, 0));
        assert_eq!((past.last, past.elapsed_ms), (6, 50));
    }

    #[test]
    fn only_the_latest_attempt_of_a_task_is_recovered() {
        let ending = || TaskEnding { exit_code: Some(7), ..TaskEnding::default() };
        let said = [
            ("task/a", EventKind::InputUploaded { input: "a.txt".into(), bytes: 7, skipped: false }),
            ("task/a", EventKind::TaskSubmitted { adopted: false }),
            ("task/a", EventKind::TaskEnded(ending())),
            (
                "task/a",
                EventKind::TaskAttemptFailed {
                    attempt: 1,
                    reason: "exit_code".into(),
                    cause: "exit code 7".into(),
                    after_ms: Some(1000),
                    again_at: None,
                },
            ),
            ("task/a", EventKind::TaskRetried { attempt: 2, cause: "exit code 7".into() }),
            ("task/a", EventKind::TaskSubmitted { adopted: false }),
            ("task/a", EventKind::TaskEnded(ending())),
        ];
        let facts = |past: &RecoveredRun| {
            let a = &past.tasks["a"];
            (a.attempt(), a.uploaded, a.submitted, a.ended.is_some())
        };
        assert_eq!(facts(&fold(&said[..3])), (1, Some(7), true, true));
        // The fourth event was recorded 30 ms after the run began.
        let again_at = |past: &RecoveredRun| past.tasks["a"].again_at.clone();
        assert_eq!(again_at(&fold(&said[..3])), None);
        assert_eq!(again_at(&fold(&said[..4])), Some(("exit code 7".into(), 1030)));
        assert_eq!(again_at(&fold(&said[..5])), None);
        assert_eq!(facts(&fold(&said[..4])), (1, Some(7), true, true));
        assert_eq!(facts(&fold(&said[..5])), (2, Some(7), false, false));
        assert_eq!(facts(&fold(&said)), (2, Some(7), true, true));
    }

    #[test]
    fn the_last_event_of_a_task_determines_its_state() {
        let (verdict, cause, stderr_tail) = (Verdict::Failed, None, None);
        let past = fold(&[
            ("task/a", EventKind::InputUploaded { input: "a.txt".into(), bytes: 7, skipped: false }),
            ("task/a", EventKind::TaskSubmitted { adopted: false }),
            (
                "task/b",
                EventKind::TaskClosed { verdict, cause, stderr_tail, undelivered: true, may_pass: false },
            ),
            ("node/a", EventKind::NodeChanged { state: "idle".into() }),
        ]);
        let a = &past.tasks["a"];
        assert_eq!((a.uploaded, a.submitted, a.cause, a.closed.is_none()), (Some(7), true, Some(2), true));
        let last =
            past.tasks["b"].closed.as_ref().map(|last| (last.verdict, last.undelivered, last.may_pass));
        assert_eq!(last, Some((Verdict::Failed, true, false)));
        assert_eq!(past.tasks.len(), 2);
    }
}
