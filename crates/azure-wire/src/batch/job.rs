//! Jobs, and what is sent about them.

use super::{
    EnvironmentSetting, FailureInfo, JobManagerTask, JobPreparationTask, JobReleaseTask, MetadataItem,
    PoolSpecification, Subtree,
};
use crate::{
    duration::IsoDuration,
    etag::ETag,
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// A job as the service returns it.
    #[derive(Default)]
    pub struct Job {
        /// Its id; empty when a `$select` left it out.
        #[serde(default)]
        pub id: String,
        /// A name for people.
        pub display_name: Option<String>,
        /// Whether its tasks may depend on each other.
        pub uses_task_dependencies: Option<bool>,
        /// Its URL.
        pub url: Option<String>,
        /// Changes with every change of its description.
        pub e_tag: Option<ETag>,
        /// When its description changed last.
        pub last_modified: Option<Timestamp>,
        /// When it was made.
        pub creation_time: Option<Timestamp>,
        /// Its state.
        pub state: Option<JobState>,
        /// When it entered that state.
        pub state_transition_time: Option<Timestamp>,
        /// Its state before.
        pub previous_state: Option<JobState>,
        /// When it entered that one.
        pub previous_state_transition_time: Option<Timestamp>,
        /// -1000 to 1000; 0 by default.
        pub priority: Option<i32>,
        /// Whether tasks of more important jobs may end its tasks.
        pub allow_task_preemption: Option<bool>,
        /// Tasks at the same time; -1: no limit.
        pub max_parallel_tasks: Option<i32>,
        /// What bounds it.
        pub constraints: Option<JobConstraints>,
        /// The task it begins with.
        pub job_manager_task: Option<JobManagerTask>,
        /// What nodes run before its first task.
        pub job_preparation_task: Option<JobPreparationTask>,
        /// What nodes run when it is over.
        pub job_release_task: Option<JobReleaseTask>,
        /// Variables of all its tasks.
        pub common_environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Where it runs.
        pub pool_info: Option<PoolInfo>,
        /// What happens when no task is unfinished.
        pub on_all_tasks_complete: Option<OnAllTasksComplete>,
        /// What happens when a task fails.
        pub on_task_failure: Option<OnTaskFailure>,
        /// Network of its tasks.
        pub network_configuration: Option<Subtree>,
        /// Pairs that only the owner understands.
        pub metadata: Option<Vec<MetadataItem>>,
        /// How it goes.
        pub execution_info: Option<JobExecutionInfo>,
        /// Statistics; only with `$expand=stats`.
        pub stats: Option<super::JobStatistics>,
    }

    /// A new job.
    #[derive(Default)]
    pub struct JobAdd {
        /// Its id.
        pub id: String,
        /// A name for people.
        pub display_name: Option<String>,
        /// -1000 to 1000; 0 by default.
        pub priority: Option<i32>,
        /// Tasks at the same time; -1: no limit.
        pub max_parallel_tasks: Option<i32>,
        /// Whether tasks of more important jobs may end its tasks.
        pub allow_task_preemption: Option<bool>,
        /// What bounds it.
        pub constraints: Option<JobConstraints>,
        /// The task it begins with.
        pub job_manager_task: Option<JobManagerTask>,
        /// What nodes run before its first task.
        pub job_preparation_task: Option<JobPreparationTask>,
        /// What nodes run when it is over.
        pub job_release_task: Option<JobReleaseTask>,
        /// Variables of all its tasks.
        pub common_environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Where it runs.
        pub pool_info: PoolInfo,
        /// What happens when no task is unfinished. Beware: a job without tasks has none.
        pub on_all_tasks_complete: Option<OnAllTasksComplete>,
        /// What happens when a task fails.
        pub on_task_failure: Option<OnTaskFailure>,
        /// Pairs that only the owner understands.
        pub metadata: Option<Vec<MetadataItem>>,
        /// Whether its tasks may depend on each other.
        pub uses_task_dependencies: Option<bool>,
        /// Network of its tasks.
        pub network_configuration: Option<Subtree>,
    }

    /// PATCH of a job: what is absent stays as it is.
    #[derive(Default)]
    pub struct JobPatch {
        /// -1000 to 1000.
        pub priority: Option<i32>,
        /// Tasks at the same time; -1: no limit.
        pub max_parallel_tasks: Option<i32>,
        /// Whether tasks of more important jobs may end its tasks.
        pub allow_task_preemption: Option<bool>,
        /// What happens when no task is unfinished.
        pub on_all_tasks_complete: Option<OnAllTasksComplete>,
        /// What bounds it.
        pub constraints: Option<JobConstraints>,
        /// Where it runs; only while it is disabled.
        pub pool_info: Option<PoolInfo>,
        /// Network of its tasks.
        pub network_configuration: Option<Subtree>,
        /// Pairs; replaces all.
        pub metadata: Option<Vec<MetadataItem>>,
    }

    /// PUT of a job: what is absent gets its default.
    #[derive(Default)]
    pub struct JobUpdate {
        /// -1000 to 1000; 0 by default.
        pub priority: Option<i32>,
        /// Tasks at the same time; -1, no limit, by default.
        pub max_parallel_tasks: Option<i32>,
        /// Whether tasks of more important jobs may end its tasks.
        pub allow_task_preemption: Option<bool>,
        /// What bounds it.
        pub constraints: Option<JobConstraints>,
        /// Where it runs.
        pub pool_info: PoolInfo,
        /// Pairs; replaces all.
        pub metadata: Option<Vec<MetadataItem>>,
        /// What happens when no task is unfinished.
        pub on_all_tasks_complete: Option<OnAllTasksComplete>,
    }

    /// Stops a job for a while.
    pub struct JobDisable {
        /// What becomes of tasks that run.
        pub disable_tasks: DisableTasks,
    }

    /// Ends a job.
    #[derive(Default)]
    pub struct JobTerminate {
        /// Shown as the job's `terminateReason`; `UserTerminate` by default.
        pub terminate_reason: Option<String>,
    }

    /// Where a job runs: a pool that is there, or one that the service makes for it.
    #[derive(Default)]
    pub struct PoolInfo {
        /// A pool that is there.
        pub pool_id: Option<String>,
        /// One to be made.
        pub auto_pool_specification: Option<AutoPoolSpecification>,
    }

    /// A pool that the service makes for a job.
    pub struct AutoPoolSpecification {
        /// How its id begins.
        pub auto_pool_id_prefix: Option<String>,
        /// How long it stays.
        pub pool_lifetime_option: PoolLifetime,
        /// Whether it stays after that.
        pub keep_alive: Option<bool>,
        /// What it shall be.
        pub pool: Option<PoolSpecification>,
    }

    /// What bounds a job.
    #[derive(Default)]
    pub struct JobConstraints {
        /// Longest time it may be active.
        pub max_wall_clock_time: Option<IsoDuration>,
        /// For tasks that name none; 0 by default.
        pub max_task_retry_count: Option<i32>,
    }

    /// How a job goes.
    #[derive(Default)]
    pub struct JobExecutionInfo {
        /// When it was made.
        pub start_time: Option<Timestamp>,
        /// When it was over.
        pub end_time: Option<Timestamp>,
        /// The pool it runs on.
        pub pool_id: Option<String>,
        /// Why it could not be scheduled.
        pub scheduling_error: Option<FailureInfo>,
        /// `UserTerminate`, `AllTasksComplete`, `MaxWallClockTimeExpiry`, … or the caller's text.
        pub terminate_reason: Option<String>,
    }
}

open_enum! {
    /// What a job does.
    pub enum JobState {
        /// Its tasks are scheduled.
        Active = "active",
        /// It is being disabled; some tasks may still run.
        Disabling = "disabling",
        /// None of its tasks run.
        Disabled = "disabled",
        /// It is being enabled.
        Enabling = "enabling",
        /// It is about to end.
        Terminating = "terminating",
        /// It is over.
        Completed = "completed",
        /// It is going.
        Deleting = "deleting",
    }

    /// What happens when no task of a job is unfinished.
    pub enum OnAllTasksComplete {
        /// Nothing.
        NoAction = "noaction",
        /// The job ends.
        TerminateJob = "terminatejob",
    }

    /// What happens when a task fails.
    pub enum OnTaskFailure {
        /// Nothing.
        NoAction = "noaction",
        /// What the task's exit conditions say.
        PerformExitOptionsJobAction = "performexitoptionsjobaction",
    }

    /// What becomes of the tasks of a job that is disabled.
    pub enum DisableTasks {
        /// End them and queue them again.
        Requeue = "requeue",
        /// End them for good.
        Terminate = "terminate",
        /// Let them finish.
        Wait = "wait",
    }

    /// How long a pool made for a job stays.
    pub enum PoolLifetime {
        /// As long as the schedule.
        JobSchedule = "jobschedule",
        /// As long as the job.
        Job = "job",
    }
}
