//! Dropmill turns files into results: one task per file, on this machine or on Azure Batch.
//!
//! The program is made of this library: settings become a checked plan, the plan is carried out by the actors of
//! `dropmill-actors`, and what they say is shown.

mod again;
pub mod cli;
mod commands;
mod daemon;
mod embed;
mod life;
mod notify;
pub mod plan;
mod record;
mod render;
pub mod settings;
mod state;

pub use commands::run_command;
pub use daemon::Status;
pub use dropmill_actors::drop_folder::DropCounts;
pub use dropmill_journal::{Shown, event, report, shown};
pub use dropmill_local_azure::runner::keeper::{run_as_keeper, use_keeper};
pub use embed::{Daemon, DaemonBuilder, Error, Notice, Run, RunBuilder};
