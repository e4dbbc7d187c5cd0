//! Task dependencies: by id, or by ranges of numeric ids.

use super::{Refusal, keys::TaskKey};
use dropmill_azure_wire::batch::{TaskDependencies, is_valid_id, limit};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of ranges of one task: the service limits the length of their text.
const MOST_RANGES: usize = 4_000;

/// The dependencies between the tasks of one job. Tasks are identified by their keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dependencies {
    /// For each waiting task, the number of tasks that it still waits for, and its age.
    left: BTreeMap<TaskKey, (u64, u64)>,
    /// For each named task, the tasks that name it, whether they wait for it or not.
    by_id: BTreeMap<TaskKey, BTreeSet<TaskKey>>,
    /// Tasks that name a range, by its end and start, so that ranges before a number can be skipped.
    ranges: BTreeMap<(i32, i32), BTreeSet<TaskKey>>,
    /// Tasks that satisfy dependencies on them; numeric ids also as numbers.
    satisfied: BTreeSet<TaskKey>,
    satisfied_numbers: BTreeSet<i32>,
}

impl Dependencies {
    /// Adds an active task that depends on others. Returns whether all of those are satisfied already.
    pub fn add(&mut self, task: &TaskKey, age: u64, on: &TaskDependencies) -> bool {
        let mut left = 0_u64;
        for id in ids(on) {
            left += u64::from(!self.satisfied.contains(&id));
            self.by_id.entry(id).or_default().insert(task.clone());
        }
        for (end, start) in ranges(on) {
            let all = u64::try_from(i64::from(end) - i64::from(start) + 1).unwrap_or(0);
            let done = if all == 0 { 0 } else { self.satisfied_numbers.range(start..=end).count() as u64 };
            left += all.saturating_sub(done);
            self.ranges.entry((end, start)).or_default().insert(task.clone());
        }
        if left > 0 {
            self.left.insert(task.clone(), (left, age));
        }
        left == 0
    }

    /// Removes a task that is no longer active and waits for no other.
    pub fn forget(&mut self, task: &TaskKey) {
        self.left.remove(task);
    }

    /// Removes a deleted task and its dependencies.
    pub fn remove(&mut self, task: &TaskKey, on: &TaskDependencies) {
        self.forget(task);
        for id in ids(on) {
            remove_from(&mut self.by_id, &id, task);
        }
        for range in ranges(on) {
            remove_from(&mut self.ranges, &range, task);
        }
    }

    /// Returns tasks that name this one and no longer wait.
    pub fn released_by(&self, task: &TaskKey) -> Vec<TaskKey> {
        self.naming(task).filter(|task| !self.left.contains_key(*task)).cloned().collect()
    }

    fn naming(&self, task: &TaskKey) -> impl Iterator<Item = &TaskKey> {
        let of_number = number(task).into_iter().flat_map(|number| {
            let ranges = self.ranges.range((number, i32::MIN)..);
            ranges.filter(move |((_, start), _)| *start <= number).flat_map(|(_, tasks)| tasks)
        });
        self.by_id.get(task).into_iter().flatten().chain(of_number)
    }

    /// Marks a task as satisfied. Returns age and key of those that can start now.
    pub fn satisfy(&mut self, task: &TaskKey) -> Vec<(u64, TaskKey)> {
        if !self.satisfied.insert(task.clone()) {
            return Vec::new();
        }
        let mut waiting: Vec<_> = self.by_id.get(task).into_iter().flatten().cloned().collect();
        if let Some(number) = number(task).filter(|number| self.satisfied_numbers.insert(*number)) {
            let ranges = self.ranges.range((number, i32::MIN)..);
            let ranges = ranges.filter(|((_, start), _)| *start <= number);
            waiting.extend(ranges.flat_map(|(_, tasks)| tasks.iter().cloned()));
        }
        let mut free = Vec::new();
        for task in waiting {
            // It may no longer wait: it is running, or has ended.
            let Some((left, age)) = self.left.get_mut(&task) else { continue };
            *left -= 1;
            if *left == 0 {
                free.push((*age, task.clone()));
                self.left.remove(&task);
            }
        }
        free
    }

    /// Marks a task as unsatisfied because it was deleted or is active again: new tasks that name it wait.
    pub fn unsatisfy(&mut self, task: &TaskKey) {
        if self.satisfied.remove(task)
            && let Some(number) = number(task)
        {
            // Another id may be the same number.
            let same = |id: &TaskKey| self::number(id) == Some(number);
            if !self.satisfied.iter().any(same) {
                self.satisfied_numbers.remove(&number);
            }
        }
    }
}

fn ids(on: &TaskDependencies) -> BTreeSet<TaskKey> {
    on.task_ids.iter().flatten().map(|id| TaskKey::of(id)).collect()
}

/// Returns end and start of each range.
fn ranges(on: &TaskDependencies) -> BTreeSet<(i32, i32)> {
    on.task_id_ranges.iter().flatten().map(|range| (range.end, range.start)).collect()
}

fn remove_from<K: Ord>(map: &mut BTreeMap<K, BTreeSet<TaskKey>>, at: &K, task: &TaskKey) {
    if let Some(tasks) = map.get_mut(at) {
        tasks.remove(task);
        if tasks.is_empty() {
            map.remove(at);
        }
    }
}

/// Returns a key as a number, without leading zeros.
fn number(task: &TaskKey) -> Option<i32> {
    let id = task.as_str();
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| id.parse().ok()).flatten()
}

/// Checks that the dependencies of a task can be met.
///
/// # Errors
/// `TaskDependencyListTooLong` and similar codes.
pub(super) fn checked(on: &TaskDependencies) -> Result<(), Refusal> {
    let ids = on.task_ids.as_deref().unwrap_or_default();
    let ranges = on.task_id_ranges.as_deref().unwrap_or_default();
    if ids.iter().map(String::len).sum::<usize>() > limit::DEPENDENCY_CHARACTERS {
        let words = "The ids of the tasks that the task depends on have more than 64000 characters.";
        return Err(Refusal::new(400, "TaskDependencyListTooLong", words));
    }
    if ranges.len() > MOST_RANGES {
        let words = "The task depends on too many ranges of tasks.";
        return Err(Refusal::new(400, "TaskDependencyRangesTooLong", words));
    }
    if let Some(id) = ids.iter().find(|id| !is_valid_id(id)) {
        return Err(Refusal::invalid("dependsOn.taskIds", &**id, "It is not a valid task id"));
    }
    if let Some(range) = ranges.iter().find(|range| range.start > range.end) {
        let text = format!("{}-{}", range.start, range.end);
        return Err(Refusal::invalid(
            "dependsOn.taskIdRanges",
            text,
            "A range must not end before it starts",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_azure_wire::batch::TaskIdRange;

    fn key(id: &str) -> TaskKey {
        TaskKey::of(id)
    }

    fn on(ids: &[&str], ranges: &[(i32, i32)]) -> TaskDependencies {
        let range = |(start, end): &(i32, i32)| TaskIdRange { start: *start, end: *end };
        TaskDependencies {
            task_ids: Some(ids.iter().map(|id| (*id).to_owned()).collect()),
            task_id_ranges: Some(ranges.iter().map(range).collect()),
        }
    }

    fn freed(all: &mut Dependencies, task: &str) -> Vec<String> {
        all.satisfy(&key(task)).into_iter().map(|(_, task)| task.to_string()).collect()
    }

    #[test]
    fn a_task_starts_when_all_its_dependencies_are_satisfied() {
        let mut all = Dependencies::default();
        assert!(all.add(&key("0"), 1, &on(&[], &[])));
        assert!(!all.add(&key("1"), 2, &on(&["A", "b", "a"], &[])));
        assert!(all.satisfy(&key("b")).is_empty());
        assert!(all.satisfy(&key("b")).is_empty(), "the same again");
        assert_eq!(all.satisfy(&key("a")), [(2, key("1"))]);
        assert!(all.add(&key("2"), 3, &on(&["A", "B"], &[])), "they are satisfied already");
        assert_eq!(all.released_by(&key("a")), [key("1"), key("2")]);
        all.unsatisfy(&key("a"));
        assert!(!all.add(&key("3"), 4, &on(&["A"], &[])), "the task is gone");
        assert_eq!(all.released_by(&key("a")), [key("1"), key("2")], "3 waits");
    }

    #[test]
    fn ranges_count_numbers_without_leading_zeros() {
        let mut all = Dependencies::default();
        all.satisfy(&key("0002"));
        assert!(!all.add(&key("1"), 1, &on(&[], &[(1, 3), (7, 7)])));
        assert!(!all.add(&key("2"), 2, &on(&[], &[(3, 3)])));
        assert!(freed(&mut all, "x3").is_empty());
        assert_eq!(freed(&mut all, "03"), ["2"]);
        assert!(freed(&mut all, "3").is_empty(), "the same number");
        assert!(freed(&mut all, "1").is_empty());
        assert_eq!(freed(&mut all, "7"), ["1"]);
        assert!(all.add(&key("3"), 3, &on(&[], &[(1, 3)])));
        all.unsatisfy(&key("3"));
        assert!(all.add(&key("4"), 4, &on(&[], &[(3, 3)])), "03 is the same number");
        assert!(
            !all.add(&key("5"), 5, &on(&[], &[(i32::MIN, i32::MAX)])),
            "the longest range costs no more than any"
        );
    }

    #[test]
    fn a_deleted_task_does_not_start() {
        let mut all = Dependencies::default();
        for (task, on) in [("1", on(&["a"], &[])), ("2", on(&[], &[(8, 9)]))] {
            all.add(&key(task), 1, &on);
            all.remove(&key(task), &on);
        }
        assert!(
            all.satisfy(&key("a")).is_empty()
                && all.satisfy(&key("8")).is_empty()
                && all.satisfy(&key("9")).is_empty()
        );
    }
}
