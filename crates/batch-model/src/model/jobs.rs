//! Jobs: created, changed, disabled, terminated, deleted.

use super::{
    Alarm, Change, Job, Model, Refusal,
    books::{JobGuard, Tasks},
    facts::{Ending, json},
    job_specs::{self, checked_constraints, checked_numbers, fill},
    keys::{JobKey, PoolKey},
    refusal::checked_id,
    tag,
    tasks::checked_task,
};
use crate::orders::{NodeRef, Order};
use dropmill_azure_wire::{
    batch::{
        DisableTasks, JobAdd, JobManagerTask, JobPatch, JobState, JobUpdate, OnAllTasksComplete, PoolInfo,
        TaskAdd, TaskState,
    },
    etag::ETag,
    time::Timestamp,
};
use std::collections::BTreeMap;

/// Message for a job that must exist: keys come from requests and indexes, and only the last step of a
/// deletion removes a job.
pub(super) const THERE: &str = "a job stays until its deletion is over";

impl Model {
    /// Creates a job. Its pool need not exist yet: tasks wait for it.
    ///
    /// # Errors
    /// `JobExists`, or the property that is invalid.
    pub fn create_job(&mut self, spec: JobAdd, now: Timestamp) -> Result<(ETag, Timestamp), Refusal> {
        checked_id(&spec.id)?;
        self.make_job(spec, None, now)
    }

    /// Creates a job; a schedule may already have created a pool for it.
    pub(super) fn make_job(
        &mut self,
        mut spec: JobAdd,
        mut auto_pool: Option<String>,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        job_specs::complete(&mut spec)?;
        self.checked_pool(&spec.pool_info)?;
        let manager = spec.job_manager_task.clone().map(|task| manager_task(&task));
        if let Some(task) = &manager {
            checked_id(&task.id)?;
            checked_task(task)?;
            self.checked_packages(task.application_package_references.as_deref())?;
        }
        let key = JobKey::of(&spec.id);
        if let Some(found) = self.jobs.get(&key) {
            let deleting = found.state == JobState::Deleting;
            return Err(Refusal::conflict(if deleting { "JobBeingDeleted" } else { "JobExists" }));
        }
        let mut scheduling_error = None;
        if let (Some(auto), None) = (&spec.pool_info.auto_pool_specification, &auto_pool) {
            match self.make_auto_pool(auto, now) {
                Ok(pool) => auto_pool = Some(pool),
                Err(error) => scheduling_error = Some(error),
            }
        }
        let moment = self.moment(now);
        let uses_dependencies = spec.uses_task_dependencies == Some(true);
        let job = Job {
            number: self.number(),
            spec,
            etag: tag(moment),
            modified: moment,
            created: moment,
            state: JobState::Active,
            state_at: moment,
            previous: None,
            ended: None,
            terminate_reason: None,
            auto_pool,
            scheduling_error,
            on_nodes: BTreeMap::new(),
            tasks: Tasks::new(uses_dependencies),
        };
        let stillborn = job.scheduling_error.is_some();
        self.jobs.insert(key.clone(), job);
        self.watch_job(&key);
        self.keep_job(&key);
        if stillborn {
            // Without a pool, it ends at once.
            self.end_job(&key, "UnableToSchedule".into(), moment);
        } else if let Some(task) = manager {
            self.add_manager(&key, task, moment)?;
        }
        // A job without tasks has no unfinished task.
        self.end_if_done(&key, moment);
        Ok((tag(moment), moment))
    }

    /// Adds a job manager task, which is an ordinary task except that it runs alone on its node.
    fn add_manager(&mut self, key: &JobKey, mut task: TaskAdd, moment: Timestamp) -> Result<(), Refusal> {
        let job = self.jobs.get(key).expect("the job was created above");
        let exclusive =
            job.spec.job_manager_task.as_ref().is_some_and(|task| task.run_exclusive != Some(false));
        if exclusive {
            task.required_slots = Some(
                self.pool_of(key)
                    .and_then(|pool| self.pools.get(&pool))
                    .map_or(1, super::Pool::slots_per_node),
            );
        }
        let id = job.spec.id.clone();
        self.add_task(&id, task, moment)?;
        self.schedule_job(&id, moment);
        Ok(())
    }

    pub(super) fn checked_pool(&self, pool_info: &PoolInfo) -> Result<(), Refusal> {
        match (&pool_info.pool_id, &pool_info.auto_pool_specification) {
            (Some(_), Some(_)) => {
                let reason = "Only one of poolId and autoPoolSpecification can be set";
                Err(Refusal::invalid("poolInfo", "", reason))
            }
            // Checked when the defaults are set.
            (None, Some(_)) => Ok(()),
            (Some(pool), None) => checked_id(pool),
            (None, None) => Err(Refusal::missing("poolInfo")),
        }
    }

    /// Checks the new pool of a job; only a disabled job can be moved.
    fn checked_move(&self, id: &str, pool_info: &PoolInfo) -> Result<(), Refusal> {
        let job = self.job(id)?;
        if *pool_info == job.spec.pool_info {
            return Ok(());
        }
        self.checked_pool(pool_info)?;
        if pool_info.auto_pool_specification.is_some() {
            let reason = "An existing job cannot get an auto pool";
            return Err(Refusal::invalid("autoPoolSpecification", "", reason));
        }
        let same = |pool: &str| job.pool_id().is_some_and(|found| found.eq_ignore_ascii_case(pool));
        if job.state == JobState::Disabled || pool_info.pool_id.as_deref().is_some_and(same) {
            return Ok(());
        }
        Err(Refusal::conflict("JobNotDisabled"))
    }

    /// Sets the alarm of a job's time limit.
    pub(super) fn watch_job(&mut self, key: &JobKey) {
        let job = self.jobs.get(key).expect(THERE);
        if let Some(until) = job.until() {
            self.alarms.insert((until, Alarm::JobWallClock(key.clone())));
        }
    }

    /// Stores the current state of a job.
    pub(super) fn keep_job(&mut self, key: &JobKey) {
        let job = self.jobs.get(key).expect(THERE);
        let body = if self.durable { json(job) } else { String::new() };
        self.keep(|| Change::PutJob { key: key.clone(), body });
    }

    /// Returns a job.
    ///
    /// # Errors
    /// `JobNotFound`.
    pub fn job(&self, id: &str) -> Result<&Job, Refusal> {
        self.jobs.get(&JobKey::of(id)).ok_or_else(|| Refusal::not_found("JobNotFound"))
    }

    /// Returns all jobs, by key.
    pub fn jobs(&self) -> impl Iterator<Item = (&JobKey, &Job)> {
        self.jobs.iter()
    }

    /// Returns a job that can still be changed.
    fn live_job(&mut self, key: &JobKey) -> Result<JobGuard<'_>, Refusal> {
        let job = self.jobs.change(key).ok_or_else(|| Refusal::not_found("JobNotFound"))?;
        match job.state {
            JobState::Deleting => Err(Refusal::conflict("JobBeingDeleted")),
            JobState::Completed => Err(Refusal::conflict("JobCompleted")),
            JobState::Terminating => Err(Refusal::conflict("JobBeingTerminated")),
            _ => Ok(job),
        }
    }

    /// Changes the properties that are set in a patch.
    ///
    /// # Errors
    /// `JobNotFound`, `JobCompleted`, ….
    pub fn patch_job(
        &mut self,
        id: &str,
        patch: JobPatch,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        let key = JobKey::of(id);
        self.live_job(&key)?;
        checked_numbers(patch.priority, patch.max_parallel_tasks)?;
        checked_constraints(patch.constraints.as_ref())?;
        if let Some(pool_info) = &patch.pool_info {
            self.checked_move(id, pool_info)?;
        }
        let moment = self.moment(now);
        let mut job = self.live_job(&key)?;
        let spec = &mut job.spec;
        macro_rules! take {
            ($($field:ident),+) => { $( if patch.$field.is_some() { spec.$field = patch.$field; } )+ };
        }
        take!(
            priority,
            max_parallel_tasks,
            allow_task_preemption,
            on_all_tasks_complete,
            constraints,
            network_configuration,
            metadata
        );
        if let Some(pool_info) = patch.pool_info {
            spec.pool_info = pool_info;
        }
        fill(spec);
        drop(job);
        Ok(self.changed(&key, moment))
    }

    /// Replaces the properties that can be replaced; absent ones get their default.
    ///
    /// # Errors
    /// `JobNotFound`, `JobCompleted`, ….
    pub fn update_job(
        &mut self,
        id: &str,
        update: JobUpdate,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        let key = JobKey::of(id);
        self.live_job(&key)?;
        checked_numbers(update.priority, update.max_parallel_tasks)?;
        checked_constraints(update.constraints.as_ref())?;
        self.checked_move(id, &update.pool_info)?;
        let moment = self.moment(now);
        let mut job = self.live_job(&key)?;
        let spec = &mut job.spec;
        spec.priority = update.priority;
        spec.max_parallel_tasks = update.max_parallel_tasks;
        spec.allow_task_preemption = update.allow_task_preemption;
        spec.constraints = update.constraints;
        spec.pool_info = update.pool_info;
        spec.metadata = update.metadata;
        spec.on_all_tasks_complete = update.on_all_tasks_complete;
        fill(spec);
        drop(job);
        Ok(self.changed(&key, moment))
    }

    fn changed(&mut self, key: &JobKey, moment: Timestamp) -> (ETag, Timestamp) {
        let mut job = self.jobs.change(key).expect(THERE);
        (job.etag, job.modified) = (tag(moment), moment);
        drop(job);
        self.watch_job(key);
        self.keep_job(key);
        self.schedule_on(self.pool_of(key), moment);
        self.end_if_done(key, moment);
        (tag(moment), moment)
    }

    /// Returns the pool of a job; `None` if its auto pool could not be created.
    pub(super) fn pool_of(&self, job: &JobKey) -> Option<PoolKey> {
        self.jobs.get(job).expect(THERE).pool_id().map(PoolKey::of)
    }

    pub(super) fn set_job_state(&mut self, key: &JobKey, state: JobState, moment: Timestamp) {
        let mut job = self.jobs.change(key).expect(THERE);
        let before = std::mem::replace(&mut job.state, state);
        job.previous = Some((before, job.state_at));
        job.state_at = moment;
        drop(job);
        self.keep_job(key);
    }

    /// Ends the tasks of a job that are on nodes.
    fn end_tasks(&mut self, key: &JobKey, ending: Ending, moment: Timestamp) {
        let job = self.jobs.get(key).expect(THERE);
        let in_state = |state| job.tasks.in_state(&state).map(|(_, task)| task.clone()).collect::<Vec<_>>();
        let (running, preparing): (Vec<_>, Vec<_>) =
            (in_state(TaskState::Running), in_state(TaskState::Preparing));
        for task in running {
            let launch =
                self.jobs.get(key).and_then(|job| job.tasks.get(&task)?.live_launches().first().copied());
            if let Some(launch) = launch {
                self.end_launch(launch, ending);
            }
        }
        for task in preparing {
            self.unplace(key, &task, Some(ending), moment);
        }
    }

    /// Disables a job: no task starts any more, and running ones end as requested.
    ///
    /// # Errors
    /// `JobNotFound`; `JobNotActive` unless it is active, disabling or disabled.
    pub fn disable_job(&mut self, id: &str, tasks: &DisableTasks, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let key = JobKey::of(id);
        let state = self.live_job(&key)?.state.clone();
        if let DisableTasks::Other(other) = tasks {
            let reason = "It must be requeue, terminate or wait";
            return Err(Refusal::invalid("disableTasks", &**other, reason));
        }
        if !matches!(state, JobState::Active | JobState::Disabling | JobState::Disabled) {
            return Err(Refusal::conflict("JobNotActive"));
        }
        self.set_job_state(&key, JobState::Disabling, moment);
        let ending = match tasks {
            DisableTasks::Requeue => Some(Ending::Requeued),
            DisableTasks::Terminate => Some(Ending::Terminated),
            _ => None,
        };
        if let Some(ending) = ending {
            self.end_tasks(&key, ending, moment);
        }
        self.job_quiet(&key, moment);
        Ok(())
    }

    /// Enables a disabled job.
    ///
    /// # Errors
    /// `JobNotFound`; `JobNotDisabled` unless it is disabled.
    pub fn enable_job(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let key = JobKey::of(id);
        if self.live_job(&key)?.state != JobState::Disabled {
            return Err(Refusal::conflict("JobNotDisabled"));
        }
        self.set_job_state(&key, JobState::Active, moment);
        self.schedule_on(self.pool_of(&key), moment);
        self.end_if_done(&key, moment);
        Ok(())
    }

    /// Terminates a job: running tasks are ended, waiting tasks stay active for ever.
    ///
    /// # Errors
    /// `JobNotFound`, `JobCompleted`, `JobBeingTerminated`, `JobBeingDeleted`.
    pub fn terminate_job(&mut self, id: &str, reason: Option<String>, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let key = JobKey::of(id);
        self.live_job(&key)?;
        self.end_job(&key, reason.unwrap_or_else(|| "UserTerminate".into()), moment);
        Ok(())
    }

    pub(super) fn end_job(&mut self, key: &JobKey, reason: String, moment: Timestamp) {
        self.jobs.change(key).expect(THERE).terminate_reason = Some(reason);
        self.set_job_state(key, JobState::Terminating, moment);
        self.end_tasks(key, Ending::Terminated, moment);
        self.job_quiet(key, moment);
    }

    pub(super) fn job_wall_clock_over(&mut self, key: &JobKey, now: Timestamp) {
        let moment = self.moment(now);
        // An alarm stays until its time after its limit was changed, and the job may have been deleted.
        let Some(job) = self.jobs.get(key) else { return };
        let alive = matches!(job.state, JobState::Active | JobState::Disabling | JobState::Disabled);
        // A changed limit has its own alarm.
        if alive && job.until().is_some_and(|until| until <= moment) {
            self.end_job(key, "MaxWallClockTimeExpiry".into(), moment);
        }
    }

    /// Deletes a job and its tasks; running tasks are ended first.
    ///
    /// # Errors
    /// `JobNotFound`, `JobBeingDeleted`.
    pub fn delete_job(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        if self.job(id)?.state == JobState::Deleting {
            return Err(Refusal::conflict("JobBeingDeleted"));
        }
        let key = JobKey::of(id);
        self.set_job_state(&key, JobState::Deleting, moment);
        self.end_tasks(&key, Ending::Deleted, moment);
        self.job_quiet(&key, moment);
        Ok(())
    }

    /// Continues a change of a job's state once none of its tasks is running.
    pub(super) fn job_quiet(&mut self, key: &JobKey, moment: Timestamp) {
        let job = self.jobs.get(key).expect(THERE);
        if job.on_nodes_now() > 0 {
            return;
        }
        match job.state.clone() {
            JobState::Terminating => {
                if !self.released(key, moment) {
                    return;
                }
                self.jobs.change(key).expect(THERE).ended = Some(moment);
                self.set_job_state(key, JobState::Completed, moment);
                self.drop_auto_pool(key, moment);
                self.after_job(key, moment);
            }
            JobState::Disabling => self.set_job_state(key, JobState::Disabled, moment),
            JobState::Deleting if self.released(key, moment) => self.remove_job(key, moment),
            _ => {}
        }
    }

    fn remove_job(&mut self, key: &JobKey, moment: Timestamp) {
        self.drop_auto_pool(key, moment);
        let job = self.jobs.remove(key).expect(THERE);
        if let Some(until) = job.until() {
            self.alarms.remove(&(until, Alarm::JobWallClock(key.clone())));
        }
        for (task_key, task) in job.tasks.iter() {
            self.forget_retention(key, task_key, task.kept_until());
            self.remember_task((key, &job.spec.id), task_key, task);
            if !task.facts.files_gone {
                self.remove_files(task, &job.spec.id);
            }
        }
        for (node, on) in &job.on_nodes {
            for release in [false, true].into_iter().take(1 + usize::from(on.release.is_some())) {
                let node = NodeRef { pool: on.pool.clone(), node: node.to_string() };
                self.order(Order::RemoveTask { node, directory: job.chore_directory(release) });
            }
        }
        self.keep(|| Change::DropJob { key: key.clone() });
        self.after_job(key, moment);
    }

    /// Ends a job without unfinished tasks, if that was requested.
    pub(super) fn end_if_done(&mut self, key: &JobKey, moment: Timestamp) {
        // The deletion may have waited for its last task.
        let Some(job) = self.jobs.get(key) else { return };
        let ends = job.spec.on_all_tasks_complete == Some(OnAllTasksComplete::TerminateJob);
        let unfinished = job.on_nodes_now() > 0 || job.count(TaskState::Active) > 0;
        if ends && job.state == JobState::Active && !unfinished {
            self.end_job(key, "AllTasksComplete".into(), moment);
        }
    }
}

impl Job {
    /// Returns the time when the job reaches its time limit, if it has one.
    fn until(&self) -> Option<Timestamp> {
        let limit = self.spec.constraints.as_ref()?.max_wall_clock_time?;
        self.created.checked_add(limit.as_std()?).ok()
    }
}

/// Returns a job's manager as a task.
fn manager_task(task: &JobManagerTask) -> TaskAdd {
    let task = task.clone();
    TaskAdd {
        id: task.id,
        display_name: task.display_name,
        command_line: task.command_line,
        container_settings: task.container_settings,
        resource_files: task.resource_files,
        output_files: task.output_files,
        environment_settings: task.environment_settings,
        constraints: task.constraints,
        required_slots: task.required_slots,
        user_identity: task.user_identity,
        application_package_references: task.application_package_references,
        authentication_token_settings: task.authentication_token_settings,
        ..TaskAdd::default()
    }
}

impl Model {
    /// Checks whether a job accepts tasks now.
    ///
    /// # Errors
    /// Returns the reason why it does not.
    pub fn takes_tasks(&self, id: &str) -> Result<(), Refusal> {
        match self.job(id)?.state {
            JobState::Completed => Err(Refusal::conflict("JobCompleted")),
            JobState::Terminating => Err(Refusal::conflict("JobBeingTerminated")),
            JobState::Deleting => Err(Refusal::conflict("JobBeingDeleted")),
            _ => Ok(()),
        }
    }
}
