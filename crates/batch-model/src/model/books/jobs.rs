//! All jobs, with an index of those with ready tasks for a pool, whether the pool exists or not.

use super::tasks::TaskEntry;
use crate::model::{
    Job, Task,
    facts::OnNode,
    keys::{JobKey, NodeKey, PoolKey, TaskKey},
};
use dropmill_azure_wire::batch::JobState;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
};

/// All jobs and their index.
#[derive(Debug, Default)]
pub struct Jobs {
    all: BTreeMap<JobKey, Job>,
    index: JobIndex,
}

/// Active jobs with ready tasks, by the pool that they name: higher priority first, then older.
type JobIndex = BTreeMap<PoolKey, BTreeSet<(i32, u64, JobKey)>>;

/// Index entry of a job: key of its pool, negated priority, age.
#[derive(Debug, Clone, PartialEq)]
struct Entry(Option<(PoolKey, i32, u64)>);

impl Entry {
    fn of(job: &Job) -> Self {
        let has_work = job.state == JobState::Active && !job.tasks.ready().is_empty();
        let place = |pool: &str| (PoolKey::of(pool), -job.spec.priority.unwrap_or(0), job.number);
        Self(job.pool_id().filter(|_| has_work).map(place))
    }
}

/// A job that is being changed.
pub struct JobGuard<'a> {
    jobs: &'a mut Jobs,
    key: JobKey,
    before: Entry,
}

/// A task of a job that is being changed.
pub struct TaskGuard<'a> {
    jobs: &'a mut Jobs,
    job: JobKey,
    task: TaskKey,
    before: (Entry, TaskEntry),
}

impl Jobs {
    /// Returns a job by its key.
    pub fn get(&self, key: &JobKey) -> Option<&Job> {
        self.all.get(key)
    }

    /// Opens a job for a change.
    pub fn change(&mut self, key: &JobKey) -> Option<JobGuard<'_>> {
        let (key, job) = self.all.get_key_value(key)?;
        let (key, before) = (key.clone(), Entry::of(job));
        Some(JobGuard { jobs: self, key, before })
    }

    /// Opens a task of a job for a change.
    pub fn change_task(&mut self, job: &JobKey, task: &TaskKey) -> Option<TaskGuard<'_>> {
        let (job, found) = self.all.get_key_value(job)?;
        let (task, entry) = found.tasks.open(task)?;
        let (job, before) = (job.clone(), (Entry::of(found), entry));
        Some(TaskGuard { jobs: self, job, task, before })
    }

    /// Returns a job's entry on a node that runs or ran its preparation task. The index does not depend on
    /// it.
    pub fn on_node(&mut self, job: &JobKey, node: &NodeKey) -> Option<&mut OnNode> {
        self.all.get_mut(job)?.on_nodes.get_mut(node)
    }

    /// Adds a job.
    pub fn insert(&mut self, key: JobKey, job: Job) {
        self.remove(&key);
        self.enter(&key, &Entry::of(&job));
        self.all.insert(key, job);
    }

    /// Removes a job.
    pub fn remove(&mut self, key: &JobKey) -> Option<Job> {
        let job = self.all.remove(key)?;
        self.leave(key, &Entry::of(&job));
        Some(job)
    }

    /// Returns all jobs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&JobKey, &Job)> {
        self.all.iter()
    }

    /// Returns all jobs.
    pub fn values(&self) -> impl Iterator<Item = &Job> {
        self.all.values()
    }

    /// Returns the keys of all jobs.
    pub fn keys(&self) -> Vec<JobKey> {
        self.all.keys().cloned().collect()
    }

    /// Returns all jobs from a key on.
    pub fn range(&self, from: JobKey) -> impl Iterator<Item = (&JobKey, &Job)> {
        self.all.range(from..)
    }

    /// Returns the active jobs with ready tasks for this pool, by its key: negated priority, age and key of
    /// each, the most important first.
    pub fn with_ready_tasks(&self, pool: &PoolKey) -> impl Iterator<Item = &(i32, u64, JobKey)> {
        self.index.get(pool).into_iter().flatten()
    }

    fn enter(&mut self, key: &JobKey, Entry(entry): &Entry) {
        if let Some((pool, priority, number)) = entry {
            self.index.entry(pool.clone()).or_default().insert((*priority, *number, key.clone()));
        }
    }

    fn leave(&mut self, key: &JobKey, Entry(entry): &Entry) {
        // A job without ready tasks has no entry.
        let Some((pool, priority, number)) = entry else { return };
        let jobs = self.index.get_mut(pool).expect("a job with ready tasks has an entry under its pool");
        jobs.remove(&(*priority, *number, key.clone()));
        if jobs.is_empty() {
            self.index.remove(pool);
        }
    }

    fn changed(&mut self, key: &JobKey, before: &Entry) {
        let (key, job) = self.all.get_key_value(key).expect(THERE);
        let after = Entry::of(job);
        if *before != after {
            let key = key.clone();
            self.leave(&key, before);
            self.enter(&key, &after);
        }
    }

    /// Returns whether nothing is left, as if no job had ever existed.
    #[cfg(test)]
    pub fn hold_nothing(&self) -> bool {
        self.all.is_empty() && self.index.is_empty()
    }

    /// Panics if the index differs from one that is built from the jobs.
    #[cfg(test)]
    pub fn check(&self) {
        let mut new = Self::default();
        for (key, job) in &self.all {
            job.tasks.check();
            new.insert(key.clone(), job.clone());
        }
        assert_eq!(new.index, self.index);
    }
}

/// Message for an object that must exist: a guard keeps its job from being removed.
const THERE: &str = "a job that is being changed exists, and so does its task";

impl JobGuard<'_> {
    /// Returns the key of the job, which all references to the job share.
    pub fn key(&self) -> &JobKey {
        &self.key
    }
}

impl Deref for JobGuard<'_> {
    type Target = Job;
    fn deref(&self) -> &Job {
        self.jobs.all.get(&self.key).expect(THERE)
    }
}

impl DerefMut for JobGuard<'_> {
    fn deref_mut(&mut self) -> &mut Job {
        self.jobs.all.get_mut(&self.key).expect(THERE)
    }
}

impl Drop for JobGuard<'_> {
    fn drop(&mut self) {
        self.jobs.changed(&self.key, &self.before);
    }
}

impl Deref for TaskGuard<'_> {
    type Target = Task;
    fn deref(&self) -> &Task {
        self.jobs.all.get(&self.job).and_then(|job| job.tasks.get(&self.task)).expect(THERE)
    }
}

impl DerefMut for TaskGuard<'_> {
    fn deref_mut(&mut self) -> &mut Task {
        self.jobs.all.get_mut(&self.job).and_then(|job| job.tasks.get_mut(&self.task)).expect(THERE)
    }
}

impl Drop for TaskGuard<'_> {
    fn drop(&mut self) {
        let job = self.jobs.all.get_mut(&self.job).expect(THERE);
        job.tasks.changed(&self.task, &self.before.1);
        self.jobs.changed(&self.job, &self.before.0);
    }
}
