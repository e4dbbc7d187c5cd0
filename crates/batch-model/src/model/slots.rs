//! The slots of a node by index: which task holds which.
//!
//! A task gets the lowest free slots when it is put on the node, and keeps them until its launch has ended, which a node
//! reports when no process of it is left. So no two tasks that run at the same time have a slot in common.

use super::keys::{JobKey, TaskKey};

/// The slots of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    /// The task that holds the slot of that index.
    holders: Vec<Option<(JobKey, TaskKey)>>,
    taken: i32,
}

impl Slots {
    /// Returns how many slots tasks hold.
    pub fn taken(&self) -> i32 {
        self.taken
    }

    /// Gives a task the lowest free slots, `count` of them.
    pub fn take(&mut self, count: i32, job: &JobKey, task: &TaskKey) {
        let mut wanted = usize::try_from(count).unwrap_or(0);
        for slot in self.holders.iter_mut().filter(|slot| slot.is_none()).take(wanted) {
            *slot = Some((job.clone(), task.clone()));
            wanted -= 1;
        }
        self.holders.extend(std::iter::repeat_n(Some((job.clone(), task.clone())), wanted));
        self.taken += count.max(0);
    }

    /// Frees all slots of a task.
    pub fn release(&mut self, job: &JobKey, task: &TaskKey) {
        for slot in &mut self.holders {
            if slot.as_ref().is_some_and(|holder| holder.1 == *task && holder.0 == *job) {
                *slot = None;
                self.taken -= 1;
            }
        }
    }

    /// Returns the lowest slot that a task holds, from 0.
    pub fn lowest(&self, job: &JobKey, task: &TaskKey) -> Option<usize> {
        self.holders
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|holder| holder.1 == *task && holder.0 == *job))
    }

    /// Returns how many slots each task holds.
    #[cfg(test)]
    pub fn held(&self) -> std::collections::BTreeMap<(JobKey, TaskKey), i32> {
        let mut held = std::collections::BTreeMap::new();
        for holder in self.holders.iter().flatten() {
            *held.entry(holder.clone()).or_default() += 1;
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to the slots of a node: a task takes some, or frees its own.
    enum Step {
        Take(&'static str, i32),
        Release(&'static str),
    }
    use Step::{Release, Take};

    #[test]
    fn a_task_gets_the_lowest_free_slots_and_keeps_them_until_it_frees_them() {
        let table: &[(&[Step], &str)] = &[
            (&[], ""),
            (&[Take("a", 1), Take("b", 1)], "ab"),
            (&[Take("a", 1), Take("b", 2), Release("a")], ".bb"),
            (&[Take("a", 1), Take("b", 2), Release("a"), Take("c", 1)], "cbb"),
            (&[Take("a", 1), Take("b", 1), Release("a"), Take("c", 3)], "cbcc"),
            (&[Take("a", 2), Release("a"), Release("a"), Take("b", 1)], "b."),
            (&[Take("a", 1), Release("b"), Take("b", 1)], "ab"),
        ];
        let job = JobKey::of("j");
        for (number, (steps, expected)) in table.iter().enumerate() {
            let mut slots = Slots::default();
            for step in *steps {
                match step {
                    Take(task, count) => slots.take(*count, &job, &TaskKey::of(task)),
                    Release(task) => slots.release(&job, &TaskKey::of(task)),
                }
            }
            let shown = |slot: &Option<(JobKey, TaskKey)>| {
                slot.as_ref().map_or(".", |(_, task)| task.as_str()).to_owned()
            };
            assert_eq!(slots.holders.iter().map(shown).collect::<String>(), *expected, "row {number}");
            let taken = expected.chars().filter(|slot| *slot != '.').count();
            assert_eq!(usize::try_from(slots.taken()), Ok(taken), "row {number}");
            for task in ["a", "b", "c"] {
                assert_eq!(
                    slots.lowest(&job, &TaskKey::of(task)),
                    expected.find(task),
                    "row {number}: {task}"
                );
            }
        }
    }

    #[test]
    fn tasks_of_two_jobs_may_have_the_same_name() {
        let (one, other, task) = (JobKey::of("one"), JobKey::of("other"), TaskKey::of("t"));
        let mut slots = Slots::default();
        slots.take(1, &one, &task);
        slots.take(1, &other, &task);
        slots.release(&one, &task);
        assert_eq!((slots.lowest(&one, &task), slots.lowest(&other, &task)), (None, Some(1)));
    }
}
