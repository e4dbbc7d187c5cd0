//! The durable record of runs: their events in SQLite, and everything that is derived from the events.
//!
//! [`Journal`] appends the [`event::Event`]s of one run. An event counts once its commit is done. Progress, report and trace
//! are folds of the events, so they never contradict the record:
//!
//! - [`report::ReportFold`]: the report of a run
//! - [`progress::Progress`]: the state of a running run
//! - [`trace`]: the canonical text of a run, to compare runs by
//! - [`past::RecoveredRun`]: what a resumed run must know
//!
//! [`list_runs`] lists the runs of a state folder. [`results`] records which results Dropmill has delivered, [`Outbox`] the
//! notifications to send, and [`DuplicateIndex`] the inputs of a daemon that were done before.
//!
//! Use this crate to read journals in a program of your own. Journals of earlier releases stay readable.
//!
//! # Examples
//!
//! Prints the report of each run of a state folder:
//!
//! ```no_run
//! use dropmill_journal::{Journal, list_runs, report::ReportFold};
//! use std::path::Path;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! for run in list_runs(Path::new("/home/user/.local/state/dropmill"))? {
//!     let (header, events) = Journal::read(&run.folder.join("journal.db"))?;
//!     let report = ReportFold::of(&events);
//!     println!("{}: {} of {} succeeded", header.run, report.tasks.succeeded, report.tasks.total);
//! }
//! # Ok(())
//! # }
//! ```

pub mod claims;
pub mod compare;
mod database;
mod duplicate_index;
mod error;
pub mod event;
mod files;
mod journal;
mod list;
mod mark;
mod names;
mod outbox;
pub mod past;
pub mod progress;
pub mod report;
pub mod results;
mod row;
pub mod schema;
mod shown;
pub mod tasks;
pub mod trace;
mod wal;
pub mod why;
mod writer;

pub use duplicate_index::DuplicateIndex;
pub use error::{Damage, JournalError};
pub use journal::{Committed, Journal, RunHeader};
pub use list::{RunSummary, list_runs};
pub use outbox::{Notice, Outbox};
pub use shown::{Shown, shown, shown_json};
