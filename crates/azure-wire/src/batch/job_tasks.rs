//! The special tasks of a job: manager, preparation and release.

use super::{
    ApplicationPackageReference, AuthenticationTokenSettings, EnvironmentSetting, NodeTaskInfo, OutputFile,
    ResourceFile, TaskConstraints, TaskContainerSettings, UserIdentity,
};
use crate::{duration::IsoDuration, shape::wire_struct};

wire_struct! {
    /// The task that starts with a job and can add other tasks.
    #[derive(Default)]
    pub struct JobManagerTask {
        /// Id of the task, unique in the job.
        pub id: String,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// Command line, split into arguments and not run by a shell.
        pub command_line: String,
        /// Container that the command runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files to download before the command starts.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Files to upload after the task has ended.
        pub output_files: Option<Vec<OutputFile>>,
        /// Environment variables of the command.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Limits of the task.
        pub constraints: Option<TaskConstraints>,
        /// Number of slots that the task occupies.
        pub required_slots: Option<i32>,
        /// `true`, the default, to complete the job when this task completes.
        pub kill_job_on_completion: Option<bool>,
        /// User that the command runs as.
        pub user_identity: Option<UserIdentity>,
        /// `true`, the default, to run no other task on the same node.
        pub run_exclusive: Option<bool>,
        /// Application packages to install before the command starts.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// Access of the task to the Batch service; retired by Azure.
        pub authentication_token_settings: Option<AuthenticationTokenSettings>,
        /// `true`, the default, to allow a spot node.
        pub allow_low_priority_node: Option<bool>,
    }

    /// The task that a node runs before its first task of a job.
    #[derive(Default)]
    pub struct JobPreparationTask {
        /// Id of the task, `jobpreparation` by default.
        pub id: Option<String>,
        /// Command line, split into arguments and not run by a shell.
        pub command_line: String,
        /// Container that the command runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files to download before the command starts.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Environment variables of the command.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Limits of the task.
        pub constraints: Option<TaskConstraints>,
        /// `true`, the default, if tasks wait until the preparation has succeeded.
        pub wait_for_success: Option<bool>,
        /// User that the command runs as.
        pub user_identity: Option<UserIdentity>,
        /// `true`, the default, to run again after a reboot even if it had succeeded.
        pub rerun_on_node_reboot_after_success: Option<bool>,
    }

    /// The task that each node runs when the job ends, if it ran the preparation task.
    #[derive(Default)]
    pub struct JobReleaseTask {
        /// Id of the task, `jobrelease` by default.
        pub id: Option<String>,
        /// Command line, split into arguments and not run by a shell.
        pub command_line: String,
        /// Container that the command runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files to download before the command starts.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Environment variables of the command.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Longest run time; 15 minutes by default.
        pub max_wall_clock_time: Option<IsoDuration>,
        /// How long the task's directory is kept; 7 days by default.
        pub retention_time: Option<IsoDuration>,
        /// User that the command runs as.
        pub user_identity: Option<UserIdentity>,
    }

    /// The status of job preparation and release on one node.
    #[derive(Default)]
    pub struct JobPreparationAndReleaseStatus {
        /// Id of the pool.
        pub pool_id: Option<String>,
        /// Id of the node.
        pub node_id: Option<String>,
        /// URL of the node.
        pub node_url: Option<String>,
        /// Execution of the preparation task.
        pub job_preparation_task_execution_info: Option<NodeTaskInfo>,
        /// Execution of the release task.
        pub job_release_task_execution_info: Option<NodeTaskInfo>,
    }
}
