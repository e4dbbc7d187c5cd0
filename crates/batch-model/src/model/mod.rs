//! The model of the Batch service: pools, nodes, jobs and tasks, as pure decisions.
//!
//! Its input is a request of a client or a report of a node, with the current time. Its output is the
//! response, and in [`Effects`] the orders for nodes and the changes to store. It has no clock, no thread and
//! no disk, and its only random generator is seeded and used for the ids of nodes: tests are tables, and
//! simulations are repeatable.

mod auto_pools;
mod autoscaling;
mod books;
mod conditions;
mod dependencies;
mod exit_conditions;
mod facts;
pub mod images;
mod instances;
mod job_specs;
mod job_views;
mod jobs;
mod keys;
mod moment;
mod node_log;
mod nodes;
mod packages;
mod packed;
mod plans;
mod pool_specs;
mod pool_views;
mod pools;
mod preemption;
mod preparation;
pub mod query;
mod refusal;
mod revival;
mod scheduler;
mod schedules;
mod secrets;
mod sizes;
mod slots;
mod storage;
mod task;
mod task_ends;
mod task_facts;
mod task_views;
mod tasks;
mod usage;
mod views;

pub use books::{Nodes, Tasks};
pub use conditions::{Capacity, ServiceIncident};
pub use facts::{Change, Job, Node, NodeAction, NodeUser, Place, Pool};
pub use keys::{JobKey, NodeKey, PoolKey, ScheduleKey, TaskKey};
pub use refusal::Refusal;
pub use schedules::{Schedule, ScheduleAsk};
pub use storage::AutoStorage;
pub use task::Task;
pub use task_facts::TaskFacts;
pub use task_views::SeenTask;
pub use usage::{MOST_LEASES, NodeUsage};
pub use views::Fields;

use crate::{
    applications::Applications,
    model::books::Jobs,
    orders::{LaunchId, Order},
};
use dropmill_azure_wire::{etag::ETag, time::Timestamp};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The address and account of the model, for responses.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Address of the service: `http://host:port`.
    pub base: String,
    /// Name of the account.
    pub account: String,
}

/// The effects of a request.
#[derive(Debug, Default)]
pub struct Effects {
    /// Orders for nodes, in this order.
    pub orders: Vec<Order>,
    /// Changes to store, in this order.
    pub changes: Vec<Change>,
    /// Whether a client that polls again sees something new.
    pub visible: bool,
}

/// The complete state of the service.
pub struct Model {
    identity: Identity,
    pools: BTreeMap<PoolKey, Pool>,
    jobs: Jobs,
    schedules: BTreeMap<ScheduleKey, Schedule>,
    launches: BTreeMap<LaunchId, What>,
    alarms: BTreeSet<(Timestamp, Alarm)>,
    /// Times at which launches reach their limit: their alarms, by launch.
    limits: BTreeMap<LaunchId, Timestamp>,
    last_launch: LaunchId,
    last_number: u64,
    last_moment: Timestamp,
    /// Reused buffer for specifications as JSON.
    room: String,
    rng: ChaCha8Rng,
    supply: Capacity,
    storage: Option<AutoStorage>,
    applications: Applications,
    /// Periods in which nodes had machines, the oldest first.
    leases: VecDeque<NodeUsage>,
    effects: Effects,
    /// Whether changes are stored at all.
    durable: bool,
}

/// The subject of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    StartTask {
        pool: PoolKey,
        node: NodeKey,
    },
    /// A job preparation or release task.
    Chore {
        job: JobKey,
        node: NodeKey,
        release: bool,
    },
    /// A task, or one instance of it: 0 is the primary.
    Task {
        job: JobKey,
        task: TaskKey,
        number: usize,
    },
}

/// The subject of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A launch has reached its time limit.
    WallClock(LaunchId),
    /// A job has reached its time limit.
    JobWallClock(JobKey),
    /// The next job of a schedule is due.
    Schedule(ScheduleKey),
    /// The next sample of a pool with a formula is due.
    Sample(PoolKey),
    /// The next evaluation of its formula is due.
    Scale(PoolKey),
    /// The timeout of a resize is over.
    Resize(PoolKey),
    /// The planned action of a node may be possible now.
    Plan { pool: PoolKey, node: NodeKey },
    /// The retention time of a task's files is over.
    Retention { job: JobKey, task: TaskKey },
}

impl Model {
    /// Creates an empty service. Launches are numbered from `first_launch`, which no previous process may
    /// have used.
    pub fn new(identity: Identity, rng: ChaCha8Rng, first_launch: LaunchId, durable: bool) -> Self {
        Self {
            identity,
            pools: BTreeMap::new(),
            jobs: Jobs::default(),
            schedules: BTreeMap::new(),
            launches: BTreeMap::new(),
            alarms: BTreeSet::new(),
            limits: BTreeMap::new(),
            last_launch: first_launch,
            last_number: 0,
            last_moment: Timestamp::UNIX_EPOCH,
            room: String::new(),
            rng,
            supply: Capacity::quota(u32::MAX),
            storage: None,
            applications: Applications::default(),
            leases: VecDeque::new(),
            effects: Effects::default(),
            durable,
        }
    }

    /// Allows tasks to name containers of the linked storage account.
    #[must_use]
    pub fn with_storage(mut self, storage: AutoStorage) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Allows pools and tasks to name application packages.
    #[must_use]
    pub fn with_applications(mut self, applications: Applications) -> Self {
        self.applications = applications;
        self
    }

    /// Returns the application packages.
    pub fn applications(&self) -> &Applications {
        &self.applications
    }

    /// Returns the effects since the last call of this function.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Returns when to call [`Model::alarm`].
    pub fn next_alarm(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(moment, _)| *moment)
    }

    /// Carries out all alarms that are due.
    pub fn alarm(&mut self, now: Timestamp) {
        while let Some((moment, alarm)) = self.alarms.first().cloned() {
            if moment > now {
                return;
            }
            self.alarms.pop_first();
            match alarm {
                Alarm::WallClock(launch) => self.wall_clock_over(launch),
                Alarm::JobWallClock(job) => self.job_wall_clock_over(&job, now),
                Alarm::Schedule(schedule) => {
                    let moment = self.moment(now);
                    self.run_schedule(&schedule, moment);
                }
                Alarm::Sample(pool) => self.sample(&pool, now),
                Alarm::Scale(pool) => self.scale(&pool, now),
                Alarm::Resize(pool) => self.resize_over(&pool, now),
                Alarm::Plan { pool, node } => {
                    let moment = self.moment(now);
                    self.pursue(&pool, &node, moment);
                }
                Alarm::Retention { job, task } => self.retention_over(&job, &task, now),
            }
        }
    }

    /// Returns a time that no earlier change has, so that sorting by time gives the order of changes.
    fn moment(&mut self, now: Timestamp) -> Timestamp {
        let least = self.last_moment.as_nanosecond() + 100;
        let moment = (now.as_nanosecond() / 100 * 100).max(least);
        self.last_moment = Timestamp::from_nanosecond(moment).unwrap_or(now);
        self.last_moment
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn launch_id(&mut self) -> LaunchId {
        self.last_launch += 1;
        self.last_launch
    }

    fn order(&mut self, order: Order) {
        self.note_order(&order);
        self.effects.orders.push(order);
    }

    fn keep(&mut self, change: impl FnOnce() -> Change) {
        self.effects.visible = true;
        if self.durable {
            self.effects.changes.push(change());
        }
    }
}

/// Returns the ETag of an object that changed at this time.
fn tag(moment: Timestamp) -> ETag {
    ETag::new(format!("0x{:X}", moment.as_nanosecond() / 100))
}

#[cfg(test)]
mod tests;
