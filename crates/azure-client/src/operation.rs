//! The operations of the two services, as they are named in errors and logs.

pub use dropmill_azure_wire::operation::{Effect, Operation, Service};
use std::fmt;

/// An operation and the resource that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallInfo {
    /// The requested operation.
    pub operation: Operation,
    /// Name of the resource: `pool1`, `job1/task1`, `container1/dir/blob.txt`; empty for all.
    pub subject: String,
}

impl fmt::Display for CallInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() {
            return write!(f, "{}", self.operation);
        }
        let on = self.operation.on();
        let space = if on.is_empty() { "" } else { " " };
        // Blob names may contain any character; an error must stay on one line.
        write!(f, "{}{space}{on} {}", self.operation, crate::shown::shown(&self.subject))
    }
}
