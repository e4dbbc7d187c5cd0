//! The durable record: what a run decided and what came of it.
//!
//! The journal keeps events; everything that people and programs look at is a fold of them: progress while
//! the run goes on, the report at its end, the canonical trace to compare runs by.

pub mod claims;
pub mod compare;
mod database;
pub mod event;
mod journal;
mod list;
mod outbox;
pub mod past;
pub mod progress;
pub mod report;
pub mod results;
pub mod schema;
mod seen_before;
mod shown;
pub mod trace;

pub use journal::{Committed, Journal, JournalError, RunHeader};
pub use list::{RunSummary, list_runs};
pub use outbox::{Notice, Outbox};
pub use seen_before::SeenBefore;
pub use shown::{Shown, shown, shown_json};
