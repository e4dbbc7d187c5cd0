//! Replaces the HTTP client in a build without the feature `web`: opening it fails.

use super::Limits;
use crate::orders::{DoorError, FileToStore, GoOn};
use dropmill_azure_wire::blob::FileMetadata;
use std::path::Path;

/// A client that does not exist.
pub(super) enum Line {}

/// The result of a download.
#[expect(dead_code, reason = "nothing is downloaded")]
pub(super) enum Fetched {
    /// The file was downloaded.
    File(FileMetadata),
    /// A redirect leads to this address of the service itself.
    LeadsHome(String),
}

impl Line {
    /// Returns an error that names the missing feature.
    ///
    /// # Errors
    /// Always fails, because there is no HTTP client.
    pub fn open(_: Limits) -> Result<Self, String> {
        Err("addresses of other services need the feature `tls` of the crate `dropmill`".into())
    }

    /// Never called without an HTTP client.
    pub fn fetch(
        &self,
        _: &str,
        _: &Path,
        _: GoOn<'_>,
        _: &dyn Fn(&str) -> bool,
    ) -> Result<Fetched, DoorError> {
        match *self {}
    }

    /// Never called without an HTTP client.
    pub fn list(&self, _: &str, _: &str, _: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        match *self {}
    }

    /// Never called without an HTTP client.
    pub fn store(&self, _: &str, _: &[FileToStore], _: GoOn<'_>) -> Result<(), DoorError> {
        match *self {}
    }
}
