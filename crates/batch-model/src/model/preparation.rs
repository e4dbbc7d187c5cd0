//! Job preparation and job release tasks: a job runs the first on a node before its first task there, and the
//! second when it has ended.

use super::{
    Job, Model, What,
    facts::{Ending, NodeAction, OnNode},
    jobs,
    keys::{JobKey, NodeKey, PoolKey, TaskKey},
    nodes::{self, begun, note_try, settings},
    pools,
    task_ends::task_ended,
    task_facts::Stage,
    tasks,
};
use crate::orders::{Launch, LaunchEnding, LaunchId, NodeRef, Order};
use dropmill_azure_wire::{
    batch::{EnvironmentSetting, JobState, NodeState, NodeTaskState, ResourceFile, TaskResult},
    duration::IsoDuration,
    time::Timestamp,
};

/// A job preparation or job release task.
struct Chore<'a> {
    id: &'a str,
    command_line: &'a str,
    resource_files: Option<&'a [ResourceFile]>,
    environment: Option<&'a [EnvironmentSetting]>,
}

impl Job {
    /// Returns whether its tasks wait for its preparation task.
    fn waits_for_preparation(&self) -> bool {
        self.spec.job_preparation_task.as_ref().is_some_and(|task| task.wait_for_success != Some(false))
    }

    /// Returns whether its tasks must not run on a node, because its preparation task failed there.
    pub(super) fn is_barred_from(&self, node: &NodeKey) -> bool {
        let failed = |on: &OnNode| on.preparation.result == Some(TaskResult::Failure);
        self.waits_for_preparation() && self.on_nodes.get(node).is_some_and(failed)
    }

    /// Returns the folder of its preparation or release task below a node's root.
    pub(super) fn chore_directory(&self, release: bool) -> String {
        let id = match release {
            true => self.spec.job_release_task.as_ref().and_then(|task| task.id.as_deref()),
            false => self.spec.job_preparation_task.as_ref().and_then(|task| task.id.as_deref()),
        };
        format!("{}/{}", self.directory(), id.unwrap_or_default())
    }

    /// Returns the environment variables with the folders of its preparation task.
    pub(super) fn preparation_variables(&self) -> Vec<(String, String)> {
        if self.spec.job_preparation_task.is_none() {
            return Vec::new();
        }
        let directory = self.chore_directory(false);
        let working = format!("{directory}/wd");
        vec![("AZ_BATCH_JOB_PREP_DIR".into(), directory), ("AZ_BATCH_JOB_PREP_WORKING_DIR".into(), working)]
    }

    fn chore(&self, release: bool) -> Option<Chore<'_>> {
        if release {
            let task = self.spec.job_release_task.as_ref()?;
            return Some(Chore {
                id: task.id.as_deref().unwrap_or_default(),
                command_line: &task.command_line,
                resource_files: task.resource_files.as_deref(),
                environment: task.environment_settings.as_deref(),
            });
        }
        let task = self.spec.job_preparation_task.as_ref()?;
        Some(Chore {
            id: task.id.as_deref().unwrap_or_default(),
            command_line: &task.command_line,
            resource_files: task.resource_files.as_deref(),
            environment: task.environment_settings.as_deref(),
        })
    }

    /// Returns the maximum run time of its preparation or release task.
    pub(super) fn chore_limit(&self, release: bool) -> Option<IsoDuration> {
        if release {
            return self.spec.job_release_task.as_ref()?.max_wall_clock_time;
        }
        self.spec.job_preparation_task.as_ref()?.constraints.as_ref()?.max_wall_clock_time
    }
}

impl Model {
    /// Returns whether a job's task may start on a node now. Starts the job's preparation task if it has not
    /// run there.
    pub(super) fn prepare(
        &mut self,
        job: &JobKey,
        pool: &PoolKey,
        node: &NodeKey,
        moment: Timestamp,
    ) -> bool {
        let mut found = self.jobs.change(job).expect(jobs::THERE);
        if found.spec.job_preparation_task.is_none() {
            return true;
        }
        let waits = found.waits_for_preparation();
        if let Some(on) = found.on_nodes.get(node) {
            return !waits || on.preparation.result == Some(TaskResult::Success);
        }
        let pool_id = self.pools.get(pool).expect(pools::THERE).spec.id.clone();
        found.on_nodes.insert(node.clone(), OnNode::new(pool_id, begun(moment)));
        drop(found);
        self.launch_chore(job, node, false);
        self.keep_job(job);
        !waits
    }

    /// Returns whether all nodes of a task have run its job's preparation task, if the task waits for that.
    fn is_prepared(&self, job: &JobKey, task: &TaskKey) -> bool {
        let found = self.jobs.get(job).expect(jobs::THERE);
        let ready = |node: &NodeKey| {
            found.on_nodes.get(node).is_some_and(|on| on.preparation.result == Some(TaskResult::Success))
        };
        !found.waits_for_preparation()
            || found.tasks.get(task).is_some_and(|task| task.nodes().all(|place| ready(&place.node)))
    }

    fn launch_chore(&mut self, job: &JobKey, node: &NodeKey, release: bool) {
        let id = self.launch_id();
        let found = self.jobs.get(job).expect(jobs::THERE);
        let chore = found.chore(release).expect("a launched preparation or release task belongs to its job");
        let on = found.on_nodes.get(node).expect("the job was added to the node above");
        let pool = PoolKey::of(&on.pool);
        let of = self.pools.get(&pool).and_then(|pool| pool.nodes.get(node)).expect(nodes::THERE);
        let mut environment = self.environment_of(&on.pool, node, of.dedicated);
        environment.push(("AZ_BATCH_JOB_ID".into(), found.spec.id.clone()));
        environment.push(("AZ_BATCH_TASK_ID".into(), chore.id.to_owned()));
        if release {
            environment.extend(found.preparation_variables());
        }
        environment.extend(settings(found.spec.common_environment_settings.as_deref()));
        environment.extend(settings(chore.environment));
        let launch = Launch {
            id,
            node: NodeRef { pool: on.pool.clone(), node: node.to_string() },
            directory: found.chore_directory(release),
            command_line: chore.command_line.to_owned(),
            environment,
            coordination: None,
            packages: self.packages_for(&pool, node, None),
            resource_files: self.resource_files(chore.resource_files),
            output_files: vec![],
            last_try: true,
        };
        let on = self.jobs.on_node(job, node).expect("it was found above");
        (on.launch, on.ending) = (Some(id), None);
        self.node_mut(&pool, node).expect(nodes::THERE).launches.insert(id);
        self.launches.insert(id, What::Chore { job: job.clone(), node: node.clone(), release });
        self.order(Order::Launch(Box::new(launch)));
    }

    /// Handles the end of a preparation or release task, or of one of its attempts.
    pub(super) fn chore_ended(
        &mut self,
        job: &JobKey,
        node: &NodeKey,
        launch: LaunchId,
        ended: &LaunchEnding,
        moment: Timestamp,
    ) {
        self.forget_limit(launch);
        // The node may have restarted, which removes the entry of the preparation.
        let Some(on) = self.jobs.on_node(job, node) else { return };
        on.launch = None;
        let (ending, pool) = (on.ending.take(), PoolKey::of(&on.pool));
        // A preparation that took too long has failed; its waiting tasks were not terminated.
        let asked = ending.filter(|ending| *ending != Ending::WallClock);
        let (node_is_there, node_stays) = match self.node_mut(&pool, node) {
            Some(mut of) => {
                of.launches.remove(&launch);
                let is_up = matches!(of.state, NodeState::Idle | NodeState::Running | NodeState::Offline);
                (true, is_up && of.plan.is_none())
            }
            // The entry may be removed before this is reported.
            None => (false, false),
        };
        let found = self.jobs.get(job).expect(jobs::THERE);
        let prepares = found.spec.job_preparation_task.as_ref();
        let most = prepares.and_then(|task| task.constraints.as_ref()?.max_task_retry_count).unwrap_or(0);
        let alive = matches!(found.state, JobState::Active | JobState::Disabling | JobState::Disabled);
        let on = self.jobs.on_node(job, node).expect("it was found above");
        if let Some(release) = &mut on.release {
            // A release task is not retried, and its result has no effect.
            note_try(release, ended, 0, moment);
        } else {
            let most = if ending.is_none() && node_stays && alive { most } else { 0 };
            if note_try(&mut on.preparation, ended, most, moment) {
                self.launch_chore(job, node, false);
                return self.keep_job(job);
            }
            let success = node_is_there && on.preparation.result == Some(TaskResult::Success);
            for task in std::mem::take(&mut on.waiting) {
                if success && !self.is_prepared(job, &task) {
                    // Another node of the task is not prepared.
                    continue;
                }
                if success {
                    self.set_task_state(job, &task, Stage::Running, moment);
                    self.start_task(job, &task, moment);
                } else {
                    self.unplace(job, &task, asked, moment);
                }
            }
        }
        self.keep_job(job);
        self.pursue(&pool, node, moment);
        self.job_quiet(job, moment);
        self.schedule(&pool, moment);
    }

    /// Removes a task that waits for a preparation from its node; the task ends, or waits for another node.
    pub(super) fn unplace(
        &mut self,
        job: &JobKey,
        task: &TaskKey,
        ending: Option<Ending>,
        moment: Timestamp,
    ) {
        let mut found = self.task_mut(job, task).expect(tasks::THERE);
        let nodes: Vec<_> = found.nodes().cloned().collect();
        let run = found.facts.run_mut();
        (run.node, run.group) = (None, None);
        drop(found);
        for (number, place) in nodes.into_iter().enumerate() {
            if let Some(on) = self.jobs.on_node(job, &place.node) {
                on.waiting.remove(task);
            }
            self.free(&place.pool, &place.node, (job, task, number), None, None, moment);
        }
        match ending {
            Some(Ending::Terminated | Ending::WallClock) => self.end_unstarted(job, task, moment),
            Some(Ending::Deleted) => self.remove_task(job, task),
            Some(Ending::Requeued) | None => {
                self.set_task_state(job, task, Stage::Active, moment);
                if let Some(mut found) = self.task_mut(job, task).filter(|_| ending.is_some()) {
                    let info = &mut found.facts.run_mut().info;
                    info.requeue_count += 1;
                    info.last_requeue_time = Some(moment.into());
                }
                self.keep_task(job, task);
            }
        }
    }

    /// Ends a task that runs on no node.
    pub(super) fn end_unstarted(&mut self, job: &JobKey, task: &TaskKey, moment: Timestamp) {
        let mut found = self.task_mut(job, task).expect(tasks::THERE);
        let info = &mut found.facts.run_mut().info;
        info.end_time = Some(moment.into());
        info.success = Some(false);
        info.failure_info = Some(Box::new(task_ended("The task was terminated by user request")));
        drop(found);
        self.complete(job, task, moment);
    }

    /// Returns whether an ending job has nothing left to run on any node; starts or ends what is left.
    pub(super) fn released(&mut self, job: &JobKey, moment: Timestamp) -> bool {
        let mut found = self.jobs.change(job).expect(jobs::THERE);
        let releases = found.spec.job_release_task.is_some();
        let (mut all, mut to_end, mut to_start) = (true, vec![], vec![]);
        for (node, on) in &mut found.on_nodes {
            match (on.launch, &on.release) {
                (Some(launch), None) => {
                    // Its preparation task is still running, but no task waits for it any more.
                    if on.ending.is_none() {
                        to_end.push(launch);
                    }
                    all = false;
                }
                (Some(_), Some(_)) => all = false,
                (None, None) if releases => {
                    let of = self.pools.get(&PoolKey::of(&on.pool)).and_then(|pool| pool.nodes.get(node));
                    match of.filter(|of| !of.leaving).map(|of| &of.state) {
                        Some(NodeState::Idle | NodeState::Running | NodeState::Offline) => {
                            on.release = Some(begun(moment));
                            to_start.push(node.clone());
                            all = false;
                        }
                        Some(
                            NodeState::Creating
                            | NodeState::Starting
                            | NodeState::Rebooting
                            | NodeState::Reimaging
                            | NodeState::WaitingForStartTask,
                        ) => all = false,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        drop(found);
        for launch in to_end {
            self.end_launch(launch, Ending::Terminated);
        }
        for node in to_start {
            self.launch_chore(job, &node, true);
        }
        self.keep_job(job);
        all
    }

    /// Handles a node that is ready, or unusable: ending jobs may have waited for it to run their release
    /// task.
    pub(super) fn release_on(&mut self, node: &NodeKey, moment: Timestamp) {
        let ends = |job: &Job| matches!(job.state, JobState::Terminating | JobState::Deleting);
        let waiting = self.jobs.iter().filter(|(_, job)| ends(job) && job.on_nodes.contains_key(node));
        let waiting: Vec<_> = waiting.map(|(key, _)| key.clone()).collect();
        for job in waiting {
            self.job_quiet(&job, moment);
        }
    }

    /// Removes the preparations that are no longer valid because a node restarts.
    pub(super) fn void_preparations(&mut self, node: &NodeKey, act: NodeAction) {
        let mut void = vec![];
        for key in self.jobs.keys() {
            let mut job = self.jobs.change(&key).expect(jobs::THERE);
            // Skips jobs without a preparation task, and those that have not run it on this node.
            let (Some(task), Some(on)) = (&job.spec.job_preparation_task, job.on_nodes.get(node)) else {
                continue;
            };
            let again = task.rerun_on_node_reboot_after_success != Some(false)
                || on.preparation.result != Some(TaskResult::Success);
            let ends = matches!(job.state, JobState::Terminating | JobState::Deleting | JobState::Completed);
            if on.release.is_none()
                && !ends
                && (act != NodeAction::Reboot || again)
                && act != NodeAction::Leave
            {
                job.on_nodes.remove(node);
                drop(job);
                void.push(key);
            }
        }
        for job in void {
            self.keep_job(&job);
        }
    }
}

impl OnNode {
    /// Adapts the entry after a restart of the service, which restarts all nodes. An ending job still has to
    /// run its release task on every node that it prepared. Any other job prepares its nodes again, as after
    /// a reboot.
    pub(super) fn outlives_a_restart(&mut self, job_ends: bool, reruns: bool) -> bool {
        if self.release.as_ref().is_some_and(|release| release.state == NodeTaskState::Running) {
            self.release = None;
        }
        if job_ends {
            self.preparation.state = NodeTaskState::Completed;
            return true;
        }
        self.release.is_some() || (self.preparation.result == Some(TaskResult::Success) && !reruns)
    }
}

/// Returns whether an id is reserved for the preparation or release task of a job.
pub(super) fn id_of_chore(job: &Job, id: &str) -> Option<&'static str> {
    let is = |chore: Option<&str>| chore.is_some_and(|chore| chore.eq_ignore_ascii_case(id));
    if is(job.spec.job_preparation_task.as_ref().and_then(|task| task.id.as_deref())) {
        return Some("TaskIdSameAsJobPreparationTask");
    }
    is(job.spec.job_release_task.as_ref().and_then(|task| task.id.as_deref()))
        .then_some("TaskIdSameAsJobReleaseTask")
}
