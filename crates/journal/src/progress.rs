//! The progress of a run, as a fold of its events with constant cost per event.

use crate::event::{Event, EventKind, Subject, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// The progress of a run.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Progress {
    /// Number of tasks of the run.
    pub total: u64,
    /// Number of inputs uploaded.
    pub uploaded: u64,
    /// Number of tasks that the service accepted.
    pub submitted: u64,
    /// Number of running tasks.
    pub running: u64,
    /// Number of tasks that ended.
    pub ended: u64,
    /// Number of tasks that succeeded.
    pub succeeded: u64,
    /// Number of tasks that failed.
    pub failed: u64,
    /// Number of tasks that will not finish.
    pub unfinished: u64,
    /// Bytes of downloaded results.
    pub delivered_bytes: u64,
    /// Milliseconds from the first event to the last.
    pub elapsed_ms: u64,
    /// Time when the pool was ready, in milliseconds since the first event.
    pub ready_ms: Option<u64>,
    nodes: BTreeMap<Subject, String>,
    running_tasks: BTreeSet<Subject>,
    /// Tasks that ended and are not closed.
    collecting: BTreeSet<Subject>,
    /// Number of inputs of each task that is for several.
    chunks: BTreeMap<Subject, u64>,
    pool: Pool,
    /// The last request that failed and will be retried, unless there was progress since.
    trouble: Option<String>,
    ending: Option<String>,
    /// Tasks of which another attempt follows after a delay, and the time at which it does, in milliseconds since the first event.
    awaiting: BTreeMap<Subject, u64>,
    /// Why no more tasks are started.
    held: Option<String>,
    cleaning: bool,
    over: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Pool {
    #[default]
    Absent,
    Made,
    Ready,
}

impl Progress {
    /// Processes the next event.
    pub fn apply(&mut self, event: &Event) {
        self.elapsed_ms = self.elapsed_ms.max(event.elapsed_ms);
        if !matches!(event.kind, EventKind::Retrying { .. }) {
            self.trouble = None;
        }
        match &event.kind {
            EventKind::RunStarted { tasks, .. } => self.total = *tasks,
            // A task that was running may have ended; polls show that.
            EventKind::RunResumed { .. } => self.running = 0,
            EventKind::ChunkFormed { inputs, .. } => {
                self.chunks.insert(event.subject.clone(), inputs.len() as u64);
            }
            EventKind::InputUploaded { .. } => {
                self.uploaded += self.chunks.get(&event.subject).copied().unwrap_or(1);
            }
            EventKind::Retrying { what, error, .. } => self.trouble = Some(format!("{what} again: {error}")),
            EventKind::PoolCreated { .. } => self.pool = Pool::Made,
            EventKind::NodeChanged { state } => {
                self.nodes.insert(event.subject.clone(), state.clone());
            }
            EventKind::PoolReady { .. } => {
                self.pool = Pool::Ready;
                self.ready_ms = Some(event.elapsed_ms);
            }
            EventKind::TaskSubmitted { .. } => self.submitted += 1,
            EventKind::TaskRunning { .. } => {
                self.running_tasks.insert(event.subject.clone());
            }
            EventKind::TaskEnded(_) => {
                self.running_tasks.remove(&event.subject);
                self.collecting.insert(event.subject.clone());
                self.ended += 1;
            }
            EventKind::TaskAttemptFailed { after_ms: Some(after_ms), .. } if *after_ms > 0 => {
                self.awaiting.insert(event.subject.clone(), event.elapsed_ms + after_ms);
            }
            EventKind::MaxFailuresReached { failed, limit } => {
                self.held = Some(format!("{failed} tasks failed, and run.max_failures is {limit}"));
            }
            EventKind::TaskSplit { inputs, .. } => {
                self.collecting.remove(&event.subject);
                self.uploaded = self.uploaded.saturating_sub((*inputs).into());
            }
            EventKind::ChunkClosed { .. } => {
                self.running_tasks.remove(&event.subject);
                self.collecting.remove(&event.subject);
            }
            EventKind::TaskRetried { .. } => {
                self.awaiting.remove(&event.subject);
                self.collecting.remove(&event.subject);
                self.submitted = self.submitted.saturating_sub(1);
                self.ended = self.ended.saturating_sub(1);
            }
            EventKind::OutputDelivered { files, .. } => {
                self.delivered_bytes += files.iter().map(|file| file.bytes).sum::<u64>();
            }
            EventKind::TaskClosed { verdict, .. } => {
                self.awaiting.remove(&event.subject);
                self.running_tasks.remove(&event.subject);
                self.collecting.remove(&event.subject);
                match verdict {
                    Verdict::Succeeded => self.succeeded += 1,
                    Verdict::Failed => self.failed += 1,
                    Verdict::Unfinished => self.unfinished += 1,
                }
            }
            EventKind::EndAsked { detail, .. } => self.ending = Some(detail.clone()),
            EventKind::JobDeleted {} | EventKind::PoolDeleted {} | EventKind::ContainerDeleted {} => {
                self.cleaning = true;
            }
            EventKind::RunEnded { .. } => self.over = true,
            _ => {}
        }
        self.running = self.running_tasks.len() as u64;
    }

    /// Returns when the next attempt at a failed task begins, in milliseconds since the first event.
    pub fn next_retry_ms(&self) -> Option<u64> {
        self.awaiting.values().min().copied()
    }

    /// Returns the number of closed tasks.
    pub fn closed(&self) -> u64 {
        self.succeeded + self.failed + self.unfinished
    }

    /// Returns the number of nodes that accept tasks.
    pub fn nodes_ready(&self) -> usize {
        self.nodes.values().filter(|state| *state == "idle").count()
    }

    /// Returns the phase of the run in one or two words.
    pub fn phase(&self) -> &'static str {
        if self.over {
            "over"
        } else if self.cleaning {
            "cleaning up"
        } else if self.ending.is_some() {
            "ending"
        } else if self.pool == Pool::Ready {
            "working"
        } else if self.pool == Pool::Made {
            "starting nodes"
        } else {
            "uploading"
        }
    }

    /// Returns what the run is waiting for, in one line; `None` when it has ended.
    pub fn waiting_for(&self) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.clone());
        }
        let waits = match self.phase() {
            "over" => return None,
            "cleaning up" => "waiting for the service to delete pool, job and containers".into(),
            "ending" => match self.running {
                0 => return self.ending.clone(),
                running => {
                    format!(
                        "waiting for {running} tasks to end: {}",
                        self.ending.as_deref().unwrap_or_default()
                    )
                }
            },
            "working" if self.running > 0 && self.held.is_some() => format!(
                "waiting for {} running tasks to end: {}",
                self.running,
                self.held.as_deref().unwrap_or_default()
            ),
            "working" if self.running > 0 => format!("waiting for {} running tasks", self.running),
            "working"
                if let Some(due) = self.next_retry_ms()
                    && self.submitted <= self.ended =>
            {
                format!(
                    "waiting to retry {} failed tasks, the next {} s after the start of the run",
                    self.awaiting.len(),
                    due.div_ceil(1000)
                )
            }
            "working" if !self.collecting.is_empty() => "waiting for results to download".into(),
            // Short tasks are not seen running one by one.
            "working" if self.submitted > self.ended => {
                format!("waiting for {} tasks that are queued or running", self.submitted - self.ended)
            }
            "working" => "waiting for inputs to be uploaded".into(),
            "starting nodes" => {
                let mut states: BTreeMap<&str, u32> = BTreeMap::new();
                for state in self.nodes.values() {
                    *states.entry(state).or_default() += 1;
                }
                let states: Vec<_> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
                match states.is_empty() {
                    true => "waiting for nodes".into(),
                    false => format!("waiting for nodes: {}", states.join(", ")),
                }
            }
            _ => format!("waiting for uploads: {} of {} inputs uploaded", self.uploaded, self.total),
        };
        Some(waits)
    }

    /// Returns the estimated number of milliseconds until every task is closed, from the rate since the pool
    /// was ready.
    pub fn remaining_ms(&self) -> Option<u64> {
        let since = self.elapsed_ms.checked_sub(self.ready_ms?)?;
        let (done, left) = (self.closed(), self.total.saturating_sub(self.closed()));
        (since * left).checked_div(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TaskEnding;

    fn progress(said: &[(&str, u64, EventKind)]) -> Progress {
        let mut progress = Progress::default();
        for (at, (subject, elapsed_ms, kind)) in said.iter().enumerate() {
            progress.apply(&Event {
                seq: at as u64 + 1,
                at: jiff::Timestamp::UNIX_EPOCH,
                elapsed_ms: *elapsed_ms,
                run: "lines-1".into(),
                actor: "somebody".into(),
                subject: (*subject).into(),
                cause: None,
                kind: kind.clone(),
            });
        }
        progress
    }

    #[test]
    fn a_run_says_that_it_waits_for_the_next_attempt_and_that_no_more_tasks_are_started() {
        let failed = |after_ms| EventKind::TaskAttemptFailed {
            attempt: 1,
            reason: "exit_code".into(),
            cause: "exit code 75".into(),
            after_ms,
            again_at: None,
        };
        let mut said = vec![
            ("pool", 0, EventKind::PoolReady { nodes: 1 }),
            ("task/a", 0, EventKind::TaskSubmitted { adopted: false }),
            ("task/a", 1000, EventKind::TaskEnded(TaskEnding::default())),
            ("task/a", 1000, failed(Some(30_000))),
        ];
        let waits = |said: &[(&str, u64, EventKind)]| progress(said).waiting_for().unwrap_or_default();
        assert_eq!(waits(&said), "waiting to retry 1 failed tasks, the next 31 s after the start of the run");
        said.push(("task/a", 31_000, EventKind::TaskRetried { attempt: 2, cause: "exit code 75".into() }));
        said.push(("task/a", 31_000, EventKind::TaskSubmitted { adopted: false }));
        assert_eq!(waits(&said), "waiting for 1 tasks that are queued or running");
        said.push(("task/a", 32_000, EventKind::TaskRunning { node: None, started: None }));
        said.push(("run", 32_000, EventKind::MaxFailuresReached { failed: 5, limit: 5 }));
        assert_eq!(
            waits(&said),
            "waiting for 1 running tasks to end: 5 tasks failed, and run.max_failures is 5"
        );
    }
}
