//! How often the actors of a run poll the service.

use crate::services::Services;
use dropmill_lifecycle::plan::RunPlan;
use std::time::Duration;

/// Times between polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollIntervals {
    /// Shortest time between two polls of a job that is being deleted.
    pub job: Duration,
    /// Shortest time between two polls of a pool that is being created or deleted.
    pub pool: Duration,
    /// Time between two polls of the tasks after news; without news it doubles up to `longest`.
    pub tasks: Duration,
    /// Time between two polls of the tasks after a change notification.
    pub notified: Duration,
    /// Longest time between two polls.
    pub longest: Duration,
    /// How far before the latest end time the service may show further ended tasks, for a while.
    pub overlap: Duration,
}

impl PollIntervals {
    /// Returns the intervals for a service and a plan. Polling the embedded service costs almost nothing.
    pub fn new(services: &Services, plan: &RunPlan) -> Self {
        let limits = &plan.limits;
        let (notified, longest) = (limits.poll_at_most_every, limits.poll_every);
        match services.is_embedded() {
            true => Self {
                job: Duration::from_millis(5),
                pool: Duration::from_millis(20),
                tasks: Duration::from_millis(100).min(longest),
                notified,
                longest,
                // It assigns times in the order in which it shows them.
                overlap: Duration::ZERO,
            },
            false => Self {
                job: Duration::from_secs(2),
                pool: Duration::from_secs(2),
                tasks: Duration::from_millis(500).min(longest),
                notified,
                longest,
                overlap: Duration::from_secs(10),
            },
        }
    }
}
