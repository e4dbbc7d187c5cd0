//! The sections of a run file. Defaults stand in `config/default.toml`, nowhere else.

use super::{Length, Size};
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
        /// What every node or task gets.
        pub application: Application,
        /// Of what tasks are made.
        pub input: Input,
        /// The nodes.
        pub pool: Pool,
        /// The job.
        pub job: Job,
        /// What a task does.
        pub task: Task,
        /// Where results go.
        pub output: Output,
        /// What is deleted at the end.
        pub cleanup: Cleanup,
        /// How much may be in flight.
        pub limits: Limits,
        /// The drop folder of `dropmill watch`.
        pub watch: Watch,
        /// Who is told what became of a run, or of a file of the drop folder.
        pub notify: Notify,
    }

    /// The run itself.
    pub struct Run {
        /// Begins the names of everything the run makes.
        pub name: String,
        /// The whole run.
        pub deadline: Length,
        /// Its stages.
        pub deadlines: Deadlines,
    }

    /// How long the stages of a run may last.
    pub struct Deadlines {
        /// Until the pool has its nodes.
        pub allocation: Length,
        /// From then until the start task is done on a node.
        pub start_task: Length,
        /// While all nodes are unusable, until they recover.
        pub unusable: Length,
        /// A task waiting for a node while nodes are ready.
        pub queue: Option<Length>,
        /// One file's upload.
        pub upload: Length,
        /// Fetching one task's results.
        pub delivery: Length,
        /// Nothing moved.
        pub no_progress: Option<Length>,
        /// Of a run that was interrupted: until the next result is home.
        pub cancelled: Length,
        /// Deleting what the run made.
        pub cleanup: Length,
    }

    /// Where tasks run.
    pub struct Service {
        /// This machine, or a service.
        pub kind: ServiceKind,
        /// Address of the Batch account.
        pub batch_endpoint: Option<String>,
        /// Its name.
        pub batch_account: Option<String>,
        /// Its key.
        pub batch_key: Option<KeySource>,
        /// Address of the storage account's blobs.
        pub blob_endpoint: Option<String>,
        /// Its name.
        pub storage_account: Option<String>,
        /// Its key.
        pub storage_key: Option<KeySource>,
        /// Whether keys may travel in plain text beyond this machine.
        pub allow_plain_http: bool,
    }

    /// What every node or task gets.
    pub struct Application {
        /// Globs.
        pub files: Vec<String>,
        /// A shell line run once on each node.
        pub start_task: Option<String>,
        /// How often it is tried again.
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
        /// Order in which tasks are submitted.
        pub order: InputOrder,
    }

    /// The nodes.
    pub struct Pool {
        /// Id of a shared pool.
        pub id: Option<String>,
        /// Dedicated nodes.
        pub nodes: u32,
        /// Spot nodes.
        pub spot_nodes: u32,
        /// Tasks at the same time on one node.
        pub slots_per_node: u32,
        /// Size of a node.
        pub vm_size: String,
        /// Node agent that fits the image.
        pub node_agent: String,
        /// Image of a node.
        pub image: BTreeMap<String, String>,
    }

    /// The job.
    pub struct Job {
        /// -1000 to 1000.
        pub priority: i32,
    }

    /// What a task does.
    pub struct Task {
        /// Program and arguments.
        pub command: Option<Vec<String>>,
        /// A line for the node's shell.
        pub shell: Option<String>,
        /// Patterns of files that come home.
        pub outputs: Vec<String>,
        /// Tries after the first.
        pub max_retries: u16,
        /// Longest time one try may run.
        pub timeout: Option<Length>,
        /// More variables.
        pub env: BTreeMap<String, String>,
        /// Slots it takes.
        pub required_slots: u32,
    }

    /// Where results go.
    pub struct Output {
        /// The folder.
        pub directory: PathBuf,
        /// One folder per input, or all files in one.
        #[schemars(with = "LayoutName")]
        pub layout: Layout,
        /// What to do when a place is taken.
        #[schemars(with = "ExistingName")]
        pub existing: Existing,
    }

    /// What is deleted at the end.
    pub struct Cleanup {
        /// The pool.
        pub pool: Policy,
        /// The job.
        pub job: Policy,
        /// The containers.
        pub containers: Policy,
    }

    /// How much may be in flight.
    pub struct Limits {
        /// Uploads at the same time.
        pub uploads: u32,
        /// Their bytes.
        pub upload_bytes: Size,
        /// Calls that add tasks, at the same time.
        pub submissions: u32,
        /// Tasks whose results are fetched at the same time.
        pub fetches: u32,
        /// Files that come home of one task.
        pub result_files: u32,
        /// Bytes kept of each of a task's standard output and error.
        pub stream_bytes: Size,
        /// What more of them means for the task.
        pub on_overflow: Overflow,
        /// Longest time between two looks.
        pub poll_every: Length,
        /// Longest wait for one answer.
        pub call_timeout: Length,
        /// Tries of a call that fails for a reason that passes.
        pub tries: u32,
        /// Free space below which a drop folder takes nothing more.
        pub disk_floor: Size,
    }

    /// Who is told what became of a run, or of a file of the drop folder.
    pub struct Notify {
        /// A program and its arguments; it reads the notice, a JSON object, from its standard input.
        pub command: Option<Vec<String>>,
        /// Where the notice is posted.
        pub url: Option<String>,
        /// Signs what is posted, as Standard Webhooks asks.
        pub secret: Option<KeySource>,
        /// Longest time of one try.
        pub timeout: Length,
        /// Tries until a notice is given up.
        pub tries: u32,
    }

    /// The drop folder of `dropmill watch`.
    pub struct Watch {
        /// Where files appear.
        pub directory: Option<PathBuf>,
        /// Where results go.
        pub done: Option<PathBuf>,
        /// Where failures go.
        pub failed: Option<PathBuf>,
        /// Where files are while they are worked on.
        pub work: Option<PathBuf>,
        /// How long a file must look the same before it is taken.
        pub stable_for: Length,
        /// Ending of marker files.
        pub marker: Option<String>,
        /// What an input is: each file, or each folder with everything in it.
        pub unit: WatchUnit,
        /// Whether folders in it are looked into for files.
        pub recursive: bool,
        /// Patterns of names that are left alone.
        pub ignore: Vec<String>,
        /// Patterns of names that are inputs; empty: all names.
        pub include: Vec<String>,
        /// Smallest length of an input; a shorter file waits to be filled.
        pub min_bytes: Size,
        /// Length of the largest file that is taken.
        pub max_file_bytes: Option<Size>,
        /// Whether files are taken that have another name elsewhere, or belong to somebody else.
        pub take_foreign: bool,
        /// What is taken first.
        pub order: TakeOrder,
        /// Files that are worked on at the same time.
        pub max_files: u32,
        /// Their bytes.
        pub max_bytes: Size,
        /// Longest time between two looks at the whole folder.
        pub rescan: Length,
        /// The same where notifications of the file system cannot be relied on.
        pub poll: Length,
        /// Files are gathered until none came for so long, and then make one job.
        pub gather: Option<Length>,
        /// Files after which a new job is begun.
        pub roll_after: u32,
        /// After so long without a file the job is closed and the pool shrinks to nothing.
        pub idle: Length,
        /// Longest time to end what goes on when it is told to stop.
        pub drain: Length,
        /// Whether the input goes with its result.
        pub keep_input: bool,
        /// What happens to a file that was done before: same name, same content.
        pub duplicates: DuplicatePolicy,
        /// How long files that were done are remembered.
        pub remember: Length,
        /// Tries of a file that is refused before it counts as failed.
        pub tries: u32,
        /// Address of health and metrics, on loopback.
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
    /// By name.
    Name,
    /// The largest input first.
    SizeDesc,
}

/// What happens to a file that was done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DuplicatePolicy {
    /// It is done again.
    Rerun,
    /// It goes to the results, with a note that names the earlier one.
    Skip,
    /// It goes to the failures.
    Quarantine,
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WatchUnit {
    /// Each file.
    File,
    /// Each folder in the drop folder, with everything in it.
    Directory,
}

/// What is taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TakeOrder {
    /// What was seen first.
    Fifo,
    /// By name.
    Name,
    /// What was changed longest ago.
    Mtime,
    /// The smallest.
    Size,
}

/// Where tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// On this machine.
    Embedded,
    /// On a service that speaks the protocols of Azure Batch and Blob.
    Azure,
}

/// What it means for a task that part of its standard output or error was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// Nothing.
    Cut,
    /// It failed.
    Fail,
}

/// When something is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Whatever the outcome.
    Always,
    /// When every task succeeded.
    Success,
    /// It is kept.
    Never,
    /// Asked on a terminal; `always` elsewhere.
    Ask,
}

/// Where a key comes from. Never the key itself: run files are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum KeySource {
    /// A variable of the environment.
    Env(String),
    /// A file that only its owner may read.
    File(PathBuf),
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code)]
enum LayoutName {
    ByInput,
    Flat,
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
    /// Fetches the key.
    ///
    /// # Errors
    /// Why it is not to be had, in words; never a part of it.
    pub fn fetch(&self, base: &std::path::Path) -> Result<Secret, String> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(key) if !key.trim().is_empty() => Ok(Secret::new(key.trim())),
                _ => Err(format!("the environment has no variable {name}: set it to the account's key")),
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
