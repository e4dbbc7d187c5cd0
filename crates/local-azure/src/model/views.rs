//! What clients see of pools, nodes, jobs and tasks, and what they may filter by.

use super::{
    Job, Model, Node, Pool, Refusal, Task,
    facts::OnNode,
    query::{Fields as FieldsTrait, Filter, Select, Value},
};
use dropmill_azure_wire::{
    batch::{
        self as wire, AllocationState, ComputeNode, JobExecutionInfo, JobPreparationAndReleaseStatus,
        NodeCounts, NodeState, NodeTaskInfo, PoolNodeCounts, PoolState, SchedulingState, TaskCounts,
        TaskCountsResult, TaskNodeInfo, TaskState,
    },
    time::Timestamp,
    uri::encode,
};
use std::collections::BTreeMap;

pub use super::query::Fields;

/// Properties of tasks that can be filtered by.
pub const TASK_PROPERTIES: &[&str] = &[
    "id",
    "state",
    "stateTransitionTime",
    "creationTime",
    "lastModifiedTime",
    "lastModified",
    "executionInfo/startTime",
    "executionInfo/endTime",
    "executionInfo/exitCode",
    "executionInfo/result",
];
/// Properties of jobs that can be filtered by.
pub const JOB_PROPERTIES: &[&str] = &[
    "id",
    "state",
    "stateTransitionTime",
    "creationTime",
    "lastModified",
    "executionInfo/startTime",
    "executionInfo/endTime",
    "executionInfo/poolId",
];
/// Properties of pools that can be filtered by.
pub const POOL_PROPERTIES: &[&str] = &[
    "id",
    "state",
    "stateTransitionTime",
    "allocationState",
    "allocationStateTransitionTime",
    "creationTime",
    "lastModified",
    "enableAutoScale",
    "enableInterNodeCommunication",
    "vmSize",
];
/// Properties of nodes that can be filtered by.
pub const NODE_PROPERTIES: &[&str] = &[
    "id",
    "state",
    "stateTransitionTime",
    "lastBootTime",
    "allocationTime",
    "startTaskInfo/state",
    "startTaskInfo/result",
    "startTaskInfo/exitCode",
    "startTaskInfo/startTime",
    "startTaskInfo/endTime",
];

/// Properties of preparations and releases that can be filtered by.
pub const STATUS_PROPERTIES: &[&str] = &[
    "poolId",
    "nodeId",
    "jobPreparationTaskExecutionInfo/state",
    "jobPreparationTaskExecutionInfo/result",
    "jobPreparationTaskExecutionInfo/exitCode",
    "jobPreparationTaskExecutionInfo/startTime",
    "jobPreparationTaskExecutionInfo/endTime",
    "jobReleaseTaskExecutionInfo/state",
    "jobReleaseTaskExecutionInfo/result",
    "jobReleaseTaskExecutionInfo/exitCode",
    "jobReleaseTaskExecutionInfo/startTime",
    "jobReleaseTaskExecutionInfo/endTime",
];

/// A page of a list and where the next one begins.
pub type PageOf<T> = (Vec<T>, Option<String>);

impl FieldsTrait for Task {
    fn field(&self, name: &str) -> Option<Value> {
        let info = &self.facts.info;
        Some(match name {
            "id" => Value::Text(self.add.id.clone()),
            "state" => Value::Text(self.facts.state.as_str().to_owned()),
            "stateTransitionTime" => Value::Moment(self.facts.state_at),
            "creationTime" => Value::Moment(self.facts.created),
            "lastModified" | "lastModifiedTime" => Value::Moment(self.facts.modified),
            "executionInfo/startTime" => Value::Moment(info.start_time?),
            "executionInfo/endTime" => Value::Moment(info.end_time?),
            "executionInfo/exitCode" => Value::Number(info.exit_code?.into()),
            "executionInfo/result" => Value::Text(info.result.as_ref()?.as_str().to_owned()),
            _ => return None,
        })
    }
}

impl FieldsTrait for Job {
    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "id" => Value::Text(self.spec.id.clone()),
            "state" => Value::Text(self.state.as_str().to_owned()),
            "stateTransitionTime" => Value::Moment(self.state_at),
            "creationTime" | "executionInfo/startTime" => Value::Moment(self.created),
            "lastModified" => Value::Moment(self.modified),
            "executionInfo/endTime" => Value::Moment(self.ended?),
            "executionInfo/poolId" => Value::Text(self.pool_id()?.to_owned()),
            _ => return None,
        })
    }
}

impl FieldsTrait for Pool {
    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "id" => Value::Text(self.spec.id.clone()),
            "state" => Value::Text(self.pool_state().as_str().to_owned()),
            "stateTransitionTime" => Value::Moment(self.state_at),
            "allocationState" => Value::Text(self.allocation_state().as_str().to_owned()),
            "allocationStateTransitionTime" => Value::Moment(self.allocation_at),
            "creationTime" => Value::Moment(self.created),
            "lastModified" => Value::Moment(self.modified),
            "enableAutoScale" => Value::Bool(self.spec.enable_auto_scale == Some(true)),
            "enableInterNodeCommunication" => {
                Value::Bool(self.spec.enable_inter_node_communication.unwrap_or(false))
            }
            "vmSize" => Value::Text(self.spec.vm_size.clone()),
            _ => return None,
        })
    }
}

impl FieldsTrait for (&String, &OnNode) {
    fn field(&self, name: &str) -> Option<Value> {
        match name.split_once('/') {
            Some(("jobPreparationTaskExecutionInfo", part)) => node_task_field(&self.1.preparation, part),
            Some((_, part)) => node_task_field(self.1.release.as_ref()?, part),
            None if name == "poolId" => Some(Value::Text(self.1.pool.clone())),
            None => Some(Value::Text(self.0.clone())),
        }
    }
}

fn node_task_field(info: &NodeTaskInfo, name: &str) -> Option<Value> {
    Some(match name {
        "state" => Value::Text(info.state.as_str().to_owned()),
        "result" => Value::Text(info.result.as_ref()?.as_str().to_owned()),
        "exitCode" => Value::Number(info.exit_code?.into()),
        "startTime" => Value::Moment(info.start_time),
        "endTime" => Value::Moment(info.end_time?),
        _ => return None,
    })
}

impl FieldsTrait for Node {
    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "id" => Value::Text(self.id.clone()),
            "state" => Value::Text(self.state.as_str().to_owned()),
            "stateTransitionTime" => Value::Moment(self.state_at),
            "lastBootTime" => Value::Moment(self.booted?),
            "allocationTime" => Value::Moment(self.allocated),
            name => return node_task_field(self.start_task.as_ref()?, name.strip_prefix("startTaskInfo/")?),
        })
    }
}

impl Pool {
    fn pool_state(&self) -> PoolState {
        if self.deleting { PoolState::Deleting } else { PoolState::Active }
    }

    fn allocation_state(&self) -> AllocationState {
        match (self.resizing || self.deleting, self.stopping) {
            (true, true) => AllocationState::Stopping,
            (true, false) => AllocationState::Resizing,
            (false, _) => AllocationState::Steady,
        }
    }
}

impl Model {
    fn url(&self, path: &str) -> Option<String> {
        Some(format!("{}/{path}", self.identity.base))
    }

    /// A pool as clients see it.
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
            virtual_machine_configuration: pick!(
                "virtualMachineConfiguration",
                virtual_machine_configuration
            ),
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
            start_task: pick!("startTask", start_task),
            certificate_references: pick!("certificateReferences", certificate_references),
            application_package_references: pick!(
                "applicationPackageReferences",
                application_package_references
            ),
            application_licenses: pick!("applicationLicenses", application_licenses),
            task_slots_per_node: pick!("taskSlotsPerNode", task_slots_per_node),
            task_scheduling_policy: pick!("taskSchedulingPolicy", task_scheduling_policy),
            user_accounts: pick!("userAccounts", user_accounts),
            metadata: pick!("metadata", metadata),
            mount_configuration: pick!("mountConfiguration", mount_configuration),
            target_node_communication_mode: pick!(
                "targetNodeCommunicationMode",
                target_node_communication_mode
            ),
            upgrade_policy: pick!("upgradePolicy", upgrade_policy),
            resource_tags: pick!("resourceTags", resource_tags),
            ..wire::Pool::default()
        }
    }

    /// A page of pools.
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub fn list_pools(
        &self,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<wire::Pool>, Refusal> {
        let filter = read_filter(filter, POOL_PROPERTIES)?;
        Ok(page(&self.pools, filter.as_ref(), after, size, |pool| self.see_pool(pool, select)))
    }

    /// A node as clients see it.
    pub fn see_node(&self, pool: &Pool, node: &Node, select: &Select) -> ComputeNode {
        let running = node.launches.iter().filter(|launch| self.is_task(**launch)).count();
        ComputeNode {
            id: node.id.clone(),
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
            running_task_slots_count: select.take("runningTaskSlotsCount", || Some(node.slots)),
            total_tasks_succeeded: select.take("totalTasksSucceeded", || Some(node.succeeded)),
            start_task: select.take("startTask", || pool.spec.start_task.clone()),
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
                let image = pool.spec.virtual_machine_configuration.as_ref()?.image_reference.clone();
                Some(wire::VirtualMachineInfo {
                    image_reference: Some(image),
                    scale_set_vm_resource_id: None,
                })
            }),
            ..ComputeNode::default()
        }
    }

    /// Tasks that run on a node, then those that ended there last, the latest first.
    fn recent_tasks(&self, node: &Node) -> Option<Vec<wire::TaskInformation>> {
        let running = node.launches.iter().filter_map(|launch| match self.launches.get(launch)? {
            super::What::Task { job, task } => Some((job.clone(), task.clone())),
            _ => None,
        });
        let all = running.chain(node.recent.iter().rev().cloned()).filter_map(|(job, task)| {
            let job = self.jobs.get(&job)?;
            let task = job.tasks.get(&task)?;
            Some(wire::TaskInformation {
                task_url: self.url(&format!("jobs/{}/tasks/{}", job.spec.id, task.add.id)),
                job_id: Some(job.spec.id.clone()),
                task_id: Some(task.add.id.clone()),
                subtask_id: None,
                task_state: task.facts.state.clone(),
                execution_info: Some(task.facts.info.clone()),
            })
        });
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then_some(all)
    }

    fn is_task(&self, launch: u64) -> bool {
        matches!(self.launches.get(&launch), Some(super::What::Task { .. }))
    }

    /// A page of a pool's nodes.
    ///
    /// # Errors
    /// `PoolNotFound`, or a filter that cannot be read.
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
        Ok(page(&pool.nodes, filter.as_ref(), after, size, |node| self.see_node(pool, node, select)))
    }

    /// How many nodes of each pool are in which state.
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

    /// A job as clients see it.
    pub fn see_job(&self, job: &Job, select: &Select) -> wire::Job {
        let spec = &job.spec;
        macro_rules! pick {
            ($name:literal, $field:ident) => {
                select.take($name, || spec.$field.clone())
            };
        }
        wire::Job {
            id: spec.id.clone(),
            display_name: pick!("displayName", display_name),
            uses_task_dependencies: pick!("usesTaskDependencies", uses_task_dependencies),
            url: select.take("url", || self.url(&format!("jobs/{}", spec.id))),
            e_tag: select.take("eTag", || Some(job.etag.clone())),
            last_modified: select.take("lastModified", || Some(job.modified)),
            creation_time: select.take("creationTime", || Some(job.created)),
            state: select.take("state", || Some(job.state.clone())),
            state_transition_time: select.take("stateTransitionTime", || Some(job.state_at)),
            previous_state: select
                .take("previousState", || job.previous.as_ref().map(|(state, _)| state.clone())),
            previous_state_transition_time: select
                .take("previousStateTransitionTime", || job.previous.as_ref().map(|(_, moment)| *moment)),
            priority: pick!("priority", priority),
            allow_task_preemption: pick!("allowTaskPreemption", allow_task_preemption),
            max_parallel_tasks: pick!("maxParallelTasks", max_parallel_tasks),
            constraints: pick!("constraints", constraints),
            job_manager_task: pick!("jobManagerTask", job_manager_task),
            job_preparation_task: pick!("jobPreparationTask", job_preparation_task),
            job_release_task: pick!("jobReleaseTask", job_release_task),
            common_environment_settings: pick!("commonEnvironmentSettings", common_environment_settings),
            pool_info: select.take("poolInfo", || Some(spec.pool_info.clone())),
            on_all_tasks_complete: pick!("onAllTasksComplete", on_all_tasks_complete),
            on_task_failure: pick!("onTaskFailure", on_task_failure),
            network_configuration: pick!("networkConfiguration", network_configuration),
            metadata: pick!("metadata", metadata),
            execution_info: select.take("executionInfo", || {
                Some(JobExecutionInfo {
                    start_time: Some(job.created),
                    end_time: job.ended,
                    pool_id: job.pool_id().map(str::to_owned),
                    scheduling_error: job.scheduling_error.clone(),
                    terminate_reason: job.terminate_reason.clone(),
                })
            }),
            ..wire::Job::default()
        }
    }

    /// A page of jobs.
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub fn list_jobs(
        &self,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<wire::Job>, Refusal> {
        let filter = read_filter(filter, JOB_PROPERTIES)?;
        Ok(page(&self.jobs, filter.as_ref(), after, size, |job| self.see_job(job, select)))
    }

    /// How many tasks of a job are in which state: kept while they change, so that asking costs nothing.
    ///
    /// # Errors
    /// `JobNotFound`.
    pub fn task_counts(&self, job: &str) -> Result<TaskCountsResult, Refusal> {
        let job = self.job(job)?;
        let count = |state| {
            i32::try_from(job.by_state.get(&state).map_or(0, |tasks| tasks.len())).unwrap_or(i32::MAX)
        };
        let (active, completed) = (count(TaskState::Active), count(TaskState::Completed));
        let running = count(TaskState::Running) + count(TaskState::Preparing);
        let [slots_active, slots_running, slots_completed, slots_succeeded] = job.slots;
        let counts = |active, running, completed, succeeded| TaskCounts {
            active,
            running,
            completed,
            succeeded,
            failed: completed - succeeded,
        };
        Ok(TaskCountsResult {
            task_counts: counts(active, running, completed, job.succeeded),
            task_slot_counts: counts(slots_active, slots_running, slots_completed, slots_succeeded),
        })
    }

    /// A page of how a job's preparation and release went on its nodes.
    ///
    /// # Errors
    /// `JobNotFound`, `JobPreparationTaskOrReleaseTaskNotSpecified`, or a filter that cannot be read.
    pub fn list_preparations(
        &self,
        job: &str,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<JobPreparationAndReleaseStatus>, Refusal> {
        let filter = read_filter(filter, STATUS_PROPERTIES)?;
        let job = self.job(job)?;
        if job.spec.job_preparation_task.is_none() {
            return Err(Refusal::conflict("JobPreparationTaskOrReleaseTaskNotSpecified"));
        }
        let mut found = vec![];
        for entry in job.on_nodes.range(after.to_owned()..) {
            if !filter.as_ref().is_none_or(|filter| filter.lets(&entry)) {
                continue;
            }
            if found.len() == size {
                return Ok((found, Some(entry.0.clone())));
            }
            let (node, on) = entry;
            let node_url = format!("{}/pools/{}/nodes/{node}", self.identity.base, on.pool);
            let told = |info: &NodeTaskInfo, release| {
                let directory = job.chore_directory(release);
                NodeTaskInfo {
                    task_root_directory_url: Some(format!("{node_url}/files/{}", encode(&directory))),
                    task_root_directory: Some(directory),
                    ..info.clone()
                }
            };
            let release = on.release.as_ref();
            found.push(JobPreparationAndReleaseStatus {
                pool_id: select.take("poolId", || Some(on.pool.clone())),
                node_id: select.take("nodeId", || Some(node.clone())),
                node_url: select.take("nodeUrl", || Some(node_url.clone())),
                job_preparation_task_execution_info: select
                    .take("jobPreparationTaskExecutionInfo", || Some(told(&on.preparation, false))),
                job_release_task_execution_info: select
                    .take("jobReleaseTaskExecutionInfo", || release.map(|info| told(info, true))),
            });
        }
        Ok((found, None))
    }

    /// A task as clients see it.
    pub fn see_task(&self, job: &Job, task: &Task, select: &Select) -> wire::Task {
        let (add, facts) = (&task.add, &task.facts);
        macro_rules! pick {
            ($name:literal, $field:ident) => {
                select.take($name, || add.$field.clone())
            };
        }
        wire::Task {
            id: add.id.clone(),
            display_name: pick!("displayName", display_name),
            url: select.take("url", || self.url(&format!("jobs/{}/tasks/{}", job.spec.id, add.id))),
            e_tag: select.take("eTag", || Some(facts.etag.clone())),
            last_modified: select.take("lastModified", || Some(facts.modified)),
            creation_time: select.take("creationTime", || Some(facts.created)),
            exit_conditions: pick!("exitConditions", exit_conditions),
            state: select.take("state", || Some(facts.state.clone())),
            state_transition_time: select.take("stateTransitionTime", || Some(facts.state_at)),
            previous_state: select
                .take("previousState", || facts.previous.as_ref().map(|(state, _)| state.clone())),
            previous_state_transition_time: select
                .take("previousStateTransitionTime", || facts.previous.as_ref().map(|(_, moment)| *moment)),
            command_line: select.take("commandLine", || Some(add.command_line.clone())),
            resource_files: pick!("resourceFiles", resource_files),
            output_files: pick!("outputFiles", output_files),
            environment_settings: pick!("environmentSettings", environment_settings),
            affinity_info: pick!("affinityInfo", affinity_info),
            constraints: pick!("constraints", constraints),
            required_slots: pick!("requiredSlots", required_slots),
            user_identity: pick!("userIdentity", user_identity),
            execution_info: select.take("executionInfo", || Some(facts.info.clone())),
            node_info: select.take("nodeInfo", || self.node_info(job, task)),
            depends_on: pick!("dependsOn", depends_on),
            ..wire::Task::default()
        }
    }

    fn node_info(&self, job: &Job, task: &Task) -> Option<TaskNodeInfo> {
        let (pool, node) = task.facts.node.as_ref()?;
        let directory = task.directory(&job.spec.id);
        let node_url = format!("{}/pools/{pool}/nodes/{node}", self.identity.base);
        Some(TaskNodeInfo {
            affinity_id: Some(format!("TVM:{node}")),
            task_root_directory_url: Some(format!("{node_url}/files/{}", encode(&directory))),
            node_url: Some(node_url),
            pool_id: Some(pool.clone()),
            node_id: Some(node.clone()),
            task_root_directory: Some(directory),
        })
    }

    /// A page of a job's tasks. A filter on a state goes through the index of that state, in the order in which tasks
    /// entered it, from the moment the filter names: it costs what it returns.
    ///
    /// # Errors
    /// `JobNotFound`, or a filter that cannot be read.
    pub fn list_tasks(
        &self,
        job: &str,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<wire::Task>, Refusal> {
        let filter = read_filter(filter, TASK_PROPERTIES)?;
        let job = self.job(job)?;
        let state = filter.as_ref().and_then(|filter| filter.must_equal("state"));
        let Some(Value::Text(state)) = state else {
            return Ok(page(&job.tasks, filter.as_ref(), after, size, |task| {
                self.see_task(job, task, select)
            }));
        };
        let Some(in_state) = job.by_state.get(&TaskState::from(state.as_str())) else {
            return Ok((vec![], None));
        };
        let since = filter.as_ref().and_then(|filter| filter.not_before("stateTransitionTime"));
        let from = match after.split_once('|') {
            Some((moment, key)) => {
                let nanoseconds =
                    moment.parse::<i128>().ok().and_then(|text| Timestamp::from_nanosecond(text).ok());
                let bad = || Refusal::bad_query("$skiptoken", "it is none of this service");
                (nanoseconds.ok_or_else(bad)?, key.to_owned())
            }
            None => (since.unwrap_or(Timestamp::MIN), String::new()),
        };
        let mut found = vec![];
        for entry in in_state.range(from..) {
            let Some(task) = job.tasks.get(&entry.1) else { continue };
            if !filter.as_ref().is_none_or(|filter| filter.lets(task)) {
                continue;
            }
            if found.len() == size {
                return Ok((found, Some(format!("{}|{}", entry.0.as_nanosecond(), entry.1))));
            }
            found.push(self.see_task(job, task, select));
        }
        Ok((found, None))
    }
}

fn read_filter(text: &str, properties: &[&str]) -> Result<Option<Filter>, Refusal> {
    if text.is_empty() { Ok(None) } else { Filter::parse(text, properties).map(Some) }
}

/// Up to `size` entries that a filter lets through, beginning with the key `after`; and the key of the next.
fn page<T: Fields, V>(
    entries: &BTreeMap<String, T>,
    filter: Option<&Filter>,
    after: &str,
    size: usize,
    see: impl Fn(&T) -> V,
) -> PageOf<V> {
    let mut found = vec![];
    for (key, entry) in entries.range(after.to_owned()..) {
        if !filter.is_none_or(|filter| filter.lets(entry)) {
            continue;
        }
        if found.len() == size {
            return (found, Some(key.clone()));
        }
        found.push(see(entry));
    }
    (found, None)
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
