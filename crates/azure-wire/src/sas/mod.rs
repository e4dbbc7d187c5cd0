//! Shared access signatures: the right to one container or blob for a time, as the query of a URL.
//!
//! [`Grant::sign`] issues a service SAS; [`verify`] checks a service, account or user delegation SAS against what a
//! request asks for, by the rules of its own `sv`. A stored access policy (`si`), a directory SAS, and a user delegation
//! SAS that is bound to a second user or to headers of the request are refused by name.

mod check;
mod delegation;
mod permissions;

pub use check::{Asked, Refusal, Rights, is_present, verify};
pub use delegation::{DelegationKey, read_key_info};
pub use permissions::{Action, Level, Permissions};

use crate::{
    secret::Secret,
    sign::SharedKey,
    time::{Timestamp, iso_seconds},
    uri::Query,
};

/// The version whose rules our own SAS follow.
pub const VERSION: &str = "2025-01-05";

/// A right to be put into a service SAS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The container.
    pub container: String,
    /// One blob of it; none: the container and all its blobs.
    pub blob: Option<String>,
    /// What may be done.
    pub permissions: Permissions,
    /// From when; none: from now.
    pub starts: Option<Timestamp>,
    /// Until when.
    pub expires: Timestamp,
    /// Whether it holds over HTTPS alone.
    pub https_only: bool,
}

impl Grant {
    /// The right to a container and all its blobs.
    pub fn to_container(container: impl Into<String>, permissions: Permissions, expires: Timestamp) -> Self {
        let (container, blob) = (container.into(), None);
        Self { container, blob, permissions, starts: None, expires, https_only: false }
    }

    /// The right to one blob.
    pub fn to_blob(
        container: impl Into<String>,
        blob: impl Into<String>,
        permissions: Permissions,
        expires: Timestamp,
    ) -> Self {
        Self { blob: Some(blob.into()), ..Self::to_container(container, permissions, expires) }
    }

    /// The SAS: a query without question mark.
    pub fn sign(&self, key: &SharedKey) -> Secret {
        let starts = self.starts.map(iso_seconds).unwrap_or_default();
        let expires = iso_seconds(self.expires);
        let permissions = self.permissions.to_string();
        let protocol = if self.https_only { "https" } else { "" };
        let kind = if self.blob.is_some() { "b" } else { "c" };
        let fields = check::ServiceFields {
            permissions: &permissions,
            starts: &starts,
            expires: &expires,
            protocol,
            version: VERSION,
            kind,
            ..Default::default()
        };
        let resource = check::resource(key.account(), &self.container, self.blob.as_deref());
        let signature = key.sign(&fields.string_to_sign(&resource));
        let pairs = [
            ("sv", VERSION),
            ("st", &starts),
            ("se", &expires),
            ("sr", kind),
            ("sp", &permissions),
            ("spr", protocol),
            ("sig", &signature),
        ];
        let present = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let query = present.fold(Query::default(), |query, (name, value)| query.with(name, value));
        Secret::new(query.as_str())
    }
}

/// A URL with a SAS as (the rest of) its query.
pub fn url_with(url: &str, sas: &Secret) -> Secret {
    let joint = if url.contains('?') { '&' } else { '?' };
    Secret::new(format!("{url}{joint}{}", sas.expose()))
}

#[cfg(test)]
mod tests;
