//! A local Azure Batch and Blob service that really runs its tasks.

pub mod applications;
mod autoscale;
mod batch_http;
pub mod blob;
pub mod durability;
#[cfg(test)]
mod emulator_page;
pub mod model;
pub mod orders;
pub mod reception;
pub mod runner;
pub mod service;
mod store;
mod turns;
