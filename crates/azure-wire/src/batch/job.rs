//! Jobs, and the bodies of requests about them.

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
        /// Id of the job; empty if `$select` omits it.
        #[serde(default)]
        pub id: String,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// `true` if tasks can depend on each other.
        pub uses_task_dependencies: Option<bool>,
        /// URL of the job.
        pub url: Option<String>,
        /// Version of the job's description; changes with every update.
        pub e_tag: Option<ETag>,
        /// Time of the last update of the description.
        pub last_modified: Option<Timestamp>,
        /// Time when the job was created.
        pub creation_time: Option<Timestamp>,
        /// Current state of the job.
        pub state: Option<JobState>,
        /// Time when the current state began.
        pub state_transition_time: Option<Timestamp>,
        /// State before the current one.
        pub previous_state: Option<JobState>,
        /// Time when the previous state began.
        pub previous_state_transition_time: Option<Timestamp>,
        /// Priority from -1000 to 1000, 0 by default; a higher one is scheduled first.
        pub priority: Option<i32>,
        /// `true` if jobs of higher priority can preempt running tasks of this job.
        pub allow_task_preemption: Option<bool>,
        /// Maximum number of tasks that run at the same time; -1 means unlimited.
        pub max_parallel_tasks: Option<i32>,
        /// Limits of the job.
        pub constraints: Option<JobConstraints>,
        /// Task that runs first and can add other tasks.
        pub job_manager_task: Option<JobManagerTask>,
        /// Task that each node runs before its first task of the job.
        pub job_preparation_task: Option<JobPreparationTask>,
        /// Task that each of these nodes runs when the job ends.
        pub job_release_task: Option<JobReleaseTask>,
        /// Environment variables of all tasks of the job.
        pub common_environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Pool that the job runs on.
        pub pool_info: Option<PoolInfo>,
        /// Action of the service when all tasks are completed.
        pub on_all_tasks_complete: Option<OnAllTasksComplete>,
        /// Action of the service when a task fails.
        pub on_task_failure: Option<OnTaskFailure>,
        /// Virtual network that the tasks join.
        pub network_configuration: Option<Subtree>,
        /// Metadata that the service does not interpret.
        pub metadata: Option<Vec<MetadataItem>>,
        /// Execution information of the job.
        pub execution_info: Option<JobExecutionInfo>,
        /// Statistics; returned only with `$expand=stats`.
        pub stats: Option<super::JobStatistics>,
    }

    /// The body of a request that creates a job.
    #[derive(Default)]
    pub struct JobAdd {
        /// Id of the job, unique in the account.
        pub id: String,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// Priority from -1000 to 1000, 0 by default; a higher one is scheduled first.
        pub priority: Option<i32>,
        /// Maximum number of tasks that run at the same time; -1 means unlimited.
        pub max_parallel_tasks: Option<i32>,
        /// `true` if jobs of higher priority can preempt running tasks of this job.
        pub allow_task_preemption: Option<bool>,
        /// Limits of the job.
        pub constraints: Option<JobConstraints>,
        /// Task that runs first and can add other tasks.
        pub job_manager_task: Option<JobManagerTask>,
        /// Task that each node runs before its first task of the job.
        pub job_preparation_task: Option<JobPreparationTask>,
        /// Task that each of these nodes runs when the job ends.
        pub job_release_task: Option<JobReleaseTask>,
        /// Environment variables of all tasks of the job.
        pub common_environment_settings: Option<Vec<EnvironmentSetting>>,
        /// Pool that the job runs on.
        pub pool_info: PoolInfo,
        /// Action of the service when all tasks are completed. A job without tasks also meets this condition.
        pub on_all_tasks_complete: Option<OnAllTasksComplete>,
        /// Action of the service when a task fails.
        pub on_task_failure: Option<OnTaskFailure>,
        /// Metadata that the service does not interpret.
        pub metadata: Option<Vec<MetadataItem>>,
        /// `true` if tasks can depend on each other.
        pub uses_task_dependencies: Option<bool>,
        /// Virtual network that the tasks join.
        pub network_configuration: Option<Subtree>,
    }

    /// The body of a PATCH of a job; absent properties stay unchanged.
    #[derive(Default)]
    pub struct JobPatch {
        /// Priority from -1000 to 1000; a higher one is scheduled first.
        pub priority: Option<i32>,
        /// Maximum number of tasks that run at the same time; -1 means unlimited.
        pub max_parallel_tasks: Option<i32>,
        /// `true` if jobs of higher priority can preempt running tasks of this job.
        pub allow_task_preemption: Option<bool>,
        /// Action of the service when all tasks are completed.
        pub on_all_tasks_complete: Option<OnAllTasksComplete>,
        /// Limits of the job.
        pub constraints: Option<JobConstraints>,
        /// Pool that the job runs on; can change only while the job is disabled.
        pub pool_info: Option<PoolInfo>,
        /// Virtual network that the tasks join.
        pub network_configuration: Option<Subtree>,
        /// Metadata that replaces all existing pairs.
        pub metadata: Option<Vec<MetadataItem>>,
    }

    /// The body of a PUT of a job; absent properties are reset to their defaults.
    #[derive(Default)]
    pub struct JobUpdate {
        /// Priority from -1000 to 1000, 0 by default; a higher one is scheduled first.
        pub priority: Option<i32>,
        /// Maximum number of tasks that run at the same time; -1, the default, means unlimited.
        pub max_parallel_tasks: Option<i32>,
        /// `true` if jobs of higher priority can preempt running tasks of this job.
        pub allow_task_preemption: Option<bool>,
        /// Limits of the job.
        pub constraints: Option<JobConstraints>,
        /// Pool that the job runs on.
        pub pool_info: PoolInfo,
        /// Metadata that replaces all existing pairs.
        pub metadata: Option<Vec<MetadataItem>>,
        /// Action of the service when all tasks are completed.
        pub on_all_tasks_complete: Option<OnAllTasksComplete>,
    }

    /// The body of a request that disables a job.
    pub struct JobDisable {
        /// How to handle running tasks.
        pub disable_tasks: DisableTasks,
    }

    /// The body of a request that terminates a job.
    #[derive(Default)]
    pub struct JobTerminate {
        /// Text for the job's `terminateReason`; `UserTerminate` by default.
        pub terminate_reason: Option<String>,
    }

    /// The pool of a job: an existing one, or one that the service creates for it.
    #[derive(Default)]
    pub struct PoolInfo {
        /// Id of an existing pool.
        pub pool_id: Option<String>,
        /// Description of a pool that the service creates.
        pub auto_pool_specification: Option<AutoPoolSpecification>,
    }

    /// A pool that the service creates for a job or a schedule.
    pub struct AutoPoolSpecification {
        /// Prefix of the generated pool id.
        pub auto_pool_id_prefix: Option<String>,
        /// Whether the pool lives as long as the job or the schedule.
        pub pool_lifetime_option: PoolLifetime,
        /// `true` to keep the pool after that time.
        pub keep_alive: Option<bool>,
        /// Properties of the pool.
        pub pool: Option<PoolSpecification>,
    }

    /// Limits of a job.
    #[derive(Default)]
    pub struct JobConstraints {
        /// Longest time that the job may be active; unlimited by default.
        pub max_wall_clock_time: Option<IsoDuration>,
        /// Number of retries for tasks that do not set one; 0 by default.
        pub max_task_retry_count: Option<i32>,
    }

    /// Execution information of a job.
    #[derive(Default)]
    pub struct JobExecutionInfo {
        /// Start of the job, which is its creation.
        pub start_time: Option<Timestamp>,
        /// Time when the job completed.
        pub end_time: Option<Timestamp>,
        /// Id of the pool that the job runs on.
        pub pool_id: Option<String>,
        /// Reason why the job could not be scheduled.
        pub scheduling_error: Option<FailureInfo>,
        /// Reason for the end: `UserTerminate`, `AllTasksComplete`, `MaxWallClockTimeExpiry`, … or a text of
        /// the client.
        pub terminate_reason: Option<String>,
    }
}

open_enum! {
    /// The state of a job.
    pub enum JobState {
        /// Tasks of the job are scheduled.
        Active = "active",
        /// The job is being disabled; tasks may still be running.
        Disabling = "disabling",
        /// No task of the job runs or is scheduled.
        Disabled = "disabled",
        /// The job is being enabled.
        Enabling = "enabling",
        /// The job is being terminated; job release tasks may be running.
        Terminating = "terminating",
        /// The job has ended and accepts no more tasks.
        Completed = "completed",
        /// The job is being deleted.
        Deleting = "deleting",
    }

    /// The action of the service when all tasks of a job are completed.
    pub enum OnAllTasksComplete {
        /// Do nothing; the job stays active.
        NoAction = "noaction",
        /// Terminate the job.
        TerminateJob = "terminatejob",
    }

    /// Action of the service when a task fails.
    pub enum OnTaskFailure {
        /// Do nothing; the job stays active.
        NoAction = "noaction",
        /// Perform the job action of the task's exit conditions.
        PerformExitOptionsJobAction = "performexitoptionsjobaction",
    }

    /// How to handle running tasks of a job that is disabled.
    pub enum DisableTasks {
        /// Terminate running tasks and queue them again.
        Requeue = "requeue",
        /// Terminate running tasks without queuing them again.
        Terminate = "terminate",
        /// Wait until running tasks have completed.
        Wait = "wait",
    }

    /// The lifetime of a pool that the service creates for a job.
    pub enum PoolLifetime {
        /// As long as the job schedule exists.
        JobSchedule = "jobschedule",
        /// As long as the job exists.
        Job = "job",
    }
}
