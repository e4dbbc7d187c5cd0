//! Tasks: added, run, retried, ended, deleted.

use super::{
    Change, Model, Refusal, Task, TaskFacts,
    books::TaskGuard,
    dependencies,
    facts::{Ending, json, write_json},
    instances::checked_instances,
    job_specs::{checked_environment, checked_limits},
    jobs,
    keys::{JobKey, PoolKey, TaskKey},
    pools::default_identity,
    preparation::id_of_chore,
    refusal::checked_id,
    storage::is_container,
    tag,
    task_facts::{Stage, Tries},
};
use dropmill_azure_wire::{
    batch::{ResourceFile, TaskAdd, TaskConstraints},
    duration::IsoDuration,
    etag::ETag,
    time::Timestamp,
};

/// Message for a task that must exist. Keys of tasks are valid except in alarms, because running launches and
/// requests keep a task.
pub(super) const THERE: &str = "a task stays until nothing of it runs and its deletion is over";

impl Model {
    /// Adds a task. Missing limits of the specification are filled in.
    ///
    /// # Errors
    /// `TaskExists`, a job that accepts no tasks, or the property that is invalid.
    pub fn add_task(
        &mut self,
        job: &str,
        mut add: TaskAdd,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        self.add_one_of_many(job, &mut add, now)
    }

    /// Adds a task by reference, so that the caller can drop many together: dropping each one between the allocations of
    /// the next costs more.
    ///
    /// # Errors
    /// As [`Model::add_task`].
    pub fn add_one_of_many(
        &mut self,
        job: &str,
        add: &mut TaskAdd,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        let job_key = JobKey::of(job);
        self.takes_tasks(job)?;
        let found = self.job(job)?;
        checked_id(&add.id)?;
        checked_task(add)?;
        self.checked_packages(add.application_package_references.as_deref())?;
        if add.depends_on.is_some() && found.spec.uses_task_dependencies != Some(true) {
            let words = "The job does not use task dependencies: usesTaskDependencies is not set.";
            return Err(Refusal::new(400, "TaskDependenciesNotSpecifiedOnJob", words));
        }
        add.depends_on.as_ref().map_or(Ok(()), dependencies::checked)?;
        if let Some(code) = id_of_chore(found, &add.id) {
            return Err(Refusal::conflict(code));
        }
        let task_key = TaskKey::of(&add.id);
        if found.tasks.contains_key(&task_key) {
            return Err(Refusal::conflict("TaskExists"));
        }
        let retries = found.spec.constraints.as_ref().and_then(|limits| limits.max_task_retry_count);
        fill(add, retries);
        let moment = self.moment(now);
        let facts = TaskFacts::new(self.number(), moment);
        let mut text = std::mem::take(&mut self.room);
        write_json(&mut text, add);
        let facts_text = if self.durable { json(&facts) } else { String::new() };
        let mut job = self.jobs.change(&job_key).expect(jobs::THERE);
        let task = Task::packed(&task_key, add, job.tasks.packed(&text), facts);
        job.tasks.insert(task_key.clone(), task);
        let job_key = job.key().clone();
        drop(job);
        self.keep(|| Change::PutTask { job: job_key, key: task_key, add: text.clone(), facts: facts_text });
        self.room = text;
        Ok((tag(moment), moment))
    }

    /// Schedules added tasks; called once for a whole collection.
    pub fn schedule_job(&mut self, job: &str, now: Timestamp) {
        let moment = self.moment(now);
        // The job may have been deleted since the tasks were added.
        let pool = self.job(job).ok().and_then(|job| job.pool_id().map(PoolKey::of));
        self.schedule_on(pool, moment);
    }

    /// Returns a task.
    ///
    /// # Errors
    /// `JobNotFound`, `TaskNotFound`.
    pub fn task(&self, job: &str, task: &str) -> Result<&Task, Refusal> {
        self.job(job)?.tasks.get(&TaskKey::of(task)).ok_or_else(|| Refusal::not_found("TaskNotFound"))
    }

    pub(super) fn task_mut(&mut self, job: &JobKey, task: &TaskKey) -> Option<TaskGuard<'_>> {
        self.jobs.change_task(job, task)
    }

    pub(super) fn keep_task(&mut self, job: &JobKey, task: &TaskKey) {
        self.effects.visible = true;
        if !self.durable {
            return;
        }
        let found = self.jobs.get(job).and_then(|job| job.tasks.get(task)).expect(THERE);
        let facts = json(&found.facts);
        self.effects.changes.push(Change::PutTaskFacts { job: job.clone(), key: task.clone(), facts });
    }

    /// Stores tasks that changed because a task they depended on changed.
    pub(super) fn keep_marked(&mut self, job: &JobKey) {
        let marked = self.jobs.change(job).expect(jobs::THERE).tasks.take_marked();
        for task in marked {
            self.keep_task(job, &task);
        }
    }

    /// Sets the state of a task.
    pub(super) fn set_task_state(&mut self, job: &JobKey, task: &TaskKey, stage: Stage, moment: Timestamp) {
        self.task_mut(job, task).expect(THERE).facts.enter(stage, moment);
    }

    /// Terminates a task.
    ///
    /// # Errors
    /// `TaskNotFound`, `TaskCompleted`.
    pub fn terminate_task(&mut self, job: &str, task: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let found = self.task(job, task)?;
        if found.facts.stage() == Stage::Completed {
            return Err(Refusal::conflict("TaskCompleted"));
        }
        let (launch, preparing) =
            (found.live_launches().first().copied(), found.facts.stage() == Stage::Preparing);
        let (job, task) = (JobKey::of(job), TaskKey::of(task));
        match launch {
            Some(launch) => self.end_launch(launch, Ending::Terminated),
            None if preparing => self.unplace(&job, &task, Some(Ending::Terminated), moment),
            None => self.end_unstarted(&job, &task, moment),
        }
        self.after_task(&job, moment);
        Ok(())
    }

    /// Handles a task that was ended or deleted: its job may end, and others may use its slots.
    fn after_task(&mut self, job: &JobKey, moment: Timestamp) {
        let pool = self.pool_of(job);
        self.job_quiet(job, moment);
        self.end_if_done(job, moment);
        self.schedule_on(pool, moment);
    }

    /// Runs a failed task again.
    ///
    /// # Errors
    /// `TaskNotCompleted`, `TaskSucceeded`, or a job that has ended.
    pub fn reactivate_task(&mut self, job: &str, task: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        self.takes_tasks(job)?;
        let found = self.task(job, task)?;
        if found.facts.stage() != Stage::Completed {
            return Err(Refusal::conflict("TaskNotCompleted"));
        }
        if found.facts.succeeded() {
            return Err(Refusal::conflict("TaskSucceeded"));
        }
        let until = found.kept_until();
        let (job, task) = (JobKey::of(job), TaskKey::of(task));
        self.forget_retention(&job, &task, until);
        self.set_task_state(&job, &task, Stage::Active, moment);
        let mut found = self.task_mut(&job, &task).expect(THERE);
        let info = &mut found.facts.run_mut().info;
        *info = Tries {
            requeue_count: info.requeue_count,
            last_requeue_time: info.last_requeue_time,
            ..Tries::default()
        };
        drop(found);
        self.keep_marked(&job);
        self.keep_task(&job, &task);
        self.schedule_on(self.pool_of(&job), moment);
        Ok(())
    }

    /// Deletes a task and its files.
    ///
    /// # Errors
    /// `TaskNotFound`.
    pub fn delete_task(&mut self, job: &str, task: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let found = self.task(job, task)?;
        let (launch, preparing) =
            (found.live_launches().first().copied(), found.facts.stage() == Stage::Preparing);
        let (job, task) = (JobKey::of(job), TaskKey::of(task));
        match launch {
            Some(launch) => self.end_launch(launch, Ending::Deleted),
            None if preparing => self.unplace(&job, &task, Some(Ending::Deleted), moment),
            None => self.remove_task(&job, &task),
        }
        self.after_task(&job, moment);
        Ok(())
    }

    /// Changes a task's limits; absent ones get their default.
    ///
    /// # Errors
    /// `TaskNotFound`, `TaskCompleted`.
    pub fn update_task(
        &mut self,
        job: &str,
        task: &str,
        constraints: Option<TaskConstraints>,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        let moment = self.moment(now);
        if self.task(job, task)?.facts.stage() == Stage::Completed {
            return Err(Refusal::conflict("TaskCompleted"));
        }
        let (job, task) = (JobKey::of(job), TaskKey::of(task));
        if let Some(limits) = &constraints {
            checked_limits(limits)?;
        }
        let mut found = self.task_mut(&job, &task).expect(THERE);
        let mut add = found.asked();
        add.constraints = constraints;
        fill(&mut add, None);
        let text = json(&add);
        found.ask(&add, &text);
        found.facts.modify(moment);
        let facts = json(&found.facts);
        drop(found);
        if self.durable {
            self.effects.changes.push(Change::PutTask { job, key: task, add: text, facts });
        }
        Ok((tag(moment), moment))
    }
}

pub(super) fn checked_task(add: &TaskAdd) -> Result<(), Refusal> {
    if add.command_line.trim().is_empty() {
        return Err(Refusal::missing("commandLine"));
    }
    if add.container_settings.is_some() {
        return Err(Refusal::not_here("tasks in containers"));
    }
    if add.required_slots.is_some_and(|slots| slots < 1) {
        return Err(Refusal::invalid("requiredSlots", "0", "It must be at least 1"));
    }
    checked_instances(add)?;
    if let Some(limits) = &add.constraints {
        checked_limits(limits)?;
    }
    checked_environment(add.environment_settings.as_deref())?;
    checked_files(add.resource_files.as_deref())
}

/// Checks resource files.
pub(super) fn checked_files(list: Option<&[ResourceFile]>) -> Result<(), Refusal> {
    for file in list.into_iter().flatten() {
        let sources = [
            file.http_url.is_some(),
            file.storage_container_url.is_some(),
            file.auto_storage_container_name.is_some(),
        ];
        if let Some(name) = file.auto_storage_container_name.as_deref().filter(|name| !is_container(name)) {
            return Err(Refusal::invalid(
                "autoStorageContainerName",
                name,
                "It is not the name of a container",
            ));
        }
        if sources.iter().filter(|source| **source).count() != 1 {
            let reason =
                "Exactly one of httpUrl, storageContainerUrl and autoStorageContainerName must be given";
            return Err(Refusal::invalid("resourceFiles", "", reason));
        }
        if file.http_url.is_some() && file.file_path.as_deref().unwrap_or_default().is_empty() {
            return Err(Refusal::missing("filePath"));
        }
    }
    Ok(())
}

/// Sets the service's defaults.
fn fill(add: &mut TaskAdd, retries: Option<i32>) {
    let constraints = add.constraints.get_or_insert_with(TaskConstraints::default);
    constraints.max_wall_clock_time.get_or_insert(IsoDuration::UNLIMITED);
    constraints.retention_time.get_or_insert(IsoDuration::from_days(7));
    constraints.max_task_retry_count.get_or_insert(retries.unwrap_or(0));
    add.required_slots.get_or_insert(1);
    add.user_identity.get_or_insert_with(default_identity);
}
