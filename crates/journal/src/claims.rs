//! The state of the files that a daemon claimed, from the journals of all its runs.
//!
//! A file stays in its place in the work folder while tasks are made from it, one after the other: if the
//! service rejects a task, that task is closed, and the next attempt is another task, often in another run.
//! Only the latest task determines the state of the file.

use crate::past::RecoveredRun;
use std::collections::BTreeMap;

/// A fold of the recovered states of all runs of one daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimFold {
    places: BTreeMap<String, Latest>,
    runs: u32,
}

/// The latest task made from the file at a place.
#[derive(Debug, Clone, PartialEq)]
struct Latest {
    /// Number of the attempt, number of the run, and number of the event.
    order: (u32, u32, u64),
    run: String,
    task: String,
    input: String,
}

impl ClaimFold {
    /// Adds the state of a run. Runs must be added in the order of their creation.
    pub fn add(&mut self, run: &str, past: &RecoveredRun) {
        self.runs += 1;
        for (task, past) in &past.tasks {
            let Some(claim) = &past.claimed else { continue };
            let order = (claim.attempt, self.runs, past.cause.unwrap_or(0));
            if self.places.get(&claim.place).is_none_or(|latest| latest.order < order) {
                let (run, task, input) = (run.to_owned(), task.clone(), claim.input.clone());
                self.places.insert(claim.place.clone(), Latest { order, run, task, input });
            }
        }
    }

    /// Marks those tasks of a run as settled whose files have become other tasks since.
    pub fn settle(&self, run: &str, past: &mut RecoveredRun) {
        for (task, past) in &mut past.tasks {
            let latest = past.claimed.as_ref().and_then(|claim| self.places.get(&claim.place));
            if latest.is_some_and(|latest| latest.run != run || latest.task != *task) {
                past.settled = true;
            }
        }
    }

    /// Returns the path below the drop folder of the input at a place.
    pub fn input_of(&self, place: &str) -> Option<&str> {
        self.places.get(place).map(|latest| latest.input.as_str())
    }

    /// Returns the number of tasks made from the input at a place.
    pub fn attempts_of(&self, place: &str) -> u32 {
        self.places.get(place).map_or(0, |latest| latest.order.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past::{RecoveredClaim, RecoveredTask};

    fn past(tasks: &[(&str, &str, u32)]) -> RecoveredRun {
        let mut past = RecoveredRun::default();
        for (at, (task, place, attempt)) in tasks.iter().enumerate() {
            let claim = RecoveredClaim {
                input: "a.txt".into(),
                place: (*place).into(),
                attempt: *attempt,
                look: None,
            };
            let known = RecoveredTask {
                cause: Some(at as u64 + 1),
                claimed: Some(claim),
                ..RecoveredTask::default()
            };
            past.tasks.insert((*task).into(), known);
        }
        past
    }

    fn settled(fold: &ClaimFold, run: &str, mut past: RecoveredRun) -> Vec<String> {
        fold.settle(run, &mut past);
        past.tasks.into_iter().filter(|(_, task)| task.settled).map(|(task, _)| task).collect()
    }

    #[test]
    fn only_the_latest_task_of_a_file_counts_over_all_runs() {
        let one = past(&[("a-1", "r1/a-1", 1), ("b", "r1/b", 1), ("a-2", "r1/a-1", 2)]);
        let two = past(&[("a-3", "r1/a-1", 3), ("c", "r2/c", 1)]);
        let mut fold = ClaimFold::default();
        fold.add("r1", &one);
        assert_eq!(settled(&fold, "r1", one.clone()), ["a-1"]);
        fold.add("r2", &two);
        assert_eq!(settled(&fold, "r1", one), ["a-1", "a-2"]);
        assert_eq!(settled(&fold, "r2", two), Vec::<String>::new());
        assert_eq!((fold.input_of("r1/a-1"), fold.attempts_of("r1/a-1")), (Some("a.txt"), 3));
        assert_eq!((fold.input_of("r9/x"), fold.attempts_of("r9/x")), (None, 0));
    }

    #[test]
    fn attempts_without_numbers_are_ordered_by_run_and_event() {
        // As recorded by releases without `attempt`.
        let one = past(&[("a-1", "r1/a-1", 1), ("a-2", "r1/a-1", 1)]);
        let two = past(&[("a-1", "r1/a-1", 1)]);
        let mut fold = ClaimFold::default();
        fold.add("r1", &one);
        fold.add("r2", &two);
        assert_eq!(settled(&fold, "r1", one), ["a-1", "a-2"]);
        assert_eq!(settled(&fold, "r2", two), Vec::<String>::new());
    }
}
