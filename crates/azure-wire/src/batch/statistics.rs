//! Figures of usage, and statistics.

use super::{Subtree, file::number_or_text};
use crate::{duration::IsoDuration, shape::wire_struct, time::Timestamp};

wire_struct! {
    /// What a pool used in an interval.
    pub struct PoolUsageMetrics {
        /// Which pool.
        pub pool_id: String,
        /// When the interval began.
        pub start_time: Timestamp,
        /// When it ended.
        pub end_time: Timestamp,
        /// Size of the pool's nodes.
        pub vm_size: String,
        /// Cores times hours.
        pub total_core_hours: f64,
    }

    /// Statistics of a pool since it was made.
    pub struct PoolStatistics {
        /// Its URL.
        pub url: Option<String>,
        /// Since when.
        pub start_time: Timestamp,
        /// Until when.
        pub last_update_time: Timestamp,
        /// Its machines.
        pub usage_stats: Option<UsageStatistics>,
        /// What was measured on them.
        pub resource_stats: Option<Subtree>,
    }

    /// How long machines were used.
    pub struct UsageStatistics {
        /// Since when.
        pub start_time: Timestamp,
        /// Until when.
        pub last_update_time: Timestamp,
        /// Dedicated cores times time.
        pub dedicated_core_time: IsoDuration,
    }

    /// Statistics of a task.
    pub struct TaskStatistics {
        /// Its URL.
        pub url: Option<String>,
        /// Since when.
        pub start_time: Timestamp,
        /// Until when.
        pub last_update_time: Timestamp,
        /// Time of processors outside of the system.
        #[serde(rename = "userCPUTime")]
        pub user_cpu_time: IsoDuration,
        /// Time of processors within the system.
        #[serde(rename = "kernelCPUTime")]
        pub kernel_cpu_time: IsoDuration,
        /// From the start to the end.
        pub wall_clock_time: IsoDuration,
        /// Reads.
        #[serde(rename = "readIOps", deserialize_with = "number_or_text")]
        pub read_iops: u64,
        /// Writes.
        #[serde(rename = "writeIOps", deserialize_with = "number_or_text")]
        pub write_iops: u64,
        /// What was read, in GiB.
        #[serde(rename = "readIOGiB")]
        pub read_io_gib: f64,
        /// What was written, in GiB.
        #[serde(rename = "writeIOGiB")]
        pub write_io_gib: f64,
        /// From its addition to its start.
        pub wait_time: IsoDuration,
    }

    /// Statistics of the tasks of a job, or of the jobs of a schedule.
    pub struct JobStatistics {
        /// Its URL.
        pub url: Option<String>,
        /// Since when.
        pub start_time: Timestamp,
        /// Until when.
        pub last_update_time: Timestamp,
        /// Time of processors outside of the system.
        #[serde(rename = "userCPUTime")]
        pub user_cpu_time: IsoDuration,
        /// Time of processors within the system.
        #[serde(rename = "kernelCPUTime")]
        pub kernel_cpu_time: IsoDuration,
        /// Of all tasks, from start to end.
        pub wall_clock_time: IsoDuration,
        /// Reads.
        #[serde(rename = "readIOps", deserialize_with = "number_or_text")]
        pub read_iops: u64,
        /// Writes.
        #[serde(rename = "writeIOps", deserialize_with = "number_or_text")]
        pub write_iops: u64,
        /// What was read, in GiB.
        #[serde(rename = "readIOGiB")]
        pub read_io_gib: f64,
        /// What was written, in GiB.
        #[serde(rename = "writeIOGiB")]
        pub write_io_gib: f64,
        /// Tasks that succeeded.
        #[serde(deserialize_with = "number_or_text")]
        pub num_succeeded_tasks: u64,
        /// Tasks that failed.
        #[serde(deserialize_with = "number_or_text")]
        pub num_failed_tasks: u64,
        /// Tries after the first.
        #[serde(deserialize_with = "number_or_text")]
        pub num_task_retries: u64,
        /// Of all tasks, from addition to start.
        pub wait_time: IsoDuration,
    }
}
