//! Replaces webhooks in a build without the feature `tls`: creating one always fails.

use super::failed::Failed;
use crate::error::MissingFeature;
use dropmill_azure_wire::{secret::Secret, time::SharedClock};
use dropmill_journal::Notice;
use url::Url;

/// A receiver that cannot exist in this build.
pub enum Webhook {}

impl Webhook {
    /// Returns the missing feature.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: Url, _: Option<Secret>, _: SharedClock) -> Result<Self, String> {
        Err(MissingFeature { feature: "tls", needed_by: "notify.url" }.to_string())
    }

    /// Never called: there is no webhook without the feature `tls`.
    pub async fn post(&self, _: &Notice) -> Result<(), Failed> {
        match *self {}
    }
}
