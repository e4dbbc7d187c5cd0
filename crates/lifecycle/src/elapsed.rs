//! Time since the start of a run, in whole milliseconds.

use serde::{Deserialize, Serialize};
use std::{fmt, ops::Add, time::Duration};

/// A time of the run, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Elapsed(pub u64);

impl Elapsed {
    /// Returns the time `seconds` after the start.
    pub const fn secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// Returns the duration from `earlier` to this time; zero if `earlier` is later.
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
