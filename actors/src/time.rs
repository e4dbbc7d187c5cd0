//! The clock of a run: tokio's clock, which tests can control, plus the wall clock at its start.

use dropmill_azure_wire::time::{SharedClock, Timestamp};
use dropmill_lifecycle::Elapsed;
use std::time::Duration;
use tokio::time::Instant;

/// Measures the duration of a run.
#[derive(Clone)]
pub struct RunClock {
    began: Instant,
    /// Duration of the run in previous processes, in milliseconds.
    before: u64,
    wall: SharedClock,
}

impl RunClock {
    /// Starts a clock for a run with this duration in previous processes.
    pub fn begin(wall: SharedClock, before: u64) -> Self {
        Self { began: Instant::now(), before, wall }
    }

    /// Returns the duration of the run, in whole milliseconds, without the time between two processes.
    pub fn elapsed(&self) -> Elapsed {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Elapsed(self.before.saturating_add(now))
    }

    /// Returns the wall-clock time.
    pub fn now(&self) -> Timestamp {
        self.wall.now()
    }

    /// Returns the time until `moment`; at least a millisecond, so that an alarm never spins.
    pub fn until(&self, moment: Elapsed) -> Duration {
        moment.since(self.elapsed()).max(Duration::from_millis(1))
    }
}
