//! Types that are part of several entities.

use crate::{
    duration::IsoDuration,
    secret::Secret,
    shape::{open_enum, wire_struct, written_as_it_is},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A part of a body that this project passes on without interpreting it. It may contain keys or passwords
/// (mounts, registries, extensions), so `Debug` hides it.
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
    /// A detail of an error, as name and value.
    #[derive(Default)]
    pub struct NameValuePair {
        /// Name of the detail.
        pub name: Option<String>,
        /// Value of the detail.
        pub value: Option<String>,
    }

    /// A name and value that the client attaches and the service does not interpret.
    #[derive(Default)]
    pub struct MetadataItem {
        /// Name of the metadata entry.
        pub name: String,
        /// Value of the metadata entry.
        pub value: String,
    }

    /// An application package to install on nodes.
    #[derive(Default)]
    pub struct ApplicationPackageReference {
        /// Id of the application.
        pub application_id: String,
        /// Version of the application; its default version if absent.
        pub version: Option<String>,
    }

    /// A managed identity that a node uses instead of a SAS.
    #[derive(Default)]
    pub struct NodeIdentityReference {
        /// Azure resource id of the identity.
        pub resource_id: Option<String>,
    }

    /// A file, or the blobs of a container, downloaded into a task's working directory before it starts.
    /// Exactly one of the three sources is set.
    #[derive(Default)]
    pub struct ResourceFile {
        /// Container in the storage account that is linked to the Batch account.
        pub auto_storage_container_name: Option<String>,
        /// Container URL with a SAS that allows reading and listing.
        pub storage_container_url: Option<Secret>,
        /// URL of one file; `blobSource` until API version 2018-08.
        #[serde(alias = "blobSource")]
        pub http_url: Option<Secret>,
        /// Prefix of the blobs to download (container sources only).
        pub blob_prefix: Option<String>,
        /// Path below the working directory: of the file (URL source) or of a directory (container sources).
        pub file_path: Option<String>,
        /// Octal permissions on Linux, 0770 by default.
        pub file_mode: Option<String>,
        /// Managed identity that reads the source, instead of a SAS.
        pub identity_reference: Option<NodeIdentityReference>,
    }

    /// Files that the service uploads to a container after a task has ended.
    pub struct OutputFile {
        /// Pattern of paths below the working directory: `*`, `**`, `?`, `[abc]`, `[!a]`.
        pub file_pattern: String,
        /// Container that receives the files.
        pub destination: OutputFileDestination,
        /// Condition for the upload.
        pub upload_options: OutputFileUploadOptions,
    }

    /// The destination of output files.
    #[derive(Default)]
    pub struct OutputFileDestination {
        /// Container that receives the files.
        pub container: Option<OutputFileContainer>,
    }

    /// A container and the path in it.
    pub struct OutputFileContainer {
        /// Blob name (pattern without wildcard) or virtual directory; the container's root if absent.
        pub path: Option<String>,
        /// Container URL with a SAS that allows writing.
        pub container_url: Secret,
        /// Managed identity that writes, instead of a SAS.
        pub identity_reference: Option<NodeIdentityReference>,
        /// Headers to send with each upload.
        pub upload_headers: Option<Vec<HttpHeader>>,
    }

    /// The condition under which output files are uploaded.
    pub struct OutputFileUploadOptions {
        /// Outcome of the task that triggers the upload.
        pub upload_condition: UploadCondition,
    }

    /// A header to send with an upload.
    #[derive(Default)]
    pub struct HttpHeader {
        /// Name of the header.
        pub name: String,
        /// Value of the header.
        pub value: Option<String>,
    }

    /// The user that a task runs as: a named account, or one that the service creates.
    #[derive(Default)]
    pub struct UserIdentity {
        /// Name of a user account of the pool.
        pub username: Option<String>,
        /// Account that the service creates for the task.
        pub auto_user: Option<AutoUser>,
    }

    /// A user account that the service creates.
    #[derive(Default)]
    pub struct AutoUser {
        /// Whether tasks share the user.
        pub scope: Option<AutoUserScope>,
        /// Rights of the user; no administrator rights by default.
        pub elevation_level: Option<ElevationLevel>,
    }

    /// Limits of a task.
    #[derive(Default)]
    pub struct TaskConstraints {
        /// Longest run time of one attempt; unlimited by default.
        pub max_wall_clock_time: Option<IsoDuration>,
        /// How long the task's directory is kept after the task ends; 7 days by default.
        pub retention_time: Option<IsoDuration>,
        /// Number of retries after a non-zero exit code; -1 means unlimited.
        pub max_task_retry_count: Option<i32>,
    }

    /// The container that a task runs in.
    #[derive(Default)]
    pub struct TaskContainerSettings {
        /// Additional options of the `run` command of the container engine.
        pub container_run_options: Option<String>,
        /// Name of the container image.
        pub image_name: String,
        /// Registry of the image; contains a password.
        pub registry: Option<Subtree>,
        /// Directory in the container in which the command starts.
        pub working_directory: Option<ContainerWorkingDirectory>,
        /// Directories of the node that are mounted into the container.
        pub container_host_batch_bind_mounts: Option<Subtree>,
    }

    /// Access of a task to the Batch service; retired by Azure.
    #[derive(Default)]
    pub struct AuthenticationTokenSettings {
        /// Resources that the task can access; only `job` exists.
        pub access: Option<Vec<String>>,
    }

    /// The command that every node runs when it joins a pool.
    #[derive(Default)]
    pub struct StartTask {
        /// Command line, split into arguments and not run by a shell.
        pub command_line: String,
        /// Container that the command runs in.
        pub container_settings: Option<TaskContainerSettings>,
        /// Files to download before the command starts.
        pub resource_files: Option<Vec<ResourceFile>>,
        /// Environment variables of the command.
        pub environment_settings: Option<Vec<EnvironmentSetting>>,
        /// User that the command runs as.
        pub user_identity: Option<UserIdentity>,
        /// Number of retries; -1 means unlimited.
        pub max_task_retry_count: Option<i32>,
        /// `true`, the default, if tasks wait until the start task has succeeded.
        pub wait_for_success: Option<bool>,
    }
}

/// An environment variable of a command. Its value may be a secret, so `Debug` shows only the name.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EnvironmentSetting {
    /// Name of the variable.
    pub name: String,
    /// Value of the variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl fmt::Debug for EnvironmentSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

impl EnvironmentSetting {
    /// Creates a variable with a value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }
}

impl MetadataItem {
    /// Creates a pair of name and value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl NameValuePair {
    /// Creates a pair of name and value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: Some(name.into()), value: Some(value.into()) }
    }
}

impl ResourceFile {
    /// Creates a source of one file, downloaded from `url` to `file_path`.
    pub fn from_url(url: Secret, file_path: impl Into<String>) -> Self {
        Self { http_url: Some(url), file_path: Some(file_path.into()), ..Self::default() }
    }

    /// Creates a source of all blobs of a container.
    pub fn from_container(url: Secret) -> Self {
        Self { storage_container_url: Some(url), ..Self::default() }
    }
}

impl OutputFile {
    /// Uploads the files that match a pattern to `path` in a container (URL with SAS).
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
    /// The condition under which output files are uploaded.
    pub enum UploadCondition {
        /// The command exited with code 0.
        TaskSuccess = "tasksuccess",
        /// The command exited with another code.
        TaskFailure = "taskfailure",
        /// The task ended, with any exit code.
        TaskCompletion = "taskcompletion",
    }

    /// Whether tasks share a user that the service creates.
    pub enum AutoUserScope {
        /// One user for each task.
        Task = "task",
        /// One user for the tasks of the pool.
        Pool = "pool",
    }

    /// The rights of a user.
    pub enum ElevationLevel {
        /// A normal user without administrator rights.
        NonAdmin = "nonadmin",
        /// A user with administrator rights.
        Admin = "admin",
    }

    /// The directory in a container in which a command starts.
    pub enum ContainerWorkingDirectory {
        /// The task's working directory.
        TaskWorkingDirectory = "taskWorkingDirectory",
        /// The working directory that the image defines.
        ContainerImageDefault = "containerImageDefault",
    }

    /// How to handle the tasks of a node that is removed, restarted or disabled.
    pub enum NodeDeallocationOption {
        /// Terminate the tasks and queue them again.
        Requeue = "requeue",
        /// Terminate the tasks without queuing them again.
        Terminate = "terminate",
        /// Wait until the tasks have completed.
        TaskCompletion = "taskcompletion",
        /// Wait until the tasks have completed and their retention time has passed.
        RetainedData = "retaineddata",
    }
}
