//! Which task runs where: the most important job's oldest task, on a node with room.

use super::{Model, What, key, nodes::settings, query::upload_condition};
use crate::orders::{Launch, LaunchId, NodeRef, Order, OutputFileOrder};
use dropmill_azure_wire::{
    batch::{JobState, NodeState, TaskState},
    time::Timestamp,
};

/// How many tasks of one job are looked at for one that fits when the first does not.
const LOOK_AHEAD: usize = 32;

/// How many tasks that ended last a node tells.
const MOST_RECENT: usize = 10;

impl Model {
    /// Puts ready tasks on nodes with room, until one of both runs out.
    pub(super) fn schedule(&mut self, pool: &str, moment: Timestamp) {
        while let Some((job, task, node)) = self.next_pair(pool) {
            self.launch_task(pool, &node, &job, &task, moment);
        }
    }

    /// The next task and the node it goes to.
    fn next_pair(&self, pool_key: &str) -> Option<(String, String, String)> {
        let pool = self.pools.get(pool_key).filter(|pool| !pool.deleting)?;
        if pool.room.is_empty() {
            return None;
        }
        let most = pool.slots_per_node();
        for (_, _, job_key) in &pool.hungry {
            let job = self.jobs.get(job_key)?;
            let parallel = job.spec.max_parallel_tasks.unwrap_or(-1);
            if parallel >= 0 && job.on_nodes_now() >= usize::try_from(parallel).unwrap_or(usize::MAX) {
                continue;
            }
            for (_, task_key) in job.ready.iter().take(LOOK_AHEAD) {
                let task = job.tasks.get(task_key)?;
                let slots = task.slots();
                let fits =
                    |(taken, node): &&(i32, String)| taken + slots <= most && !job.is_barred_from(node);
                let liked = task.add.affinity_info.as_ref().and_then(|info| {
                    let of = pool.nodes.get(info.affinity_id.strip_prefix("TVM:")?)?;
                    pool.room.get(&(of.slots, of.id.clone())).filter(fits)
                });
                // Spread: where least runs. Pack: where most runs that still leaves room.
                let node = match (liked, pool.packs(), job.on_nodes.is_empty()) {
                    (Some(node), ..) => Some(node),
                    (None, true, _) => pool.room.iter().rev().find(fits),
                    (None, false, true) => pool.room.first().filter(fits),
                    (None, false, false) => pool.room.iter().find(fits),
                };
                if let Some((_, node)) = node {
                    return Some((job_key.clone(), task_key.clone(), node.clone()));
                }
            }
        }
        None
    }

    fn launch_task(&mut self, pool: &str, node: &str, job: &str, task: &str, moment: Timestamp) {
        let Some(found) = self.pools.get_mut(pool) else { return };
        let Some(of) = found.nodes.get_mut(node) else { return };
        let Some(task_found) = self.jobs.get_mut(job).and_then(|job| job.tasks.get_mut(task)) else { return };
        found.room.remove(&(of.slots, node.to_owned()));
        of.slots += task_found.slots();
        task_found.facts.node = Some((found.spec.id.clone(), node.to_owned()));
        task_found.facts.files_gone = false;
        let prepared = self.prepare(job, pool, node, moment);
        let state = if prepared { TaskState::Running } else { TaskState::Preparing };
        self.set_task_state(job, task, state, moment);
        let Some(job_found) = self.jobs.get_mut(job) else { return };
        if let Some(on) = job_found.on_nodes.get_mut(node).filter(|_| !prepared) {
            on.waiting.insert(task.to_owned());
        }
        if job_found.ready.is_empty() {
            self.feed(job);
        }
        if prepared {
            self.start_task(job, task, moment);
        }
        self.rest_node(pool, node, moment);
        // Not kept: a task that was put on a node and not started would be queued again after a crash either way.
        self.effects.visible = true;
    }

    /// Launches a task on the node it was put on.
    pub(super) fn start_task(&mut self, job: &str, task: &str, moment: Timestamp) {
        let id = self.launch_id();
        let Some(job_found) = self.jobs.get_mut(job) else { return };
        let job_id = job_found.spec.id.clone();
        let preparation = job_found.preparation_variables();
        let Some(task_found) = job_found.tasks.get_mut(task) else { return };
        let Some((pool_id, node)) = task_found.facts.node.clone() else { return };
        let Some(of) = self.pools.get_mut(&key(&pool_id)).and_then(|pool| pool.nodes.get_mut(&node)) else {
            return;
        };
        let dedicated = of.dedicated;
        of.launches.insert(id);
        task_found.facts.launch = Some(id);
        task_found.facts.info.start_time = Some(moment);
        let most = task_found.max_retries();
        let last_try = most >= 0 && task_found.facts.info.retry_count >= most;
        let (directory, add) = (task_found.directory(&job_id), task_found.add.clone());
        let common: Vec<_> = settings(job_found.spec.common_environment_settings.as_deref()).collect();
        let mut environment = self.environment_of(&pool_id, &node, dedicated);
        environment.push(("AZ_BATCH_JOB_ID".into(), job_id));
        environment.push(("AZ_BATCH_TASK_ID".into(), add.id.clone()));
        environment.extend(preparation);
        environment.extend(common);
        environment.extend(settings(add.environment_settings.as_deref()));
        let output_files = add.output_files.iter().flatten().filter_map(|file| {
            let container = file.destination.container.as_ref()?;
            Some(OutputFileOrder {
                pattern: file.file_pattern.clone(),
                container_url: container.container_url.expose().to_owned(),
                path: container.path.clone().unwrap_or_default(),
                condition: upload_condition(&file.upload_options.upload_condition),
            })
        });
        let launch = Launch {
            id,
            node: NodeRef { pool: pool_id, node },
            directory,
            command_line: add.command_line.clone(),
            environment,
            resource_files: self.resource_files(add.resource_files.as_deref()),
            output_files: output_files.collect(),
            last_try,
        };
        self.launches.insert(id, What::Task { job: job.to_owned(), task: task.to_owned() });
        self.order(Order::Launch(Box::new(launch)));
    }

    /// A launch is over: its slots are free again.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn free(
        &mut self,
        pool: &str,
        node: &str,
        job: &str,
        task: &str,
        launch: Option<LaunchId>,
        success: Option<bool>,
        moment: Timestamp,
    ) {
        let slots = self.jobs.get(job).and_then(|job| job.tasks.get(task)).map_or(0, super::Task::slots);
        let Some(found) = self.pools.get_mut(pool) else { return };
        let Some(of) = found.nodes.get_mut(node) else { return };
        if launch.is_some_and(|launch| !of.launches.remove(&launch)) {
            return;
        }
        found.room.remove(&(of.slots, node.to_owned()));
        of.slots -= slots;
        if let Some(success) = success {
            of.total += 1;
            of.succeeded += i32::from(success);
        }
        if launch.is_some() {
            of.recent.push_back((job.to_owned(), task.to_owned()));
            if of.recent.len() > MOST_RECENT {
                of.recent.pop_front();
            }
        }
        self.rest_node(pool, node, moment);
    }

    /// Takes up the life of a service that was closed: pools boot their nodes anew, what ran is queued again.
    pub fn revive(
        &mut self,
        pools: Vec<(String, super::Pool)>,
        jobs: Vec<(String, super::Job)>,
        tasks: Vec<(String, String, super::Task)>,
        now: Timestamp,
    ) {
        for (_, pool) in &pools {
            self.last_moment = self.last_moment.max(pool.state_at).max(pool.modified).max(pool.allocation_at);
        }
        for (_, _, task) in &tasks {
            self.last_moment = self.last_moment.max(task.facts.state_at).max(task.facts.modified);
            self.last_number = self.last_number.max(task.facts.number);
        }
        for (_, job) in &jobs {
            self.last_moment = self.last_moment.max(job.state_at).max(job.modified);
            self.last_number = self.last_number.max(job.number);
        }
        let moment = self.moment(now);
        for (key, mut pool) in pools {
            let id = pool.spec.id.clone();
            let (leaving, staying): (Vec<_>, Vec<_>) = pool.nodes.values_mut().partition(|node| node.leaving);
            let mut orders = vec![];
            for node in leaving {
                orders.push(Order::Remove(NodeRef { pool: id.clone(), node: node.id.clone() }));
            }
            for node in staying {
                node.plan = None;
                if matches!(node.state, NodeState::Deallocated | NodeState::Deallocating) {
                    node.state = NodeState::Deallocated;
                    continue;
                }
                node.state = NodeState::Creating;
                node.state_at = moment;
                orders.push(Order::Boot(NodeRef { pool: id.clone(), node: node.id.clone() }));
            }
            pool.resizing |= !pool.deleting;
            self.effects.orders.extend(orders);
            self.pools.insert(key.clone(), pool);
            self.watch_resize(&key, None, moment);
        }
        for (key, mut job) in jobs {
            let ends = matches!(job.state, JobState::Terminating | JobState::Deleting | JobState::Completed);
            let task = job.spec.job_preparation_task.as_ref();
            let reruns = task.is_some_and(|task| task.rerun_on_node_reboot_after_success != Some(false));
            job.on_nodes.retain(|_, on| on.outlives_a_restart(ends, reruns));
            self.jobs.insert(key, job);
        }
        for (job, task_key, mut task) in tasks {
            if matches!(task.facts.state, TaskState::Running | TaskState::Preparing) {
                let facts = &mut task.facts;
                facts.previous = Some((facts.state.clone(), facts.state_at));
                (facts.state, facts.state_at) = (TaskState::Active, self.moment(now));
                facts.info.requeue_count += 1;
                facts.info.last_requeue_time = Some(moment);
                (facts.launch, facts.process, facts.ending, facts.node) = (None, None, None, None);
            }
            let is_kept = task.facts.state == TaskState::Completed && !task.facts.files_gone;
            self.enter(&job, task_key.clone(), task);
            if is_kept {
                self.watch_retention(&job, &task_key);
            }
        }
        let keys: Vec<_> = self.jobs.keys().cloned().collect();
        for key in keys {
            self.watch_job(&key);
            self.feed(&key);
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
            self.bury_pool(&key);
            if self.pools.get(&key).is_some_and(|pool| pool.spec.enable_auto_scale == Some(true)) {
                self.begin_autoscale(&key, moment);
            }
        }
    }
}
