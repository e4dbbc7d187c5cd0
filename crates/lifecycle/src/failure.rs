//! Failures of requests, with the data that state machines and people need.

mod code;

pub use code::Code;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How to handle a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Nothing was done; the same request may succeed later.
    Transient,
    /// The request may have been carried out: check the state before the next attempt.
    Ambiguous,
    /// The same request will fail again.
    Permanent,
}

/// A failure for decisions of state machines, with a message for people. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How to handle it.
    #[serde(rename = "fault")]
    pub kind: FailureKind,
    /// Error code of the service, or of this program.
    pub code: Code,
    /// Operation, object and response in one line.
    pub message: String,
    /// Time for which the service asked the client to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Creates a permanent failure.
    pub fn permanent(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Permanent, code: code.into(), message: message.into(), retry_after: None }
    }

    /// Creates a transient failure.
    pub fn transient(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Transient, ..Self::permanent(code, message) }
    }
}
