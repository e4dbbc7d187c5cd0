//! Replaces the embedded service in a build without the feature `embedded`: opening it always fails.

use super::account::Account;
use crate::{error::MissingFeature, settings::Loaded};
use anyhow::Result;
use dropmill_azure_wire::{time::SharedClock, transport::Transport};
use std::{convert::Infallible, path::Path, sync::Arc};

/// A service that cannot exist in this build.
#[derive(Clone)]
pub struct Embedded(Infallible);

impl Embedded {
    /// Returns the missing feature.
    ///
    /// # Errors
    /// Always.
    pub fn open(_: &Loaded, _: &Path, _: &SharedClock) -> Result<Self> {
        Err(MissingFeature { feature: "embedded", needed_by: "service.kind = \"embedded\"" }.into())
    }

    /// Never called without the feature `embedded`.
    pub fn transport(&self) -> (Arc<dyn Transport>, Account, Account) {
        match self.0 {}
    }

    /// Never called without the feature `embedded`.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        match self.0 {}
    }

    /// Never called without the feature `embedded`.
    pub async fn alarms(self) {
        match self.0 {}
    }

    /// Never called without the feature `embedded`.
    pub fn stop(&self) {
        match self.0 {}
    }
}
