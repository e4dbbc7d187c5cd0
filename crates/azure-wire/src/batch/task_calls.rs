//! What is sent about tasks, and what comes back for a collection.

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
    /// A new task.
    #[derive(Default)]
    pub struct TaskAdd {
        /// Its id.
        pub id: String,
        /// A name for people.
        pub display_name: Option<String>,
        /// Split into arguments, not run by a shell.
        pub command_line: String,
        /// The image it runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// What its end means for job and dependent tasks.
        pub exit_conditions: Option<ExitConditions>,
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
        /// Slots it takes; 1 by default.
        pub required_slots: Option<i32>,
        /// Whom it runs as.
        pub user_identity: Option<UserIdentity>,
        /// For tasks on several nodes at once.
        pub multi_instance_settings: Option<MultiInstanceSettings>,
        /// Tasks it waits for.
        pub depends_on: Option<TaskDependencies>,
        /// Application packages it needs.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// What it may ask of the service; retired.
        pub authentication_token_settings: Option<AuthenticationTokenSettings>,
    }

    /// Up to 100 new tasks at once.
    #[derive(Default)]
    pub struct TaskAddCollection {
        /// The tasks.
        pub value: Vec<TaskAdd>,
    }

    /// What became of each task of a collection, in any order. The answer is 200 even when every task failed.
    #[derive(Default)]
    pub struct TaskAddCollectionResult {
        /// One per task.
        #[serde(default)]
        pub value: Vec<TaskAddResult>,
    }

    /// What became of one task of a collection.
    pub struct TaskAddResult {
        /// Added, refused, or not done by the service's fault.
        pub status: TaskAddStatus,
        /// The task.
        pub task_id: String,
        /// Its tag, if it was added.
        pub e_tag: Option<ETag>,
        /// When, if it was added.
        pub last_modified: Option<Timestamp>,
        /// Its URL, if it was added.
        pub location: Option<String>,
        /// Why not, if it was not.
        pub error: Option<BatchErrorBody>,
    }

    /// PUT of a task: constraints that are absent get their defaults.
    #[derive(Default)]
    pub struct TaskUpdate {
        /// What bounds it.
        pub constraints: Option<TaskConstraints>,
    }
}

open_enum! {
    /// What became of one task of a collection.
    pub enum TaskAddStatus {
        /// It was added.
        Success = "success",
        /// It was refused: the same will be refused again (`TaskExists`: it is there already).
        ClientError = "clienterror",
        /// The service could not: send it again as it is.
        ServerError = "servererror",
    }
}
