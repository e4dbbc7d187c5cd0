//! The report of a run: a fold of its events, for users and as the last line of `--json`.

use crate::event::{ChunkInput, EndReason, Event, EventKind, Outcome, Verdict};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The report of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `report`, to distinguish this line from events.
    pub kind: String,
    /// Name of the run.
    pub run: String,
    /// `run.name` of its run file.
    pub name: String,
    /// Outcome of the run; `None` while it is running, or if it was interrupted.
    pub outcome: Option<Outcome>,
    /// Reason why it ended, in one line.
    pub reason: Option<String>,
    /// Start time of the run.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// Milliseconds from its first event to its last.
    pub elapsed_ms: u64,
    /// Numbers of tasks by verdict.
    pub tasks: TaskTally,
    /// One entry for each task that has an event, sorted by input, so that the report does not depend on the
    /// order of events. With `input.per_task` there is an entry for each input.
    pub results: Vec<TaskResult>,
    /// Tasks that were for several inputs each, if the run has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunkTally>,
    /// Resources that still exist at the service, with the reason.
    pub left_behind: Vec<Left>,
    /// Where the run continued with less than requested.
    pub degraded: Vec<String>,
    /// Number of requests that were retried.
    pub retries: u64,
    /// Uploaded bytes of application and inputs.
    pub uploaded_bytes: u64,
    /// Bytes of downloaded results.
    pub delivered_bytes: u64,
    /// Number of results that replaced an earlier result of the same input.
    #[serde(default)]
    pub replaced: u64,
    /// Number of results that were delivered as `NAME~2` because their place was taken; see
    /// [`TaskResult::beside`].
    #[serde(default)]
    pub beside: u64,
    /// The number of failed tasks at which no more were started, if it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u64>,
}

/// Numbers of tasks by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskTally {
    /// Number of all tasks.
    pub total: u64,
    /// Number of tasks that exited with 0 and whose results were delivered.
    pub succeeded: u64,
    /// Number of tasks that failed.
    pub failed: u64,
    /// Number of tasks that were not finished when the run ended.
    pub unfinished: u64,
}

/// The results of the tasks for several inputs each. `tasks` and `results` of the report count each input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkTally {
    /// Number of all of them.
    pub total: u64,
    /// Number of their inputs.
    pub inputs: u64,
    /// Those that failed and were split: each of their inputs followed as a task of its own.
    pub split: u64,
    /// Tasks that were submitted for one input each after that.
    pub single: u64,
    /// One entry for each, sorted by name.
    pub results: Vec<ChunkResult>,
}

/// The result of a task for several inputs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkResult {
    /// Number of its inputs.
    pub inputs: u64,
    /// Whether it was split, for the reason in [`TaskResult::cause`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub split: bool,
    /// Task, verdict, and the files in a folder of its own.
    #[serde(flatten)]
    pub result: TaskResult,
}

/// The result of one task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResult {
    /// Id of the task.
    pub task: String,
    /// Path of its input, relative to the run file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Final verdict; `None` if the task was not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Reason why it did not succeed, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Exit code, if the command ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Node on which it ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Run time in seconds, as measured by the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Number of attempts after the first.
    pub retries: u32,
    /// Folder of its results below the output folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Number of delivered files.
    pub files: u64,
    /// Total length of the files.
    pub bytes: u64,
    /// Number of bytes left out of its standard output and error.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The reason, in one line, why its results are named `NAME~2`: their place was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// Last lines of its standard error, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_tail: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A resource that still exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// Name of the resource: `pool`, `job`, `container/<name>`.
    pub what: String,
    /// The reason in one line.
    pub reason: String,
}

/// Builds a report, event by event.
#[derive(Debug, Default)]
pub struct ReportFold {
    run: String,
    name: String,
    outcome: Option<Outcome>,
    reason: Option<(EndReason, String)>,
    started: Option<Timestamp>,
    elapsed_ms: u64,
    tasks: TaskTally,
    results: BTreeMap<String, TaskResult>,
    chunks: BTreeMap<String, ChunkResult>,
    single: u64,
    left_behind: Vec<Left>,
    degraded: Vec<String>,
    start_tasks: StartTaskFailures,
    retries: u64,
    uploaded_bytes: u64,
    delivered_bytes: u64,
    replaced: u64,
    beside: u64,
    max_failures: Option<u64>,
}

/// Failures of start tasks: what failed, and on which nodes. Equal failures on many nodes are one line.
#[derive(Debug, Default)]
struct StartTaskFailures(Vec<(String, BTreeSet<String>)>);

impl StartTaskFailures {
    fn add(&mut self, node: &str, failure: String) {
        match self.0.iter_mut().find(|(known, _)| *known == failure) {
            Some((_, nodes)) => {
                nodes.insert(node.to_owned());
            }
            None => self.0.push((failure, BTreeSet::from([node.to_owned()]))),
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(failure, nodes)| {
            let example = nodes.first().map_or("", String::as_str);
            match nodes.len() {
                1 => format!("the start task failed on node {example}{failure}"),
                count => format!("the start task failed on {count} nodes, for example {example}{failure}"),
            }
        })
    }
}

impl ReportFold {
    /// Returns the report of a complete list of events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Report {
        let mut fold = Self::default();
        events.into_iter().for_each(|event| fold.apply(event));
        fold.report()
    }

    /// Processes the next event.
    pub fn apply(&mut self, event: &Event) {
        self.elapsed_ms = self.elapsed_ms.max(event.elapsed_ms);
        match &event.kind {
            EventKind::RunStarted { name, tasks, .. } => {
                self.run.clone_from(&event.run);
                self.name.clone_from(name);
                self.started = Some(event.at);
                self.tasks.total = *tasks;
            }
            // This process may delete what a previous process left.
            EventKind::RunResumed { .. } => self.left_behind.clear(),
            EventKind::ApplicationUploaded { bytes, skipped }
            | EventKind::SharedFileUploaded { bytes, skipped } => {
                self.uploaded_bytes += if *skipped { 0 } else { *bytes };
            }
            EventKind::InputUploaded { input, bytes, skipped } => {
                self.uploaded_bytes += if *skipped { 0 } else { *bytes };
                let input = input.clone();
                self.task(event, |task| task.input = Some(input));
            }
            EventKind::ChunkFormed { input, inputs } => {
                for ChunkInput { task, input } in inputs {
                    let result = self.results.entry(task.clone()).or_default();
                    (result.task, result.input) = (task.clone(), Some(input.clone()));
                }
                if let Some(id) = event.subject.task() {
                    let chunk = self.chunks.entry(id.to_owned()).or_default();
                    chunk.inputs = inputs.len() as u64;
                    (chunk.result.task, chunk.result.input) = (id.to_owned(), Some(input.clone()));
                }
            }
            EventKind::TaskSplit { inputs, cause } => {
                if let Some(chunk) = event.subject.task().and_then(|id| self.chunks.get_mut(id)) {
                    (chunk.split, chunk.result.cause) = (true, Some(cause.clone()));
                    chunk.result.verdict = Some(Verdict::Failed);
                }
                self.single += u64::from(*inputs);
            }
            EventKind::ChunkClosed { verdict, cause, stderr_tail, .. } => self.task(event, |task| {
                task.verdict = Some(*verdict);
                task.cause.clone_from(cause);
                task.stderr_tail.clone_from(stderr_tail);
            }),
            EventKind::Retrying { .. } => self.retries += 1,
            EventKind::TaskEnded(ending) => {
                let seconds = match (ending.started, ending.ended) {
                    (Some(started), Some(ended)) => Some(ended.duration_since(started).as_secs_f64()),
                    _ => None,
                };
                self.task(event, |task| {
                    task.exit_code = ending.exit_code;
                    task.node.clone_from(&ending.node);
                    task.seconds = seconds;
                    task.retries = ending.retries;
                });
            }
            EventKind::OutputDelivered { folder, files, replaced, beside } => {
                let bytes = files.iter().map(|file| file.bytes).sum();
                self.delivered_bytes += bytes;
                self.replaced += u64::from(*replaced);
                self.beside += u64::from(beside.is_some());
                self.task(event, |task| {
                    task.beside.clone_from(beside);
                    task.left_out = files.iter().map(|file| file.left_out).sum();
                    task.folder = Some(folder.clone());
                    task.files = files.len() as u64;
                    task.bytes = bytes;
                });
            }
            EventKind::TaskClosed { verdict, cause, stderr_tail, .. } => {
                match verdict {
                    Verdict::Succeeded => self.tasks.succeeded += 1,
                    Verdict::Failed => self.tasks.failed += 1,
                    Verdict::Unfinished => self.tasks.unfinished += 1,
                }
                self.task(event, |task| {
                    task.verdict = Some(*verdict);
                    task.cause.clone_from(cause);
                    task.stderr_tail.clone_from(stderr_tail);
                });
            }
            EventKind::Degraded { reason } => self.degraded.push(reason.clone()),
            EventKind::ResizeFailed { code, message } => self.degraded.push(format!("{code}: {message}")),
            EventKind::StartTaskFailed { exit_code, reason, stderr_tail } => {
                let node = event.subject.node().unwrap_or_default();
                let exit = exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
                let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                let said = if stderr_tail.is_empty() { "nothing" } else { stderr_tail };
                self.start_tasks.add(node, format!("{exit}{reason}; its stderr: {said}"));
            }
            EventKind::EndAsked { reason, detail } => self.reason = Some((*reason, detail.clone())),
            EventKind::MaxFailuresReached { limit, .. } => self.max_failures = Some(*limit),
            EventKind::LeftBehind { reason } => {
                self.left_behind.push(Left { what: event.subject.to_string(), reason: reason.clone() });
            }
            EventKind::RunEnded { outcome, succeeded, failed, unfinished } => {
                self.outcome = Some(*outcome);
                let total = self.tasks.total;
                self.tasks =
                    TaskTally { total, succeeded: *succeeded, failed: *failed, unfinished: *unfinished };
            }
            EventKind::FileClaimed { .. }
            | EventKind::FileWithdrawn { .. }
            | EventKind::FilePublished { .. }
            | EventKind::ContainerReady {}
            | EventKind::PoolCreated { .. }
            | EventKind::NodeChanged { .. }
            | EventKind::PoolReady { .. }
            | EventKind::JobCreated { .. }
            | EventKind::TaskSubmitted { .. }
            | EventKind::TaskRunning { .. }
            | EventKind::TaskRequeued { .. }
            | EventKind::TaskAttemptFailed { .. }
            | EventKind::TaskRetried { .. }
            | EventKind::TaskTerminateAsked { .. }
            | EventKind::DeadlinePassed { .. }
            | EventKind::JobDisabled {}
            | EventKind::JobTerminated { .. }
            | EventKind::JobDeleted {}
            | EventKind::PoolDeleted {}
            | EventKind::ContainerDeleted {}
            | EventKind::ActorLost { .. } => {}
        }
    }

    fn task(&mut self, event: &Event, change: impl FnOnce(&mut TaskResult)) {
        let Some(id) = event.subject.task() else { return };
        if let Some(chunk) = self.chunks.get_mut(id) {
            return change(&mut chunk.result);
        }
        if !self.results.contains_key(id) {
            self.results.insert(id.to_owned(), TaskResult { task: id.to_owned(), ..TaskResult::default() });
        }
        if let Some(task) = self.results.get_mut(id) {
            change(task);
        }
    }

    fn chunks(&self) -> Option<ChunkTally> {
        let mut results: Vec<_> = self.chunks.values().cloned().collect();
        results.sort_by(|one, other| one.result.input.cmp(&other.result.input));
        (!results.is_empty()).then(|| ChunkTally {
            total: results.len() as u64,
            inputs: results.iter().map(|chunk| chunk.inputs).sum(),
            split: results.iter().filter(|chunk| chunk.split).count() as u64,
            single: self.single,
            results,
        })
    }

    /// Returns the report so far.
    pub fn report(&self) -> Report {
        let mut results: Vec<_> = self.results.values().cloned().collect();
        // Tasks of a drop folder come while the run goes on.
        let known = self.tasks.succeeded + self.tasks.failed + self.tasks.unfinished;
        let tasks = TaskTally { total: self.tasks.total.max(known), ..self.tasks };
        results.sort_by(|one, other| one.input.cmp(&other.input));
        Report {
            kind: "report".into(),
            run: self.run.clone(),
            name: self.name.clone(),
            outcome: self.outcome,
            reason: self.reason.as_ref().map(|(_, detail)| detail.clone()),
            started: self.started,
            elapsed_ms: self.elapsed_ms,
            tasks,
            results,
            chunks: self.chunks(),
            left_behind: self.left_behind.clone(),
            degraded: self.degraded.iter().cloned().chain(self.start_tasks.lines()).collect(),
            retries: self.retries,
            uploaded_bytes: self.uploaded_bytes,
            delivered_bytes: self.delivered_bytes,
            replaced: self.replaced,
            beside: self.beside,
            max_failures: self.max_failures,
        }
    }
}
