//! The durable record: what a run decided and what came of it.
//!
//! The journal keeps events; everything that people and programs look at is a fold of them: progress while
//! the run goes on, the report at its end, the canonical trace to compare runs by.

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
mod writer;

pub use duplicate_index::DuplicateIndex;
pub use error::{Damage, JournalError};
pub use journal::{Committed, Journal, RunHeader};
pub use list::{RunSummary, list_runs};
pub use outbox::{Notice, Outbox};
pub use shown::{Shown, shown, shown_json};
