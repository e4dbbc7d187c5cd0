//! Access of nodes to other addresses: any web address, and containers of other storage accounts.
//!
//! Requests to any address that a client names give the client no new right: a client that can add a task can
//! run any command as the same user on the same machine, including `curl`. So no address is forbidden. The
//! cost of an address is limited (see [`Limits`]), and messages contain no query, because that may contain a
//! signature.
//!
//! Addresses of this service are never requested over a socket or a proxy: they are passed to its own access.

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
    orders::{BlobAccess, DoorError, FileToStore, GoOn},
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

/// The limits for one address.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "web"), expect(dead_code, reason = "there is no client to bound"))]
pub(crate) struct Limits {
    /// Timeout for a connection, with TLS.
    pub connect: Duration,
    /// Longest time without a response, or without another byte of it.
    pub idle: Duration,
    /// Timeout for one request that uploads at most a block.
    pub upload: Duration,
    /// Timeout for one file or one listing, over all attempts.
    pub total: Duration,
    /// Maximum number of bytes of one file.
    pub file_bytes: u64,
    /// Maximum number of bytes of one page of a listing.
    pub page_bytes: u64,
    /// Number of blobs per page of a listing.
    pub page: u32,
    /// Maximum number of bytes of all names of one listing.
    pub names_bytes: usize,
    /// Maximum number of redirects of one download.
    pub redirects: usize,
    /// Delays before further attempts.
    pub delays: Vec<Duration>,
    /// Longest delay that a `Retry-After` can request.
    pub longest_delay: Duration,
    /// Number of bytes that are uploaded in one request; longer files are uploaded in blocks of this size or
    /// larger.
    pub block_bytes: u64,
    /// Maximum number of files transferred at the same time.
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
            // The maximum block size of protocol versions before 2016.
            block_bytes: 4 << 20,
            transfers: 32,
        }
    }
}

/// The blob access of a service's nodes: its own for its own addresses, HTTP for all others.
pub(crate) struct Doors {
    own: Arc<dyn BlobAccess>,
    /// Address of the service's own blobs.
    endpoint: String,
    limits: Limits,
    /// Opened at the first other address: most services never need it.
    line: OnceLock<Result<Line, String>>,
}

impl Doors {
    /// Creates the access for a service whose Blob endpoint is `endpoint`.
    pub fn new(own: Arc<dyn BlobAccess>, endpoint: &str, limits: Limits) -> Self {
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

/// Returns the error of a simulated node: it has no files, and can only access its own service.
fn without_files(url: &str) -> DoorError {
    let shown = shown_url(url);
    DoorError::Denied(format!("{shown}: a node without files reaches this service's own blobs only"))
}

impl BlobAccess for Doors {
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
