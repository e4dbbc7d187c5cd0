//! A failed attempt to send a notification.

use std::time::Duration;

/// Why a receiver did not accept a notification.
#[derive(Debug)]
pub struct Failed {
    /// Why the notice was not sent.
    pub why: String,
    /// Whether further attempts are useless.
    pub for_good: bool,
    /// The delay before the next attempt that the receiver asks for.
    pub after: Option<Duration>,
}

impl Failed {
    /// Creates a failure after which another attempt follows.
    pub fn for_now(why: String) -> Self {
        Self { why, for_good: false, after: None }
    }

    /// Creates a failure that another attempt would not change.
    pub fn ever(why: String) -> Self {
        Self { why, for_good: true, after: None }
    }
}
