//! The tasks of a job: by state, ready or waiting for others, with counts.

use crate::model::{
    Task,
    dependencies::Dependencies,
    exit_conditions::satisfies,
    keys::TaskKey,
    moment::Moment,
    packed::{Packed, Packer},
    task_facts::Stage,
};
use dropmill_azure_wire::{batch::TaskState, time::Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The tasks of one job.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// Boxed, because a B-tree that is filled in order is half empty.
    all: BTreeMap<TaskKey, Box<Task>>,
    index: TaskIndex,
    /// Tasks that were marked as released since the last call of [`Tasks::take_marked`].
    marked: Vec<TaskKey>,
    packer: Packer,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct TaskIndex {
    /// Tasks by state, in the order in which they entered it.
    by_state: BTreeMap<Stage, BTreeSet<(Moment, TaskKey)>>,
    /// Active tasks without unsatisfied dependencies, oldest first.
    ready: BTreeSet<(u64, TaskKey)>,
    succeeded: i32,
    slots: Slots,
    /// Dependencies between tasks, if the job uses them.
    dependencies: Option<Dependencies>,
}

/// Numbers of slots of a job's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Slots of waiting tasks.
    pub active: i32,
    /// Slots of tasks on nodes.
    pub running: i32,
    /// Slots of completed tasks.
    pub completed: i32,
    /// Slots of successful tasks.
    pub succeeded: i32,
}

/// Index entry of a task.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    state: Stage,
    since: Moment,
    number: u64,
    slots: i32,
    succeeded: bool,
    satisfies: bool,
    released: bool,
}

impl Entry {
    fn of(task: &Task) -> Self {
        let facts = &task.facts;
        Self {
            state: facts.stage(),
            since: facts.since(),
            number: facts.number,
            slots: task.slots(),
            succeeded: facts.succeeded(),
            satisfies: satisfies(task),
            released: facts.released,
        }
    }
}

impl TaskIndex {
    fn add(&mut self, key: &TaskKey, task: &Task, entry: &Entry) {
        self.by_state.entry(entry.state).or_default().insert((entry.since, key.clone()));
        self.count(entry, 1);
        if entry.state == Stage::Active {
            let waits = match (&mut self.dependencies, task.depends_on()) {
                (Some(dependencies), Some(on)) => !dependencies.add(key, entry.number, on) && !entry.released,
                _ => false,
            };
            if !waits {
                self.ready.insert((entry.number, key.clone()));
            }
        }
        if let Some(dependencies) = self.dependencies.as_mut().filter(|_| entry.satisfies) {
            self.ready.extend(dependencies.satisfy(key));
        }
    }

    fn remove(&mut self, key: &TaskKey, entry: &Entry) {
        if let Some(list) = self.by_state.get_mut(&entry.state) {
            list.remove(&(entry.since, key.clone()));
            if list.is_empty() {
                self.by_state.remove(&entry.state);
            }
        }
        self.count(entry, -1);
        self.ready.remove(&(entry.number, key.clone()));
        if let Some(dependencies) = &mut self.dependencies {
            dependencies.forget(key);
        }
    }

    fn count(&mut self, entry: &Entry, by: i32) {
        let slots = by * entry.slots;
        match entry.state {
            Stage::Active => self.slots.active += slots,
            Stage::Running | Stage::Preparing => self.slots.running += slots,
            Stage::Completed => self.slots.completed += slots,
        }
        if entry.succeeded {
            self.succeeded += by;
            self.slots.succeeded += slots;
        }
    }
}

impl Tasks {
    /// Creates an empty collection for a job with or without dependencies between tasks.
    pub fn new(uses_dependencies: bool) -> Self {
        let dependencies = uses_dependencies.then(Dependencies::default);
        Self { index: TaskIndex { dependencies, ..TaskIndex::default() }, ..Self::default() }
    }

    /// Returns a task by its key.
    pub fn get(&self, key: &TaskKey) -> Option<&Task> {
        self.all.get(key).map(Box::as_ref)
    }

    /// Returns whether a task with this key exists.
    pub fn contains_key(&self, key: &TaskKey) -> bool {
        self.all.contains_key(key)
    }

    /// Returns a task's own key, which the indexes share, and its index entry, for [`Tasks::changed`].
    pub(super) fn open(&self, key: &TaskKey) -> Option<(TaskKey, TaskEntry)> {
        self.all.get_key_value(key).map(|(key, task)| (key.clone(), TaskEntry(Entry::of(task))))
    }

    pub(super) fn get_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        self.all.get_mut(key).map(Box::as_mut)
    }

    /// Updates the index after a change of a task.
    pub(super) fn changed(&mut self, key: &TaskKey, TaskEntry(before): &TaskEntry) {
        let task = self.all.get_mut(key).expect("a task that is being changed exists");
        task.pack(&mut self.packer);
        let after = Entry::of(task);
        if *before == after {
            return;
        }
        self.index.remove(key, before);
        self.index.add(key, task, &after);
        if before.satisfies && !after.satisfies {
            self.unsatisfy(key);
        }
    }

    /// Marks a task as unsatisfied, because it is deleted or active again; tasks that it released stay
    /// released.
    fn unsatisfy(&mut self, key: &TaskKey) {
        // Only jobs that use dependencies have them.
        let Some(dependencies) = &mut self.index.dependencies else { return };
        for released in dependencies.released_by(key) {
            if let Some(task) = self.all.get_mut(&released).filter(|task| !task.facts.released) {
                task.facts.released = true;
                self.marked.push(released);
            }
        }
        dependencies.unsatisfy(key);
    }

    /// Returns the keys of tasks that changed as a side effect since the last call.
    pub fn take_marked(&mut self) -> Vec<TaskKey> {
        std::mem::take(&mut self.marked)
    }

    /// Packs the specification of a new task.
    pub fn packed(&mut self, text: &str) -> Packed {
        self.packer.packed(text)
    }

    /// Adds a new task.
    pub fn insert(&mut self, key: TaskKey, mut task: Task) {
        task.pack(&mut self.packer);
        self.index.add(&key, &task, &Entry::of(&task));
        self.all.insert(key, Box::new(task));
    }

    /// Removes a task. A task that names its id from now on waits for the next task with that id.
    pub fn remove(&mut self, key: &TaskKey) -> Option<Task> {
        let task = self.all.remove(key)?;
        let entry = Entry::of(&task);
        self.index.remove(key, &entry);
        if let (Some(dependencies), Some(on)) = (&mut self.index.dependencies, task.depends_on()) {
            dependencies.remove(key, on);
        }
        if entry.satisfies {
            self.unsatisfy(key);
        }
        if self.all.is_empty() {
            self.packer.clear();
        }
        Some(*task)
    }

    /// Returns all tasks, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&TaskKey, &Task)> {
        self.all.iter().map(|(key, task)| (key, &**task))
    }

    /// Returns all tasks.
    pub fn values(&self) -> impl Iterator<Item = &Task> {
        self.all.values().map(Box::as_ref)
    }

    /// Returns all tasks from a key on.
    pub fn range(&self, from: TaskKey) -> impl Iterator<Item = (&TaskKey, &Task)> {
        self.all.range(from..).map(|(key, task)| (key, &**task))
    }

    /// Returns time and key of each task in a state, in the order in which they entered it.
    pub fn in_state(&self, state: &TaskState) -> impl DoubleEndedIterator<Item = &(Moment, TaskKey)> {
        Stage::of(state).and_then(|stage| self.index.by_state.get(&stage)).into_iter().flatten()
    }

    /// Returns the same, from a time and key on.
    pub fn in_state_from(
        &self,
        state: &TaskState,
        (since, key): (Timestamp, TaskKey),
    ) -> impl Iterator<Item = &(Moment, TaskKey)> {
        Stage::of(state)
            .and_then(|stage| self.index.by_state.get(&stage))
            .into_iter()
            .flat_map(move |list| list.range((Moment::from(since), key.clone())..))
    }

    /// Returns the number of tasks in a state.
    pub fn count(&self, state: &TaskState) -> usize {
        Stage::of(state).and_then(|stage| self.index.by_state.get(&stage)).map_or(0, BTreeSet::len)
    }

    /// Returns age and key of each active task without unsatisfied dependencies, the oldest first.
    pub fn ready(&self) -> &BTreeSet<(u64, TaskKey)> {
        &self.index.ready
    }

    /// Returns the number of completed tasks that succeeded; the others failed.
    pub fn succeeded(&self) -> i32 {
        self.index.succeeded
    }

    /// Returns the numbers of slots of the tasks.
    pub fn slots(&self) -> Slots {
        self.index.slots
    }

    /// Returns whether nothing is left, as if no task had ever existed.
    #[cfg(test)]
    pub fn holds_nothing(&self) -> bool {
        let new = Self::new(self.index.dependencies.is_some());
        self.all.is_empty() && self.index == new.index && self.marked.is_empty()
    }

    /// Panics if the index differs from one that is built from the tasks.
    #[cfg(test)]
    pub fn check(&self) {
        let mut new = Self::new(self.index.dependencies.is_some());
        for (key, task) in &self.all {
            new.insert(key.clone(), (**task).clone());
        }
        assert_eq!(new.index.by_state, self.index.by_state);
        assert_eq!(new.index.ready, self.index.ready);
        assert_eq!((new.index.succeeded, new.index.slots), (self.index.succeeded, self.index.slots));
    }
}

/// The index entry of a task before a change.
pub(super) struct TaskEntry(Entry);
