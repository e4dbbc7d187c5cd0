//! The nouns of Azure Batch: what it returns and what it is sent, as serde shapes.
//!
//! One vocabulary for client and service. Types named `…Add`, `…Patch`, `…Update` or after a verb are
//! sent, the others come back; parts that are the same in both are one type. Every property of the API versions 2025-06-01
//! and 2024-07-01.20.0 (and `cloudServiceConfiguration`, which ended with 19.0) is either typed or kept as a
//! [`Subtree`]; what neither has is ignored. Nothing here decides or checks: limits are only named.

mod application;
mod common;
mod counts;
mod execution;
mod file;
mod image;
mod job;
mod job_tasks;
mod node;
mod page;
mod pool;
mod pool_calls;
pub mod requests;
mod statistics;
mod task;
mod task_calls;
pub mod version;

pub use application::*;
pub use common::*;
pub use counts::*;
pub use execution::*;
pub use file::*;
pub use image::*;
pub use job::*;
pub use job_tasks::*;
pub use node::*;
pub use page::*;
pub use pool::*;
pub use pool_calls::*;
pub use statistics::*;
pub use task::*;
pub use task_calls::*;

/// The content type of a request with a body; compare by prefix, clients append a charset.
pub const REQUEST_CONTENT_TYPE: &str = "application/json; odata=minimalmetadata";
/// The content type of an answer with a body.
pub const RESPONSE_CONTENT_TYPE: &str = "application/json;odata=minimalmetadata";

/// Names of headers that Batch has beside HTTP's own.
pub mod header {
    /// The date that is signed (RFC 1123).
    pub const OCP_DATE: &str = "ocp-date";
    /// The range of a file (`bytes=a-b`).
    pub const OCP_RANGE: &str = "ocp-range";
    /// The caller's name for a call.
    pub const CLIENT_REQUEST_ID: &str = "client-request-id";
    /// `true`: the answer repeats `client-request-id`.
    pub const RETURN_CLIENT_REQUEST_ID: &str = "return-client-request-id";
    /// The service's name for a call.
    pub const REQUEST_ID: &str = "request-id";
    /// `3.0` on answers.
    pub const DATA_SERVICE_VERSION: &str = "dataserviceversion";
    /// The URL of the entity a call was about.
    pub const DATA_SERVICE_ID: &str = "dataserviceid";
    /// Whether a file is a folder: `True` or `False`.
    pub const FILE_IS_DIRECTORY: &str = "ocp-batch-file-isdirectory";
    /// A file's mode: `0o100644`.
    pub const FILE_MODE: &str = "ocp-batch-file-mode";
    /// A file's URL, percent-encoded as a whole.
    pub const FILE_URL: &str = "ocp-batch-file-url";
    /// When a file was created.
    pub const CREATION_TIME: &str = "ocp-creation-time";
}

/// Numbers the service holds its callers to.
pub mod limit {
    /// Characters of an id.
    pub const ID_CHARACTERS: usize = 64;
    /// Tasks in one collection.
    pub const TASKS_PER_COLLECTION: usize = 100;
    /// Bytes of a request body.
    pub const BODY_BYTES: usize = 1024 * 1024;
    /// Entries of a page of a list.
    pub const PAGE: u32 = 1000;
    /// Entries of a page of node counts.
    pub const NODE_COUNTS_PAGE: u32 = 10;
    /// Nodes in one removal.
    pub const NODES_PER_REMOVAL: usize = 100;
    /// Seconds the service works on one call.
    pub const TIMEOUT_SECONDS: u32 = 30;
    /// Characters of all `taskIds` a task depends on.
    pub const DEPENDENCY_CHARACTERS: usize = 64_000;
}

/// Whether a text may be the id of a pool, job or task: 1 to 64 letters, digits, `-` and `_`.
pub fn is_valid_id(id: &str) -> bool {
    (1..=limit::ID_CHARACTERS).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests;
