//! How long to rest between tries: a table, filled once when settings are read.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The rests between tries, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// The rest after the first try, the second, …
    pub steps: Vec<Duration>,
    /// After the last step: rest that long again and again (true), or give up (false).
    pub for_ever: bool,
}

impl Delays {
    /// The rest after try number `attempt` (from 1), at least what the service asked for.
    /// `None`: no more tries.
    pub fn after(&self, attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
        let index = attempt.saturating_sub(1) as usize;
        let own = match self.steps.get(index) {
            Some(step) => *step,
            None if self.for_ever => *self.steps.last()?,
            None => return None,
        };
        Some(own.max(retry_after.unwrap_or_default()))
    }
}
