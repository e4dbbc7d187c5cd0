//! The way from nodes to addresses that are not this service's: any web address, and containers of other storage accounts.
//!
//! A service that requests any address that its clients name gives them no new right: whoever may add a task runs any
//! command as the same user on the same machine, `curl` among them. So no address is forbidden. What is bounded is what an
//! address may cost (see [`Limits`]), and messages show no query, because that may hold a signature.
//!
//! Nothing here reaches this service itself: its own addresses go to its own door, without a socket and without a proxy.

#[cfg(feature = "web")]
mod decide;
#[cfg(feature = "web")]
mod fetch;
#[cfg(feature = "web")]
mod line;
#[cfg(not(feature = "web"))]
mod no_web;
#[cfg(feature = "web")]
mod storage;
#[cfg(test)]
#[cfg(feature = "web")]
mod tests;

use crate::{
    blob::is_here,
    orders::{BlobDoor, DoorError, FileToStore, GoOn},
};
use dropmill_azure_wire::{blob::FileMetadata, secret::shown_url};
#[cfg(not(feature = "web"))]
use no_web::{Fetched, Line};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};
#[cfg(feature = "web")]
use {fetch::Fetched, line::Line};

/// What one address may cost.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "web"), expect(dead_code, reason = "there is no client to bound"))]
pub(crate) struct Limits {
    /// For a connection, with its TLS.
    pub connect: Duration,
    /// Without an answer, or without another byte of it.
    pub idle: Duration,
    /// For one request that uploads at most a block.
    pub upload: Duration,
    /// For one file or one listing, all tries together.
    pub total: Duration,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of one page of a listing.
    pub page_bytes: u64,
    /// Blobs of one page of a listing.
    pub page: u32,
    /// Bytes of all names of one listing.
    pub names_bytes: usize,
    /// Redirects that one download follows.
    pub redirects: usize,
    /// Delays before further tries.
    pub delays: Vec<Duration>,
    /// The longest wait that a `Retry-After` is granted.
    pub longest_delay: Duration,
    /// Bytes that are uploaded by one request; longer files are uploaded in blocks of this size or larger.
    pub block_bytes: u64,
    /// Files transferred at the same time.
    pub transfers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(10),
            idle: seconds(60),
            upload: seconds(300),
            total: seconds(24 * 3600),
            file_bytes: 1 << 40,
            page_bytes: 64 << 20,
            page: 5000,
            names_bytes: 256 << 20,
            redirects: 10,
            delays: [1, 2, 4, 8].map(seconds).into(),
            longest_delay: seconds(60),
            // What versions of the protocol before 2016 take as one block.
            block_bytes: 4 << 20,
            transfers: 32,
        }
    }
}

/// The doors of a service's nodes: its own for its own addresses, the web for all others.
pub(crate) struct Doors {
    own: Arc<dyn BlobDoor>,
    /// Of the own door.
    endpoint: String,
    limits: Limits,
    /// Opened when the first address elsewhere is named: most services never need it.
    line: OnceLock<Result<Line, String>>,
}

impl Doors {
    /// The doors of a service whose Blob endpoint is `endpoint`.
    pub fn new(own: Arc<dyn BlobDoor>, endpoint: &str, limits: Limits) -> Self {
        Self { own, endpoint: endpoint.to_owned(), limits, line: OnceLock::new() }
    }

    fn is_own(&self, url: &str) -> bool {
        is_here(&self.endpoint, url)
    }

    fn line(&self) -> Result<&Line, DoorError> {
        let line = self.line.get_or_init(|| Line::open(self.limits.clone()));
        line.as_ref().map_err(|reason| DoorError::Other(format!("cannot set up an HTTP client: {reason}")))
    }
}

/// Only simulated nodes have no files, and they reach nothing but their own service.
fn without_files(url: &str) -> DoorError {
    let shown = shown_url(url);
    DoorError::Denied(format!("{shown}: a node without files reaches this service's own blobs only"))
}

impl BlobDoor for Doors {
    fn fetch(&self, url: &str, to: &Path, go_on: GoOn<'_>) -> Result<FileMetadata, DoorError> {
        if self.is_own(url) {
            return self.own.fetch(url, to, go_on);
        }
        match self.line()?.fetch(url, to, go_on, &|url| self.is_own(url))? {
            Fetched::File(facts) => Ok(facts),
            Fetched::LeadsHome(url) => self.own.fetch(&url, to, go_on),
        }
    }

    fn list(&self, container_url: &str, prefix: &str, go_on: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        if self.is_own(container_url) {
            return self.own.list(container_url, prefix, go_on);
        }
        self.line()?.list(container_url, prefix, go_on)
    }

    fn store(&self, container_url: &str, files: &[FileToStore], go_on: GoOn<'_>) -> Result<(), DoorError> {
        if self.is_own(container_url) {
            return self.own.store(container_url, files, go_on);
        }
        self.line()?.store(container_url, files, go_on)
    }

    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        if self.is_own(url) { self.own.fetch_bytes(url) } else { Err(without_files(url)) }
    }

    fn store_bytes(&self, container_url: &str, files: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        match self.is_own(container_url) {
            true => self.own.store_bytes(container_url, files),
            false => Err(without_files(container_url)),
        }
    }
}
