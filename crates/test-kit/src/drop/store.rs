//! The folders of a simulated daemon. A process can crash before and after each step, faults of the scenario
//! apply to the disk, and what nodes read is recorded.

use crate::{
    crash::{CrashInjector, CrashPoint},
    elsewhere::FaultyPlace,
    faults::Faults,
};
use dropmill_actors::{
    drop_store::{
        DropStore, EntryState, MemoryDropStore, NotPublished, Parcel, Published, Root, Rules, StoredInput,
        Take, Taken,
    },
    inputs::Inputs,
    place::{PlaceError, ResultPlace},
};
use dropmill_azure_client::blob::FileSource;
use dropmill_azure_wire::blob::FileMetadata;
use dropmill_azure_wire::secret::without_query;
use dropmill_lifecycle::{
    Failure,
    plan::{Item, RunPlan},
};
use dropmill_local_azure::orders::{BlobAccess, DoorError, FileToStore, GoOn};
use futures_util::future::{BoxFuture, pending};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The store of one process.
pub struct CrashableStore {
    inner: MemoryDropStore,
    injector: Arc<CrashInjector>,
    faults: Faults,
}

impl CrashableStore {
    pub fn new(inner: MemoryDropStore, injector: Arc<CrashInjector>, faults: Faults) -> Self {
        Self { inner, injector, faults }
    }

    /// Carries out a step at which the process may crash; after a crash, the caller gets no result.
    fn step<T: Send + 'static>(
        &self,
        point: Option<CrashPoint>,
        step: impl FnOnce() -> BoxFuture<'static, T>,
    ) -> BoxFuture<'static, T> {
        let Some(point) = point else { return step() };
        if !matches!(point, CrashPoint::AfterTake(_) | CrashPoint::AfterPublish(_)) {
            self.injector.die();
            return Box::pin(pending());
        }
        let (done, injector) = (step(), self.injector.clone());
        Box::pin(async move {
            done.await;
            injector.die();
            pending().await
        })
    }
}

impl DropStore for CrashableStore {
    fn scan(&self, rules: &Rules) -> BoxFuture<'static, io::Result<Vec<(PathBuf, EntryState)>>> {
        self.inner.scan(rules)
    }
    fn check(&self, rules: &Rules, relative: &Path) -> EntryState {
        self.inner.check(rules, relative)
    }
    fn identity(&self) -> Option<(u64, u64)> {
        self.inner.identity()
    }
    fn free_bytes(&self) -> Option<u64> {
        self.inner.free_bytes()
    }
    fn unreliable(&self) -> Option<String> {
        self.inner.unreliable()
    }
    fn probe(&self) -> io::Result<()> {
        self.inner.probe()
    }
    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Vec<Taken>> {
        let point = self.injector.counts(3, &[CrashPoint::BeforeTake, CrashPoint::AfterTake]);
        self.step(point, || self.inner.take(takes))
    }
    fn find(&self, place: &str, relative: &Path) -> Result<Option<StoredInput>, PlaceError> {
        self.inner.find(place, relative)
    }
    fn inputs(&self) -> Vec<(String, PathBuf)> {
        self.inner.inputs()
    }
    fn source(&self, place: &str, relative: &Path) -> PathBuf {
        self.inner.source(place, relative)
    }
    fn publish(&self, parcel: Parcel) -> BoxFuture<'static, Result<Published, NotPublished>> {
        let points = [CrashPoint::BeforePublish, CrashPoint::WithinPublish, CrashPoint::AfterPublish];
        let point = self.injector.counts(4, &points);
        if let Some(CrashPoint::WithinPublish(_)) = point {
            self.inner.publish_half(&parcel);
        }
        self.step(point, || self.inner.publish(parcel))
    }
    fn root(&self, root: Root) -> PathBuf {
        self.inner.root(root)
    }
    fn release(&self, place: &str) {
        self.inner.release(place);
    }
    fn discard_results(&self, run: &str, folder: &str) {
        self.inner.discard_results(run, folder);
    }
    fn close_run(&self, run: &str) {
        self.inner.close_run(run);
    }
    fn prune(&self) {
        self.inner.prune();
    }
    fn results(&self, plan: &RunPlan) -> Arc<dyn ResultPlace> {
        Arc::new(FaultyPlace::new(self.inner.results(plan), self.faults.clone()))
    }
}

impl Inputs for CrashableStore {
    fn files(&self, item: &Item) -> BoxFuture<'static, Result<Vec<PathBuf>, Failure>> {
        self.inner.files(item)
    }
    fn open(&self, item: &Item, below: Option<&Path>) -> io::Result<FileSource> {
        self.inner.open(item, below)
    }
}

/// The contents that nodes read as inputs, by task.
#[derive(Clone, Default)]
pub struct Fetched(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Fetched {
    /// Wraps `door` and records what is read through it.
    pub fn behind(&self, door: Arc<dyn BlobAccess>) -> Arc<dyn BlobAccess> {
        Arc::new(RecordingDoor { inner: door, fetched: self.clone() })
    }

    /// Returns the last content that was read for each task.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct RecordingDoor {
    inner: Arc<dyn BlobAccess>,
    fetched: Fetched,
}

impl BlobAccess for RecordingDoor {
    fn fetch(&self, url: &str, to: &Path, go_on: GoOn<'_>) -> Result<FileMetadata, DoorError> {
        self.inner.fetch(url, to, go_on)
    }
    fn list(&self, container_url: &str, prefix: &str, go_on: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        self.inner.list(container_url, prefix, go_on)
    }
    fn store(&self, container_url: &str, files: &[FileToStore], go_on: GoOn<'_>) -> Result<(), DoorError> {
        self.inner.store(container_url, files, go_on)
    }
    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        let bytes = self.inner.fetch_bytes(url)?;
        // The blob of an input is `<task>/<file name>` in the run's container, in path style.
        let mut path = without_query(url).rsplit('/');
        if let (Some(_), Some(task)) = (path.next(), path.next()) {
            let mut fetched = self.fetched.0.lock().unwrap_or_else(PoisonError::into_inner);
            fetched.insert(task.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }
    fn store_bytes(&self, container_url: &str, files: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        self.inner.store_bytes(container_url, files)
    }
}
