//! Pools, nodes, jobs and tasks as clients see them, and the properties that filters can use.

use super::{
    Job, Model, Node, Pool, Refusal, Task,
    facts::OnNode,
    keys::NodeKey,
    query::{Fields as FieldsTrait, Filter, Value},
    task_facts::result,
};
use dropmill_azure_wire::batch::{
    AllocationState, NodeTaskInfo, PoolNodeCounts, PoolState, PoolUsageMetrics,
};

pub use super::query::Fields;

/// Properties of tasks that filters can use.
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
/// Properties of jobs that filters can use.
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
/// Properties of pools that filters can use.
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
/// Properties of nodes that filters can use.
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

/// Properties of preparation and release tasks that filters can use.
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

/// A page of a list, and the start of the next one.
pub type PageOf<T> = (Vec<T>, Option<String>);

impl FieldsTrait for Task {
    fn field(&self, name: &str) -> Option<Value> {
        let info = &self.facts.run().info;
        Some(match name {
            "id" => Value::Text(self.id.as_ref().to_owned()),
            "state" => Value::Text(self.facts.state().as_str().to_owned()),
            "stateTransitionTime" => Value::Moment(self.facts.state_at()),
            "creationTime" => Value::Moment(self.facts.created()),
            "lastModified" | "lastModifiedTime" => Value::Moment(self.facts.modified()),
            "executionInfo/startTime" => Value::Moment(info.start_time?.into()),
            "executionInfo/endTime" => Value::Moment(info.end_time?.into()),
            "executionInfo/exitCode" => Value::Number(info.exit_code?.into()),
            "executionInfo/result" => Value::Text(result(info.success?).as_str().to_owned()),
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

impl FieldsTrait for (&NodeKey, &OnNode) {
    fn field(&self, name: &str) -> Option<Value> {
        match name.split_once('/') {
            Some(("jobPreparationTaskExecutionInfo", part)) => node_task_field(&self.1.preparation, part),
            Some((_, part)) => node_task_field(self.1.release.as_ref()?, part),
            None if name == "poolId" => Some(Value::Text(self.1.pool.clone())),
            None => Some(Value::Text(self.0.to_string())),
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
            "id" => Value::Text(self.id.to_string()),
            "state" => Value::Text(self.state.as_str().to_owned()),
            "stateTransitionTime" => Value::Moment(self.state_at),
            "lastBootTime" => Value::Moment(self.booted?),
            "allocationTime" => Value::Moment(self.allocated),
            name => return node_task_field(self.start_task.as_ref()?, name.strip_prefix("startTaskInfo/")?),
        })
    }
}

impl Pool {
    pub(super) fn pool_state(&self) -> PoolState {
        if self.deleting { PoolState::Deleting } else { PoolState::Active }
    }

    pub(super) fn allocation_state(&self) -> AllocationState {
        match (self.resizing || self.deleting, self.stopping) {
            (true, true) => AllocationState::Stopping,
            (true, false) => AllocationState::Resizing,
            (false, _) => AllocationState::Steady,
        }
    }
}

impl Model {
    pub(super) fn url(&self, path: &str) -> Option<String> {
        Some(format!("{}/{path}", self.identity.base))
    }
}

pub(super) fn read_filter(text: &str, properties: &[&str]) -> Result<Option<Filter>, Refusal> {
    if text.is_empty() { Ok(None) } else { Filter::parse(text, properties).map(Some) }
}

/// Returns up to `size` entries that match a filter, and the key of the next entry.
pub(super) fn page<'a, K: AsRef<str> + 'a, T: Fields + 'a, V>(
    entries: impl Iterator<Item = (&'a K, &'a T)>,
    filter: Option<&Filter>,
    size: usize,
    see: impl Fn(&T) -> V,
) -> PageOf<V> {
    let mut found = vec![];
    for (key, entry) in entries.filter(|(_, entry)| filter.is_none_or(|filter| filter.lets(*entry))) {
        if found.len() == size {
            return (found, Some(key.as_ref().to_owned()));
        }
        found.push(see(entry));
    }
    (found, None)
}

impl Fields for PoolUsageMetrics {
    fn field(&self, name: &str) -> Option<Value> {
        (name == "poolId").then(|| Value::Text(self.pool_id.clone()))
    }
}

impl Fields for PoolNodeCounts {
    fn field(&self, name: &str) -> Option<Value> {
        (name == "poolId").then(|| Value::Text(self.pool_id.clone()))
    }
}
