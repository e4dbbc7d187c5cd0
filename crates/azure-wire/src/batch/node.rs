//! Nodes, and what is sent about them.

use super::{
    FailureInfo, ImageReference, NameValuePair, NodeTaskInfo, StartTask, Subtree, TaskExecutionInfo,
    TaskState,
};
use crate::{
    secret::Secret,
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// A node as the service returns it.
    #[derive(Default)]
    pub struct ComputeNode {
        /// Its id; empty when a `$select` left it out.
        #[serde(default)]
        pub id: String,
        /// Its URL.
        pub url: Option<String>,
        /// What it does.
        pub state: Option<NodeState>,
        /// Whether it takes tasks.
        pub scheduling_state: Option<SchedulingState>,
        /// When it entered its state.
        pub state_transition_time: Option<Timestamp>,
        /// When it booted last.
        pub last_boot_time: Option<Timestamp>,
        /// When it joined the pool.
        pub allocation_time: Option<Timestamp>,
        /// Its address in the pool's network.
        pub ip_address: Option<String>,
        /// Its address by version 6 of the protocol.
        pub ipv6_address: Option<String>,
        /// `TVM:` and its id, for tasks that want this node.
        pub affinity_id: Option<String>,
        /// Its size.
        pub vm_size: Option<String>,
        /// Tasks it ran, preparation and release excepted.
        pub total_tasks_run: Option<i32>,
        /// Tasks on it now.
        pub running_tasks_count: Option<i32>,
        /// Slots those take.
        pub running_task_slots_count: Option<i32>,
        /// Tasks that succeeded on it.
        pub total_tasks_succeeded: Option<i32>,
        /// Tasks whose state changed last.
        pub recent_tasks: Option<Vec<TaskInformation>>,
        /// What it ran when it joined.
        pub start_task: Option<StartTask>,
        /// How that went.
        pub start_task_info: Option<NodeTaskInfo>,
        /// Certificates; retired.
        pub certificate_references: Option<Subtree>,
        /// What is wrong with it.
        pub errors: Option<Vec<ComputeNodeError>>,
        /// Dedicated, or spot.
        pub is_dedicated: Option<bool>,
        /// Its ports.
        pub endpoint_configuration: Option<Subtree>,
        /// The service's program on it.
        pub node_agent_info: Option<NodeAgentInfo>,
        /// The machine it is.
        pub virtual_machine_info: Option<VirtualMachineInfo>,
    }

    /// A task that ran on a node lately.
    pub struct TaskInformation {
        /// Its URL.
        pub task_url: Option<String>,
        /// Its job.
        pub job_id: Option<String>,
        /// Its id.
        pub task_id: Option<String>,
        /// Its number, if it is a subtask.
        pub subtask_id: Option<i32>,
        /// Its state.
        pub task_state: TaskState,
        /// How it went.
        pub execution_info: Option<TaskExecutionInfo>,
    }

    /// What is wrong with a node.
    #[derive(Default)]
    pub struct ComputeNodeError {
        /// For programs.
        pub code: Option<String>,
        /// For people.
        pub message: Option<String>,
        /// More about it.
        pub error_details: Option<Vec<NameValuePair>>,
    }

    /// The service's program on a node.
    pub struct NodeAgentInfo {
        /// Its version.
        pub version: String,
        /// When it was updated.
        pub last_update_time: Timestamp,
    }

    /// The machine that a node is.
    #[derive(Default)]
    pub struct VirtualMachineInfo {
        /// Its image.
        pub image_reference: Option<ImageReference>,
        /// Its resource id, in pools of the user's own subscription.
        pub scale_set_vm_resource_id: Option<String>,
    }

    /// Boots a node again.
    #[derive(Default)]
    pub struct NodeReboot {
        /// What becomes of its tasks; requeue by default.
        pub node_reboot_option: Option<super::NodeDeallocationOption>,
    }

    /// Sets a node up anew.
    #[derive(Default)]
    pub struct NodeReimage {
        /// What becomes of its tasks; requeue by default.
        pub node_reimage_option: Option<super::NodeDeallocationOption>,
    }

    /// Gives a node's machine back but keeps its place.
    #[derive(Default)]
    pub struct NodeDeallocate {
        /// What becomes of its tasks; requeue by default.
        pub node_deallocate_option: Option<super::NodeDeallocationOption>,
    }

    /// Keeps new tasks away from a node.
    #[derive(Default)]
    pub struct NodeDisableScheduling {
        /// What becomes of its tasks (`retaineddata` is not allowed); requeue by default.
        pub node_disable_scheduling_option: Option<super::NodeDeallocationOption>,
    }

    /// How to log in to a node.
    #[derive(Default)]
    pub struct RemoteLoginSettings {
        /// Public address.
        #[serde(rename = "remoteLoginIPAddress")]
        pub remote_login_ip_address: String,
        /// Port.
        pub remote_login_port: i32,
        /// Public IPv6 address; since 2025-06-01.
        #[serde(rename = "ipv6RemoteLoginIPAddress")]
        pub ipv6_remote_login_ip_address: Option<String>,
        /// Its port; since 2025-06-01.
        pub ipv6_remote_login_port: Option<i32>,
    }

    /// A new user on a node.
    #[derive(Default)]
    pub struct NodeUserAdd {
        /// Name.
        pub name: String,
        /// Whether it may do what an administrator may.
        pub is_admin: Option<bool>,
        /// When it ends; a day from now by default.
        pub expiry_time: Option<Timestamp>,
        /// Password.
        pub password: Option<Secret>,
        /// SSH key, instead of a password.
        pub ssh_public_key: Option<String>,
    }

    /// Replaces a user of a node.
    #[derive(Default)]
    pub struct NodeUserUpdate {
        /// Password.
        pub password: Option<Secret>,
        /// When it ends.
        pub expiry_time: Option<Timestamp>,
        /// SSH key, instead of a password.
        pub ssh_public_key: Option<String>,
    }

    /// Stores the logs of a node's agent in a container.
    pub struct UploadNodeLogs {
        /// The container's URL with a SAS that allows to write.
        pub container_url: Secret,
        /// From when.
        pub start_time: Timestamp,
        /// Until when; now by default.
        pub end_time: Option<Timestamp>,
        /// Who writes, instead of a SAS.
        pub identity_reference: Option<super::NodeIdentityReference>,
    }

    /// Where the logs will be.
    #[derive(Default)]
    pub struct UploadNodeLogsResult {
        /// Folder in the container.
        pub virtual_directory_name: String,
        /// Files.
        pub number_of_files_uploaded: i32,
    }

    /// A subtask of a multi-instance task.
    #[derive(Default)]
    pub struct Subtask {
        /// Its number.
        pub id: Option<i32>,
        /// Where it ran.
        pub node_info: Option<super::TaskNodeInfo>,
        /// When it began.
        pub start_time: Option<Timestamp>,
        /// When it was over.
        pub end_time: Option<Timestamp>,
        /// Its exit code.
        pub exit_code: Option<i32>,
        /// The container it ran in.
        pub container_info: Option<Subtree>,
        /// Why it failed.
        pub failure_info: Option<FailureInfo>,
        /// Its state; never `active`.
        pub state: Option<TaskState>,
        /// When it entered that state.
        pub state_transition_time: Option<Timestamp>,
        /// Its state before.
        pub previous_state: Option<TaskState>,
        /// When it entered that one.
        pub previous_state_transition_time: Option<Timestamp>,
        /// How it ended.
        pub result: Option<super::TaskResult>,
    }
}

open_enum! {
    /// What a node does.
    pub enum NodeState {
        /// It waits for tasks.
        Idle = "idle",
        /// It boots again.
        Rebooting = "rebooting",
        /// It is set up anew.
        Reimaging = "reimaging",
        /// It runs at least one task.
        Running = "running",
        /// It cannot be used, and costs all the same.
        Unusable = "unusable",
        /// Its machine is being made.
        Creating = "creating",
        /// The service's program starts on it.
        Starting = "starting",
        /// Its start task runs, and tasks wait for it.
        WaitingForStartTask = "waitingforstarttask",
        /// Its start task failed; no tasks for it.
        StartTaskFailed = "starttaskfailed",
        /// The service lost sight of it.
        Unknown = "unknown",
        /// It is going.
        LeavingPool = "leavingpool",
        /// It takes no tasks, by order.
        Offline = "offline",
        /// It was a spot node and its machine was taken.
        Preempted = "preempted",
        /// Its system is being upgraded.
        UpgradingOs = "upgradingos",
        /// Its machine was given back.
        Deallocated = "deallocated",
        /// Its machine is being given back.
        Deallocating = "deallocating",
    }

    /// Whether a node takes tasks.
    pub enum SchedulingState {
        /// It does.
        Enabled = "enabled",
        /// It does not.
        Disabled = "disabled",
    }
}
