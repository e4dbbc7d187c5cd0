//! Files of a drop folder that are gathered into batches, or taken as they come.
//!
//! A batch is what stands still once nothing more came for a while, or once enough is there; it is one job of its own.

use crate::Elapsed;
use std::time::Duration;

/// What is being gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    /// How long nothing must come before a batch is complete; none: nothing is gathered.
    quiet: Option<Duration>,
    /// As many as this are a batch at once.
    most: u32,
    /// When the latest one came to stand still.
    latest: Option<Elapsed>,
    /// Those of a complete batch that are not taken yet.
    left: Option<u32>,
}

impl Gathering {
    /// Nothing gathered so far.
    pub fn new(quiet: Option<Duration>, most: u32) -> Self {
        Self { quiet, most: most.max(1), latest: None, left: None }
    }

    /// Another one stands still.
    pub fn came(&mut self, now: Elapsed) {
        self.latest = Some(now);
    }

    /// How many of those that wait may be taken now.
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

    /// So many were taken, and so many still wait; whether that completes a batch, so that its job takes no more.
    pub fn taken(&mut self, count: u32, waiting: u32) -> bool {
        let Some(left) = self.left else { return false };
        // Some may have gone away before they were taken.
        let left = left.saturating_sub(count).min(waiting);
        self.left = (left > 0).then_some(left);
        self.left.is_none()
    }

    /// When those that wait are complete if nothing more comes.
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
    fn without_a_quiet_everything_is_taken_as_it_comes() {
        let mut streaming = Gathering::new(None, 100);
        streaming.came(secs(1));
        assert_eq!(streaming.open(1, secs(1)), u32::MAX);
        assert!(!streaming.taken(1, 0));
        assert_eq!(streaming.wakes_at(5), None);
    }

    #[test]
    fn a_batch_is_complete_once_nothing_more_came_for_a_while_and_not_before() {
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
    fn enough_is_a_batch_at_once_and_what_comes_while_it_is_taken_waits() {
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
    fn what_went_away_is_not_waited_for() {
        let mut gathering = gathering();
        gathering.came(secs(1));
        assert_eq!(gathering.open(3, secs(31)), 3);
        assert!(!gathering.taken(1, 2));
        assert!(gathering.taken(0, 0), "the other two are gone");
        assert_eq!(gathering.open(0, secs(99)), 0);
    }

    #[test]
    fn what_nobody_told_of_counts_as_quiet() {
        assert_eq!(gathering().open(1, secs(0)), 1);
    }
}
