//! The tasks of a job: by state, ready or waiting for others, and their counts.

use crate::model::{
    Task, dependencies::Dependencies, exit_conditions::satisfies, keys::TaskKey, moment::Moment,
    packed::Packer, task_facts::Stage,
};
use dropmill_azure_wire::{batch::TaskState, time::Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The tasks of one job.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    /// In boxes: a tree that is filled in order is half empty.
    all: BTreeMap<TaskKey, Box<Task>>,
    index: TaskIndex,
    /// Tasks that were marked as released since this was asked last.
    marked: Vec<TaskKey>,
    packer: Packer,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct TaskIndex {
    /// In the order in which they entered it.
    by_state: BTreeMap<Stage, BTreeSet<(Moment, TaskKey)>>,
    /// Active tasks that wait for no other, oldest first.
    ready: BTreeSet<(u64, TaskKey)>,
    succeeded: i32,
    slots: Slots,
    /// Which tasks wait for which; none unless the job uses dependencies.
    dependencies: Option<Dependencies>,
}

/// Slots of a job's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Of tasks that wait.
    pub active: i32,
    /// Of tasks on nodes.
    pub running: i32,
    /// Of tasks that are over.
    pub completed: i32,
    /// Of those that succeeded.
    pub succeeded: i32,
}

/// What the index holds of one task.
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
    /// No tasks, of a job that uses dependencies between them or does not.
    pub fn new(uses_dependencies: bool) -> Self {
        let dependencies = uses_dependencies.then(Dependencies::default);
        Self { index: TaskIndex { dependencies, ..TaskIndex::default() }, ..Self::default() }
    }

    /// A task by its key.
    pub fn get(&self, key: &TaskKey) -> Option<&Task> {
        self.all.get(key).map(Box::as_ref)
    }

    /// Whether there is one of that key.
    pub fn contains_key(&self, key: &TaskKey) -> bool {
        self.all.contains_key(key)
    }

    /// A task's own key, which the indexes share, and its index entry, for [`Tasks::changed`].
    pub(super) fn open(&self, key: &TaskKey) -> Option<(TaskKey, TaskEntry)> {
        self.all.get_key_value(key).map(|(key, task)| (key.clone(), TaskEntry(Entry::of(task))))
    }

    pub(super) fn get_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        self.all.get_mut(key).map(Box::as_mut)
    }

    /// A task was changed: the index follows.
    pub(super) fn changed(&mut self, key: &TaskKey, TaskEntry(before): &TaskEntry) {
        let task = self.all.get_mut(key).expect("a task that is being changed is there");
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

    /// Tasks that a satisfied one released stay so when it is deleted or active again.
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

    /// Keys of tasks whose facts changed by the way since this was asked last.
    pub fn take_marked(&mut self) -> Vec<TaskKey> {
        std::mem::take(&mut self.marked)
    }

    /// Adds a task that was not there.
    pub fn insert(&mut self, key: TaskKey, mut task: Task) {
        task.pack(&mut self.packer);
        self.index.add(&key, &task, &Entry::of(&task));
        self.all.insert(key, Box::new(task));
    }

    /// Removes a task. A task that names its id from now on waits for the next of that id.
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

    /// All tasks, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&TaskKey, &Task)> {
        self.all.iter().map(|(key, task)| (key, &**task))
    }

    /// All tasks.
    pub fn values(&self) -> impl Iterator<Item = &Task> {
        self.all.values().map(Box::as_ref)
    }

    /// All tasks from a key on.
    pub fn range(&self, from: TaskKey) -> impl Iterator<Item = (&TaskKey, &Task)> {
        self.all.range(from..).map(|(key, task)| (key, &**task))
    }

    /// Moment and key of each task in a state, in the order in which they entered it.
    pub fn in_state(&self, state: &TaskState) -> impl DoubleEndedIterator<Item = &(Moment, TaskKey)> {
        Stage::of(state).and_then(|stage| self.index.by_state.get(&stage)).into_iter().flatten()
    }

    /// Likewise, from a moment and key on.
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

    /// How many tasks are in a state.
    pub fn count(&self, state: &TaskState) -> usize {
        Stage::of(state).and_then(|stage| self.index.by_state.get(&stage)).map_or(0, BTreeSet::len)
    }

    /// Age and key of each active task that waits for no other, the oldest first.
    pub fn ready(&self) -> &BTreeSet<(u64, TaskKey)> {
        &self.index.ready
    }

    /// Completed tasks that succeeded; the rest failed.
    pub fn succeeded(&self) -> i32 {
        self.index.succeeded
    }

    /// Slots of the tasks.
    pub fn slots(&self) -> Slots {
        self.index.slots
    }

    /// Whether it is as if no task had ever been there.
    #[cfg(test)]
    pub fn holds_nothing(&self) -> bool {
        let new = Self::new(self.index.dependencies.is_some());
        self.all.is_empty() && self.index == new.index && self.marked.is_empty()
    }

    /// Panics unless the index is what a new one would be, made of the facts alone.
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

/// What the index held of a task before a change.
pub(super) struct TaskEntry(Entry);
