//! Execution information of tasks, start tasks, and job preparation and release tasks.

use super::{NameValuePair, Subtree};
use crate::{
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// Execution information of a task over all its attempts.
    #[derive(Default)]
    pub struct TaskExecutionInfo {
        /// Start of the last attempt, including the download of its resource files.
        pub start_time: Option<Timestamp>,
        /// Time when the task completed.
        pub end_time: Option<Timestamp>,
        /// Exit code of the command; absent if it never ran.
        pub exit_code: Option<i32>,
        /// Container that the command ran in.
        pub container_info: Option<Subtree>,
        /// Reason of the failure, if there was one.
        pub failure_info: Option<FailureInfo>,
        /// Number of retries after the first attempt.
        #[serde(default)]
        pub retry_count: i32,
        /// Start of the last retry.
        pub last_retry_time: Option<Timestamp>,
        /// Number of times that the task was queued again because its node was removed.
        #[serde(default)]
        pub requeue_count: i32,
        /// Time when the task was last queued again.
        pub last_requeue_time: Option<Timestamp>,
        /// Result, once the task has completed.
        pub result: Option<TaskResult>,
    }

    /// Execution information of a start task, or of a job preparation or release task on a node.
    pub struct NodeTaskInfo {
        /// State of the task on this node.
        pub state: NodeTaskState,
        /// Start of the last attempt.
        pub start_time: Timestamp,
        /// Time when the task completed.
        pub end_time: Option<Timestamp>,
        /// Directory of the task, relative to the node's root (preparation and release only).
        pub task_root_directory: Option<String>,
        /// URL of that directory.
        pub task_root_directory_url: Option<String>,
        /// Exit code of the command.
        pub exit_code: Option<i32>,
        /// Container that the command ran in.
        pub container_info: Option<Subtree>,
        /// Reason of the failure, if there was one.
        pub failure_info: Option<FailureInfo>,
        /// Number of retries; absent for a release task.
        pub retry_count: Option<i32>,
        /// Start of the last retry.
        pub last_retry_time: Option<Timestamp>,
        /// Result, once the task has completed.
        pub result: Option<TaskResult>,
    }

    /// The reason why a task, or the scheduling of a job, failed.
    pub struct FailureInfo {
        /// Whether the user or the service caused the failure.
        pub category: ErrorCategory,
        /// Error code: `FailureExitCode`, `BlobAccessDenied`, `TaskEnded`, ….
        pub code: Option<String>,
        /// Error message for people.
        pub message: Option<String>,
        /// Additional details of the error.
        pub details: Option<Vec<NameValuePair>>,
    }
}

open_enum! {
    /// The result of a completed task.
    pub enum TaskResult {
        /// Exit code 0 and all output files uploaded.
        Success = "success",
        /// Any other outcome.
        Failure = "failure",
    }

    /// Whether the user or the service caused a failure.
    pub enum ErrorCategory {
        /// The user's request or data; a retry fails again.
        UserError = "usererror",
        /// An internal error of the service.
        ServerError = "servererror",
    }

    /// The state of a start, job preparation or job release task on a node.
    pub enum NodeTaskState {
        /// The task is running or waiting for a retry.
        Running = "running",
        /// The task has ended, with or without success.
        Completed = "completed",
    }
}
