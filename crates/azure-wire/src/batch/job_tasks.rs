//! The tasks that a job brings along: manager, preparation, release.

use super::{
    ApplicationPackageReference, AuthenticationTokenSettings, EnvironmentSetting, NodeTaskInfo, OutputFile,
    ResourceFile, TaskConstraints, TaskContainerSettings, UserIdentity,
};
use crate::{duration::IsoDuration, shape::wire_struct};

wire_struct! {
    /// The task that a job begins with and that may add the others.
    #[derive(Default)]
    pub struct JobManagerTask {
        /// Its id.
        pub id: String,
        /// A name for people.
        pub display_name: Option<String>,
        /// Split into arguments, not run by a shell.
        pub command_line: String,
        /// The image it runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files it needs.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Files to store after it ended.
        pub output_files: Option<Vec<OutputFile>>,
        /// Its variables.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// What bounds it.
        pub constraints: Option<TaskConstraints>,
        /// Slots it takes.
        pub required_slots: Option<i32>,
        /// Whether the job ends with it; true by default.
        pub kill_job_on_completion: Option<bool>,
        /// Whom it runs as.
        pub user_identity: Option<UserIdentity>,
        /// Whether its node runs nothing else; true by default.
        pub run_exclusive: Option<bool>,
        /// Application packages it needs.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// What it may ask of the service; retired.
        pub authentication_token_settings: Option<AuthenticationTokenSettings>,
        /// Whether a spot node will do; true by default.
        pub allow_low_priority_node: Option<bool>,
    }

    /// What a node runs before its first task of a job.
    #[derive(Default)]
    pub struct JobPreparationTask {
        /// Its id; `jobpreparation` by default.
        pub id: Option<String>,
        /// Split into arguments, not run by a shell.
        pub command_line: String,
        /// The image it runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files it needs.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Its variables.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// What bounds it.
        pub constraints: Option<TaskConstraints>,
        /// Whether tasks wait until it succeeded; true by default.
        pub wait_for_success: Option<bool>,
        /// Whom it runs as.
        pub user_identity: Option<UserIdentity>,
        /// Whether it runs again after a reboot though it had succeeded; true by default.
        pub rerun_on_node_reboot_after_success: Option<bool>,
    }

    /// What a node that ran the preparation runs when the job is over.
    #[derive(Default)]
    pub struct JobReleaseTask {
        /// Its id; `jobrelease` by default.
        pub id: Option<String>,
        /// Split into arguments, not run by a shell.
        pub command_line: String,
        /// The image it runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files it needs.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Its variables.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Longest time it may run.
        pub max_wall_clock_time: Option<IsoDuration>,
        /// How long its folder is kept; seven days by default.
        pub retention_time: Option<IsoDuration>,
        /// Whom it runs as.
        pub user_identity: Option<UserIdentity>,
    }

    /// How a job's preparation and release went on one node.
    #[derive(Default)]
    pub struct JobPreparationAndReleaseStatus {
        /// The pool.
        pub pool_id: Option<String>,
        /// The node.
        pub node_id: Option<String>,
        /// Its URL.
        pub node_url: Option<String>,
        /// The preparation.
        pub job_preparation_task_execution_info: Option<NodeTaskInfo>,
        /// The release.
        pub job_release_task_execution_info: Option<NodeTaskInfo>,
    }
}
