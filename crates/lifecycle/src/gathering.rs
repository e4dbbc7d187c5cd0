//! Gathers files of a drop folder into batches, or passes them on as they arrive.
//!
//! A batch consists of the stable files after a time without new ones, or after a maximum number; it becomes
//! one job.

use crate::Elapsed;
use std::time::Duration;

/// The state of gathering files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    /// Time without new files after which a batch is complete; `None`: files are not gathered.
    quiet: Option<Duration>,
    /// Number of files that complete a batch at once.
    most: u32,
    /// Time when the latest file became stable.
    latest: Option<Elapsed>,
    /// Number of files of a complete batch that are not claimed yet.
    left: Option<u32>,
}

impl Gathering {
    /// Creates the state without files.
    pub fn new(quiet: Option<Duration>, most: u32) -> Self {
        Self { quiet, most: most.max(1), latest: None, left: None }
    }

    /// Records that another file is stable.
    pub fn came(&mut self, now: Elapsed) {
        self.latest = Some(now);
    }

    /// Returns how many of the waiting files may be claimed now.
    pub fn open(&mut self, waiting: u32, now: Elapsed) -> u32 {
        let Some(quiet) = self.quiet else { return u32::MAX };
        if let Some(left) = self.left {
            return left;
        }
        let is_quiet = self.latest.is_none_or(|latest| now >= latest + quiet);
        if waiting > 0 && (is_quiet || waiting >= self.most) {
            self.left = Some(waiting.min(self.most));
        }
        self.left.unwrap_or(0)
    }

    /// Records claimed files and the number of waiting ones; returns whether this completes a batch, so that
    /// its job accepts no more.
    pub fn taken(&mut self, count: u32, waiting: u32) -> bool {
        let Some(left) = self.left else { return false };
        // Some files may have been removed before they were claimed.
        let left = left.saturating_sub(count).min(waiting);
        self.left = (left > 0).then_some(left);
        self.left.is_none()
    }

    /// Returns when the batch of waiting files is complete if no more arrive.
    pub fn wakes_at(&self, waiting: u32) -> Option<Elapsed> {
        match (self.quiet, self.left) {
            (Some(quiet), None) if waiting > 0 => self.latest.map(|latest| latest + quiet),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(count: u64) -> Elapsed {
        Elapsed(count * 1000)
    }

    fn gathering() -> Gathering {
        Gathering::new(Some(Duration::from_secs(30)), 100)
    }

    #[test]
    fn without_gathering_files_are_claimed_as_they_arrive() {
        let mut streaming = Gathering::new(None, 100);
        streaming.came(secs(1));
        assert_eq!(streaming.open(1, secs(1)), u32::MAX);
        assert!(!streaming.taken(1, 0));
        assert_eq!(streaming.wakes_at(5), None);
    }

    #[test]
    fn a_batch_is_complete_after_a_time_without_new_files() {
        let mut gathering = gathering();
        gathering.came(secs(1));
        gathering.came(secs(20));
        assert_eq!(gathering.wakes_at(2), Some(secs(50)));
        assert_eq!(gathering.open(2, secs(49)), 0);
        assert_eq!(gathering.open(2, secs(50)), 2);
        assert!(gathering.taken(2, 0));
        gathering.came(secs(51));
        assert_eq!(gathering.open(1, secs(52)), 0, "the next one is another batch");
    }

    #[test]
    fn the_maximum_number_completes_a_batch_and_later_files_wait() {
        let mut gathering = gathering();
        gathering.came(secs(1));
        assert_eq!(gathering.open(250, secs(1)), 100);
        assert!(!gathering.taken(60, 190));
        gathering.came(secs(2));
        assert_eq!(gathering.open(191, secs(2)), 40);
        assert!(gathering.taken(40, 151));
        assert_eq!(gathering.open(151, secs(2)), 100);
    }

    #[test]
    fn removed_files_are_not_waited_for() {
        let mut gathering = gathering();
        gathering.came(secs(1));
        assert_eq!(gathering.open(3, secs(31)), 3);
        assert!(!gathering.taken(1, 2));
        assert!(gathering.taken(0, 0), "the other two are gone");
        assert_eq!(gathering.open(0, secs(99)), 0);
    }

    #[test]
    fn time_without_reports_counts_as_time_without_files() {
        assert_eq!(gathering().open(1, secs(0)), 1);
    }
}
