//! The model of the Batch service: pools, nodes, jobs and tasks, decided without doing anything.
//!
//! Tell it what a client asks or what a node reports, and when; it answers, and collects in [`Effects`] what
//! shall be done on nodes and what must be kept. It has no clock, no thread and no disk, and its only
//! randomness is a seeded generator for the names of nodes: a test is a table, a simulation repeats itself.

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
pub use conditions::{Condition, Supply};
pub use facts::{Act, Change, Job, Node, NodeUser, Place, Pool};
pub use keys::{JobKey, NodeKey, PoolKey, ScheduleKey, TaskKey};
pub use refusal::Refusal;
pub use schedules::{Schedule, ScheduleAsk};
pub use storage::AutoStorage;
pub use task::Task;
pub use task_facts::TaskFacts;
pub use task_views::SeenTask;
pub use usage::{Lease, MOST_LEASES};
pub use views::Fields;

use crate::{
    applications::Applications,
    model::books::Jobs,
    orders::{LaunchId, Order},
};
use dropmill_azure_wire::{etag::ETag, time::Timestamp};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the model says of itself in answers.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `http://host:port`.
    pub base: String,
    /// Account name.
    pub account: String,
}

/// What follows from a call.
#[derive(Debug, Default)]
pub struct Effects {
    /// For nodes, in this order.
    pub orders: Vec<Order>,
    /// To be kept, in this order.
    pub changes: Vec<Change>,
    /// A client that looks again sees something new.
    pub visible: bool,
}

/// The service's whole state.
pub struct Model {
    identity: Identity,
    pools: BTreeMap<PoolKey, Pool>,
    jobs: Jobs,
    schedules: BTreeMap<ScheduleKey, Schedule>,
    launches: BTreeMap<LaunchId, What>,
    alarms: BTreeSet<(Timestamp, Alarm)>,
    /// When launches with a limit reach it: their alarms, found by launch.
    limits: BTreeMap<LaunchId, Timestamp>,
    last_launch: LaunchId,
    last_number: u64,
    last_moment: Timestamp,
    rng: ChaCha8Rng,
    supply: Supply,
    storage: Option<AutoStorage>,
    applications: Applications,
    /// Machines that were had, the oldest first.
    leases: VecDeque<Lease>,
    effects: Effects,
    /// Whether changes are kept at all.
    durable: bool,
}

/// What a launch is of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    StartTask {
        pool: PoolKey,
        node: NodeKey,
    },
    /// A job's preparation or release.
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

/// What an alarm is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A launch has run as long as it may.
    WallClock(LaunchId),
    /// A job has lived as long as it may.
    JobWallClock(JobKey),
    /// A schedule's next job is due.
    Schedule(ScheduleKey),
    /// A pool with a formula is looked at.
    Sample(PoolKey),
    /// Its formula is evaluated.
    Scale(PoolKey),
    /// A resize took as long as it may.
    Resize(PoolKey),
    /// What stands in the way of a node's plan may be gone.
    Plan { pool: PoolKey, node: NodeKey },
    /// A task's files have been kept as long as they need to be.
    Retention { job: JobKey, task: TaskKey },
}

impl Model {
    /// An empty service. Launches are numbered from `first_launch` on: no earlier life may have used them.
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
            rng,
            supply: Supply::quota(u32::MAX),
            storage: None,
            applications: Applications::default(),
            leases: VecDeque::new(),
            effects: Effects::default(),
            durable,
        }
    }

    /// Lets tasks name containers of the account's own storage.
    #[must_use]
    pub fn with_storage(mut self, storage: AutoStorage) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Lets pools and tasks name application packages.
    #[must_use]
    pub fn with_applications(mut self, applications: Applications) -> Self {
        self.applications = applications;
        self
    }

    /// The application packages there are.
    pub fn applications(&self) -> &Applications {
        &self.applications
    }

    /// What followed from the calls since this was asked last.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// When to call [`Model::alarm`].
    pub fn next_alarm(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(moment, _)| *moment)
    }

    /// Carries out what is due.
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

    /// A moment that no change before had, so that an order of changes is an order of moments.
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

/// The tag of something that changed at this moment.
fn tag(moment: Timestamp) -> ETag {
    ETag::new(format!("0x{:X}", moment.as_nanosecond() / 100))
}

#[cfg(test)]
mod tests;
