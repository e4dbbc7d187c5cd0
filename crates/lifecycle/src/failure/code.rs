//! Error codes: those of the services that a decision depends on, and those of this program.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Defines the enum from its variants, whose names are the codes.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// An error code of Batch, of Blob, or of this program.
        ///
        /// Codes are written as the service writes them. A code that no decision depends on is
        /// [`Code::Other`].
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum Code {
            $($(#[$doc])* $name,)+
            /// Any other code.
            Other(String),
        }

        impl Code {
            /// The codes that have a name here.
            #[cfg(test)]
            const KNOWN: &[Self] = &[$(Self::$name),+];

            /// Returns the code as the service writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => stringify!($name),)+
                    Self::Other(code) => code,
                }
            }

            fn known(code: &str) -> Option<Self> {
                Some(match code {
                    $(stringify!($name) => Self::$name,)+
                    _ => return None,
                })
            }
        }
    };
}

codes! {
    /// A pool with this id exists.
    PoolExists,
    /// The pool does not exist.
    PoolNotFound,
    /// The pool is being deleted.
    PoolBeingDeleted,
    /// A job with this id exists.
    JobExists,
    /// The job does not exist.
    JobNotFound,
    /// The job is being deleted.
    JobBeingDeleted,
    /// The job is being terminated.
    JobBeingTerminated,
    /// The job is being terminated: the code of some operations.
    JobTerminating,
    /// The job has ended.
    JobCompleted,
    /// A task with this id exists.
    TaskExists,
    /// The task does not exist.
    TaskNotFound,
    /// The request has more bytes than the service accepts.
    RequestBodyTooLarge,
    /// A container with this name exists.
    ContainerAlreadyExists,
    /// The container does not exist.
    ContainerNotFound,
    /// The container is being deleted.
    ContainerBeingDeleted,
    /// The service did not respond in time.
    TimedOut,
    /// The service could not be reached.
    Unreachable,
    /// The response is not from the service.
    BrokenAnswer,
    /// The response is longer than the limit in memory.
    TooLarge,
    /// No token is available to authorize the request.
    NoToken,
    /// A file changed while it was uploaded.
    SourceChanged,
    /// A file to be uploaded could not be read.
    SourceUnreadable,
    /// A file to be uploaded is not available.
    Source,
    /// A local file could not be written.
    Disk,
    /// The response has another length than the list.
    OtherLength,
    /// The received bytes have another checksum than the service reports.
    Corrupt,
    /// The name of a file would lead out of its folder.
    HostileName,
    /// A task has more output files than may be downloaded.
    TooManyFiles,
    /// A thread has ended before its work was done.
    Thread,
    /// A file of the drop folder could not be claimed.
    NotTaken,
    /// The nodes of a pool were not allocated in time.
    AllocationTimedOut,
    /// The start tasks of a pool did not end in time.
    StartTaskTimedOut,
    /// The start task failed on every node.
    StartTaskFailed,
    /// Every node is unusable.
    NodesUnusable,
    /// The job was terminated: it accepts no tasks.
    JobTerminated,
    /// The run ended before the results were downloaded.
    Abandoned,
    /// An actor has exited.
    ActorLost,
    /// Kept on purpose.
    Kept,
}

impl From<&str> for Code {
    fn from(code: &str) -> Self {
        Self::known(code).unwrap_or_else(|| Self::Other(code.to_owned()))
    }
}

impl From<String> for Code {
    fn from(code: String) -> Self {
        Self::known(&code).unwrap_or(Self::Other(code))
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        match code {
            Code::Other(code) => code,
            known => known.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_the_service_writes_them() {
        for code in Code::KNOWN.iter().cloned().chain([Code::Other("ServerBusy".into())]) {
            let text = serde_json::to_string(&code).expect("a code is a string");
            assert_eq!(text, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<Code>(&text).expect("it is a code"), code);
            assert_eq!((Code::from(code.as_str()), Code::from(code.to_string())), (code.clone(), code));
        }
        assert_eq!(Code::PoolExists.as_str(), "PoolExists");
    }
}
