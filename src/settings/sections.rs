//! The sections of a run file. Defaults stand in `config/default.toml`, nowhere else.

use super::{Length, MaxFailures, RetryCause, Size, SlotCount};
use dropmill_azure_wire::secret::Secret;
use dropmill_lifecycle::plan::{Existing, Layout};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

macro_rules! sections {
    ($( $(#[$meta:meta])* pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )* } )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $type, )* }
    )+ };
}

sections! {
    /// A run file.
    pub struct Settings {
        /// The run itself.
        pub run: Run,
        /// Where tasks run.
        pub service: Service,
        /// Files that every node or task gets.
        pub application: Application,
        /// Input files; each becomes one task.
        pub input: Input,
        /// The pool of nodes.
        pub pool: Pool,
        /// The job that holds the tasks.
        pub job: Job,
        /// What a task runs.
        pub task: Task,
        /// Where results are delivered.
        pub output: Output,
        /// What is deleted when the run ends.
        pub cleanup: Cleanup,
        /// Limits on concurrent work, retries and sizes.
        pub limits: Limits,
        /// The drop folder of `dropmill watch`.
        pub watch: Watch,
        /// Notifications about ended runs and finished files of the drop folder.
        pub notify: Notify,
    }

    /// The run itself.
    pub struct Run {
        /// Name of the run: the beginning of the names of its pool, job and containers.
        pub name: String,
        /// Longest time of the whole run.
        pub deadline: Length,
        /// Number of failed tasks, or share of all tasks such as "5%", at which no more tasks are started.
        pub max_failures: Option<MaxFailures>,
        /// Longest times of its stages.
        pub deadlines: Deadlines,
    }

    /// Longest times of the stages of a run.
    pub struct Deadlines {
        /// Until the pool has its nodes.
        pub allocation: Length,
        /// From then until a node has completed its start task.
        pub start_task: Length,
        /// Longest time that all nodes are unusable.
        pub unusable: Length,
        /// Longest time that a task waits for a node while nodes are ready.
        pub queue: Option<Length>,
        /// Longest time of the upload of one input, all attempts together.
        pub upload: Length,
        /// Longest time to download the results of one task, all attempts together.
        pub delivery: Length,
        /// Longest time without an upload or state change.
        pub no_progress: Option<Length>,
        /// After an interrupt: longest time until the next result is delivered.
        pub cancelled: Length,
        /// Longest time to delete what the run created.
        pub cleanup: Length,
    }

    /// Where tasks run.
    pub struct Service {
        /// The embedded service on this machine, or Azure Batch.
        pub kind: ServiceKind,
        /// Address of the Batch account: `https://account.region.batch.azure.com`.
        pub batch_endpoint: Option<String>,
        /// Batch account name.
        pub batch_account: Option<String>,
        /// Batch account key.
        pub batch_key: Option<KeySource>,
        /// Address of the storage account: `https://account.blob.core.windows.net`.
        pub blob_endpoint: Option<String>,
        /// Storage account name.
        pub storage_account: Option<String>,
        /// Storage account key.
        pub storage_key: Option<KeySource>,
        /// Whether http is allowed to other machines; signatures and data are then readable on the way.
        pub allow_plain_http: bool,
    }

    /// Files that every node or task gets.
    pub struct Application {
        /// Glob patterns of the files.
        pub files: Vec<String>,
        /// Shell line that runs once on each node before any task.
        pub start_task: Option<String>,
        /// Retries of the start task on a node.
        pub start_task_retries: u16,
    }

    /// What tasks are made of: exactly one of `files`, `parts`, `table` and `lines`, multiplied by `sweep`, or `sweep` alone.
    pub struct Input {
        /// Glob patterns of input files; each file becomes one task.
        pub files: Vec<String>,
        /// Glob patterns of files and folders to leave out of `files` and `parts`.
        pub exclude: Vec<String>,
        /// Whether patterns match whatever the case of letters.
        pub ignore_case: bool,
        /// Whether links to files and folders are followed.
        pub follow_links: bool,
        /// Patterns of files that go with each input file, relative to its folder; `?` at the end makes one optional.
        pub with: Vec<String>,
        /// Named patterns with wildcards; files with the same wildcard values become one task.
        pub parts: BTreeMap<String, String>,
        /// What to do with a set of `parts` that lacks a file.
        pub incomplete: Incomplete,
        /// A table (.csv, .tsv, .jsonl), or `-` for standard input; each row becomes one task.
        pub table: Option<PathBuf>,
        /// Format of the table, if its name does not say it.
        pub table_format: Option<TableFormat>,
        /// Columns that name files, relative to the table's folder.
        pub table_files: Vec<String>,
        /// New names for columns, by their names in the table.
        pub rename: BTreeMap<String, String>,
        /// A text file, or `-` for standard input; each line that is not empty becomes one task.
        pub lines: Option<PathBuf>,
        /// Values by name: each combination becomes one task. A list of values, or a range such as "1..100".
        pub sweep: BTreeMap<String, serde_json::Value>,
        /// Name of a task and of its result folder, with placeholders.
        pub name: Option<String>,
        /// Most inputs of one task. A task then gets the files of several inputs, and `{inputs}` stands for all of them.
        pub per_task: Option<u32>,
        /// Order in which tasks are submitted.
        pub order: InputOrder,
    }

    /// The pool of nodes.
    pub struct Pool {
        /// Id of a shared pool, which the run creates if it is missing and never deletes.
        pub id: Option<String>,
        /// Number of dedicated nodes.
        pub nodes: u32,
        /// Number of spot nodes.
        pub spot_nodes: u32,
        /// Slots of one node, "auto" or a number: as many tasks that take one slot each run on it at a time.
        pub slots_per_node: SlotCount,
        /// Size of a node, as Azure names it.
        pub vm_size: String,
        /// Node agent SKU that matches the image.
        pub node_agent: String,
        /// Image of a node: publisher, offer, sku and version, or a resource id.
        pub image: BTreeMap<String, String>,
    }

    /// The job that holds the tasks.
    pub struct Job {
        /// Priority of the job, from -1000 to 1000.
        pub priority: i32,
    }

    /// What a task runs.
    pub struct Task {
        /// Program and arguments.
        pub command: Option<Vec<String>>,
        /// Shell line; use this or `command`.
        pub shell: Option<String>,
        /// Glob patterns of output files to download.
        pub outputs: Vec<String>,
        /// Who uploads the output files.
        pub upload: Upload,
        /// Exit codes that are a success.
        pub success_codes: Vec<i32>,
        /// Attempts after the first when a task fails; short for `retry.max`.
        pub max_retries: u16,
        /// When a failed task is tried again.
        pub retry: Retry,
        /// Longest time of one attempt.
        pub timeout: Option<Length>,
        /// Environment variables of the task.
        pub env: BTreeMap<String, String>,
        /// Slots that a task takes on its node.
        pub required_slots: u32,
        /// Memory that a task needs: it takes as many slots as that share of the node's memory.
        #[serde(default)]
        pub memory: Option<Size>,
        /// Names or patterns of environment variables that tasks get from Dropmill's own environment.
        #[serde(default)]
        pub inherit: Option<Vec<String>>,
        /// Environment variables of the task with secret values, and where the values come from.
        #[serde(default)]
        pub secret_env: BTreeMap<String, KeySource>,
    }

    /// When a failed task is tried again.
    pub struct Retry {
        /// Attempts after the first.
        pub max: u16,
        /// Causes after which a task is tried again: exit codes and words.
        pub on: Vec<RetryCause>,
        /// Causes after which it is not.
        pub not_on: Vec<RetryCause>,
        /// Time between the first attempt and the second.
        pub delay: Length,
        /// Factor by which that time grows with each attempt.
        pub factor: f64,
        /// Longest time between two attempts.
        pub max_delay: Length,
    }

    /// Where results are delivered.
    pub struct Output {
        /// Folder of the results.
        pub directory: PathBuf,
        /// One folder per input, all files in one folder, or files in the folders of their inputs.
        #[schemars(with = "LayoutName")]
        pub layout: Layout,
        /// What to do when a result's path is taken by something else.
        #[schemars(with = "ExistingName")]
        pub existing: Existing,
    }

    /// What is deleted when the run ends.
    pub struct Cleanup {
        /// When the pool is deleted.
        pub pool: Policy,
        /// The job that holds the tasks.
        pub job: Policy,
        /// When the containers are deleted.
        pub containers: Policy,
    }

    /// Limits on concurrent work, retries and sizes.
    pub struct Limits {
        /// Number of concurrent uploads.
        pub uploads: u32,
        /// Total bytes of concurrent uploads.
        pub upload_bytes: Size,
        /// Concurrent calls that add tasks.
        pub submissions: u32,
        /// Tasks whose results are downloaded concurrently.
        pub fetches: u32,
        /// Most output files of one task.
        pub result_files: u32,
        /// Bytes kept of each of a task's standard output and error.
        pub stream_bytes: Size,
        /// What happens to a task that writes more.
        pub on_overflow: Overflow,
        /// Longest time between two polls of the service.
        pub poll_every: Length,
        /// Longest wait for one response.
        pub call_timeout: Length,
        /// Attempts of a call that fails with a transient error.
        pub tries: u32,
        /// Free disk space below which a drop folder takes no more files.
        pub disk_floor: Size,
    }

    /// Notifications about ended runs and finished files of the drop folder.
    pub struct Notify {
        /// Program and arguments; it reads the notification, a JSON object, from standard input.
        pub command: Option<Vec<String>>,
        /// URL that the notification is posted to.
        pub url: Option<String>,
        /// Key that signs posted notifications, as Standard Webhooks defines.
        pub secret: Option<KeySource>,
        /// Longest time of one attempt to notify.
        pub timeout: Length,
        /// Attempts before a notification is dropped.
        pub tries: u32,
    }

    /// The drop folder of `dropmill watch`.
    pub struct Watch {
        /// Folder where files appear.
        pub directory: Option<PathBuf>,
        /// Folder of results.
        pub done: Option<PathBuf>,
        /// Folder of failures.
        pub failed: Option<PathBuf>,
        /// Folder of files whose tasks are running.
        pub work: Option<PathBuf>,
        /// How long size, time and inode of a file must be unchanged before it is taken.
        pub stable_for: Length,
        /// Extension of marker files.
        pub marker: Option<String>,
        /// What one input is: a file, or a folder with everything in it.
        pub unit: WatchUnit,
        /// Whether subfolders are searched for files.
        pub recursive: bool,
        /// Glob patterns of names that are ignored.
        pub ignore: Vec<String>,
        /// Glob patterns of names that are inputs; empty: all names.
        pub include: Vec<String>,
        /// Smallest size of an input; a smaller file waits until it grows.
        pub min_bytes: Size,
        /// Largest size of a file that is taken.
        pub max_file_bytes: Option<Size>,
        /// Whether files with several hard links or of another owner are taken.
        pub take_foreign: bool,
        /// Order in which files are taken.
        pub order: TakeOrder,
        /// Files whose tasks run concurrently.
        pub max_files: u32,
        /// Total bytes of files whose tasks run concurrently.
        pub max_bytes: Size,
        /// Longest time between two scans of the whole folder.
        pub rescan: Length,
        /// The same where the file system sends no reliable notifications.
        pub poll: Length,
        /// Files are collected until none came for this long, and then become one job.
        pub gather: Option<Length>,
        /// Number of files after which a new job starts.
        pub roll_after: u32,
        /// After this long without a file the job is closed and the nodes are removed.
        pub idle: Length,
        /// Longest time to finish running tasks when the daemon is stopped.
        pub drain: Length,
        /// Whether the input is moved to the result's folder.
        pub keep_input: bool,
        /// How to handle a file that was already processed: same name, same content.
        pub duplicates: DuplicatePolicy,
        /// How long processed files are remembered.
        pub remember: Length,
        /// Attempts of a file that cannot be taken before it is moved to the failures.
        pub tries: u32,
        /// Loopback address of health checks and metrics.
        pub listen: Option<String>,
    }
}

/// What to do with a set of files that is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Incomplete {
    /// The run does not start.
    Error,
    /// The set is left out and reported.
    Skip,
}

/// Format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// Values separated by commas.
    Csv,
    /// Values separated by tabs.
    Tsv,
    /// A JSON object in each line.
    Jsonl,
}

/// Order in which tasks are submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InputOrder {
    /// As they are listed: files by path, rows and lines as they stand.
    Listed,
    /// In the order of names.
    Name,
    /// The largest input first.
    SizeDesc,
}

/// How to handle a file that was already processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DuplicatePolicy {
    /// It is processed again.
    Rerun,
    /// It is moved to the results, with a note that names the earlier result.
    Skip,
    /// It is moved to the failures.
    Quarantine,
}

/// What one input of a drop folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WatchUnit {
    /// A single file.
    File,
    /// A folder in the drop folder, with everything in it.
    Directory,
}

/// Order in which files of a drop folder are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TakeOrder {
    /// The file that was seen first.
    Fifo,
    /// In the order of names.
    Name,
    /// The file that was changed longest ago.
    Mtime,
    /// The smallest file first.
    Size,
}

/// Where tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// The embedded service on this machine.
    Embedded,
    /// A service that speaks the protocols of Azure Batch and Blob.
    Azure,
}

/// Who uploads the output files of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Upload {
    /// The service, after the task ended.
    Service,
    /// The program of the task, to the container that `OUTPUT_CONTAINER_URL` names.
    #[serde(rename = "self")]
    SelfUpload,
}

/// What happens to a task whose standard output or error exceeds the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// The middle is left out and reported.
    Cut,
    /// The task fails.
    Fail,
}

/// When something is deleted at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// After every run.
    Always,
    /// Only if every task succeeded.
    Success,
    /// It is always kept.
    Never,
    /// The user is asked on a terminal; elsewhere as `always`.
    Ask,
}

/// Where a key comes from. A run file never holds the key itself, because run files are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum KeySource {
    /// An environment variable.
    Env(String),
    /// A file that only its owner can read (mode 0600).
    File(PathBuf),
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code)]
enum LayoutName {
    ByInput,
    Flat,
    Mirror,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code)]
enum ExistingName {
    ReplaceOwn,
    KeepBoth,
    Replace,
    Refuse,
}

impl KeySource {
    /// Reads the key.
    ///
    /// # Errors
    /// Returns why it is not available; the message never contains a part of it.
    pub fn fetch(&self, base: &std::path::Path) -> Result<Secret, String> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(key) if !key.trim().is_empty() => Ok(Secret::new(key.trim())),
                _ => Err(format!("the environment has no variable {name}: set it, or name another")),
            },
            Self::File(path) => {
                use std::os::unix::fs::PermissionsExt;
                let path = base.join(path);
                let shown = path.display();
                let facts = std::fs::metadata(&path).map_err(|error| format!("{shown}: {error}"))?;
                if facts.permissions().mode() & 0o077 != 0 {
                    return Err(format!("{shown} can be read by others: chmod 600 it, and change the key"));
                }
                let key = std::fs::read_to_string(&path).map_err(|error| format!("{shown}: {error}"))?;
                Ok(Secret::new(key.trim()))
            }
        }
    }
}
