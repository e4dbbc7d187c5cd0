//! What the model knows: pools with their nodes, jobs with their tasks.

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

/// A change to be kept, as key and JSON. Tasks have two rows: what was asked never changes, how it goes often does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A pool, its nodes' names included.
    PutPool {
        /// Key of the object.
        key: PoolKey,
        /// The object as JSON.
        body: String,
    },
    /// It is gone.
    DropPool {
        /// Key of the object.
        key: PoolKey,
    },
    /// A job without its tasks.
    PutJob {
        /// Key of the object.
        key: JobKey,
        /// The object as JSON.
        body: String,
    },
    /// It is gone, with its tasks.
    DropJob {
        /// Key of the object.
        key: JobKey,
    },
    /// A job schedule.
    PutSchedule {
        /// Key of the object.
        key: ScheduleKey,
        /// The object as JSON.
        body: String,
    },
    /// It is gone.
    DropSchedule {
        /// Key of the object.
        key: ScheduleKey,
    },
    /// A machine was had for a while.
    AddLease {
        /// The object as JSON.
        body: String,
    },
    /// What was asked of a task.
    PutTask {
        /// Its job's key.
        job: JobKey,
        /// Key of the object.
        key: TaskKey,
        /// What was asked.
        add: String,
        /// How it goes.
        facts: String,
    },
    /// How a task goes.
    PutTaskFacts {
        /// Its job's key.
        job: JobKey,
        /// Key of the object.
        key: TaskKey,
        /// How it goes.
        facts: String,
    },
    /// It is gone.
    DropTask {
        /// Its job's key.
        job: JobKey,
        /// Key of the object.
        key: TaskKey,
    },
}

/// A pool as the service keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pool {
    /// What was asked, as later calls changed it; the service's defaults filled in.
    pub spec: PoolAdd,
    /// Changes with `spec`.
    pub etag: ETag,
    /// When `spec` changed last.
    pub modified: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// It is going.
    pub deleting: bool,
    /// When it came, or began to go.
    pub state_at: Timestamp,
    /// Nodes are being added or removed.
    pub resizing: bool,
    /// That is being stopped.
    #[serde(default)]
    pub stopping: bool,
    /// When a resize that is not over by then is given up.
    #[serde(skip)]
    pub resize_until: Option<Timestamp>,
    /// When that changed last.
    pub allocation_at: Timestamp,
    /// Why the last resize fell short.
    pub resize_errors: Vec<wire::ResizeError>,
    /// How its formula was evaluated last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale_run: Option<wire::AutoScaleRun>,
    /// When a client set its formula last.
    #[serde(skip)]
    pub formula_at: Option<Timestamp>,
    /// What it did lately, if it has a formula.
    #[serde(skip)]
    pub samples: Samples,
    /// Nodes of the pool.
    pub nodes: Nodes,
}

/// A node of a pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Its id, which is its key.
    pub id: NodeKey,
    /// Dedicated, or spot.
    pub dedicated: bool,
    /// What it does.
    pub state: NodeState,
    /// When that state began.
    pub state_at: Timestamp,
    /// It takes tasks.
    pub scheduling: bool,
    /// Since when it has a machine, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased: Option<Timestamp>,
    /// When it joined.
    pub allocated: Timestamp,
    /// When it booted last.
    pub booted: Option<Timestamp>,
    /// How its start task goes.
    pub start_task: Option<NodeTaskInfo>,
    /// What is wrong with it.
    pub errors: Vec<ComputeNodeError>,
    /// Tasks it ran.
    pub total: i32,
    /// Those that succeeded.
    pub succeeded: i32,
    /// The slots that tasks hold.
    #[serde(skip)]
    pub slots: Slots,
    /// Launches on it, start task included.
    #[serde(skip)]
    pub launches: BTreeSet<LaunchId>,
    /// It is on its way out of the pool.
    pub leaving: bool,
    /// What it shall do once nothing runs on it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Application packages that its pool named when it booted last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<wire::ApplicationPackageReference>,
    /// Users of the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, NodeUser>,
    /// It as a place of tasks, which all of them share.
    #[serde(skip)]
    pub place: Option<Place>,
    /// Tasks that ended on it last, the oldest first.
    #[serde(skip)]
    pub recent: VecDeque<Recent>,
    /// What happened on it, the oldest first.
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
    /// Number of the instance; 0 if there is one alone.
    pub number: usize,
    /// What it was, if it has been deleted.
    pub gone: Option<Box<wire::TaskInformation>>,
}

/// What a node shall do once nothing runs on it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What it does then.
    pub act: Act,
    /// Whether it waits for tasks to end by themselves.
    pub patience: Patience,
}

/// What a node that is to be free of tasks does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// It leaves the pool.
    Leave,
    /// The node boots again.
    Reboot,
    /// Its folders are made anew.
    Reimage,
    /// Its machine is given back.
    Deallocate,
}

/// Whether a node that shall do something waits for its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Patience {
    /// They are ended.
    None,
    /// They end by themselves.
    Tasks,
    /// So they do, and their files are kept as long as was asked.
    Data,
}

/// A user of a node. Nothing logs in here, so nothing secret of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUser {
    /// Whether it may do what an administrator may.
    pub is_admin: bool,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// A job as the service keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Age: lower came earlier.
    pub number: u64,
    /// What was asked, as later calls changed it; the service's defaults filled in.
    pub spec: wire::JobAdd,
    /// Changes with `spec`.
    pub etag: ETag,
    /// When `spec` changed last.
    pub modified: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// What it does.
    pub state: JobState,
    /// When that state began.
    pub state_at: Timestamp,
    /// What it did before, and since when.
    pub previous: Option<(JobState, Timestamp)>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Why it was terminated.
    pub terminate_reason: Option<String>,
    /// The pool that was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_pool: Option<String>,
    /// Why it could not be scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_error: Option<wire::FailureInfo>,
    /// Nodes that ran its preparation, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on_nodes: BTreeMap<NodeKey, OnNode>,
    /// Tasks of the job.
    #[serde(skip)]
    pub tasks: Tasks,
}

/// A job on a node that runs, or ran, its preparation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OnNode {
    /// The node's pool.
    pub pool: String,
    /// How the preparation goes.
    pub preparation: NodeTaskInfo,
    /// How the release goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<NodeTaskInfo>,
    /// The launch of whichever runs.
    #[serde(skip)]
    pub launch: Option<LaunchId>,
    /// Why that launch is being ended.
    #[serde(skip)]
    pub ending: Option<Ending>,
    /// Tasks that wait for the preparation.
    #[serde(skip)]
    pub waiting: BTreeSet<TaskKey>,
}

impl OnNode {
    /// A preparation that begins.
    pub fn new(pool: String, preparation: NodeTaskInfo) -> Self {
        Self { pool, preparation, release: None, launch: None, ending: None, waiting: BTreeSet::new() }
    }
}

/// Where a task runs, or ran. Stored as the ids of pool and node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(String, NodeKey)", into = "(String, NodeKey)")]
pub struct Place(Arc<Spot>);

/// A node of a pool.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The pool's id.
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
    /// A node of a pool; clones of it share one memory.
    pub fn new(pool_id: Arc<str>, pool: PoolKey, node: NodeKey) -> Self {
        Self(Arc::new(Spot { pool_id, pool, node }))
    }

    /// The node as the runner knows it.
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

/// Why a launch is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Somebody ended the task or its job.
    Terminated,
    /// It ran as long as it may.
    WallClock,
    /// Its node goes, or the job was disabled: it shall run again.
    Requeued,
    /// It was deleted.
    Deleted,
}

impl Pool {
    /// Slots of one node.
    pub fn slots_per_node(&self) -> i32 {
        self.spec.task_slots_per_node.unwrap_or(1)
    }

    /// Whether tasks shall gather on few nodes.
    pub fn packs(&self) -> bool {
        let policy = self.spec.task_scheduling_policy.as_ref();
        policy.is_some_and(|policy| policy.node_fill_type == wire::NodeFillType::Pack)
    }

    /// Nodes of a kind that stay.
    pub fn staying(&self, dedicated: bool) -> usize {
        self.nodes.values().filter(|node| node.dedicated == dedicated && !node.leaving).count()
    }
}

impl Node {
    /// Whether tasks may be put on it.
    pub fn takes_tasks(&self) -> bool {
        matches!(self.state, NodeState::Idle | NodeState::Running)
            && self.scheduling
            && !self.leaving
            && self.plan.is_none()
    }
}

impl Job {
    /// The pool it runs on: the one it names, or the one that was made for it.
    pub fn pool_id(&self) -> Option<&str> {
        self.spec.pool_info.pool_id.as_deref().or(self.auto_pool.as_deref())
    }

    /// The folder of its tasks below a node's root.
    pub fn directory(&self) -> String {
        job_directory(&self.spec.id)
    }

    /// How many of its tasks are in a state.
    pub fn count(&self, state: TaskState) -> usize {
        self.tasks.count(&state)
    }

    /// How many of its tasks are on nodes.
    pub fn on_nodes_now(&self) -> usize {
        self.count(TaskState::Running) + self.count(TaskState::Preparing)
    }
}

/// The folder of a job's tasks. A schedule's job has its schedule's name before the colon.
pub(super) fn job_directory(job: &str) -> String {
    match job.split_once(':') {
        Some((schedule, job)) => format!("workitems/{schedule}/{job}"),
        None => format!("workitems/{job}/job-1"),
    }
}

/// JSON of a thing whose keys are text.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("facts have only text for keys")
}
