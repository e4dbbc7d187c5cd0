//! Jobs: made, changed, disabled, ended, deleted.

use super::{
    Alarm, Change, Job, Model, Refusal,
    facts::{Ending, json},
    key,
    refusal::checked_id,
    tag,
};
use crate::orders::{NodeRef, Order};
use dropmill_azure_wire::{
    batch::{
        self as wire, DisableTasks, JobAdd, JobPatch, JobState, JobUpdate, OnAllTasksComplete, OnTaskFailure,
        PoolInfo, TaskState,
    },
    duration::IsoDuration,
    etag::ETag,
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

impl Model {
    /// Makes a job.
    ///
    /// # Errors
    /// `JobExists`, `PoolNotFound`, or what is wrong with it.
    pub fn create_job(&mut self, mut spec: JobAdd, now: Timestamp) -> Result<(ETag, Timestamp), Refusal> {
        checked_id(&spec.id)?;
        if spec.job_manager_task.is_some() {
            return Err(Refusal::not_here("job manager tasks"));
        }
        if spec.job_preparation_task.is_some() || spec.job_release_task.is_some() {
            return Err(Refusal::not_here("job preparation and release tasks"));
        }
        self.checked_pool(&spec.pool_info)?;
        let priority = *spec.priority.get_or_insert(0);
        checked_priority(priority)?;
        let key = key(&spec.id);
        if let Some(found) = self.jobs.get(&key) {
            let deleting = found.state == JobState::Deleting;
            return Err(Refusal::conflict(if deleting { "JobBeingDeleted" } else { "JobExists" }));
        }
        fill(&mut spec);
        let moment = self.moment(now);
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
            tasks: BTreeMap::new(),
            by_state: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting_for: BTreeMap::new(),
            succeeded: 0,
            slots: [0; 4],
        };
        self.jobs.insert(key.clone(), job);
        self.watch_job(&key);
        self.keep_job(&key);
        // A job without tasks has no unfinished task.
        self.end_if_done(&key, moment);
        Ok((tag(moment), moment))
    }

    fn checked_pool(&self, pool_info: &PoolInfo) -> Result<(), Refusal> {
        if pool_info.auto_pool_specification.is_some() {
            return Err(Refusal::not_here("auto pools"));
        }
        let Some(pool) = &pool_info.pool_id else { return Err(Refusal::missing("poolInfo")) };
        self.pool(pool).map(drop)
    }

    /// Sets the alarm of a job's time limit.
    pub(super) fn watch_job(&mut self, key: &str) {
        let Some(job) = self.jobs.get(key) else { return };
        let limit = job.spec.constraints.as_ref().and_then(|limits| limits.max_wall_clock_time);
        let until = limit.and_then(IsoDuration::as_std).and_then(|limit| job.created.checked_add(limit).ok());
        if let Some(until) = until {
            self.alarms.insert((until, Alarm::JobWallClock(key.to_owned())));
        }
    }

    /// Keeps a job as it is now.
    pub(super) fn keep_job(&mut self, key: &str) {
        let Some(job) = self.jobs.get(key) else { return };
        let body = if self.durable { json(job) } else { String::new() };
        self.keep(|| Change::PutJob { key: key.to_owned(), body });
    }

    /// A job.
    ///
    /// # Errors
    /// `JobNotFound`.
    pub fn job(&self, id: &str) -> Result<&Job, Refusal> {
        self.jobs.get(&key(id)).ok_or_else(|| Refusal::not_found("JobNotFound"))
    }

    /// All jobs, by key.
    pub fn jobs(&self) -> impl Iterator<Item = (&String, &Job)> {
        self.jobs.iter()
    }

    /// A job that may still be changed.
    fn live_job(&mut self, id: &str) -> Result<&mut Job, Refusal> {
        let job = self.jobs.get_mut(&key(id)).ok_or_else(|| Refusal::not_found("JobNotFound"))?;
        match job.state {
            JobState::Deleting => Err(Refusal::conflict("JobBeingDeleted")),
            JobState::Completed => Err(Refusal::conflict("JobCompleted")),
            JobState::Terminating => Err(Refusal::conflict("JobBeingTerminated")),
            _ => Ok(job),
        }
    }

    /// Changes the properties that a patch names.
    ///
    /// # Errors
    /// `JobNotFound`, `JobCompleted`, ….
    pub fn patch_job(
        &mut self,
        id: &str,
        patch: JobPatch,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        if let Some(pool_info) = &patch.pool_info {
            self.checked_pool(pool_info)?;
        }
        if let Some(priority) = patch.priority {
            checked_priority(priority)?;
        }
        let moment = self.moment(now);
        let disabled = self.job(id)?.state == JobState::Disabled;
        if patch.pool_info.is_some() && !disabled {
            return Err(Refusal::conflict("JobNotDisabled"));
        }
        let spec = &mut self.live_job(id)?.spec;
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
        Ok(self.changed(id, moment))
    }

    /// Replaces the properties that may be replaced; what is absent gets its default.
    ///
    /// # Errors
    /// `JobNotFound`, `JobCompleted`, ….
    pub fn update_job(
        &mut self,
        id: &str,
        update: JobUpdate,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        self.checked_pool(&update.pool_info)?;
        checked_priority(update.priority.unwrap_or(0))?;
        let moment = self.moment(now);
        let spec = &mut self.live_job(id)?.spec;
        spec.priority = update.priority;
        spec.max_parallel_tasks = update.max_parallel_tasks;
        spec.allow_task_preemption = update.allow_task_preemption;
        spec.constraints = update.constraints;
        spec.pool_info = update.pool_info;
        spec.metadata = update.metadata;
        spec.on_all_tasks_complete = update.on_all_tasks_complete;
        fill(spec);
        Ok(self.changed(id, moment))
    }

    fn changed(&mut self, id: &str, moment: Timestamp) -> (ETag, Timestamp) {
        let key = key(id);
        if let Some(job) = self.jobs.get_mut(&key) {
            (job.etag, job.modified) = (tag(moment), moment);
        }
        self.watch_job(&key);
        self.keep_job(&key);
        self.feed(&key);
        let pool = self.pool_of(&key);
        self.schedule(&pool, moment);
        self.end_if_done(&key, moment);
        (tag(moment), moment)
    }

    /// The key of a job's pool.
    pub(super) fn pool_of(&self, job: &str) -> String {
        let pool = self.jobs.get(job).and_then(|job| job.spec.pool_info.pool_id.as_deref());
        key(pool.unwrap_or_default())
    }

    pub(super) fn set_job_state(&mut self, key: &str, state: JobState, moment: Timestamp) {
        if let Some(job) = self.jobs.get_mut(key) {
            let before = std::mem::replace(&mut job.state, state);
            job.previous = Some((before, job.state_at));
            job.state_at = moment;
        }
        self.feed(key);
        self.keep_job(key);
    }

    fn running(&self, key: &str) -> Vec<u64> {
        let running = |job: &Job| job.tasks.values().filter_map(|task| task.facts.launch).collect();
        self.jobs.get(key).map(running).unwrap_or_default()
    }

    /// Stops a job: no task of it starts any more, and those that run end as asked.
    ///
    /// # Errors
    /// `JobNotFound`; `JobNotActive` unless it is active, disabling or disabled.
    pub fn disable_job(&mut self, id: &str, tasks: &DisableTasks, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let state = self.live_job(id)?.state.clone();
        if !matches!(state, JobState::Active | JobState::Disabling | JobState::Disabled) {
            return Err(Refusal::conflict("JobNotActive"));
        }
        let key = key(id);
        self.set_job_state(&key, JobState::Disabling, moment);
        let ending = match tasks {
            DisableTasks::Requeue => Some(Ending::Requeued),
            DisableTasks::Terminate => Some(Ending::Terminated),
            _ => None,
        };
        for launch in self.running(&key) {
            if let Some(ending) = ending {
                self.end_launch(launch, ending);
            }
        }
        self.job_quiet(&key, moment);
        Ok(())
    }

    /// Lets a disabled job go on.
    ///
    /// # Errors
    /// `JobNotFound`; `JobNotDisabled` unless it is disabled.
    pub fn enable_job(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        if self.live_job(id)?.state != JobState::Disabled {
            return Err(Refusal::conflict("JobNotDisabled"));
        }
        let key = key(id);
        self.set_job_state(&key, JobState::Active, moment);
        let pool = self.pool_of(&key);
        self.schedule(&pool, moment);
        self.end_if_done(&key, moment);
        Ok(())
    }

    /// Ends a job: what runs is ended, what waits waits for ever.
    ///
    /// # Errors
    /// `JobNotFound`, `JobCompleted`, `JobBeingTerminated`, `JobBeingDeleted`.
    pub fn terminate_job(&mut self, id: &str, reason: Option<String>, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        self.live_job(id)?;
        self.end_job(&key(id), reason.unwrap_or_else(|| "UserTerminate".into()), moment);
        Ok(())
    }

    pub(super) fn end_job(&mut self, key: &str, reason: String, moment: Timestamp) {
        if let Some(job) = self.jobs.get_mut(key) {
            job.terminate_reason = Some(reason);
        }
        self.set_job_state(key, JobState::Terminating, moment);
        for launch in self.running(key) {
            self.end_launch(launch, Ending::Terminated);
        }
        self.job_quiet(key, moment);
    }

    pub(super) fn job_wall_clock_over(&mut self, key: &str, now: Timestamp) {
        let moment = self.moment(now);
        let Some(job) = self.jobs.get(key) else { return };
        let limit = job.spec.constraints.as_ref().and_then(|limits| limits.max_wall_clock_time);
        let until = limit.and_then(IsoDuration::as_std).and_then(|limit| job.created.checked_add(limit).ok());
        let alive = matches!(job.state, JobState::Active | JobState::Disabling | JobState::Disabled);
        // A limit that was changed has an alarm of its own.
        if alive && until.is_some_and(|until| until <= moment) {
            self.end_job(key, "MaxWallClockTimeExpiry".into(), moment);
        }
    }

    /// Deletes a job and its tasks; what runs is ended first.
    ///
    /// # Errors
    /// `JobNotFound`, `JobBeingDeleted`.
    pub fn delete_job(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        if self.job(id)?.state == JobState::Deleting {
            return Err(Refusal::conflict("JobBeingDeleted"));
        }
        let key = key(id);
        self.set_job_state(&key, JobState::Deleting, moment);
        for launch in self.running(&key) {
            self.end_launch(launch, Ending::Deleted);
        }
        self.job_quiet(&key, moment);
        Ok(())
    }

    /// What a job does when none of its tasks runs any more.
    pub(super) fn job_quiet(&mut self, key: &str, moment: Timestamp) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        if job.by_state.get(&TaskState::Running).is_some_and(|running| !running.is_empty()) {
            return;
        }
        match job.state {
            JobState::Terminating => {
                job.ended = Some(moment);
                self.set_job_state(key, JobState::Completed, moment);
            }
            JobState::Disabling => self.set_job_state(key, JobState::Disabled, moment),
            JobState::Deleting => self.bury_job(key),
            _ => {}
        }
    }

    fn bury_job(&mut self, key: &str) {
        let pool = self.pool_of(key);
        let Some(job) = self.jobs.remove(key) else { return };
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.hungry.remove(&hunger(&job, key));
        }
        for task in job.tasks.values().filter(|task| !task.facts.files_gone) {
            if let Some((pool, node)) = &task.facts.node {
                let node = NodeRef { pool: pool.clone(), node: node.clone() };
                self.order(Order::RemoveTask { node, directory: task.directory(&job.spec.id) });
            }
        }
        self.keep(|| Change::DropJob { key: key.to_owned() });
    }

    /// Ends a job of which no task is unfinished, if that was asked for.
    pub(super) fn end_if_done(&mut self, key: &str, moment: Timestamp) {
        let Some(job) = self.jobs.get(key) else { return };
        let ends = job.spec.on_all_tasks_complete == Some(OnAllTasksComplete::TerminateJob);
        let unfinished = |state: &TaskState| job.by_state.get(state).is_some_and(|tasks| !tasks.is_empty());
        if ends
            && job.state == JobState::Active
            && ![TaskState::Active, TaskState::Running].iter().any(unfinished)
        {
            self.end_job(key, "AllTasksComplete".into(), moment);
        }
    }

    /// Tells a job's pool whether the job has tasks that may run now.
    pub(super) fn feed(&mut self, key: &str) {
        let pool = self.pool_of(key);
        let (Some(job), Some(pool)) = (self.jobs.get(key), self.pools.get_mut(&pool)) else { return };
        let hunger = hunger(job, key);
        // Its priority may have changed: an entry with another one must not stay.
        pool.hungry.retain(|(_, number, _)| *number != job.number);
        if job.state == JobState::Active && !job.ready.is_empty() {
            pool.hungry.insert(hunger);
        }
    }
}

/// A job's place among those of its pool that have tasks ready: more important first, then older.
pub(super) fn hunger(job: &Job, key: &str) -> (i32, u64, String) {
    (-job.spec.priority.unwrap_or(0), job.number, key.to_owned())
}

fn checked_priority(priority: i32) -> Result<(), Refusal> {
    if (-1000..=1000).contains(&priority) {
        return Ok(());
    }
    Err(Refusal::invalid("priority", priority.to_string(), "It must be from -1000 to 1000"))
}

fn fill(spec: &mut JobAdd) {
    spec.priority.get_or_insert(0);
    spec.max_parallel_tasks.get_or_insert(-1);
    spec.allow_task_preemption.get_or_insert(false);
    spec.uses_task_dependencies.get_or_insert(false);
    spec.on_all_tasks_complete.get_or_insert(OnAllTasksComplete::NoAction);
    spec.on_task_failure.get_or_insert(OnTaskFailure::NoAction);
    let constraints = spec.constraints.get_or_insert_with(wire::JobConstraints::default);
    constraints.max_wall_clock_time.get_or_insert(IsoDuration::UNLIMITED);
    constraints.max_task_retry_count.get_or_insert(0);
}

impl Model {
    /// Whether a job takes tasks now.
    ///
    /// # Errors
    /// Why it does not.
    pub fn takes_tasks(&self, id: &str) -> Result<(), Refusal> {
        match self.job(id)?.state {
            JobState::Completed => Err(Refusal::conflict("JobCompleted")),
            JobState::Terminating => Err(Refusal::conflict("JobBeingTerminated")),
            JobState::Deleting => Err(Refusal::conflict("JobBeingDeleted")),
            _ => Ok(()),
        }
    }
}
