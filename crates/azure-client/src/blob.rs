//! Client of Azure Blob Storage: containers and block blobs, uploads and downloads, and SAS URLs.
//!
//! Every method sends one request with one timeout, except uploads of large files (many blocks), downloads
//! (one more request for each interruption) and lists (one per page).

mod containers;
mod digest;
mod download;
mod files;
mod list;
mod part;
mod upload;

pub use download::{Downloaded, RESUMES, STALLED_AFTER};
pub use files::{FileReads, FileSource};
pub use list::BlobListing;
pub use upload::{BLOCK_BYTES, BLOCKS_IN_FLIGHT, LONGEST_IN_ONE, PutOptions, Stored};

use crate::{
    call::{Call, Caller, Said},
    credential::Credential,
    endpoint::Endpoint,
    operation::{Operation, Service},
    shown::shown,
};
use dropmill_azure_wire::{
    blob::{Metadata, limit},
    error::BlobErrorBody,
    sas::{Grant, Permissions, url_with},
    secret::Secret,
    sign::SharedKey,
    time::{SharedClock, Timestamp},
    transport::Transport,
    uri::{encode, encode_path},
};
use http::HeaderMap;
use rand_chacha::ChaCha8Rng;
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) use dropmill_azure_wire::blob::VERSION as X_MS_VERSION;

/// Default timeout of a request, in addition to the time that its body needs on a slow connection.
pub const TIMEOUT: Duration = Duration::from_secs(40);

/// Client of one storage account. Clones are cheap and share everything.
#[derive(Clone)]
pub struct BlobApi {
    caller: Arc<Caller>,
    key: Arc<SharedKey>,
    file_reads: FileReads,
    longest_in_one_bytes: u64,
    block_bytes: u64,
}

/// Options of a [`BlobApi`].
pub struct BlobOptions {
    /// Address of the account: `https://account.blob.core.windows.net`, `http://127.0.0.1:10000/account`.
    pub endpoint: Endpoint,
    /// The account and its key, for requests and SAS.
    pub key: SharedKey,
    /// Transport that sends requests.
    pub transport: Arc<dyn Transport>,
    /// Clock for the date of requests.
    pub clock: SharedClock,
    /// Random generator for request ids.
    pub rng: ChaCha8Rng,
    /// Where long work on files is done.
    pub file_reads: FileReads,
    /// Timeout of a request.
    pub timeout: Duration,
    /// Maximum length of a file that is uploaded in one request, from memory; longer ones are uploaded in
    /// blocks.
    pub longest_in_one_bytes: u64,
    /// Length of a block; [`BLOCKS_IN_FLIGHT`] of them are in memory.
    pub block_bytes: u64,
}

impl BlobOptions {
    /// Creates options with [`TIMEOUT`], [`LONGEST_IN_ONE`] and [`BLOCK_BYTES`], and long work on files on
    /// separate threads.
    pub fn new(
        endpoint: Endpoint,
        key: SharedKey,
        transport: Arc<dyn Transport>,
        clock: SharedClock,
        rng: ChaCha8Rng,
    ) -> Self {
        Self {
            endpoint,
            key,
            transport,
            clock,
            rng,
            file_reads: FileReads::Threads,
            timeout: TIMEOUT,
            longest_in_one_bytes: LONGEST_IN_ONE,
            block_bytes: BLOCK_BYTES,
        }
    }
}

/// The properties of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Length in bytes.
    pub size_bytes: u64,
    /// MD5 of its content in hex, if the service knows it.
    pub md5: Option<String>,
    /// Changes with every change of the blob.
    pub etag: String,
    /// User-defined metadata of the blob.
    pub metadata: Metadata,
    /// `Hot`, `Cool`, `Archive`, ….
    pub access_tier: Option<String>,
}

impl BlobApi {
    /// Creates the client. Makes no network calls.
    pub fn new(options: BlobOptions) -> Self {
        let BlobOptions { endpoint, key, transport, clock, rng, timeout, .. } = options;
        let (credential, rng) = (Credential::SharedKey(key.clone()), Mutex::new(rng));
        let caller = Caller {
            transport,
            endpoint,
            credential,
            clock,
            timeout,
            service: Service::Blob,
            rng,
            doubts: Mutex::default(),
        };
        Self {
            caller: Arc::new(caller),
            key: Arc::new(key),
            file_reads: options.file_reads,
            longest_in_one_bytes: options.longest_in_one_bytes.min(limit::PUT_BLOB_BYTES),
            block_bytes: options.block_bytes.clamp(1, limit::BLOCK_BYTES),
        }
    }

    /// Returns the address of the account.
    pub fn endpoint(&self) -> &Endpoint {
        &self.caller.endpoint
    }

    /// Returns the URL of a container with a SAS that allows `permissions` (letters, such as `rl`) until
    /// `expiry`. It has no start time, so that the clock of a node may be behind.
    pub fn container_sas(&self, container: &str, permissions: &str, expiry: Timestamp) -> Secret {
        let grant = Grant::to_container(container, Permissions::parse(permissions), expiry);
        url_with(&self.url(container, None), &grant.sign(&self.key))
    }

    /// Returns the URL of a blob with a SAS that allows `permissions` (letters, such as `r`) until `expiry`.
    pub fn blob_sas(&self, container: &str, name: &str, permissions: &str, expiry: Timestamp) -> Secret {
        let grant = Grant::to_blob(container, name, Permissions::parse(permissions), expiry);
        url_with(&self.url(container, Some(name)), &grant.sign(&self.key))
    }

    fn url(&self, container: &str, blob: Option<&str>) -> String {
        let endpoint = &self.caller.endpoint;
        let scheme = if endpoint.is_encrypted() { "https" } else { "http" };
        format!("{scheme}://{}{}", endpoint.authority(), path(endpoint, container, blob))
    }

    fn container_call(&self, operation: Operation, container: &str, query: &str) -> Call {
        let path = path(&self.caller.endpoint, container, None);
        Call::new(operation, container, format!("{path}?restype=container{query}"))
    }

    fn blob_call(&self, operation: Operation, container: &str, name: &str, query: Option<&str>) -> Call {
        let mut path = path(&self.caller.endpoint, container, Some(name));
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        Call::new(operation, format!("{container}/{name}"), path)
    }
}

/// Returns the path of a container or blob. Slashes in a name are not encoded, unless a segment consists of
/// dots only: then they are encoded too. The path names the same blob, but proxies do not shorten `..`.
fn path(endpoint: &Endpoint, container: &str, blob: Option<&str>) -> String {
    let mut path = format!("{}/{}", endpoint.base(), encode(container));
    if let Some(name) = blob {
        path.push('/');
        let dots = name.split('/').any(|segment| segment == "." || segment == "..");
        path.push_str(&if dots { encode(name) } else { encode_path(name) });
    }
    path
}

/// Parses an error response: the code is in a header, even if there is no body.
pub(crate) fn said_by_blob(headers: &HeaderMap, body: &[u8]) -> Option<Said> {
    let body = BlobErrorBody::read(headers, body)?;
    Some(Said { code: shown(&body.code), message: shown(body.text()), values: vec![] })
}

impl fmt::Debug for BlobApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobApi")
            .field("endpoint", &self.caller.endpoint)
            .field("credential", &self.caller.credential)
            .finish_non_exhaustive()
    }
}
