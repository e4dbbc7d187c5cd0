//! Usage metrics and statistics of pools, jobs and tasks.

use super::{Subtree, file::number_or_text};
use crate::{duration::IsoDuration, shape::wire_struct, time::Timestamp};

wire_struct! {
    /// The usage of a pool in an interval.
    pub struct PoolUsageMetrics {
        /// Id of the pool.
        pub pool_id: String,
        /// Start of the interval.
        pub start_time: Timestamp,
        /// End of the interval.
        pub end_time: Timestamp,
        /// VM size of the pool's nodes.
        pub vm_size: String,
        /// Number of core hours used.
        pub total_core_hours: f64,
    }

    /// Statistics of a pool since its creation.
    pub struct PoolStatistics {
        /// URL of the statistics.
        pub url: Option<String>,
        /// Start of the period.
        pub start_time: Timestamp,
        /// End of the period.
        pub last_update_time: Timestamp,
        /// Usage of the machines.
        pub usage_stats: Option<UsageStatistics>,
        /// Resource usage measured on the machines.
        pub resource_stats: Option<Subtree>,
    }

    /// The time for which machines were used.
    pub struct UsageStatistics {
        /// Start of the period.
        pub start_time: Timestamp,
        /// End of the period.
        pub last_update_time: Timestamp,
        /// Number of dedicated cores multiplied by time.
        pub dedicated_core_time: IsoDuration,
    }

    /// Resource usage of a task.
    pub struct TaskStatistics {
        /// URL of the statistics.
        pub url: Option<String>,
        /// Start of the period.
        pub start_time: Timestamp,
        /// End of the period.
        pub last_update_time: Timestamp,
        /// CPU time in user mode.
        #[serde(rename = "userCPUTime")]
        pub user_cpu_time: IsoDuration,
        /// CPU time in kernel mode.
        #[serde(rename = "kernelCPUTime")]
        pub kernel_cpu_time: IsoDuration,
        /// Time from start to end.
        pub wall_clock_time: IsoDuration,
        /// Number of read operations.
        #[serde(rename = "readIOps", deserialize_with = "number_or_text")]
        pub read_iops: u64,
        /// Number of write operations.
        #[serde(rename = "writeIOps", deserialize_with = "number_or_text")]
        pub write_iops: u64,
        /// Data read, in GiB.
        #[serde(rename = "readIOGiB")]
        pub read_io_gib: f64,
        /// Data written, in GiB.
        #[serde(rename = "writeIOGiB")]
        pub write_io_gib: f64,
        /// Time from creation to start.
        pub wait_time: IsoDuration,
    }

    /// Statistics of the tasks of a job, or of the jobs of a schedule.
    pub struct JobStatistics {
        /// URL of the statistics.
        pub url: Option<String>,
        /// Start of the period.
        pub start_time: Timestamp,
        /// End of the period.
        pub last_update_time: Timestamp,
        /// CPU time in user mode.
        #[serde(rename = "userCPUTime")]
        pub user_cpu_time: IsoDuration,
        /// CPU time in kernel mode.
        #[serde(rename = "kernelCPUTime")]
        pub kernel_cpu_time: IsoDuration,
        /// Time from start to end, summed over all tasks.
        pub wall_clock_time: IsoDuration,
        /// Number of read operations.
        #[serde(rename = "readIOps", deserialize_with = "number_or_text")]
        pub read_iops: u64,
        /// Number of write operations.
        #[serde(rename = "writeIOps", deserialize_with = "number_or_text")]
        pub write_iops: u64,
        /// Data read, in GiB.
        #[serde(rename = "readIOGiB")]
        pub read_io_gib: f64,
        /// Data written, in GiB.
        #[serde(rename = "writeIOGiB")]
        pub write_io_gib: f64,
        /// Number of tasks that succeeded.
        #[serde(deserialize_with = "number_or_text")]
        pub num_succeeded_tasks: u64,
        /// Number of tasks that failed.
        #[serde(deserialize_with = "number_or_text")]
        pub num_failed_tasks: u64,
        /// Number of retries of all tasks.
        #[serde(deserialize_with = "number_or_text")]
        pub num_task_retries: u64,
        /// Time from creation to start, summed over all tasks.
        pub wait_time: IsoDuration,
    }
}
