//! Which tasks wait for which: by id, or by ranges of ids that are numbers.

use super::{Refusal, key};
use dropmill_azure_wire::batch::{TaskDependencies, is_valid_id, limit};
use std::collections::{BTreeMap, BTreeSet};

/// The most ranges that one task may depend on: the service bounds their text.
const MOST_RANGES: usize = 4_000;

/// The dependencies between the tasks of one job. Tasks are named by their keys.
#[derive(Debug, Clone, Default)]
pub struct Dependencies {
    /// How many tasks each waiting task still waits for.
    left: BTreeMap<String, u64>,
    by_id: BTreeMap<String, Vec<String>>,
    /// Tasks that wait for a range, by its end and start, so that those before a number are passed over.
    ranges: BTreeMap<(i32, i32), Vec<String>>,
    /// Tasks nobody need wait for any longer; those whose ids are numbers also as numbers.
    satisfied: BTreeSet<String>,
    satisfied_numbers: BTreeSet<i32>,
}

impl Dependencies {
    /// Takes in a task that waits for others. `true`: for none that is not satisfied already.
    pub fn add(&mut self, task: &str, on: &TaskDependencies) -> bool {
        let mut left = 0_u64;
        let ids: BTreeSet<String> = on.task_ids.iter().flatten().map(|id| key(id)).collect();
        for id in ids {
            if !self.satisfied.contains(&id) {
                self.by_id.entry(id).or_default().push(task.to_owned());
                left += 1;
            }
        }
        let ranges: BTreeSet<_> =
            on.task_id_ranges.iter().flatten().map(|range| (range.end, range.start)).collect();
        for (end, start) in ranges {
            let all = u64::try_from(i64::from(end) - i64::from(start) + 1).unwrap_or(0);
            let done = if all == 0 { 0 } else { self.satisfied_numbers.range(start..=end).count() as u64 };
            if done < all {
                self.ranges.entry((end, start)).or_default().push(task.to_owned());
                left += all - done;
            }
        }
        if left > 0 {
            self.left.insert(task.to_owned(), left);
        }
        left == 0
    }

    /// A task is gone: it waits for nobody.
    pub fn forget(&mut self, task: &str) {
        self.left.remove(task);
    }

    /// Nobody need wait for this task any longer. The tasks that may start now.
    pub fn satisfy(&mut self, task: &str) -> Vec<String> {
        if !self.satisfied.insert(task.to_owned()) {
            return Vec::new();
        }
        let mut waiting = self.by_id.remove(task).unwrap_or_default();
        if let Some(number) = number(task).filter(|number| self.satisfied_numbers.insert(*number)) {
            let ranges = self.ranges.range((number, i32::MIN)..);
            waiting.extend(
                ranges.filter(|((_, start), _)| *start <= number).flat_map(|(_, tasks)| tasks.clone()),
            );
        }
        let mut free = Vec::new();
        for task in waiting {
            let Some(left) = self.left.get_mut(&task) else { continue };
            *left -= 1;
            if *left == 0 {
                self.left.remove(&task);
                free.push(task);
            }
        }
        free
    }

    /// A task that was satisfied is deleted: who comes later and names it waits for another of that id.
    pub fn unsatisfy(&mut self, task: &str) {
        if self.satisfied.remove(task)
            && let Some(number) = number(task)
        {
            self.satisfied_numbers.remove(&number);
        }
    }
}

/// An id as a number; leading zeros do not count.
fn number(id: &str) -> Option<i32> {
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| id.parse().ok()).flatten()
}

/// Dependencies as the protocol allows them.
///
/// # Errors
/// `TaskDependencyListTooLong` and the like.
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
        return Err(Refusal::invalid("dependsOn.taskIds", &**id, "It is not the id of a task"));
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

    fn on(ids: &[&str], ranges: &[(i32, i32)]) -> TaskDependencies {
        let range = |(start, end): &(i32, i32)| TaskIdRange { start: *start, end: *end };
        TaskDependencies {
            task_ids: Some(ids.iter().map(|id| (*id).to_owned()).collect()),
            task_id_ranges: Some(ranges.iter().map(range).collect()),
        }
    }

    #[test]
    fn a_task_starts_when_all_it_waits_for_is_satisfied() {
        let mut all = Dependencies::default();
        assert!(all.add("0", &on(&[], &[])));
        assert!(!all.add("1", &on(&["A", "b", "a"], &[])));
        assert!(all.satisfy("b").is_empty());
        assert!(all.satisfy("b").is_empty(), "the same again");
        assert_eq!(all.satisfy("a"), ["1"]);
        assert!(all.add("2", &on(&["A", "B"], &[])), "they are satisfied already");
        all.unsatisfy("a");
        assert!(!all.add("3", &on(&["A"], &[])), "the task is gone");
    }

    #[test]
    fn ranges_count_numbers_without_leading_zeros() {
        let mut all = Dependencies::default();
        all.satisfy("0002");
        assert!(!all.add("1", &on(&[], &[(1, 3), (7, 7)])));
        assert!(!all.add("2", &on(&[], &[(3, 3)])));
        assert!(all.satisfy("x3").is_empty());
        assert_eq!(all.satisfy("03"), ["2"]);
        assert!(all.satisfy("3").is_empty(), "the same number");
        assert!(all.satisfy("1").is_empty());
        assert_eq!(all.satisfy("7"), ["1"]);
        assert!(all.add("3", &on(&[], &[(1, 3)])));
        assert!(!all.add("4", &on(&[], &[(i32::MIN, i32::MAX)])), "the longest range costs no more than any");
    }

    #[test]
    fn a_task_that_is_gone_does_not_start() {
        let mut all = Dependencies::default();
        all.add("1", &on(&["a"], &[]));
        all.forget("1");
        assert!(all.satisfy("a").is_empty());
    }
}
