//! Usage figures and statistics: how long nodes had machines, and what tasks used.
//!
//! A node has a machine from its allocation until it is removed, deallocated or preempted. Ended periods are
//! stored as a [`NodeUsage`]; the current one is in its node. Statistics of tasks are computed on request, for
//! the existing tasks.

use super::{
    Change, Job, Model, Node, Pool, Refusal, Task,
    facts::json,
    keys::{NodeKey, PoolKey},
    nodes, pools,
    sizes::cores_of,
};
use crate::orders::Spent;
use dropmill_azure_wire::{
    batch::{JobStatistics, PoolStatistics, PoolUsageMetrics, TaskState, TaskStatistics, UsageStatistics},
    duration::IsoDuration,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Maximum number of ended periods that are stored.
pub const MOST_LEASES: usize = 10_000;
/// Length in seconds of the intervals of usage figures, which start at the full hour.
const INTERVAL: i64 = 30 * 60;
const HOUR: f64 = 3600.0;

/// A period in which a node had a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeUsage {
    /// Id of its pool.
    pub pool: String,
    /// Size of the machine.
    pub vm_size: String,
    /// Whether it was a dedicated node, not a Spot node.
    pub dedicated: bool,
    /// Start of the period.
    pub from: Timestamp,
    /// End of the period.
    pub to: Timestamp,
}

impl NodeUsage {
    fn cores(&self) -> f64 {
        f64::from(cores_of(&self.vm_size))
    }
}

impl Model {
    /// Restores the periods that a previous process stored.
    pub fn revive_leases(&mut self, leases: Vec<NodeUsage>) {
        self.leases.extend(leases);
    }

    /// Records that a node gets a machine.
    pub(super) fn begin_lease(&mut self, pool: &PoolKey, node: &NodeKey, moment: Timestamp) {
        self.node_mut(pool, node).expect(nodes::THERE).leased.get_or_insert(moment);
    }

    /// Records that a node lost its machine.
    pub(super) fn end_lease(&mut self, pool: &PoolKey, node: &NodeKey, moment: Timestamp) {
        let found = self.pools.get_mut(pool).expect(pools::THERE);
        let mut of = found.nodes.change(node).expect(nodes::THERE);
        // The period of a deallocated or preempted machine has ended before.
        let Some(from) = of.leased.take() else { return };
        let (pool, vm_size) = (found.spec.id.clone(), found.spec.vm_size.clone());
        let lease = NodeUsage { pool, vm_size, dedicated: of.dedicated, from, to: moment };
        drop(of);
        let body = json(&lease);
        self.leases.push_back(lease);
        if self.leases.len() > MOST_LEASES {
            self.leases.pop_front();
        }
        self.keep(|| Change::AddLease { body });
    }

    /// Returns all periods; current ones as if they ended now.
    fn all_leases(&self, now: Timestamp) -> impl Iterator<Item = NodeUsage> + '_ {
        let open = self.pools.values().flat_map(move |pool| {
            let lease = move |of: &Node| {
                let (pool, vm_size) = (pool.spec.id.clone(), pool.spec.vm_size.clone());
                Some(NodeUsage { pool, vm_size, dedicated: of.dedicated, from: of.leased?, to: now })
            };
            pool.nodes.values().filter_map(lease)
        });
        self.leases.iter().cloned().chain(open)
    }

    /// Returns core hours by interval and pool, for intervals that begin within a time range. Without a
    /// range: the current interval. Unlike on Azure, figures are not delayed by two hours.
    ///
    /// # Errors
    /// Fails if the range ends before it begins.
    pub fn pool_usage(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<PoolUsageMetrics>, Refusal> {
        let to = to.unwrap_or(now).min(now);
        let start = |second: i64| second.div_euclid(INTERVAL) * INTERVAL;
        let from = from.map_or_else(|| start(to.as_second()), |from| start(from.as_second() + INTERVAL - 1));
        if from > to.as_second() {
            let reason = "endtime must not be before the first interval after starttime";
            return Err(Refusal::bad_query("starttime", reason));
        }
        let mut hours: BTreeMap<(i64, String, String), f64> = BTreeMap::new();
        for lease in self.all_leases(now) {
            let cores = lease.cores();
            let (first, last) = (seconds(lease.from), seconds(lease.to.min(to)));
            let mut interval = start(lease.from.as_second()).max(from);
            while (interval as f64) < last {
                let (begin, end) = (interval as f64, (interval + INTERVAL) as f64);
                let took = last.min(end) - first.max(begin);
                if took > 0.0 {
                    let place = (interval, lease.pool.clone(), lease.vm_size.clone());
                    *hours.entry(place).or_default() += cores * took / HOUR;
                }
                interval += INTERVAL;
            }
        }
        let entry = |((interval, pool_id, vm_size), total_core_hours)| {
            let moment = |second| Timestamp::from_second(second).unwrap_or(now);
            let (start_time, end_time) = (moment(interval), moment(interval + INTERVAL).min(to));
            PoolUsageMetrics { pool_id, start_time, end_time, vm_size, total_core_hours }
        };
        Ok(hours.into_iter().map(entry).collect())
    }

    /// Returns the statistics of a pool: the time of its dedicated cores.
    pub(super) fn pool_statistics(&self, pool: &Pool, now: Timestamp) -> PoolStatistics {
        let own = |lease: &NodeUsage| {
            lease.dedicated && lease.pool.eq_ignore_ascii_case(&pool.spec.id) && lease.from >= pool.created
        };
        let seconds: f64 = self
            .all_leases(now)
            .filter(own)
            .map(|lease| lease.cores() * (seconds(lease.to) - seconds(lease.from)))
            .sum();
        PoolStatistics {
            url: self.url(&format!("pools/{}", pool.spec.id)),
            start_time: pool.created,
            last_update_time: now,
            usage_stats: Some(UsageStatistics {
                start_time: pool.created,
                last_update_time: now,
                dedicated_core_time: length(Duration::from_secs_f64(seconds.max(0.0))),
            }),
            resource_stats: None,
        }
    }

    /// Returns the statistics of a task, for its last attempt.
    pub(super) fn task_statistics(&self, job: &Job, task: &Task, now: Timestamp) -> TaskStatistics {
        let (took, spent) = (took(task, now), task.facts.run().spent);
        TaskStatistics {
            url: self.url(&format!("jobs/{}/tasks/{}", job.spec.id, task.id)),
            start_time: task.facts.created(),
            last_update_time: now,
            user_cpu_time: microseconds(spent.user_us),
            kernel_cpu_time: microseconds(spent.kernel_us),
            wall_clock_time: length(took.0),
            read_iops: spent.read_blocks,
            write_iops: spent.written_blocks,
            read_io_gib: gib(spent.read_blocks),
            write_io_gib: gib(spent.written_blocks),
            wait_time: length(took.1),
        }
    }

    /// Returns the statistics of the existing tasks of jobs.
    pub(super) fn job_statistics<'a>(
        &self,
        url: &str,
        since: Timestamp,
        jobs: impl Iterator<Item = &'a Job>,
        now: Timestamp,
    ) -> JobStatistics {
        let (mut wall, mut wait) = (Duration::ZERO, Duration::ZERO);
        let (mut succeeded, mut failed, mut retries) = (0, 0, 0);
        let mut spent = Spent::default();
        for job in jobs {
            for task in job.tasks.values() {
                let took = took(task, now);
                (wall, wait) = (wall + took.0, wait + took.1);
                spent += task.facts.run().spent;
                retries += u64::try_from(task.facts.run().info.retry_count).unwrap_or(0);
            }
            let completed = job.count(TaskState::Completed) as u64;
            let well = u64::try_from(job.tasks.succeeded()).unwrap_or(0);
            (succeeded, failed) = (succeeded + well, failed + completed.saturating_sub(well));
        }
        JobStatistics {
            url: self.url(url),
            start_time: since,
            last_update_time: now,
            user_cpu_time: microseconds(spent.user_us),
            kernel_cpu_time: microseconds(spent.kernel_us),
            wall_clock_time: length(wall),
            read_iops: spent.read_blocks,
            write_iops: spent.written_blocks,
            read_io_gib: gib(spent.read_blocks),
            write_io_gib: gib(spent.written_blocks),
            num_succeeded_tasks: succeeded,
            num_failed_tasks: failed,
            num_task_retries: retries,
            wait_time: length(wait),
        }
    }
}

/// Returns the run time of a task's last attempt, and its waiting time before.
fn took(task: &Task, now: Timestamp) -> (Duration, Duration) {
    let between =
        |from: Timestamp, to: Timestamp| Duration::try_from(to.duration_since(from)).unwrap_or_default();
    let info = &task.facts.run().info;
    match info.start_time.map(Timestamp::from) {
        Some(start) => {
            let end = info.end_time.map_or(now, Timestamp::from);
            (between(start, end), between(task.facts.created(), start))
        }
        None => (Duration::ZERO, Duration::ZERO),
    }
}

fn seconds(moment: Timestamp) -> f64 {
    moment.as_millisecond() as f64 / 1000.0
}

/// Converts blocks of 512 bytes to GiB.
fn gib(blocks: u64) -> f64 {
    blocks as f64 / f64::from(1 << 21)
}

fn microseconds(count: u64) -> IsoDuration {
    length(Duration::from_micros(count))
}

/// Rounds to ticks of 100 ns.
fn length(duration: Duration) -> IsoDuration {
    IsoDuration::from_ticks(i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX))
}
