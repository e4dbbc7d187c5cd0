//! Client of Azure Batch: pools and nodes, jobs and tasks, and the files that tasks write on nodes.
//!
//! Every method sends one request with one timeout; a list sends one per page, a tail two. The only request
//! that is sent again is a read whose connection broke before the response began.

mod files;
mod jobs;
mod pages;
mod pools;
mod tasks;

pub use files::Part;

use crate::{
    call::{ApiResponse, Call, Caller},
    credential::Credential,
    endpoint::Endpoint,
    error::CallError,
    operation::{Operation, Service},
};
use dropmill_azure_wire::{
    batch::{REQUEST_CONTENT_TYPE, limit, version},
    time::SharedClock,
    transport::Transport,
    uri::{Query, encode},
};
use rand_chacha::ChaCha8Rng;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Default API version.
pub const API_VERSION: &str = version::CURRENT;
/// Default timeout of a request: the service's own limit, plus time for the network.
pub const TIMEOUT: Duration = Duration::from_secs(limit::TIMEOUT_SECONDS as u64 + 10);

/// Client of one Batch account. Clones are cheap and share everything.
#[derive(Clone)]
pub struct BatchApi {
    caller: Arc<Caller>,
    /// `api-version=…&timeOut=…`, the beginning of every query.
    query: Arc<str>,
}

/// Options of a [`BatchApi`].
pub struct BatchOptions {
    /// Address of the account.
    pub endpoint: Endpoint,
    /// Credential that authorizes requests.
    pub credential: Credential,
    /// Transport that sends requests.
    pub transport: Arc<dyn Transport>,
    /// Clock for the date of requests.
    pub clock: SharedClock,
    /// Random generator for request ids.
    pub rng: ChaCha8Rng,
    /// API version to use; this crate is tested with [`API_VERSION`].
    pub api_version: String,
    /// Timeout of a request.
    pub timeout: Duration,
}

impl BatchOptions {
    /// Creates options with [`API_VERSION`] and [`TIMEOUT`].
    pub fn new(
        endpoint: Endpoint,
        credential: Credential,
        transport: Arc<dyn Transport>,
        clock: SharedClock,
        rng: ChaCha8Rng,
    ) -> Self {
        let (api_version, timeout) = (API_VERSION.to_owned(), TIMEOUT);
        Self { endpoint, credential, transport, clock, rng, api_version, timeout }
    }
}

impl BatchApi {
    /// Creates the client. Makes no network calls.
    pub fn new(options: BatchOptions) -> Self {
        let BatchOptions { endpoint, credential, transport, clock, rng, api_version, timeout } = options;
        // The service uses the same timeout, so that it does not continue a request that the client has given
        // up.
        let seconds = timeout.as_secs().clamp(1, limit::TIMEOUT_SECONDS.into());
        let query = Query::default().with("api-version", &api_version).with("timeOut", &seconds.to_string());
        let rng = Mutex::new(rng);
        let caller = Caller {
            transport,
            endpoint,
            credential,
            clock,
            timeout,
            service: Service::Batch,
            rng,
            doubts: Mutex::default(),
        };
        Self { caller: Arc::new(caller), query: query.as_str().into() }
    }

    /// Returns the address of the account.
    pub fn endpoint(&self) -> &Endpoint {
        &self.caller.endpoint
    }

    /// Creates a request for the entity with these ids, in the order of the operation's path.
    fn call(&self, operation: Operation, subject: String, ids: &[&str]) -> Call {
        self.call_with(operation, subject, ids, "")
    }

    /// Creates a request with additional query parameters: `&name=value…`.
    fn call_with(&self, operation: Operation, subject: String, ids: &[&str], more: &str) -> Call {
        let base = self.caller.endpoint.base();
        let mut path = String::with_capacity(base.len() + self.query.len() + more.len() + 64);
        path.push_str(base);
        for segment in operation.segments(ids) {
            path.push('/');
            // Ids need no encoding; file paths do.
            if segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                path.push_str(segment);
            } else {
                path.push_str(&encode(segment));
            }
        }
        path.push('?');
        path.push_str(&self.query);
        path.push_str(more);
        Call::new(operation, subject, path)
    }

    /// Sends a request and ignores the body of the response.
    async fn done(&self, call: Call) -> Result<(), CallError> {
        self.caller.exchange(call).await.map(drop)
    }

    /// Sends a request and parses the response as JSON.
    async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, CallError> {
        let tried = call.tried.clone();
        self.caller.exchange(call).await?.json(&tried)
    }

    /// Sends a request for an entity. A response without its id, or with another id, comes from another
    /// program.
    async fn entity<T: DeserializeOwned>(
        &self,
        call: Call,
        wanted: &str,
        id: fn(&T) -> &str,
    ) -> Result<T, CallError> {
        let tried = call.tried.clone();
        let answer = self.caller.exchange(call).await?;
        let entity: T = answer.json(&tried)?;
        if id(&entity).eq_ignore_ascii_case(wanted) {
            return Ok(entity);
        }
        Err(answer.broken(&tried, "the id is missing or belongs to another entity"))
    }

    async fn exchange(&self, call: Call) -> Result<ApiResponse, CallError> {
        self.caller.exchange(call).await
    }
}

/// Adds a JSON body to a request.
fn with_json(call: Call, body: &impl Serialize) -> Call {
    let json =
        serde_json::to_vec(body).expect("Batch entities have text keys, so they can be written as JSON");
    call.body(REQUEST_CONTENT_TYPE, json)
}

impl fmt::Debug for BatchApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchApi")
            .field("endpoint", &self.caller.endpoint)
            .field("credential", &self.caller.credential)
            .finish_non_exhaustive()
    }
}
