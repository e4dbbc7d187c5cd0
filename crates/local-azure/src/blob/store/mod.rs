//! Containers and blobs, durable before they are visible.
//!
//! Queries are answered from an index in memory. Changes are decided on the index at once, and passed to a
//! writer that commits pending changes together. Every result is a [`DurableReply`], which resolves only when the
//! state behind it is durable, whether it is a success or an error. Without a folder everything is in memory,
//! on the caller's thread.
//!
//! Unlike in Azure, the name of a deleted container is free at once: `ContainerBeingDeleted` is never
//! returned.

mod blobs;
mod change;
mod content;
mod facts;
mod index;
mod queue;
mod read;
mod tables;
mod writer;

pub use blobs::{AppendLimits, Condition, Incoming};
pub use content::IN_DATABASE;
pub use facts::{Blob, BlobFacts, ContainerFacts, ContentHeaders, Copied, Described, Kind, Piece};
pub use index::{Listing, Page};
pub use read::Reading;

use super::lease::{Denied, Lease};
use crate::durability::Durability;
use change::Change;
use dropmill_azure_wire::{
    blob::{Metadata, TagFilter, Tags},
    time::{SharedClock, Timestamp},
};
use index::{Container, Index};
use queue::{Queue, Ticket};
use std::{
    fmt::Display,
    fs,
    mem::take,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};
use writer::Writer;

/// The store cannot be used, or an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {path}: {reason}")]
pub struct StoreError {
    what: &'static str,
    path: String,
    reason: String,
}

impl StoreError {
    pub(crate) fn new(what: &'static str, path: impl AsRef<Path>, reason: &impl Display) -> Self {
        Self { what, path: path.as_ref().display().to_string(), reason: reason.to_string() }
    }

    fn closed() -> Self {
        Self::new("write to", "the blob store", &"it is closed")
    }
}

/// The reason why the store rejects an operation. `http::answer` has the status and code of each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refused {
    NoContainer,
    ContainerExists,
    NoBlob,
    BlobExists,
    /// A blob exists, and the SAS allows new blobs only.
    NotReplaceable,
    ConditionFailed,
    /// A block list names a missing block.
    UnknownBlock,
    /// A block id has another length than those of the other uncommitted blocks.
    BlockIdLength,
    /// There are too many uncommitted blocks.
    TooManyBlocks,
    /// The operation is for another kind of blob.
    OtherKind,
    /// An append blob does not have the expected length.
    AppendPosition,
    /// An append blob would exceed the requested maximum length.
    AppendLength,
    /// An append blob has the maximum number of blocks.
    TooManyAppends,
    BlobLease(Denied),
    ContainerLease(Denied),
    Failed(StoreError),
}

/// A result that resolves when the state behind it is durable.
#[derive(Debug)]
#[must_use = "a result is valid only when it is durable"]
pub struct DurableReply<T> {
    answer: Result<T, Refused>,
    ticket: Ticket,
}

impl<T> DurableReply<T> {
    /// Waits.
    ///
    /// # Errors
    /// Returns the error of the operation, or [`Refused::Failed`] if it could not be made durable.
    pub async fn durable(self) -> Result<T, Refused> {
        self.ticket.durable().await.map_err(Refused::Failed)?;
        self.answer
    }

    /// Waits, on a blocking thread.
    ///
    /// # Errors
    /// As [`DurableReply::durable`].
    pub fn durable_blocking(self) -> Result<T, Refused> {
        self.ticket.durable_blocking().map_err(Refused::Failed)?;
        self.answer
    }
}

/// Decides about a change of a container from its properties.
pub type ContainerCondition<'a> = &'a dyn Fn(&ContainerFacts) -> Result<(), Refused>;

/// The store of one account.
#[derive(Debug)]
pub struct Store {
    index: Arc<Mutex<Index>>,
    /// `None`: everything is in memory.
    disk: Option<Disk>,
    clock: Clock,
}

/// A clock with an empty `Debug` output.
struct Clock(SharedClock);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("clock")
    }
}

#[derive(Debug)]
struct Disk {
    queue: Arc<Queue>,
    contents: Arc<read::Contents>,
    writer: Mutex<Option<JoinHandle<()>>>,
    durability: Durability,
}

impl Store {
    /// Creates a store in memory, without a thread or a file.
    pub fn in_memory(clock: SharedClock) -> Self {
        Self { index: Arc::default(), disk: None, clock: Clock(clock) }
    }

    /// Opens the content of `folder`, or creates it. Only its owner can read it.
    ///
    /// # Errors
    /// Fails if it cannot be read or written, is damaged, or was written by a newer version.
    pub fn open(folder: &Path, durability: Durability, clock: SharedClock) -> Result<Self, StoreError> {
        let files = folder.join("contents");
        for folder in [folder, &files] {
            dropmill_private_files::folder(folder)
                .map_err(|error| StoreError::new("make folder", folder, &error))?;
        }
        let path = folder.join("blobs.db");
        let database = tables::open(&path, durability)?;
        let queue = Arc::new(Queue::default());
        tables::forget_old_blocks(&database, clock.now())
            .map_err(|error| StoreError::new("write to", &path, &error))?;
        let loaded =
            tables::load(&database, &queue).map_err(|error| StoreError::new("read", &path, &error))?;
        let highest = writer::sweep(&files, &loaded.files, &queue)
            .map_err(|error| StoreError::new("read", &files, &error))?;
        let mut index = loaded.index;
        index.marks.id = index.marks.id.max(highest);
        let index = Arc::new(Mutex::new(index));
        let reader = tables::open(&path, durability)?;
        let contents = Arc::new(read::Contents::new(files.clone(), reader));
        let writer = Writer {
            database,
            durability,
            path: path.clone(),
            files,
            queue: queue.clone(),
            index: index.clone(),
        };
        let thread = std::thread::Builder::new().name("blob-writer".into()).spawn(move || writer.work());
        let thread = thread.map_err(|error| StoreError::new("start the writer of", &path, &error))?;
        let disk = Some(Disk { queue, contents, writer: Mutex::new(Some(thread)), durability });
        Ok(Self { index, disk, clock: Clock(clock) })
    }

    /// Commits pending changes and ends the writer. Later operations fail.
    pub fn close(&self) {
        let Some(disk) = &self.disk else { return };
        disk.queue.close();
        let writer = disk.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes changes to the writer. Called under the index's lock, so that they arrive in the order of the
    /// decisions.
    fn order(&self, index: &mut Index, changes: Vec<Change>) -> Ticket {
        let Some(disk) = &self.disk else { return Ticket::default() };
        let ticket = disk.queue.order(changes, index.marks);
        index.latest = ticket.clone();
        ticket
    }

    fn now(&self) -> Timestamp {
        self.clock.0.now()
    }

    /// Creates a container.
    pub fn create_container(&self, name: &str, metadata: Metadata) -> DurableReply<ContainerFacts> {
        let mut index = self.lock();
        if let Some(found) = index.containers.get(name) {
            return DurableReply { answer: Err(Refused::ContainerExists), ticket: found.ticket.clone() };
        }
        let id = index.next_id();
        let facts = ContainerFacts { modified: index.next_moment(self.now()), metadata, lease: None };
        let change = Change::PutContainer { id, name: name.to_owned(), facts: facts.clone() };
        let ticket = self.order(&mut index, vec![change]);
        let container = Container::new(id, facts.clone(), ticket.clone());
        index.containers.insert(name.to_owned(), container);
        DurableReply { answer: Ok(facts), ticket }
    }

    /// Returns the properties of a container.
    pub fn container(&self, name: &str) -> DurableReply<ContainerFacts> {
        let index = self.lock();
        match index.containers.get(name) {
            Some(found) => DurableReply { answer: Ok(found.facts.clone()), ticket: found.ticket.clone() },
            None => DurableReply { answer: Err(Refused::NoContainer), ticket: index.removal.clone() },
        }
    }

    /// Sets a container's metadata, if `condition` allows it.
    pub fn set_container_metadata(
        &self,
        name: &str,
        metadata: Metadata,
        condition: ContainerCondition<'_>,
    ) -> DurableReply<ContainerFacts> {
        self.change_container(name, condition, |facts, index, now| {
            *facts = ContainerFacts { modified: index.next_moment(now), metadata, lease: facts.lease.take() };
            Ok(())
        })
    }

    /// Changes the lease on a container, which does not count as a change of the container.
    pub fn lease_container(
        &self,
        name: &str,
        condition: ContainerCondition<'_>,
        apply: impl FnOnce(Option<&Lease>, Timestamp) -> Result<Option<Lease>, Denied>,
    ) -> DurableReply<ContainerFacts> {
        self.change_container(name, condition, |facts, _, now| {
            let next = apply(facts.lease.as_deref(), now).map_err(Refused::ContainerLease)?;
            facts.lease = next.map(Box::new);
            Ok(())
        })
    }

    fn change_container(
        &self,
        name: &str,
        condition: ContainerCondition<'_>,
        change: impl FnOnce(&mut ContainerFacts, &mut Index, Timestamp) -> Result<(), Refused>,
    ) -> DurableReply<ContainerFacts> {
        let mut index = self.lock();
        let Some(found) = index.containers.get(name) else {
            return DurableReply { answer: Err(Refused::NoContainer), ticket: index.removal.clone() };
        };
        let (id, mut facts, before) = (found.id, found.facts.clone(), found.ticket.clone());
        let changed = condition(&facts).and_then(|()| change(&mut facts, &mut index, self.now()));
        if let Err(refused) = changed {
            return DurableReply { answer: Err(refused), ticket: before };
        }
        let change = Change::PutContainer { id, name: name.to_owned(), facts: facts.clone() };
        let ticket = self.order(&mut index, vec![change]);
        if let Some(found) = index.containers.get_mut(name) {
            (found.facts, found.ticket) = (facts.clone(), ticket.clone());
        }
        DurableReply { answer: Ok(facts), ticket }
    }

    /// Deletes a container with its content, at once, if `condition` allows it. Leases on its blobs do not
    /// prevent it.
    pub fn delete_container(&self, name: &str, condition: ContainerCondition<'_>) -> DurableReply<()> {
        let mut index = self.lock();
        let Some(found) = index.containers.get(name) else {
            return DurableReply { answer: Err(Refused::NoContainer), ticket: index.removal.clone() };
        };
        if let Err(refused) = condition(&found.facts) {
            return DurableReply { answer: Err(refused), ticket: found.ticket.clone() };
        }
        let container = index.containers.remove(name).map(Box::new);
        let changes = container.map(|container| Change::DropContainer { id: container.id, container });
        let ticket = self.order(&mut index, changes.into_iter().collect());
        index.removal = ticket.clone();
        DurableReply { answer: Ok(()), ticket }
    }

    /// Returns containers whose names begin with `prefix`, from `from` on, at most `limit`; and the start of
    /// the next page.
    #[allow(clippy::type_complexity)]
    pub fn containers(
        &self,
        prefix: &str,
        from: &str,
        limit: usize,
    ) -> DurableReply<(Vec<(String, ContainerFacts)>, Option<String>)> {
        let index = self.lock();
        DurableReply { answer: Ok(index.containers(prefix, from, limit)), ticket: index.latest.clone() }
    }

    /// Returns a page of the blobs of a container.
    pub fn blobs(&self, container: &str, listing: &Listing<'_>) -> DurableReply<Page> {
        let index = self.lock();
        let found = index.containers.get(container).ok_or(Refused::NoContainer);
        DurableReply { answer: found.map(|found| found.page(listing)), ticket: index.latest.clone() }
    }

    /// Returns blobs (container, name, tags) that match a filter, in one container or in all, from `from` on,
    /// at most `limit`; and the start of the next page.
    #[allow(clippy::type_complexity)]
    pub fn tagged(
        &self,
        container: &str,
        filter: &TagFilter,
        from: (&str, &str),
        limit: usize,
    ) -> DurableReply<(Vec<(String, String, Tags)>, Option<(String, String)>)> {
        let index = self.lock();
        let ticket = index.latest.clone();
        if !container.is_empty() && !index.containers.contains_key(container) {
            return DurableReply { answer: Err(Refused::NoContainer), ticket };
        }
        DurableReply { answer: Ok(index.tagged(container, filter, from, limit)), ticket }
    }

    /// Returns a blob.
    pub fn blob(&self, container: &str, name: &str) -> DurableReply<Arc<Blob>> {
        let index = self.lock();
        let Some(found) = index.containers.get(container) else {
            return DurableReply { answer: Err(Refused::NoContainer), ticket: index.removal.clone() };
        };
        match found.blobs.get(name) {
            Some(entry) => DurableReply { answer: Ok(entry.blob.clone()), ticket: entry.ticket.clone() },
            None => DurableReply { answer: Err(Refused::NoBlob), ticket: index.removal.clone() },
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
        // After the writer has ended: contents that are dropped now are kept for the next process, not
        // deleted.
        drop(take(&mut *self.lock()));
    }
}

/// A file into which a long content is written before it is put.
#[derive(Debug)]
pub struct NewFile {
    /// The new, empty file.
    pub file: fs::File,
    /// Path of the file, for errors.
    pub path: PathBuf,
    kept: content::Kept,
    durability: Durability,
}

impl NewFile {
    /// Makes the written bytes as durable as the store is. Must be called before the file is referenced.
    ///
    /// # Errors
    /// Fails on an error of the disk.
    pub fn settle(&self) -> std::io::Result<()> {
        self.durability.settle(&self.file)
    }
}

#[cfg(test)]
mod tests;
