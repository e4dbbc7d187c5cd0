//! Tasks as they are returned.

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
        /// Its id; empty when a `$select` left it out.
        #[serde(default)]
        pub id: String,
        /// A name for people.
        pub display_name: Option<String>,
        /// Its URL.
        pub url: Option<String>,
        /// Changes with every change of its description.
        pub e_tag: Option<ETag>,
        /// When its description changed last.
        pub last_modified: Option<Timestamp>,
        /// When it was made.
        pub creation_time: Option<Timestamp>,
        /// What its end means for job and dependent tasks.
        pub exit_conditions: Option<ExitConditions>,
        /// Its state; there is none for failure, see `executionInfo.result`.
        pub state: Option<TaskState>,
        /// When it entered that state.
        pub state_transition_time: Option<Timestamp>,
        /// Its state before.
        pub previous_state: Option<TaskState>,
        /// When it entered that one.
        pub previous_state_transition_time: Option<Timestamp>,
        /// Split into arguments, not run by a shell.
        pub command_line: Option<String>,
        /// The image it runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files it needs.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Files to store after it ended.
        pub output_files: Option<Vec<OutputFile>>,
        /// Its variables.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// The node it would like.
        pub affinity_info: Option<AffinityInfo>,
        /// What bounds it.
        pub constraints: Option<TaskConstraints>,
        /// Slots it takes.
        pub required_slots: Option<i32>,
        /// Whom it runs as.
        pub user_identity: Option<UserIdentity>,
        /// How it goes.
        pub execution_info: Option<TaskExecutionInfo>,
        /// Where it runs, or ran.
        pub node_info: Option<TaskNodeInfo>,
        /// For tasks on several nodes at once.
        pub multi_instance_settings: Option<MultiInstanceSettings>,
        /// Statistics; only with `$expand=stats`.
        pub stats: Option<super::TaskStatistics>,
        /// Tasks it waits for.
        pub depends_on: Option<TaskDependencies>,
        /// Application packages it needs.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// What it may ask of the service; retired.
        pub authentication_token_settings: Option<AuthenticationTokenSettings>,
    }

    /// Where a task runs, or ran.
    #[derive(Default)]
    pub struct TaskNodeInfo {
        /// For tasks that want the same node.
        pub affinity_id: Option<String>,
        /// The node's URL.
        pub node_url: Option<String>,
        /// The pool.
        pub pool_id: Option<String>,
        /// The node.
        pub node_id: Option<String>,
        /// The task's folder below the node's root: `workitems/<job>/job-1/<task>`.
        pub task_root_directory: Option<String>,
        /// The URL of that folder.
        pub task_root_directory_url: Option<String>,
    }

    /// The node a task would like.
    #[derive(Default)]
    pub struct AffinityInfo {
        /// A node's or task's affinity id.
        pub affinity_id: String,
    }

    /// For tasks on several nodes at once.
    #[derive(Default)]
    pub struct MultiInstanceSettings {
        /// Nodes.
        pub number_of_instances: Option<i32>,
        /// What each node runs first.
        pub coordination_command_line: String,
        /// Files each node needs.
        pub common_resource_files: Option<Vec<ResourceFile>>,
    }

    /// Tasks that a task waits for.
    #[derive(Default)]
    pub struct TaskDependencies {
        /// By id.
        pub task_ids: Option<Vec<String>>,
        /// By ranges of ids that are numbers.
        pub task_id_ranges: Option<Vec<TaskIdRange>>,
    }

    /// Ids that are numbers, both ends included; leading zeros do not count.
    #[derive(Default)]
    pub struct TaskIdRange {
        /// First.
        pub start: i32,
        /// Last.
        pub end: i32,
    }

    /// What a task's end means for job and dependent tasks.
    #[derive(Default)]
    pub struct ExitConditions {
        /// For single exit codes; these beat `fileUploadError`.
        pub exit_codes: Option<Vec<ExitCodeMapping>>,
        /// For ranges of exit codes.
        pub exit_code_ranges: Option<Vec<ExitCodeRangeMapping>>,
        /// When it could not be started.
        pub pre_processing_error: Option<ExitOptions>,
        /// When its outputs could not be stored.
        pub file_upload_error: Option<ExitOptions>,
        /// Otherwise, exit code 0 excepted.
        pub default: Option<ExitOptions>,
    }

    /// What one exit code means.
    #[derive(Default)]
    pub struct ExitCodeMapping {
        /// The code.
        pub code: i32,
        /// What it means.
        pub exit_options: ExitOptions,
    }

    /// What a range of exit codes means.
    #[derive(Default)]
    pub struct ExitCodeRangeMapping {
        /// First.
        pub start: i32,
        /// Last.
        pub end: i32,
        /// What they mean.
        pub exit_options: ExitOptions,
    }

    /// What an end means.
    #[derive(Default)]
    pub struct ExitOptions {
        /// For the job.
        pub job_action: Option<JobAction>,
        /// For tasks that depend on it.
        pub dependency_action: Option<DependencyAction>,
    }

    /// A task in a list that only follows states: `$select=`[`TASK_STATUS_SELECT`]. Half a million of them are
    /// read per minute, so it keeps what a follower needs and nothing else.
    pub struct TaskStatus {
        /// Its id.
        pub id: Box<str>,
        /// Its state.
        pub state: TaskState,
        /// When it entered that state.
        pub state_transition_time: Option<Timestamp>,
        /// How it goes.
        pub execution_info: Option<TaskStatusExecution>,
        /// Where it runs, or ran.
        pub node_info: Option<TaskStatusNode>,
    }

    /// How a task goes, as far as a follower needs to know.
    #[derive(Default)]
    pub struct TaskStatusExecution {
        /// When the last try began.
        pub start_time: Option<Timestamp>,
        /// When the task was over.
        pub end_time: Option<Timestamp>,
        /// The command's exit code; absent if it never ran.
        pub exit_code: Option<i32>,
        /// Why it failed.
        pub failure_info: Option<Box<FailureInfo>>,
        /// Tries after the first.
        #[serde(default)]
        pub retry_count: i32,
        /// How often it was queued again because its node went.
        #[serde(default)]
        pub requeue_count: i32,
        /// How it ended.
        pub result: Option<TaskResult>,
    }

    /// The node of a task, as far as a follower needs to know.
    #[derive(Default)]
    pub struct TaskStatusNode {
        /// The node.
        pub node_id: Option<Box<str>>,
    }
}

/// The `$select` that a list of [`TaskStatus`] needs.
pub const TASK_STATUS_SELECT: &str = "id,state,stateTransitionTime,executionInfo,nodeInfo";

open_enum! {
    /// What a task does.
    pub enum TaskState {
        /// It waits for a node, or for tasks it depends on.
        Active = "active",
        /// It has a node, which runs the job's preparation first.
        Preparing = "preparing",
        /// It runs.
        Running = "running",
        /// It is over, with success or without.
        Completed = "completed",
    }

    /// What a task's end means for its job.
    pub enum JobAction {
        /// Nothing.
        None = "none",
        /// The job is disabled.
        Disable = "disable",
        /// The job ends.
        Terminate = "terminate",
    }

    /// What a task's end means for tasks that depend on it.
    pub enum DependencyAction {
        /// They need not wait for it any longer.
        Satisfy = "satisfy",
        /// They wait on.
        Block = "block",
    }
}
