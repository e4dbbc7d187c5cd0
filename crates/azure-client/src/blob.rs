//! Azure Blob: containers and block blobs, up and down, and the right to them as a SAS.
//!
//! Every method is one call with one deadline, but for uploads of large files (many blocks), downloads (a
//! piece more for each time they broke off) and lists (one per page).

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
use http::{HeaderMap, Method};
use rand_chacha::ChaCha8Rng;
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) use dropmill_azure_wire::blob::VERSION as X_MS_VERSION;

/// How long a call may take unless told otherwise, beside the time its body needs on a slow line.
pub const TIMEOUT: Duration = Duration::from_secs(40);

/// The calls of Azure Blob, to one account. Clones are cheap and share everything.
#[derive(Clone)]
pub struct BlobApi {
    caller: Arc<Caller>,
    key: Arc<SharedKey>,
    file_reads: FileReads,
    longest_in_one_bytes: u64,
    block_bytes: u64,
}

/// What a [`BlobApi`] is made of.
pub struct BlobOptions {
    /// Where the account is: `https://account.blob.core.windows.net`, `http://127.0.0.1:10000/account`.
    pub endpoint: Endpoint,
    /// The account and its key, for calls and for SAS.
    pub key: SharedKey,
    /// How requests get there.
    pub transport: Arc<dyn Transport>,
    /// Dates calls.
    pub clock: SharedClock,
    /// Names calls.
    pub rng: ChaCha8Rng,
    /// Where long work on files is done.
    pub file_reads: FileReads,
    /// How long a call may take.
    pub timeout: Duration,
    /// Files up to this length go up in one call, from memory; longer ones in blocks.
    pub longest_in_one_bytes: u64,
    /// The length of a block; [`BLOCKS_IN_FLIGHT`] of them are in memory.
    pub block_bytes: u64,
}

impl BlobOptions {
    /// With [`TIMEOUT`], [`LONGEST_IN_ONE`] and [`BLOCK_BYTES`], and long work on files beside the runtime's thread.
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

/// What is known of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its length.
    pub size_bytes: u64,
    /// MD5 of its content in hex, if the service knows it.
    pub md5: Option<String>,
    /// Changes with every change of the blob.
    pub etag: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// `Hot`, `Cool`, `Archive`, ….
    pub access_tier: Option<String>,
}

impl BlobApi {
    /// Makes the API; calls nobody.
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

    /// Where the account is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.caller.endpoint
    }

    /// The URL of a container with a SAS that allows `permissions` (letters, as in `rl`) until `expiry`. It has
    /// no beginning, so that a node's clock may be behind ours.
    pub fn container_sas(&self, container: &str, permissions: &str, expiry: Timestamp) -> Secret {
        let grant = Grant::to_container(container, Permissions::parse(permissions), expiry);
        url_with(&self.url(container, None), &grant.sign(&self.key))
    }

    /// The URL of a blob with a SAS that allows `permissions` (letters, as in `r`) until `expiry`.
    pub fn blob_sas(&self, container: &str, name: &str, permissions: &str, expiry: Timestamp) -> Secret {
        let grant = Grant::to_blob(container, name, Permissions::parse(permissions), expiry);
        url_with(&self.url(container, Some(name)), &grant.sign(&self.key))
    }

    fn url(&self, container: &str, blob: Option<&str>) -> String {
        let endpoint = &self.caller.endpoint;
        let scheme = if endpoint.is_encrypted() { "https" } else { "http" };
        format!("{scheme}://{}{}", endpoint.authority(), path(endpoint, container, blob))
    }

    fn container_call(&self, operation: Operation, method: Method, container: &str, query: &str) -> Call {
        let path = path(&self.caller.endpoint, container, None);
        Call::new(operation, container, method, format!("{path}?restype=container{query}"))
    }

    fn blob_call(
        &self,
        operation: Operation,
        method: Method,
        container: &str,
        name: &str,
        query: Option<&str>,
    ) -> Call {
        let mut path = path(&self.caller.endpoint, container, Some(name));
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        Call::new(operation, format!("{container}/{name}"), method, path)
    }
}

/// The path of a container or blob. The slashes of a name stay, unless one of its segments is only dots: then
/// they are encoded too, which names the same blob and is no `..` to those who tidy up paths on the way.
fn path(endpoint: &Endpoint, container: &str, blob: Option<&str>) -> String {
    let mut path = format!("{}/{}", endpoint.base(), encode(container));
    if let Some(name) = blob {
        path.push('/');
        let dots = name.split('/').any(|segment| segment == "." || segment == "..");
        path.push_str(&if dots { encode(name) } else { encode_path(name) });
    }
    path
}

/// What a refusal says: the code is in a header, also where there is no body.
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
