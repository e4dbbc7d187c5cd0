//! Counts: tasks of a job by state, nodes of a pool by state.

use crate::shape::{wire_struct, written_as_it_is};

wire_struct! {
    /// Task counts of a job. They may lag behind the task list by seconds.
    #[derive(Default, Eq)]
    pub struct TaskCountsResult {
        /// Number of tasks by state.
        pub task_counts: TaskCounts,
        /// Number of slots that the tasks need, by state.
        pub task_slot_counts: TaskCounts,
    }

    /// Counts of tasks or slots by state. A preparing task counts as running.
    #[derive(Default, Copy, Eq)]
    pub struct TaskCounts {
        /// Waiting for a node or a dependency.
        pub active: i32,
        /// Running or preparing.
        pub running: i32,
        /// Sum of succeeded and failed.
        pub completed: i32,
        /// Completed with result `success`.
        pub succeeded: i32,
        /// Completed with result `failure`.
        pub failed: i32,
    }

    /// Node counts of one pool.
    #[derive(Default, Eq)]
    pub struct PoolNodeCounts {
        /// Id of the pool.
        pub pool_id: String,
        /// Dedicated nodes by state.
        pub dedicated: Option<NodeCounts>,
        /// Spot nodes by state.
        pub low_priority: Option<NodeCounts>,
    }
}

written_as_it_is!(NodeCounts);

/// Number of nodes in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCounts {
    /// Nodes in state `creating`.
    pub creating: i32,
    /// Nodes in state `idle`.
    pub idle: i32,
    /// Nodes in state `offline`.
    pub offline: i32,
    /// Nodes in state `preempted`.
    pub preempted: i32,
    /// Nodes in state `rebooting`.
    pub rebooting: i32,
    /// Nodes in state `reimaging`.
    pub reimaging: i32,
    /// Nodes in state `running`.
    pub running: i32,
    /// Nodes in state `starting`.
    pub starting: i32,
    /// Nodes in state `starttaskfailed`.
    pub start_task_failed: i32,
    /// Nodes in state `leavingpool`.
    pub leaving_pool: i32,
    /// Nodes in state `unknown`.
    pub unknown: i32,
    /// Nodes in state `unusable`.
    pub unusable: i32,
    /// Nodes in state `waitingforstarttask`.
    pub waiting_for_start_task: i32,
    /// Nodes in state `upgradingos`.
    #[serde(rename = "upgradingOS")]
    pub upgrading_os: i32,
    /// Nodes in state `deallocated`.
    pub deallocated: i32,
    /// Nodes in state `deallocating`.
    pub deallocating: i32,
    /// Nodes in any state.
    pub total: i32,
}
