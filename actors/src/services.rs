//! The services that actors use: the two APIs, and change notifications if the service sends any.

use dropmill_azure_client::{batch::BatchApi, blob::BlobApi};

/// The services of a run.
#[derive(Clone)]
pub struct Services {
    /// Pools, jobs and tasks.
    pub batch: BatchApi,
    /// Containers and blobs.
    pub blob: BlobApi,
    /// A counter of changes of tasks and nodes. Change notifications make a run fast, polling makes it
    /// correct: losing all notifications costs only time.
    pub hints: Option<tokio::sync::watch::Receiver<u64>>,
}

impl Services {
    /// Returns whether the services are the embedded ones, in this process and on its disk: only these send
    /// change notifications.
    pub fn is_embedded(&self) -> bool {
        self.hints.is_some()
    }
}
