//! Pools as they are returned.

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
        /// Its id; empty when a `$select` left it out.
        #[serde(default)]
        pub id: String,
        /// A name for people.
        pub display_name: Option<String>,
        /// Its URL.
        pub url: Option<String>,
        /// Changes with every change of its description.
        pub e_tag: Option<ETag>,
        /// When its description changed last.
        pub last_modified: Option<Timestamp>,
        /// When it was made.
        pub creation_time: Option<Timestamp>,
        /// There, or going.
        pub state: Option<PoolState>,
        /// When it entered that state.
        pub state_transition_time: Option<Timestamp>,
        /// Whether its number of nodes is changing.
        pub allocation_state: Option<AllocationState>,
        /// When it entered that state.
        pub allocation_state_transition_time: Option<Timestamp>,
        /// Size of its nodes.
        pub vm_size: Option<String>,
        /// Image and disks of its nodes.
        pub virtual_machine_configuration: Option<VirtualMachineConfiguration>,
        /// Guest system of its nodes; ended with API version 19.0.
        pub cloud_service_configuration: Option<CloudServiceConfiguration>,
        /// Longest time a resize may take.
        pub resize_timeout: Option<IsoDuration>,
        /// Why the last resize fell short.
        pub resize_errors: Option<Vec<ResizeError>>,
        /// Dedicated nodes there are.
        pub current_dedicated_nodes: Option<i32>,
        /// Spot nodes there are.
        pub current_low_priority_nodes: Option<i32>,
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
        /// How it went last.
        pub auto_scale_run: Option<AutoScaleRun>,
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
        /// Slots for tasks on one node.
        pub task_slots_per_node: Option<i32>,
        /// How tasks are spread over nodes.
        pub task_scheduling_policy: Option<TaskSchedulingPolicy>,
        /// Accounts on its nodes; holds passwords.
        pub user_accounts: Option<Subtree>,
        /// Pairs that only the owner understands.
        pub metadata: Option<Vec<MetadataItem>>,
        /// Statistics; only with `$expand=stats`.
        pub stats: Option<super::PoolStatistics>,
        /// File systems to mount; holds keys.
        pub mount_configuration: Option<Subtree>,
        /// Its managed identity.
        pub identity: Option<Subtree>,
        /// How nodes shall talk to the service.
        pub target_node_communication_mode: Option<NodeCommunicationMode>,
        /// How they do.
        pub current_node_communication_mode: Option<NodeCommunicationMode>,
        /// How its nodes' systems are upgraded.
        pub upgrade_policy: Option<Subtree>,
        /// Tags of the resources it is made of.
        pub resource_tags: Option<Subtree>,
    }

    /// Image and disks of a pool's nodes.
    #[derive(Default)]
    pub struct VirtualMachineConfiguration {
        /// The image.
        pub image_reference: ImageReference,
        /// The node agent that fits the image: `batch.node.ubuntu 22.04`.
        #[serde(rename = "nodeAgentSKUId")]
        pub node_agent_sku_id: String,
        /// Settings of Windows.
        pub windows_configuration: Option<Subtree>,
        /// Further disks.
        pub data_disks: Option<Subtree>,
        /// Licence for own Windows images.
        pub license_type: Option<String>,
        /// Container images and registries; holds passwords.
        pub container_configuration: Option<Subtree>,
        /// Disk encryption.
        pub disk_encryption_configuration: Option<Subtree>,
        /// Zones.
        pub node_placement_configuration: Option<Subtree>,
        /// Extensions; holds protected settings.
        pub extensions: Option<Subtree>,
        /// The system disk.
        pub os_disk: Option<Subtree>,
        /// Trusted launch and the like.
        pub security_profile: Option<Subtree>,
        /// A service artifact.
        pub service_artifact_reference: Option<Subtree>,
    }

    /// Guest system of a cloud service's nodes.
    #[derive(Default)]
    pub struct CloudServiceConfiguration {
        /// `4`, `5`, ….
        pub os_family: String,
        /// `*`: the latest.
        pub os_version: Option<String>,
    }

    /// How tasks are spread over nodes.
    pub struct TaskSchedulingPolicy {
        /// Spread or packed.
        pub node_fill_type: NodeFillType,
        /// Whose tasks come first among jobs of one priority; since 2025-06-01.
        pub job_default_order: Option<JobDefaultOrder>,
    }

    /// Why a resize fell short.
    #[derive(Default)]
    pub struct ResizeError {
        /// `AllocationTimedout`, `ResizeStopped`, `AccountCoreQuotaReached`, ….
        pub code: Option<String>,
        /// In words.
        pub message: Option<String>,
        /// More about it.
        pub values: Option<Vec<NameValuePair>>,
    }

    /// One evaluation of an autoscale formula.
    pub struct AutoScaleRun {
        /// When.
        pub timestamp: Timestamp,
        /// The variables: `$TargetDedicatedNodes=1;…`.
        pub results: Option<String>,
        /// Why it could not be evaluated.
        pub error: Option<AutoScaleRunError>,
    }

    /// Why a formula could not be evaluated.
    #[derive(Default)]
    pub struct AutoScaleRunError {
        /// `AutoScalingFormulaEvaluationError`, ….
        pub code: Option<String>,
        /// In words.
        pub message: Option<String>,
        /// More about it.
        pub values: Option<Vec<NameValuePair>>,
    }
}

open_enum! {
    /// Whether a pool is there.
    pub enum PoolState {
        /// It is there.
        Active = "active",
        /// It is going; its nodes first.
        Deleting = "deleting",
    }

    /// Whether a pool's number of nodes is changing.
    pub enum AllocationState {
        /// It is not.
        Steady = "steady",
        /// It is.
        Resizing = "resizing",
        /// It was, and the change is being stopped.
        Stopping = "stopping",
    }

    /// How tasks are spread over nodes.
    pub enum NodeFillType {
        /// Evenly over all nodes.
        Spread = "spread",
        /// As many as fit on one node before the next gets any.
        Pack = "pack",
    }

    /// Whose tasks come first among jobs of one priority.
    pub enum JobDefaultOrder {
        /// Those of all jobs in turn.
        None = "none",
        /// Those of the job that was made first.
        CreationTime = "creationtime",
    }

    /// How nodes talk to the service.
    pub enum NodeCommunicationMode {
        /// The service chooses.
        Default = "default",
        /// The service calls the nodes.
        Classic = "classic",
        /// The nodes call the service.
        Simplified = "simplified",
    }
}
