//! A local Azure Batch and Blob Storage service that runs its tasks as processes of this machine.
//!
//! Dropmill uses it for runs without an Azure account, and `dropmill serve` serves it to other clients. Use it in a program
//! or test that needs both services: it opens in milliseconds, and needs no container and no root rights.
//! `docs/emulator.md` lists what it supports, and how it differs from Azure.
//!
//! - [`service::LocalAzure`]: the service; its two routers answer requests in the process or on a socket
//! - [`service::ServiceSettings`]: the state folder, account, keys and quotas
//! - [`runner`]: runs the tasks. [`runner::keeper`] holds their processes, so that they end with the service;
//!   [`runner::FakeRunner`] simulates them
//! - [`reception`]: limits and timeouts for the connections of clients
//! - [`blob`], [`model`], [`orders`], [`applications`]: the parts of the service
//!
//! # Examples
//!
//! Serves Batch and Blob on two ports:
//!
//! ```no_run
//! use dropmill_azure_wire::time::WallClock;
//! use dropmill_local_azure::{
//!     runner::keeper::run_as_keeper,
//!     service::{LocalAzure, RunnerChoice, ServiceSettings},
//! };
//! use std::sync::Arc;
//! use tokio::net::TcpListener;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Must come first: the service starts this program again as the keeper of its tasks.
//!     if run_as_keeper() {
//!         return Ok(());
//!     }
//!     serve()
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//!     let settings = ServiceSettings::at("/srv/azure");
//!     let service = LocalAzure::open(settings, Arc::new(WallClock), RunnerChoice::Processes)?;
//!     println!("{}", service.connection().connection_string.expose());
//!     let batch = TcpListener::bind("127.0.0.1:10100").await?;
//!     let blob = TcpListener::bind("127.0.0.1:10000").await?;
//!     tokio::select! {
//!         served = axum::serve(batch, service.batch_router()) => served?,
//!         served = axum::serve(blob, service.blob_router()) => served?,
//!         () = service.alarms() => {}
//!     }
//!     Ok(())
//! }
//! ```

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
