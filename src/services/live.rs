//! Accounts of Azure, or of another service that implements its protocols, reached over sockets.

use super::account::Account;
use crate::settings::{KeySource, Loaded};
use anyhow::{Context, Result, anyhow};
use dropmill_azure_client::live::HttpTransport;
use dropmill_azure_wire::transport::Transport;
use std::sync::Arc;

/// Returns a transport to the services that the settings name, and their Batch and storage account.
///
/// # Errors
/// Fails if a key is not available, or TLS cannot be set up.
pub fn transport(loaded: &Loaded) -> Result<(Arc<dyn Transport>, Account, Account)> {
    let service = &loaded.settings.service;
    let text =
        |value: &Option<String>| value.clone().context("it was checked that every key of [service] is there");
    let key = |name: &str, source: &Option<KeySource>| {
        let source = source.as_ref().context("it was checked that every key of [service] is there")?;
        source.fetch(&loaded.base).map_err(|reason| anyhow!("service.{name}: {reason}"))
    };
    let batch = Account {
        endpoint: text(&service.batch_endpoint)?,
        account: text(&service.batch_account)?,
        key: key("batch_key", &service.batch_key)?,
    };
    let blob = Account {
        endpoint: text(&service.blob_endpoint)?,
        account: text(&service.storage_account)?,
        key: key("storage_key", &service.storage_key)?,
    };
    install_tls();
    Ok((Arc::new(HttpTransport::new().context("set up TLS")?), batch, blob))
}

/// Sets the provider of cryptography, which calls over sockets need. Keeps one that was set before.
pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
