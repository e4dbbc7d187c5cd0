//! The plan of a run: checked settings, found files, assigned names. Contains no secret.

mod chunks;
mod failure_limit;
mod stored_path;

pub use chunks::{Chunk, Grouping, INPUTS, INPUTS0, LISTS, ROWS};
pub use failure_limit::FailureLimit;

use crate::{
    attempts::{CauseWord, RetryCause, RetryPolicy},
    delays::Delays,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Everything that actors need to know about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Unique name of the run, `[a-z0-9-]`, at most 47 characters: `lines-20261123-074052-k3f9ab`.
    pub run: String,
    /// `run.name` of the run file.
    pub name: String,
    /// The service in use: `embedded` or `azure`.
    pub service: String,
    /// Files of the application, uploaded before the pool is created.
    pub application: Vec<AppFile>,
    /// Container of the application, if it belongs to a pool that is kept after the run: then the container
    /// is kept too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_application: Option<String>,
    /// Inputs with one task each, in the order in which they were found.
    pub items: Vec<Item>,
    /// How inputs are grouped into tasks, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grouping: Option<Grouping>,
    /// Tasks that are each for several of these items. An item that belongs to none is submitted alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<Item>,
    /// Whether more items are added while the run is active: it ends when it is reported that none will follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open_ended: bool,
    /// The pool to create.
    pub pool: PoolPlan,
    /// The job to create.
    pub job: JobPlan,
    /// The destination of results.
    pub output: OutputPlan,
    /// After how many failed tasks no more are started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<FailureLimit>,
    /// What to delete at the end, and when.
    pub cleanup: CleanupPlan,
    /// Deadlines of the stages.
    pub deadlines: Deadlines,
    /// Limits of work in flight.
    pub limits: Limits,
    /// Delays between attempts of a request.
    pub delays: Delays,
    /// How the run file processes an input: a digest for each part, by the part's name. Equal digests mean
    /// that a task would produce the same result again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipe: BTreeMap<String, String>,
    /// The canonical path of the run file, if results of its earlier runs may be replaced.
    #[serde(default, with = "stored_path::optional", skip_serializing_if = "Option::is_none")]
    pub run_file: Option<PathBuf>,
    /// Inputs that were left out during the search, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One file of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppFile {
    /// Path on this machine.
    #[serde(with = "stored_path")]
    pub source: PathBuf,
    /// Path in the start task's working folder (in each task's folder if there is no start task), and name of
    /// its blob.
    pub name: String,
    /// Length when the plan was created.
    pub size_bytes: u64,
    /// Whether its owner may execute it: on the node it gets mode 0755 instead of 0644.
    pub executable: bool,
    /// SHA-256 of its content when the plan was created, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// An input and its task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Index in the list, from 0.
    pub index: u32,
    /// Task id: `<slug of the name>-<12 hex digits of a hash of the relative path>`, lower case, at most 64.
    pub task: String,
    /// Path relative to the run file's folder with `/` between segments; bytes that are not UTF-8 as `%XX`.
    pub relative: String,
    /// Path on this machine; `None` for a task without an input file.
    #[serde(with = "stored_path::optional", default)]
    pub source: Option<PathBuf>,
    /// Whether the source is a folder: all its files are the input, in the task's working folder below
    /// `<task>/<file name>/`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_folder: bool,
    /// The file's name in the task's working folder (last segment of `relative`). Of a grouped input, its path below the
    /// folder of the inputs.
    pub file_name: String,
    /// Length when the plan was created.
    pub size_bytes: u64,
    /// Modification time when the plan was created, from the file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// Permissions when the plan was created: the lowest nine bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Complete command line, quoted for the node's parser; contains no secret.
    pub command_line: String,
    /// Environment variables of this task: `DROPMILL_*` and `task.env`, in order.
    pub environment: Vec<(String, String)>,
    /// Folder of its results below the output folder, `/` between segments (layout `flat`: empty; `mirror`: the folder of
    /// its input, which other tasks share).
    pub result_folder: String,
    /// The delivered result of an earlier run of the same input, which this result replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Superseded>,
    /// Name of the blob of `source` if several tasks share it; otherwise it is `<task>/<file name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// Additional files of the task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_files: Vec<ItemFile>,
    /// Values by name, as text: wildcards, columns, the line, the sweep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(String, String)>,
    /// Digests of the task's other inputs: `values` and `files`, if it has them. Together with the recipe of
    /// the plan, they decide whether the task would produce the same result again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipe: BTreeMap<String, String>,
    /// Patterns of this task's outputs, if they differ from those of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<String>>,
    /// How it gets its inputs, if the run file groups them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<Chunk>,
}

/// An additional file of a task: a companion, another part of a set, or a file named in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFile {
    /// Path on this machine.
    #[serde(with = "stored_path")]
    pub source: PathBuf,
    /// Its path in the task's working folder, `/` between segments.
    pub place: String,
    /// Name of its blob in the container of the inputs. Tasks that share a file have the same name for it.
    pub blob: String,
    /// Length when the plan was created.
    pub size_bytes: u64,
    /// Modification time when the plan was created, from the file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// Permissions when the plan was created: the lowest nine bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

impl Item {
    /// Returns the total length of its files.
    pub fn all_bytes(&self) -> u64 {
        self.more_files.iter().fold(self.size_bytes, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// Returns the patterns of its outputs.
    pub fn output_patterns<'a>(&'a self, job: &'a JobPlan) -> &'a [String] {
        self.outputs.as_deref().unwrap_or(&job.outputs)
    }
}

/// A result that another one replaces, if it is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superseded {
    /// Folder of the result below the output folder.
    pub folder: String,
    /// Path below that folder, length and MD5 (32 hex digits) of each of its files.
    pub files: Vec<(String, u64, String)>,
}

/// The pool of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPlan {
    /// Pool id; derived from the run unless the run file names one.
    pub id: String,
    /// Whether the id was generated: only then may the run delete the pool.
    pub own: bool,
    /// Number of dedicated nodes.
    pub nodes: u32,
    /// Number of Spot nodes.
    pub spot_nodes: u32,
    /// Number of tasks that a node can run at the same time.
    pub slots_per_node: u32,
    /// Size of a node, as named by the service.
    pub vm_size: String,
    /// `publisher`, `offer`, `sku`, `version` of the image, or its resource id under `virtualMachineImageId`.
    pub image: BTreeMap<String, String>,
    /// Node agent for the image.
    pub node_agent: String,
    /// Shell command that runs on each node before any task, with the application's files in its working
    /// folder.
    pub start_task: Option<String>,
    /// Maximum number of retries of the start task on a node.
    pub start_task_retries: i32,
    /// Hash of all fields above and of the application: stored in the pool's metadata to detect changes.
    pub fingerprint: String,
}

/// The job of a run, and the common properties of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Id of the job.
    pub id: String,
    /// Priority from -1000 to 1000.
    pub priority: i32,
    /// Glob patterns in a task's working folder; the service uploads matching files when the task has ended,
    /// whatever its result.
    pub outputs: Vec<String>,
    /// Maximum number of retries of a task that exits with a code other than 0; -1: no limit.
    pub max_retries: i32,
    /// Exit codes of a task that are a success.
    #[serde(default = "success_codes", skip_serializing_if = "is_only_zero")]
    pub success_codes: Vec<i32>,
    /// After which failures another attempt follows, and when.
    #[serde(default, skip_serializing_if = "RetryPlan::is_usual")]
    pub retry: RetryPlan,
    /// `maxWallClockTime` of a task.
    pub task_timeout: Option<Duration>,
    /// Number of slots of a task.
    pub required_slots: u32,
    /// Tasks upload their results themselves, each attempt to a container of its own (`OUTPUT_CONTAINER_URL`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_upload: bool,
}

/// After which failures another attempt at a task follows, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPlan {
    /// Causes after which another attempt follows.
    pub on: Vec<RetryCause>,
    /// Causes after which none follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_on: Vec<RetryCause>,
    /// The delay after the first attempt, the second, …; none: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delays: Option<Delays>,
}

impl Default for RetryPlan {
    /// Returns what plans meant that were made before there was a choice: after an exit code that is no success, at once.
    fn default() -> Self {
        Self { on: vec![RetryCause::Word(CauseWord::ExitCode)], not_on: vec![], delays: None }
    }
}

impl RetryPlan {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl JobPlan {
    /// Returns which failed attempts at a task are followed by another.
    pub fn retry_policy(&self) -> RetryPolicy {
        let RetryPlan { on, not_on, delays } = self.retry.clone();
        RetryPolicy {
            max: u32::try_from(self.max_retries).unwrap_or(u32::MAX),
            on,
            not_on,
            delays: delays.unwrap_or(Delays { steps: vec![], for_ever: false }),
        }
    }
}

/// The destination of results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPlan {
    /// Absolute path on this machine.
    #[serde(with = "stored_path")]
    pub directory: PathBuf,
    /// One folder per input, all files in one folder, or files in the folders of their inputs.
    pub layout: Layout,
    /// What to do if the place of a result is taken.
    pub existing: Existing,
}

/// The layout of results in the output folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `out/<relative path of the input>/…`, published by one rename per task.
    ByInput,
    /// `out/<name of the output>`; standard output and error as `<name of the input>.stdout.txt`.
    Flat,
    /// `out/<folder of the input>/<name of the output>`; standard output and error of successful tasks in the run's folder.
    Mirror,
}

/// What to do if the place of a result is taken by another result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existing {
    /// A success replaces the own result of the same input, if a run of this run file put it there and it is
    /// unchanged. Everything else stays, and the new result gets another name.
    ReplaceOwn,
    /// Deliver it as `name~2`, `name~3`, …: nothing is ever overwritten.
    KeepBoth,
    /// Replace whatever is there, unless it is the result of another input.
    Replace,
    /// The task fails for this reason; its outputs stay in the container.
    Refuse,
}

/// When to delete resources of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// After every outcome.
    Always,
    /// Only if every task succeeded and every result was delivered.
    Success,
    /// Keep the resource.
    Never,
}

/// What to delete at the end. (`ask` in the run file was answered when the plan was created.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupPlan {
    /// The pool, which costs money while it exists.
    pub pool: When,
    /// The job and its tasks.
    pub job: When,
    /// The containers. They are never deleted while they contain an undelivered result.
    pub containers: When,
}

/// The deadlines of the stages. Each has its own reason in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// Deadline of the run, from its start until its tasks are terminated.
    pub run: Duration,
    /// Timeout until the pool has its nodes.
    pub allocation: Duration,
    /// Timeout for the start task of an allocated node.
    pub start_task: Duration,
    /// Timeout for the recovery if all nodes are unusable; twice as long if some are Spot nodes.
    #[serde(default = "unusable")]
    pub unusable: Duration,
    /// Timeout of a task that waits for a node while the pool is steady.
    pub queue: Option<Duration>,
    /// Timeout for the upload of one input, over all attempts.
    pub upload: Duration,
    /// Timeout for the download of one task's results, over all attempts.
    pub delivery: Duration,
    /// Timeout for each further result after the run was interrupted.
    #[serde(default = "cancelled")]
    pub cancelled: Duration,
    /// Longest time without a change of a task's state.
    pub no_progress: Option<Duration>,
    /// Timeout for the cleanup after the end of the run.
    pub cleanup: Duration,
}

/// Limits of work in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Maximum number of parallel uploads.
    pub uploads: u32,
    /// Maximum number of bytes of parallel uploads (a single larger file is always allowed).
    pub upload_bytes: u64,
    /// Maximum number of parallel `addtaskcollection` requests.
    pub submissions: u32,
    /// Maximum number of tasks whose results are downloaded in parallel.
    pub fetches: u32,
    /// Maximum number of output files of one task.
    #[serde(default = "result_files")]
    pub result_files: u32,
    /// Bytes kept of each of a task's standard output and error; the middle of longer ones is left out.
    #[serde(default = "stream_bytes")]
    pub stream_bytes: u64,
    /// Whether a task with left out output has failed.
    #[serde(default)]
    pub fail_on_overflow: bool,
    /// Longest interval between two polls of the service.
    pub poll_every: Duration,
    /// Shortest interval between two polls, if the service sends change notifications.
    pub poll_at_most_every: Duration,
    /// Timeout of one request.
    pub call_timeout: Duration,
}

impl RunPlan {
    /// Returns the number of failed tasks at which no more are started.
    pub fn most_failures(&self) -> Option<u32> {
        let tasks = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        self.max_failures.filter(|_| !self.open_ended).map(|limit| limit.of(tasks))
    }
    /// Returns the container of the application's files.
    pub fn app_container(&self) -> String {
        self.shared_application.clone().unwrap_or_else(|| format!("{}-app", self.run))
    }
    /// Returns the container of the inputs; the name of a blob is `<task>/<file name>` (for a folder:
    /// `<task>/<file name>/<path in it>`).
    pub fn input_container(&self) -> String {
        format!("{}-input", self.run)
    }
    /// Returns the container of the outputs: `<task>/stdout.txt`, `<task>/stderr.txt`, `<task>/wd/<output>`.
    pub fn output_container(&self) -> String {
        format!("{}-output", self.run)
    }
}

/// Returns the id under which an attempt of a task is submitted: the task's own for the first, `<task>-2` for
/// the second. Each attempt has its own folder on its node, and stores its outputs under its own id.
pub fn attempt_id(task: &str, attempt: u32) -> String {
    if attempt <= 1 { task.to_owned() } else { format!("{task}-{attempt}") }
}

/// Returns the container of the application that all runs on a daemon's pool share.
pub fn shared_application(pool: &str) -> String {
    format!("{pool}-app")
}

/// Returns a text with lower-case letters and digits only, and single hyphens for everything else: the
/// characters of names of runs and tasks.
pub fn slug(text: &str, longest: usize) -> String {
    let mut slug = String::new();
    for letter in text.chars().map(|letter| letter.to_ascii_lowercase()) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= longest {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// What plans meant that were made before there was a choice.
fn success_codes() -> Vec<i32> {
    vec![0]
}

fn is_only_zero(codes: &[i32]) -> bool {
    *codes == [0]
}

/// The default of plans without this timeout.
fn cancelled() -> Duration {
    Duration::from_secs(120)
}

/// The default of plans without this limit.
fn stream_bytes() -> u64 {
    1 << 30
}

/// The default of plans without this timeout.
fn unusable() -> Duration {
    Duration::from_secs(45 * 60)
}

/// The meaning of plans without this limit.
fn result_files() -> u32 {
    100_000
}
