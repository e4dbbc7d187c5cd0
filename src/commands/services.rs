//! The services of a run: the embedded one of its own, or accounts elsewhere.

use crate::{
    record::Record,
    settings::{Loaded, ServiceKind},
};
use anyhow::{Context, Result, anyhow};
use dropmill_actors::Services;
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions},
    in_process::InProcess,
    live::HttpTransport,
};
use dropmill_azure_wire::{sign::SharedKey, time::SharedClock, transport::Transport};
use dropmill_local_azure::service::{
    Access, Connection, Durability, LocalAzure, RunnerChoice, ServiceSettings,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{path::Path, sync::Arc, time::Duration};

/// Opens them; the embedded service too, if it is that one.
pub fn open(
    loaded: &Loaded,
    folder: &Path,
    clock: &SharedClock,
    record: Option<&Record>,
) -> Result<(Services, Option<LocalAzure>)> {
    match loaded.settings.service.kind {
        ServiceKind::Embedded => {
            let service = embedded(loaded, folder, clock)?;
            let services = in_process(&service, loaded, clock, record)?;
            Ok((services, Some(service)))
        }
        ServiceKind::Azure => Ok((elsewhere(loaded, clock, record)?, None)),
    }
}

fn embedded(loaded: &Loaded, folder: &Path, clock: &SharedClock) -> Result<LocalAzure> {
    // Names of nodes and calls need only differ from those of other services.
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let settings = ServiceSettings {
        seed: u64::from_le_bytes(bytes),
        // The run's journal and its results are flushed; what the service forgets is done again.
        durability: Durability::Process,
        // All of it goes with the run.
        cleanup_at_stop: Duration::ZERO,
        stream_bytes: loaded.settings.limits.stream_bytes.0,
        ..ServiceSettings::at(folder)
    };
    LocalAzure::open(settings, clock.clone(), RunnerChoice::Processes).context("start the embedded service")
}

fn in_process(
    service: &LocalAzure,
    loaded: &Loaded,
    clock: &SharedClock,
    record: Option<&Record>,
) -> Result<Services> {
    let Connection { batch, blob, .. } = service.connection();
    let transport = InProcess::new()
        .serving(&batch.endpoint, service.batch_router())
        .serving(&blob.endpoint, service.blob_router());
    let mut transport: Arc<dyn Transport> = Arc::new(transport);
    if let Some(record) = record {
        transport = record.of(transport, &batch, &blob, true, clock);
    }
    let services = clients(transport, &batch, &blob, loaded, clock)?;
    Ok(Services { hints: Some(service.changes()), ..services })
}

fn elsewhere(loaded: &Loaded, clock: &SharedClock, record: Option<&Record>) -> Result<Services> {
    let service = &loaded.settings.service;
    let text =
        |value: &Option<String>| value.clone().context("it was checked that every key of [service] is there");
    let key = |name: &str, source: &Option<crate::settings::KeySource>| {
        let source = source.as_ref().context("it was checked that every key of [service] is there")?;
        source.fetch(&loaded.base).map_err(|reason| anyhow!("service.{name}: {reason}"))
    };
    let batch = Access {
        endpoint: text(&service.batch_endpoint)?,
        account: text(&service.batch_account)?,
        key: key("batch_key", &service.batch_key)?,
    };
    let blob = Access {
        endpoint: text(&service.blob_endpoint)?,
        account: text(&service.storage_account)?,
        key: key("storage_key", &service.storage_key)?,
    };
    install_tls();
    let mut transport: Arc<dyn Transport> = Arc::new(HttpTransport::new().context("set up TLS")?);
    if let Some(record) = record {
        transport = record.of(transport, &batch, &blob, false, clock);
    }
    clients(transport, &batch, &blob, loaded, clock)
}

/// Only calls over sockets need it; whoever installed one before keeps it.
pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn clients(
    transport: Arc<dyn Transport>,
    batch: &Access,
    blob: &Access,
    loaded: &Loaded,
    clock: &SharedClock,
) -> Result<Services> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let mut rng = ChaCha8Rng::from_seed(bytes);
    let timeout: Duration = loaded.settings.limits.call_timeout.0;
    let key = |access: &Access, name: &str| {
        SharedKey::new(&access.account, &access.key).with_context(|| format!("service.{name}"))
    };
    let options = BatchOptions::new(
        Endpoint::parse(&batch.endpoint)?,
        key(batch, "batch_key")?.into(),
        transport.clone(),
        clock.clone(),
        ChaCha8Rng::from_rng(&mut rng),
    );
    let batch_api = BatchApi::new(BatchOptions { timeout, ..options });
    let endpoint = Endpoint::parse(&blob.endpoint)?;
    let options = BlobOptions::new(endpoint, key(blob, "storage_key")?, transport, clock.clone(), rng);
    let blob_api = BlobApi::new(BlobOptions { timeout, ..options });
    Ok(Services { batch: batch_api, blob: blob_api, hints: None })
}
