//! The actors that carry a run out.
//!
//! Each is a thin shell: a message becomes an event of a machine of `lifecycle`, the machine's
//! commands become calls to the service or news for the next actor. `wiring` alone knows them all.

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
pub use services::Services;
pub use wiring::{Canceller, RunError, RunHandle, RunParts, start};
