//! What the model of the service orders from its nodes, and what the nodes report.
//!
//! The model decides, the runner does. A runner that runs processes and one that only pretends
//! (for simulations) stand behind the same three traits.

pub use crate::applications::PackageOrder;
use dropmill_azure_wire::{blob::FileMetadata, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    ops::{AddAssign, Sub},
    path::Path,
    sync::Arc,
};

/// Number of one try of one command on one node; never used twice by one service, also after a restart.
pub type LaunchId = u64;

/// A node, within its pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// Pool id.
    pub pool: String,
    /// Node id.
    pub node: String,
}

/// What the model wants done on a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Make the node's folders and put its packages there, anew where they have changed; answer with
    /// [`NodeEvent::Booted`], or [`NodeEvent::BootFailed`] if a package cannot be had.
    Boot {
        /// Which.
        node: NodeRef,
        /// What it shall have.
        packages: Vec<PackageOrder>,
    },
    /// Run a command; answer with [`NodeEvent::Started`] once its process runs and [`NodeEvent::Ended`] when it
    /// is over, or with `Ended` alone if it could not be started.
    Launch(Box<Launch>),
    /// Let a launch go on whose coordination ended well: with its own command if it is the primary, else to its end,
    /// with exit code 0.
    GoOn(LaunchId),
    /// End a launch: SIGTERM to its process group, SIGKILL after the grace, nothing left of it. Its outputs are
    /// stored as if no try followed. `Ended` follows.
    Kill(LaunchId),
    /// As `Kill`, but nothing is stored: the task will run again (requeue), and what this try left must not stand
    /// in the way of that one's outputs. `Ended` follows.
    Abandon(LaunchId),
    /// Delete a task's folder (retention over, task or job deleted). No answer.
    RemoveTask {
        /// Where it ran.
        node: NodeRef,
        /// Folder below the node's root.
        directory: String,
    },
    /// Kill what runs on the node and delete its folders; answer with [`NodeEvent::Removed`].
    Remove(NodeRef),
}

/// One try of one command.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Its number.
    pub id: LaunchId,
    /// Where.
    pub node: NodeRef,
    /// Folder below the node's root with `stdout.txt`, `stderr.txt` and `wd`: `startup`, or
    /// `workitems/<job>/job-1/<task>`.
    pub directory: String,
    /// What comes before, for one of several instances of a task; its working folder lies in the task's own then.
    pub coordination: Option<Coordination>,
    /// Split into arguments as Batch does; no shell.
    pub command_line: String,
    /// Variables in order, later ones win: the service's ids, the job's, the task's. The runner adds those that
    /// hold paths (`AZ_BATCH_NODE_ROOT_DIR`, `AZ_BATCH_TASK_DIR`, …) before them. `AZ_BATCH_JOB_PREP_DIR`,
    /// `AZ_BATCH_JOB_PREP_WORKING_DIR` and `AZ_BATCH_TASK_SHARED_DIR` are given as folders below the node's root; the runner makes them absolute.
    pub environment: Vec<(String, String)>,
    /// Application packages that must be on the node, with the variables that name their folders.
    pub packages: Vec<PackageOrder>,
    /// Files to bring before the command starts.
    pub resource_files: Vec<ResourceFileOrder>,
    /// Files to take away after it ended.
    pub output_files: Vec<OutputFileOrder>,
    /// No try follows if this one fails: outputs of a failed try are taken away only then.
    pub last_try: bool,
}

/// What an instance of a task on several nodes runs before anything else.
#[derive(Debug, Clone, PartialEq)]
pub struct Coordination {
    /// Run like the launch's own command; what it leaves running stays until the launch ends.
    pub command_line: String,
    /// Brought before to the folder in which the launch's own lies: `AZ_BATCH_TASK_SHARED_DIR`.
    pub common_resource_files: Vec<ResourceFileOrder>,
    /// Whether the launch's own command is run afterwards.
    pub is_primary: bool,
}

/// A file, or a container's blobs, to bring to a task.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceFileOrder {
    /// Where from.
    pub source: ResourceSource,
    /// A file's path (URL source) or a folder (container source) below the working folder.
    pub file_path: String,
    /// Octal permissions, such as `0755`.
    pub file_mode: Option<String>,
}

/// Where a resource file comes from.
#[derive(Clone, PartialEq)]
pub enum ResourceSource {
    /// One blob or other address; may carry a SAS.
    Url(String),
    /// All blobs of a container that begin with a prefix; the URL may carry a SAS.
    Container {
        /// The container's URL.
        url: String,
        /// Only names that begin so.
        prefix: String,
    },
}

impl std::fmt::Debug for ResourceSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Url(url) | Self::Container { url, .. }) = self;
        f.write_str(&dropmill_azure_wire::secret::shown_url(url))
    }
}

/// Files to store in a container.
#[derive(Clone, PartialEq)]
pub struct OutputFileOrder {
    /// Pattern below the working folder (`*`, `**`, `?`, `[abc]`, `[!a]`), also `../std*.txt`.
    pub pattern: String,
    /// The container's URL with its SAS.
    pub container_url: String,
    /// Blob name (no wildcard in the pattern) or virtual folder; empty: the container's root.
    pub path: String,
    /// When.
    pub condition: UploadCondition,
}

impl std::fmt::Debug for OutputFileOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.pattern, self.path)
    }
}

/// When an output file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadCondition {
    /// The command exited with 0.
    TaskSuccess,
    /// It did not.
    TaskFailure,
    /// Either way.
    TaskCompletion,
}

/// What a node reports.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEvent {
    /// The node's folders are there.
    Booted(NodeRef),
    /// They are, but one of its packages is not.
    BootFailed {
        /// Which node.
        node: NodeRef,
        /// Why.
        failure: NodeFailure,
    },
    /// The command's process runs.
    Started {
        /// Which.
        launch: LaunchId,
        /// Its process id and start time (clock ticks since boot), to find it again after a crash.
        process: Option<(u32, u64)>,
    },
    /// The launch's coordination command exited with 0: it waits for [`Order::GoOn`].
    Coordinated {
        /// Which.
        launch: LaunchId,
    },
    /// The launch is over, its outputs are stored.
    Ended {
        /// Which.
        launch: LaunchId,
        /// How.
        ending: LaunchEnding,
    },
    /// The node's folders are gone.
    Removed(NodeRef),
}

/// How a launch ended.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchEnding {
    /// When resource files began to be brought.
    pub started: Timestamp,
    /// When all was over.
    pub ended: Timestamp,
    /// The process's own code, 128 + n after signal n (so 143 or 137 after a kill); none if no process ran.
    pub exit_code: Option<i32>,
    /// What kept it from running or its outputs from being stored; an exit code other than 0 alone is none.
    pub failure: Option<NodeFailure>,
    /// What its processes took of the machine.
    pub spent: Spent,
}

/// What processes took of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Time of processors outside of the kernel, in microseconds.
    pub user_us: u64,
    /// Time of processors within the kernel, in microseconds.
    pub kernel_us: u64,
    /// Blocks of 512 bytes that came from disks; what was in memory anyway does not count.
    pub read_blocks: u64,
    /// Blocks of 512 bytes that went, or will go, to disks.
    pub written_blocks: u64,
}

impl Spent {
    /// Whether it is nothing at all.
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

/// A failure as `failureInfo` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFailure {
    /// `true`: the user's; `false`: the service's.
    pub user_error: bool,
    /// `CommandProgramNotFound`, `BlobNotFound`, `FileUploadMiscError`, …
    pub code: String,
    /// In words.
    pub message: String,
    /// Name and value pairs.
    pub details: Vec<(String, String)>,
}

/// Carries orders out. Calls return at once; what comes of them arrives through [`Reports`].
pub trait Runner: Send + Sync {
    /// Takes an order.
    fn carry_out(&self, order: Order);
    /// The files of nodes.
    fn files(&self) -> &dyn NodeFiles;
    /// Ends every process and returns when none is left. No orders may follow, and nothing is reported any more:
    /// what this cuts off is as unfinished as after a crash.
    fn stop(&self);
}

/// Where nodes report to; callable from any thread.
pub type Reports = Arc<dyn Fn(NodeEvent) + Send + Sync>;

/// The files below a node's root, for the file operations of the protocol.
pub trait NodeFiles: Send + Sync {
    /// The entries below `directory` (empty: the root), names relative to it, sorted; folders included.
    ///
    /// # Errors
    /// When the folder is not there or cannot be read.
    fn list(&self, node: &NodeRef, directory: &str, recursive: bool) -> std::io::Result<Vec<FileEntry>>;
    /// One entry; `None` if it is not there or lies outside the root.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn entry(&self, node: &NodeRef, path: &str) -> std::io::Result<Option<FileEntry>>;
    /// Up to `length` bytes from `offset`.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    fn read(&self, node: &NodeRef, path: &str, offset: u64, length: usize) -> std::io::Result<Vec<u8>>;
    /// Deletes a file, or a folder (only if empty unless `recursive`).
    ///
    /// # Errors
    /// When it is not there or cannot be deleted.
    fn delete(&self, node: &NodeRef, path: &str, recursive: bool) -> std::io::Result<()>;
}

/// One file or folder on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Path relative to what was listed, `/` between segments.
    pub name: String,
    /// Whether it is a folder.
    pub is_directory: bool,
    /// Length.
    pub size_bytes: u64,
    /// When it changed last.
    pub modified: Timestamp,
    /// Permissions and type as in `st_mode`.
    pub mode: u32,
}

/// Returns `false` as soon as a call of a [`BlobDoor`] is to stop. A call that only copies files of this machine need not ask.
pub type GoOn<'a> = &'a dyn Fn() -> bool;

/// The way from a node to blobs: by URL and SAS, checked as any client's request is. Blocking.
pub trait BlobDoor: Send + Sync {
    /// Writes the content of a blob, or of another web address, to a new file; returns what the blob remembers of the file
    /// that it was made of.
    ///
    /// # Errors
    /// See [`DoorError`].
    fn fetch(&self, url: &str, to: &Path, go_on: GoOn<'_>) -> Result<FileMetadata, DoorError>;
    /// Names of the blobs of a container that begin with `prefix`, sorted.
    ///
    /// # Errors
    /// See [`DoorError`].
    fn list(&self, container_url: &str, prefix: &str, go_on: GoOn<'_>) -> Result<Vec<String>, DoorError>;
    /// Stores each file under its blob name; returns when all are durable.
    ///
    /// # Errors
    /// See [`DoorError`]; some may have been stored.
    fn store(&self, container_url: &str, files: &[FileToStore], go_on: GoOn<'_>) -> Result<(), DoorError>;
    /// As [`BlobDoor::fetch`], for a node that has no files: the content itself.
    ///
    /// # Errors
    /// See [`DoorError`].
    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError>;
    /// As [`BlobDoor::store`], for a node that has no files: each content under its blob name.
    ///
    /// # Errors
    /// See [`DoorError`]; some may have been stored.
    fn store_bytes(&self, container_url: &str, files: &[(String, Vec<u8>)]) -> Result<(), DoorError>;
}

/// A file that becomes a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileToStore {
    /// The blob's name.
    pub name: String,
    /// Where the file is.
    pub path: std::path::PathBuf,
    /// What the blob remembers of it.
    pub facts: FileMetadata,
}

/// Why a blob could not be had or stored. Messages hold no SAS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// No such blob or container.
    #[error("not found: {0}")]
    NotFound(String),
    /// The signature does not allow it, or the address is none that this node can reach.
    #[error("access denied: {0}")]
    Denied(String),
    /// There was no answer, or no end of it, within a time bound.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// [`GoOn`] said to stop.
    #[error("stopped")]
    Stopped,
    /// The local file could not be read or written.
    #[error("{0}")]
    Local(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}
