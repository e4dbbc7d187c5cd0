//! The state of each task of a run: a fold of its events. Commands, the live page and the reports read it.

use crate::event::{ChunkInput, DeliveredFile, Event, EventKind, Subject, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a task is doing, as far as the events show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Its input is not uploaded.
    #[default]
    Waiting,
    /// Its input is uploaded; the service does not have the task.
    Uploaded,
    /// The service has the task; no node runs it.
    Queued,
    /// A node runs it.
    Running,
    /// It has ended, and its results are not delivered.
    Delivering,
    /// It succeeded, and its results are delivered.
    Succeeded,
    /// The task has failed.
    Failed,
    /// It was not finished when the run ended.
    Unfinished,
}

impl TaskState {
    /// Returns the name as JSON writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Uploaded => "uploaded",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Delivering => "delivering",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
        }
    }

    /// Returns whether the task has reached its last state.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Unfinished)
    }
}

/// What is known of one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskRow {
    /// Id of the task.
    pub task: String,
    /// Its input, relative to the run file.
    pub input: Option<String>,
    /// What it is doing. An input that belongs to a task for several is waiting until it is closed or submitted alone.
    pub state: TaskState,
    /// The task for several inputs that it is submitted with.
    pub chunk: Option<String>,
    /// Number of inputs of a task for several.
    pub inputs: Option<usize>,
    /// Number of its latest attempt, from 1.
    pub attempt: u32,
    /// Why it did not succeed, in one line.
    pub cause: Option<String>,
    /// Exit code of its latest attempt, if that ran.
    pub exit_code: Option<i32>,
    /// The node of its latest attempt.
    pub node: Option<String>,
    /// Milliseconds from the start of the run until its input was uploaded.
    pub uploaded_ms: Option<u64>,
    /// Milliseconds until the service had its latest attempt.
    pub submitted_ms: Option<u64>,
    /// Milliseconds until its latest attempt was seen running, or ran by the service's clock.
    pub started_ms: Option<u64>,
    /// Milliseconds until its latest attempt ended.
    pub ended_ms: Option<u64>,
    /// Milliseconds until its results were delivered.
    pub delivered_ms: Option<u64>,
    /// Folder of its results below the output folder.
    pub folder: Option<String>,
    /// Files of its results.
    pub files: Vec<DeliveredFile>,
    /// Last lines of its standard error, if it failed.
    pub stderr_tail: Option<String>,
}

/// The state of every task that an event named, in the order in which they were named first.
#[derive(Debug, Clone, Default)]
pub struct TaskTable {
    rows: Vec<TaskRow>,
    places: HashMap<String, usize>,
    last: u64,
    job_deleted: bool,
}

impl TaskTable {
    /// Returns the table of events that are complete.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut table = Self::default();
        events.into_iter().for_each(|event| table.apply(event));
        table
    }

    /// Adds a task that no event named yet.
    pub fn expect(&mut self, task: &str, input: &str) {
        let row = self.row(task);
        row.input.get_or_insert_with(|| input.to_owned());
    }

    /// Takes the next event in.
    pub fn apply(&mut self, event: &Event) {
        self.last = event.seq;
        match &event.kind {
            // Events of the tasks that run on follow.
            EventKind::JobDeleted {} => self.job_deleted = true,
            EventKind::JobCreated { .. } => self.job_deleted = false,
            _ => {
                if let Subject::Task(task) = &event.subject {
                    self.row(task).apply(event);
                    self.apply_to_inputs(task, &event.kind);
                }
            }
        }
    }

    fn apply_to_inputs(&mut self, task: &str, kind: &EventKind) {
        match kind {
            EventKind::ChunkFormed { inputs, .. } => {
                for ChunkInput { task: id, input } in inputs {
                    let row = self.row(id);
                    (row.input, row.chunk) = (Some(input.clone()), Some(task.to_owned()));
                }
            }
            EventKind::TaskSplit { .. } => {
                let inputs = self.rows.iter_mut().filter(|row| row.chunk.as_deref() == Some(task));
                inputs.for_each(|row| row.chunk = None);
            }
            _ => {}
        }
    }

    /// Returns what an input is doing, with the task for several inputs that it is submitted with.
    pub fn state_of(&self, row: &TaskRow) -> TaskState {
        let chunk = row.chunk.as_deref().filter(|_| !row.state.is_closed()).and_then(|chunk| self.get(chunk));
        match chunk {
            // The outputs of the task are shared among its inputs.
            Some(chunk) if chunk.state.is_closed() => TaskState::Delivering,
            Some(chunk) => chunk.state,
            None => row.state,
        }
    }

    /// Returns the rows.
    pub fn rows(&self) -> &[TaskRow] {
        &self.rows
    }

    /// Returns the row of a task.
    pub fn get(&self, task: &str) -> Option<&TaskRow> {
        Some(&self.rows[*self.places.get(task)?])
    }

    /// Returns the number of the last event.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns whether the service has deleted the job, and with it the files of tasks on their nodes.
    pub fn is_job_deleted(&self) -> bool {
        self.job_deleted
    }

    /// Returns the tasks that a person may mean: by id, by input, or by a unique prefix or a last part of the input.
    pub fn find(&self, name: &str) -> Vec<&TaskRow> {
        if let Some(row) = self.get(name) {
            return vec![row];
        }
        let by_input = |test: &dyn Fn(&str) -> bool| -> Vec<&TaskRow> {
            self.rows.iter().filter(|row| row.input.as_deref().is_some_and(test)).collect()
        };
        let exact = by_input(&|input| input == name);
        if !exact.is_empty() {
            return exact;
        }
        let tail = by_input(&|input| input.strip_suffix(name).is_some_and(|rest| rest.ends_with('/')));
        if !tail.is_empty() {
            return tail;
        }
        self.rows
            .iter()
            .filter(|row| {
                row.task.starts_with(name) || row.input.as_deref().is_some_and(|i| i.starts_with(name))
            })
            .collect()
    }

    fn row(&mut self, task: &str) -> &mut TaskRow {
        let place = match self.places.get(task) {
            Some(place) => *place,
            None => {
                self.places.insert(task.to_owned(), self.rows.len());
                self.rows.push(TaskRow { task: task.to_owned(), attempt: 1, ..TaskRow::default() });
                self.rows.len() - 1
            }
        };
        &mut self.rows[place]
    }
}

impl TaskRow {
    fn apply(&mut self, event: &Event) {
        let now = Some(event.elapsed_ms);
        match &event.kind {
            EventKind::InputUploaded { input, .. } => {
                self.input = Some(input.clone());
                self.uploaded_ms = now;
                self.state = self.state.max(TaskState::Uploaded);
            }
            EventKind::ChunkFormed { input, inputs } => {
                (self.input, self.inputs) = (Some(input.clone()), Some(inputs.len()));
            }
            EventKind::TaskSplit { cause, .. } => {
                (self.state, self.cause) = (TaskState::Failed, Some(cause.clone()));
            }
            EventKind::FileClaimed { input, .. } => self.input = Some(input.clone()),
            EventKind::TaskSubmitted { .. } => {
                self.submitted_ms = now;
                self.state = TaskState::Queued;
            }
            EventKind::TaskRunning { node, started } => {
                let ran = started.map_or(0, |started| event.at.duration_since(started).as_millis());
                let ran = u64::try_from(ran).unwrap_or(0);
                let since = self.submitted_ms.unwrap_or(0);
                self.started_ms = Some(event.elapsed_ms.saturating_sub(ran).max(since));
                self.node.clone_from(node);
                self.state = TaskState::Running;
            }
            EventKind::TaskEnded(ending) => {
                self.state = TaskState::Delivering;
                self.exit_code = ending.exit_code;
                self.ended_ms = now;
                if ending.node.is_some() {
                    self.node.clone_from(&ending.node);
                }
                // A short task is never seen running; the service says how long it ran.
                if let (Some(started), Some(ended)) = (ending.started, ending.ended) {
                    let ran = u64::try_from(ended.duration_since(started).as_millis()).unwrap_or(0);
                    let since = self.submitted_ms.unwrap_or(0);
                    self.started_ms = Some(event.elapsed_ms.saturating_sub(ran).max(since));
                }
            }
            // Until its next attempt begins, it is where it was before the first.
            EventKind::TaskAttemptFailed { cause, after_ms: Some(_), .. } => {
                self.state = TaskState::Uploaded;
                self.cause = Some(cause.clone());
            }
            EventKind::TaskRetried { attempt, cause } => {
                *self = Self {
                    task: std::mem::take(&mut self.task),
                    input: self.input.take(),
                    state: TaskState::Uploaded,
                    attempt: *attempt,
                    cause: Some(cause.clone()),
                    uploaded_ms: self.uploaded_ms,
                    ..Self::default()
                };
            }
            EventKind::OutputDelivered { folder, files, .. } => {
                self.folder = Some(folder.clone());
                self.files.clone_from(files);
                self.delivered_ms = now;
            }
            EventKind::TaskClosed { verdict, cause, stderr_tail, .. }
            | EventKind::ChunkClosed { verdict, cause, stderr_tail, .. } => {
                self.state = match verdict {
                    Verdict::Succeeded => TaskState::Succeeded,
                    Verdict::Failed => TaskState::Failed,
                    Verdict::Unfinished => TaskState::Unfinished,
                };
                self.cause.clone_from(cause);
                self.stderr_tail.clone_from(stderr_tail);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Role, TaskEnding};
    use jiff::Timestamp;

    fn event(seq: u64, task: &str, kind: EventKind) -> Event {
        Event {
            seq,
            at: Timestamp::UNIX_EPOCH,
            elapsed_ms: seq * 10,
            run: "r".into(),
            actor: Role::TaskMonitor,
            subject: Subject::of_task(task),
            cause: None,
            kind,
        }
    }

    fn uploaded(input: &str) -> EventKind {
        EventKind::InputUploaded { input: input.into(), bytes: 1, skipped: false }
    }

    #[test]
    fn each_event_moves_its_task_and_no_other() {
        let ending = TaskEnding {
            exit_code: Some(2),
            node: Some("n2".into()),
            started: Some(Timestamp::UNIX_EPOCH),
            ended: Some("1970-01-01T00:00:00.025Z".parse().unwrap_or_default()),
            ..TaskEnding::default()
        };
        let closed = EventKind::TaskClosed {
            verdict: Verdict::Failed,
            cause: Some("exit code 2".into()),
            stderr_tail: Some("no".into()),
            undelivered: false,
            may_pass: false,
        };
        let steps = [
            (uploaded("d/a.txt"), TaskState::Uploaded),
            (EventKind::TaskSubmitted { adopted: false }, TaskState::Queued),
            (EventKind::TaskRunning { node: Some("n1".into()), started: None }, TaskState::Running),
            (EventKind::TaskEnded(ending.clone()), TaskState::Delivering),
            (EventKind::TaskRetried { attempt: 2, cause: "exit code 2".into() }, TaskState::Uploaded),
            (EventKind::TaskSubmitted { adopted: false }, TaskState::Queued),
            (EventKind::TaskEnded(ending), TaskState::Delivering),
            (closed, TaskState::Failed),
        ];
        let mut table = TaskTable::default();
        table.expect("a", "d/a.txt");
        table.expect("b", "d/b.txt");
        for (seq, (kind, state)) in (1..).zip(steps) {
            table.apply(&event(seq, "a", kind));
            assert_eq!(table.get("a").map(|row| row.state), Some(state), "event {seq}");
        }
        let Some(row) = table.get("a") else { panic!("no row") };
        assert_eq!((row.attempt, row.exit_code, row.node.as_deref()), (2, Some(2), Some("n2")));
        // It ended at 70 ms and ran 25 ms, but the service had it only since 60 ms.
        assert_eq!((row.submitted_ms, row.started_ms, row.ended_ms), (Some(60), Some(60), Some(70)));
        assert_eq!((table.get("b").map(|row| row.state), table.last()), (Some(TaskState::Waiting), 8));
    }

    #[test]
    fn a_task_is_found_by_what_a_person_calls_it() {
        let mut table = TaskTable::default();
        for (task, input) in [("3-txt-17", "data/3.txt"), ("x-1", "old/3.txt"), ("y-2", "data/deep/7.csv")] {
            table.expect(task, input);
        }
        let found = |name: &str| table.find(name).iter().map(|row| &*row.task).collect::<Vec<_>>();
        assert_eq!(found("3-txt-17"), ["3-txt-17"]);
        assert_eq!(found("data/3.txt"), ["3-txt-17"]);
        assert_eq!(found("7.csv"), ["y-2"]);
        assert_eq!(found("3.txt"), ["3-txt-17", "x-1"]);
        assert_eq!(found("data/"), ["3-txt-17", "y-2"]);
        assert!(found("nothing").is_empty());
    }
}
