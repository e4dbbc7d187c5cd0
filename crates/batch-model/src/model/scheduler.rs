//! Decides which task runs on which node: the oldest task of the most important job, on a node with free
//! slots.

use super::{
    Job, Model, Pool, Task, What,
    facts::{Place, Recent},
    jobs,
    keys::{JobKey, NodeKey, PoolKey, TaskKey},
    nodes::{self, settings},
    pools,
    query::upload_condition,
    task_facts::{Group, Stage},
    tasks,
};
use crate::orders::{Launch, LaunchId, Order, OutputFileOrder};
use dropmill_azure_wire::time::Timestamp;

/// Maximum number of tasks of a job that are checked if the first does not fit on a node.
const LOOK_AHEAD: usize = 32;

/// Maximum number of ended tasks that a node shows.
const MOST_RECENT: usize = 10;

/// The placement of a multi-instance task.
enum Placement {
    /// It can start on these nodes.
    On(Vec<NodeKey>),
    /// There are enough nodes, but some are busy.
    Soon,
    /// There are not enough nodes.
    Never,
}

impl Model {
    /// Puts ready tasks on nodes with free slots, until there are no more tasks or slots.
    pub(super) fn schedule(&mut self, pool: &PoolKey, moment: Timestamp) {
        while let Some((job, task, nodes)) = self.next_placement(pool) {
            self.launch_task(pool, &nodes, &job, &task, moment);
        }
        self.preempt(pool);
    }

    /// Does the same for the pool of a job, if it has one.
    pub(super) fn schedule_on(&mut self, pool: Option<PoolKey>, moment: Timestamp) {
        if let Some(pool) = pool {
            self.schedule(&pool, moment);
        }
    }

    /// Returns the next task and its nodes.
    fn next_placement(&self, pool_key: &PoolKey) -> Option<(JobKey, TaskKey, Vec<NodeKey>)> {
        let pool = self.pools.get(pool_key).filter(|pool| !pool.deleting)?;
        if pool.nodes.room().is_empty() {
            return None;
        }
        let most = pool.slots_per_node();
        for (_, _, job_key) in self.jobs.with_ready_tasks(pool_key) {
            let job = self.jobs.get(job_key)?;
            let parallel = job.spec.max_parallel_tasks.unwrap_or(-1);
            if parallel >= 0 && job.on_nodes_now() >= usize::try_from(parallel).unwrap_or(usize::MAX) {
                continue;
            }
            // A task that needs more slots than any node has waits, and does not block others.
            let ready = job.tasks.ready().iter().filter_map(|(_, key)| Some((key, job.tasks.get(key)?)));
            for (task_key, task) in ready.filter(|(_, task)| task.slots() <= most).take(LOOK_AHEAD) {
                if task.is_multi() {
                    match self.instances_of(pool, job, task) {
                        Placement::On(nodes) => return Some((job_key.clone(), task_key.clone(), nodes)),
                        // It comes next: if younger tasks took each node that becomes free, it might never
                        // run.
                        Placement::Soon => return None,
                        Placement::Never => continue,
                    }
                }
                let slots = task.slots();
                let fits =
                    |(taken, node): &&(i32, NodeKey)| taken + slots <= most && !job.is_barred_from(node);
                let liked = task.liked_node().and_then(|liked| {
                    let of = pool.nodes.get(&NodeKey::of(liked))?;
                    pool.nodes.room().get(&(of.slots.taken(), of.id.clone())).filter(fits)
                });
                // Spread: the node with the fewest tasks. Pack: the fullest node with enough free slots.
                let node = match (liked, pool.packs(), job.on_nodes.is_empty()) {
                    (Some(node), ..) => Some(node),
                    (None, true, _) => pool.nodes.room().iter().rev().find(fits),
                    (None, false, true) => pool.nodes.room().first().filter(fits),
                    (None, false, false) => pool.nodes.room().iter().find(fits),
                };
                if let Some((_, node)) = node {
                    return Some((job_key.clone(), task_key.clone(), vec![node.clone()]));
                }
            }
        }
        None
    }

    /// Returns the nodes for a multi-instance task: as many idle nodes as it needs.
    fn instances_of(&self, pool: &Pool, job: &Job, task: &Task) -> Placement {
        let number = task.instances();
        if !pool.takes_instances() {
            return Placement::Never;
        }
        let free = pool.nodes.room().iter().filter(|(taken, node)| *taken == 0 && !job.is_barred_from(node));
        let mut free: Vec<NodeKey> = free.map(|(_, node)| node.clone()).collect();
        if free.len() >= number {
            let liked = task.liked_node().map(NodeKey::of);
            free.sort_by_key(|node| liked.as_ref() != Some(node));
            free.truncate(number);
            return Placement::On(free);
        }
        let usable = pool.nodes.values().filter(|of| of.takes_tasks() && !job.is_barred_from(&of.id));
        if usable.count() >= number { Placement::Soon } else { Placement::Never }
    }

    fn launch_task(
        &mut self,
        pool: &PoolKey,
        nodes: &[NodeKey],
        job: &JobKey,
        task: &TaskKey,
        moment: Timestamp,
    ) {
        // The pool's own key, which all places in it share.
        let pool = self.pools.get_key_value(pool).expect(pools::THERE).0.clone();
        let found = self.pools.get_mut(&pool).expect(pools::THERE);
        let mut task_found = self.jobs.change_task(job, task).expect(tasks::THERE);
        let pool_id = pool.spelled(&found.spec.id);
        let mut places = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut of = found.nodes.change(node).expect(nodes::THERE);
            of.slots.take(task_found.slots(), job, task);
            let new = || Place::new(pool_id.clone(), pool.clone(), node.clone());
            places.push(of.place.get_or_insert_with(new).clone());
        }
        let group = task_found.is_multi().then(|| Box::new(Group::on(&places.split_off(1), moment)));
        let run = task_found.facts.run_mut();
        (run.group, run.node) = (group, places.pop());
        task_found.facts.files_gone = false;
        drop(task_found);
        let mut prepared = true;
        for node in nodes {
            if self.prepare(job, &pool, node, moment) {
                continue;
            }
            prepared = false;
            let on = self
                .jobs
                .on_node(job, node)
                .expect("a preparation with waiting tasks is running on the node");
            on.waiting.insert(task.clone());
        }
        let state = if prepared { Stage::Running } else { Stage::Preparing };
        self.set_task_state(job, task, state, moment);
        if prepared {
            self.start_task(job, task, moment);
        }
        nodes.iter().for_each(|node| self.rest_node(&pool, node, moment));
        // Not stored: after a crash, a task that was placed but not started is queued again either way.
        self.effects.visible = true;
    }

    /// Launches a task on its node or nodes.
    pub(super) fn start_task(&mut self, job: &JobKey, task: &TaskKey, moment: Timestamp) {
        let found = self.jobs.get(job).and_then(|job| job.tasks.get(task));
        let count = found.map_or(0, |task| task.nodes().count());
        (0..count).for_each(|number| self.start_instance(job, task, number, moment));
    }

    fn start_instance(&mut self, job: &JobKey, task: &TaskKey, number: usize, moment: Timestamp) {
        let id = self.launch_id();
        let job_found = self.jobs.get(job).expect(jobs::THERE);
        let job_id = job_found.spec.id.clone();
        let preparation = job_found.preparation_variables();
        let common: Vec<_> = settings(job_found.spec.common_environment_settings.as_deref()).collect();
        let mut task_found = self.jobs.change_task(job, task).expect(tasks::THERE);
        let place = task_found.nodes().nth(number).expect("each instance has a node").clone();
        let (pool, node) = (&place.pool, &place.node);
        let found = self.pools.get_mut(pool).expect(pools::THERE);
        let mut of = found.nodes.change(node).expect(nodes::THERE);
        let dedicated = of.dedicated;
        let slot = of.slots.lowest(job, task);
        of.launches.insert(id);
        Self::instance_begins(&mut task_found, number, Some(id), moment);
        let most = task_found.max_retries();
        let last_try = most >= 0 && task_found.facts.run().info.retry_count >= most;
        let directory = task_found.directory_of(&job_id, number);
        drop((task_found, of));
        let task_found = self.jobs.get(job).and_then(|job| job.tasks.get(task)).expect(tasks::THERE);
        let add = &task_found.asked();
        let mut environment = self.environment_of(&place.pool_id, node, dedicated);
        environment.extend(self.instance_variables(&job_id, task_found, number));
        environment.extend(slot.map(|slot| ("DROPMILL_SLOT".to_owned(), slot.to_string())));
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
        let (files, is_primary) = (add.resource_files.as_deref(), number == 0);
        let launch = Launch {
            id,
            packages: self.packages_for(pool, node, add.application_package_references.as_deref()),
            node: place.node_ref(),
            directory,
            coordination: self.coordination(add, number),
            command_line: if is_primary { add.command_line.clone() } else { String::new() },
            environment,
            resource_files: self.resource_files(files.filter(|_| is_primary)),
            output_files: if is_primary { output_files.collect() } else { vec![] },
            last_try,
        };
        self.launches.insert(id, What::Task { job: job.clone(), task: task.clone(), number });
        self.order(Order::Launch(Box::new(launch)));
    }

    /// Frees the slots of a launch that has ended.
    pub(super) fn free(
        &mut self,
        pool: &PoolKey,
        node: &NodeKey,
        (job, task, number): (&JobKey, &TaskKey, usize),
        launch: Option<LaunchId>,
        success: Option<bool>,
        moment: Timestamp,
    ) {
        // A node that is removed at once may report this before the ends of its launches.
        let Some(mut of) = self.node_mut(pool, node) else { return };
        if launch.is_some_and(|launch| !of.launches.remove(&launch)) {
            return;
        }
        of.slots.release(job, task);
        if let Some(success) = success {
            of.total += 1;
            of.succeeded += i32::from(success);
        }
        if launch.is_some() {
            let (job, task) = (job.clone(), task.clone());
            of.recent.push_back(Recent { job, task, number, gone: None });
            if of.recent.len() > MOST_RECENT {
                of.recent.pop_front();
            }
        }
        drop(of);
        self.rest_node(pool, node, moment);
    }
}
