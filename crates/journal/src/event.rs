//! The public event: every decision and every outcome of a run, in one order.
//!
//! The version is [`VERSION`]; within a major version, fields and kinds are only added.

pub use crate::names::{FileOutcome, Role, Subject};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the event contract.
pub const VERSION: &str = "1.3";

/// An event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Number of the event within the run, from 1, without gaps.
    pub seq: u64,
    /// Wall-clock time of the event.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Milliseconds since the run began.
    pub elapsed_ms: u64,
    /// Name of the run.
    pub run: String,
    /// Actor that recorded the event: `storage_uploader`, `pool_keeper`, `job_submitter`, `task_monitor`,
    /// `output_fetcher`, `run_keeper`, `result_collector`.
    #[schemars(with = "String")]
    pub actor: Role,
    /// Subject of the event: `run`, `pool`, `job`, `node/<id>`, `container/<name>`, `file/<name>`,
    /// `task/<id>`.
    #[schemars(with = "String")]
    pub subject: Subject,
    /// `seq` of the event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// What happened, with details.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened, as `kind` and `payload`. Contains no secret: no key, no SAS, no URL with a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "payload", rename_all = "snake_case")]
pub enum EventKind {
    /// The run began.
    RunStarted {
        /// `run.name` of the run file.
        name: String,
        /// The service in use: `embedded` or `azure`.
        service: String,
        /// Number of tasks.
        tasks: u64,
        /// Version of the event contract.
        version: String,
    },
    /// A new process resumes the run.
    RunResumed {
        /// Number of the process working on this run; the first resume is 2.
        life: u32,
        /// Tasks that are not closed.
        open: u64,
    },
    /// A file of the drop folder is about to be moved to the work folder.
    FileClaimed {
        /// Path of the file below the drop folder; `%` and bytes that are not UTF-8 are written as `%XX`.
        input: String,
        /// Length in bytes.
        bytes: u64,
        /// Folder below the work folder that the file is moved to.
        place: String,
        /// Number of the attempt to process the file, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// Metadata of the file when it was claimed: length, modification time in nanoseconds since 1970, and
        /// inode (for a folder: a hash over its files), separated by `/`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        look: Option<String>,
    },
    /// The file disappeared or changed before it was claimed: it does not belong to this run.
    FileWithdrawn {
        /// The reason in one line.
        reason: String,
    },
    /// The result or the failed input was moved to its final place.
    FilePublished {
        /// Outcome of the file: `done`, `duplicate` or `failed`.
        #[schemars(with = "String")]
        outcome: FileOutcome,
        /// Path below that folder, encoded like `input`.
        place: String,
    },
    /// A container exists.
    ContainerReady {},
    /// An application file was uploaded to its container.
    ApplicationUploaded {
        /// Length in bytes.
        bytes: u64,
        /// Whether it existed already, with the same content.
        skipped: bool,
    },
    /// A file that several tasks share was uploaded to the container of the inputs.
    SharedFileUploaded {
        /// Length in bytes.
        bytes: u64,
        /// Whether it existed already.
        skipped: bool,
    },
    /// A task's input was uploaded: all its files, if it has several.
    InputUploaded {
        /// Relative path of the input.
        input: String,
        /// Length in bytes.
        bytes: u64,
        /// Whether it existed already, with the same content.
        skipped: bool,
    },
    /// The subject is a task for several inputs (`input.per_task`): it is submitted in place of the tasks of these inputs.
    ChunkFormed {
        /// Its name, made of those of its first and its last input.
        input: String,
        /// Its inputs. Each is closed by an event of its own.
        inputs: Vec<ChunkInput>,
    },
    /// A request failed and will be retried after a delay.
    Retrying {
        /// The operation: `create pool`, `upload`, `add tasks`, …
        what: String,
        /// Number of the attempt that failed, from 1.
        attempt: u32,
        /// Delay before the next attempt, in milliseconds.
        after_ms: u64,
        /// Error of the failed attempt.
        error: String,
        /// Error code of the service, or one of Dropmill's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// The pool was created, or a previous process of this run had created it.
    PoolCreated {
        /// Number of requested dedicated nodes.
        nodes: u32,
        /// Number of requested Spot nodes.
        spot_nodes: u32,
        /// Whether it existed already, with the fingerprint of this run.
        adopted: bool,
        /// Task slots of one node.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slots_per_node: Option<u32>,
    },
    /// A node changed its state.
    NodeChanged {
        /// State of the node, as named by the service.
        state: String,
    },
    /// A start task failed on a node.
    StartTaskFailed {
        /// Exit code, if the start task ran.
        exit_code: Option<i32>,
        /// Reason given by the service.
        reason: String,
        /// Last lines of its standard error.
        stderr_tail: String,
    },
    /// The pool's resize ended with an error.
    ResizeFailed {
        /// Error code of the service.
        code: String,
        /// Error message of the service.
        message: String,
    },
    /// The pool has its nodes, and they are ready.
    PoolReady {
        /// Number of nodes that are ready for tasks.
        nodes: u32,
    },
    /// The run continues with less than requested, for example with fewer nodes.
    Degraded {
        /// The reason in one line.
        reason: String,
    },
    /// The job was created, or a previous process of this run had created it.
    JobCreated {
        /// Whether it existed already.
        adopted: bool,
    },
    /// The service accepted the task.
    TaskSubmitted {
        /// Whether the task existed already, and belongs to this run.
        adopted: bool,
    },
    /// A poll found the task running.
    TaskRunning {
        /// Node that runs the task, if known.
        node: Option<String>,
        /// When it began to run, as the service reports it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        started: Option<Timestamp>,
    },
    /// A poll showed that the service queued the task again by itself, because its node was lost.
    TaskRequeued {
        /// How often the service did so with this attempt.
        requeues: u32,
    },
    /// The service was asked to terminate the task.
    TaskTerminateAsked {
        /// The reason in one line.
        reason: String,
    },
    /// The service reports that the task has ended.
    TaskEnded(TaskEnding),
    /// An attempt at the task failed.
    TaskAttemptFailed {
        /// Number of the attempt, from 1.
        attempt: u32,
        /// The word for the cause: `exit_code`, `timeout`, `node_lost`, `inputs`, `outputs`, `environment`.
        reason: String,
        /// Why it failed, in one line.
        cause: String,
        /// Milliseconds until another attempt begins; left out if none follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
        /// When another attempt begins; left out if none follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        again_at: Option<Timestamp>,
    },
    /// An attempt failed, and another follows in an empty folder. Later events of the task are about the new
    /// attempt.
    TaskRetried {
        /// Number of the next attempt, from 2.
        attempt: u32,
        /// Reason why the previous attempt failed, in one line.
        cause: String,
    },
    /// The task was for several inputs and its command failed: each input follows as a task of its own. The last event of
    /// the task.
    TaskSplit {
        /// Number of its inputs.
        inputs: u32,
        /// Why it failed, in one line.
        cause: String,
    },
    /// A task for several inputs is closed, after each of its inputs. The last event of the task.
    ChunkClosed {
        /// Final verdict on the task. Each input has its own.
        verdict: Verdict,
        /// Number of its inputs.
        inputs: u32,
        /// Reason why it did not succeed, in one line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// Last lines of its standard error, when it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stderr_tail: Option<String>,
        /// Whether a part of its outputs is, or may be, only at the service.
        #[serde(default, skip_serializing_if = "is_false")]
        undelivered: bool,
    },
    /// The task's results are completely in the output folder.
    OutputDelivered {
        /// Folder below the output folder; empty if the files have no folder of their own (`flat`, `mirror`).
        folder: String,
        /// Delivered files of the task.
        files: Vec<DeliveredFile>,
        /// Whether it replaced an earlier result of the same input.
        #[serde(default, skip_serializing_if = "is_false")]
        replaced: bool,
        /// The reason, in one line, why the result is named `NAME~2`: its place was taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beside: Option<String>,
    },
    /// The final result of a task: exactly one event per task.
    TaskClosed {
        /// Final verdict on the task.
        verdict: Verdict,
        /// Reason why it did not succeed, in one line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// Last lines of its standard error, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stderr_tail: Option<String>,
        /// Whether a part of its results is, or may be, only at the service.
        #[serde(default, skip_serializing_if = "is_false")]
        undelivered: bool,
        /// Whether it failed for an external, possibly temporary reason, so that another attempt may succeed.
        #[serde(default, skip_serializing_if = "is_false")]
        may_pass: bool,
    },
    /// A deadline passed.
    DeadlinePassed {
        /// Name of the deadline: `run`, `allocation`, `start_task`, `queue`, `no_progress`, `upload`,
        /// `delivery`, `cleanup`.
        which: String,
    },
    /// So many tasks failed that no more are started (`run.max_failures`). Tasks that run may end.
    MaxFailuresReached {
        /// Tasks that failed.
        failed: u64,
        /// The number at which no more are started.
        limit: u64,
    },
    /// The job starts no more tasks; those that run may end.
    JobDisabled {},
    /// The run was asked to end: unfinished tasks are terminated, finished results are downloaded, then the
    /// cleanup follows.
    EndAsked {
        /// The reason in one line.
        reason: EndReason,
        /// Details of the reason, in one line.
        detail: String,
    },
    /// The service was asked to terminate the job.
    JobTerminated {
        /// The reason given to the service.
        reason: String,
    },
    /// The job no longer exists.
    JobDeleted {},
    /// The pool no longer exists.
    PoolDeleted {},
    /// A container was deleted.
    ContainerDeleted {},
    /// A resource was kept, or could not be deleted.
    LeftBehind {
        /// The reason in one line.
        reason: String,
    },
    /// An actor crashed; the run ends for this reason.
    ActorLost {
        /// Name of the actor.
        #[schemars(with = "String")]
        actor: Role,
    },
    /// The last event of a run.
    RunEnded {
        /// Outcome of the run.
        outcome: Outcome,
        /// Number of tasks that succeeded.
        succeeded: u64,
        /// Number of tasks that failed.
        failed: u64,
        /// Number of tasks that were not finished.
        unfinished: u64,
    },
}

fn first() -> u32 {
    1
}

fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What the service reports about a task that has ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskEnding {
    /// Whether the service reports success.
    pub success: bool,
    /// Exit code; `None` if the command never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Code of the failure: `FailureExitCode`, `CommandProgramNotFound`, `TaskEnded`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
    /// Failure message of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// Node on which the task ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Start time of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// End time of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended: Option<Timestamp>,
    /// Number of earlier attempts, which exited with a code other than 0.
    pub retries: u32,
    /// Number of times that it was queued again because its node was lost.
    pub requeues: u32,
}

impl TaskEnding {
    /// Returns whether a client asked the service to terminate it. A task that exceeded its time limit has
    /// the same code.
    pub fn was_ended(&self) -> bool {
        let by_limit =
            self.failure_message.as_deref().is_some_and(|message| message.to_lowercase().contains("wall"));
        !self.success && self.failure_code.as_deref() == Some("TaskEnded") && !by_limit
    }
}

/// An input of a task for several inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkInput {
    /// Id of the input's own task, which is submitted only if the task for several inputs fails.
    pub task: String,
    /// Relative path of the input.
    pub input: String,
}

/// One file of a delivered result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveredFile {
    /// Path below the result's folder, with `/` between segments.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// MD5 of its content, 32 hex digits.
    pub md5: String,
    /// Path below the output folder, if it differs from the folder and the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Number of bytes left out of the middle of a task's standard output or error (`limits.stream_bytes`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// It is not in the output folder: the folder of the run keeps it as `logs/<task>/<path>` (`output.layout = "mirror"`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_log: bool,
}

/// The final verdict on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The task exited with 0, and its results were delivered.
    Succeeded,
    /// The task failed, or its results could not be delivered.
    Failed,
    /// The task did not finish: the run ended before, or no node started it within `deadlines.queue`. Its
    /// results are not delivered.
    Unfinished,
}

/// The reason why a run was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Every task has ended.
    AllTasksClosed,
    /// A deadline passed.
    Deadline,
    /// The user cancelled the run.
    Cancelled,
    /// No pool is available, its start task fails, the service rejects requests, or an actor crashed.
    Infrastructure,
}

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every task succeeded.
    Succeeded,
    /// At least one task did not succeed.
    TasksFailed,
    /// A deadline ended the run.
    Deadline,
    /// The user cancelled the run.
    Cancelled,
    /// The service, the credentials or the infrastructure ended the run.
    Infrastructure,
}

impl Outcome {
    /// Returns the exit code of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::TasksFailed => 1,
            Self::Infrastructure => 3,
            Self::Deadline => 4,
            Self::Cancelled => 130,
        }
    }
}
