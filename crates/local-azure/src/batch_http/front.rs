//! The configuration of the HTTP interface: its address, its key, and how strict it is.

use crate::model::Identity;
use dropmill_azure_wire::sign::SharedKey;
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Maximum number of unknown properties that are logged.
const MOST_UNKNOWN: usize = 1000;

/// The data of the HTTP interface beside the service behind it.
pub(crate) struct Front {
    /// Address and account of the service.
    pub identity: Identity,
    /// Key of the account.
    pub key: SharedKey,
    /// Whether requests with unknown properties are rejected.
    strict: bool,
    /// Unknown properties that were already logged.
    unknown: Mutex<BTreeSet<String>>,
}

impl Front {
    /// Creates an interface that rejects unknown properties or logs each once.
    pub fn new(identity: Identity, key: SharedKey, strict: bool) -> Self {
        Self { identity, key, strict, unknown: Mutex::default() }
    }

    /// Records a property that the API does not have; returns whether to reject the request. Logs each
    /// property once.
    pub fn rejects_unknown(&self, definition: &str, property: &str) -> bool {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        // Clients may send any number of names.
        if !self.strict && unknown.len() < MOST_UNKNOWN && unknown.insert(format!("{definition} {property}"))
        {
            tracing::warn!(request = definition, property, "the API has no such property: it is ignored");
        }
        self.strict
    }
}
