//! The error of a request: its operation, its subject, and the response. Contains no secret.

use crate::{
    classify,
    credential::TokenError,
    doubt::Author,
    operation::{CallInfo, Operation},
};
use dropmill_azure_wire::transport::TransportError;
use dropmill_lifecycle::{Code, Failure, FailureKind};
use std::{fmt, io, path::PathBuf, time::Duration};

/// The error of a request to Batch.
pub type BatchError = CallError;

/// The error of a request to either service.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service rejected the request.
    #[error("{0}")]
    Refused(Box<ErrorResponse>),
    /// The request timed out.
    #[error("{tried}: no response within {waited:?}")]
    TimedOut {
        /// The failed request.
        tried: CallInfo,
        /// Duration of the timeout.
        waited: Duration,
    },
    /// No response arrived, or only a part of it.
    #[error("{tried}: no response from the service")]
    Unreachable {
        /// The failed request.
        tried: CallInfo,
        /// Says whether the service was reached at all.
        source: TransportError,
    },
    /// The response is not valid: a proxy's page, JSON without a required property, or a list that continues
    /// on another server.
    #[error("{tried}: response {status} is not valid: {problem} (request {request_id})")]
    BrokenAnswer {
        /// The failed request.
        tried: CallInfo,
        /// HTTP status of the response.
        status: u16,
        /// What is wrong with it.
        problem: String,
        /// The service's request id; `-` if there is none.
        request_id: String,
    },
    /// The request was not sent, because the service would reject it.
    #[error("{tried}: not sent: {problem}")]
    Unsendable {
        /// The request that was not sent.
        tried: CallInfo,
        /// Error code with which the service would reject it.
        code: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The response is longer than the caller's limit.
    #[error("{tried}: more than {limit_bytes} bytes")]
    TooLarge {
        /// The failed request.
        tried: CallInfo,
        /// Limit in bytes.
        limit_bytes: u64,
    },
    /// No token is available to authorize the request.
    #[error("{tried}: not sent")]
    NoToken {
        /// The request that was not sent.
        tried: CallInfo,
        /// The reason why no token is available.
        source: TokenError,
    },
}

/// An error response of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The rejected request.
    pub tried: CallInfo,
    /// HTTP status of the response.
    pub status: u16,
    /// Error code for programs: `PoolExists`, `BlobNotFound`; the status in one word (`BadGateway`) if there
    /// is none.
    pub code: String,
    /// Author of the response.
    pub author: Author,
    /// Whether a doubtful rejection was repeated often enough, without an accepted request in between, to be
    /// final.
    pub believed: bool,
    /// Message for people, in one line; may be empty.
    pub message: String,
    /// The service's request id; `-` if there is none, as in the response of a proxy.
    pub request_id: String,
    /// Details, as names and values.
    pub values: Vec<(String, String)>,
    /// Time for which the service asked the client to wait.
    pub retry_after: Option<Duration>,
    /// Number of seconds that the clock of this machine is ahead of the service's (negative: behind), if that
    /// explains why a signature was rejected.
    pub clock_ahead_seconds: Option<i64>,
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: rejected with {} {}", self.tried, self.status, self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        for (number, (name, value)) in self.values.iter().enumerate() {
            write!(f, "{}{name}: {value}", if number == 0 { " [" } else { ", " })?;
        }
        if !self.values.is_empty() {
            f.write_str("]")?;
        }
        if let Some(ahead) = self.clock_ahead_seconds {
            let way = if ahead < 0 { "behind" } else { "ahead" };
            write!(f, "; this machine's clock is {} min {way}", (ahead.unsigned_abs() + 30) / 60)?;
        }
        write!(f, " (request {})", self.request_id)
    }
}

impl CallError {
    /// Returns the failed request.
    pub fn tried(&self) -> &CallInfo {
        match self {
            Self::Refused(refused) => &refused.tried,
            Self::TimedOut { tried, .. }
            | Self::Unreachable { tried, .. }
            | Self::BrokenAnswer { tried, .. }
            | Self::Unsendable { tried, .. }
            | Self::TooLarge { tried, .. }
            | Self::NoToken { tried, .. } => tried,
        }
    }

    /// Returns the code with which the service rejected the request, or would have.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => Some(refused.code.as_str().into()),
            Self::Unsendable { code, .. } => Some((*code).into()),
            _ => None,
        }
    }

    /// Returns the HTTP status of the response, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            Self::BrokenAnswer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns whether the resource does not exist, according to the service itself: a 404 of a proxy does
    /// not count.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 404 && refused.is_from_service())
    }

    /// Returns whether it is a 409 without the reason for the conflict.
    pub(crate) fn is_conflict_without_code(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 409 && refused.author != Author::Service)
    }

    /// Returns whether the request may have had an effect.
    pub fn is_ambiguous(&self) -> bool {
        self.kind() == FailureKind::Ambiguous
    }

    /// Returns how to handle the failure.
    pub fn kind(&self) -> FailureKind {
        let operation = self.tried().operation;
        match self {
            Self::Refused(refused) => {
                let ErrorResponse { status, code, author, believed, .. } = &**refused;
                classify::refused(operation, *status, code, *author, *believed)
            }
            Self::TimedOut { .. } | Self::BrokenAnswer { .. } => classify::lost(operation),
            Self::Unreachable { source, .. } => classify::unreachable(operation, source),
            Self::Unsendable { .. } | Self::TooLarge { .. } => FailureKind::Permanent,
            Self::NoToken { source, .. } => {
                if source.may_pass {
                    FailureKind::Transient
                } else {
                    FailureKind::Permanent
                }
            }
        }
    }

    /// Returns the failure for the state machines, with a message for people.
    pub fn failure(&self) -> Failure {
        let (code, retry_after) = match self {
            Self::Refused(refused) => (refused.code.as_str().into(), refused.retry_after),
            Self::TimedOut { .. } => (Code::TimedOut, None),
            Self::Unreachable { .. } => (Code::Unreachable, None),
            Self::BrokenAnswer { .. } => (Code::BrokenAnswer, None),
            Self::Unsendable { code, .. } => ((*code).into(), None),
            Self::TooLarge { .. } => (Code::TooLarge, None),
            Self::NoToken { .. } => (Code::NoToken, None),
        };
        Failure { kind: self.kind(), code, message: line(self), retry_after }
    }
}

impl ErrorResponse {
    /// Returns whether the service itself responded, as far as known: it sends a request id.
    fn is_from_service(&self) -> bool {
        self.request_id != "-" || self.code.ends_with("NotFound") && !self.message.is_empty()
    }
}

/// The error of a request to Blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The service was not reached, or rejected the request.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The file changed while it was read. Nothing was stored.
    #[error("{tried}: {} changed while it was read", path.display())]
    SourceChanged {
        /// The upload that failed.
        tried: CallInfo,
        /// Path of the file.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("{tried}: cannot read {}", path.display())]
    Source {
        /// The upload that failed.
        tried: CallInfo,
        /// Path of the file.
        path: PathBuf,
        /// Error of the file system.
        source: io::Error,
    },
    /// The downloaded bytes could not be written.
    #[error("{tried}: cannot write the downloaded bytes")]
    Target {
        /// The download that failed.
        tried: CallInfo,
        /// Error of the file system.
        source: io::Error,
    },
    /// The response to a download has another length than the list of blobs. Nothing was written.
    #[error("{tried}: the response names {named_bytes} bytes, but the list of blobs {listed_bytes}")]
    OtherLength {
        /// The download that failed.
        tried: CallInfo,
        /// Length in the list.
        listed_bytes: u64,
        /// Length in the response.
        named_bytes: u64,
    },
    /// The downloaded bytes do not match the MD5 of the service.
    #[error("{tried}: expected MD5 {kept}, found {arrived}")]
    Corrupt {
        /// The download that failed.
        tried: CallInfo,
        /// MD5 in hex of the bytes that arrived.
        arrived: String,
        /// MD5 in hex that the service reports.
        kept: String,
    },
}

impl BlobError {
    /// Returns the error code of the service.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Call(error) => error.code(),
            _ => None,
        }
    }

    /// Returns the HTTP status of the response, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Call(error) => error.status(),
            _ => None,
        }
    }

    /// Returns whether the service reports that the resource does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_not_found())
    }

    /// Returns whether the request may have had an effect.
    pub fn is_ambiguous(&self) -> bool {
        self.kind() == FailureKind::Ambiguous
    }

    /// Returns how to handle the failure.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Call(error) => error.kind(),
            Self::SourceChanged { .. } | Self::OtherLength { .. } | Self::Corrupt { .. } => {
                FailureKind::Transient
            }
            Self::Source { source, .. } | Self::Target { source, .. } => classify::local(source),
        }
    }

    /// Returns the failure for the state machines, with a message for people. It has additional codes:
    /// `SourceChanged`, `SourceUnreadable`, `Disk`, `OtherLength`, `Corrupt`.
    pub fn failure(&self) -> Failure {
        let code = match self {
            Self::Call(error) => return error.failure(),
            Self::SourceChanged { .. } => Code::SourceChanged,
            Self::Source { .. } => Code::SourceUnreadable,
            Self::Target { .. } => Code::Disk,
            Self::OtherLength { .. } => Code::OtherLength,
            Self::Corrupt { .. } => Code::Corrupt,
        };
        Failure { kind: self.kind(), code, message: line(self), retry_after: None }
    }
}

/// Returns an error and its causes in one line.
fn line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(found) = cause {
        line.push_str(": ");
        line.push_str(&found.to_string());
        cause = found.source();
    }
    line.replace(['\n', '\r'], " ")
}

/// Describes a request for its errors.
pub(crate) fn tried(operation: Operation, subject: impl Into<String>) -> CallInfo {
    CallInfo { operation, subject: subject.into() }
}
