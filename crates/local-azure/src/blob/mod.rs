//! The Blob half of the service: containers, block and append blobs, kept on disk or in memory.
//!
//! Blob names are keys and never paths: contents lie in SQLite (small ones) or in files named by a number.
//! A write is acknowledged when it is durable; what waits for the disk is committed together.

mod address;
mod authorize;
mod crc64;
mod door;
mod http;
mod lease;
mod store;
pub(crate) mod sums;

use crate::durability::Durability;
use crate::orders::BlobDoor;
use dropmill_azure_wire::{secret::Secret, sign::SharedKey, time::SharedClock};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

pub(crate) use address::is_here;
#[cfg(feature = "web")]
pub(crate) use address::is_loopback;
pub use store::StoreError;

/// What a blob service needs to know.
#[derive(Debug, Clone)]
pub struct BlobSettings {
    /// Below this folder, in `blobs/`, it keeps everything; none: in memory.
    pub state_dir: Option<PathBuf>,
    /// When what is in there counts as kept.
    pub durability: Durability,
    /// Its account.
    pub account: String,
    /// The account's key, in base64.
    pub key: Secret,
    /// How clients address it: `http://host:port/<account>`.
    pub endpoint: String,
    /// Whether a SAS that demands HTTPS (`spr=https`) is accepted over an `http` endpoint too, which Azure never does.
    pub allow_https_only_sas: bool,
}

/// A blob service. Cheap to clone.
#[derive(Clone)]
pub struct BlobService {
    inner: Arc<Inner>,
}

struct Inner {
    store: store::Store,
    key: SharedKey,
    endpoint: String,
    /// Whether a SAS that demands HTTPS counts here: the endpoint has it, or the settings waive it.
    https: bool,
    clock: SharedClock,
    /// How many leases were given an id.
    leases: AtomicU64,
}

impl BlobService {
    /// Opens what is in its folder, or begins anew.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(settings: BlobSettings, clock: SharedClock) -> Result<Self, StoreError> {
        let key = SharedKey::new(&settings.account, &settings.key)
            .map_err(|error| StoreError::new("use the account's key", "", &error))?;
        let store = match &settings.state_dir {
            Some(folder) => store::Store::open(&folder.join("blobs"), settings.durability, clock.clone())?,
            None => store::Store::in_memory(clock.clone()),
        };
        let endpoint = settings.endpoint.trim_end_matches('/').to_owned();
        let https = endpoint.starts_with("https://") || settings.allow_https_only_sas;
        Ok(Self { inner: Arc::new(Inner { store, key, endpoint, https, clock, leases: AtomicU64::new(0) }) })
    }

    /// The HTTP face.
    pub fn router(&self) -> axum::Router {
        http::router(self.inner.clone())
    }

    /// The way from nodes of the same service.
    pub fn door(&self) -> Arc<dyn BlobDoor> {
        Arc::new(door::Door::new(self.inner.clone()))
    }

    /// Makes everything durable and ends the writer. What comes later fails.
    pub fn close(&self) {
        self.inner.store.close();
    }
}

#[cfg(test)]
mod tests;
