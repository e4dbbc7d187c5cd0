//! Azure Batch: pools and nodes, jobs and tasks, and the files that tasks leave on nodes.
//!
//! Every method is one call (a list: one per page; a tail: two) with one deadline each. Nothing is repeated
//! but a read whose connection broke before its answer began.

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
use http::Method;
use rand_chacha::ChaCha8Rng;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The API version that is spoken unless told otherwise.
pub const API_VERSION: &str = version::CURRENT;
/// How long a call may take unless told otherwise: what the service itself allows, and the way there and back.
pub const TIMEOUT: Duration = Duration::from_secs(limit::TIMEOUT_SECONDS as u64 + 10);

/// The calls of Azure Batch, to one account. Clones are cheap and share everything.
#[derive(Clone)]
pub struct BatchApi {
    caller: Arc<Caller>,
    /// `api-version=…&timeOut=…`, which every query begins with.
    query: Arc<str>,
}

/// What a [`BatchApi`] is made of.
pub struct BatchOptions {
    /// Where the account is.
    pub endpoint: Endpoint,
    /// Who calls.
    pub credential: Credential,
    /// How requests get there.
    pub transport: Arc<dyn Transport>,
    /// Dates calls.
    pub clock: SharedClock,
    /// Names calls.
    pub rng: ChaCha8Rng,
    /// The API version to speak; [`API_VERSION`] is what this crate is tested with.
    pub api_version: String,
    /// How long a call may take.
    pub timeout: Duration,
}

impl BatchOptions {
    /// With [`API_VERSION`] and [`TIMEOUT`].
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
    /// Makes the API; calls nobody.
    pub fn new(options: BatchOptions) -> Self {
        let BatchOptions { endpoint, credential, transport, clock, rng, api_version, timeout } = options;
        // The service gives up when we do, so that it does not go on with what nobody waits for.
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

    /// Where the account is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.caller.endpoint
    }

    /// A call on the entity that `segments` lead to.
    fn call(&self, operation: Operation, method: Method, subject: String, segments: &[&str]) -> Call {
        self.call_with(operation, method, subject, segments, "")
    }

    /// The same with more of a query: `&name=value…`.
    fn call_with(
        &self,
        operation: Operation,
        method: Method,
        subject: String,
        segments: &[&str],
        more: &str,
    ) -> Call {
        let base = self.caller.endpoint.base();
        let mut path = String::with_capacity(base.len() + self.query.len() + more.len() + 64);
        path.push_str(base);
        for segment in segments {
            path.push('/');
            // Ids consist of what needs no encoding; file paths do not.
            if segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                path.push_str(segment);
            } else {
                path.push_str(&encode(segment));
            }
        }
        path.push('?');
        path.push_str(&self.query);
        path.push_str(more);
        Call::new(operation, subject, method, path)
    }

    /// Makes a call whose answer is nothing but its status.
    async fn done(&self, call: Call) -> Result<(), CallError> {
        self.caller.exchange(call).await.map(drop)
    }

    /// Makes a call whose answer is JSON.
    async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, CallError> {
        let tried = call.tried.clone();
        self.caller.exchange(call).await?.json(&tried)
    }

    /// Makes a call for an entity. One without its id, or with another, is some other program's answer.
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
        Err(answer.broken(&tried, "it is about something else: the id is missing or another"))
    }

    async fn exchange(&self, call: Call) -> Result<ApiResponse, CallError> {
        self.caller.exchange(call).await
    }
}

/// Gives a call a body of JSON.
fn with_json(call: Call, body: &impl Serialize) -> Call {
    let json = serde_json::to_vec(body).expect("the nouns of Batch have texts as keys, so they are JSON");
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
