//! Bodies of requests about tasks, and the response to a collection.

use super::{
    AffinityInfo, ApplicationPackageReference, AuthenticationTokenSettings, EnvironmentSetting,
    ExitConditions, MultiInstanceSettings, OutputFile, ResourceFile, TaskConstraints, TaskContainerSettings,
    TaskDependencies, UserIdentity,
};
use crate::{
    error::BatchErrorBody,
    etag::ETag,
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// The body of a request that creates a task.
    #[derive(Default)]
    pub struct TaskAdd {
        /// Id of the task, unique in the job.
        pub id: String,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// Command line, split into arguments and not run by a shell.
        pub command_line: String,
        /// Container that the command runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Effects of the task's outcome on the job and on dependent tasks.
        pub exit_conditions: Option<ExitConditions>,
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
        /// Number of slots that the task occupies; 1 by default.
        pub required_slots: Option<i32>,
        /// User that the command runs as.
        pub user_identity: Option<UserIdentity>,
        /// Settings of a multi-instance task, which runs on several nodes at the same time.
        pub multi_instance_settings: Option<MultiInstanceSettings>,
        /// Tasks that must complete before this one starts.
        pub depends_on: Option<TaskDependencies>,
        /// Application packages to install before the command starts.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// Access of the task to the Batch service; retired by Azure.
        pub authentication_token_settings: Option<AuthenticationTokenSettings>,
    }

    /// The body of a request that creates up to 100 tasks.
    #[derive(Default)]
    pub struct TaskAddCollection {
        /// Tasks to create.
        pub value: Vec<TaskAdd>,
    }

    /// The result for each task of a collection, in any order. The response is 200 even if every task failed.
    #[derive(Default)]
    pub struct TaskAddCollectionResult {
        /// One result per task.
        #[serde(default)]
        pub value: Vec<TaskAddResult>,
    }

    /// The result for one task of a collection.
    pub struct TaskAddResult {
        /// Whether the task was created, rejected, or failed in the service.
        pub status: TaskAddStatus,
        /// Id of the task.
        pub task_id: String,
        /// Entity tag, if the task was created.
        pub e_tag: Option<ETag>,
        /// Time of creation, if the task was created.
        pub last_modified: Option<Timestamp>,
        /// URL of the task, if it was created.
        pub location: Option<String>,
        /// Error, if the task was not created.
        pub error: Option<BatchErrorBody>,
    }

    /// The body of a PUT of a task; absent constraints are reset to their defaults.
    #[derive(Default)]
    pub struct TaskUpdate {
        /// Limits of the task.
        pub constraints: Option<TaskConstraints>,
    }
}

open_enum! {
    /// The result for one task of a collection.
    pub enum TaskAddStatus {
        /// The task was created.
        Success = "success",
        /// The task was rejected, and a retry will be too (`TaskExists` if it already exists).
        ClientError = "clienterror",
        /// The service failed; send the same task again.
        ServerError = "servererror",
    }
}
