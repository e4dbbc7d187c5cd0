//! What earlier lives of a run did, as far as they could record it: where a later one goes on.
//!
//! What is recorded has happened. What happened may not be recorded: whoever goes on asks the service, and the output
//! folder, under names that are functions of the run.

use crate::event::{
    DeliveredFile, EndReason, Event, EventKind, FileOutcome, Outcome, Subject, TaskEnding, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// The state of a run, rebuilt from its journal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecoveredRun {
    /// Number of the last event.
    pub last: u64,
    /// Milliseconds that the run has lasted, all lives together.
    pub elapsed_ms: u64,
    /// Number of lives.
    pub lives: u32,
    /// The event that began the run.
    pub started: u64,
    /// Containers that were made and not deleted since.
    pub containers: BTreeSet<String>,
    /// Files of the application that were uploaded, and their lengths.
    pub application: BTreeMap<String, u64>,
    /// Files that tasks share and that were uploaded, by the names of their blobs, and their lengths.
    pub shared_files: BTreeMap<String, u64>,
    /// The event that made the pool, unless it is gone.
    pub pool: Option<u64>,
    /// The event that made the job, unless it is gone.
    pub job: Option<u64>,
    /// Tasks of which something is known, by id.
    pub tasks: BTreeMap<String, RecoveredTask>,
    /// The run was told to end.
    pub ending: Option<EndReason>,
    /// It ended: there is nothing to go on with.
    pub ended: Option<Outcome>,
}

/// What is known of a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecoveredTask {
    /// The last event of its life.
    pub cause: Option<u64>,
    /// Length of its input in its container.
    pub uploaded: Option<u64>,
    /// Attempts before the latest, which all that follows is about.
    pub retries: u32,
    /// The service had it.
    pub submitted: bool,
    /// Why the service was told to end it, if it was.
    pub terminated: Option<String>,
    /// How it ended.
    pub ended: Option<TaskEnding>,
    /// What came home.
    pub delivered: Option<Vec<DeliveredFile>>,
    /// Its last word.
    pub closed: Option<LastWord>,
    /// The folder of what came home.
    pub folder: Option<String>,
    /// The file of the drop folder that it is made of.
    pub claimed: Option<RecoveredClaim>,
    /// That file was withdrawn, or its result is in its place.
    pub settled: bool,
    /// The latter, and the place below the folder of results or of failures.
    pub published: Option<(FileOutcome, String)>,
}

/// The last word on a task, as its event says it.
#[derive(Debug, Clone, PartialEq)]
pub struct LastWord {
    /// What became of it.
    pub verdict: Verdict,
    /// Something of it is, or may be, at the service only.
    pub undelivered: bool,
    /// The reason is none of its own and may pass.
    pub may_pass: bool,
    /// Why it did not succeed, in one line.
    pub cause: Option<String>,
    /// The last lines of its standard error.
    pub stderr_tail: Option<String>,
}

/// A file of a drop folder that a task is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveredClaim {
    /// Path below the drop folder; a byte that is not UTF-8, and `%`, as `%XX`.
    pub input: String,
    /// Its place below the work folder.
    pub place: String,
    /// Number of the attempt that the task is, from 1.
    pub attempt: u32,
    /// How the file looked when it was taken, as the event says it.
    pub look: Option<String>,
}

impl RecoveredRun {
    /// The past that these events tell.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut past = Self::default();
        events.into_iter().for_each(|event| past.apply(event));
        past
    }

    /// Takes the next event in.
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
    /// Number of its latest attempt, from 1.
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
            EventKind::TaskRetried { attempt, .. } => {
                self.retries = attempt.saturating_sub(1);
                (self.submitted, self.terminated, self.ended) = (false, None, None);
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
    fn what_was_made_is_known_until_it_is_gone() {
        let made = [
            ("container/c", EventKind::ContainerReady {}),
            ("pool", EventKind::PoolCreated { nodes: 1, spot_nodes: 0, adopted: false }),
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
    fn of_a_task_that_is_tried_again_only_the_latest_attempt_is_told() {
        let told = || TaskEnding { exit_code: Some(7), ..TaskEnding::default() };
        let said = [
            ("task/a", EventKind::InputUploaded { input: "a.txt".into(), bytes: 7, skipped: false }),
            ("task/a", EventKind::TaskSubmitted { adopted: false }),
            ("task/a", EventKind::TaskEnded(told())),
            ("task/a", EventKind::TaskRetried { attempt: 2, cause: "exit code 7".into() }),
            ("task/a", EventKind::TaskSubmitted { adopted: false }),
            ("task/a", EventKind::TaskEnded(told())),
        ];
        let facts = |past: &RecoveredRun| {
            let a = &past.tasks["a"];
            (a.attempt(), a.uploaded, a.submitted, a.ended.is_some())
        };
        assert_eq!(facts(&fold(&said[..3])), (1, Some(7), true, true));
        assert_eq!(facts(&fold(&said[..4])), (2, Some(7), false, false));
        assert_eq!(facts(&fold(&said)), (2, Some(7), true, true));
    }

    #[test]
    fn a_task_stands_where_its_last_event_left_it() {
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
