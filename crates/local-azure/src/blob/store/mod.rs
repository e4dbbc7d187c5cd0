//! Containers and blobs, durable before they are told of.
//!
//! Questions are answered from an index in memory; changes are decided on it at once and handed to a writer that
//! commits what waits together. Every answer is a [`Told`]: it may be had only when all that it rests on is durable,
//! a refusal like a success. Without a folder everything is in memory, on the caller's thread.
//!
//! Unlike Azure's, the name of a deleted container is free at once: `ContainerBeingDeleted` is never told.

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

/// The store cannot be used, or did not do something.
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

/// Why the store does not do something. Each has its status and code in `http::answer`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refused {
    NoContainer,
    ContainerExists,
    NoBlob,
    BlobExists,
    /// There is a blob, and the caller's SAS allows new ones only.
    NotReplaceable,
    ConditionFailed,
    /// A block list names a block that is not there.
    UnknownBlock,
    /// A block id is not as long as those of the blocks that wait.
    BlockIdLength,
    /// Too many blocks wait.
    TooManyBlocks,
    /// The blob is made in another way than the call is for.
    OtherKind,
    /// An append blob is not as long as the caller thinks.
    AppendPosition,
    /// An append blob would become longer than the caller allows.
    AppendLength,
    /// An append blob has as many blocks as one may have.
    TooManyAppends,
    BlobLease(Denied),
    ContainerLease(Denied),
    Failed(StoreError),
}

/// An answer, to be had when all that it rests on is durable.
#[derive(Debug)]
#[must_use = "nothing is told before it is durable"]
pub struct Told<T> {
    answer: Result<T, Refused>,
    ticket: Ticket,
}

impl<T> Told<T> {
    /// Waits.
    ///
    /// # Errors
    /// The answer's own, or [`Refused::Failed`] when it could not be made durable.
    pub async fn told(self) -> Result<T, Refused> {
        self.ticket.durable().await.map_err(Refused::Failed)?;
        self.answer
    }

    /// Waits, on a thread that may.
    ///
    /// # Errors
    /// As [`Told::told`].
    pub fn told_blocking(self) -> Result<T, Refused> {
        self.ticket.durable_blocking().map_err(Refused::Failed)?;
        self.answer
    }
}

/// Decides about a change of a container by what is known of it.
pub type ContainerCondition<'a> = &'a dyn Fn(&ContainerFacts) -> Result<(), Refused>;

/// The store of one account.
#[derive(Debug)]
pub struct Store {
    index: Arc<Mutex<Index>>,
    /// None: everything is in memory.
    disk: Option<Disk>,
    clock: Clock,
}

/// A clock that says nothing when it is shown.
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
    /// A store that forgets: no thread, no file.
    pub fn in_memory(clock: SharedClock) -> Self {
        Self { index: Arc::default(), disk: None, clock: Clock(clock) }
    }

    /// Opens what is in `folder`, or begins anew. Only its owner can read what is in there.
    ///
    /// # Errors
    /// When it cannot be read or written, is damaged, or was made by a newer version.
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

    /// Commits what waits and ends the writer. What comes later fails.
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

    /// Hands changes to the writer. Under the index's lock, so that they arrive in the order they were decided.
    fn order(&self, index: &mut Index, changes: Vec<Change>) -> Ticket {
        let Some(disk) = &self.disk else { return Ticket::default() };
        let ticket = disk.queue.order(changes, index.marks);
        index.latest = ticket.clone();
        ticket
    }

    fn now(&self) -> Timestamp {
        self.clock.0.now()
    }

    /// Makes a container.
    pub fn create_container(&self, name: &str, metadata: Metadata) -> Told<ContainerFacts> {
        let mut index = self.lock();
        if let Some(found) = index.containers.get(name) {
            return Told { answer: Err(Refused::ContainerExists), ticket: found.ticket.clone() };
        }
        let id = index.next_id();
        let facts = ContainerFacts { modified: index.next_moment(self.now()), metadata, lease: None };
        let change = Change::PutContainer { id, name: name.to_owned(), facts: facts.clone() };
        let ticket = self.order(&mut index, vec![change]);
        let container = Container::new(id, facts.clone(), ticket.clone());
        index.containers.insert(name.to_owned(), container);
        Told { answer: Ok(facts), ticket }
    }

    /// What is known of a container.
    pub fn container(&self, name: &str) -> Told<ContainerFacts> {
        let index = self.lock();
        match index.containers.get(name) {
            Some(found) => Told { answer: Ok(found.facts.clone()), ticket: found.ticket.clone() },
            None => Told { answer: Err(Refused::NoContainer), ticket: index.removal.clone() },
        }
    }

    /// Sets a container's metadata, if `condition` allows it.
    pub fn set_container_metadata(
        &self,
        name: &str,
        metadata: Metadata,
        condition: ContainerCondition<'_>,
    ) -> Told<ContainerFacts> {
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
    ) -> Told<ContainerFacts> {
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
    ) -> Told<ContainerFacts> {
        let mut index = self.lock();
        let Some(found) = index.containers.get(name) else {
            return Told { answer: Err(Refused::NoContainer), ticket: index.removal.clone() };
        };
        let (id, mut facts, before) = (found.id, found.facts.clone(), found.ticket.clone());
        let changed = condition(&facts).and_then(|()| change(&mut facts, &mut index, self.now()));
        if let Err(refused) = changed {
            return Told { answer: Err(refused), ticket: before };
        }
        let change = Change::PutContainer { id, name: name.to_owned(), facts: facts.clone() };
        let ticket = self.order(&mut index, vec![change]);
        if let Some(found) = index.containers.get_mut(name) {
            (found.facts, found.ticket) = (facts.clone(), ticket.clone());
        }
        Told { answer: Ok(facts), ticket }
    }

    /// Deletes a container and all in it, at once, if `condition` allows it. Leases on its blobs do not keep it.
    pub fn delete_container(&self, name: &str, condition: ContainerCondition<'_>) -> Told<()> {
        let mut index = self.lock();
        let Some(found) = index.containers.get(name) else {
            return Told { answer: Err(Refused::NoContainer), ticket: index.removal.clone() };
        };
        if let Err(refused) = condition(&found.facts) {
            return Told { answer: Err(refused), ticket: found.ticket.clone() };
        }
        let container = index.containers.remove(name).map(Box::new);
        let changes = container.map(|container| Change::DropContainer { id: container.id, container });
        let ticket = self.order(&mut index, changes.into_iter().collect());
        index.removal = ticket.clone();
        Told { answer: Ok(()), ticket }
    }

    /// Containers whose names begin with `prefix`, from `from` on, at most `limit`; and where the next page begins.
    #[allow(clippy::type_complexity)]
    pub fn containers(
        &self,
        prefix: &str,
        from: &str,
        limit: usize,
    ) -> Told<(Vec<(String, ContainerFacts)>, Option<String>)> {
        let index = self.lock();
        Told { answer: Ok(index.containers(prefix, from, limit)), ticket: index.latest.clone() }
    }

    /// A page of the blobs of a container.
    pub fn blobs(&self, container: &str, listing: &Listing<'_>) -> Told<Page> {
        let index = self.lock();
        let found = index.containers.get(container).ok_or(Refused::NoContainer);
        Told { answer: found.map(|found| found.page(listing)), ticket: index.latest.clone() }
    }

    /// Blobs (container, name, tags) that a filter finds in a container, or in all if none is named, from `from` on, at
    /// most `limit`; and where the next page begins.
    #[allow(clippy::type_complexity)]
    pub fn tagged(
        &self,
        container: &str,
        filter: &TagFilter,
        from: (&str, &str),
        limit: usize,
    ) -> Told<(Vec<(String, String, Tags)>, Option<(String, String)>)> {
        let index = self.lock();
        let ticket = index.latest.clone();
        if !container.is_empty() && !index.containers.contains_key(container) {
            return Told { answer: Err(Refused::NoContainer), ticket };
        }
        Told { answer: Ok(index.tagged(container, filter, from, limit)), ticket }
    }

    /// A blob.
    pub fn blob(&self, container: &str, name: &str) -> Told<Arc<Blob>> {
        let index = self.lock();
        let Some(found) = index.containers.get(container) else {
            return Told { answer: Err(Refused::NoContainer), ticket: index.removal.clone() };
        };
        match found.blobs.get(name) {
            Some(entry) => Told { answer: Ok(entry.blob.clone()), ticket: entry.ticket.clone() },
            None => Told { answer: Err(Refused::NoBlob), ticket: index.removal.clone() },
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
        // After the writer: what is dropped now was kept for the next time, not thrown away.
        drop(take(&mut *self.lock()));
    }
}

/// Where a large content is written before it is put.
#[derive(Debug)]
pub struct NewFile {
    /// The file, made and empty.
    pub file: fs::File,
    /// Its path, for errors.
    pub path: PathBuf,
    kept: content::Kept,
    durability: Durability,
}

impl NewFile {
    /// Makes what was written as durable as the store is. Nothing may name the file before.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn settle(&self) -> std::io::Result<()> {
        self.durability.settle(&self.file)
    }
}

#[cfg(test)]
mod tests;
