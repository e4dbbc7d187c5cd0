//! The ends of tasks: on their own, by request, by their limits; and the consequences.

use super::{
    Alarm, Change, Model, Task, What,
    books::TaskGuard,
    exit_conditions::exit_options,
    facts::Ending,
    jobs,
    keys::{JobKey, TaskKey},
    nodes::failure_of,
    task_facts::{Stage, Tries},
    tasks,
};
use crate::orders::{LaunchEnding, LaunchId, Order, Spent};
use dropmill_azure_wire::{
    batch::{DisableTasks, ErrorCategory, FailureInfo, JobAction, JobState, NameValuePair, OnTaskFailure},
    duration::IsoDuration,
    time::Timestamp,
};

impl Model {
    /// Handles the start of a launch's process.
    pub(super) fn started(&mut self, launch: LaunchId, process: Option<(u32, u64)>, moment: Timestamp) {
        let (job, task) = match self.launches.get(&launch).cloned() {
            Some(What::Task { job, task, number: 0 }) => (job, task),
            Some(What::Chore { job, release, .. }) => {
                let limit = self.jobs.get(&job).and_then(|job| job.chore_limit(release));
                return self.limit_launch(launch, limit, moment);
            }
            // Start tasks have no limit, a subtask has its primary's, and a launch may have ended already.
            _ => return,
        };
        let mut found = self.task_mut(&job, &task).expect(tasks::THERE);
        debug_assert_eq!(found.facts.run().launch, Some(launch), "a listed launch belongs to its task");
        let run = found.facts.run_mut();
        (run.process, run.spent) = (process, Spent::default());
        let limit = Some(found.wall_clock());
        drop(found);
        self.limit_launch(launch, limit, moment);
        if self.durable {
            self.keep_task(&job, &task);
        }
    }

    fn limit_launch(&mut self, launch: LaunchId, limit: Option<IsoDuration>, moment: Timestamp) {
        if self.limits.contains_key(&launch) {
            // It is the primary's second command: its time limit counts from the first.
            return;
        }
        let until = limit.and_then(IsoDuration::as_std).and_then(|limit| moment.checked_add(limit).ok());
        if let Some(until) = until {
            self.alarms.insert((until, Alarm::WallClock(launch)));
            self.limits.insert(launch, until);
        }
    }

    pub(super) fn forget_limit(&mut self, launch: LaunchId) {
        if let Some(until) = self.limits.remove(&launch) {
            self.alarms.remove(&(until, Alarm::WallClock(launch)));
        }
    }

    pub(super) fn wall_clock_over(&mut self, launch: LaunchId) {
        self.end_launch(launch, Ending::WallClock);
    }

    /// Ends a launch. What happens to its task is decided when the node reports the end.
    pub(super) fn end_launch(&mut self, launch: LaunchId, ending: Ending) {
        // The alarm of its limit may come at the same time as its end.
        let Some(what) = self.launches.get(&launch).cloned() else { return };
        // The first reason counts, except that deletion takes precedence.
        let outranks = |before: Option<Ending>| before.is_none() || ending == Ending::Deleted;
        let mut launches = vec![launch];
        match what {
            What::Task { job, task, number } => {
                let found = self.task_mut(&job, &task).filter(|task| task.launch_of(number) == Some(launch));
                if let Some(mut found) = found {
                    // A multi-instance task ends on all of its nodes.
                    launches = found.live_launches();
                    let run = found.facts.run_mut();
                    if outranks(run.ending) {
                        run.ending = Some(ending);
                    }
                }
            }
            What::Chore { job, node, .. } => {
                let found = self.jobs.on_node(&job, &node);
                if let Some(found) = found.filter(|on| on.launch == Some(launch) && outranks(on.ending)) {
                    found.ending = Some(ending);
                }
            }
            What::StartTask { .. } => {}
        }
        // A task that will run again must not find the outputs of this attempt.
        let again = ending == Ending::Requeued;
        for launch in launches {
            self.order(if again { Order::Abandon(launch) } else { Order::Kill(launch) });
        }
    }

    /// Handles the end of a task's launch: the task ends, is retried, or is queued again.
    pub(super) fn launch_ended(
        &mut self,
        job: &JobKey,
        task: &TaskKey,
        number: usize,
        launch: LaunchId,
        ended: LaunchEnding,
        moment: Timestamp,
    ) {
        self.forget_limit(launch);
        let mut found = self.task_mut(job, task).expect(tasks::THERE);
        debug_assert_eq!(found.launch_of(number), Some(launch), "a listed launch belongs to its task");
        found.facts.run_mut().spent += ended.spent;
        if found.is_multi() {
            drop(found);
            return self.instance_ended((job, task), number, launch, ended, moment);
        }
        let run = found.facts.run_mut();
        let (ending, node) = (run.ending.take(), run.node.clone());
        (run.launch, run.process) = (None, None);
        let tried = !found.tries_again(ending, &ended);
        drop(found);
        if let Some(place) = node {
            let success = ending.is_none() && ended.exit_code == Some(0) && ended.failure.is_none();
            let tried = tried.then_some(success);
            self.free(&place.pool, &place.node, (job, task, 0), Some(launch), tried, moment);
        }
        self.conclude(job, task, ending, ended, None, moment);
    }

    /// Handles the end of all launches of a task: it ends, is retried, or is queued again. Reports the
    /// subtask that caused a failure.
    pub(super) fn conclude(
        &mut self,
        job: &JobKey,
        task: &TaskKey,
        ending: Option<Ending>,
        ended: LaunchEnding,
        subtask: Option<usize>,
        moment: Timestamp,
    ) {
        let mut found = self.task_mut(job, task).expect(tasks::THERE);
        let nodes: Vec<_> = found.nodes().cloned().collect();
        let again = found.tries_again(ending, &ended);
        let info = &mut found.facts.run_mut().info;
        if ending == Some(Ending::Requeued) {
            info.requeue_count += 1;
            info.last_requeue_time = Some(moment.into());
        } else if again {
            info.retry_count += 1;
            info.last_retry_time = Some(moment.into());
        }
        if !again {
            finish(info, ending, &ended);
            if let (Some(subtask), Some(failure)) = (subtask, &mut info.failure_info) {
                let detail = NameValuePair::new("SubtaskId", subtask.to_string());
                failure.details.get_or_insert_default().push(detail);
            }
        }
        if again && ending == Some(Ending::Requeued) {
            let run = found.facts.run_mut();
            (run.node, run.group) = (None, None);
        }
        drop(found);
        // Its job may be deleted afterwards; other jobs still need the free slots.
        let pool = self.pool_of(job);
        if again {
            self.set_task_state(job, task, Stage::Active, moment);
            self.keep_task(job, task);
        } else if ending == Some(Ending::Deleted)
            && self.jobs.get(job).is_some_and(|job| job.state != JobState::Deleting)
        {
            self.remove_task(job, task);
        } else {
            self.complete(job, task, moment);
        }
        for place in nodes {
            self.pursue(&place.pool, &place.node, moment);
        }
        self.job_quiet(job, moment);
        self.end_if_done(job, moment);
        self.schedule_on(pool, moment);
    }

    /// Handles the end of a task: tasks that depend on it may start, and its job may end.
    pub(super) fn complete(&mut self, job: &JobKey, task: &TaskKey, moment: Timestamp) {
        self.set_task_state(job, task, Stage::Completed, moment);
        self.keep_task(job, task);
        let found = self.jobs.get(job).and_then(|job| job.tasks.get(task)).expect(tasks::THERE);
        let options = exit_options(found).cloned();
        self.watch_retention(job, task);
        let found = self.jobs.get(job).expect(jobs::THERE);
        let manages = found.spec.job_manager_task.as_ref().is_some_and(|manager| {
            manager.kill_job_on_completion != Some(false) && manager.id.eq_ignore_ascii_case(task.as_str())
        });
        if manages && matches!(found.state, JobState::Active | JobState::Disabling | JobState::Disabled) {
            return self.end_job(job, "JMComplete".into(), moment);
        }
        let acts = found.spec.on_task_failure == Some(OnTaskFailure::PerformExitOptionsJobAction);
        if acts && found.state == JobState::Active {
            match options.and_then(|options| options.job_action) {
                Some(JobAction::Terminate) => self.end_job(job, "TaskFailed".into(), moment),
                Some(JobAction::Disable) => {
                    let id = found.spec.id.clone();
                    // The job exists and is active, so disabling it cannot fail.
                    let _ = self.disable_job(&id, &DisableTasks::Requeue, moment);
                }
                _ => {}
            }
        }
    }

    /// Sets the alarm for the retention time of a completed task's files.
    pub(super) fn watch_retention(&mut self, job: &JobKey, task: &TaskKey) {
        let found = self.jobs.get(job).and_then(|job| job.tasks.get(task)).expect(tasks::THERE);
        if let Some(until) = found.kept_until() {
            self.alarms.insert((until, Alarm::Retention { job: job.clone(), task: task.clone() }));
        }
    }

    /// Removes that alarm, because the task was deleted or is active again.
    pub(super) fn forget_retention(&mut self, job: &JobKey, task: &TaskKey, until: Option<Timestamp>) {
        if let Some(until) = until {
            self.alarms.remove(&(until, Alarm::Retention { job: job.clone(), task: task.clone() }));
        }
    }

    pub(super) fn retention_over(&mut self, job: &JobKey, task: &TaskKey, now: Timestamp) {
        // The alarm of a deleted task stays until its time.
        let Some(id) = self.jobs.get(job).map(|job| job.spec.id.clone()) else { return };
        let is_over = |found: &TaskGuard<'_>| found.facts.stage() == Stage::Completed;
        let Some(mut task_found) = self.task_mut(job, task).filter(is_over) else { return };
        // The files of a task that ran again since then are kept longer.
        if task_found.kept_until().is_none_or(|until| until > now) {
            return;
        }
        if std::mem::replace(&mut task_found.facts.files_gone, true) {
            return;
        }
        let gone = task_found.clone();
        drop(task_found);
        self.remove_files(&gone, &id);
        self.keep_task(job, task);
    }

    pub(super) fn remove_task(&mut self, job: &JobKey, task: &TaskKey) {
        let mut found = self.jobs.change(job).expect(jobs::THERE);
        let id = found.spec.id.clone();
        let gone = found.tasks.remove(task).expect(tasks::THERE);
        drop(found);
        self.keep_marked(job);
        self.forget_retention(job, task, gone.kept_until());
        self.remember_task((job, &id), task, &gone);
        self.remove_files(&gone, &id);
        self.keep(|| Change::DropTask { job: job.clone(), key: task.clone() });
    }
}

impl Task {
    /// Returns whether the task is retried after this end.
    fn tries_again(&self, ending: Option<Ending>, ended: &LaunchEnding) -> bool {
        let most = self.max_retries();
        let failed = ended.failure.is_none() && ended.exit_code != Some(0);
        let retry = ending.is_none() && failed && (most < 0 || self.facts.run().info.retry_count < most);
        retry || ending == Some(Ending::Requeued)
    }
}

pub(super) fn task_ended(why: &str) -> FailureInfo {
    FailureInfo {
        category: ErrorCategory::UserError,
        code: Some("TaskEnded".into()),
        message: Some(why.into()),
        details: None,
    }
}

/// Records how a task ended.
pub(super) fn finish(info: &mut Tries, ending: Option<Ending>, ended: &LaunchEnding) {
    info.start_time = Some(ended.started.into());
    info.end_time = Some(ended.ended.into());
    info.exit_code = ended.exit_code;
    let failure = match ending {
        Some(Ending::WallClock) => {
            Some(task_ended("The task ran longer than its maxWallClockTime and was ended"))
        }
        Some(Ending::Terminated) => Some(task_ended("The task was terminated by user request")),
        Some(Ending::Deleted | Ending::Requeued) | None => failure_of(ended),
    };
    info.success = Some(failure.is_none() && ended.exit_code == Some(0));
    info.failure_info = failure.map(Box::new);
}
