//! A task at rest: what was asked, packed; what is needed of that at any time; and how it goes.
//!
//! A service holds as many tasks as clients add, and most of them rest: they wait, or are over. So what was asked is
//! kept as it is stored, packed, and is read again where a view, a launch or a change needs it. What scheduling asks
//! for again and again stands beside it.

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

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its id, as its client wrote it.
    pub id: Arc<str>,
    asked: Packed,
    needs: Needs,
    /// How it goes.
    pub facts: TaskFacts,
}

/// What of a task is needed at any time.
#[derive(Debug, Clone)]
struct Needs {
    slots: i32,
    /// -1: no limit.
    retries: i32,
    wall_clock: IsoDuration,
    retention: IsoDuration,
    /// What few tasks have.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rare {
    depends_on: Option<TaskDependencies>,
    exit_conditions: Option<ExitConditions>,
    affinity: Option<String>,
    /// How many nodes it needs, if it is one for several.
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
    /// A task of this key, of which this was asked; `text` is the same as JSON.
    pub fn new(key: &TaskKey, add: &TaskAdd, text: impl Into<Box<str>>, facts: TaskFacts) -> Self {
        Self { id: key.spelled(&add.id), asked: Packed::plain(text), needs: Needs::of(add), facts }
    }

    /// Returns what was asked of it, as later calls changed it. It is read anew each time.
    pub fn asked(&self) -> TaskAdd {
        self.read()
    }

    /// Likewise, in another form.
    pub(super) fn read<T: DeserializeOwned>(&self) -> T {
        let text = self.asked.text();
        serde_json::from_str(&text)
            .expect("what is packed was written by this program, or has been read by it")
    }

    /// Something else is asked of it from now on.
    pub(super) fn ask(&mut self, add: &TaskAdd, text: &str) {
        (self.asked, self.needs) = (Packed::plain(text), Needs::of(add));
    }

    /// Packs what was asked, unless it is.
    pub(super) fn pack(&mut self, packer: &mut Packer) {
        packer.pack(&mut self.asked);
    }

    /// Slots it takes.
    pub fn slots(&self) -> i32 {
        self.needs.slots
    }

    /// Tries after the first; -1: no limit.
    pub fn max_retries(&self) -> i32 {
        self.needs.retries
    }

    /// How long a try may take.
    pub(super) fn wall_clock(&self) -> IsoDuration {
        self.needs.wall_clock
    }

    /// Until when its files are kept, if it is over and they are not kept for ever.
    pub fn kept_until(&self) -> Option<Timestamp> {
        self.facts.state_at().checked_add(self.needs.retention.as_std()?).ok()
    }

    /// Tasks that it waits for.
    pub(super) fn depends_on(&self) -> Option<&TaskDependencies> {
        self.needs.rare.as_ref()?.depends_on.as_ref()
    }

    /// What its end means for its job and for tasks that depend on it.
    pub(super) fn exit_conditions(&self) -> Option<&ExitConditions> {
        self.needs.rare.as_ref()?.exit_conditions.as_ref()
    }

    /// The id of the node that it would like.
    pub(super) fn liked_node(&self) -> Option<&str> {
        self.needs.rare.as_ref()?.affinity.as_deref()?.strip_prefix("TVM:")
    }

    /// Whether it runs on several nodes at once.
    pub fn is_multi(&self) -> bool {
        self.needs.rare.as_ref().is_some_and(|rare| rare.instances.is_some())
    }

    /// How many nodes it needs.
    pub fn instances(&self) -> usize {
        self.needs.rare.as_ref().and_then(|rare| rare.instances).unwrap_or(1)
    }

    /// Its folder below its node's root (its primary's, if there are more). Ids are safe as names.
    pub fn directory(&self, job: &str) -> String {
        self.directory_of(job, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service holds a million of them.
    #[test]
    fn a_task_at_rest_is_small() {
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
