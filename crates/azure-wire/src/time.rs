//! Moments: where they come from (`Clock`), so that no room asks the machine for the time itself.

pub use jiff::Timestamp;
use std::sync::Arc;

/// Tells the wall time. The program has one that asks the machine; a simulation has one of its own.
pub trait Clock: Send + Sync {
    /// The moment it is now.
    fn now(&self) -> Timestamp;
}

/// A clock that many hold.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
