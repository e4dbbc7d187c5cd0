//! Opens the services that a run uses: an embedded one of its own, or accounts of Azure.
//!
//! Each needs a Cargo feature: [`check`] reports a missing one before anything is created.

pub mod account;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(not(feature = "embedded"))]
#[path = "no_embedded.rs"]
mod embedded;
#[cfg(feature = "tls")]
mod live;

pub use embedded::Embedded;
#[cfg(feature = "tls")]
pub use live::install_tls;

use account::Account;

use crate::{
    error::MissingFeature,
    record::Record,
    settings::{Loaded, ServiceKind, Settings},
};
use anyhow::{Context, Result};
use dropmill_actors::Services;
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions},
};
use dropmill_azure_wire::{sign::SharedKey, time::SharedClock, transport::Transport};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{path::Path, sync::Arc, time::Duration};

/// The Cargo features that decide which services can be used.
#[derive(Debug, Clone, Copy)]
struct Built {
    embedded: bool,
    tls: bool,
}

/// Checks that this build has every feature that the settings need.
///
/// # Errors Returns the first feature that is missing.
pub fn check(settings: &Settings) -> Result<(), MissingFeature> {
    let built = Built { embedded: cfg!(feature = "embedded"), tls: cfg!(feature = "tls") };
    missing(settings, built).map_or(Ok(()), Err)
}

fn missing(settings: &Settings, built: Built) -> Option<MissingFeature> {
    let kind = settings.service.kind;
    let needs = [
        (kind == ServiceKind::Embedded && !built.embedded, ("embedded", "service.kind = \"embedded\"")),
        (kind == ServiceKind::Azure && !built.tls, ("tls", "service.kind = \"azure\"")),
        (settings.notify.url.is_some() && !built.tls, ("tls", "notify.url")),
    ];
    let (_, (feature, needed_by)) = needs.into_iter().find(|(is_missing, _)| *is_missing)?;
    Some(MissingFeature { feature, needed_by })
}

/// Opens the services that the settings name; `folder` is the one of the embedded service.
///
/// # Errors
/// Fails if a feature is missing, a key is not available, or the embedded service cannot start.
pub fn open(
    loaded: &Loaded,
    folder: &Path,
    clock: &SharedClock,
    record: Option<&Record>,
) -> Result<(Services, Option<Embedded>)> {
    check(&loaded.settings)?;
    match loaded.settings.service.kind {
        ServiceKind::Embedded => {
            let service = Embedded::open(loaded, folder, clock)?;
            let (transport, batch, blob) = service.transport();
            let services = clients(
                recorded(transport, &batch, &blob, true, clock, record),
                &batch,
                &blob,
                loaded,
                clock,
            )?;
            Ok((Services { hints: Some(service.changes()), ..services }, Some(service)))
        }
        #[cfg(feature = "tls")]
        ServiceKind::Azure => {
            let (transport, batch, blob) = live::transport(loaded)?;
            let services = clients(
                recorded(transport, &batch, &blob, false, clock, record),
                &batch,
                &blob,
                loaded,
                clock,
            )?;
            Ok((services, None))
        }
        #[cfg(not(feature = "tls"))]
        ServiceKind::Azure => anyhow::bail!("internal error: a feature is missing although it was checked"),
    }
}

/// Adds a recorder to a transport, if the caller wants one.
fn recorded(
    transport: Arc<dyn Transport>,
    batch: &Account,
    blob: &Account,
    hints: bool,
    clock: &SharedClock,
    record: Option<&Record>,
) -> Arc<dyn Transport> {
    match record {
        Some(record) => record.of(transport, batch, blob, hints, clock),
        None => transport,
    }
}

fn clients(
    transport: Arc<dyn Transport>,
    batch: &Account,
    blob: &Account,
    loaded: &Loaded,
    clock: &SharedClock,
) -> Result<Services> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let mut rng = ChaCha8Rng::from_seed(bytes);
    let timeout: Duration = loaded.settings.limits.call_timeout.0;
    let key = |access: &Account, name: &str| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_fails_if_this_build_lacks_what_it_needs() {
        let checked = check(&Settings::default()).map_err(|missing| missing.to_string());
        let expected = "service.kind = \"embedded\" needs the feature `embedded`: add it to the features of `dropmill` in \
                        Cargo.toml, then build again";
        let expected = if cfg!(feature = "embedded") { Ok(()) } else { Err(expected.to_owned()) };
        assert_eq!(checked, expected);
    }

    #[test]
    fn a_missing_feature_that_the_settings_need_is_named() {
        let settings = |kind, url: Option<&str>| {
            let mut settings = Settings::default();
            (settings.service.kind, settings.notify.url) = (kind, url.map(str::to_owned));
            settings
        };
        use ServiceKind::{Azure, Embedded};
        for (kind, url, embedded, tls, expected) in [
            (Embedded, None, true, false, None),
            (Embedded, None, false, true, Some("embedded")),
            (Embedded, Some("https://a.example"), true, false, Some("tls")),
            (Embedded, Some("https://a.example"), true, true, None),
            (Azure, None, false, true, None),
            (Azure, None, true, false, Some("tls")),
        ] {
            let found = missing(&settings(kind, url), Built { embedded, tls });
            assert_eq!(found.as_ref().map(|missing| missing.feature), expected, "{kind:?} {url:?} {found:?}");
        }
    }
}
