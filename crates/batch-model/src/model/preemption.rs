//! Preemption of tasks: a job with a higher priority that finds no free slots takes them from jobs that allow
//! it.

use super::{Job, Model, Pool, Task, facts::Ending, keys::PoolKey};
use crate::orders::LaunchId;
use dropmill_azure_wire::batch::TaskState;
use std::cmp::Reverse;

impl Model {
    /// Queues a task of a less important job again, if its job allows that and the most important waiting
    /// task then has enough slots. It preempts one task at a time, and waits until that task has ended. One
    /// task must be enough: if several were needed, the first would start again before the last had ended.
    pub(super) fn preempt(&mut self, pool: &PoolKey) {
        if let Some(launch) = self.victim_of_next(pool) {
            self.end_launch(launch, Ending::Requeued);
        }
    }

    fn victim_of_next(&self, pool_key: &PoolKey) -> Option<LaunchId> {
        let pool = self.pools.get(pool_key).filter(|pool| !pool.deleting)?;
        let (least, ..) = self.jobs.with_ready_tasks(pool_key).next()?;
        let gives_way = |job: &Job| {
            job.spec.allow_task_preemption == Some(true) && job.spec.priority.unwrap_or(0) < -*least
        };
        let here = |job: &&Job| job.pool_id().is_some_and(|id| id.eq_ignore_ascii_case(&pool.spec.id));
        let yielding: Vec<&Job> = self.jobs.values().filter(|job| gives_way(job)).filter(here).collect();
        let running = || yielding.iter().flat_map(|job| running_of(job).map(move |task| (*job, task)));
        if yielding.is_empty() || running().any(|(_, task)| task.facts.run().ending.is_some()) {
            return None;
        }
        let (next, slots) = self.waiting_task(pool_key, pool)?;
        let room = |task: &Task| {
            task.nodes().filter_map(|place| pool.nodes.get(&place.node)).any(|node| {
                let left = pool.slots_per_node() - node.slots.taken() + task.slots();
                node.takes_tasks() && !next.is_barred_from(&node.id) && left >= slots
            })
        };
        // The least important job, and its youngest task, which loses the least work.
        let worth = |job: &Job, task: &Task| (job.spec.priority.unwrap_or(0), Reverse(task.facts.since()));
        let victim = running().filter(|(_, task)| room(task)).min_by_key(|(job, task)| worth(job, task))?.1;
        victim.live_launches().first().copied()
    }

    /// Returns the first waiting task by its job's priority, with the slots it needs. A multi-instance task
    /// preempts no others.
    fn waiting_task<'a>(&'a self, pool_key: &PoolKey, pool: &Pool) -> Option<(&'a Job, i32)> {
        let (_, _, job) = self.jobs.with_ready_tasks(pool_key).next()?;
        let job = self.jobs.get(job)?;
        let parallel = job.spec.max_parallel_tasks.unwrap_or(-1);
        if parallel >= 0 && job.on_nodes_now() >= usize::try_from(parallel).unwrap_or(usize::MAX) {
            return None;
        }
        let most = pool.slots_per_node();
        let mut ready = job.tasks.ready().iter().filter_map(|(_, key)| job.tasks.get(key));
        let next = ready.find(|task| task.slots() <= most);
        next.filter(|task| !task.is_multi()).map(|task| (job, task.slots()))
    }
}

fn running_of(job: &Job) -> impl Iterator<Item = &Task> {
    let running = job.tasks.in_state(&TaskState::Running);
    running.filter_map(|(_, task)| job.tasks.get(task))
}
