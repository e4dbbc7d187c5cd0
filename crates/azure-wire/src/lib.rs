//! The Azure Batch and Blob protocols as bytes and nouns.
//!
//! Client and service meet here and nowhere else: bodies, headers, signatures, SAS, errors, and the
//! `Transport` that carries a request. Nothing in this crate opens a socket, a file or a clock.

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
