//! Pools and nodes as clients see them.

use super::{
    Model, Node, Pool, Refusal, Task,
    facts::Recent,
    keys::{JobKey, NodeKey, PoolKey, TaskKey},
    pool_specs,
    query::Select,
    secrets::without_secrets,
    views::{NODE_PROPERTIES, POOL_PROPERTIES, PageOf, page, read_filter},
};
use dropmill_azure_wire::{
    batch::{self as wire, ComputeNode, NodeCounts, NodeState, PoolNodeCounts, SchedulingState},
    time::iso,
};

impl Model {
    /// Returns a pool as clients see it.
    pub fn see_pool(&self, pool: &Pool, select: &Select) -> wire::Pool {
        let spec = &pool.spec;
        let count = |dedicated| {
            i32::try_from(pool.nodes.values().filter(|node| node.dedicated == dedicated).count()).ok()
        };
        macro_rules! pick {
            ($name:literal, $field:ident) => {
                select.take($name, || spec.$field.clone())
            };
        }
        wire::Pool {
            id: spec.id.clone(),
            display_name: pick!("displayName", display_name),
            url: select.take("url", || self.url(&format!("pools/{}", spec.id))),
            e_tag: select.take("eTag", || Some(pool.etag.clone())),
            last_modified: select.take("lastModified", || Some(pool.modified)),
            creation_time: select.take("creationTime", || Some(pool.created)),
            state: select.take("state", || Some(pool.pool_state())),
            state_transition_time: select.take("stateTransitionTime", || Some(pool.state_at)),
            allocation_state: select.take("allocationState", || Some(pool.allocation_state())),
            allocation_state_transition_time: select
                .take("allocationStateTransitionTime", || Some(pool.allocation_at)),
            vm_size: select.take("vmSize", || Some(spec.vm_size.clone())),
            virtual_machine_configuration: select.take("virtualMachineConfiguration", || {
                let has_secrets = |of: &&wire::VirtualMachineConfiguration| {
                    of.container_configuration.is_some() || of.extensions.is_some()
                };
                let machines = spec.virtual_machine_configuration.as_ref()?;
                Some(if has_secrets(&machines) { without_secrets(machines) } else { machines.clone() })
            }),
            cloud_service_configuration: pick!("cloudServiceConfiguration", cloud_service_configuration),
            resize_timeout: pick!("resizeTimeout", resize_timeout),
            resize_errors: select.take("resizeErrors", || {
                (!pool.resize_errors.is_empty()).then(|| pool.resize_errors.clone())
            }),
            current_dedicated_nodes: select.take("currentDedicatedNodes", || count(true)),
            current_low_priority_nodes: select.take("currentLowPriorityNodes", || count(false)),
            target_dedicated_nodes: pick!("targetDedicatedNodes", target_dedicated_nodes),
            target_low_priority_nodes: pick!("targetLowPriorityNodes", target_low_priority_nodes),
            enable_auto_scale: pick!("enableAutoScale", enable_auto_scale),
            auto_scale_formula: pick!("autoScaleFormula", auto_scale_formula),
            auto_scale_evaluation_interval: pick!(
                "autoScaleEvaluationInterval",
                auto_scale_evaluation_interval
            ),
            auto_scale_run: select.take("autoScaleRun", || pool.autoscale_run.clone()),
            enable_inter_node_communication: pick!(
                "enableInterNodeCommunication",
                enable_inter_node_communication
            ),
            network_configuration: pick!("networkConfiguration", network_configuration),
            start_task: select.take("startTask", || spec.start_task.as_ref().map(shown_start_task)),
            certificate_references: pick!("certificateReferences", certificate_references),
            // The service omits empty lists of references.
            application_package_references: select.take("applicationPackageReferences", || {
                spec.application_package_references.clone().filter(|references| !references.is_empty())
            }),
            application_licenses: pick!("applicationLicenses", application_licenses),
            task_slots_per_node: pick!("taskSlotsPerNode", task_slots_per_node),
            task_scheduling_policy: pick!("taskSchedulingPolicy", task_scheduling_policy),
            user_accounts: select.take("userAccounts", || spec.user_accounts.as_ref().map(without_secrets)),
            // The service omits empty metadata.
            metadata: select.take("metadata", || spec.metadata.clone().filter(|pairs| !pairs.is_empty())),
            mount_configuration: select
                .take("mountConfiguration", || spec.mount_configuration.as_ref().map(without_secrets)),
            target_node_communication_mode: pick!(
                "targetNodeCommunicationMode",
                target_node_communication_mode
            ),
            upgrade_policy: pick!("upgradePolicy", upgrade_policy),
            resource_tags: pick!("resourceTags", resource_tags),
            stats: select.stats(|now| self.pool_statistics(pool, now)),
            ..wire::Pool::default()
        }
    }

    /// Returns a page of pools.
    ///
    /// # Errors
    /// Fails if the filter is invalid.
    pub fn list_pools(
        &self,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<wire::Pool>, Refusal> {
        let filter = read_filter(filter, POOL_PROPERTIES)?;
        Ok(page(self.pools.range(PoolKey::of(after)..), filter.as_ref(), size, |pool| {
            self.see_pool(pool, select)
        }))
    }

    /// Returns a node as clients see it.
    pub fn see_node(&self, pool: &Pool, node: &Node, select: &Select) -> ComputeNode {
        let running = node.launches.iter().filter(|launch| self.is_task(**launch)).count();
        ComputeNode {
            id: node.id.to_string(),
            url: select.take("url", || self.url(&format!("pools/{}/nodes/{}", pool.spec.id, node.id))),
            state: select.take("state", || Some(node.state.clone())),
            scheduling_state: select.take("schedulingState", || {
                Some(if node.scheduling { SchedulingState::Enabled } else { SchedulingState::Disabled })
            }),
            state_transition_time: select.take("stateTransitionTime", || Some(node.state_at)),
            last_boot_time: select.take("lastBootTime", || node.booted),
            allocation_time: select.take("allocationTime", || Some(node.allocated)),
            ip_address: select.take("ipAddress", || Some("127.0.0.1".into())),
            affinity_id: select.take("affinityId", || Some(format!("TVM:{}", node.id))),
            vm_size: select.take("vmSize", || Some(pool.spec.vm_size.clone())),
            total_tasks_run: select.take("totalTasksRun", || Some(node.total)),
            running_tasks_count: select.take("runningTasksCount", || i32::try_from(running).ok()),
            running_task_slots_count: select.take("runningTaskSlotsCount", || Some(node.slots.taken())),
            total_tasks_succeeded: select.take("totalTasksSucceeded", || Some(node.succeeded)),
            start_task: select.take("startTask", || pool.spec.start_task.as_ref().map(shown_start_task)),
            start_task_info: select.take("startTaskInfo", || node.start_task.clone()),
            errors: select.take("errors", || (!node.errors.is_empty()).then(|| node.errors.clone())),
            is_dedicated: select.take("isDedicated", || Some(node.dedicated)),
            recent_tasks: select.take("recentTasks", || self.recent_tasks(node)),
            node_agent_info: select.take("nodeAgentInfo", || {
                Some(wire::NodeAgentInfo {
                    version: env!("CARGO_PKG_VERSION").into(),
                    last_update_time: node.allocated,
                })
            }),
            virtual_machine_info: select.take("virtualMachineInfo", || {
                let machine = pool.spec.virtual_machine_configuration.as_ref()?;
                Some(wire::VirtualMachineInfo {
                    image_reference: Some(pool_specs::image_of_node(&machine.image_reference)),
                    scale_set_vm_resource_id: None,
                })
            }),
            ..ComputeNode::default()
        }
    }

    /// Returns the running tasks of a node, then the last ended ones, the latest first.
    fn recent_tasks(&self, node: &Node) -> Option<Vec<wire::TaskInformation>> {
        let running = node.launches.iter().filter_map(|launch| match self.launches.get(launch)? {
            super::What::Task { job, task, number } => self.task_information(job, task, *number),
            _ => None,
        });
        let ended = node.recent.iter().rev().filter_map(|recent| match &recent.gone {
            Some(gone) => Some((**gone).clone()),
            None => self.task_information(&recent.job, &recent.task, recent.number),
        });
        let all: Vec<_> = running.chain(ended).collect();
        (!all.is_empty()).then_some(all)
    }

    /// Returns the information of a node about a task, by the keys of its job and its own.
    fn task_information(&self, job: &JobKey, task: &TaskKey, number: usize) -> Option<wire::TaskInformation> {
        let job = self.jobs.get(job)?;
        Some(self.information_of(&job.spec.id, job.tasks.get(task)?, number))
    }

    fn information_of(&self, job_id: &str, task: &Task, number: usize) -> wire::TaskInformation {
        wire::TaskInformation {
            task_url: self.url(&format!("jobs/{job_id}/tasks/{}", task.id)),
            job_id: Some(job_id.to_owned()),
            task_id: Some(task.id.as_ref().to_owned()),
            subtask_id: i32::try_from(number).ok().filter(|number| *number > 0),
            task_state: task.facts.state(),
            execution_info: Some(task.facts.run().info.clone().into()),
        }
    }

    /// Stores the information about a deleted task in the nodes on which it ran.
    pub(super) fn remember_task(&mut self, (job, job_id): (&JobKey, &str), key: &TaskKey, task: &Task) {
        for (number, place) in task.nodes().enumerate() {
            let gone = self.information_of(job_id, task, number);
            // The node may have been removed since the task ended.
            let Some(mut node) = self.node_mut(&place.pool, &place.node) else { continue };
            let is_it =
                |recent: &&mut Recent| recent.job == *job && recent.task == *key && recent.number == number;
            if let Some(recent) = node.recent.iter_mut().filter(is_it).last() {
                recent.gone = Some(Box::new(gone));
            }
        }
    }

    fn is_task(&self, launch: u64) -> bool {
        matches!(self.launches.get(&launch), Some(super::What::Task { .. }))
    }

    /// Returns the extensions of a node that its pool names. Nothing is installed for them, which their
    /// status says.
    ///
    /// # Errors
    /// `PoolNotFound`, `NodeNotFound`.
    pub fn node_extensions(&self, pool: &str, node: &str) -> Result<Vec<serde_json::Value>, Refusal> {
        let since = iso(self.node(pool, node)?.allocated);
        let machine = self.pool(pool)?.spec.virtual_machine_configuration.as_ref();
        let named = machine.and_then(|machine| machine.extensions.as_ref()).map(without_secrets);
        let named = named.and_then(|named| named.0.as_array().cloned()).unwrap_or_default();
        let see = |extension: serde_json::Value| {
            let status = serde_json::json!({
                "code": "ProvisioningState/succeeded",
                "level": "Warning",
                "displayStatus": "Provisioning succeeded",
                "message": "This local service keeps extensions and installs nothing for them",
                "time": since,
            });
            let view = serde_json::json!({"name": extension["name"], "statuses": [status]});
            serde_json::json!({
                "provisioningState": "Succeeded", "vmExtension": extension, "instanceView": view,
            })
        };
        Ok(named.into_iter().map(see).collect())
    }

    /// Returns a page of a pool's nodes.
    ///
    /// # Errors
    /// `PoolNotFound`, or an invalid filter.
    pub fn list_nodes(
        &self,
        pool: &str,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<ComputeNode>, Refusal> {
        let filter = read_filter(filter, NODE_PROPERTIES)?;
        let pool = self.pool(pool)?;
        Ok(page(pool.nodes.range(NodeKey::of(after)), filter.as_ref(), size, |node| {
            self.see_node(pool, node, select)
        }))
    }

    /// Returns the number of nodes in each state, for each pool.
    pub fn node_counts(&self) -> Vec<PoolNodeCounts> {
        let pools = self.pools.iter();
        pools
            .map(|(_, pool)| PoolNodeCounts {
                pool_id: pool.spec.id.clone(),
                dedicated: Some(counts(pool, true)),
                low_priority: Some(counts(pool, false)),
            })
            .collect()
    }
}

fn counts(pool: &Pool, dedicated: bool) -> NodeCounts {
    let mut counts = NodeCounts::default();
    for node in pool.nodes.values().filter(|node| node.dedicated == dedicated) {
        counts.total += 1;
        let count = match node.state {
            NodeState::Idle => &mut counts.idle,
            NodeState::Rebooting => &mut counts.rebooting,
            NodeState::Reimaging => &mut counts.reimaging,
            NodeState::Running => &mut counts.running,
            NodeState::Unusable => &mut counts.unusable,
            NodeState::Creating => &mut counts.creating,
            NodeState::Starting => &mut counts.starting,
            NodeState::WaitingForStartTask => &mut counts.waiting_for_start_task,
            NodeState::StartTaskFailed => &mut counts.start_task_failed,
            NodeState::LeavingPool => &mut counts.leaving_pool,
            NodeState::Offline => &mut counts.offline,
            NodeState::Preempted => &mut counts.preempted,
            NodeState::UpgradingOs => &mut counts.upgrading_os,
            NodeState::Deallocated => &mut counts.deallocated,
            NodeState::Deallocating => &mut counts.deallocating,
            NodeState::Unknown | NodeState::Other(_) => &mut counts.unknown,
        };
        *count += 1;
    }
    counts
}

/// Removes the passwords of registries.
fn shown_start_task(task: &wire::StartTask) -> wire::StartTask {
    if task.container_settings.is_some() { without_secrets(task) } else { task.clone() }
}
