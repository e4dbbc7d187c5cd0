//! Faults outside the requests of the client: between nodes and blobs, and on the disk to which results are
//! delivered.

use crate::{
    faults::Faults,
    operation::{DELIVER, FETCH, Operation, STORE},
    scenario::{Fault, FaultKind},
};
use dropmill_actors::place::{Delivery, PlaceError, Placed, ResultPlace};
use dropmill_azure_wire::blob::FileMetadata;
use dropmill_azure_wire::{secret::without_query, uri::decode};
use dropmill_local_azure::orders::{BlobAccess, DoorError, FileToStore, GoOn};
use futures_util::future::BoxFuture;
use std::{collections::BTreeSet, io::Write, path::Path, sync::Arc};

/// The access of nodes to blobs, with faults.
pub struct FaultyDoor {
    inner: Arc<dyn BlobAccess>,
    faults: Faults,
}

impl FaultyDoor {
    /// Creates an access through `inner` that injects faults.
    pub fn new(inner: Arc<dyn BlobAccess>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    fn pass(&self, name: &'static str, url: &str, blob: &str) -> Result<(), DoorError> {
        let operation = Operation { name, subject: subject(url, blob) };
        let Some(fault) = self.faults.draw_elsewhere(&operation) else { return Ok(()) };
        let message = format!("{}: {}: Injected by the scenario.", operation.subject, fault.code);
        Err(match (fault.deed, fault.status) {
            (FaultKind::Refuse, _) => DoorError::Other("connection refused (scenario)".into()),
            (_, 401 | 403) => DoorError::Denied(message),
            (_, 404) => DoorError::NotFound(message),
            _ => DoorError::Other(message),
        })
    }
}

/// Returns `container/blob` of a URL in path style, or of a blob in the container that the URL names.
fn subject(url: &str, blob: &str) -> String {
    let path: Vec<&str> = without_query(url).split('/').skip(4).filter(|part| !part.is_empty()).collect();
    let named = decode(&path.join("/")).into_owned();
    if blob.is_empty() { named } else { format!("{named}/{blob}") }
}

fn first<T>(files: &[(String, T)]) -> &str {
    files.first().map_or("", |(name, _)| name)
}

impl BlobAccess for FaultyDoor {
    fn fetch(&self, url: &str, to: &Path, go_on: GoOn<'_>) -> Result<FileMetadata, DoorError> {
        self.pass(FETCH, url, "")?;
        self.inner.fetch(url, to, go_on)
    }

    fn list(&self, container_url: &str, prefix: &str, go_on: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        self.pass(FETCH, container_url, prefix)?;
        self.inner.list(container_url, prefix, go_on)
    }

    fn store(&self, container_url: &str, files: &[FileToStore], go_on: GoOn<'_>) -> Result<(), DoorError> {
        self.pass(STORE, container_url, files.first().map_or("", |file| &file.name))?;
        self.inner.store(container_url, files, go_on)
    }

    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        self.pass(FETCH, url, "")?;
        self.inner.fetch_bytes(url)
    }

    fn store_bytes(&self, container_url: &str, files: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        self.pass(STORE, container_url, first(files))?;
        self.inner.store_bytes(container_url, files)
    }
}

/// A place for results with faults: its disk is full, or fails.
pub struct FaultyPlace {
    inner: Arc<dyn ResultPlace>,
    faults: Faults,
}

impl FaultyPlace {
    /// Creates a place on top of `inner` that injects faults.
    pub fn new(inner: Arc<dyn ResultPlace>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    fn fails(&self, what: &'static str, path: String) -> Result<(), PlaceError> {
        let operation = Operation { name: DELIVER, subject: path.clone() };
        let Some(Fault { deed, .. }) = self.faults.draw_elsewhere(&operation) else { return Ok(()) };
        let may_pass = deed == FaultKind::DiskFull;
        let reason =
            if may_pass { "No space left on device (scenario)" } else { "Input/output error (scenario)" };
        Err(PlaceError::Refused { what, path, reason: reason.into(), may_pass })
    }
}

impl ResultPlace for FaultyPlace {
    fn stage(&self, task: &str, needs_bytes: u64, keep: &BTreeSet<String>) -> Result<bool, PlaceError> {
        self.inner.stage(task, needs_bytes, keep)
    }

    fn create(&self, task: &str, path: &str) -> Result<Box<dyn Write + Send>, PlaceError> {
        self.fails("write", format!("{task}/{path}"))?;
        self.inner.create(task, path)
    }

    fn publish(&self, delivery: Delivery) -> BoxFuture<'static, Result<Placed, PlaceError>> {
        match self.fails("publish", delivery.task.clone()) {
            Ok(()) => self.inner.publish(delivery),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }

    fn discard(&self, task: &str) {
        self.inner.discard(task);
    }
}
