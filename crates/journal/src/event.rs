//! The public event: every decision and every outcome of a run, in one order.
//!
//! Versioned with [`VERSION`]; within a major version fields and kinds are only added.

pub use crate::names::{FileOutcome, Role, Subject};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the event contract.
pub const VERSION: &str = "1.2";

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Place in the run's order, from 1, without gaps.
    pub seq: u64,
    /// When it happened, by the wall clock.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Milliseconds since the run began.
    pub elapsed_ms: u64,
    /// Name of the run.
    pub run: String,
    /// Who says so: `storage_uploader`, `pool_keeper`, `job_submitter`, `task_monitor`, `output_fetcher`,
    /// `run_keeper`, `result_collector`.
    #[schemars(with = "String")]
    pub actor: Role,
    /// What it is about: `run`, `pool`, `job`, `node/<id>`, `container/<name>`, `file/<name>`, `task/<id>`.
    #[schemars(with = "String")]
    pub subject: Subject,
    /// `seq` of the event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// What happened, with its details.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened, as `kind` and `payload`. Holds no secret: no key, no SAS, no URL with a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "payload", rename_all = "snake_case")]
pub enum EventKind {
    /// The run began.
    RunStarted {
        /// `run.name` of the run file.
        name: String,
        /// `embedded` or `azure`.
        service: String,
        /// Number of tasks.
        tasks: u64,
        /// Version of this contract.
        version: String,
    },
    /// A later life of the program goes on with the run.
    RunResumed {
        /// Number of this life, from 2.
        life: u32,
        /// Tasks that are not closed.
        open: u64,
    },
    /// A file of the drop folder is about to be taken into the work folder.
    FileClaimed {
        /// Its path below the drop folder; a byte that is not UTF-8, and `%`, as `%XX`.
        input: String,
        /// Length in bytes.
        bytes: u64,
        /// The folder below the work folder that it is taken into.
        place: String,
        /// Number of the attempt that this task is, from 1.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        /// How the file looked when it was taken: length, modification time in nanoseconds since 1970, and inode (of a
        /// folder: a hash over its files), with `/` between them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        look: Option<String>,
    },
    /// It went away, or was written to, before it was taken: it is not this run's.
    FileWithdrawn {
        /// The reason in one line.
        reason: String,
    },
    /// Its result, or its failure, is in its place.
    FilePublished {
        /// `done` or `failed`.
        #[schemars(with = "String")]
        outcome: FileOutcome,
        /// Path below that folder, written as `input` is.
        place: String,
    },
    /// A container is there.
    ContainerReady {},
    /// A file of the application is in its container.
    ApplicationUploaded {
        /// Length in bytes.
        bytes: u64,
        /// It was there already, with the same content.
        skipped: bool,
    },
    /// A file that several tasks share is in the container of the inputs.
    SharedFileUploaded {
        /// Length in bytes.
        bytes: u64,
        /// Whether it was there already.
        skipped: bool,
    },
    /// A task's input is in its container: all its files, if it has several.
    InputUploaded {
        /// Relative path of the input.
        input: String,
        /// Length in bytes.
        bytes: u64,
        /// It was there already, with the same content.
        skipped: bool,
    },
    /// A call failed and will be tried again after a rest.
    Retrying {
        /// What is tried: `create pool`, `upload`, `add tasks`, …
        what: String,
        /// Number of the try that failed, from 1.
        attempt: u32,
        /// Length of the rest.
        after_ms: u64,
        /// Why it failed.
        error: String,
    },
    /// The pool was asked for, or found made by an earlier life of this run.
    PoolCreated {
        /// Dedicated nodes asked for.
        nodes: u32,
        /// Spot nodes asked for.
        spot_nodes: u32,
        /// It was there already with our fingerprint.
        adopted: bool,
    },
    /// A node was seen in another state than before.
    NodeChanged {
        /// The service's word for its state.
        state: String,
    },
    /// A start task failed on a node.
    StartTaskFailed {
        /// Exit code, if it ran.
        exit_code: Option<i32>,
        /// Reason given by the service.
        reason: String,
        /// Last lines of its standard error.
        stderr_tail: String,
    },
    /// The pool's resize ended with an error.
    ResizeFailed {
        /// The service's code.
        code: String,
        /// The service's words.
        message: String,
    },
    /// The pool has its nodes and they are ready.
    PoolReady {
        /// Nodes ready for tasks.
        nodes: u32,
    },
    /// The run goes on with less than it asked for.
    Degraded {
        /// The reason in one line.
        reason: String,
    },
    /// The job was made, or found made by an earlier life of this run.
    JobCreated {
        /// It was there already.
        adopted: bool,
    },
    /// The service accepted the task.
    TaskSubmitted {
        /// It was there already, and ours.
        adopted: bool,
    },
    /// The task was seen running.
    TaskRunning {
        /// Where.
        node: Option<String>,
    },
    /// The service was asked to end the task.
    TaskTerminateAsked {
        /// The reason in one line.
        reason: String,
    },
    /// The service says the task is over.
    TaskEnded(TaskEnding),
    /// An attempt failed, and another follows in an empty folder. What comes next on the task is of that one.
    TaskRetried {
        /// Number of the attempt that follows, from 2.
        attempt: u32,
        /// Why the one before failed, in one line.
        cause: String,
    },
    /// The task's results are in the output folder, whole.
    OutputDelivered {
        /// Folder below the output folder; empty for a flat layout.
        folder: String,
        /// Its files.
        files: Vec<DeliveredFile>,
        /// It took the place of an earlier result of the same input.
        #[serde(default, skip_serializing_if = "is_false")]
        replaced: bool,
        /// What is in its place, so that it lies beside that as `NAME~2`, in one line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beside: Option<String>,
    },
    /// The last word on a task: exactly one for each.
    TaskClosed {
        /// What became of it.
        verdict: Verdict,
        /// In one line, why it did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// Last lines of its standard error, when it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stderr_tail: Option<String>,
        /// Something it left is, or may be, at the service only.
        #[serde(default, skip_serializing_if = "is_false")]
        undelivered: bool,
        /// It failed for a reason that is none of its own and may pass: another try may succeed.
        #[serde(default, skip_serializing_if = "is_false")]
        may_pass: bool,
    },
    /// A deadline passed.
    DeadlinePassed {
        /// Which: `run`, `allocation`, `start_task`, `queue`, `no_progress`, `upload`, `delivery`, `cleanup`.
        which: String,
    },
    /// The run was told to end: what is unfinished is terminated, what is finished is fetched, cleanup follows.
    EndAsked {
        /// The reason in one line.
        reason: EndReason,
        /// In one line.
        detail: String,
    },
    /// The job was told to end.
    JobTerminated {
        /// The reason given to the service.
        reason: String,
    },
    /// The job is gone.
    JobDeleted {},
    /// The pool is gone.
    PoolDeleted {},
    /// A container was deleted.
    ContainerDeleted {},
    /// Something was kept or could not be deleted.
    LeftBehind {
        /// The reason in one line.
        reason: String,
    },
    /// An actor died; the run ends with that reason.
    ActorLost {
        /// Which.
        #[schemars(with = "String")]
        actor: Role,
    },
    /// The last event of a run.
    RunEnded {
        /// How it ended.
        outcome: Outcome,
        /// Tasks that succeeded.
        succeeded: u64,
        /// Tasks that failed.
        failed: u64,
        /// Tasks that were not finished.
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

/// What the service says of a task that is over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskEnding {
    /// The service calls it a success.
    pub success: bool,
    /// Exit code; none if the command never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Code of the failure: `FailureExitCode`, `CommandProgramNotFound`, `TaskEnded`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
    /// The service's words for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// Node on which it ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended: Option<Timestamp>,
    /// Attempts before this one, which exited with another code than 0.
    pub retries: u32,
    /// How often it was queued again because its node was lost.
    pub requeues: u32,
}

impl TaskEnding {
    /// Whether somebody asked the service to end it. A task that ran longer than it may has the same code.
    pub fn was_ended(&self) -> bool {
        let by_limit =
            self.failure_message.as_deref().is_some_and(|told| told.to_lowercase().contains("wall"));
        !self.success && self.failure_code.as_deref() == Some("TaskEnded") && !by_limit
    }
}

/// One file of a delivered result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveredFile {
    /// Path below the result's folder, `/` between segments.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// MD5 of its content, 32 hex digits.
    pub md5: String,
    /// Its place below the output folder, if that does not follow from the folder and the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Bytes of a task's standard output or error that were left out of its middle (`limits.stream_bytes`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It exited with 0 and its results were delivered.
    Succeeded,
    /// It failed, or its results could not be delivered.
    Failed,
    /// It was not carried out to its end: the run ended before, or no node took it within `deadlines.queue`. What it
    /// left is not delivered.
    Unfinished,
}

/// Why a run was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Every task is over.
    AllTasksClosed,
    /// A deadline passed.
    Deadline,
    /// Somebody asked.
    Cancelled,
    /// The pool cannot be had, its start task fails, the service refuses us, an actor died.
    Infrastructure,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every task succeeded.
    Succeeded,
    /// Some task did not succeed.
    TasksFailed,
    /// A deadline ended it.
    Deadline,
    /// Somebody ended it.
    Cancelled,
    /// Service, credentials or infrastructure ended it.
    Infrastructure,
}

impl Outcome {
    /// Exit code of the program.
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
