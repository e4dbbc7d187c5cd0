//! After how many failed tasks a run starts no more.

use serde::{Deserialize, Serialize};

/// A number of failed tasks, or a share of all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureLimit {
    /// So many tasks, at least 1.
    Tasks(u32),
    /// So many hundredths of a percent of all tasks of the run, from 1 to 10,000.
    PercentHundredths(u32),
}

impl FailureLimit {
    /// Returns the number of failed tasks at which a run of so many tasks starts no more: rounded up, at least 1.
    pub fn of(self, tasks: u32) -> u32 {
        match self {
            Self::Tasks(count) => count.max(1),
            Self::PercentHundredths(share) => {
                let count = (u64::from(tasks) * u64::from(share)).div_ceil(10_000);
                u32::try_from(count).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FailureLimit::{PercentHundredths, Tasks};

    #[test]
    fn a_share_of_the_tasks_is_rounded_up_and_never_zero() {
        for (limit, tasks, expected) in [
            (Tasks(20), 5, 20),
            (Tasks(0), 5, 1),
            (PercentHundredths(500), 100, 5),
            (PercentHundredths(500), 101, 6),
            (PercentHundredths(500), 3, 1),
            (PercentHundredths(1), 0, 1),
            (PercentHundredths(250), 1000, 25),
            (PercentHundredths(10_000), 7, 7),
            (PercentHundredths(10_000), u32::MAX, u32::MAX),
        ] {
            assert_eq!(limit.of(tasks), expected, "{limit:?} of {tasks}");
        }
    }
}
