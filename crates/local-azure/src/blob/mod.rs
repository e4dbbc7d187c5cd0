//! The Blob service: containers, block and append blobs, stored on disk or in memory.
//!
//! Blob names are keys and never paths: short contents are in SQLite, long ones in files with numbers as
//! names. A write is acknowledged when it is durable; pending writes are committed together.

mod address;
mod authorize;
mod crc64;
mod door;
mod http;
mod lease;
mod store;
pub(crate) mod sums;

use crate::durability::Durability;
use crate::orders::BlobAccess;
use dropmill_azure_wire::{secret::Secret, sign::SharedKey, time::SharedClock};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

pub(crate) use address::is_here;
#[cfg(feature = "web")]
pub(crate) use address::is_loopback;
pub use store::StoreError;

/// Settings of a Blob service.
#[derive(Debug, Clone)]
pub struct BlobSettings {
    /// It stores everything below this folder, in `blobs/`; `None`: in memory.
    pub state_dir: Option<PathBuf>,
    /// When a write counts as durable.
    pub durability: Durability,
    /// Name of the account.
    pub account: String,
    /// The account's key, in base64.
    pub key: Secret,
    /// Address for clients: `http://host:port/<account>`.
    pub endpoint: String,
    /// Whether a SAS that requires HTTPS (`spr=https`) is accepted over an `http` endpoint too, which Azure
    /// never does.
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
    /// Whether a SAS that requires HTTPS is accepted, because of the endpoint or the settings.
    https: bool,
    clock: SharedClock,
    /// Number of generated lease ids.
    leases: AtomicU64,
}

impl BlobService {
    /// Opens the content of its folder, or creates it.
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

    /// Returns the HTTP interface.
    pub fn router(&self) -> axum::Router {
        http::router(self.inner.clone())
    }

    /// Returns the access for nodes of the same service.
    pub fn door(&self) -> Arc<dyn BlobAccess> {
        Arc::new(door::Door::new(self.inner.clone()))
    }

    /// Makes everything durable and ends the writer. Later requests fail.
    pub fn close(&self) {
        self.inner.store.close();
    }
}

#[cfg(test)]
mod tests;
