//! All jobs, and which of them have ready tasks for a pool, whether that pool is there or not.

use super::tasks::TaskEntry;
use crate::model::{Job, Task, facts::OnNode, key};
use dropmill_azure_wire::batch::JobState;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
};

/// All jobs.
#[derive(Debug, Default)]
pub struct Jobs {
    all: BTreeMap<String, Job>,
    index: JobIndex,
}

/// Jobs that are active and have ready tasks, by the pool that they name: more important ones first, then older ones.
type JobIndex = BTreeMap<String, BTreeSet<(i32, u64, String)>>;

/// What the index holds of one job: its pool's key, its priority turned around, its age.
#[derive(Debug, Clone, PartialEq)]
struct Entry(Option<(String, i32, u64)>);

impl Entry {
    fn of(job: &Job) -> Self {
        let has_work = job.state == JobState::Active && !job.tasks.ready().is_empty();
        let place = |pool: &str| (key(pool), -job.spec.priority.unwrap_or(0), job.number);
        Self(job.pool_id().filter(|_| has_work).map(place))
    }
}

/// A job that is being changed.
pub struct JobGuard<'a> {
    jobs: &'a mut Jobs,
    key: &'a str,
    before: Entry,
}

/// A task of a job that is being changed.
pub struct TaskGuard<'a> {
    jobs: &'a mut Jobs,
    job: &'a str,
    task: &'a str,
    before: (Entry, TaskEntry),
}

impl Jobs {
    /// A job by its key.
    pub fn get(&self, key: &str) -> Option<&Job> {
        self.all.get(key)
    }

    /// Opens a job for a change.
    pub fn change<'a>(&'a mut self, key: &'a str) -> Option<JobGuard<'a>> {
        let before = Entry::of(self.all.get(key)?);
        Some(JobGuard { jobs: self, key, before })
    }

    /// Opens a task of a job for a change.
    pub fn change_task<'a>(&'a mut self, job: &'a str, task: &'a str) -> Option<TaskGuard<'a>> {
        let found = self.all.get(job)?;
        let before = (Entry::of(found), found.tasks.open(task)?);
        Some(TaskGuard { jobs: self, job, task, before })
    }

    /// A job on a node that runs, or ran, its preparation. No index follows from it.
    pub fn on_node(&mut self, job: &str, node: &str) -> Option<&mut OnNode> {
        self.all.get_mut(job)?.on_nodes.get_mut(node)
    }

    /// Adds a job.
    pub fn insert(&mut self, key: String, job: Job) {
        self.remove(&key);
        self.enter(&key, &Entry::of(&job));
        self.all.insert(key, job);
    }

    /// Removes a job.
    pub fn remove(&mut self, key: &str) -> Option<Job> {
        let job = self.all.remove(key)?;
        self.leave(key, &Entry::of(&job));
        Some(job)
    }

    /// All jobs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Job)> {
        self.all.iter()
    }

    /// All jobs.
    pub fn values(&self) -> impl Iterator<Item = &Job> {
        self.all.values()
    }

    /// Keys of all jobs.
    pub fn keys(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    /// All jobs from a key on.
    pub fn range<'a>(&'a self, from: &str) -> impl Iterator<Item = (&'a String, &'a Job)> + use<'a> {
        self.all.range(from.to_owned()..)
    }

    /// Active jobs with ready tasks that name this pool, by its key: priority turned around, age and key of each, the
    /// most important first.
    pub fn with_ready_tasks(&self, pool: &str) -> impl Iterator<Item = &(i32, u64, String)> {
        self.index.get(pool).into_iter().flatten()
    }

    fn enter(&mut self, key: &str, Entry(entry): &Entry) {
        if let Some((pool, priority, number)) = entry {
            self.index.entry(pool.clone()).or_default().insert((*priority, *number, key.to_owned()));
        }
    }

    fn leave(&mut self, key: &str, Entry(entry): &Entry) {
        let Some((pool, priority, number)) = entry else { return };
        if let Some(jobs) = self.index.get_mut(pool) {
            jobs.remove(&(*priority, *number, key.to_owned()));
            if jobs.is_empty() {
                self.index.remove(pool);
            }
        }
    }

    fn changed(&mut self, key: &str, before: &Entry) {
        let Some(job) = self.all.get(key) else { return };
        let after = Entry::of(job);
        if *before != after {
            self.leave(key, before);
            self.enter(key, &after);
        }
    }

    /// Panics unless the index is what a new one would be, made of the facts alone.
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

/// A guard keeps its job from being removed.
const THERE: &str = "a job that is being changed is there, and so is its task";

impl Deref for JobGuard<'_> {
    type Target = Job;
    fn deref(&self) -> &Job {
        self.jobs.all.get(self.key).expect(THERE)
    }
}

impl DerefMut for JobGuard<'_> {
    fn deref_mut(&mut self) -> &mut Job {
        self.jobs.all.get_mut(self.key).expect(THERE)
    }
}

impl Drop for JobGuard<'_> {
    fn drop(&mut self) {
        self.jobs.changed(self.key, &self.before);
    }
}

impl Deref for TaskGuard<'_> {
    type Target = Task;
    fn deref(&self) -> &Task {
        self.jobs.all.get(self.job).and_then(|job| job.tasks.get(self.task)).expect(THERE)
    }
}

impl DerefMut for TaskGuard<'_> {
    fn deref_mut(&mut self) -> &mut Task {
        self.jobs.all.get_mut(self.job).and_then(|job| job.tasks.get_mut(self.task)).expect(THERE)
    }
}

impl Drop for TaskGuard<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.jobs.all.get_mut(self.job) {
            job.tasks.changed(self.task, &self.before.1);
        }
        self.jobs.changed(self.job, &self.before.0);
    }
}
