//! The run's own time: tokio's clock, so that a test can hold it, and the wall clock it began at.

use dropmill_azure_wire::time::{SharedClock, Timestamp};
use dropmill_lifecycle::Elapsed;
use std::time::Duration;
use tokio::time::Instant;

/// Tells how long the run has lasted.
#[derive(Clone)]
pub struct RunClock {
    began: Instant,
    /// Milliseconds that the run lasted before this life of it.
    before: u64,
    wall: SharedClock,
}

impl RunClock {
    /// A clock that begins now, in a run that lasted so many milliseconds before.
    pub fn begin(wall: SharedClock, before: u64) -> Self {
        Self { began: Instant::now(), before, wall }
    }

    /// Time that the run has lasted, in whole milliseconds; the time between two lives of it does not count.
    pub fn elapsed(&self) -> Elapsed {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Elapsed(self.before.saturating_add(now))
    }

    /// Wall time.
    pub fn now(&self) -> Timestamp {
        self.wall.now()
    }

    /// How long it is until `moment`; at least a millisecond, so that an alarm never spins.
    pub fn until(&self, moment: Elapsed) -> Duration {
        moment.since(self.elapsed()).max(Duration::from_millis(1))
    }
}
