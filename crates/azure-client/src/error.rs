//! Why a call did not give what was asked for: what was tried, on what, what came back. Holds no secret.

use crate::{
    classify,
    credential::TokenError,
    doubt::Author,
    operation::{CallInfo, Operation},
};
use dropmill_azure_wire::transport::TransportError;
use dropmill_lifecycle::{Code, Failure, FailureKind};
use std::{fmt, io, path::PathBuf, time::Duration};

/// Why a call to Batch did not give what was asked for.
pub type BatchError = CallError;

/// Why a call to either service did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service answered, and said no.
    #[error("{0}")]
    Refused(Box<ErrorResponse>),
    /// The deadline passed.
    #[error("{tried}: no answer within {waited:?}")]
    TimedOut {
        /// The call.
        tried: CallInfo,
        /// The deadline.
        waited: Duration,
    },
    /// No answer came back, or not the whole of it.
    #[error("{tried}: no answer from the service")]
    Unreachable {
        /// The call.
        tried: CallInfo,
        /// Whether it was reached at all.
        source: TransportError,
    },
    /// An answer came that this program cannot take for one: a proxy's page, JSON without a required property,
    /// a list that leads elsewhere.
    #[error("{tried}: answer {status} not understood: {problem} (request {request_id})")]
    BrokenAnswer {
        /// The call.
        tried: CallInfo,
        /// HTTP status.
        status: u16,
        /// What is wrong with it.
        problem: String,
        /// The service's name for the call; `-` if it gave none.
        request_id: String,
    },
    /// The call was not made: the service would refuse it.
    #[error("{tried}: not sent: {problem}")]
    Unsendable {
        /// The call.
        tried: CallInfo,
        /// The code with which the service would refuse it.
        code: &'static str,
        /// Why not.
        problem: String,
    },
    /// The answer is longer than the caller is ready to keep in memory.
    #[error("{tried}: more than {limit_bytes} bytes")]
    TooLarge {
        /// The call.
        tried: CallInfo,
        /// The limit.
        limit_bytes: u64,
    },
    /// There is nothing to prove with who is calling.
    #[error("{tried}: not sent")]
    NoToken {
        /// The call.
        tried: CallInfo,
        /// Why not.
        source: TokenError,
    },
}

/// What a service said when it refused a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The call.
    pub tried: CallInfo,
    /// HTTP status.
    pub status: u16,
    /// For programs: `PoolExists`, `BlobNotFound`; the status in one word (`BadGateway`) if the service gave none.
    pub code: String,
    /// Who wrote the refusal.
    pub author: Author,
    /// A refusal that is doubtful at first was repeated so often, with no call accepted meanwhile, that it is believed.
    pub believed: bool,
    /// For people, in one line; may be empty.
    pub message: String,
    /// The service's name for the call; `-` if it gave none, as a proxy in between does.
    pub request_id: String,
    /// More about it: names and values.
    pub values: Vec<(String, String)>,
    /// It asked not to be called again before this time has passed.
    pub retry_after: Option<Duration>,
    /// Seconds that this machine's clock is ahead of the service's (negative: behind), when that explains why
    /// a signature was not accepted.
    pub clock_ahead_seconds: Option<i64>,
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: refused with {} {}", self.tried, self.status, self.code)?;
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
    /// The call.
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

    /// The code with which the service refused, or would have.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => Some(refused.code.as_str().into()),
            Self::Unsendable { code, .. } => Some((*code).into()),
            _ => None,
        }
    }

    /// HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            Self::BrokenAnswer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The service knows no such thing. Said by the service itself: a proxy's 404 is no word about it.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 404 && refused.is_from_service())
    }

    /// A 409 that does not say what is in the way.
    pub(crate) fn is_conflict_without_code(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == 409 && refused.author != Author::Service)
    }

    /// Whether the call may have had its effect.
    pub fn is_ambiguous(&self) -> bool {
        self.kind() == FailureKind::Ambiguous
    }

    /// What may be done about it.
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

    /// The failure as the machines see it and as people read it.
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
    /// Whether the service itself answered, as far as can be seen: it names every call.
    fn is_from_service(&self) -> bool {
        self.request_id != "-" || self.code.ends_with("NotFound") && !self.message.is_empty()
    }
}

/// Why a call to Blob did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The service was not reached, or said no.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The file changed while it was read, so that nobody knows what was read. Nothing of it was stored.
    #[error("{tried}: {} changed while it was read", path.display())]
    SourceChanged {
        /// The call.
        tried: CallInfo,
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("{tried}: cannot read {}", path.display())]
    Source {
        /// The call.
        tried: CallInfo,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was downloaded could not be written.
    #[error("{tried}: cannot write what arrived")]
    Target {
        /// The call.
        tried: CallInfo,
        /// Why not.
        source: io::Error,
    },
    /// The response to a download names another length than the list of blobs. Nothing was written.
    #[error("{tried}: the response names {named_bytes} bytes, but the list of blobs {listed_bytes}")]
    OtherLength {
        /// The call.
        tried: CallInfo,
        /// Length in the list.
        listed_bytes: u64,
        /// Length in the response.
        named_bytes: u64,
    },
    /// What arrived is not what the service keeps.
    #[error("{tried}: MD5 of what arrived is {arrived}, but the service keeps {kept}")]
    Corrupt {
        /// The call.
        tried: CallInfo,
        /// MD5 in hex of the bytes that arrived.
        arrived: String,
        /// MD5 in hex that the service gives.
        kept: String,
    },
}

impl BlobError {
    /// The code with which the service refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Call(error) => error.code(),
            _ => None,
        }
    }

    /// HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Call(error) => error.status(),
            _ => None,
        }
    }

    /// The service knows no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_not_found())
    }

    /// Whether the call may have had its effect.
    pub fn is_ambiguous(&self) -> bool {
        self.kind() == FailureKind::Ambiguous
    }

    /// What may be done about it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Call(error) => error.kind(),
            Self::SourceChanged { .. } | Self::OtherLength { .. } | Self::Corrupt { .. } => {
                FailureKind::Transient
            }
            Self::Source { source, .. } | Self::Target { source, .. } => classify::local(source),
        }
    }

    /// The failure as the machines see it and as people read it. Codes of its own: `SourceChanged`,
    /// `SourceUnreadable`, `Disk`, `OtherLength`, `Corrupt`.
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

/// An error and its causes in one line.
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

/// Names a call for its errors.
pub(crate) fn tried(operation: Operation, subject: impl Into<String>) -> CallInfo {
    CallInfo { operation, subject: subject.into() }
}
