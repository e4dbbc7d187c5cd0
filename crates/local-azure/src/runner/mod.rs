//! Nodes on this machine: they run tasks as processes, or pretend to.
//!
//! [`ProcessRunner`] keeps a folder per node laid out as on a Batch node and runs commands in it.
//! Tasks are **not sandboxed**: they have the rights of whoever runs the service. [`PretendRunner`]
//! follows a script in virtual time and touches neither processes nor disk. Both carry out the
//! orders of `orders.rs`; neither decides anything about tasks, pools or retries.

mod caps;
mod control;
mod crew;
mod environment;
mod failures;
mod files;
pub mod keeper;
mod launch;
mod memory;
mod orphans;
mod outputs;
mod packages;
mod patience;
mod pattern;
mod place;
mod pretend;
mod proc;
mod processes;
mod program;
mod registry;
mod removal;
mod resources;
mod spent;
mod supervisor;
mod tree;

pub use environment::{NodeEnvironment, default_environment};
pub use files::DiskFiles;
pub use packages::check as check_package;
pub use pretend::{Pretend, PretendRunner, PretendSettings, Script};
pub use processes::{ProcessRunner, RunnerSettings};

#[cfg(test)]
mod tests;
