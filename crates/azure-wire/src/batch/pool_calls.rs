//! Bodies of requests about pools.

use super::{
    ApplicationPackageReference, CloudServiceConfiguration, MetadataItem, NodeCommunicationMode,
    NodeDeallocationOption, StartTask, Subtree, TaskSchedulingPolicy, VirtualMachineConfiguration,
};
use crate::{duration::IsoDuration, shape::wire_struct};

wire_struct! {
    /// The body of a request that creates a pool.
    #[derive(Default)]
    pub struct PoolAdd {
        /// Id of the pool, unique in the account.
        pub id: String,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// VM size of the nodes.
        pub vm_size: String,
        /// Image and disks of the nodes.
        pub virtual_machine_configuration: Option<VirtualMachineConfiguration>,
        /// Guest operating system of the nodes; removed after API version 19.0.
        pub cloud_service_configuration: Option<CloudServiceConfiguration>,
        /// Longest duration of a resize; 15 minutes by default, at least 5 minutes.
        pub resize_timeout: Option<IsoDuration>,
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
        /// Number of task slots per node; 1 by default.
        pub task_slots_per_node: Option<i32>,
        /// Policy that distributes tasks to nodes.
        pub task_scheduling_policy: Option<TaskSchedulingPolicy>,
        /// User accounts on the nodes; contains passwords.
        pub user_accounts: Option<Subtree>,
        /// Metadata that the service does not interpret.
        pub metadata: Option<Vec<MetadataItem>>,
        /// File systems to mount; contains keys.
        pub mount_configuration: Option<Subtree>,
        /// Communication mode that the nodes should use.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
        /// Upgrade policy for the nodes' operating systems.
        pub upgrade_policy: Option<Subtree>,
        /// Tags of the pool's Azure resources.
        pub resource_tags: Option<Subtree>,
    }

    /// The description of a pool that the service creates for a job.
    #[derive(Default)]
    pub struct PoolSpecification {
        /// Name shown to people.
        pub display_name: Option<String>,
        /// VM size of the nodes.
        pub vm_size: String,
        /// Image and disks of the nodes.
        pub virtual_machine_configuration: Option<VirtualMachineConfiguration>,
        /// Guest operating system of the nodes; removed after API version 19.0.
        pub cloud_service_configuration: Option<CloudServiceConfiguration>,
        /// Number of task slots per node; 1 by default.
        pub task_slots_per_node: Option<i32>,
        /// Policy that distributes tasks to nodes.
        pub task_scheduling_policy: Option<TaskSchedulingPolicy>,
        /// Longest duration of a resize.
        pub resize_timeout: Option<IsoDuration>,
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
        /// User accounts on the nodes; contains passwords.
        pub user_accounts: Option<Subtree>,
        /// Metadata that the service does not interpret.
        pub metadata: Option<Vec<MetadataItem>>,
        /// File systems to mount; contains keys.
        pub mount_configuration: Option<Subtree>,
        /// Communication mode that the nodes should use.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
        /// Upgrade policy for the nodes' operating systems.
        pub upgrade_policy: Option<Subtree>,
        /// Tags of the pool's Azure resources.
        pub resource_tags: Option<Subtree>,
    }

    /// The body of a PATCH of a pool; absent properties stay unchanged. Before API version 20.0 only start
    /// task, certificate and package references, metadata and communication mode can be changed.
    #[derive(Default)]
    pub struct PoolPatch {
        /// Start task of every node; existing nodes run it after a reboot.
        pub start_task: Option<StartTask>,
        /// Certificates; retired by Azure.
        pub certificate_references: Option<Subtree>,
        /// Application packages on the nodes.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// Metadata that replaces all existing pairs.
        pub metadata: Option<Vec<MetadataItem>>,
        /// Communication mode that the nodes should use.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
        /// Name shown to people.
        pub display_name: Option<String>,
        /// VM size of the nodes.
        pub vm_size: Option<String>,
        /// Number of task slots per node.
        pub task_slots_per_node: Option<i32>,
        /// Policy that distributes tasks to nodes.
        pub task_scheduling_policy: Option<TaskSchedulingPolicy>,
        /// `true` if nodes can communicate with each other.
        pub enable_inter_node_communication: Option<bool>,
        /// Image and disks of the nodes.
        pub virtual_machine_configuration: Option<VirtualMachineConfiguration>,
        /// Network settings of the nodes.
        pub network_configuration: Option<Subtree>,
        /// User accounts on the nodes; contains passwords.
        pub user_accounts: Option<Subtree>,
        /// File systems to mount; contains keys.
        pub mount_configuration: Option<Subtree>,
        /// Upgrade policy for the nodes' operating systems.
        pub upgrade_policy: Option<Subtree>,
        /// Tags of the pool's Azure resources.
        pub resource_tags: Option<Subtree>,
    }

    /// The body of a request that replaces these properties of a pool; absent ones are removed.
    #[derive(Default)]
    pub struct PoolUpdateProperties {
        /// Start task of every node; removed if absent.
        pub start_task: Option<StartTask>,
        /// Certificates; required by the service although retired by Azure.
        pub certificate_references: Option<Subtree>,
        /// Application packages on the nodes; required, may be empty.
        pub application_package_references: Vec<ApplicationPackageReference>,
        /// Metadata of the pool; required, may be empty.
        pub metadata: Vec<MetadataItem>,
        /// Communication mode that the nodes should use.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
    }

    /// The body of a request that resizes a pool.
    #[derive(Default)]
    pub struct PoolResize {
        /// Target number of dedicated nodes; unchanged if absent.
        pub target_dedicated_nodes: Option<i32>,
        /// Target number of spot nodes; unchanged if absent.
        pub target_low_priority_nodes: Option<i32>,
        /// Longest duration of the resize.
        pub resize_timeout: Option<IsoDuration>,
        /// How to handle running tasks on removed nodes.
        pub node_deallocation_option: Option<NodeDeallocationOption>,
    }

    /// The body of a request that removes nodes from a pool.
    #[derive(Default)]
    pub struct NodeRemove {
        /// Ids of 1 to 100 nodes.
        pub node_list: Vec<String>,
        /// Longest duration of the resize.
        pub resize_timeout: Option<IsoDuration>,
        /// How to handle running tasks on these nodes.
        pub node_deallocation_option: Option<NodeDeallocationOption>,
    }

    /// The body of a request that enables automatic scaling.
    #[derive(Default)]
    pub struct PoolEnableAutoScale {
        /// Autoscale formula; unchanged if absent.
        pub auto_scale_formula: Option<String>,
        /// Time between two evaluations of the formula.
        pub auto_scale_evaluation_interval: Option<IsoDuration>,
    }

    /// The body of a request that evaluates a formula without applying it; the response is an
    /// [`super::AutoScaleRun`].
    #[derive(Default)]
    pub struct PoolEvaluateAutoScale {
        /// Autoscale formula to evaluate.
        pub auto_scale_formula: String,
    }
}
