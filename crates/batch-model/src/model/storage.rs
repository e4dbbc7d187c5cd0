//! The account's own storage, whose containers tasks may name without an address.

use dropmill_azure_wire::{
    sas::{Grant, Permissions, url_with},
    secret::Secret,
    sign::SharedKey,
    time::Timestamp,
};
use std::time::Duration;

/// How long a node may read from a container that it was sent to.
const VALID: Duration = Duration::from_secs(7 * 24 * 3600);

/// The account's own storage.
#[derive(Debug, Clone)]
pub struct AutoStorage {
    /// Where it is: `http://127.0.0.1:10000/local`.
    pub endpoint: String,
    /// Its key.
    pub key: SharedKey,
}

impl AutoStorage {
    /// The address of a container, with the right to read it.
    pub(super) fn container(&self, name: &str, now: Timestamp) -> Secret {
        let expires = now.checked_add(VALID).unwrap_or(Timestamp::MAX);
        let sas = Grant::to_container(name, Permissions::parse("rl"), expires).sign(&self.key);
        url_with(&format!("{}/{name}", self.endpoint), &sas)
    }
}

/// Whether a text may be the name of a container.
pub(super) fn is_container(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len()) && name.bytes().all(fine) && !name.starts_with('-')
}
