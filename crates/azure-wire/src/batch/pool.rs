//! Pools, as the service returns them.

use super::{ApplicationPackageReference, ImageReference, MetadataItem, NameValuePair, StartTask, Subtree};
use crate::{
    duration::IsoDuration,
    etag::ETag,
    shape::{open_enum, wire_struct},
    time::Timestamp,
};

wire_struct! {
    /// A pool as the service returns it.
    #[derive(Default)]
    pub struct Pool {
        /// Id of the pool; empty if `$select` omits it.
        #[serde(default)]
        pub id: String,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// URL of the pool.
        pub url: Option<String>,
        /// Version of the pool's description; changes with every update.
        pub e_tag: Option<ETag>,
        /// Time of the last update of the description.
        pub last_modified: Option<Timestamp>,
        /// Time when the pool was created.
        pub creation_time: Option<Timestamp>,
        /// Current state of the pool.
        pub state: Option<PoolState>,
        /// Time when the current state began.
        pub state_transition_time: Option<Timestamp>,
        /// Whether the pool is being resized.
        pub allocation_state: Option<AllocationState>,
        /// Time when the current state began.
        pub allocation_state_transition_time: Option<Timestamp>,
        /// VM size of the nodes.
        pub vm_size: Option<String>,
        /// Image and disks of the nodes.
        pub virtual_machine_configuration: Option<VirtualMachineConfiguration>,
        /// Guest operating system of the nodes; removed after API version 19.0.
        pub cloud_service_configuration: Option<CloudServiceConfiguration>,
        /// Longest duration of a resize.
        pub resize_timeout: Option<IsoDuration>,
        /// Errors of the last resize.
        pub resize_errors: Option<Vec<ResizeError>>,
        /// Current number of dedicated nodes.
        pub current_dedicated_nodes: Option<i32>,
        /// Current number of spot nodes.
        pub current_low_priority_nodes: Option<i32>,
        /// Target number of dedicated nodes.
        pub target_dedicated_nodes: Option<i32>,
        /// Target number of spot nodes.
        pub target_low_priority_nodes: Option<i32>,
        /// `true` if a formula controls the number of nodes.
        pub enable_auto_scale: Option<bool>,
        /// Autoscale formula that controls the number of nodes.
        pub auto_scale_formula: Option<String>,
        /// Time between two evaluations of the formula.
        pub auto_scale_evaluation_interval: Option<IsoDuration>,
        /// Last evaluation of the formula.
        pub auto_scale_run: Option<AutoScaleRun>,
        /// `true` if nodes can communicate with each other.
        pub enable_inter_node_communication: Option<bool>,
        /// Network settings of the nodes.
        pub network_configuration: Option<Subtree>,
        /// Start task of every node.
        pub start_task: Option<StartTask>,
        /// Certificates; retired by Azure.
        pub certificate_references: Option<Subtree>,
        /// Application packages on the nodes.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// Application licenses; removed after API version 19.0.
        pub application_licenses: Option<Vec<String>>,
        /// Number of task slots per node.
        pub task_slots_per_node: Option<i32>,
        /// The policy that distributes tasks to nodes.
        pub task_scheduling_policy: Option<TaskSchedulingPolicy>,
        /// User accounts on the nodes; contains passwords.
        pub user_accounts: Option<Subtree>,
        /// Metadata that the service does not interpret.
        pub metadata: Option<Vec<MetadataItem>>,
        /// Statistics; returned only with `$expand=stats`.
        pub stats: Option<super::PoolStatistics>,
        /// File systems to mount; contains keys.
        pub mount_configuration: Option<Subtree>,
        /// Managed identity of the pool.
        pub identity: Option<Subtree>,
        /// Communication mode that the nodes should use.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
        /// Communication mode that the nodes use now.
        pub current_node_communication_mode: Option<NodeCommunicationMode>,
        /// Upgrade policy for the nodes' operating systems.
        pub upgrade_policy: Option<Subtree>,
        /// Tags of the pool's Azure resources.
        pub resource_tags: Option<Subtree>,
    }

    /// The image and disks of a pool's nodes.
    #[derive(Default)]
    pub struct VirtualMachineConfiguration {
        /// Image of the nodes.
        pub image_reference: ImageReference,
        /// Node agent that supports the image, for example `batch.node.ubuntu 22.04`.
        #[serde(rename = "nodeAgentSKUId")]
        pub node_agent_sku_id: String,
        /// Settings of Windows.
        pub windows_configuration: Option<Subtree>,
        /// Additional data disks.
        pub data_disks: Option<Subtree>,
        /// License type for custom Windows images.
        pub license_type: Option<String>,
        /// Container images and registries; contains passwords.
        pub container_configuration: Option<Subtree>,
        /// Disk encryption settings.
        pub disk_encryption_configuration: Option<Subtree>,
        /// Availability zones of the nodes.
        pub node_placement_configuration: Option<Subtree>,
        /// Virtual machine extensions; contains protected settings.
        pub extensions: Option<Subtree>,
        /// Settings of the operating system disk.
        pub os_disk: Option<Subtree>,
        /// Security settings such as trusted launch.
        pub security_profile: Option<Subtree>,
        /// Reference to a service artifact.
        pub service_artifact_reference: Option<Subtree>,
    }

    /// The guest operating system of cloud service nodes.
    #[derive(Default)]
    pub struct CloudServiceConfiguration {
        /// Guest OS family: `4`, `5`, ….
        pub os_family: String,
        /// Guest OS version; `*` means the latest.
        pub os_version: Option<String>,
    }

    /// The policy that distributes tasks to nodes.
    pub struct TaskSchedulingPolicy {
        /// Whether tasks are spread over the nodes or packed onto few.
        pub node_fill_type: NodeFillType,
        /// Order of tasks among jobs of equal priority; since 2025-06-01.
        pub job_default_order: Option<JobDefaultOrder>,
    }

    /// An error of a resize.
    #[derive(Default)]
    pub struct ResizeError {
        /// Error code: `AllocationTimedout`, `ResizeStopped`, `AccountCoreQuotaReached`, ….
        pub code: Option<String>,
        /// Error message for people.
        pub message: Option<String>,
        /// Additional details of the error.
        pub values: Option<Vec<NameValuePair>>,
    }

    /// One evaluation of an autoscale formula.
    pub struct AutoScaleRun {
        /// Time of the evaluation.
        pub timestamp: Timestamp,
        /// Resulting variables: `$TargetDedicatedNodes=1;…`.
        pub results: Option<String>,
        /// Error, if the evaluation failed.
        pub error: Option<AutoScaleRunError>,
    }

    /// The error of a failed evaluation.
    #[derive(Default)]
    pub struct AutoScaleRunError {
        /// Error code such as `AutoScalingFormulaEvaluationError`.
        pub code: Option<String>,
        /// Error message for people.
        pub message: Option<String>,
        /// Additional details of the error.
        pub values: Option<Vec<NameValuePair>>,
    }
}

open_enum! {
    /// The state of a pool.
    pub enum PoolState {
        /// The pool is available.
        Active = "active",
        /// The pool is being deleted, its nodes first.
        Deleting = "deleting",
    }

    /// Whether a pool is being resized.
    pub enum AllocationState {
        /// The number of nodes does not change.
        Steady = "steady",
        /// Nodes are being added or removed.
        Resizing = "resizing",
        /// The resize is being stopped.
        Stopping = "stopping",
    }

    /// The policy that distributes tasks to nodes.
    pub enum NodeFillType {
        /// Distribute tasks evenly over all nodes.
        Spread = "spread",
        /// Fill all slots of a node before the next one.
        Pack = "pack",
    }

    /// The order of tasks among jobs of equal priority.
    pub enum JobDefaultOrder {
        /// Take tasks of all jobs in turn.
        None = "none",
        /// Take tasks of the oldest job first.
        CreationTime = "creationtime",
    }

    /// The direction of communication between nodes and the service.
    pub enum NodeCommunicationMode {
        /// The service chooses the mode.
        Default = "default",
        /// The service connects to the nodes.
        Classic = "classic",
        /// The nodes connect to the service.
        Simplified = "simplified",
    }
}
