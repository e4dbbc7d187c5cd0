//! What the HTTP face of Batch knows itself: who it is, whom it admits, and how strict it is.

use crate::model::Identity;
use dropmill_azure_wire::sign::SharedKey;
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Unknown properties that are logged, at most.
const MOST_UNKNOWN: usize = 1000;

/// What the face needs beside the service behind it.
pub(crate) struct Front {
    /// Its address and account.
    pub identity: Identity,
    /// The account's key.
    pub key: SharedKey,
    /// Rejects requests with unknown properties.
    strict: bool,
    /// Unknown properties that were logged already.
    unknown: Mutex<BTreeSet<String>>,
}

impl Front {
    /// A face that rejects unknown properties or logs each once.
    pub fn new(identity: Identity, key: SharedKey, strict: bool) -> Self {
        Self { identity, key, strict, unknown: Mutex::default() }
    }

    /// Takes note of a property that the API does not have; whether the request is to be rejected. Logs each once.
    pub fn rejects_unknown(&self, definition: &str, property: &str) -> bool {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        // Clients may make up any number of names.
        if !self.strict && unknown.len() < MOST_UNKNOWN && unknown.insert(format!("{definition} {property}"))
        {
            tracing::warn!(request = definition, property, "the API has no such property: it is ignored");
        }
        self.strict
    }
}
