//! Types and algorithms of the Azure Batch and Azure Blob Storage protocols.
//!
//! The client (`dropmill-azure-client`) and the service (`dropmill-local-azure`) share this crate and nothing else. Use it to
//! write another client, service or test of these protocols. Nothing in this crate opens a socket or a file, or reads the
//! machine's clock, except [`time::WallClock`].
//!
//! - [`batch`] and [`blob`]: bodies, properties and limits of both services
//! - [`sign`] and [`sas`]: requests signed with an account key, and shared access signatures; each can be created and verified
//! - [`error`]: the errors that the services return
//! - [`transport::Transport`]: sends one request and returns its response
//! - [`time`], [`duration`], [`etag`], [`uri`], [`command_line`]: the notations of these values
//! - [`secret::Secret`]: a key or a signature that `Debug` does not show
//!
//! # Examples
//!
//! Creates a shared access signature for a container, and checks it as the service does:
//!
//! ```
//! use dropmill_azure_wire::{
//!     sas::{Action, Grant, Permissions, SasRequest, verify},
//!     sign::SharedKey,
//! };
//!
//! let key = SharedKey::new("account", &"c2VjcmV0".into())?;
//! let now = "2026-03-02T10:00:00Z".parse()?;
//! let expires = "2026-03-02T11:00:00Z".parse()?;
//! let sas = Grant::to_container("results", Permissions::parse("rl"), expires).sign(&key);
//!
//! let request = |action| SasRequest {
//!     container: "results",
//!     blob: "a.txt",
//!     action,
//!     now,
//!     https: true,
//!     from: [10, 0, 0, 4].into(),
//! };
//! assert!(verify(&key, sas.expose(), &request(Action::ReadBlob)).is_ok());
//! assert!(verify(&key, sas.expose(), &request(Action::DeleteBlob)).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod batch;
pub mod blob;
pub mod command_line;
pub mod duration;
pub mod error;
pub mod etag;
pub mod operation;
pub mod sas;
pub mod secret;
mod shape;
pub mod sign;
pub mod time;
pub mod transport;
pub mod uri;
mod xml;
