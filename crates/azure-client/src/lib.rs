//! Clients of Azure Batch and Blob over a `Transport`: over a socket ([`live::HttpTransport`]), by a plain call into a
//! service of the same process ([`in_process::InProcess`]), or through whatever else carries a request.
//!
//! A call is signed, sent once, and its answer read within a deadline; what went wrong is told as a
//! [`error::CallError`] whose [`error::CallError::failure`] says what may be done about it. Nobody here repeats
//! a call that may have had an effect, sleeps, or reads the machine's clock: that is decided elsewhere.
//! Two things are repeated, since nobody else could do it as well: a read whose connection died before its
//! answer began (once), and a download that broke off (from where it broke off).

pub mod batch;
pub mod blob;
mod call;
pub mod classify;
pub mod credential;
pub mod delays;
pub mod doubt;
pub mod endpoint;
pub mod error;
pub mod in_process;
#[cfg(feature = "live")]
pub mod live;
pub mod operation;
pub mod record;
mod shown;

pub use credential::{Credential, TokenSource};
pub use endpoint::Endpoint;
pub use error::{BatchError, BlobError};
pub use operation::Operation;
