//! Tasks: added, run, tried again, ended, deleted.

use super::{
    Alarm, Change, Model, Refusal, Task, TaskFacts,
    facts::{Ending, json},
    key,
    nodes::failure_of,
    pools::default_identity,
    refusal::checked_id,
    tag,
};
use crate::orders::{LaunchEnding, LaunchId, NodeRef, Order};
use dropmill_azure_wire::{
    batch::{
        DependencyAction, ErrorCategory, ExitOptions, FailureInfo, JobAction, JobState, OnTaskFailure,
        TaskAdd, TaskConstraints, TaskExecutionInfo, TaskResult, TaskState,
    },
    duration::IsoDuration,
    etag::ETag,
    time::Timestamp,
};

impl Model {
    /// Adds a task.
    ///
    /// # Errors
    /// `TaskExists`, a job that takes none, or what is wrong with it.
    pub fn add_task(
        &mut self,
        job: &str,
        mut add: TaskAdd,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        let job_key = key(job);
        self.takes_tasks(job)?;
        let found = self.job(job)?;
        checked_id(&add.id)?;
        checked_task(&add)?;
        if add.depends_on.is_some() && found.spec.uses_task_dependencies != Some(true) {
            let words = "The job does not use task dependencies: usesTaskDependencies is not set.";
            return Err(Refusal::new(400, "TaskDependenciesNotSpecifiedOnJob", words));
        }
        let pool = found.spec.pool_info.pool_id.as_deref().unwrap_or_default();
        let slots = *add.required_slots.get_or_insert(1);
        let most = self.pools.get(&key(pool)).map_or(i32::MAX, super::Pool::slots_per_node);
        if slots > most {
            let reason = "A node of the job's pool has fewer slots";
            return Err(Refusal::invalid("requiredSlots", slots.to_string(), reason));
        }
        let task_key = key(&add.id);
        if found.tasks.contains_key(&task_key) {
            return Err(Refusal::conflict("TaskExists"));
        }
        let retries = found.spec.constraints.as_ref().and_then(|limits| limits.max_task_retry_count);
        fill(&mut add, retries);
        let moment = self.moment(now);
        let facts = TaskFacts {
            number: self.number(),
            etag: tag(moment),
            modified: moment,
            created: moment,
            state: TaskState::Active,
            state_at: moment,
            previous: None,
            info: TaskExecutionInfo::default(),
            node: None,
            launch: None,
            process: None,
            ending: None,
            files_gone: false,
        };
        let task = Task { add: Box::new(add), facts };
        let change = if self.durable {
            Some(Change::PutTask {
                job: job_key.clone(),
                key: task_key.clone(),
                add: json(&task.add),
                facts: json(&task.facts),
            })
        } else {
            None
        };
        self.effects.visible = true;
        self.effects.changes.extend(change);
        self.enter(&job_key, task_key, task);
        Ok((tag(moment), moment))
    }

    /// Puts a task into its job's lists.
    pub(super) fn enter(&mut self, job_key: &str, task_key: String, task: Task) {
        let Some(job) = self.jobs.get_mut(job_key) else { return };
        let state = task.facts.state.clone();
        job.by_state.entry(state.clone()).or_default().insert((task.facts.state_at, task_key.clone()));
        count_slots(&mut job.slots, &task, 1);
        if state == TaskState::Completed && task.facts.info.result == Some(TaskResult::Success) {
            job.succeeded += 1;
        }
        for id in task.add.depends_on.iter().flat_map(|on| on.task_ids.iter().flatten()) {
            job.waiting_for.entry(key(id)).or_default().insert(task_key.clone());
        }
        let number = task.facts.number;
        let is_ready = state == TaskState::Active && self.satisfied(job_key, &task);
        let Some(job) = self.jobs.get_mut(job_key) else { return };
        job.tasks.insert(task_key.clone(), task);
        if is_ready {
            let was_hungry = !job.ready.is_empty();
            job.ready.insert((number, task_key));
            if !was_hungry {
                self.feed(job_key);
            }
        }
    }

    /// Puts what was added on nodes; called once for a whole collection.
    pub fn schedule_job(&mut self, job: &str, now: Timestamp) {
        let moment = self.moment(now);
        let pool = self.pool_of(&key(job));
        self.schedule(&pool, moment);
    }

    /// Whether every task that a task depends on is over, and well enough.
    fn satisfied(&self, job_key: &str, task: &Task) -> bool {
        let (Some(on), Some(job)) = (&task.add.depends_on, self.jobs.get(job_key)) else { return true };
        let fine = |id: &str| job.tasks.get(&key(id)).is_some_and(satisfies);
        let ids = on.task_ids.iter().flatten().all(|id| fine(id));
        let ranges = on.task_id_ranges.iter().flatten().all(|range| {
            // Ids compare as numbers: leading zeros do not count.
            (range.start..=range.end).all(|number| {
                job.tasks.values().any(|task| task.add.id.parse() == Ok(number) && satisfies(task))
            })
        });
        ids && ranges
    }

    /// A task.
    ///
    /// # Errors
    /// `JobNotFound`, `TaskNotFound`.
    pub fn task(&self, job: &str, task: &str) -> Result<&Task, Refusal> {
        self.job(job)?.tasks.get(&key(task)).ok_or_else(|| Refusal::not_found("TaskNotFound"))
    }

    fn task_mut(&mut self, job: &str, task: &str) -> Option<&mut Task> {
        self.jobs.get_mut(job)?.tasks.get_mut(task)
    }

    fn keep_task(&mut self, job: &str, task: &str) {
        self.effects.visible = true;
        if !self.durable {
            return;
        }
        let Some(facts) = self.task_mut(job, task).map(|task| json(&task.facts)) else { return };
        self.effects.changes.push(Change::PutTaskFacts { job: job.to_owned(), key: task.to_owned(), facts });
    }

    /// Moves a task to another state, in every list.
    pub(super) fn set_task_state(&mut self, job: &str, task: &str, state: TaskState, moment: Timestamp) {
        let Some(job) = self.jobs.get_mut(job) else { return };
        let Some(found) = job.tasks.get_mut(task) else { return };
        let (before, since) = (found.facts.state.clone(), found.facts.state_at);
        if let Some(list) = job.by_state.get_mut(&before) {
            list.remove(&(since, task.to_owned()));
        }
        job.ready.remove(&(found.facts.number, task.to_owned()));
        count_slots(&mut job.slots, found, -1);
        if before == TaskState::Completed && found.facts.info.result == Some(TaskResult::Success) {
            job.succeeded -= 1;
        }
        found.facts.previous = Some((before, since));
        (found.facts.state, found.facts.state_at) = (state.clone(), moment);
        count_slots(&mut job.slots, found, 1);
        job.by_state.entry(state).or_default().insert((moment, task.to_owned()));
    }

    /// A launch's process runs.
    pub(super) fn started(&mut self, launch: LaunchId, process: Option<(u32, u64)>, moment: Timestamp) {
        let Some(super::What::Task { job, task }) = self.launches.get(&launch).cloned() else { return };
        let Some(found) = self.task_mut(&job, &task).filter(|task| task.facts.launch == Some(launch)) else {
            return;
        };
        found.facts.process = process;
        let limit = found.add.constraints.as_ref().and_then(|limits| limits.max_wall_clock_time);
        let until = limit.and_then(IsoDuration::as_std).and_then(|limit| moment.checked_add(limit).ok());
        if let Some(until) = until {
            self.alarms.insert((until, Alarm::WallClock(launch)));
            self.limits.insert(launch, until);
        }
        if self.durable {
            self.keep_task(&job, &task);
        }
    }

    pub(super) fn wall_clock_over(&mut self, launch: LaunchId) {
        self.end_launch(launch, Ending::WallClock);
    }

    /// Has a launch ended; what becomes of its task is decided when the node says that it is over.
    pub(super) fn end_launch(&mut self, launch: LaunchId, ending: Ending) {
        let Some(what) = self.launches.get(&launch).cloned() else { return };
        if let super::What::Task { job, task } = what
            && let Some(found) = self.task_mut(&job, &task).filter(|task| task.facts.launch == Some(launch))
        {
            // Whoever ended it first, deletion outranks everything.
            if found.facts.ending.is_none() || ending == Ending::Deleted {
                found.facts.ending = Some(ending);
            }
        }
        // What runs again must not find in its way what this try would leave behind.
        let again = ending == Ending::Requeued;
        self.order(if again { Order::Abandon(launch) } else { Order::Kill(launch) });
    }

    /// A task's launch is over: the task is, too, or is tried again, or queued again.
    pub(super) fn launch_ended(
        &mut self,
        job: &str,
        task: &str,
        launch: LaunchId,
        ended: LaunchEnding,
        moment: Timestamp,
    ) {
        if let Some(until) = self.limits.remove(&launch) {
            self.alarms.remove(&(until, Alarm::WallClock(launch)));
        }
        let Some(found) = self.task_mut(job, task).filter(|task| task.facts.launch == Some(launch)) else {
            return;
        };
        let (ending, node, max_retries) =
            (found.facts.ending.take(), found.facts.node.clone(), found.max_retries());
        found.facts.launch = None;
        found.facts.process = None;
        let info = &mut found.facts.info;
        let failed_try = ended.failure.is_none() && ended.exit_code != Some(0);
        let retry = ending.is_none() && failed_try && (max_retries < 0 || info.retry_count < max_retries);
        if ending == Some(Ending::Requeued) {
            info.requeue_count += 1;
            info.last_requeue_time = Some(moment);
        } else if retry {
            info.retry_count += 1;
            info.last_retry_time = Some(moment);
        }
        let again = retry || ending == Some(Ending::Requeued);
        if !again {
            finish(info, ending, &ended);
        }
        let success = info.result == Some(TaskResult::Success) && !again;
        let number = found.facts.number;
        let node = node.map(|(pool, node)| (key(&pool), node));
        if let Some((pool, node)) = &node {
            self.free(pool, node, job, task, launch, (!again).then_some(success), moment);
        }
        if again {
            if ending == Some(Ending::Requeued)
                && let Some(found) = self.task_mut(job, task)
            {
                found.facts.node = None;
            }
            self.set_task_state(job, task, TaskState::Active, moment);
            if let Some(job) = self.jobs.get_mut(job) {
                job.ready.insert((number, task.to_owned()));
            }
            self.keep_task(job, task);
            self.feed(job);
        } else if ending == Some(Ending::Deleted)
            && self.jobs.get(job).is_some_and(|job| job.state != JobState::Deleting)
        {
            self.bury_task(job, task);
        } else {
            self.complete(job, task, moment);
        }
        if let Some((pool, node)) = node {
            self.pursue(&pool, &node, moment);
        }
        self.job_quiet(job, moment);
        self.end_if_done(job, moment);
        let pool = self.pool_of(job);
        self.schedule(&pool, moment);
    }

    /// A task is over: whoever waited for it may go, and its job may end.
    fn complete(&mut self, job: &str, task: &str, moment: Timestamp) {
        self.set_task_state(job, task, TaskState::Completed, moment);
        if let Some(found) = self.jobs.get_mut(job)
            && found.tasks.get(task).is_some_and(|task| task.facts.info.result == Some(TaskResult::Success))
        {
            found.succeeded += 1;
            found.slots[3] += found.tasks.get(task).map_or(0, Task::slots);
        }
        self.keep_task(job, task);
        let Some(found) = self.task_mut(job, task) else { return };
        let keep = found.add.constraints.as_ref().and_then(|limits| limits.retention_time);
        let until = keep.and_then(IsoDuration::as_std).and_then(|keep| moment.checked_add(keep).ok());
        let options = exit_options(found).cloned();
        if let Some(until) = until {
            self.alarms.insert((until, Alarm::Retention { job: job.to_owned(), task: task.to_owned() }));
        }
        self.release(job, task);
        let Some(found) = self.jobs.get(job) else { return };
        let acts = found.spec.on_task_failure == Some(OnTaskFailure::PerformExitOptionsJobAction);
        if acts && found.state == JobState::Active {
            match options.and_then(|options| options.job_action) {
                Some(JobAction::Terminate) => self.end_job(job, "TaskFailed".into(), moment),
                Some(JobAction::Disable) => {
                    self.set_job_state(job, JobState::Disabling, moment);
                    self.job_quiet(job, moment);
                }
                _ => {}
            }
        }
    }

    /// Makes ready what waited for a task that is over.
    pub(super) fn release(&mut self, job: &str, task: &str) {
        let Some(found) = self.jobs.get(job) else { return };
        if found.spec.uses_task_dependencies != Some(true) {
            return;
        }
        let mut waiting: Vec<String> = found.waiting_for.get(task).into_iter().flatten().cloned().collect();
        // Ranges are rare: whoever has one is looked at whenever something ends.
        let has_range =
            |task: &&Task| task.add.depends_on.as_ref().is_some_and(|on| on.task_id_ranges.is_some());
        waiting.extend(found.tasks.values().filter(has_range).map(|task| key(&task.add.id)));
        for waiter in waiting {
            let Some(task) = self.jobs.get(job).and_then(|job| job.tasks.get(&waiter)) else { continue };
            if task.facts.state == TaskState::Active && self.satisfied(job, task) {
                let number = task.facts.number;
                if let Some(job) = self.jobs.get_mut(job) {
                    job.ready.insert((number, waiter));
                }
            }
        }
        self.feed(job);
    }

    pub(super) fn retention_over(&mut self, job: &str, task: &str) {
        let Some(found) = self.jobs.get_mut(job) else { return };
        let id = found.spec.id.clone();
        let Some(task_found) =
            found.tasks.get_mut(task).filter(|task| task.facts.state == TaskState::Completed)
        else {
            return;
        };
        let directory = task_found.directory(&id);
        let node = task_found.facts.node.clone();
        if std::mem::replace(&mut task_found.facts.files_gone, true) {
            return;
        }
        if let Some((pool, node)) = node {
            self.order(Order::RemoveTask { node: NodeRef { pool, node }, directory });
        }
        self.keep_task(job, task);
    }

    fn bury_task(&mut self, job: &str, task: &str) {
        let Some(found) = self.jobs.get_mut(job) else { return };
        let id = found.spec.id.clone();
        let Some(gone) = found.tasks.remove(task) else { return };
        if let Some(list) = found.by_state.get_mut(&gone.facts.state) {
            list.remove(&(gone.facts.state_at, task.to_owned()));
        }
        found.ready.remove(&(gone.facts.number, task.to_owned()));
        count_slots(&mut found.slots, &gone, -1);
        if gone.facts.info.result == Some(TaskResult::Success) {
            found.succeeded -= 1;
        }
        if let Some((pool, node)) = gone.facts.node.clone() {
            self.order(Order::RemoveTask { node: NodeRef { pool, node }, directory: gone.directory(&id) });
        }
        self.keep(|| Change::DropTask { job: job.to_owned(), key: task.to_owned() });
        self.feed(job);
    }

    /// Ends a task.
    ///
    /// # Errors
    /// `TaskNotFound`, `TaskCompleted`.
    pub fn terminate_task(&mut self, job: &str, task: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let found = self.task(job, task)?;
        if found.facts.state == TaskState::Completed {
            return Err(Refusal::conflict("TaskCompleted"));
        }
        let launch = found.facts.launch;
        let (job, task) = (key(job), key(task));
        match launch {
            Some(launch) => self.end_launch(launch, Ending::Terminated),
            None => {
                if let Some(found) = self.task_mut(&job, &task) {
                    let info = &mut found.facts.info;
                    info.end_time = Some(moment);
                    info.result = Some(TaskResult::Failure);
                    info.failure_info = Some(task_ended("The task was terminated by user request"));
                }
                self.complete(&job, &task, moment);
                self.end_if_done(&job, moment);
            }
        }
        Ok(())
    }

    /// Runs a task that failed once more.
    ///
    /// # Errors
    /// `TaskNotCompleted`, `TaskSucceeded`, or a job that runs no more.
    pub fn reactivate_task(&mut self, job: &str, task: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        self.takes_tasks(job)?;
        let found = self.task(job, task)?;
        if found.facts.state != TaskState::Completed {
            return Err(Refusal::conflict("TaskNotCompleted"));
        }
        if found.facts.info.result == Some(TaskResult::Success) {
            return Err(Refusal::conflict("TaskSucceeded"));
        }
        let number = found.facts.number;
        let (job, task) = (key(job), key(task));
        self.set_task_state(&job, &task, TaskState::Active, moment);
        if let Some(found) = self.task_mut(&job, &task) {
            let requeues = (found.facts.info.requeue_count, found.facts.info.last_requeue_time);
            let (requeue_count, last_requeue_time) = requeues;
            found.facts.info =
                TaskExecutionInfo { requeue_count, last_requeue_time, ..TaskExecutionInfo::default() };
        }
        if let Some(found) = self.jobs.get_mut(&job) {
            found.ready.insert((number, task.clone()));
        }
        self.keep_task(&job, &task);
        self.feed(&job);
        let pool = self.pool_of(&job);
        self.schedule(&pool, moment);
        Ok(())
    }

    /// Deletes a task and its files.
    ///
    /// # Errors
    /// `TaskNotFound`.
    pub fn delete_task(&mut self, job: &str, task: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let launch = self.task(job, task)?.facts.launch;
        let (job, task) = (key(job), key(task));
        match launch {
            Some(launch) => self.end_launch(launch, Ending::Deleted),
            None => {
                self.bury_task(&job, &task);
                self.end_if_done(&job, moment);
            }
        }
        Ok(())
    }

    /// Changes a task's limits; what is absent gets its default.
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
        if self.task(job, task)?.facts.state == TaskState::Completed {
            return Err(Refusal::conflict("TaskCompleted"));
        }
        let (job, task) = (key(job), key(task));
        let Some(found) = self.task_mut(&job, &task) else { return Err(Refusal::not_found("TaskNotFound")) };
        found.add.constraints = constraints;
        fill(&mut found.add, None);
        (found.facts.etag, found.facts.modified) = (tag(moment), moment);
        if self.durable
            && let Some(found) = self.task_mut(&job, &task)
        {
            let (add, facts) = (json(&found.add), json(&found.facts));
            self.effects.changes.push(Change::PutTask { job, key: task, add, facts });
        }
        Ok((tag(moment), moment))
    }
}

/// Slots by state: active, running, completed. (Those of tasks that succeeded are counted when they do.)
fn count_slots(slots: &mut [i32; 4], task: &Task, by: i32) {
    let at = match task.facts.state {
        TaskState::Active => 0,
        TaskState::Running | TaskState::Preparing => 1,
        TaskState::Completed => 2,
        TaskState::Other(_) => return,
    };
    slots[at] += by * task.slots();
    if at == 2 && by < 0 && task.facts.info.result == Some(TaskResult::Success) {
        slots[3] -= task.slots();
    }
}

/// Whether a task that is over lets those go that depend on it.
fn satisfies(task: &Task) -> bool {
    if task.facts.state != TaskState::Completed {
        return false;
    }
    if task.facts.info.result == Some(TaskResult::Success) {
        return true;
    }
    let action = exit_options(task).and_then(|options| options.dependency_action.clone());
    action == Some(DependencyAction::Satisfy)
}

/// What a task's exit conditions say of how it ended. A match of its exit code beats everything; the default never
/// covers success.
fn exit_options(task: &Task) -> Option<&ExitOptions> {
    let conditions = task.add.exit_conditions.as_ref()?;
    let info = &task.facts.info;
    if let Some(code) = info.exit_code {
        let exact = conditions.exit_codes.iter().flatten().find(|mapping| mapping.code == code);
        let range = || {
            let mut ranges = conditions.exit_code_ranges.iter().flatten();
            ranges.find(|range| (range.start..=range.end).contains(&code))
        };
        let found =
            exact.map(|mapping| &mapping.exit_options).or_else(|| range().map(|range| &range.exit_options));
        if found.is_some() {
            return found;
        }
    }
    if info.result == Some(TaskResult::Success) {
        return None;
    }
    let code = info.failure_info.as_ref().and_then(|failure| failure.code.as_deref()).unwrap_or_default();
    let special = match info.exit_code {
        None => conditions.pre_processing_error.as_ref(),
        Some(_) if code.starts_with("FileUpload") => conditions.file_upload_error.as_ref(),
        Some(_) => None,
    };
    special.or(conditions.default.as_ref())
}

fn task_ended(why: &str) -> FailureInfo {
    FailureInfo {
        category: ErrorCategory::UserError,
        code: Some("TaskEnded".into()),
        message: Some(why.into()),
        details: None,
    }
}

/// Fills in how a task ended.
fn finish(info: &mut TaskExecutionInfo, ending: Option<Ending>, ended: &LaunchEnding) {
    info.start_time = Some(ended.started);
    info.end_time = Some(ended.ended);
    info.exit_code = ended.exit_code;
    info.failure_info = match ending {
        Some(Ending::WallClock) => {
            Some(task_ended("The task ran longer than its maxWallClockTime and was ended"))
        }
        Some(Ending::Terminated) => Some(task_ended("The task was terminated by user request")),
        Some(Ending::Deleted | Ending::Requeued) | None => failure_of(ended),
    };
    let success = info.failure_info.is_none() && ended.exit_code == Some(0);
    info.result = Some(if success { TaskResult::Success } else { TaskResult::Failure });
}

fn checked_task(add: &TaskAdd) -> Result<(), Refusal> {
    if add.command_line.trim().is_empty() {
        return Err(Refusal::missing("commandLine"));
    }
    if add.multi_instance_settings.is_some() {
        return Err(Refusal::not_here("multi-instance tasks"));
    }
    if add.container_settings.is_some() {
        return Err(Refusal::not_here("tasks in containers"));
    }
    if add.application_package_references.as_ref().is_some_and(|packages| !packages.is_empty()) {
        return Err(Refusal::not_here("application packages"));
    }
    if add.required_slots.is_some_and(|slots| slots < 1) {
        return Err(Refusal::invalid("requiredSlots", "0", "It must be at least 1"));
    }
    for file in add.resource_files.iter().flatten() {
        let sources =
            [&file.http_url, &file.storage_container_url].iter().filter(|source| source.is_some()).count();
        if file.auto_storage_container_name.is_some() {
            return Err(Refusal::not_here("auto storage containers"));
        }
        if sources != 1 {
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

fn fill(add: &mut TaskAdd, retries: Option<i32>) {
    let constraints = add.constraints.get_or_insert_with(TaskConstraints::default);
    constraints.max_wall_clock_time.get_or_insert(IsoDuration::UNLIMITED);
    constraints.retention_time.get_or_insert(IsoDuration::from_days(7));
    constraints.max_task_retry_count.get_or_insert(retries.unwrap_or(0));
    add.required_slots.get_or_insert(1);
    add.user_identity.get_or_insert_with(default_identity);
}
