//! The stored state of the model: pools with their nodes, jobs with their tasks.

use super::{
    books::{Nodes, Tasks},
    keys::{JobKey, NodeKey, PoolKey, ScheduleKey, TaskKey},
    slots::Slots,
};
use crate::{
    autoscale::Samples,
    orders::{LaunchId, NodeRef},
};
use dropmill_azure_wire::{
    batch::{self as wire, ComputeNodeError, JobState, NodeState, NodeTaskInfo, PoolAdd, TaskState},
    etag::ETag,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Deref,
    sync::Arc,
};

/// A change to be stored, as key and JSON. A task has two rows: its specification never changes, its state
/// changes often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Stores a pool with its nodes.
    PutPool {
        /// Key of the object.
        key: PoolKey,
        /// The object as JSON.
        body: String,
    },
    /// Deletes the pool.
    DropPool {
        /// Key of the object.
        key: PoolKey,
    },
    /// Stores a job without its tasks.
    PutJob {
        /// Key of the object.
        key: JobKey,
        /// The object as JSON.
        body: String,
    },
    /// Deletes the job with its tasks.
    DropJob {
        /// Key of the object.
        key: JobKey,
    },
    /// Stores a job schedule.
    PutSchedule {
        /// Key of the object.
        key: ScheduleKey,
        /// The object as JSON.
        body: String,
    },
    /// Deletes the schedule.
    DropSchedule {
        /// Key of the object.
        key: ScheduleKey,
    },
    /// Stores the period for which a node had a machine.
    AddLease {
        /// The object as JSON.
        body: String,
    },
    /// Stores a task.
    PutTask {
        /// Key of its job.
        job: JobKey,
        /// Key of the object.
        key: TaskKey,
        /// Specification of the task, as JSON.
        add: String,
        /// State of the task, as JSON.
        facts: String,
    },
    /// Stores the state of a task.
    PutTaskFacts {
        /// Key of its job.
        job: JobKey,
        /// Key of the object.
        key: TaskKey,
        /// State of the task, as JSON.
        facts: String,
    },
    /// Deletes the task.
    DropTask {
        /// Key of its job.
        job: JobKey,
        /// Key of the object.
        key: TaskKey,
    },
}

/// A pool as the service stores it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pool {
    /// The current specification, with the service's defaults.
    pub spec: PoolAdd,
    /// Changes with `spec`.
    pub etag: ETag,
    /// Time of the last change of `spec`.
    pub modified: Timestamp,
    /// Creation time of the pool.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Time of its creation, or of the start of its deletion.
    pub state_at: Timestamp,
    /// Whether nodes are being added or removed.
    pub resizing: bool,
    /// Whether the resize is being stopped.
    #[serde(default)]
    pub stopping: bool,
    /// Time at which an unfinished resize is given up.
    #[serde(skip)]
    pub resize_until: Option<Timestamp>,
    /// Time of the last change of the allocation state.
    pub allocation_at: Timestamp,
    /// Reasons why the last resize got too few nodes.
    pub resize_errors: Vec<wire::ResizeError>,
    /// Result of the last evaluation of the autoscale formula.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale_run: Option<wire::AutoScaleRun>,
    /// Time when a client last set the formula.
    #[serde(skip)]
    pub formula_at: Option<Timestamp>,
    /// Recent samples, if it has an autoscale formula.
    #[serde(skip)]
    pub samples: Samples,
    /// Nodes of the pool.
    pub nodes: Nodes,
}

/// A node of a pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Id of the node, which is its key.
    pub id: NodeKey,
    /// Whether it is a dedicated node, not a Spot node.
    pub dedicated: bool,
    /// Current state of the node.
    pub state: NodeState,
    /// Start time of that state.
    pub state_at: Timestamp,
    /// Whether scheduling is enabled.
    pub scheduling: bool,
    /// Time since which it has a machine, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased: Option<Timestamp>,
    /// Time when it was added to the pool.
    pub allocated: Timestamp,
    /// Time of the last boot.
    pub booted: Option<Timestamp>,
    /// State of its start task.
    pub start_task: Option<NodeTaskInfo>,
    /// Errors of the node.
    pub errors: Vec<ComputeNodeError>,
    /// Number of tasks that it ran.
    pub total: i32,
    /// Number of those that succeeded.
    pub succeeded: i32,
    /// The slots that tasks hold.
    #[serde(skip)]
    pub slots: Slots,
    /// Launches on the node, including the start task.
    #[serde(skip)]
    pub launches: BTreeSet<LaunchId>,
    /// Whether it is being removed from the pool.
    pub leaving: bool,
    /// Action to carry out once nothing runs on it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Application packages that its pool named at the last boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<wire::ApplicationPackageReference>,
    /// User accounts of the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, NodeUser>,
    /// The node as a place of tasks, shared by all of them.
    #[serde(skip)]
    pub place: Option<Place>,
    /// The last tasks that ended on it, the oldest first.
    #[serde(skip)]
    pub recent: VecDeque<Recent>,
    /// Log of the node, the oldest entry first.
    #[serde(skip)]
    pub log: VecDeque<(Timestamp, Box<str>)>,
}

/// A task that ended on a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Recent {
    /// Key of its job.
    pub job: JobKey,
    /// Key of the object.
    pub task: TaskKey,
    /// Number of the instance; 0 if there is only one.
    pub number: usize,
    /// Information about the task, if it has been deleted.
    pub gone: Option<Box<wire::TaskInformation>>,
}

/// An action of a node once nothing runs on it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The action to carry out.
    pub act: NodeAction,
    /// Whether it waits until tasks end on their own.
    pub patience: DrainMode,
}

/// The action of a node that must have no running tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeAction {
    /// It is removed from the pool.
    Leave,
    /// It is rebooted.
    Reboot,
    /// It is reimaged: its folders are created again.
    Reimage,
    /// It is deallocated: its machine is given back.
    Deallocate,
}

/// Whether a node waits for its tasks before an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainMode {
    /// Tasks are ended.
    None,
    /// It waits until tasks end on their own.
    Tasks,
    /// It waits, and until the retention time of their files is over.
    Data,
}

/// A user account of a node. Nobody can log in, so no secret is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUser {
    /// Whether it is an administrator.
    pub is_admin: bool,
    /// Expiry time of the account.
    pub expires: Option<Timestamp>,
}

/// A job as the service stores it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Creation order: a lower number is older.
    pub number: u64,
    /// The current specification, with the service's defaults.
    pub spec: wire::JobAdd,
    /// Changes with `spec`.
    pub etag: ETag,
    /// Time of the last change of `spec`.
    pub modified: Timestamp,
    /// Creation time of the job.
    pub created: Timestamp,
    /// Current state of the job.
    pub state: JobState,
    /// Start time of that state.
    pub state_at: Timestamp,
    /// Previous state and its start time.
    pub previous: Option<(JobState, Timestamp)>,
    /// End time of the job.
    pub ended: Option<Timestamp>,
    /// Reason for its termination.
    pub terminate_reason: Option<String>,
    /// Id of its auto pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_pool: Option<String>,
    /// Reason why it could not be scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_error: Option<wire::FailureInfo>,
    /// Nodes that ran its preparation task, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on_nodes: BTreeMap<NodeKey, OnNode>,
    /// Tasks of the job.
    #[serde(skip)]
    pub tasks: Tasks,
}

/// A job on a node that runs or ran its preparation task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OnNode {
    /// Pool of the node.
    pub pool: String,
    /// State of the preparation task.
    pub preparation: NodeTaskInfo,
    /// State of the release task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<NodeTaskInfo>,
    /// Launch of the preparation or release task, if one is running.
    #[serde(skip)]
    pub launch: Option<LaunchId>,
    /// Reason why that launch is being ended.
    #[serde(skip)]
    pub ending: Option<Ending>,
    /// Tasks that wait for the preparation.
    #[serde(skip)]
    pub waiting: BTreeSet<TaskKey>,
}

impl OnNode {
    /// Creates the entry for a preparation task that starts.
    pub fn new(pool: String, preparation: NodeTaskInfo) -> Self {
        Self { pool, preparation, release: None, launch: None, ending: None, waiting: BTreeSet::new() }
    }
}

/// The place where a task runs or ran. Stored as the ids of pool and node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(String, NodeKey)", into = "(String, NodeKey)")]
pub struct Place(Arc<Spot>);

/// The node of a place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Id of the pool.
    pub pool_id: Arc<str>,
    /// Key of the pool.
    pub pool: PoolKey,
    /// Key of the node.
    pub node: NodeKey,
}

impl Deref for Place {
    type Target = Spot;
    fn deref(&self) -> &Spot {
        &self.0
    }
}

impl Place {
    /// Creates a place; clones share its memory.
    pub fn new(pool_id: Arc<str>, pool: PoolKey, node: NodeKey) -> Self {
        Self(Arc::new(Spot { pool_id, pool, node }))
    }

    /// Returns the node as the runner identifies it.
    pub fn node_ref(&self) -> NodeRef {
        NodeRef { pool: self.pool_id.as_ref().to_owned(), node: self.node.to_string() }
    }
}

impl From<(String, NodeKey)> for Place {
    fn from((pool_id, node): (String, NodeKey)) -> Self {
        let pool = PoolKey::of(&pool_id);
        Self::new(pool.spelled(&pool_id), pool, node)
    }
}

impl From<Place> for (String, NodeKey) {
    fn from(place: Place) -> Self {
        (place.pool_id.as_ref().to_owned(), place.node.clone())
    }
}

/// The reason why a launch is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// A client terminated the task or its job.
    Terminated,
    /// It reached its time limit.
    WallClock,
    /// Its node is removed, or its job was disabled: the task will run again.
    Requeued,
    /// The task was deleted.
    Deleted,
}

impl Pool {
    /// Returns the number of slots of one node.
    pub fn slots_per_node(&self) -> i32 {
        self.spec.task_slots_per_node.unwrap_or(1)
    }

    /// Returns whether tasks are packed on few nodes.
    pub fn packs(&self) -> bool {
        let policy = self.spec.task_scheduling_policy.as_ref();
        policy.is_some_and(|policy| policy.node_fill_type == wire::NodeFillType::Pack)
    }

    /// Returns the number of nodes of a kind that are not being removed.
    pub fn staying(&self, dedicated: bool) -> usize {
        self.nodes.values().filter(|node| node.dedicated == dedicated && !node.leaving).count()
    }
}

impl Node {
    /// Returns whether tasks can be scheduled on it.
    pub fn takes_tasks(&self) -> bool {
        matches!(self.state, NodeState::Idle | NodeState::Running)
            && self.scheduling
            && !self.leaving
            && self.plan.is_none()
    }
}

impl Job {
    /// Returns the pool on which it runs: the one it names, or its auto pool.
    pub fn pool_id(&self) -> Option<&str> {
        self.spec.pool_info.pool_id.as_deref().or(self.auto_pool.as_deref())
    }

    /// Returns the folder of its tasks below a node's root.
    pub fn directory(&self) -> String {
        job_directory(&self.spec.id)
    }

    /// Returns the number of its tasks in a state.
    pub fn count(&self, state: TaskState) -> usize {
        self.tasks.count(&state)
    }

    /// Returns the number of its tasks that are on nodes.
    pub fn on_nodes_now(&self) -> usize {
        self.count(TaskState::Running) + self.count(TaskState::Preparing)
    }
}

/// Returns the folder of a job's tasks. The id of a schedule's job has the schedule's name before the colon.
pub(super) fn job_directory(job: &str) -> String {
    match job.split_once(':') {
        Some((schedule, job)) => format!("workitems/{schedule}/{job}"),
        None => format!("workitems/{job}/job-1"),
    }
}

/// Serializes a value whose keys are text.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect(KEYS)
}

/// Serializes a value in place of the content of `text`, whose memory is reused.
pub fn write_json(text: &mut String, value: &impl Serialize) {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes.clear();
    serde_json::to_writer(&mut bytes, value).expect(KEYS);
    *text = String::from_utf8(bytes).expect("JSON is UTF-8");
}

const KEYS: &str = "stored types have text keys";
