//! What the actors call: the two APIs, and hints that something changed if the service gives any.

use dropmill_azure_client::{batch::BatchApi, blob::BlobApi};

/// The services of a run.
#[derive(Clone)]
pub struct Services {
    /// Pools, jobs and tasks.
    pub batch: BatchApi,
    /// Containers and blobs.
    pub blob: BlobApi,
    /// Counts changes of tasks and nodes. Hints make a run fast; looks make it right, so losing every hint
    /// costs time only.
    pub hints: Option<tokio::sync::watch::Receiver<u64>>,
}

impl Services {
    /// Returns whether the services are the embedded ones, in this process and on its disk: they alone notify of changes.
    pub fn is_embedded(&self) -> bool {
        self.hints.is_some()
    }
}
