//! A run as it will be carried out: settings checked, files found, names given. Holds no secret.

mod stored_path;

use crate::delays::Delays;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Everything the actors need to know of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Unique name of the run, `[a-z0-9-]`, at most 47 characters: `lines-20261123-074052-k3f9ab`.
    pub run: String,
    /// `run.name` of the run file.
    pub name: String,
    /// `embedded` or `azure`: what the run says of itself.
    pub service: String,
    /// Files of the application, uploaded before the pool is made.
    pub application: Vec<AppFile>,
    /// Their container, if it belongs to a pool that outlives the run: then it outlives the run too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_application: Option<String>,
    /// One task each, in the order in which they were found.
    pub items: Vec<Item>,
    /// More items come while the run goes on: it ends when it is told that none will.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open_ended: bool,
    /// The pool to make.
    pub pool: PoolPlan,
    /// The job to make.
    pub job: JobPlan,
    /// Where results go.
    pub output: OutputPlan,
    /// What to delete at the end, and when.
    pub cleanup: CleanupPlan,
    /// How long each stage may last.
    pub deadlines: Deadlines,
    /// How much may be in flight.
    pub limits: Limits,
    /// The rests between tries of a call.
    pub delays: Delays,
    /// What the run file does with each input: a digest for each part of it, by the part's name. Equal digests mean that a
    /// task would do the same again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipe: BTreeMap<String, String>,
    /// The canonical path of the run file, if results of its earlier runs may be replaced.
    #[serde(default, with = "stored_path::optional", skip_serializing_if = "Option::is_none")]
    pub run_file: Option<PathBuf>,
    /// What was left out when inputs were looked for, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One file of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppFile {
    /// The file on this machine.
    #[serde(with = "stored_path")]
    pub source: PathBuf,
    /// Its path in the start task's working folder (in each task's if there is no start task), and its blob name.
    pub name: String,
    /// Length when the plan was made.
    pub size_bytes: u64,
    /// Whether its owner may execute it: the node gets mode 0755 rather than 0644.
    pub executable: bool,
    /// SHA-256 of its content when the plan was made, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// One input and the task made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Place in the list, from 0.
    pub index: u32,
    /// Task id: `<slug of the name>-<12 hex digits of a hash of the relative path>`, lower case, at most 64.
    pub task: String,
    /// Path relative to the run file's folder with `/` between segments; bytes that are not UTF-8 as `%XX`.
    pub relative: String,
    /// The file on this machine; none for a task without an input file.
    #[serde(with = "stored_path::optional", default)]
    pub source: Option<PathBuf>,
    /// The source is a folder: all files in it are the input, in the task's working folder below `<task>/<file name>/`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_folder: bool,
    /// The file's name in the task's working folder (last segment of `relative`).
    pub file_name: String,
    /// Length when the plan was made.
    pub size_bytes: u64,
    /// When its content was last changed, as the file system told when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// Its permissions when the plan was made: the lowest nine bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The complete command line, quoted for the node's splitter; contains no secret.
    pub command_line: String,
    /// Environment of this task: `DROPMILL_*` and `task.env`, in order.
    pub environment: Vec<(String, String)>,
    /// Folder of its results below the output folder, `/` between segments (layout `flat`: empty).
    pub result_folder: String,
    /// The delivered result of an earlier try of the same input, which this one's takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Superseded>,
    /// Name of the blob of `source` if several tasks share it; otherwise it is `<task>/<file name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// Files that the task gets beside `source`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_files: Vec<ItemFile>,
    /// Values by name, as text: wildcards, columns, the line, the sweep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(String, String)>,
    /// Digests of what this task is made from beside `source`: `values` and `files`, if it has these. Together with the
    /// recipe of the plan they decide whether the task would do the same again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipe: BTreeMap<String, String>,
    /// Patterns of this task's outputs, if they differ from those of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<String>>,
}

/// A file that a task gets beside its source: a companion, another part of a set, a file that a row names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFile {
    /// The file on this machine.
    #[serde(with = "stored_path")]
    pub source: PathBuf,
    /// Its path in the task's working folder, `/` between segments.
    pub place: String,
    /// Name of its blob in the container of the inputs. Tasks that share a file have the same name for it.
    pub blob: String,
    /// Length when the plan was made.
    pub size_bytes: u64,
    /// When its content was last changed, as the file system reported when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// Its permissions when the plan was made: the lowest nine bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

impl Item {
    /// Returns the length of all its files.
    pub fn all_bytes(&self) -> u64 {
        self.more_files.iter().fold(self.size_bytes, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// Returns the patterns of its outputs.
    pub fn output_patterns<'a>(&'a self, job: &'a JobPlan) -> &'a [String] {
        self.outputs.as_deref().unwrap_or(&job.outputs)
    }
}

/// A result that another takes the place of, if it is still as it was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superseded {
    /// Its folder below the output folder.
    pub folder: String,
    /// Path below that folder, length and MD5 (32 hex digits) of each of its files.
    pub files: Vec<(String, u64, String)>,
}

/// What the pool shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPlan {
    /// Pool id; a function of the run unless the run file names one.
    pub id: String,
    /// Whether the run made up the id: only then is the pool ours alone to delete.
    pub own: bool,
    /// Dedicated nodes.
    pub nodes: u32,
    /// Spot nodes.
    pub spot_nodes: u32,
    /// Tasks at the same time on one node.
    pub slots_per_node: u32,
    /// Size of a node, as the service names it.
    pub vm_size: String,
    /// `publisher`, `offer`, `sku`, `version` of the image, or its resource id under `virtualMachineImageId`.
    pub image: BTreeMap<String, String>,
    /// Node agent that fits the image.
    pub node_agent: String,
    /// Shell line run on each node before any task; the application's files are in its working folder.
    pub start_task: Option<String>,
    /// How often the start task is tried again on a node.
    pub start_task_retries: i32,
    /// Hash of all the above and of the application: stored in the pool's metadata to recognise drift.
    pub fingerprint: String,
}

/// What the job and its tasks share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Job id.
    pub id: String,
    /// -1000 to 1000.
    pub priority: i32,
    /// Patterns in a task's working folder, uploaded by the service when the task ended, whatever its result.
    pub outputs: Vec<String>,
    /// Tries after the first when a task exits with another code than 0; -1: no limit.
    pub max_retries: i32,
    /// `maxWallClockTime` of a task.
    pub task_timeout: Option<Duration>,
    /// Slots a task takes.
    pub required_slots: u32,
}

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPlan {
    /// Absolute folder on this machine.
    #[serde(with = "stored_path")]
    pub directory: PathBuf,
    /// One folder per input, or all files in one.
    pub layout: Layout,
    /// What to do when the place of a result is taken by something else.
    pub existing: Existing,
}

/// How results lie in the output folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `out/<relative path of the input>/…`, published by one rename per task.
    ByInput,
    /// `out/<name of the output>`; standard output and error as `<name of the input>.stdout.txt`.
    Flat,
}

/// What to do when the place of a result is taken by something that is not the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existing {
    /// A success takes the place of the own result of the same input: one that a run of this run file put there and nobody
    /// changed. Everything else stays, and the new result is delivered beside it.
    ReplaceOwn,
    /// Deliver beside it as `name~2`, `name~3`, …: nothing is ever overwritten.
    KeepBoth,
    /// Put the new result in its place, whatever is there, unless that is the result of another input.
    Replace,
    /// The task fails with that reason; its outputs stay in the container.
    Refuse,
}

/// When to delete what the run made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Whatever the outcome.
    Always,
    /// Only if every task succeeded and every result was delivered.
    Success,
    /// Keep it.
    Never,
}

/// What to delete at the end. (`ask` of the run file was answered when the plan was made.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupPlan {
    /// The pool, which costs money while it stands.
    pub pool: When,
    /// The job and its tasks.
    pub job: When,
    /// The containers. Never deleted while a result in them is undelivered.
    pub containers: When,
}

/// How long each stage may last. Each ends in a named reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// The whole run, from its start until tasks are told to end.
    pub run: Duration,
    /// Until the pool has its nodes.
    pub allocation: Duration,
    /// Until a node that is there has finished its start task.
    pub start_task: Duration,
    /// While all nodes are unusable, until they recover; twice as long if some are spot nodes.
    #[serde(default = "unusable")]
    pub unusable: Duration,
    /// A task waiting for a node while the pool is steady.
    pub queue: Option<Duration>,
    /// One input's upload, all tries together.
    pub upload: Duration,
    /// Fetching one task's results, all tries together.
    pub delivery: Duration,
    /// Of a run that was interrupted: until the next result is home.
    #[serde(default = "cancelled")]
    pub cancelled: Duration,
    /// No task moved to another state for so long.
    pub no_progress: Option<Duration>,
    /// Deleting what the run made, after its end.
    pub cleanup: Duration,
}

/// How much may be in flight at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Uploads at the same time.
    pub uploads: u32,
    /// Bytes of uploads at the same time (one larger file still goes alone).
    pub upload_bytes: u64,
    /// `addtaskcollection` calls at the same time.
    pub submissions: u32,
    /// Tasks whose results are fetched at the same time.
    pub fetches: u32,
    /// Files that come home of one task.
    #[serde(default = "result_files")]
    pub result_files: u32,
    /// Bytes kept of each of a task's standard output and error; of more, the middle is left out.
    #[serde(default = "stream_bytes")]
    pub stream_bytes: u64,
    /// A task of which something was left out has failed.
    #[serde(default)]
    pub fail_on_overflow: bool,
    /// Longest time between two looks at the service.
    pub poll_every: Duration,
    /// Shortest time between two looks, when the service hints at news.
    pub poll_at_most_every: Duration,
    /// Longest wait for one answer.
    pub call_timeout: Duration,
}

impl RunPlan {
    /// The container of the application's files.
    pub fn app_container(&self) -> String {
        self.shared_application.clone().unwrap_or_else(|| format!("{}-app", self.run))
    }
    /// The container of the inputs; a blob is named by its task id and file name, `<task>/<file name>` (of a folder:
    /// `<task>/<file name>/<path in it>`).
    pub fn input_container(&self) -> String {
        format!("{}-input", self.run)
    }
    /// The container of the outputs: `<task>/stdout.txt`, `<task>/stderr.txt`, `<task>/wd/<output>`.
    pub fn output_container(&self) -> String {
        format!("{}-output", self.run)
    }
}

/// Returns the id under which an attempt of a task is submitted: the task's own for the first, `<task>-2` for the second.
/// Each attempt has a folder of its own on its node, and stores what it left under its own id.
pub fn attempt_id(task: &str, attempt: u32) -> String {
    if attempt <= 1 { task.to_owned() } else { format!("{task}-{attempt}") }
}

/// Returns the container of the application that all runs on a daemon's pool share.
pub fn shared_application(pool: &str) -> String {
    format!("{pool}-app")
}

/// Small letters and digits, with single hyphens for everything else: what names of runs and tasks are made of.
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

/// The patience of plans that were made before there was a key for it.
fn cancelled() -> Duration {
    Duration::from_secs(120)
}

/// Of plans that were made before there was a limit to say.
fn stream_bytes() -> u64 {
    1 << 30
}

/// The patience of plans that were made before there was a key for it.
fn unusable() -> Duration {
    Duration::from_secs(45 * 60)
}

/// What plans meant that were made before there was a limit to say.
fn result_files() -> u32 {
    100_000
}
