//! Tasks, as the service returns them.

use super::{
    ApplicationPackageReference, AuthenticationTokenSettings, EnvironmentSetting, FailureInfo, OutputFile,
    ResourceFile, TaskConstraints, TaskContainerSettings, TaskExecutionInfo, TaskResult, UserIdentity,
};
use crate::{
    etag::ETag,
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// A task as the service returns it.
    #[derive(Default)]
    pub struct Task {
        /// Id of the task; empty if `$select` omits it.
        #[serde(default)]
        pub id: String,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// URL of the task.
        pub url: Option<String>,
        /// Version of the task's description; changes with every update.
        pub e_tag: Option<ETag>,
        /// Time of the last update of the description.
        pub last_modified: Option<Timestamp>,
        /// Time when the task was created.
        pub creation_time: Option<Timestamp>,
        /// Effects of the task's outcome on the job and on dependent tasks.
        pub exit_conditions: Option<ExitConditions>,
        /// Current state. A failed task is `completed`; `executionInfo.result` shows the failure.
        pub state: Option<TaskState>,
        /// Time when the current state began.
        pub state_transition_time: Option<Timestamp>,
        /// State before the current one.
        pub previous_state: Option<TaskState>,
        /// Time when the previous state began.
        pub previous_state_transition_time: Option<Timestamp>,
        /// Command line, split into arguments and not run by a shell.
        pub command_line: Option<String>,
        /// Container that the command runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files to download before the command starts.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Files to upload after the task has ended.
        pub output_files: Option<Vec<OutputFile>>,
        /// Environment variables of the command.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Node that the task prefers.
        pub affinity_info: Option<AffinityInfo>,
        /// Limits of the task.
        pub constraints: Option<TaskConstraints>,
        /// Number of slots that the task occupies.
        pub required_slots: Option<i32>,
        /// User that the command runs as.
        pub user_identity: Option<UserIdentity>,
        /// Execution information of the task.
        pub execution_info: Option<TaskExecutionInfo>,
        /// Node that the task runs or ran on.
        pub node_info: Option<TaskNodeInfo>,
        /// Settings of a multi-instance task, which runs on several nodes at the same time.
        pub multi_instance_settings: Option<MultiInstanceSettings>,
        /// Statistics; returned only with `$expand=stats`.
        pub stats: Option<super::TaskStatistics>,
        /// Tasks that must complete before this one starts.
        pub depends_on: Option<TaskDependencies>,
        /// Application packages to install before the command starts.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// Access of the task to the Batch service; retired by Azure.
        pub authentication_token_settings: Option<AuthenticationTokenSettings>,
    }

    /// The node that a task runs or ran on.
    #[derive(Default)]
    pub struct TaskNodeInfo {
        /// Affinity id for tasks that prefer the same node.
        pub affinity_id: Option<String>,
        /// URL of the node.
        pub node_url: Option<String>,
        /// Id of the pool.
        pub pool_id: Option<String>,
        /// Id of the node.
        pub node_id: Option<String>,
        /// Directory of the task, relative to the node's root: `workitems/<job>/job-1/<task>`.
        pub task_root_directory: Option<String>,
        /// URL of that directory.
        pub task_root_directory_url: Option<String>,
    }

    /// The node that a task prefers.
    #[derive(Default)]
    pub struct AffinityInfo {
        /// Affinity id of a node or of another task.
        pub affinity_id: String,
    }

    /// Settings of a multi-instance task, which runs on several nodes at the same time.
    #[derive(Default)]
    pub struct MultiInstanceSettings {
        /// Number of nodes.
        pub number_of_instances: Option<i32>,
        /// Command that each node runs before the task's command.
        pub coordination_command_line: String,
        /// Files to download to each node.
        pub common_resource_files: Option<Vec<ResourceFile>>,
    }

    /// The tasks that a task waits for.
    #[derive(Default)]
    pub struct TaskDependencies {
        /// Ids of tasks.
        pub task_ids: Option<Vec<String>>,
        /// Ranges of numeric task ids.
        pub task_id_ranges: Option<Vec<TaskIdRange>>,
    }

    /// A range of numeric task ids, both ends included; leading zeros are ignored.
    #[derive(Default)]
    pub struct TaskIdRange {
        /// First value of the range.
        pub start: i32,
        /// Last value of the range.
        pub end: i32,
    }

    /// The effects of a task's outcome on its job and on dependent tasks.
    #[derive(Default)]
    pub struct ExitConditions {
        /// Effects of single exit codes; they take precedence over `file_upload_error`.
        pub exit_codes: Option<Vec<ExitCodeMapping>>,
        /// Effects of ranges of exit codes.
        pub exit_code_ranges: Option<Vec<ExitCodeRangeMapping>>,
        /// Effects of an error before the command starts.
        pub pre_processing_error: Option<ExitOptions>,
        /// Effects of a failed upload of output files.
        pub file_upload_error: Option<ExitOptions>,
        /// Effects of all other outcomes except exit code 0.
        pub default: Option<ExitOptions>,
    }

    /// The effects of one exit code.
    #[derive(Default)]
    pub struct ExitCodeMapping {
        /// Exit code of the command.
        pub code: i32,
        /// Effects of this exit code.
        pub exit_options: ExitOptions,
    }

    /// The effects of a range of exit codes.
    #[derive(Default)]
    pub struct ExitCodeRangeMapping {
        /// First value of the range.
        pub start: i32,
        /// Last value of the range.
        pub end: i32,
        /// Effects of these exit codes.
        pub exit_options: ExitOptions,
    }

    /// The effects of an outcome.
    #[derive(Default)]
    pub struct ExitOptions {
        /// Action on the job.
        pub job_action: Option<JobAction>,
        /// Effect on dependent tasks.
        pub dependency_action: Option<DependencyAction>,
    }

    /// A task with only the properties that monitoring needs, from a list with
    /// `$select=`[`TASK_STATUS_SELECT`]. Kept small because a client may read half a million of them per
    /// minute.
    pub struct TaskStatus {
        /// Id of the task.
        pub id: Box<str>,
        /// Current state of the task.
        pub state: TaskState,
        /// Time when the current state began.
        pub state_transition_time: Option<Timestamp>,
        /// Execution information of the task.
        pub execution_info: Option<TaskStatusExecution>,
        /// Node that the task runs or ran on.
        pub node_info: Option<TaskStatusNode>,
    }

    /// The execution information that monitoring needs.
    #[derive(Default)]
    pub struct TaskStatusExecution {
        /// Start of the last attempt.
        pub start_time: Option<Timestamp>,
        /// Time when the task completed.
        pub end_time: Option<Timestamp>,
        /// Exit code of the command; absent if it never ran.
        pub exit_code: Option<i32>,
        /// Reason of the failure, if there was one.
        pub failure_info: Option<Box<FailureInfo>>,
        /// Number of retries after the first attempt.
        #[serde(default)]
        pub retry_count: i32,
        /// Number of times that the task was queued again because its node was removed.
        #[serde(default)]
        pub requeue_count: i32,
        /// Result, once the task has completed.
        pub result: Option<TaskResult>,
    }

    /// The node information that monitoring needs.
    #[derive(Default)]
    pub struct TaskStatusNode {
        /// Id of the node.
        pub node_id: Option<Box<str>>,
    }
}

/// Value of `$select` for a list of [`TaskStatus`].
pub const TASK_STATUS_SELECT: &str = "id,state,stateTransitionTime,executionInfo,nodeInfo";

open_enum! {
    /// The state of a task.
    pub enum TaskState {
        /// Waiting for a node or for a dependency.
        Active = "active",
        /// Assigned to a node, which runs the job preparation task first.
        Preparing = "preparing",
        /// Running on a node.
        Running = "running",
        /// Ended, with or without success.
        Completed = "completed",
    }

    /// The effect of a task's outcome on its job.
    pub enum JobAction {
        /// No effect on the job.
        None = "none",
        /// Disable the job and queue its running tasks again.
        Disable = "disable",
        /// Terminate the job.
        Terminate = "terminate",
    }

    /// The effect of a task's outcome on dependent tasks.
    pub enum DependencyAction {
        /// Dependent tasks can start.
        Satisfy = "satisfy",
        /// Dependent tasks keep waiting.
        Block = "block",
    }
}
