//! Types and algorithms of the Azure Batch and Azure Blob Storage protocols.
//!
//! The client and the service share this crate and nothing else: bodies, headers, signatures, SAS, errors,
//! and the `Transport` that sends a request. Nothing in this crate opens a socket or a file, or reads the
//! clock.

pub mod batch;
pub mod blob;
pub mod command_line;
pub mod duration;
pub mod error;
pub mod etag;
pub mod sas;
pub mod secret;
mod shape;
pub mod sign;
pub mod time;
pub mod transport;
pub mod uri;
mod xml;
