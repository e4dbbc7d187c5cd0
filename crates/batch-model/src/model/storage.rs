//! The linked storage account, whose containers tasks can name without a URL.

use dropmill_azure_wire::{
    sas::{Grant, Permissions, url_with},
    secret::Secret,
    sign::SharedKey,
    time::Timestamp,
};
use std::time::Duration;

/// Validity of the SAS with which a node reads a container.
const VALID: Duration = Duration::from_secs(7 * 24 * 3600);

/// The linked storage account.
#[derive(Debug, Clone)]
pub struct AutoStorage {
    /// Address of the account: `http://127.0.0.1:10000/local`.
    pub endpoint: String,
    /// Key of the account.
    pub key: SharedKey,
}

impl AutoStorage {
    /// Returns the URL of a container with read access.
    pub(super) fn container(&self, name: &str, now: Timestamp) -> Secret {
        let expires = now.checked_add(VALID).unwrap_or(Timestamp::MAX);
        let sas = Grant::to_container(name, Permissions::parse("rl"), expires).sign(&self.key);
        url_with(&format!("{}/{name}", self.endpoint), &sas)
    }
}

/// Returns whether a text is a valid container name.
pub(super) fn is_container(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len()) && name.bytes().all(fine) && !name.starts_with('-')
}
