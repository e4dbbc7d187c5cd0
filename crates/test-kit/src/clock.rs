//! Wall time that follows tokio's clock: it stands still while a task can run, and then jumps to the next
//! timer.

use dropmill_azure_wire::time::{Clock, SharedClock, Timestamp};
use jiff::SignedDuration;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use tokio::time::Instant;

/// Start time of every simulation: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600;

/// The clock of one simulation; create it inside the simulation's runtime.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    began: Instant,
    beginning: Timestamp,
}

impl VirtualClock {
    /// Creates a clock that starts at 1 January 2026.
    pub fn begin() -> Self {
        Self::at(Timestamp::from_second(BEGINNING).expect("a valid timestamp"))
    }

    /// Creates a clock that starts at another time.
    pub fn at(beginning: Timestamp) -> Self {
        Self { began: Instant::now(), beginning }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.beginning.checked_add(self.began.elapsed()).unwrap_or(Timestamp::MAX)
    }
}

/// A clock that is ahead of or behind another. Clones share the difference.
#[derive(Clone)]
pub struct ShiftedClock {
    inner: SharedClock,
    ahead_seconds: Arc<AtomicI64>,
}

impl ShiftedClock {
    /// Creates a clock that is this many seconds ahead of `inner`; a negative number means behind.
    pub fn new(inner: SharedClock, ahead_seconds: i64) -> Self {
        Self { inner, ahead_seconds: Arc::new(AtomicI64::new(ahead_seconds)) }
    }

    /// Sets the number of seconds that it is ahead.
    pub fn set(&self, ahead_seconds: i64) {
        self.ahead_seconds.store(ahead_seconds, Ordering::Relaxed);
    }

    /// Returns the number of seconds that it is ahead.
    pub fn ahead_seconds(&self) -> i64 {
        self.ahead_seconds.load(Ordering::Relaxed)
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now();
        now.checked_add(SignedDuration::from_secs(self.ahead_seconds())).unwrap_or(now)
    }
}
