//! Clients of Azure Batch and Azure Blob Storage.
//!
//! [`batch::BatchApi`] and [`blob::BlobApi`] send requests through a [`Transport`](dropmill_azure_wire::transport::Transport):
//! over a socket (`live::HttpTransport`, feature `live`), by a direct call to a service in the same process
//! ([`in_process::InProcess`]), or through your own. Bodies are the types of `dropmill-azure-wire`.
//!
//! Each call is signed, sent once, and has a deadline. [`BatchError`] and [`BlobError`] name the operation, the object and
//! the response; [`error::CallError::failure`] says whether to repeat the call. The client repeats only a read whose
//! connection closed before the response began (once), and the rest of an interrupted download. It does not sleep and does
//! not read the machine's clock: the caller passes one.
//!
//! # Examples
//!
//! Creates a pool and starts a task in an account of Azure:
//!
//! ```no_run
//! use dropmill_azure_client::{
//!     Endpoint,
//!     batch::{BatchApi, BatchOptions},
//!     live::HttpTransport,
//! };
//! use dropmill_azure_wire::{sign::SharedKey, time::WallClock};
//! use rand::SeedableRng;
//! use serde_json::{from_value, json};
//! use std::sync::Arc;
//!
//! # async fn example(key: String) -> Result<(), Box<dyn std::error::Error>> {
//! let _ = rustls::crypto::ring::default_provider().install_default();
//! let batch = BatchApi::new(BatchOptions::new(
//!     Endpoint::parse("https://account.westeurope.batch.azure.com")?,
//!     SharedKey::new("account", &key.into())?.into(),
//!     Arc::new(HttpTransport::new()?),
//!     Arc::new(WallClock),
//!     // Only chooses the ids of requests.
//!     rand_chacha::ChaCha8Rng::seed_from_u64(std::process::id().into()),
//! ));
//! let image = json!({"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"});
//! let machine = json!({"imageReference": image, "nodeAgentSKUId": "batch.node.ubuntu 24.04"});
//! let pool = json!({
//!     "id": "small",
//!     "vmSize": "standard_d2s_v5",
//!     "targetDedicatedNodes": 1,
//!     "virtualMachineConfiguration": machine,
//! });
//! batch.create_pool(&from_value(pool)?).await?;
//! batch.create_job(&from_value(json!({"id": "hello", "poolInfo": {"poolId": "small"}}))?).await?;
//! let task = from_value(json!({"id": "first", "commandLine": "/bin/echo hello"}))?;
//! batch.add_tasks("hello", &[task]).await?;
//! println!("{:?}", batch.get_task("hello", "first").await?.state);
//! # Ok(())
//! # }
//! ```

pub mod batch;
pub mod blob;
mod call;
pub mod classify;
pub mod credential;
pub mod delays;
pub mod doubt;
pub mod endpoint;
pub mod error;
pub mod in_process;
#[cfg(feature = "live")]
pub mod live;
pub mod operation;
pub mod record;
mod shown;

pub use credential::{Credential, TokenSource};
pub use endpoint::Endpoint;
pub use error::{BatchError, BlobError};
pub use operation::Operation;
