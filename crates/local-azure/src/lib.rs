//! A local Azure Batch and Blob service that really runs its tasks.

mod admission;
mod batch_core;
mod batch_http;
pub mod blob;
pub mod durability;
mod elsewhere;
#[cfg(test)]
mod emulator_page;
pub mod reception;
pub mod request_log;
mod room;
pub mod runner;
pub mod service;
mod store;
mod turns;

pub use dropmill_batch_model::{applications, model, orders};
