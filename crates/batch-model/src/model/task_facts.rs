//! The state of a task: small while the task is waiting or completed, and stored in the format of earlier
//! releases.

use super::{
    facts::{Ending, Place},
    moment::Moment,
    tag,
};
use crate::orders::{LaunchEnding, LaunchId, Spent};
use dropmill_azure_wire::{
    batch::{FailureInfo, TaskExecutionInfo, TaskResult, TaskState},
    etag::ETag,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The state of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct TaskFacts {
    /// Creation order: a lower number is older.
    pub number: u64,
    modified: Moment,
    created: Moment,
    state_at: Moment,
    previous_at: Option<Moment>,
    previous: Stage,
    state: Stage,
    /// Whether its files were deleted.
    pub files_gone: bool,
    /// Whether its dependencies were satisfied before one was deleted or became active again: it no longer
    /// waits.
    pub released: bool,
    run: Option<Box<Run>>,
}

/// The state of a task, as an enum without unknown values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It waits for a node.
    Active,
    /// Its job's preparation task is running.
    Preparing,
    /// It runs on a node.
    Running,
    /// It has ended.
    Completed,
}

/// Data of a task that was put on a node, or ended without one.
#[derive(Debug, Clone)]
pub struct Run {
    /// Execution info of its attempts.
    pub info: Tries,
    /// The place where it runs or ran.
    pub node: Option<Place>,
    /// Its launch, while it is running.
    pub launch: Option<LaunchId>,
    /// The process of that launch: id and start time.
    pub process: Option<(u32, u64)>,
    /// Reason why its launch is being ended, if it is.
    pub ending: Option<Ending>,
    /// Resource usage of its last attempt.
    pub spent: Spent,
    /// Its other instances, if it is a multi-instance task.
    pub group: Option<Box<Group>>,
}

/// Execution info of a task or of one of its instances.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "TaskExecutionInfo", into = "TaskExecutionInfo")]
pub struct Tries {
    /// Start time of the last attempt.
    pub start_time: Option<Moment>,
    /// End time of the task.
    pub end_time: Option<Moment>,
    /// Start time of the last retry.
    pub last_retry_time: Option<Moment>,
    /// Time when it was last queued again.
    pub last_requeue_time: Option<Moment>,
    /// Reason why it failed.
    pub failure_info: Option<Box<FailureInfo>>,
    /// Exit code of the command.
    pub exit_code: Option<i32>,
    /// Number of retries.
    pub retry_count: i32,
    /// Number of times that it was queued again.
    pub requeue_count: i32,
    /// Whether it succeeded, if it has ended.
    pub success: Option<bool>,
}

/// Data of a multi-instance task beside its primary.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Group {
    /// Subtasks by number, from 1 on.
    pub subtasks: Vec<Subtask>,
    /// Whether the primary's coordination command succeeded.
    #[serde(skip)]
    pub coordinated: bool,
    /// Whether the primary was ordered to run the task's own command, because all coordination commands
    /// succeeded.
    #[serde(skip)]
    pub goes_on: bool,
    /// How and why the primary ended, while subtasks are still running.
    #[serde(skip)]
    pub over: Option<(LaunchEnding, Option<Ending>)>,
    /// The first subtask that failed, and its end.
    #[serde(skip)]
    pub broken: Option<(usize, LaunchEnding)>,
}

/// An instance of a task that is not its primary.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subtask {
    /// The place where it runs or ran.
    pub node: Place,
    /// Its launch, while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<LaunchId>,
    /// Current state of the subtask.
    pub state: TaskState,
    /// Start time of its state.
    pub state_at: Timestamp,
    /// Previous state and its start time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<(TaskState, Timestamp)>,
    /// Execution info of the subtask.
    pub info: Tries,
    /// Whether its coordination command succeeded.
    #[serde(skip)]
    pub coordinated: bool,
}

impl Stage {
    /// Returns the stage for a state of the protocol, if it is known.
    pub fn of(state: &TaskState) -> Option<Self> {
        Some(match state {
            TaskState::Active => Self::Active,
            TaskState::Preparing => Self::Preparing,
            TaskState::Running => Self::Running,
            TaskState::Completed => Self::Completed,
            TaskState::Other(_) => return None,
        })
    }
}

impl From<Stage> for TaskState {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Active => Self::Active,
            Stage::Preparing => Self::Preparing,
            Stage::Running => Self::Running,
            Stage::Completed => Self::Completed,
        }
    }
}

/// The data of a task that was on no node.
static NO_RUN: Run = Run {
    info: Tries {
        start_time: None,
        end_time: None,
        last_retry_time: None,
        last_requeue_time: None,
        failure_info: None,
        exit_code: None,
        retry_count: 0,
        requeue_count: 0,
        success: None,
    },
    node: None,
    launch: None,
    process: None,
    ending: None,
    spent: Spent { user_us: 0, kernel_us: 0, read_blocks: 0, written_blocks: 0 },
    group: None,
};

impl TaskFacts {
    /// Creates the state of a new task.
    pub fn new(number: u64, moment: Timestamp) -> Self {
        let moment = Moment::from(moment);
        Self {
            number,
            modified: moment,
            created: moment,
            state_at: moment,
            previous_at: None,
            previous: Stage::Active,
            state: Stage::Active,
            files_gone: false,
            released: false,
            run: None,
        }
    }

    /// Returns the ETag, which changes with its constraints.
    pub fn etag(&self) -> ETag {
        tag(self.modified.into())
    }

    /// Returns the time of the last change of its constraints.
    pub fn modified(&self) -> Timestamp {
        self.modified.into()
    }

    /// Records a change of its constraints.
    pub fn modify(&mut self, moment: Timestamp) {
        self.modified = moment.into();
    }

    /// Returns the time when it was added.
    pub fn created(&self) -> Timestamp {
        self.created.into()
    }

    /// Returns the state as the protocol writes it.
    pub fn state(&self) -> TaskState {
        self.state.into()
    }

    /// Returns the state as the model stores it.
    pub fn stage(&self) -> Stage {
        self.state
    }

    /// Returns the start time of its state.
    pub fn state_at(&self) -> Timestamp {
        self.state_at.into()
    }

    /// Returns that time as the model stores it.
    pub fn since(&self) -> Moment {
        self.state_at
    }

    /// Returns its previous state and its start time.
    pub fn previous(&self) -> Option<(TaskState, Timestamp)> {
        self.previous_at.map(|moment| (self.previous.into(), moment.into()))
    }

    /// Sets a new state.
    pub fn enter(&mut self, stage: Stage, moment: Timestamp) {
        (self.previous, self.previous_at) = (self.state, Some(self.state_at));
        (self.state, self.state_at) = (stage, moment.into());
    }

    /// Returns its data since it was put on a node.
    pub fn run(&self) -> &Run {
        self.run.as_deref().unwrap_or(&NO_RUN)
    }

    /// Returns the same data for changes.
    pub fn run_mut(&mut self) -> &mut Run {
        self.run.get_or_insert_with(|| Box::new(NO_RUN.clone()))
    }

    /// Returns whether it has ended and succeeded.
    pub fn succeeded(&self) -> bool {
        self.state == Stage::Completed && self.run().info.success == Some(true)
    }

    /// Returns its places, to be replaced after reading.
    pub(super) fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.run.iter_mut().flat_map(|run| {
            let subtasks = run.group.iter_mut().flat_map(|group| group.subtasks.iter_mut());
            run.node.iter_mut().chain(subtasks.map(|subtask| &mut subtask.node))
        })
    }
}

impl From<TaskExecutionInfo> for Tries {
    fn from(info: TaskExecutionInfo) -> Self {
        Self {
            start_time: info.start_time.map(Moment::from),
            end_time: info.end_time.map(Moment::from),
            last_retry_time: info.last_retry_time.map(Moment::from),
            last_requeue_time: info.last_requeue_time.map(Moment::from),
            failure_info: info.failure_info.map(Box::new),
            exit_code: info.exit_code,
            retry_count: info.retry_count,
            requeue_count: info.requeue_count,
            success: info.result.map(|result| result == TaskResult::Success),
        }
    }
}

impl From<Tries> for TaskExecutionInfo {
    fn from(tries: Tries) -> Self {
        Self {
            start_time: tries.start_time.map(Timestamp::from),
            end_time: tries.end_time.map(Timestamp::from),
            exit_code: tries.exit_code,
            container_info: None,
            failure_info: tries.failure_info.map(|failure| *failure),
            retry_count: tries.retry_count,
            last_retry_time: tries.last_retry_time.map(Timestamp::from),
            requeue_count: tries.requeue_count,
            last_requeue_time: tries.last_requeue_time.map(Timestamp::from),
            result: tries.success.map(result),
        }
    }
}

/// Returns the result of a task as the protocol writes it.
pub fn result(success: bool) -> TaskResult {
    if success { TaskResult::Success } else { TaskResult::Failure }
}

/// The stored form of the state.
#[derive(Serialize, Deserialize)]
struct Stored {
    number: u64,
    etag: ETag,
    modified: Moment,
    created: Moment,
    state: TaskState,
    state_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<(TaskState, Moment)>,
    info: Tries,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<Place>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    launch: Option<LaunchId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<(u32, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
    #[serde(default, skip_serializing_if = "Spent::is_nothing")]
    spent: Spent,
    #[serde(default)]
    files_gone: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    released: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<Box<Group>>,
}

impl From<TaskFacts> for Stored {
    fn from(facts: TaskFacts) -> Self {
        let (etag, run) = (facts.etag(), facts.run.map_or_else(|| NO_RUN.clone(), |run| *run));
        Self {
            number: facts.number,
            etag,
            modified: facts.modified,
            created: facts.created,
            state: facts.state.into(),
            state_at: facts.state_at,
            previous: facts.previous_at.map(|moment| (facts.previous.into(), moment)),
            info: run.info,
            node: run.node,
            launch: run.launch,
            process: run.process,
            ending: run.ending,
            spent: run.spent,
            files_gone: facts.files_gone,
            released: facts.released,
            group: run.group,
        }
    }
}

impl TryFrom<Stored> for TaskFacts {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let stage = |state: &TaskState| Stage::of(state).ok_or_else(|| format!("unknown state {state}"));
        let (state, at) = (stage(&stored.state)?, stored.previous.as_ref().map(|(_, moment)| *moment));
        let previous = stored.previous.as_ref().map(|(state, _)| stage(state)).transpose()?;
        let run = Run {
            info: stored.info,
            node: stored.node,
            launch: stored.launch,
            process: stored.process,
            ending: stored.ending,
            spent: stored.spent,
            group: stored.group,
        };
        Ok(Self {
            number: stored.number,
            modified: stored.modified,
            created: stored.created,
            state_at: stored.state_at,
            previous_at: at,
            previous: previous.unwrap_or(Stage::Active),
            state,
            files_gone: stored.files_gone,
            released: stored.released,
            // A waiting task has no such data.
            run: (state != Stage::Active || previous.is_some()).then(|| Box::new(run)),
        })
    }
}
