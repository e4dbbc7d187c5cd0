//! How a run of a command went: start tasks, job preparation and release, tasks.

use super::{NameValuePair, Subtree};
use crate::{
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// How the tries of a task went.
    #[derive(Default)]
    pub struct TaskExecutionInfo {
        /// When the last try began, its file downloads included.
        pub start_time: Option<Timestamp>,
        /// When the task was over.
        pub end_time: Option<Timestamp>,
        /// The command's exit code; absent if it never ran.
        pub exit_code: Option<i32>,
        /// The container it ran in.
        pub container_info: Option<Subtree>,
        /// Why it failed.
        pub failure_info: Option<FailureInfo>,
        /// Tries after the first.
        #[serde(default)]
        pub retry_count: i32,
        /// When the last of them began.
        pub last_retry_time: Option<Timestamp>,
        /// How often it was queued again because its node went.
        #[serde(default)]
        pub requeue_count: i32,
        /// When that happened last.
        pub last_requeue_time: Option<Timestamp>,
        /// How it ended.
        pub result: Option<TaskResult>,
    }

    /// How a start task, or a job's preparation or release on a node, went.
    pub struct NodeTaskInfo {
        /// Running or over.
        pub state: NodeTaskState,
        /// When the last try began.
        pub start_time: Timestamp,
        /// When it was over.
        pub end_time: Option<Timestamp>,
        /// Its folder, below the node's root (preparation and release).
        pub task_root_directory: Option<String>,
        /// The URL of that folder.
        pub task_root_directory_url: Option<String>,
        /// The command's exit code.
        pub exit_code: Option<i32>,
        /// The container it ran in.
        pub container_info: Option<Subtree>,
        /// Why it failed.
        pub failure_info: Option<FailureInfo>,
        /// Tries after the first; a release has none.
        pub retry_count: Option<i32>,
        /// When the last of them began.
        pub last_retry_time: Option<Timestamp>,
        /// How it ended.
        pub result: Option<TaskResult>,
    }

    /// Why something failed: a task, or a job's scheduling.
    pub struct FailureInfo {
        /// Whose fault it is.
        pub category: ErrorCategory,
        /// `FailureExitCode`, `BlobAccessDenied`, `TaskEnded`, ….
        pub code: Option<String>,
        /// In words.
        pub message: Option<String>,
        /// More about it.
        pub details: Option<Vec<NameValuePair>>,
    }
}

open_enum! {
    /// How a task ended.
    pub enum TaskResult {
        /// Exit code 0 and all outputs stored.
        Success = "success",
        /// Anything else.
        Failure = "failure",
    }

    /// Whose fault a failure is.
    pub enum ErrorCategory {
        /// The user's: the same will fail again.
        UserError = "usererror",
        /// The service's.
        ServerError = "servererror",
    }

    /// The state of a start task, or of a job's preparation or release, on a node.
    pub enum NodeTaskState {
        /// It runs, or is tried again.
        Running = "running",
        /// It is over.
        Completed = "completed",
    }
}
