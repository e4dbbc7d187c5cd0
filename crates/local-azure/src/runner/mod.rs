//! Nodes on this machine: real ones that run tasks as processes, and fake ones.
//!
//! [`ProcessRunner`] creates a folder per node, with the layout of a Batch node, and runs commands in it.
//! Tasks are **not sandboxed**: they have the rights of the user who runs the service. [`FakeRunner`]
//! follows a script in virtual time and uses neither processes nor the disk. Both carry out the orders of
//! `orders.rs`; neither makes decisions about tasks, pools or retries.

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
pub use pretend::{FakeRunner, FakeSettings, Pretend, Script};
pub use processes::{ProcessRunner, RunnerSettings};

#[cfg(test)]
mod tests;
