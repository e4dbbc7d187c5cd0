//! A failed attempt to send a notification.

use std::time::Duration;

/// Why a receiver did not take a notification.
#[derive(Debug)]
pub struct Failed {
    /// Why the notice was not sent.
    pub why: String,
    /// Whether no further attempt is worthwhile.
    pub for_good: bool,
    /// The delay that the receiver asks for.
    pub after: Option<Duration>,
}

impl Failed {
    /// Creates a failure after which another attempt follows.
    pub fn for_now(why: String) -> Self {
        Self { why, for_good: false, after: None }
    }

    /// Creates a failure that no further attempt would change.
    pub fn ever(why: String) -> Self {
        Self { why, for_good: true, after: None }
    }
}
