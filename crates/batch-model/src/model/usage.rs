//! How long machines were had, and what tasks took: figures of usage, and statistics.
//!
//! A machine is had from the moment its node is asked for until it is gone, given back or taken away. What is over is
//! kept as a [`Lease`]; what goes on is in its node. Tasks are counted when somebody asks, those that are there.

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

/// How many leases that are over are remembered.
pub const MOST_LEASES: usize = 10_000;
/// The length of the intervals that usage is told in, from the full hour on.
const INTERVAL: i64 = 30 * 60;
const HOUR: f64 = 3600.0;

/// A machine that was had for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Id of its pool.
    pub pool: String,
    /// Its size.
    pub vm_size: String,
    /// Dedicated, or spot.
    pub dedicated: bool,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

impl Lease {
    fn cores(&self) -> f64 {
        f64::from(cores_of(&self.vm_size))
    }
}

impl Model {
    /// Takes up what an earlier life kept.
    pub fn revive_leases(&mut self, leases: Vec<Lease>) {
        self.leases.extend(leases);
    }

    /// A node gets a machine.
    pub(super) fn begin_lease(&mut self, pool: &PoolKey, node: &NodeKey, moment: Timestamp) {
        self.node_mut(pool, node).expect(nodes::THERE).leased.get_or_insert(moment);
    }

    /// A node's machine is gone.
    pub(super) fn end_lease(&mut self, pool: &PoolKey, node: &NodeKey, moment: Timestamp) {
        let found = self.pools.get_mut(pool).expect(pools::THERE);
        let mut of = found.nodes.change(node).expect(nodes::THERE);
        // A machine that was given back, or taken away, was had until then.
        let Some(from) = of.leased.take() else { return };
        let (pool, vm_size) = (found.spec.id.clone(), found.spec.vm_size.clone());
        let lease = Lease { pool, vm_size, dedicated: of.dedicated, from, to: moment };
        drop(of);
        let body = json(&lease);
        self.leases.push_back(lease);
        if self.leases.len() > MOST_LEASES {
            self.leases.pop_front();
        }
        self.keep(|| Change::AddLease { body });
    }

    /// Leases that are over, and those that go on as if they were over now.
    fn all_leases(&self, now: Timestamp) -> impl Iterator<Item = Lease> + '_ {
        let open = self.pools.values().flat_map(move |pool| {
            let lease = move |of: &Node| {
                let (pool, vm_size) = (pool.spec.id.clone(), pool.spec.vm_size.clone());
                Some(Lease { pool, vm_size, dedicated: of.dedicated, from: of.leased?, to: now })
            };
            pool.nodes.values().filter_map(lease)
        });
        self.leases.iter().cloned().chain(open)
    }

    /// Core hours by interval and pool that begin within a time. Without one: the interval that goes on. Here, unlike
    /// on Azure, figures do not wait for two hours.
    ///
    /// # Errors
    /// A time that ends before it begins.
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
            let reason = "endtime must not be before the interval that begins after starttime";
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
        let told = |((interval, pool_id, vm_size), total_core_hours)| {
            let moment = |second| Timestamp::from_second(second).unwrap_or(now);
            let (start_time, end_time) = (moment(interval), moment(interval + INTERVAL).min(to));
            PoolUsageMetrics { pool_id, start_time, end_time, vm_size, total_core_hours }
        };
        Ok(hours.into_iter().map(told).collect())
    }

    /// Statistics of a pool: the time of its dedicated cores.
    pub(super) fn pool_statistics(&self, pool: &Pool, now: Timestamp) -> PoolStatistics {
        let own = |lease: &Lease| {
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

    /// Statistics of a task: of its last try.
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

    /// Statistics of the tasks of jobs, as far as they have not been deleted.
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

/// How long a task's last try ran until now, and how long it had waited.
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

/// GiB in blocks of 512 bytes.
fn gib(blocks: u64) -> f64 {
    blocks as f64 / f64::from(1 << 21)
}

fn microseconds(count: u64) -> IsoDuration {
    length(Duration::from_micros(count))
}

/// In ticks of 100 ns.
fn length(duration: Duration) -> IsoDuration {
    IsoDuration::from_ticks(i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX))
}
