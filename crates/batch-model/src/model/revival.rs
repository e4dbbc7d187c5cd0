//! Restores the state of the service after it was closed or crashed.

use super::{
    Job, Model, Place, Pool, Task, Tasks,
    keys::{JobKey, PoolKey, TaskKey},
    nodes,
    task_facts::Stage,
};
use crate::orders::{NodeRef, Order};
use dropmill_azure_wire::{
    batch::{JobState, NodeState},
    time::Timestamp,
};
use std::collections::BTreeSet;

impl Model {
    /// Makes a place that was read from the database share its texts with the pool and the node, or with
    /// other places if those no longer exist.
    fn share(&self, place: &mut Place, places: &mut BTreeSet<Place>) {
        if let Some(found) = places.get(place) {
            *place = found.clone();
            return;
        }
        if let Some((key, pool)) = self.pools.get_key_value(&place.pool) {
            let node = pool.nodes.get(&place.node).map_or(&place.node, |node| &node.id);
            *place = Place::new(key.spelled(&place.pool_id), key.clone(), node.clone());
        }
        places.insert(place.clone());
    }

    /// Restores the state of a closed service: pools boot their nodes again, and running tasks are queued
    /// again.
    pub fn revive(
        &mut self,
        pools: Vec<(PoolKey, Pool)>,
        jobs: Vec<(JobKey, Job)>,
        tasks: Vec<(JobKey, TaskKey, Task)>,
        now: Timestamp,
    ) {
        for (_, pool) in &pools {
            self.last_moment = self.last_moment.max(pool.state_at).max(pool.modified).max(pool.allocation_at);
        }
        for (_, _, task) in &tasks {
            self.last_moment = self.last_moment.max(task.facts.state_at()).max(task.facts.modified());
            self.last_number = self.last_number.max(task.facts.number);
        }
        for (_, job) in &jobs {
            self.last_moment = self.last_moment.max(job.state_at).max(job.modified);
            self.last_number = self.last_number.max(job.number);
        }
        let moment = self.moment(now);
        for (key, mut pool) in pools {
            let id = pool.spec.id.clone();
            pool.nodes.set_slots(pool.slots_per_node());
            let ids: Vec<_> = pool.nodes.values().map(|node| (node.id.clone(), node.leaving)).collect();
            let (leaving, staying): (Vec<_>, Vec<_>) = ids.into_iter().partition(|(_, leaving)| *leaving);
            let going =
                leaving.into_iter().map(|(node, _)| NodeRef { pool: id.clone(), node: node.to_string() });
            self.effects.orders.extend(going.map(Order::Remove));
            let mut booting = vec![];
            for (node, _) in staying {
                let mut node = pool.nodes.change(&node).expect(nodes::THERE);
                node.plan = None;
                if matches!(node.state, NodeState::Deallocated | NodeState::Deallocating) {
                    node.state = NodeState::Deallocated;
                    continue;
                }
                node.state = NodeState::Creating;
                node.state_at = moment;
                booting.push(node.id.clone());
            }
            pool.resizing |= !pool.deleting;
            self.pools.insert(key.clone(), pool);
            booting.iter().for_each(|node| self.boot(&key, node));
            self.watch_resize(&key, None, moment);
        }
        for (key, mut job) in jobs {
            let ends = matches!(job.state, JobState::Terminating | JobState::Deleting | JobState::Completed);
            let task = job.spec.job_preparation_task.as_ref();
            let reruns = task.is_some_and(|task| task.rerun_on_node_reboot_after_success != Some(false));
            job.on_nodes.retain(|_, on| on.outlives_a_restart(ends, reruns));
            job.tasks = Tasks::new(job.spec.uses_task_dependencies == Some(true));
            self.jobs.insert(key, job);
        }
        let mut places = BTreeSet::new();
        for (job, task_key, mut task) in tasks {
            if matches!(task.facts.stage(), Stage::Running | Stage::Preparing) {
                let facts = &mut task.facts;
                facts.enter(Stage::Active, self.moment(now));
                let run = facts.run_mut();
                run.info.requeue_count += 1;
                run.info.last_requeue_time = Some(moment.into());
                (run.launch, run.process, run.ending, run.node) = (None, None, None, None);
                run.group = None;
            }
            task.facts.places_mut().for_each(|place| self.share(place, &mut places));
            let is_kept = task.facts.stage() == Stage::Completed && !task.facts.files_gone;
            // A job and its tasks are stored in one transaction; only a damaged database has a task without a
            // job.
            let Some(mut found) = self.jobs.change(&job) else { continue };
            found.tasks.insert(task_key.clone(), task);
            let job = found.key().clone();
            drop(found);
            if is_kept {
                self.watch_retention(&job, &task_key);
            }
        }
        for key in self.jobs.keys() {
            self.watch_job(&key);
            if self.jobs.get(&key).is_some_and(|job| {
                matches!(job.state, JobState::Terminating | JobState::Disabling | JobState::Deleting)
            }) {
                self.job_quiet(&key, moment);
            }
            self.end_if_done(&key, moment);
        }
        let keys: Vec<_> = self.pools.keys().cloned().collect();
        for key in keys {
            self.settle_allocation(&key, moment);
            self.remove_pool(&key);
            if self.pools.get(&key).is_some_and(|pool| pool.spec.enable_auto_scale == Some(true)) {
                self.begin_autoscale(&key, moment);
            }
        }
    }
}
