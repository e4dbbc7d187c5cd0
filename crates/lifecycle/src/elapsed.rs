//! Time since the run began, in whole milliseconds.

use serde::{Deserialize, Serialize};
use std::{fmt, ops::Add, time::Duration};

/// A moment of the run, counted from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Elapsed(pub u64);

impl Elapsed {
    /// The moment `seconds` after the beginning.
    pub const fn secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// The length of time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Elapsed {
    type Output = Self;
    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:01}s", self.0 / 1000, self.0 % 1000 / 100)
    }
}
