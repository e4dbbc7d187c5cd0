//! Nodes, and the bodies of requests about them.

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
        /// Id of the node; empty if `$select` omits it.
        #[serde(default)]
        pub id: String,
        /// URL of the node.
        pub url: Option<String>,
        /// Current state of the node.
        pub state: Option<NodeState>,
        /// Whether the node accepts new tasks.
        pub scheduling_state: Option<SchedulingState>,
        /// Time of the last state change.
        pub state_transition_time: Option<Timestamp>,
        /// Time of the last boot.
        pub last_boot_time: Option<Timestamp>,
        /// Time when the node joined the pool.
        pub allocation_time: Option<Timestamp>,
        /// IPv4 address in the pool's network.
        pub ip_address: Option<String>,
        /// IPv6 address in the pool's network.
        pub ipv6_address: Option<String>,
        /// `TVM:` followed by the node id; tasks that prefer this node name it.
        pub affinity_id: Option<String>,
        /// VM size of the node.
        pub vm_size: Option<String>,
        /// Number of tasks that the node has run, without job preparation and release.
        pub total_tasks_run: Option<i32>,
        /// Number of tasks running on the node.
        pub running_tasks_count: Option<i32>,
        /// Number of slots that the running tasks occupy.
        pub running_task_slots_count: Option<i32>,
        /// Number of tasks that succeeded on the node.
        pub total_tasks_succeeded: Option<i32>,
        /// Tasks of the node with the most recent state changes.
        pub recent_tasks: Option<Vec<TaskInformation>>,
        /// Start task that the node ran.
        pub start_task: Option<StartTask>,
        /// Execution of the start task.
        pub start_task_info: Option<NodeTaskInfo>,
        /// Certificates; retired by Azure.
        pub certificate_references: Option<Subtree>,
        /// Errors that the node has reported.
        pub errors: Option<Vec<ComputeNodeError>>,
        /// `true` for a dedicated node, `false` for a spot node.
        pub is_dedicated: Option<bool>,
        /// Inbound endpoints of the node.
        pub endpoint_configuration: Option<Subtree>,
        /// Node agent that runs on the node.
        pub node_agent_info: Option<NodeAgentInfo>,
        /// Virtual machine of the node.
        pub virtual_machine_info: Option<VirtualMachineInfo>,
    }

    /// A task that ran on a node recently.
    pub struct TaskInformation {
        /// URL of the task.
        pub task_url: Option<String>,
        /// Id of the job.
        pub job_id: Option<String>,
        /// Id of the task.
        pub task_id: Option<String>,
        /// Number of the subtask, if it is one.
        pub subtask_id: Option<i32>,
        /// Current state of the task.
        pub task_state: TaskState,
        /// Execution information of the task.
        pub execution_info: Option<TaskExecutionInfo>,
    }

    /// An error that a node has reported.
    #[derive(Default)]
    pub struct ComputeNodeError {
        /// Error code for programs.
        pub code: Option<String>,
        /// Error message for people.
        pub message: Option<String>,
        /// Additional details of the error.
        pub error_details: Option<Vec<NameValuePair>>,
    }

    /// The node agent, the program of the service on a node.
    pub struct NodeAgentInfo {
        /// Version of the agent.
        pub version: String,
        /// Time of the agent's last update.
        pub last_update_time: Timestamp,
    }

    /// The virtual machine of a node.
    #[derive(Default)]
    pub struct VirtualMachineInfo {
        /// Image of the machine.
        pub image_reference: Option<ImageReference>,
        /// Azure resource id; only in pools of a user subscription account.
        pub scale_set_vm_resource_id: Option<String>,
    }

    /// The body of a request that reboots a node.
    #[derive(Default)]
    pub struct NodeReboot {
        /// How to handle running tasks; requeue by default.
        pub node_reboot_option: Option<super::NodeDeallocationOption>,
    }

    /// The body of a request that reinstalls the operating system of a node.
    #[derive(Default)]
    pub struct NodeReimage {
        /// How to handle running tasks; requeue by default.
        pub node_reimage_option: Option<super::NodeDeallocationOption>,
    }

    /// The body of a request that deallocates a node: the machine is released, the node stays in the pool.
    #[derive(Default)]
    pub struct NodeDeallocate {
        /// How to handle running tasks; requeue by default.
        pub node_deallocate_option: Option<super::NodeDeallocationOption>,
    }

    /// The body of a request that stops scheduling tasks on a node.
    #[derive(Default)]
    pub struct NodeDisableScheduling {
        /// How to handle running tasks; requeue by default, `retaineddata` is not allowed.
        pub node_disable_scheduling_option: Option<super::NodeDeallocationOption>,
    }

    /// The address for remote login to a node.
    #[derive(Default)]
    pub struct RemoteLoginSettings {
        /// Public IPv4 address.
        #[serde(rename = "remoteLoginIPAddress")]
        pub remote_login_ip_address: String,
        /// Port for SSH or RDP.
        pub remote_login_port: i32,
        /// Public IPv6 address; since 2025-06-01.
        #[serde(rename = "ipv6RemoteLoginIPAddress")]
        pub ipv6_remote_login_ip_address: Option<String>,
        /// Port of the IPv6 address; since 2025-06-01.
        pub ipv6_remote_login_port: Option<i32>,
    }

    /// The body of a request that creates a user on a node.
    #[derive(Default)]
    pub struct NodeUserAdd {
        /// Name of the account.
        pub name: String,
        /// `true` to grant administrator rights.
        pub is_admin: Option<bool>,
        /// Time when the account expires; one day from now by default.
        pub expiry_time: Option<Timestamp>,
        /// Password of the account.
        pub password: Option<Secret>,
        /// SSH key, instead of a password.
        pub ssh_public_key: Option<String>,
    }

    /// The body of a request that replaces a user of a node.
    #[derive(Default)]
    pub struct NodeUserUpdate {
        /// Password of the account.
        pub password: Option<Secret>,
        /// Time when the account expires.
        pub expiry_time: Option<Timestamp>,
        /// SSH key, instead of a password.
        pub ssh_public_key: Option<String>,
    }

    /// The body of a request that uploads the log files of the node agent to a container.
    pub struct UploadNodeLogs {
        /// Container URL with a SAS that allows writing.
        pub container_url: Secret,
        /// Start of the period to upload.
        pub start_time: Timestamp,
        /// End of the period; now by default.
        pub end_time: Option<Timestamp>,
        /// Managed identity that writes, instead of a SAS.
        pub identity_reference: Option<super::NodeIdentityReference>,
    }

    /// The place in the container where the logs are uploaded to.
    #[derive(Default)]
    pub struct UploadNodeLogsResult {
        /// Virtual directory in the container.
        pub virtual_directory_name: String,
        /// Number of files to upload.
        pub number_of_files_uploaded: i32,
    }

    /// A subtask of a multi-instance task.
    #[derive(Default)]
    pub struct Subtask {
        /// Number of the subtask.
        pub id: Option<i32>,
        /// Node that the subtask ran on.
        pub node_info: Option<super::TaskNodeInfo>,
        /// Start of the subtask.
        pub start_time: Option<Timestamp>,
        /// Time when the subtask completed.
        pub end_time: Option<Timestamp>,
        /// Exit code of the subtask's command.
        pub exit_code: Option<i32>,
        /// Container that the command ran in.
        pub container_info: Option<Subtree>,
        /// Reason of the failure, if there was one.
        pub failure_info: Option<FailureInfo>,
        /// Current state; never `active`.
        pub state: Option<TaskState>,
        /// Time when the current state began.
        pub state_transition_time: Option<Timestamp>,
        /// State before the current one.
        pub previous_state: Option<TaskState>,
        /// Time when the previous state began.
        pub previous_state_transition_time: Option<Timestamp>,
        /// Result, once the task has completed.
        pub result: Option<super::TaskResult>,
    }
}

open_enum! {
    /// The state of a node.
    pub enum NodeState {
        /// Running no task.
        Idle = "idle",
        /// The node is rebooting.
        Rebooting = "rebooting",
        /// The operating system is being reinstalled.
        Reimaging = "reimaging",
        /// Running at least one task.
        Running = "running",
        /// The node cannot be used, but is still charged.
        Unusable = "unusable",
        /// Azure is allocating the machine.
        Creating = "creating",
        /// The node agent is starting.
        Starting = "starting",
        /// The start task is running and tasks wait for it.
        WaitingForStartTask = "waitingforstarttask",
        /// The start task failed; the node gets no tasks.
        StartTaskFailed = "starttaskfailed",
        /// The service has lost contact with the node.
        Unknown = "unknown",
        /// The node is being removed from the pool.
        LeavingPool = "leavingpool",
        /// A client has disabled scheduling on the node.
        Offline = "offline",
        /// Azure has reclaimed the machine of a spot node.
        Preempted = "preempted",
        /// The operating system is being upgraded.
        UpgradingOs = "upgradingos",
        /// The machine has been released.
        Deallocated = "deallocated",
        /// The machine is being released.
        Deallocating = "deallocating",
    }

    /// Whether a node accepts new tasks.
    pub enum SchedulingState {
        /// New tasks can be scheduled.
        Enabled = "enabled",
        /// No new tasks are scheduled.
        Disabled = "disabled",
    }
}
