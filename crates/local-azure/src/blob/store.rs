//! Containers and blobs: an index in memory, contents where they fit, changes handed to the committer.

use super::{
    commit::{Change, Commits, StoreError, Ticket, open},
    stored::{Blob, Container, ContainerFacts, Content, Piece},
};
use bytes::Bytes;
use dropmill_azure_wire::{
    blob::Metadata,
    etag::ETag,
    time::{SharedClock, Timestamp},
};
use rusqlite::{Connection, OptionalExtension};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Contents up to this length lie in the index itself.
const INLINE: usize = 256;
/// Contents up to this length lie in the database, longer ones in files.
pub const IN_DATABASE: usize = 64 << 10;

/// The store of one account.
pub struct Store {
    index: Mutex<Index>,
    commits: Commits,
    files: Option<PathBuf>,
    /// For contents; apart from the committer's, so that readers never wait for the disk's write.
    reader: Mutex<Option<Connection>>,
    clock: SharedClock,
}

#[derive(Default)]
struct Index {
    containers: BTreeMap<String, Container>,
    /// The last number given to a container, row or file.
    last: i64,
    /// The last moment given to a change; each change has its own, so that tags differ.
    last_change: Timestamp,
    /// Rows that are not durable yet, or never will be because everything is in memory.
    rows: BTreeMap<i64, Bytes>,
}

/// Why the store does not do something. Each has its code and status in `answer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    NoContainer,
    ContainerExists,
    NoBlob,
    BlobExists,
    ConditionFailed,
    UnknownBlock,
    Failed(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Decides about a write by what is there.
pub type Condition<'a> = &'a dyn Fn(Option<&Blob>) -> Result<(), Refused>;

impl Store {
    /// Opens what is in `folder`, or begins anew; in memory without one.
    pub fn open(folder: Option<&Path>, clock: SharedClock) -> Result<Self, StoreError> {
        let Some(folder) = folder else {
            return Ok(Self {
                index: Mutex::default(),
                commits: Commits::none(),
                files: None,
                reader: Mutex::new(None),
                clock,
            });
        };
        let folder = folder.join("blobs");
        let files = folder.join("contents");
        fs::create_dir_all(&files).map_err(|error| StoreError::new("make folder", &files, &error))?;
        let path = folder.join("blobs.db");
        let database = open(&path)?;
        let index = load(&database, &files).map_err(|error| StoreError::new("read", &path, &error))?;
        let commits = Commits::to(&path)?;
        let reader = Mutex::new(Some(database));
        Ok(Self { index: Mutex::new(index), commits, files: Some(files), reader, clock })
    }

    /// Commits what waits and ends the writer.
    pub fn close(&self) {
        self.commits.close();
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a container.
    pub fn create_container(
        &self,
        name: &str,
        metadata: Metadata,
    ) -> Result<(ContainerFacts, Ticket), Refused> {
        let mut index = self.lock();
        if index.containers.contains_key(name) {
            return Err(Refused::ContainerExists);
        }
        let id = index.next();
        let facts = index.facts(self.clock.now(), metadata);
        let change = put_container(id, name, &facts);
        let container =
            Container { id, facts: facts.clone(), blobs: BTreeMap::new(), staged: BTreeMap::new() };
        index.containers.insert(name.to_owned(), container);
        Ok((facts, self.commits.order(vec![change])))
    }

    /// What is known of a container.
    pub fn container(&self, name: &str) -> Result<ContainerFacts, Refused> {
        self.lock().containers.get(name).map(|found| found.facts.clone()).ok_or(Refused::NoContainer)
    }

    /// Sets a container's metadata.
    pub fn set_container_metadata(
        &self,
        name: &str,
        metadata: Metadata,
    ) -> Result<(ContainerFacts, Ticket), Refused> {
        let mut index = self.lock();
        let facts = index.facts(self.clock.now(), metadata);
        let container = index.containers.get_mut(name).ok_or(Refused::NoContainer)?;
        container.facts = facts.clone();
        let change = put_container(container.id, name, &facts);
        Ok((facts, self.commits.order(vec![change])))
    }

    /// Deletes a container and all in it. Unlike Azure's, its name is free at once.
    pub fn delete_container(&self, name: &str) -> Result<Ticket, Refused> {
        let mut index = self.lock();
        let container = index.containers.remove(name).ok_or(Refused::NoContainer)?;
        let pieces = container.blobs.values().flat_map(|blob| &blob.pieces);
        let staged = container.staged.values().flat_map(BTreeMap::values);
        let mut changes = vec![Change::DropContainer { id: container.id }];
        changes.extend(self.drop_contents(&mut index, pieces.chain(staged)));
        Ok(self.commits.order(changes))
    }

    /// Containers whose names begin with `prefix`, from `marker` on, at most `limit`; and where the next page begins.
    pub fn containers(
        &self,
        prefix: &str,
        marker: &str,
        limit: usize,
    ) -> (Vec<(String, ContainerFacts)>, Option<String>) {
        let index = self.lock();
        let from = if marker > prefix { marker } else { prefix };
        let mut found =
            index.containers.range(from.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        let page =
            found.by_ref().take(limit).map(|(name, found)| (name.clone(), found.facts.clone())).collect();
        (page, found.next().map(|(name, _)| name.clone()))
    }

    /// A blob.
    pub fn blob(&self, container: &str, name: &str) -> Result<Arc<Blob>, Refused> {
        let index = self.lock();
        let container = index.containers.get(container).ok_or(Refused::NoContainer)?;
        container.blobs.get(name).cloned().ok_or(Refused::NoBlob)
    }

    /// Blobs whose names begin with `prefix`, in order, from `marker` on; with a delimiter, longer names are cut after
    /// it and told once. At most `limit` entries; and where the next page begins.
    #[allow(clippy::type_complexity)]
    pub fn blobs(
        &self,
        container: &str,
        prefix: &str,
        delimiter: &str,
        marker: &str,
        limit: usize,
    ) -> Result<(Vec<(String, Option<Arc<Blob>>)>, Option<String>), Refused> {
        let index = self.lock();
        let container = index.containers.get(container).ok_or(Refused::NoContainer)?;
        let mut from =
            std::ops::Bound::Included(if marker > prefix { marker.to_owned() } else { prefix.to_owned() });
        let mut page = vec![];
        loop {
            let next = container.blobs.range((from.clone(), std::ops::Bound::Unbounded)).next();
            let Some((name, blob)) = next.filter(|(name, _)| name.starts_with(prefix)) else {
                return Ok((page, None));
            };
            if page.len() == limit {
                return Ok((page, Some(name.clone())));
            }
            let cut = name[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty());
            if let Some(at) = cut {
                let common = name[..prefix.len() + at + delimiter.len()].to_owned();
                // Past every name that begins so.
                let past = format!("{common}{}", char::MAX);
                page.push((common, None));
                from = std::ops::Bound::Excluded(past);
            } else {
                page.push((name.clone(), Some(blob.clone())));
                from = std::ops::Bound::Excluded(name.clone());
            }
        }
    }

    /// Where a large content is written before it is put: a new number and its file.
    pub fn new_file(&self) -> Option<(i64, PathBuf)> {
        let files = self.files.as_ref()?;
        let id = self.lock().next();
        Some((id, files.join(id.to_string())))
    }

    /// A piece of bytes that are in memory; and the change that keeps them.
    fn piece_of(&self, index: &mut Index, bytes: Bytes, block: Option<String>) -> (Piece, Option<Change>) {
        let length = bytes.len() as u64;
        if bytes.len() <= INLINE {
            return (Piece { block, length, content: Content::Inline(bytes) }, None);
        }
        let id = index.next();
        index.rows.insert(id, bytes.clone());
        (Piece { block, length, content: Content::Row(id) }, Some(Change::PutRow { id, bytes }))
    }

    /// A piece and the change that makes it durable.
    fn take_in(&self, index: &mut Index, bytes: Incoming, block: Option<String>) -> (Piece, Option<Change>) {
        match bytes {
            Incoming::Bytes(bytes) => self.piece_of(index, bytes, block),
            Incoming::File { id, path, length } => {
                (Piece { block, length, content: Content::File(id) }, Some(Change::Sync(path)))
            }
        }
    }

    /// Puts a blob whole.
    pub fn put_blob(
        &self,
        container: &str,
        name: &str,
        bytes: Incoming,
        mut blob: Blob,
        condition: Condition<'_>,
    ) -> Result<(Arc<Blob>, Ticket), Refused> {
        let mut index = self.lock();
        let found = index.containers.get(container).ok_or(Refused::NoContainer)?;
        condition(found.blobs.get(name).map(|blob| &**blob))?;
        let (piece, change) = self.take_in(&mut index, bytes, None);
        blob.pieces = vec![piece];
        let mut changes: Vec<Change> = change.into_iter().collect();
        let blob = self.keep(&mut index, container, name, blob, &mut changes)?;
        Ok((blob, self.commits.order(changes)))
    }

    /// Keeps a block for later.
    pub fn put_block(
        &self,
        container: &str,
        name: &str,
        block: String,
        bytes: Incoming,
    ) -> Result<Ticket, Refused> {
        let mut index = self.lock();
        let id = index.containers.get(container).ok_or(Refused::NoContainer)?.id;
        let (piece, change) = self.take_in(&mut index, bytes, Some(block.clone()));
        let mut changes: Vec<Change> = change.into_iter().collect();
        let body = json(&piece);
        changes.push(Change::PutBlock { container: id, name: name.to_owned(), block: block.clone(), body });
        let staged = index
            .containers
            .get_mut(container)
            .and_then(|found| found.staged.entry(name.to_owned()).or_default().insert(block, piece));
        changes.extend(self.drop_contents(&mut index, staged.iter()));
        Ok(self.commits.order(changes))
    }

    /// The blocks of a blob, and those that wait.
    pub fn blocks(&self, container: &str, name: &str) -> Result<(Option<Arc<Blob>>, Vec<Piece>), Refused> {
        let index = self.lock();
        let found = index.containers.get(container).ok_or(Refused::NoContainer)?;
        let staged: Vec<Piece> =
            found.staged.get(name).into_iter().flat_map(BTreeMap::values).cloned().collect();
        let blob = found.blobs.get(name).cloned();
        if blob.is_none() && staged.is_empty() { Err(Refused::NoBlob) } else { Ok((blob, staged)) }
    }

    /// Makes a blob of blocks, each looked for as `choice` says.
    pub fn put_block_list(
        &self,
        container: &str,
        name: &str,
        choices: &[dropmill_azure_wire::blob::BlockChoice],
        mut blob: Blob,
        condition: Condition<'_>,
    ) -> Result<(Arc<Blob>, Ticket), Refused> {
        use dropmill_azure_wire::blob::BlockSource;
        let mut index = self.lock();
        let found = index.containers.get_mut(container).ok_or(Refused::NoContainer)?;
        let old = found.blobs.get(name).cloned();
        condition(old.as_deref())?;
        let staged = found.staged.get(name);
        let committed = |id: &str| {
            old.iter().flat_map(|blob| &blob.pieces).find(|piece| piece.block.as_deref() == Some(id))
        };
        for choice in choices {
            let waiting = staged.and_then(|staged| staged.get(&choice.id));
            let piece = match choice.source {
                BlockSource::Committed => committed(&choice.id),
                BlockSource::Uncommitted => waiting,
                BlockSource::Latest => waiting.or_else(|| committed(&choice.id)),
            };
            blob.pieces.push(piece.ok_or(Refused::UnknownBlock)?.clone());
        }
        let id = found.id;
        let staged = found.staged.remove(name).unwrap_or_default();
        let mut changes = vec![Change::DropBlocks { container: id, name: name.to_owned() }];
        let kept: BTreeSet<_> = blob.pieces.iter().filter_map(|piece| piece.content.number()).collect();
        let is_unused = |piece: &&Piece| !piece.content.number().is_some_and(|id| kept.contains(&id));
        changes.extend(self.drop_contents(&mut index, staged.values().filter(is_unused)));
        let blob = self.keep(&mut index, container, name, blob, &mut changes)?;
        Ok((blob, self.commits.order(changes)))
    }

    /// Changes what is known of a blob; its content stays.
    pub fn change_blob(
        &self,
        container: &str,
        name: &str,
        condition: Condition<'_>,
        change: impl FnOnce(&mut Blob),
    ) -> Result<(Arc<Blob>, Ticket), Refused> {
        let mut index = self.lock();
        let found = index.containers.get(container).ok_or(Refused::NoContainer)?;
        let mut blob = found.blobs.get(name).map(|blob| Blob::clone(blob)).ok_or(Refused::NoBlob)?;
        condition(Some(&blob))?;
        change(&mut blob);
        let mut changes = vec![];
        let blob = self.keep(&mut index, container, name, blob, &mut changes)?;
        Ok((blob, self.commits.order(changes)))
    }

    /// Deletes a blob.
    pub fn delete_blob(
        &self,
        container: &str,
        name: &str,
        condition: Condition<'_>,
    ) -> Result<Ticket, Refused> {
        let mut index = self.lock();
        let found = index.containers.get_mut(container).ok_or(Refused::NoContainer)?;
        condition(Some(found.blobs.get(name).ok_or(Refused::NoBlob)?))?;
        let (id, blob) = (found.id, found.blobs.remove(name));
        let mut changes = vec![Change::DropBlob { container: id, name: name.to_owned() }];
        changes.extend(self.drop_contents(&mut index, blob.iter().flat_map(|blob| &blob.pieces)));
        Ok(self.commits.order(changes))
    }

    /// Puts a blob into the index under a new tag, and drops what it replaces.
    fn keep(
        &self,
        index: &mut Index,
        container: &str,
        name: &str,
        mut blob: Blob,
        changes: &mut Vec<Change>,
    ) -> Result<Arc<Blob>, Refused> {
        let (etag, modified) = index.change(self.clock.now());
        (blob.etag, blob.modified) = (etag, modified);
        let kept: BTreeSet<_> = blob.pieces.iter().filter_map(|piece| piece.content.number()).collect();
        let found = index.containers.get_mut(container).ok_or(Refused::NoContainer)?;
        if let Some(old) = found.blobs.get(name) {
            blob.created = old.created;
        } else {
            blob.created = modified;
        }
        changes.push(Change::PutBlob { container: found.id, name: name.to_owned(), body: json(&blob) });
        let blob = Arc::new(blob);
        let old = found.blobs.insert(name.to_owned(), blob.clone());
        let gone = old.iter().flat_map(|old| &old.pieces);
        let gone = gone.filter(|piece| !piece.content.number().is_some_and(|id| kept.contains(&id)));
        let dropped = self.drop_contents(index, gone);
        changes.extend(dropped);
        Ok(blob)
    }

    fn drop_contents<'a>(&self, index: &mut Index, pieces: impl Iterator<Item = &'a Piece>) -> Vec<Change> {
        let (mut rows, mut files) = (vec![], vec![]);
        for piece in pieces {
            match &piece.content {
                Content::Inline(_) => {}
                Content::Row(id) => {
                    index.rows.remove(id);
                    rows.push(*id);
                }
                Content::File(id) => {
                    files.extend(self.files.as_ref().map(|folder| folder.join(id.to_string())))
                }
            }
        }
        let mut changes = vec![];
        if !rows.is_empty() {
            changes.push(Change::DropRows(rows));
        }
        if !files.is_empty() {
            changes.push(Change::DropFiles(files));
        }
        changes
    }

    /// Lets go of the bytes of pieces that are durable now.
    pub fn settled(&self, pieces: &[Piece]) {
        if self.files.is_none() {
            return;
        }
        let mut index = self.lock();
        for piece in pieces {
            if let Content::Row(id) = piece.content {
                index.rows.remove(&id);
            }
        }
    }

    /// Up to `length` bytes of a piece from `offset`.
    pub fn read(&self, piece: &Piece, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let slice = |bytes: &Bytes| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            bytes.slice(from..from.saturating_add(length).min(bytes.len()))
        };
        match &piece.content {
            Content::Inline(bytes) => Ok(slice(bytes)),
            Content::Row(id) => {
                if let Some(bytes) = self.lock().rows.get(id) {
                    return Ok(slice(bytes));
                }
                let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
                let database =
                    reader.as_ref().ok_or_else(|| StoreError::new("read", "", &"no such content"))?;
                let bytes: Option<Vec<u8>> = database
                    .prepare_cached("SELECT bytes FROM contents WHERE id = ?1")
                    .and_then(|mut select| select.query_row([id], |row| row.get(0)).optional())
                    .map_err(|error| StoreError::new("read", "contents", &error))?;
                let bytes =
                    bytes.ok_or_else(|| StoreError::new("read", "contents", &"it was deleted meanwhile"))?;
                Ok(slice(&Bytes::from(bytes)))
            }
            Content::File(_) => {
                let path =
                    self.file_of(piece).ok_or_else(|| StoreError::new("read", "", &"no such content"))?;
                let told = |error: std::io::Error| StoreError::new("read", &path, &error);
                let mut file = File::open(&path).map_err(told)?;
                file.seek(SeekFrom::Start(offset)).map_err(told)?;
                let mut bytes = Vec::with_capacity(length);
                file.take(length as u64).read_to_end(&mut bytes).map_err(told)?;
                Ok(bytes.into())
            }
        }
    }

    /// The file of a piece, if it has one.
    pub fn file_of(&self, piece: &Piece) -> Option<PathBuf> {
        match piece.content {
            Content::File(id) => self.files.as_ref().map(|folder| folder.join(id.to_string())),
            Content::Inline(_) | Content::Row(_) => None,
        }
    }
}

/// Bytes on their way in.
#[derive(Debug)]
pub enum Incoming {
    /// In memory.
    Bytes(Bytes),
    /// In a file made by [`Store::new_file`].
    File {
        /// Its number.
        id: i64,
        /// Its path.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
}

impl Content {
    fn number(&self) -> Option<i64> {
        match self {
            Self::Inline(_) => None,
            Self::Row(id) | Self::File(id) => Some(*id),
        }
    }
}

impl Index {
    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// A tag and a moment that no change before had. Moments have whole seconds in headers, tags tell more.
    fn change(&mut self, now: Timestamp) -> (ETag, Timestamp) {
        let least = self.last_change.as_nanosecond() + 100;
        let nanoseconds = (now.as_nanosecond() / 100 * 100).max(least);
        self.last_change = Timestamp::from_nanosecond(nanoseconds).unwrap_or(now);
        (ETag::new(format!("0x{:X}", nanoseconds / 100)), self.last_change)
    }

    fn facts(&mut self, now: Timestamp, metadata: Metadata) -> ContainerFacts {
        let (etag, modified) = self.change(now);
        ContainerFacts { etag, modified, metadata }
    }
}

fn put_container(id: i64, name: &str, facts: &ContainerFacts) -> Change {
    Change::PutContainer { id, name: name.to_owned(), body: json(facts) }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("facts have only text for keys")
}

fn load(database: &Connection, files: &Path) -> Result<Index, Box<dyn std::error::Error>> {
    let mut index = Index::default();
    let mut names = BTreeMap::new();
    let mut rows = database.prepare("SELECT id, name, body FROM containers")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (id, name, body): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let facts: ContainerFacts = serde_json::from_str(&body)?;
        index.last_change = index.last_change.max(facts.modified);
        index.last = index.last.max(id);
        names.insert(id, name.clone());
        let container = Container { id, facts, blobs: BTreeMap::new(), staged: BTreeMap::new() };
        index.containers.insert(name, container);
    }
    let mut used = BTreeSet::new();
    let mut rows = database.prepare("SELECT container, name, body FROM blobs")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (container, name, body): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let blob: Blob = serde_json::from_str(&body)?;
        used.extend(blob.pieces.iter().filter_map(|piece| piece.content.number()));
        index.last_change = index.last_change.max(blob.modified);
        let found = names.get(&container).and_then(|name| index.containers.get_mut(name));
        if let Some(found) = found {
            found.blobs.insert(name, Arc::new(blob));
        }
    }
    let mut rows = database.prepare("SELECT container, name, block, body FROM blocks")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (container, name, block, body): (i64, String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let piece: Piece = serde_json::from_str(&body)?;
        used.extend(piece.content.number());
        if let Some(found) = names.get(&container).and_then(|name| index.containers.get_mut(name)) {
            found.staged.entry(name).or_default().insert(block, piece);
        }
    }
    let last_row: Option<i64> = database.query_row("SELECT max(id) FROM contents", [], |row| row.get(0))?;
    index.last = index.last.max(last_row.unwrap_or(0)).max(used.last().copied().unwrap_or(0));
    // Contents that were written but never named: their put was not acknowledged.
    for entry in fs::read_dir(files)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
        match number {
            Some(number) if used.contains(&number) => {}
            Some(number) => {
                index.last = index.last.max(number);
                fs::remove_file(entry.path())?;
            }
            None => {}
        }
    }
    Ok(index)
}
