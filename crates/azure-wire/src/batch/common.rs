//! Parts that several entities share.

use crate::{
    duration::IsoDuration,
    secret::Secret,
    shape::{open_enum, wire_struct, written_as_it_is},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A part of a body that this project never interprets and hands on as it came. It may hold keys or
/// passwords (mounts, registries, extensions), so `Debug` shows none of it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subtree(pub serde_json::Value);

impl fmt::Debug for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{…}")
    }
}

written_as_it_is!(Subtree);

wire_struct! {
    /// A pair about an error.
    #[derive(Default)]
    pub struct NameValuePair {
        /// Name.
        pub name: Option<String>,
        /// Value.
        pub value: Option<String>,
    }

    /// A pair that only its owner understands.
    #[derive(Default)]
    pub struct MetadataItem {
        /// Name.
        pub name: String,
        /// Value.
        pub value: String,
    }

    /// An application package to put on nodes.
    #[derive(Default)]
    pub struct ApplicationPackageReference {
        /// The application.
        pub application_id: String,
        /// Its version; absent: the default one.
        pub version: Option<String>,
    }

    /// A managed identity that a node uses instead of a SAS.
    #[derive(Default)]
    pub struct NodeIdentityReference {
        /// Its resource id.
        pub resource_id: Option<String>,
    }

    /// A file, or the blobs of a container, that a task finds in its working folder. Exactly one of the
    /// three sources is given.
    #[derive(Default)]
    pub struct ResourceFile {
        /// Container of the account's own storage.
        pub auto_storage_container_name: Option<String>,
        /// Container URL whose SAS allows to read and list.
        pub storage_container_url: Option<Secret>,
        /// URL of one file; `blobSource` until API version 2018-08.
        #[serde(alias = "blobSource")]
        pub http_url: Option<Secret>,
        /// Only blobs whose names begin so (container sources).
        pub blob_prefix: Option<String>,
        /// The file's place (URL source) or a folder (container sources), below the working folder.
        pub file_path: Option<String>,
        /// Octal permissions on Linux; 0770 by default.
        pub file_mode: Option<String>,
        /// Who reads it, instead of a SAS.
        pub identity_reference: Option<NodeIdentityReference>,
    }

    /// Files that the service stores in a container after a task ended.
    pub struct OutputFile {
        /// Pattern below the working folder: `*`, `**`, `?`, `[abc]`, `[!a]`.
        pub file_pattern: String,
        /// Where to.
        pub destination: OutputFileDestination,
        /// When.
        pub upload_options: OutputFileUploadOptions,
    }

    /// Where output files go.
    #[derive(Default)]
    pub struct OutputFileDestination {
        /// A container.
        pub container: Option<OutputFileContainer>,
    }

    /// A container, and where in it.
    pub struct OutputFileContainer {
        /// Blob name (pattern without wildcard) or virtual folder; absent: the container's root.
        pub path: Option<String>,
        /// The container's URL with a SAS that allows to write.
        pub container_url: Secret,
        /// Who writes, instead of a SAS.
        pub identity_reference: Option<NodeIdentityReference>,
        /// Headers for the uploads.
        pub upload_headers: Option<Vec<HttpHeader>>,
    }

    /// When output files are stored.
    pub struct OutputFileUploadOptions {
        /// The condition.
        pub upload_condition: UploadCondition,
    }

    /// A header of an upload.
    #[derive(Default)]
    pub struct HttpHeader {
        /// Name.
        pub name: String,
        /// Value.
        pub value: Option<String>,
    }

    /// Whom a task runs as: a named account, or a user that the service makes.
    #[derive(Default)]
    pub struct UserIdentity {
        /// An account of the pool.
        pub username: Option<String>,
        /// A user that the service makes.
        pub auto_user: Option<AutoUser>,
    }

    /// A user that the service makes.
    #[derive(Default)]
    pub struct AutoUser {
        /// One for the pool, or one for the task.
        pub scope: Option<AutoUserScope>,
        /// With or without rights of an administrator.
        pub elevation_level: Option<ElevationLevel>,
    }

    /// What bounds a task.
    #[derive(Default)]
    pub struct TaskConstraints {
        /// Longest time one try may run.
        pub max_wall_clock_time: Option<IsoDuration>,
        /// How long its folder is kept after it ended; seven days by default.
        pub retention_time: Option<IsoDuration>,
        /// Tries after the first when it exits with another code than 0; -1: no limit.
        pub max_task_retry_count: Option<i32>,
    }

    /// The container image a task runs in.
    #[derive(Default)]
    pub struct TaskContainerSettings {
        /// More options of the container's run command.
        pub container_run_options: Option<String>,
        /// The image.
        pub image_name: String,
        /// Where the image is; holds a password.
        pub registry: Option<Subtree>,
        /// Where in the container the command starts.
        pub working_directory: Option<ContainerWorkingDirectory>,
        /// Folders of the node that the container sees.
        pub container_host_batch_bind_mounts: Option<Subtree>,
    }

    /// What a task may ask of the service; retired.
    #[derive(Default)]
    pub struct AuthenticationTokenSettings {
        /// `job`.
        pub access: Option<Vec<String>>,
    }

    /// The command every node runs when it joins a pool.
    #[derive(Default)]
    pub struct StartTask {
        /// Split into arguments, not run by a shell.
        pub command_line: String,
        /// The image it runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files it needs.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Its variables.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Whom it runs as.
        pub user_identity: Option<UserIdentity>,
        /// Tries after the first; -1: no limit.
        pub max_task_retry_count: Option<i32>,
        /// Whether tasks wait until it succeeded; true by default.
        pub wait_for_success: Option<bool>,
    }
}

/// A variable of a command's environment. Its value may be a secret: `Debug` shows the name alone.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EnvironmentSetting {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl fmt::Debug for EnvironmentSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

impl EnvironmentSetting {
    /// A variable with a value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }
}

impl MetadataItem {
    /// A name with a value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl NameValuePair {
    /// A name with a value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: Some(name.into()), value: Some(value.into()) }
    }
}

impl ResourceFile {
    /// One file from a URL, put at `file_path`.
    pub fn from_url(url: Secret, file_path: impl Into<String>) -> Self {
        Self { http_url: Some(url), file_path: Some(file_path.into()), ..Self::default() }
    }

    /// The blobs of a container.
    pub fn from_container(url: Secret) -> Self {
        Self { storage_container_url: Some(url), ..Self::default() }
    }
}

impl OutputFile {
    /// Files that match a pattern, to a container (URL with SAS), under `path`.
    pub fn to_container(
        file_pattern: impl Into<String>,
        container_url: Secret,
        path: Option<String>,
        upload_condition: UploadCondition,
    ) -> Self {
        let container =
            OutputFileContainer { path, container_url, identity_reference: None, upload_headers: None };
        Self {
            file_pattern: file_pattern.into(),
            destination: OutputFileDestination { container: Some(container) },
            upload_options: OutputFileUploadOptions { upload_condition },
        }
    }
}

open_enum! {
    /// When output files are stored.
    pub enum UploadCondition {
        /// The command exited with 0.
        TaskSuccess = "tasksuccess",
        /// It did not.
        TaskFailure = "taskfailure",
        /// Either way.
        TaskCompletion = "taskcompletion",
    }

    /// How far a made user is shared.
    pub enum AutoUserScope {
        /// A user for this task.
        Task = "task",
        /// One user for the tasks of the pool.
        Pool = "pool",
    }

    /// What a user may do.
    pub enum ElevationLevel {
        /// What any user may.
        NonAdmin = "nonadmin",
        /// What an administrator may.
        Admin = "admin",
    }

    /// Where in a container a command starts.
    pub enum ContainerWorkingDirectory {
        /// In the task's working folder.
        TaskWorkingDirectory = "taskWorkingDirectory",
        /// Where the image says.
        ContainerImageDefault = "containerImageDefault",
    }

    /// What becomes of a node's tasks when the node goes.
    pub enum NodeDeallocationOption {
        /// End them and queue them again.
        Requeue = "requeue",
        /// End them for good.
        Terminate = "terminate",
        /// Let them finish first.
        TaskCompletion = "taskcompletion",
        /// Let them finish, and their retention time pass.
        RetainedData = "retaineddata",
    }
}
