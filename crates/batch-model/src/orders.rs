//! Orders of the model to its nodes, and reports of the nodes.
//!
//! The model decides, the runner carries out. A runner with real processes and a fake one for simulations
//! implement the same three traits.

pub use crate::applications::PackageOrder;
use dropmill_azure_wire::{blob::FileMetadata, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    ops::{AddAssign, Sub},
    path::Path,
    sync::Arc,
};

/// Number of an attempt of a command on a node; a service never uses a number twice, even after a restart.
pub type LaunchId = u64;

/// A node, within its pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// Id of the pool.
    pub pool: String,
    /// Id of the node.
    pub node: String,
}

/// An order of the model to a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Create the node's folders and install its packages, again if they have changed. The response is
    /// [`NodeEvent::Booted`], or [`NodeEvent::BootFailed`] if a package is not available.
    Boot {
        /// Node to boot.
        node: NodeRef,
        /// Packages to install.
        packages: Vec<PackageOrder>,
    },
    /// Run a command. The response is [`NodeEvent::Started`] when its process runs and [`NodeEvent::Ended`]
    /// when it has ended, or only `Ended` if it could not be started.
    Launch(Box<Launch>),
    /// Continue a launch whose coordination command succeeded: the primary runs its own command, other
    /// instances end with exit code 0.
    GoOn(LaunchId),
    /// End a launch: SIGTERM to its process group, SIGKILL after the grace period; no process is left. Its
    /// outputs are stored as if there were no further attempt. `Ended` follows.
    Kill(LaunchId),
    /// End a launch like `Kill`, but store no outputs: the task will run again (requeue), and outputs of this
    /// attempt must not interfere. `Ended` follows.
    Abandon(LaunchId),
    /// Delete a task's folder (its retention time is over, or the task or job was deleted). There is no
    /// response.
    RemoveTask {
        /// Node of the folder.
        node: NodeRef,
        /// Folder below the node's root.
        directory: String,
    },
    /// Kill all processes on the node and delete its folders. The response is [`NodeEvent::Removed`].
    Remove(NodeRef),
}

/// One attempt of one command.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Number of the launch.
    pub id: LaunchId,
    /// Node to run on.
    pub node: NodeRef,
    /// Folder below the node's root with `stdout.txt`, `stderr.txt` and `wd`: `startup`, or
    /// `workitems/<job>/job-1/<task>`.
    pub directory: String,
    /// What runs before the command, for one instance of a multi-instance task; its working folder is then
    /// inside the task's folder.
    pub coordination: Option<Coordination>,
    /// Split into arguments as Batch does, without a shell.
    pub command_line: String,
    /// Environment variables in order; later ones take precedence: the service's ids, the job's, the task's.
    /// The runner adds those with paths (`AZ_BATCH_NODE_ROOT_DIR`, `AZ_BATCH_TASK_DIR`, …) before them.
    /// `AZ_BATCH_JOB_PREP_DIR`, `AZ_BATCH_JOB_PREP_WORKING_DIR` and `AZ_BATCH_TASK_SHARED_DIR` are relative
    /// to the node's root; the runner makes them absolute.
    pub environment: Vec<(String, String)>,
    /// Application packages that must be on the node, with the variables for their folders.
    pub packages: Vec<PackageOrder>,
    /// Files to download before the command starts.
    pub resource_files: Vec<ResourceFileOrder>,
    /// Files to upload after the command has ended.
    pub output_files: Vec<OutputFileOrder>,
    /// Whether no further attempt follows: outputs of a failed attempt are only uploaded then.
    pub last_try: bool,
}

/// The coordination command of an instance of a multi-instance task.
#[derive(Debug, Clone, PartialEq)]
pub struct Coordination {
    /// Runs like the launch's own command; processes that it leaves run until the launch ends.
    pub command_line: String,
    /// Downloaded before it to the folder above the launch's own: `AZ_BATCH_TASK_SHARED_DIR`.
    pub common_resource_files: Vec<ResourceFileOrder>,
    /// Whether the launch's own command runs afterwards.
    pub is_primary: bool,
}

/// A file, or the blobs of a container, to download for a task.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceFileOrder {
    /// Source of the file.
    pub source: ResourceSource,
    /// Path of the file (URL source) or of a folder (container source) below the working folder.
    pub file_path: String,
    /// Octal permissions, such as `0755`.
    pub file_mode: Option<String>,
}

/// The source of a resource file.
#[derive(Clone, PartialEq)]
pub enum ResourceSource {
    /// A blob or another URL; may have a SAS.
    Url(String),
    /// All blobs of a container whose names begin with a prefix; the URL may have a SAS.
    Container {
        /// URL of the container.
        url: String,
        /// Prefix of the blob names.
        prefix: String,
    },
}

impl std::fmt::Debug for ResourceSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Url(url) | Self::Container { url, .. }) = self;
        f.write_str(&dropmill_azure_wire::secret::shown_url(url))
    }
}

/// Files to upload to a container.
#[derive(Clone, PartialEq)]
pub struct OutputFileOrder {
    /// Glob pattern relative to the working folder (`*`, `**`, `?`, `[abc]`, `[!a]`); `../std*.txt` is
    /// allowed.
    pub pattern: String,
    /// URL of the container with its SAS.
    pub container_url: String,
    /// Name of the blob (pattern without wildcards) or virtual folder; empty: the root of the container.
    pub path: String,
    /// Condition for the upload.
    pub condition: UploadCondition,
}

impl std::fmt::Debug for OutputFileOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.pattern, self.path)
    }
}

/// When an output file is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadCondition {
    /// If the command exited with 0.
    TaskSuccess,
    /// If the command failed.
    TaskFailure,
    /// In both cases.
    TaskCompletion,
}

/// A report of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEvent {
    /// The node's folders and packages are ready.
    Booted(NodeRef),
    /// The node's folders are ready, but a package is missing.
    BootFailed {
        /// Node that booted.
        node: NodeRef,
        /// Reason of the failure.
        failure: NodeFailure,
    },
    /// The process of a command is running.
    Started {
        /// Number of the launch.
        launch: LaunchId,
        /// Its process id and start time (clock ticks since boot), to find it after a crash.
        process: Option<(u32, u64)>,
    },
    /// The launch's coordination command exited with 0; it waits for [`Order::GoOn`].
    Coordinated {
        /// Number of the launch.
        launch: LaunchId,
    },
    /// The launch has ended, and its outputs are stored.
    Ended {
        /// Number of the launch.
        launch: LaunchId,
        /// How the launch ended.
        ending: LaunchEnding,
    },
    /// The node's folders are deleted.
    Removed(NodeRef),
}

/// The end of a launch.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchEnding {
    /// Time when the download of resource files began.
    pub started: Timestamp,
    /// Time when everything had ended.
    pub ended: Timestamp,
    /// Exit code of the process; 128 + n after signal n (143 or 137 after a kill); `None` if no process ran.
    pub exit_code: Option<i32>,
    /// Reason why it did not run, or its outputs were not stored; a non-zero exit code alone is not a
    /// failure.
    pub failure: Option<NodeFailure>,
    /// Resource usage of its processes.
    pub spent: Spent,
}

/// The resource usage of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// CPU time in user mode, in microseconds.
    pub user_us: u64,
    /// CPU time in kernel mode, in microseconds.
    pub kernel_us: u64,
    /// Blocks of 512 bytes read from disks, without those that were cached.
    pub read_blocks: u64,
    /// Blocks of 512 bytes written to disks, now or later.
    pub written_blocks: u64,
}

impl Spent {
    /// Returns whether all values are zero.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.user_us = self.user_us.saturating_add(more.user_us);
        self.kernel_us = self.kernel_us.saturating_add(more.kernel_us);
        self.read_blocks = self.read_blocks.saturating_add(more.read_blocks);
        self.written_blocks = self.written_blocks.saturating_add(more.written_blocks);
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(less.user_us),
            kernel_us: self.kernel_us.saturating_sub(less.kernel_us),
            read_blocks: self.read_blocks.saturating_sub(less.read_blocks),
            written_blocks: self.written_blocks.saturating_sub(less.written_blocks),
        }
    }
}

/// A failure, as in `failureInfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFailure {
    /// Whether it is an error of the user, not of the service.
    pub user_error: bool,
    /// `CommandProgramNotFound`, `BlobNotFound`, `FileUploadMiscError`, …
    pub code: String,
    /// Message for people.
    pub message: String,
    /// Name and value pairs.
    pub details: Vec<(String, String)>,
}

/// Carries out orders. Calls return at once; results arrive through [`Reports`].
pub trait Runner: Send + Sync {
    /// Accepts an order.
    fn carry_out(&self, order: Order);
    /// Returns the files of nodes.
    fn files(&self) -> &dyn NodeFiles;
    /// Ends every process, and returns when none is left. No orders may follow, and nothing is reported any
    /// more: interrupted work is as unfinished as after a crash.
    fn stop(&self);
}

/// Receiver of the reports of nodes; can be called from any thread.
pub type Reports = Arc<dyn Fn(NodeEvent) + Send + Sync>;

/// The files below a node's root, for the file operations of the protocol.
pub trait NodeFiles: Send + Sync {
    /// Returns the entries below `directory` (empty: the root), with relative names, sorted, including
    /// folders.
    ///
    /// # Errors
    /// Fails if the folder does not exist or cannot be read.
    fn list(&self, node: &NodeRef, directory: &str, recursive: bool) -> std::io::Result<Vec<FileEntry>>;
    /// Returns one entry; `None` if it does not exist or is outside the root.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    fn entry(&self, node: &NodeRef, path: &str) -> std::io::Result<Option<FileEntry>>;
    /// Returns up to `length` bytes from `offset`.
    ///
    /// # Errors
    /// Fails if the file does not exist or cannot be read.
    fn read(&self, node: &NodeRef, path: &str, offset: u64, length: usize) -> std::io::Result<Vec<u8>>;
    /// Deletes a file, or a folder (unless `recursive`, only an empty one).
    ///
    /// # Errors
    /// Fails if it does not exist or cannot be deleted.
    fn delete(&self, node: &NodeRef, path: &str, recursive: bool) -> std::io::Result<()>;
}

/// A file or folder on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Path relative to the listed folder, with `/` between segments.
    pub name: String,
    /// Whether it is a folder.
    pub is_directory: bool,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Time of the last change.
    pub modified: Timestamp,
    /// Permissions and type as in `st_mode`.
    pub mode: u32,
}

/// Returns `false` as soon as a call of a [`BlobAccess`] should stop. A call that only copies local files need
/// not check it.
pub type GoOn<'a> = &'a dyn Fn() -> bool;

/// Access of nodes to blobs by URL and SAS, which are checked like those of a client. Calls block.
pub trait BlobAccess: Send + Sync {
    /// Writes the content of a blob or another URL to a new file; returns the file metadata that the blob
    /// stores.
    ///
    /// # Errors
    /// See [`DoorError`].
    fn fetch(&self, url: &str, to: &Path, go_on: GoOn<'_>) -> Result<FileMetadata, DoorError>;
    /// Returns the sorted names of the blobs of a container that begin with `prefix`.
    ///
    /// # Errors
    /// See [`DoorError`].
    fn list(&self, container_url: &str, prefix: &str, go_on: GoOn<'_>) -> Result<Vec<String>, DoorError>;
    /// Uploads each file under its blob name; returns when all are durable.
    ///
    /// # Errors
    /// See [`DoorError`]; some files may have been stored.
    fn store(&self, container_url: &str, files: &[FileToStore], go_on: GoOn<'_>) -> Result<(), DoorError>;
    /// Returns the content, like [`BlobAccess::fetch`] but for a node without files.
    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError>;
    /// Stores each content under its blob name, like [`BlobAccess::store`] but for a node without files.
    ///
    /// # Errors
    /// See [`DoorError`]; some may have been stored.
    fn store_bytes(&self, container_url: &str, files: &[(String, Vec<u8>)]) -> Result<(), DoorError>;
}

/// A file to upload as a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileToStore {
    /// Name of the blob.
    pub name: String,
    /// Path of the file.
    pub path: std::path::PathBuf,
    /// File metadata to store with the blob.
    pub facts: FileMetadata,
}

/// The reason why a blob could not be read or stored. Messages contain no SAS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The blob or container does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// The SAS does not allow it, or nodes cannot reach the address.
    #[error("access denied: {0}")]
    Denied(String),
    /// There was no complete response within the timeout.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// [`GoOn`] returned `false`.
    #[error("stopped")]
    Stopped,
    /// The local file could not be read or written.
    #[error("{0}")]
    Local(String),
    /// Another error of the file system.
    #[error("{0}")]
    Other(String),
}
