//! Request and response bodies of Azure Batch, as serde types that client and service share.
//!
//! Types named `…Add`, `…Patch`, `…Update` or after a verb are request bodies, the others are response
//! bodies; parts that both have in common are one type. Every property of the API versions 2025-06-01 and
//! 2024-07-01.20.0 (and `cloudServiceConfiguration`, which version 19.0 was the last to have) is either typed
//! or kept as a [`Subtree`]; other properties are ignored. This module defines limits but does not enforce
//! them.

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

/// Content type of a request body. Compare by prefix, because clients append a charset.
pub const REQUEST_CONTENT_TYPE: &str = "application/json; odata=minimalmetadata";
/// Content type of a response body.
pub const RESPONSE_CONTENT_TYPE: &str = "application/json;odata=minimalmetadata";

/// Names of headers that only Batch uses.
pub mod header {
    /// Date that the signature covers (RFC 1123).
    pub const OCP_DATE: &str = "ocp-date";
    /// Byte range of a file (`bytes=a-b`).
    pub const OCP_RANGE: &str = "ocp-range";
    /// Request id that the client chooses.
    pub const CLIENT_REQUEST_ID: &str = "client-request-id";
    /// `true` to repeat `client-request-id` in the response.
    pub const RETURN_CLIENT_REQUEST_ID: &str = "return-client-request-id";
    /// Request id that the service assigns.
    pub const REQUEST_ID: &str = "request-id";
    /// OData version; `3.0` in every response.
    pub const DATA_SERVICE_VERSION: &str = "dataserviceversion";
    /// URL of the entity that the request addresses.
    pub const DATA_SERVICE_ID: &str = "dataserviceid";
    /// `True` if the file is a directory, else `False`.
    pub const FILE_IS_DIRECTORY: &str = "ocp-batch-file-isdirectory";
    /// File mode, for example `0o100644`.
    pub const FILE_MODE: &str = "ocp-batch-file-mode";
    /// URL of the file, percent-encoded as a whole.
    pub const FILE_URL: &str = "ocp-batch-file-url";
    /// Creation time of the file.
    pub const CREATION_TIME: &str = "ocp-creation-time";
}

/// Limits that the service enforces.
pub mod limit {
    /// Maximum number of characters of an id.
    pub const ID_CHARACTERS: usize = 64;
    /// Maximum number of tasks in one collection.
    pub const TASKS_PER_COLLECTION: usize = 100;
    /// Maximum size of a request body in bytes.
    pub const BODY_BYTES: usize = 1024 * 1024;
    /// Maximum number of entries on a page of a list.
    pub const PAGE: u32 = 1000;
    /// Maximum number of entries on a page of node counts.
    pub const NODE_COUNTS_PAGE: u32 = 10;
    /// Maximum number of nodes that one request removes.
    pub const NODES_PER_REMOVAL: usize = 100;
    /// Timeout of a call in the service, in seconds.
    pub const TIMEOUT_SECONDS: u32 = 30;
    /// Maximum total number of characters of the `taskIds` that a task depends on.
    pub const DEPENDENCY_CHARACTERS: usize = 64_000;
}

/// Returns `true` if `id` is a valid id of a pool, job or task: 1 to 64 letters, digits, `-` and `_`.
pub fn is_valid_id(id: &str) -> bool {
    (1..=limit::ID_CHARACTERS).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests;
