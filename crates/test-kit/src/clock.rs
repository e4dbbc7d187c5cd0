//! Wall time that follows tokio's clock: it stands still while anything can happen and jumps to the next alarm.

use dropmill_azure_wire::time::{Clock, SharedClock, Timestamp};
use jiff::SignedDuration;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use tokio::time::Instant;

/// The moment at which every simulation begins: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600;

/// A clock for one simulation; made inside its runtime.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    began: Instant,
    beginning: Timestamp,
}

impl VirtualClock {
    /// A clock that begins now, on 1 January 2026.
    pub fn begin() -> Self {
        Self::at(Timestamp::from_second(BEGINNING).expect("a moment of this century"))
    }

    /// A clock that begins now, at another moment.
    pub fn at(beginning: Timestamp) -> Self {
        Self { began: Instant::now(), beginning }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.beginning.checked_add(self.began.elapsed()).unwrap_or(Timestamp::MAX)
    }
}

/// A clock that is ahead of another, or behind. Clones are moved together.
#[derive(Clone)]
pub struct ShiftedClock {
    inner: SharedClock,
    ahead_seconds: Arc<AtomicI64>,
}

impl ShiftedClock {
    /// A clock so many seconds ahead of `inner`; less than nothing: behind.
    pub fn new(inner: SharedClock, ahead_seconds: i64) -> Self {
        Self { inner, ahead_seconds: Arc::new(AtomicI64::new(ahead_seconds)) }
    }

    /// Moves it to so many seconds ahead.
    pub fn set(&self, ahead_seconds: i64) {
        self.ahead_seconds.store(ahead_seconds, Ordering::Relaxed);
    }

    /// How many seconds it is ahead.
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
