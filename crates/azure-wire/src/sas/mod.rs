//! Shared access signatures (SAS): time-limited access to one container or blob, granted by the query of a
//! URL.
//!
//! [`Grant::sign`] issues a service SAS. [`verify`] checks a service, account or user delegation SAS against
//! a request, by the rules of its own version (`sv`). It rejects, with a message that names the feature:
//! stored access policies (`si`), directory SAS, and user delegation SAS that are bound to a second user or
//! to request headers.

mod check;
mod delegation;
mod permissions;

pub use check::{AuthError, Rights, SasRequest, is_present, verify};
pub use delegation::{DelegationKey, read_key_info};
pub use permissions::{Action, Level, Permissions};

use crate::{
    secret::Secret,
    sign::SharedKey,
    time::{Timestamp, iso_seconds},
    uri::Query,
};

/// Protocol version of the SAS that this crate issues.
pub const VERSION: &str = "2025-01-05";

/// The content of a service SAS before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Container that the SAS gives access to.
    pub container: String,
    /// Blob that the SAS is limited to; `None` allows the container and all its blobs.
    pub blob: Option<String>,
    /// Permissions that the SAS grants.
    pub permissions: Permissions,
    /// Start of validity; `None` means immediately.
    pub starts: Option<Timestamp>,
    /// End of validity, exclusive.
    pub expires: Timestamp,
    /// `true` to accept the SAS over HTTPS only.
    pub https_only: bool,
}

impl Grant {
    /// Creates a grant for a container and all its blobs.
    pub fn to_container(container: impl Into<String>, permissions: Permissions, expires: Timestamp) -> Self {
        let (container, blob) = (container.into(), None);
        Self { container, blob, permissions, starts: None, expires, https_only: false }
    }

    /// Creates a grant for one blob.
    pub fn to_blob(
        container: impl Into<String>,
        blob: impl Into<String>,
        permissions: Permissions,
        expires: Timestamp,
    ) -> Self {
        Self { blob: Some(blob.into()), ..Self::to_container(container, permissions, expires) }
    }

    /// Returns the signed SAS: a query without the question mark.
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

/// Returns the URL with the SAS appended to its query.
pub fn url_with(url: &str, sas: &Secret) -> Secret {
    let joint = if url.contains('?') { '&' } else { '?' };
    Secret::new(format!("{url}{joint}{}", sas.expose()))
}

#[cfg(test)]
mod tests;
