//! Counts: tasks of a job by state, nodes of a pool by state.

use crate::shape::{wire_struct, written_as_it_is};

wire_struct! {
    /// The tasks of a job, counted. May lag behind by seconds; truth is the list.
    #[derive(Default, Eq)]
    pub struct TaskCountsResult {
        /// Tasks.
        pub task_counts: TaskCounts,
        /// The slots they take.
        pub task_slot_counts: TaskCounts,
    }

    /// Tasks, or slots of tasks, by state. A preparing task counts as running.
    #[derive(Default, Copy, Eq)]
    pub struct TaskCounts {
        /// Waiting.
        pub active: i32,
        /// Running or preparing.
        pub running: i32,
        /// Over: succeeded and failed.
        pub completed: i32,
        /// Over, with success.
        pub succeeded: i32,
        /// Over, without.
        pub failed: i32,
    }

    /// The nodes of one pool, counted.
    #[derive(Default, Eq)]
    pub struct PoolNodeCounts {
        /// The pool.
        pub pool_id: String,
        /// Its dedicated nodes.
        pub dedicated: Option<NodeCounts>,
        /// Its spot nodes.
        pub low_priority: Option<NodeCounts>,
    }
}

written_as_it_is!(NodeCounts);

/// Nodes by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCounts {
    /// In state `creating`.
    pub creating: i32,
    /// In state `idle`.
    pub idle: i32,
    /// In state `offline`.
    pub offline: i32,
    /// In state `preempted`.
    pub preempted: i32,
    /// In state `rebooting`.
    pub rebooting: i32,
    /// In state `reimaging`.
    pub reimaging: i32,
    /// In state `running`.
    pub running: i32,
    /// In state `starting`.
    pub starting: i32,
    /// In state `starttaskfailed`.
    pub start_task_failed: i32,
    /// In state `leavingpool`.
    pub leaving_pool: i32,
    /// In state `unknown`.
    pub unknown: i32,
    /// In state `unusable`.
    pub unusable: i32,
    /// In state `waitingforstarttask`.
    pub waiting_for_start_task: i32,
    /// In state `upgradingos`.
    #[serde(rename = "upgradingOS")]
    pub upgrading_os: i32,
    /// In state `deallocated`.
    pub deallocated: i32,
    /// In state `deallocating`.
    pub deallocating: i32,
    /// All of them.
    pub total: i32,
}
