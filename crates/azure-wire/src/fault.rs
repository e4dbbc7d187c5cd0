//! What a failed call means to somebody who must decide what to do next.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What may be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing happened; the same call may succeed later.
    Transient,
    /// It may have happened: ask the service what is true before calling again.
    Ambiguous,
    /// The same call will fail again.
    Permanent,
}

/// A failure as the machines see it and as people read it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// What may be done about it.
    pub fault: Fault,
    /// The service's error code (`PoolQuotaReached`), or ours: `Unreachable`, `TimedOut`, `BrokenAnswer`.
    pub code: String,
    /// What was tried, on what, what came back: one line.
    pub message: String,
    /// The service asked not to be called again before this time has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Trouble {
    /// A failure that calling again will not mend.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { fault: Fault::Permanent, code: code.into(), message: message.into(), retry_after: None }
    }

    /// A failure that may pass.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { fault: Fault::Transient, ..Self::permanent(code, message) }
    }
}
