//! A stored task: its packed specification, the properties that are often needed, and its state.
//!
//! A service holds as many tasks as clients add, and most of them are waiting or completed. So the
//! specification is kept packed, and parsed again when a view, a launch or a change needs it. The properties
//! that scheduling needs often are stored beside it.

use super::{
    TaskFacts,
    keys::TaskKey,
    packed::{Packed, Packer},
};
use dropmill_azure_wire::{
    batch::{ExitConditions, TaskAdd, TaskDependencies},
    duration::IsoDuration,
    time::Timestamp,
};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A task of a job.
#[derive(Debug, Clone)]
pub struct Task {
    /// Id of the task, as its client wrote it.
    pub id: Arc<str>,
    asked: Packed,
    needs: Needs,
    /// State of the task.
    pub facts: TaskFacts,
}

/// The properties of a task that are often needed.
#[derive(Debug, Clone)]
struct Needs {
    slots: i32,
    /// Maximum number of retries; -1: no limit.
    retries: i32,
    wall_clock: IsoDuration,
    retention: IsoDuration,
    /// Properties that few tasks have.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rare {
    depends_on: Option<TaskDependencies>,
    exit_conditions: Option<ExitConditions>,
    affinity: Option<String>,
    /// Number of nodes of a multi-instance task.
    instances: Option<usize>,
}

impl Rare {
    fn of(add: &TaskAdd) -> Option<Box<Self>> {
        let instances = add.multi_instance_settings.as_ref();
        let rare = Self {
            depends_on: add.depends_on.clone(),
            exit_conditions: add.exit_conditions.clone(),
            affinity: add.affinity_info.as_ref().map(|info| info.affinity_id.clone()),
            instances: instances
                .map(|settings| usize::try_from(settings.number_of_instances.unwrap_or(1)).unwrap_or(1)),
        };
        let has_any = rare.depends_on.is_some()
            || rare.exit_conditions.is_some()
            || rare.affinity.is_some()
            || rare.instances.is_some();
        has_any.then(|| Box::new(rare))
    }
}

impl Needs {
    fn of(add: &TaskAdd) -> Self {
        let limits = add.constraints.clone().unwrap_or_default();
        Self {
            slots: add.required_slots.unwrap_or(1),
            retries: limits.max_task_retry_count.unwrap_or(0),
            wall_clock: limits.max_wall_clock_time.unwrap_or(IsoDuration::UNLIMITED),
            retention: limits.retention_time.unwrap_or(IsoDuration::UNLIMITED),
            rare: Rare::of(add),
        }
    }
}

impl Task {
    /// Creates a task with this key and specification; `text` is the specification as JSON.
    pub fn new(key: &TaskKey, add: &TaskAdd, text: impl Into<Box<str>>, facts: TaskFacts) -> Self {
        Self::packed(key, add, Packed::plain(text), facts)
    }

    /// Likewise; `asked` is that JSON, packed or not.
    pub(super) fn packed(key: &TaskKey, add: &TaskAdd, asked: Packed, facts: TaskFacts) -> Self {
        Self { id: key.spelled(&add.id), asked, needs: Needs::of(add), facts }
    }

    /// Returns its current specification. It is parsed at each call.
    pub fn asked(&self) -> TaskAdd {
        self.read()
    }

    /// Returns the same, as another type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> T {
        let text = self.asked.text();
        serde_json::from_str(&text).expect("a packed specification was written or checked by this program")
    }

    /// Replaces its specification.
    pub(super) fn ask(&mut self, add: &TaskAdd, text: &str) {
        (self.asked, self.needs) = (Packed::plain(text), Needs::of(add));
    }

    /// Packs its specification, if it is not packed.
    pub(super) fn pack(&mut self, packer: &mut Packer) {
        packer.pack(&mut self.asked);
    }

    /// Returns the number of slots that it occupies.
    pub fn slots(&self) -> i32 {
        self.needs.slots
    }

    /// Returns the maximum number of retries; -1: no limit.
    pub fn max_retries(&self) -> i32 {
        self.needs.retries
    }

    /// Returns the maximum run time of an attempt.
    pub(super) fn wall_clock(&self) -> IsoDuration {
        self.needs.wall_clock
    }

    /// Returns the end of the retention time of its files, if it has ended and they are not kept for ever.
    pub fn kept_until(&self) -> Option<Timestamp> {
        self.facts.state_at().checked_add(self.needs.retention.as_std()?).ok()
    }

    /// Returns the tasks that it depends on.
    pub(super) fn depends_on(&self) -> Option<&TaskDependencies> {
        self.needs.rare.as_ref()?.depends_on.as_ref()
    }

    /// Returns what its end means for its job and for tasks that depend on it.
    pub(super) fn exit_conditions(&self) -> Option<&ExitConditions> {
        self.needs.rare.as_ref()?.exit_conditions.as_ref()
    }

    /// Returns the id of its preferred node.
    pub(super) fn liked_node(&self) -> Option<&str> {
        self.needs.rare.as_ref()?.affinity.as_deref()?.strip_prefix("TVM:")
    }

    /// Returns whether it runs on several nodes at once.
    pub fn is_multi(&self) -> bool {
        self.needs.rare.as_ref().is_some_and(|rare| rare.instances.is_some())
    }

    /// Returns the number of nodes that it needs.
    pub fn instances(&self) -> usize {
        self.needs.rare.as_ref().and_then(|rare| rare.instances).unwrap_or(1)
    }

    /// Returns its folder below its node's root (for a multi-instance task: the primary's). Ids are safe as
    /// file names.
    pub fn directory(&self, job: &str) -> String {
        self.directory_of(job, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service may hold a million tasks.
    #[test]
    fn a_stored_task_is_small() {
        assert!(size_of::<Task>() <= 128, "{}", size_of::<Task>());
        assert!(size_of::<Packed>() <= 24, "{}", size_of::<Packed>());
        assert!(size_of::<TaskFacts>() <= 56, "{}", size_of::<TaskFacts>());
        assert!(
            size_of::<super::super::task_facts::Run>() <= 176,
            "{}",
            size_of::<super::super::task_facts::Run>()
        );
    }
}
