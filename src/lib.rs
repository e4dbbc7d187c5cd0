//! Dropmill turns files into results: one task per file, on this machine or on Azure Batch.
//!
//! [`Run`] carries out the tasks of a run file, or of [`settings::Settings`] made in code; [`Daemon`] watches a drop folder.
//! The program `dropmill` is this library with a command line.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `embedded` | the local Batch and Blob service: runs on this machine (`service.kind = "embedded"`) |
//! | `tls` | calls over sockets: runs on Azure (`service.kind = "azure"`), notifications to an address (`notify.url`) |
//! | `simulate` | run files in a simulated world (module `simulate`) |
//! | `cli` | the command line, with all of the above; on by default |
//!
//! What needs a feature that was not built fails with [`Error::MissingFeature`].

mod again;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
mod commands;
pub mod control;
mod daemon;
mod embed;
mod error;
mod logs;
mod notify;
pub mod plan;
mod record;
#[cfg(feature = "cli")]
mod render;
mod services;
mod session;
pub mod settings;
#[cfg(feature = "simulate")]
pub mod simulate;
mod start;
mod state;
mod stored_run;

#[cfg(feature = "cli")]
pub use commands::run_command;
pub use daemon::{DaemonEvent, Status};
pub use dropmill_actors::drop_folder::DropCounts;
pub use dropmill_journal::{Shown, event, report, shown};
#[cfg(feature = "embedded")]
pub use dropmill_local_azure::runner::keeper::{run_as_keeper, use_keeper};
pub use embed::{Daemon, DaemonBuilder, ResumeBuilder, RetryBuilder, Run, RunBuilder};
pub use error::{Error, Failure, MissingFeature, NothingToDo, StateError, UsageError};

/// The former name of [`DaemonEvent`].
#[deprecated(note = "use `DaemonEvent`")]
pub type Notice = DaemonEvent;

/// Compiles the examples of the page.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct EmbeddingPage;
