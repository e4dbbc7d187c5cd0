//! Changes of blobs: each is decided on the index under its lock, then passed to the writer.

use super::{
    DurableReply, NewFile, Refused, Store, StoreError,
    change::Change,
    content::{Content, INLINE, Kept, Place},
    facts::{Blob, BlobFacts, Body, Described, Kind, Piece},
    index::{Container, Entry, Index, Staged},
    queue::Ticket,
};
use crate::blob::lease::{self, Denied, Lease};
use bytes::Bytes;
use dropmill_azure_wire::{
    blob::{BlockChoice, BlockSource, limit},
    time::Timestamp,
};
use std::{collections::BTreeMap, sync::Arc};

/// Decides about a change from the existing blob.
pub type Condition<'a> = &'a (dyn Fn(Option<&BlobFacts>) -> Result<(), Refused> + Sync);

/// Bytes to be stored.
#[derive(Debug)]
pub enum Incoming {
    /// Contents stay in memory.
    Bytes(Bytes),
    /// In a file of the store, written and synced.
    File(NewFile, u64),
    /// Those of an existing blob.
    Of(Arc<Body>),
    /// No bytes and no piece: the content of a new append blob.
    Nothing,
}

/// The conditions of an append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppendLimits {
    /// Required position of the append.
    pub at: Option<u64>,
    /// Maximum length of the blob afterwards.
    pub longest: Option<u64>,
}

impl Store {
    /// Creates a file for a content longer than [`super::IN_DATABASE`]; `None` if contents stay in memory. If
    /// it is not put, it is deleted.
    ///
    /// # Errors
    /// Fails if it cannot be created.
    pub fn new_file(&self) -> Result<Option<NewFile>, StoreError> {
        let Some(disk) = &self.disk else { return Ok(None) };
        let id = self.lock().next_id();
        let path = disk.contents.path(id);
        // Its length is not known yet: only the reserve is checked.
        crate::room::check(path.parent().unwrap_or(&path), 0)
            .map_err(|error| StoreError::new("make", &path, &error))?;
        let kept = Kept::new(id, Place::File, disk.queue.clone());
        let file = dropmill_private_files::create_new(&path);
        let file = file.map_err(|error| StoreError::new("make", &path, &error))?;
        Ok(Some(NewFile { file, path, kept, durability: disk.durability }))
    }

    /// Returns the pieces of new bytes, and the changes that store them.
    fn take_in(
        &self,
        index: &mut Index,
        bytes: Incoming,
        block: Option<Box<str>>,
    ) -> (Vec<Piece>, Vec<Change>) {
        let (content, length, change) = match (bytes, &self.disk) {
            (Incoming::Nothing, _) => return (vec![], vec![]),
            (Incoming::Of(body), _) => {
                return (body.pieces.iter().map(Piece::without_block).collect(), vec![]);
            }
            (Incoming::File(file, length), _) => {
                (Content::Kept(Arc::new(file.kept)), length, Some(Change::NewFile))
            }
            (Incoming::Bytes(bytes), Some(disk)) if bytes.len() > INLINE => {
                let (id, length) = (index.next_id(), bytes.len() as u64);
                let kept = Kept::new(id, Place::Row, disk.queue.clone());
                (Content::Kept(Arc::new(kept)), length, Some(Change::PutRow { id, bytes }))
            }
            (Incoming::Bytes(bytes), _) => {
                let length = bytes.len() as u64;
                // A few bytes of a request would keep the whole read buffer in memory.
                let bytes = if bytes.len() <= INLINE { Bytes::copy_from_slice(&bytes) } else { bytes };
                (Content::Bytes(bytes), length, None)
            }
        };
        (vec![Piece { block, length, content }], change.into_iter().collect())
    }

    /// Puts a blob at once. Uncommitted blocks under its name are removed.
    pub fn put_blob(
        &self,
        container: &str,
        name: &str,
        bytes: Incoming,
        described: Described,
        condition: Condition<'_>,
    ) -> DurableReply<Arc<Blob>> {
        let mut index = self.lock();
        if let Err(reply) = allowed(&index, container, name, condition) {
            return reply.map();
        }
        let (pieces, mut changes) = self.take_in(&mut index, bytes, None);
        self.keep(&mut index, container, name, Body::of(pieces), described, &mut changes)
    }

    /// Stores an uncommitted block. The id is base64; all uncommitted blocks of one name have ids of the same
    /// length.
    pub fn put_block(
        &self,
        container: &str,
        name: &str,
        block: &str,
        bytes: Incoming,
        condition: Condition<'_>,
    ) -> DurableReply<()> {
        let mut index = self.lock();
        let of_blocks = |found: Option<&BlobFacts>| is_of(found, Kind::Block).and_then(|()| condition(found));
        if let Err(reply) = allowed(&index, container, name, &of_blocks) {
            return reply.map();
        }
        let found = index.containers.get(container).expect("an allowed change has a container");
        if let Some(Staged(staged)) = found.staged.get(name) {
            let refused = if staged.keys().next().is_some_and(|other| other.len() != block.len()) {
                Some(Refused::BlockIdLength)
            } else if staged.len() >= limit::UNCOMMITTED_BLOCKS && !staged.contains_key(block) {
                Some(Refused::TooManyBlocks)
            } else {
                None
            };
            if let Some(refused) = refused {
                return DurableReply { answer: Err(refused), ticket: index.latest.clone() };
            }
        }
        let (id, at) = (found.id, self.now().as_second());
        let (pieces, mut changes) = self.take_in(&mut index, bytes, Some(block.into()));
        for piece in pieces {
            let found = index.containers.get_mut(container).expect("it was found under the same lock");
            let staged = found.staged.entry(name.to_owned()).or_default();
            let replaced = staged.0.insert(block.into(), piece.clone());
            changes.push(Change::PutBlock { container: id, name: name.to_owned(), piece, at, replaced });
        }
        let ticket = self.order(&mut index, changes);
        DurableReply { answer: Ok(()), ticket }
    }

    /// Returns a blob, if it exists, and the uncommitted blocks under its name.
    #[allow(clippy::type_complexity)]
    pub fn blocks(&self, container: &str, name: &str) -> DurableReply<(Option<Arc<Blob>>, Vec<Piece>)> {
        let index = self.lock();
        let blocks = |found: &Container| {
            let staged = found.staged.get(name).into_iter().flat_map(|staged| staged.0.values());
            let staged: Vec<Piece> = staged.cloned().collect();
            let blob = found.blobs.get(name).map(|entry| entry.blob.clone());
            if blob.is_none() && staged.is_empty() { Err(Refused::NoBlob) } else { Ok((blob, staged)) }
        };
        let answer = index.containers.get(container).ok_or(Refused::NoContainer).and_then(blocks);
        DurableReply { answer, ticket: index.latest.clone() }
    }

    /// Creates a blob from blocks, each looked up in its chosen list. Blocks that are not chosen are removed.
    pub fn put_block_list(
        &self,
        container: &str,
        name: &str,
        choices: &[BlockChoice],
        described: Described,
        condition: Condition<'_>,
    ) -> DurableReply<Arc<Blob>> {
        let mut index = self.lock();
        let of_blocks = |found: Option<&BlobFacts>| is_of(found, Kind::Block).and_then(|()| condition(found));
        if let Err(reply) = allowed(&index, container, name, &of_blocks) {
            return reply.map();
        }
        let found = index.containers.get(container).expect("an allowed change has a container");
        let Some(pieces) = chosen(found, name, choices) else {
            return DurableReply { answer: Err(Refused::UnknownBlock), ticket: index.latest.clone() };
        };
        self.keep(&mut index, container, name, Body::of(pieces), described, &mut vec![])
    }

    /// Changes the properties of a blob; its content stays.
    pub fn change_blob(
        &self,
        container: &str,
        name: &str,
        condition: Condition<'_>,
        change: impl FnOnce(&mut BlobFacts),
    ) -> DurableReply<Arc<Blob>> {
        let mut index = self.lock();
        let old = match present(&index, container, name, condition) {
            Ok(old) => old,
            Err(reply) => return reply.map(),
        };
        let (mut blob, now) = (Blob::clone(&old), self.now());
        change(&mut blob.facts);
        lease::written(&mut blob.facts.lease, now);
        blob.facts.modified = index.next_moment(now);
        self.keep_facts(&mut index, container, name, blob)
    }

    /// Changes the lease on a blob, which does not count as a change of the blob.
    pub fn lease_blob(
        &self,
        container: &str,
        name: &str,
        condition: Condition<'_>,
        apply: impl FnOnce(Option<&Lease>, Timestamp) -> Result<Option<Lease>, Denied>,
    ) -> DurableReply<Arc<Blob>> {
        let mut index = self.lock();
        let old = match present(&index, container, name, condition) {
            Ok(old) => old,
            Err(reply) => return reply.map(),
        };
        let next = match apply(old.facts.lease.as_deref(), self.now()) {
            Ok(next) => next,
            Err(denied) => {
                let refused = Refused::BlobLease(denied);
                let entry = index.containers.get(container).and_then(|found| found.blobs.get(name));
                return DurableReply {
                    answer: Err(refused),
                    ticket: entry.map(|e| e.ticket.clone()).unwrap_or_default(),
                };
            }
        };
        let mut blob = Blob::clone(&old);
        blob.facts.lease = next.map(Box::new);
        self.keep_facts(&mut index, container, name, blob)
    }

    /// Changes what does not belong to the blob itself (its tags, its tier): its ETag and time stay.
    pub fn annotate_blob(
        &self,
        container: &str,
        name: &str,
        condition: Condition<'_>,
        change: impl FnOnce(&mut BlobFacts),
    ) -> DurableReply<Arc<Blob>> {
        let mut index = self.lock();
        let mut blob = match present(&index, container, name, condition) {
            Ok(old) => Blob::clone(&old),
            Err(reply) => return reply.map(),
        };
        change(&mut blob.facts);
        self.keep_facts(&mut index, container, name, blob)
    }

    /// Appends bytes to an append blob, if `limits` allow it.
    pub fn append_block(
        &self,
        container: &str,
        name: &str,
        bytes: Incoming,
        limits: AppendLimits,
        condition: Condition<'_>,
    ) -> DurableReply<Arc<Blob>> {
        let mut index = self.lock();
        let growing = |found: Option<&BlobFacts>| is_of(found, Kind::Append).and_then(|()| condition(found));
        let old = match present(&index, container, name, &growing) {
            Ok(old) => old,
            Err(reply) => return reply.map(),
        };
        let (pieces, mut changes) = self.take_in(&mut index, bytes, None);
        let length = pieces.iter().map(|piece| piece.length).sum::<u64>();
        let number = old.body.pieces.len();
        let refused = if limits.at.is_some_and(|at| at != old.length()) {
            Some(Refused::AppendPosition)
        } else if limits.longest.is_some_and(|longest| old.length() + length > longest) {
            Some(Refused::AppendLength)
        } else {
            (number >= limit::BLOCKS).then_some(Refused::TooManyAppends)
        };
        if let Some(refused) = refused {
            return DurableReply { answer: Err(refused), ticket: index.latest.clone() };
        }
        let (now, mut facts) = (self.now(), old.facts.clone());
        lease::written(&mut facts.lease, now);
        facts.modified = index.next_moment(now);
        let whole = old.body.pieces.iter().chain(&pieces).cloned().collect();
        let blob = Arc::new(Blob { facts, body: Arc::new(Body::of(whole)) });
        let id = index.containers.get(container).map_or(0, |found| found.id);
        for (offset, piece) in pieces.into_iter().enumerate() {
            let (name, blob) = (name.to_owned(), blob.clone());
            changes.push(Change::Append { container: id, name, number: number + offset, piece, blob });
        }
        let ticket = self.order(&mut index, changes);
        insert(&mut index, container, name, &blob, &ticket);
        DurableReply { answer: Ok(blob), ticket }
    }

    /// Puts a blob with the existing content into the index.
    fn keep_facts(
        &self,
        index: &mut Index,
        container: &str,
        name: &str,
        blob: Blob,
    ) -> DurableReply<Arc<Blob>> {
        let blob = Arc::new(blob);
        let id = index.containers.get(container).map_or(0, |found| found.id);
        let order = Change::SetFacts { container: id, name: name.to_owned(), blob: blob.clone() };
        let ticket = self.order(index, vec![order]);
        insert(index, container, name, &blob, &ticket);
        DurableReply { answer: Ok(blob), ticket }
    }

    /// Deletes a blob.
    pub fn delete_blob(&self, container: &str, name: &str, condition: Condition<'_>) -> DurableReply<()> {
        let mut index = self.lock();
        if let Err(reply) = present(&index, container, name, condition) {
            return reply.map();
        }
        let mut changes = vec![];
        if let Some(found) = index.containers.get_mut(container)
            && let Some(Entry { blob, .. }) = found.blobs.remove(name)
        {
            changes.push(Change::DropBlob { container: found.id, name: name.to_owned(), blob });
            changes.extend(forget_blocks(found, name));
        }
        let ticket = self.order(&mut index, changes);
        index.removal = ticket.clone();
        DurableReply { answer: Ok(()), ticket }
    }

    /// Puts a blob with a new time into the index, in place of the previous one.
    fn keep(
        &self,
        index: &mut Index,
        container: &str,
        name: &str,
        body: Body,
        described: Described,
        changes: &mut Vec<Change>,
    ) -> DurableReply<Arc<Blob>> {
        let now = self.now();
        let modified = index.next_moment(now);
        let found = index.containers.get_mut(container).expect("an allowed change has a container");
        let replaced = found.blobs.get(name).map(|entry| entry.blob.clone());
        let created = replaced.as_ref().map_or(modified, |old| old.facts.created);
        let Described { headers, metadata, tier, copied, tags, kind } = described;
        let metadata = metadata.into();
        // A lease belongs to the name, and stays while it is active.
        let mut lease = replaced.as_ref().and_then(|old| old.facts.lease.clone());
        lease::written(&mut lease, now);
        let tier_changed = tier.as_ref().map(|_| modified);
        let facts =
            BlobFacts { created, modified, headers, metadata, tier, tier_changed, copied, tags, kind, lease };
        let blob = Arc::new(Blob { facts, body: Arc::new(body) });
        let (id, name_of) = (found.id, name.to_owned());
        changes.push(Change::PutBlob { container: id, name: name_of, blob: blob.clone(), replaced });
        changes.extend(forget_blocks(found, name));
        let ticket = self.order(index, std::mem::take(changes));
        insert(index, container, name, &blob, &ticket);
        DurableReply { answer: Ok(blob), ticket }
    }
}

impl Piece {
    /// Returns the same bytes as a piece of another blob.
    fn without_block(&self) -> Self {
        Self { block: None, ..self.clone() }
    }
}

/// Checks the kind: block blobs accept no appends, append blobs no blocks.
fn is_of(found: Option<&BlobFacts>, kind: Kind) -> Result<(), Refused> {
    if found.is_some_and(|blob| blob.kind != kind) { Err(Refused::OtherKind) } else { Ok(()) }
}

fn forget_blocks(found: &mut Container, name: &str) -> Option<Change> {
    let staged = found.staged.remove(name)?;
    Some(Change::DropBlocks { container: found.id, name: name.to_owned(), staged })
}

fn insert(index: &mut Index, container: &str, name: &str, blob: &Arc<Blob>, ticket: &Ticket) {
    if let Some(found) = index.containers.get_mut(container) {
        let entry = Entry { blob: blob.clone(), ticket: ticket.clone() };
        match found.blobs.get_mut(name) {
            Some(place) => *place = entry,
            None => drop(found.blobs.insert(name.to_owned(), entry)),
        }
    }
}

fn chosen(found: &Container, name: &str, choices: &[BlockChoice]) -> Option<Vec<Piece>> {
    let old = found.blobs.get(name).map(|entry| &entry.blob.body.pieces);
    let committed: BTreeMap<&str, &Piece> =
        old.into_iter().flatten().filter_map(|piece| Some((piece.block.as_deref()?, piece))).collect();
    let staged = found.staged.get(name).map(|staged| &staged.0);
    let pick = |choice: &BlockChoice| {
        let committed = committed.get(&*choice.id).copied();
        let waiting = staged.and_then(|staged| staged.get(&*choice.id));
        match choice.source {
            BlockSource::Committed => committed,
            BlockSource::Uncommitted => waiting,
            BlockSource::Latest => waiting.or(committed),
        }
        .cloned()
    };
    choices.iter().map(pick).collect()
}

/// An error that can become a result of any type.
struct NotDurable(Refused, Ticket);

impl NotDurable {
    fn map<T>(self) -> DurableReply<T> {
        DurableReply { answer: Err(self.0), ticket: self.1 }
    }
}

/// Checks whether a write is allowed. An error depends on what was found.
fn allowed(index: &Index, container: &str, name: &str, condition: Condition<'_>) -> Result<(), NotDurable> {
    let Some(found) = index.containers.get(container) else {
        return Err(NotDurable(Refused::NoContainer, index.removal.clone()));
    };
    let entry = found.blobs.get(name);
    let ticket = entry.map_or(&index.removal, |entry| &entry.ticket);
    condition(entry.map(|entry| &entry.blob.facts)).map_err(|refused| NotDurable(refused, ticket.clone()))
}

/// Returns the blob, which must exist, if the change is allowed.
fn present(
    index: &Index,
    container: &str,
    name: &str,
    condition: Condition<'_>,
) -> Result<Arc<Blob>, NotDurable> {
    let Some(found) = index.containers.get(container) else {
        return Err(NotDurable(Refused::NoContainer, index.removal.clone()));
    };
    let Some(entry) = found.blobs.get(name) else {
        return Err(NotDurable(Refused::NoBlob, index.removal.clone()));
    };
    condition(Some(&entry.blob.facts)).map_err(|refused| NotDurable(refused, entry.ticket.clone()))?;
    Ok(entry.blob.clone())
}
