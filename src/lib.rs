//! Dropmill turns files into results: one task per file, on this machine or on Azure Batch.
//!
//! Use this crate to run Dropmill in a program of your own. [`Run`] runs the tasks of a run file, or of
//! [`settings::Settings`] made in code. [`Daemon`] watches a drop folder. The program `dropmill` is this library with a
//! command line. The page `docs/embedding.md` is the guide, and `docs/embedding.rs` a complete program.
//!
//! # Examples
//!
//! Runs the tasks of a run file, and prints each event once it is durable:
//!
//! ```no_run
//! use dropmill::Run;
//!
//! # #[cfg(feature = "embedded")]
//! fn main() -> Result<(), dropmill::Error> {
//!     // Must come first: Dropmill starts this program again as the keeper of its tasks.
//!     if dropmill::run_as_keeper() {
//!         return Ok(());
//!     }
//!     let (run, events) = Run::from_file("run.toml").set("pool.nodes=2").start()?;
//!     while let Ok(event) = events.recv_blocking() {
//!         println!("{} {}", event.seq, event.subject);
//!     }
//!     let report = run.finished_blocking()?;
//!     println!("{} of {} tasks succeeded", report.tasks.succeeded, report.tasks.total);
//!     Ok(())
//! }
//! # #[cfg(not(feature = "embedded"))]
//! # fn main() {}
//! ```
//!
//! Resumes an interrupted run, skips inputs that are done, and runs failed tasks once more:
//!
//! ```no_run
//! use dropmill::{Error, NothingToDo, Run};
//!
//! # fn example() -> Result<(), Error> {
//! let (run, events) = match Run::from_file("run.toml").resume().skip_done().start() {
//!     Err(Error::NothingToDo(NothingToDo::AllDone { inputs, .. })) => {
//!         println!("all {inputs} inputs are done");
//!         return Ok(());
//!     }
//!     started => started?,
//! };
//! // A receiver that is kept must be read; a dropped one blocks nothing.
//! drop(events);
//! let name = run.name().to_owned();
//! let report = run.finished_blocking()?;
//! if report.tasks.failed > 0 {
//!     let (again, _) = Run::retry(&name).only_failed().start()?;
//!     println!("{} tasks failed twice", again.finished_blocking()?.tasks.failed);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Main types
//!
//! - [`Run`], [`RunBuilder`], [`ResumeBuilder`], [`RetryBuilder`]: a run, and the ways to start one
//! - [`Daemon`], [`DaemonBuilder`], [`DaemonEvent`]: a drop folder
//! - [`event::Event`], [`report::Report`]: what happens during a run, and its result
//! - [`settings::Settings`], [`plan`]: what a run file contains, and the checked plan of a run
//! - [`Error`]: why a run could not start or has no report. Failed tasks are in the report
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
//! Settings that need a missing feature fail with [`Error::MissingFeature`].

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
