//! Failures of calls, as far as a machine or a person needs to know them.

mod code;

pub use code::Code;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What may be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Nothing happened; the same call may succeed later.
    Transient,
    /// It may have happened: ask the service what is true before calling again.
    Ambiguous,
    /// The same call will fail again.
    Permanent,
}

/// A failure that machines decide about and people read. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What may be done about it.
    #[serde(rename = "fault")]
    pub kind: FailureKind,
    /// The service's error code, or one of our own.
    pub code: Code,
    /// Operation, object and response in one line.
    pub message: String,
    /// The service asked not to be called again before this time has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Creates a failure that the same call will meet again.
    pub fn permanent(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Permanent, code: code.into(), message: message.into(), retry_after: None }
    }

    /// Creates a failure that may pass.
    pub fn transient(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Transient, ..Self::permanent(code, message) }
    }
}
