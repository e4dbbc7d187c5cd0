//! What is sent about pools.

use super::{
    ApplicationPackageReference, CloudServiceConfiguration, MetadataItem, NodeCommunicationMode,
    NodeDeallocationOption, StartTask, Subtree, TaskSchedulingPolicy, VirtualMachineConfiguration,
};
use crate::{duration::IsoDuration, shape::wire_struct};

wire_struct! {
    /// A new pool.
    #[derive(Default)]
    pub struct PoolAdd {
        /// Its id.
        pub id: String,
        /// A name for people.
        pub display_name: Option<String>,
        /// Size of its nodes.
        pub vm_size: String,
        /// Image and disks of its nodes.
        pub virtual_machine_configuration: Option<VirtualMachineConfiguration>,
        /// Guest system of its nodes; ended with API version 19.0.
        pub cloud_service_configuration: Option<CloudServiceConfiguration>,
        /// Longest time a resize may take; 15 minutes by default, at least 5.
        pub resize_timeout: Option<IsoDuration>,
        /// Dedicated nodes wanted.
        pub target_dedicated_nodes: Option<i32>,
        /// Spot nodes wanted.
        pub target_low_priority_nodes: Option<i32>,
        /// Whether a formula sets the number of nodes.
        pub enable_auto_scale: Option<bool>,
        /// That formula.
        pub auto_scale_formula: Option<String>,
        /// How often it is evaluated.
        pub auto_scale_evaluation_interval: Option<IsoDuration>,
        /// Whether nodes may talk to each other.
        pub enable_inter_node_communication: Option<bool>,
        /// Network of its nodes.
        pub network_configuration: Option<Subtree>,
        /// What every node runs when it joins.
        pub start_task: Option<StartTask>,
        /// Certificates; retired.
        pub certificate_references: Option<Subtree>,
        /// Application packages on its nodes.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// Licences; ended with API version 19.0.
        pub application_licenses: Option<Vec<String>>,
        /// Slots for tasks on one node; 1 by default.
        pub task_slots_per_node: Option<i32>,
        /// How tasks are spread over nodes.
        pub task_scheduling_policy: Option<TaskSchedulingPolicy>,
        /// Accounts on its nodes; holds passwords.
        pub user_accounts: Option<Subtree>,
        /// Pairs that only the owner understands.
        pub metadata: Option<Vec<MetadataItem>>,
        /// File systems to mount; holds keys.
        pub mount_configuration: Option<Subtree>,
        /// How nodes shall talk to the service.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
        /// How its nodes' systems are upgraded.
        pub upgrade_policy: Option<Subtree>,
        /// Tags of the resources it is made of.
        pub resource_tags: Option<Subtree>,
    }

    /// A pool that the service makes for a job.
    #[derive(Default)]
    pub struct PoolSpecification {
        /// A name for people.
        pub display_name: Option<String>,
        /// Size of its nodes.
        pub vm_size: String,
        /// Image and disks of its nodes.
        pub virtual_machine_configuration: Option<VirtualMachineConfiguration>,
        /// Guest system of its nodes; ended with API version 19.0.
        pub cloud_service_configuration: Option<CloudServiceConfiguration>,
        /// Slots for tasks on one node; 1 by default.
        pub task_slots_per_node: Option<i32>,
        /// How tasks are spread over nodes.
        pub task_scheduling_policy: Option<TaskSchedulingPolicy>,
        /// Longest time a resize may take.
        pub resize_timeout: Option<IsoDuration>,
        /// Dedicated nodes wanted.
        pub target_dedicated_nodes: Option<i32>,
        /// Spot nodes wanted.
        pub target_low_priority_nodes: Option<i32>,
        /// Whether a formula sets the number of nodes.
        pub enable_auto_scale: Option<bool>,
        /// That formula.
        pub auto_scale_formula: Option<String>,
        /// How often it is evaluated.
        pub auto_scale_evaluation_interval: Option<IsoDuration>,
        /// Whether nodes may talk to each other.
        pub enable_inter_node_communication: Option<bool>,
        /// Network of its nodes.
        pub network_configuration: Option<Subtree>,
        /// What every node runs when it joins.
        pub start_task: Option<StartTask>,
        /// Certificates; retired.
        pub certificate_references: Option<Subtree>,
        /// Application packages on its nodes.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// Licences; ended with API version 19.0.
        pub application_licenses: Option<Vec<String>>,
        /// Accounts on its nodes; holds passwords.
        pub user_accounts: Option<Subtree>,
        /// Pairs that only the owner understands.
        pub metadata: Option<Vec<MetadataItem>>,
        /// File systems to mount; holds keys.
        pub mount_configuration: Option<Subtree>,
        /// How nodes shall talk to the service.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
        /// How its nodes' systems are upgraded.
        pub upgrade_policy: Option<Subtree>,
        /// Tags of the resources it is made of.
        pub resource_tags: Option<Subtree>,
    }

    /// PATCH of a pool: what is absent stays as it is. Before API version 20.0 only start task, certificate and
    /// package references, metadata and the communication mode may be given.
    #[derive(Default)]
    pub struct PoolPatch {
        /// What every node runs when it joins (those that are there: after a reboot).
        pub start_task: Option<StartTask>,
        /// Certificates; retired.
        pub certificate_references: Option<Subtree>,
        /// Application packages on its nodes.
        pub application_package_references: Option<Vec<ApplicationPackageReference>>,
        /// Pairs that only the owner understands; replaces all.
        pub metadata: Option<Vec<MetadataItem>>,
        /// How nodes shall talk to the service.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
        /// A name for people.
        pub display_name: Option<String>,
        /// Size of its nodes.
        pub vm_size: Option<String>,
        /// Slots for tasks on one node.
        pub task_slots_per_node: Option<i32>,
        /// How tasks are spread over nodes.
        pub task_scheduling_policy: Option<TaskSchedulingPolicy>,
        /// Whether nodes may talk to each other.
        pub enable_inter_node_communication: Option<bool>,
        /// Image and disks of its nodes.
        pub virtual_machine_configuration: Option<VirtualMachineConfiguration>,
        /// Network of its nodes.
        pub network_configuration: Option<Subtree>,
        /// Accounts on its nodes; holds passwords.
        pub user_accounts: Option<Subtree>,
        /// File systems to mount; holds keys.
        pub mount_configuration: Option<Subtree>,
        /// How its nodes' systems are upgraded.
        pub upgrade_policy: Option<Subtree>,
        /// Tags of the resources it is made of.
        pub resource_tags: Option<Subtree>,
    }

    /// Replaces these properties of a pool whole: what is absent is removed.
    #[derive(Default)]
    pub struct PoolUpdateProperties {
        /// What every node runs when it joins; absent: nothing.
        pub start_task: Option<StartTask>,
        /// Certificates; required by the service, retired.
        pub certificate_references: Option<Subtree>,
        /// Application packages; required, may be empty.
        pub application_package_references: Vec<ApplicationPackageReference>,
        /// Pairs; required, may be empty.
        pub metadata: Vec<MetadataItem>,
        /// How nodes shall talk to the service.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
    }

    /// Another number of nodes.
    #[derive(Default)]
    pub struct PoolResize {
        /// Dedicated nodes wanted; absent: as before.
        pub target_dedicated_nodes: Option<i32>,
        /// Spot nodes wanted; absent: as before.
        pub target_low_priority_nodes: Option<i32>,
        /// Longest time it may take.
        pub resize_timeout: Option<IsoDuration>,
        /// What becomes of tasks on nodes that go.
        pub node_deallocation_option: Option<NodeDeallocationOption>,
    }

    /// Takes given nodes out of a pool.
    #[derive(Default)]
    pub struct NodeRemove {
        /// Ids of nodes, 1 to 100.
        pub node_list: Vec<String>,
        /// Longest time it may take.
        pub resize_timeout: Option<IsoDuration>,
        /// What becomes of their tasks.
        pub node_deallocation_option: Option<NodeDeallocationOption>,
    }

    /// Lets a formula set the number of nodes.
    #[derive(Default)]
    pub struct PoolEnableAutoScale {
        /// The formula; absent: as before.
        pub auto_scale_formula: Option<String>,
        /// How often it is evaluated.
        pub auto_scale_evaluation_interval: Option<IsoDuration>,
    }

    /// Evaluates a formula without applying it; the answer is an [`super::AutoScaleRun`].
    #[derive(Default)]
    pub struct PoolEvaluateAutoScale {
        /// The formula.
        pub auto_scale_formula: String,
    }
}
