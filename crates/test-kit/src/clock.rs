//! Wall time that follows tokio's clock: it stands still while anything can happen and jumps to the next alarm.

use dropmill_azure_wire::time::{Clock, Timestamp};
use tokio::time::Instant;

/// The moment at which every simulation begins: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600;

/// A clock for one simulation; made inside its runtime.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    began: Instant,
}

impl VirtualClock {
    /// A clock that begins now, on 1 January 2026.
    pub fn begin() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let beginning = Timestamp::from_second(BEGINNING).expect("a moment of this century");
        beginning.checked_add(self.began.elapsed()).unwrap_or(Timestamp::MAX)
    }
}
