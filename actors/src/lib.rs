//! The actors that carry out runs and drop folders.
//!
//! This crate is the inside of the library `dropmill`; use that crate unless you need other services, another place for
//! results or another journal. Each actor is a thin layer around a state machine of `dropmill-lifecycle`: a message becomes
//! an event, and the commands of the machine become calls to the service or messages to other actors. Only [`wiring`] knows
//! all actors.
//!
//! - [`RunParts`]: a plan, and what it runs with; [`RunParts::start`] starts the actors and returns a [`RunHandle`]
//! - [`Services`]: clients of Batch and Blob
//! - [`place`]: where results are delivered; [`inputs`]: where inputs are read from
//! - [`mill`], [`drop_folder`], [`drop_store`]: the daemon of a drop folder, and the access to its files
//!
//! # Examples
//!
//! Starts a run in the current actix system, and waits for its report:
//!
//! ```no_run
//! use dropmill_actors::{RunError, RunParts};
//!
//! async fn run_to_the_end(parts: RunParts) -> Result<u64, RunError> {
//!     let run = parts.start();
//!     let events = run.events();
//!     actix::spawn(async move {
//!         while let Ok(event) = events.recv().await {
//!             println!("{} {}", event.seq, event.subject);
//!         }
//!     });
//!     Ok(run.finished().await?.tasks.succeeded)
//! }
//! ```

mod alarms;
mod bodies;
mod deletion;
mod failure;
mod feeder;
mod intervals;
mod item_list;
mod job_submitter;
mod liveness;
mod output_fetcher;
mod output_names;
mod poll_schedule;
mod pool_keeper;
mod record;
mod result_collector;
mod run_context;
mod run_keeper;
mod self_upload;
mod shell;
mod storage_uploader;
mod task_monitor;
mod time;

pub mod drop_folder;
pub mod drop_store;
pub mod folder;
pub mod inputs;
pub mod mill;
pub mod place;
pub mod services;
pub mod space_keeper;
pub mod wiring;

pub use feeder::Feeder;
pub use output_fetcher::deliver as deliver_now;
pub use output_names::earlier_stream;
pub use self_upload::{SELF_UPLOAD_VARIABLE, delete_all as delete_containers_of_attempts};
pub use services::Services;
pub use wiring::{Canceller, RunError, RunHandle, RunParts, start};
