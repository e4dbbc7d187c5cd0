//! Jobs as clients see them.

use super::{
    Job, Model, Refusal,
    keys::{JobKey, NodeKey},
    query::Select,
    secrets::without_secrets,
    views::{JOB_PROPERTIES, PageOf, STATUS_PROPERTIES, page, read_filter},
};
use dropmill_azure_wire::{
    batch::{
        self as wire, JobExecutionInfo, JobPreparationAndReleaseStatus, NodeTaskInfo, TaskCounts,
        TaskCountsResult, TaskState,
    },
    uri::encode_path,
};

impl Model {
    /// Returns a job as clients see it.
    pub fn see_job(&self, job: &Job, select: &Select) -> wire::Job {
        let spec = &job.spec;
        macro_rules! pick {
            ($name:literal, $field:ident) => {
                select.take($name, || spec.$field.clone())
            };
        }
        wire::Job {
            id: spec.id.clone(),
            display_name: pick!("displayName", display_name),
            uses_task_dependencies: pick!("usesTaskDependencies", uses_task_dependencies),
            url: select.take("url", || self.url(&format!("jobs/{}", spec.id))),
            e_tag: select.take("eTag", || Some(job.etag.clone())),
            last_modified: select.take("lastModified", || Some(job.modified)),
            creation_time: select.take("creationTime", || Some(job.created)),
            state: select.take("state", || Some(job.state.clone())),
            state_transition_time: select.take("stateTransitionTime", || Some(job.state_at)),
            previous_state: select
                .take("previousState", || job.previous.as_ref().map(|(state, _)| state.clone())),
            previous_state_transition_time: select
                .take("previousStateTransitionTime", || job.previous.as_ref().map(|(_, moment)| *moment)),
            priority: pick!("priority", priority),
            allow_task_preemption: pick!("allowTaskPreemption", allow_task_preemption),
            max_parallel_tasks: pick!("maxParallelTasks", max_parallel_tasks),
            constraints: pick!("constraints", constraints),
            job_manager_task: pick!("jobManagerTask", job_manager_task),
            job_preparation_task: pick!("jobPreparationTask", job_preparation_task),
            job_release_task: pick!("jobReleaseTask", job_release_task),
            common_environment_settings: pick!("commonEnvironmentSettings", common_environment_settings),
            pool_info: select.take("poolInfo", || {
                let has_secrets = spec.pool_info.auto_pool_specification.is_some();
                Some(if has_secrets { without_secrets(&spec.pool_info) } else { spec.pool_info.clone() })
            }),
            on_all_tasks_complete: pick!("onAllTasksComplete", on_all_tasks_complete),
            on_task_failure: pick!("onTaskFailure", on_task_failure),
            network_configuration: pick!("networkConfiguration", network_configuration),
            metadata: pick!("metadata", metadata),
            execution_info: select.take("executionInfo", || {
                Some(JobExecutionInfo {
                    start_time: Some(job.created),
                    end_time: job.ended,
                    pool_id: job.pool_id().map(str::to_owned),
                    scheduling_error: job.scheduling_error.clone(),
                    terminate_reason: job.terminate_reason.clone(),
                })
            }),
            stats: select.stats(|now| {
                let url = format!("jobs/{}", job.spec.id);
                self.job_statistics(&url, job.created, std::iter::once(job), now)
            }),
        }
    }

    /// Returns a page of jobs.
    ///
    /// # Errors
    /// Fails if the filter is invalid.
    pub fn list_jobs(
        &self,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<wire::Job>, Refusal> {
        let filter = read_filter(filter, JOB_PROPERTIES)?;
        Ok(page(self.jobs.range(JobKey::of(after)), filter.as_ref(), size, |job| self.see_job(job, select)))
    }

    /// Returns the number of a job's tasks in each state. The counts are updated with every change, so the
    /// request costs nothing.
    ///
    /// # Errors
    /// `JobNotFound`.
    pub fn task_counts(&self, job: &str) -> Result<TaskCountsResult, Refusal> {
        let job = self.job(job)?;
        let count = |state| i32::try_from(job.tasks.count(&state)).unwrap_or(i32::MAX);
        let (active, completed) = (count(TaskState::Active), count(TaskState::Completed));
        let running = count(TaskState::Running) + count(TaskState::Preparing);
        let slots = job.tasks.slots();
        let counts = |active, running, completed, succeeded| TaskCounts {
            active,
            running,
            completed,
            succeeded,
            failed: completed - succeeded,
        };
        Ok(TaskCountsResult {
            task_counts: counts(active, running, completed, job.tasks.succeeded()),
            task_slot_counts: counts(slots.active, slots.running, slots.completed, slots.succeeded),
        })
    }

    /// Returns a page of the states of a job's preparation and release tasks on its nodes.
    ///
    /// # Errors
    /// `JobNotFound`, `JobPreparationTaskOrReleaseTaskNotSpecified`, or an invalid filter.
    pub fn list_preparations(
        &self,
        job: &str,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<JobPreparationAndReleaseStatus>, Refusal> {
        let filter = read_filter(filter, STATUS_PROPERTIES)?;
        let job = self.job(job)?;
        if job.spec.job_preparation_task.is_none() {
            return Err(Refusal::conflict("JobPreparationTaskOrReleaseTaskNotSpecified"));
        }
        let mut found = vec![];
        for entry in job.on_nodes.range(NodeKey::of(after)..) {
            if !filter.as_ref().is_none_or(|filter| filter.lets(&entry)) {
                continue;
            }
            if found.len() == size {
                return Ok((found, Some(entry.0.to_string())));
            }
            let (node, on) = entry;
            let node_url = format!("{}/pools/{}/nodes/{node}", self.identity.base, on.pool);
            let shown = |info: &NodeTaskInfo, release| {
                let directory = job.chore_directory(release);
                NodeTaskInfo {
                    task_root_directory_url: Some(format!("{node_url}/files/{}", encode_path(&directory))),
                    task_root_directory: Some(directory),
                    ..info.clone()
                }
            };
            let release = on.release.as_ref();
            found.push(JobPreparationAndReleaseStatus {
                pool_id: select.take("poolId", || Some(on.pool.clone())),
                node_id: select.take("nodeId", || Some(node.to_string())),
                node_url: select.take("nodeUrl", || Some(node_url.clone())),
                job_preparation_task_execution_info: select
                    .take("jobPreparationTaskExecutionInfo", || Some(shown(&on.preparation, false))),
                job_release_task_execution_info: select
                    .take("jobReleaseTaskExecutionInfo", || release.map(|info| shown(info, true))),
            });
        }
        Ok((found, None))
    }
}
