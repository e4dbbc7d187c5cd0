//! The store as tables of SQLite: opened, read at the start, and written by the only writer.
//!
//! `contents` has short contents, longer ones are in files; the pieces of blobs and blocks refer to both.

use super::{
    StoreError,
    change::Change,
    content::{Content, Kept, Place},
    facts::{Blob, BlobFacts, Body, ContainerFacts, Kind, Piece},
    index::{Container, Entry, Index},
    queue::{Group, Marks, Queue, Ticket},
};
use crate::durability::Durability;
use bytes::Bytes;
use dropmill_azure_wire::time::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, btree_map},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Version of the tables.
const FORMAT: i64 = 2;
/// Size of the write-ahead log before a checkpoint, in pages of 4 KiB: 32 MiB, so that many short contents
/// share the cost of a checkpoint.
const LOG_PAGES: i64 = 8192;
/// Uncommitted blocks are removed after a week, as in Azure.
const BLOCKS_KEPT_SECONDS: i64 = 7 * 24 * 3600;

const TABLES: &str = "
    CREATE TABLE marks (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL, change TEXT NOT NULL) STRICT;
    CREATE TABLE containers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, facts TEXT NOT NULL) STRICT;
    CREATE TABLE blobs (container INTEGER NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, pieces TEXT NOT NULL,
        PRIMARY KEY (container, name)) STRICT, WITHOUT ROWID;
    CREATE TABLE blocks (container INTEGER NOT NULL, name TEXT NOT NULL, block TEXT NOT NULL, at INTEGER NOT NULL,
        piece TEXT NOT NULL, PRIMARY KEY (container, name, block)) STRICT, WITHOUT ROWID;
    CREATE TABLE contents (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;";
/// Pieces of append blobs after those in their rows: one row each, so that an append writes only itself.
const APPENDS: &str = "
    CREATE TABLE appends (container INTEGER NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, piece TEXT NOT NULL,
        PRIMARY KEY (container, name, number)) STRICT, WITHOUT ROWID;";

/// Opens or creates the database. One of another version is left unchanged.
///
/// # Errors
/// Fails if it cannot be opened, is damaged, or has a newer version.
pub fn open(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let failed = |error: rusqlite::Error| StoreError::new("open", path, &error);
    let file =
        dropmill_private_files::database(path).map_err(|error| StoreError::new("open", path, &error))?;
    let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut database = Connection::open_with_flags(file, flags).map_err(failed)?;
    database.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    let format: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if !(0..=FORMAT).contains(&format) {
        let reason =
            format!("expected format {FORMAT}, found {format}; use the version of dropmill that wrote it");
        return Err(StoreError::new("open", path, &reason));
    }
    database.pragma_update(None, "synchronous", durability.synchronous()).map_err(failed)?;
    database.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    database.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(failed)?;
    if format < FORMAT {
        let make = |database: &mut Connection| {
            let transaction = database.transaction()?;
            if format == 0 {
                transaction.execute_batch(TABLES)?;
            }
            transaction.execute_batch(APPENDS)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()
        };
        make(&mut database).map_err(failed)?;
    }
    Ok(database)
}

/// Removes uncommitted blocks that are too old.
///
/// # Errors
/// Fails if the database cannot be written.
pub fn forget_old_blocks(database: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = now.as_second().saturating_sub(BLOCKS_KEPT_SECONDS);
    database.execute("DELETE FROM blocks WHERE at < ?1", [before]).map(drop)
}

/// A piece as it is stored in a row.
#[derive(Serialize, Deserialize)]
struct PieceRow<'a> {
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    block: Option<Cow<'a, str>>,
    #[serde(rename = "n")]
    length: u64,
    #[serde(flatten)]
    at: At,
}

#[derive(Serialize, Deserialize)]
enum At {
    /// The bytes in hex.
    #[serde(rename = "x")]
    Here(String),
    #[serde(rename = "r")]
    Row(i64),
    #[serde(rename = "f")]
    File(i64),
}

impl<'a> From<&'a Piece> for PieceRow<'a> {
    fn from(piece: &'a Piece) -> Self {
        let at = match &piece.content {
            Content::Bytes(bytes) => At::Here(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
            Content::Kept(kept) if kept.place() == Place::Row => At::Row(kept.id()),
            Content::Kept(kept) => At::File(kept.id()),
        };
        Self { block: piece.block.as_deref().map(Cow::Borrowed), length: piece.length, at }
    }
}

type Failed = Box<dyn std::error::Error>;

fn from_hex(text: &str) -> Result<Bytes, Failed> {
    let byte = |pair: &[u8]| Ok::<_, Failed>(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    text.as_bytes().chunks(2).map(byte).collect::<Result<Vec<_>, _>>().map(Bytes::from)
}

/// The content of a database.
pub struct Loaded {
    /// The index of the content.
    pub index: Index,
    /// Numbers of the referenced files.
    pub files: BTreeSet<i64>,
}

/// Creates one [`Kept`] for each number, however many references it has.
struct Named<'a> {
    kept: BTreeMap<i64, Arc<Kept>>,
    queue: &'a Arc<Queue>,
}

impl Named<'_> {
    fn piece(&mut self, row: PieceRow<'_>) -> Result<Piece, Failed> {
        let content = match row.at {
            At::Here(hex) => Content::Bytes(from_hex(&hex)?),
            At::Row(id) => self.kept(id, Place::Row),
            At::File(id) => self.kept(id, Place::File),
        };
        content.named();
        Ok(Piece { block: row.block.map(|block| block.into()), length: row.length, content })
    }

    fn kept(&mut self, id: i64, place: Place) -> Content {
        let kept = match self.kept.entry(id) {
            btree_map::Entry::Occupied(found) => found.into_mut(),
            btree_map::Entry::Vacant(place_of) => {
                place_of.insert(Arc::new(Kept::new(id, place, self.queue.clone())))
            }
        };
        Content::Kept(kept.clone())
    }
}

/// Reads everything except contents. Rows without references are queued for deletion.
///
/// # Errors
/// Fails if the database cannot be read, or has invalid content.
pub fn load(database: &Connection, queue: &Arc<Queue>) -> Result<Loaded, Failed> {
    let mut index = Index::default();
    let mut named = Named { kept: BTreeMap::new(), queue };
    let marks: Option<(i64, String)> = database
        .query_row("SELECT id, change FROM marks", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((id, change)) = marks {
        index.marks = Marks { id, change: change.parse()? };
    }
    let mut names = BTreeMap::new();
    let mut select = database.prepare("SELECT id, name, facts FROM containers")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let facts: ContainerFacts = serde_json::from_str(row.get_ref(2)?.as_str()?)?;
        names.insert(id, name.clone());
        index.containers.insert(name, Container::new(id, facts, Ticket::default()));
    }
    let mut gone = BTreeSet::new();
    let mut appended: BTreeMap<(i64, String), Vec<Piece>> = BTreeMap::new();
    let mut select =
        database.prepare("SELECT container, name, piece FROM appends ORDER BY container, name, number")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if !names.contains_key(&id) {
            gone.insert(id);
            continue;
        }
        let piece = named.piece(serde_json::from_str(row.get_ref(2)?.as_str()?)?)?;
        appended.entry((id, row.get(1)?)).or_default().push(piece);
    }
    // Sorted by id, so that each container is looked up once.
    let mut select =
        database.prepare("SELECT container, name, facts, pieces FROM blobs ORDER BY container, name")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let Some(container) = names.get(&id).and_then(|name| index.containers.get_mut(name)) else {
            gone.insert(id);
            continue;
        };
        let facts: BlobFacts = serde_json::from_str(row.get_ref(2)?.as_str()?)?;
        let pieces: Vec<PieceRow<'_>> = serde_json::from_str(row.get_ref(3)?.as_str()?)?;
        let pieces: Result<Vec<_>, _> = pieces.into_iter().map(|piece| named.piece(piece)).collect();
        let (mut pieces, name) = (pieces?, row.get::<_, String>(1)?);
        if facts.kind == Kind::Append {
            pieces.extend(appended.remove(&(id, name.clone())).unwrap_or_default());
        }
        let blob = Arc::new(Blob { facts, body: Arc::new(Body::of(pieces)) });
        container.blobs.insert(name, Entry { blob, ticket: Ticket::default() });
    }
    let mut select = database.prepare("SELECT container, name, block, piece FROM blocks")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let Some(container) = names.get(&id).and_then(|name| index.containers.get_mut(name)) else {
            gone.insert(id);
            continue;
        };
        let piece = named.piece(serde_json::from_str(row.get_ref(3)?.as_str()?)?)?;
        let block: String = row.get(2)?;
        container.staged.entry(row.get(1)?).or_default().0.insert(block.into(), piece);
    }
    gone.into_iter().for_each(|id| queue.discard_container(id));
    let mut select = database.prepare("SELECT id FROM contents")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        index.marks.id = index.marks.id.max(id);
        if !named.kept.contains_key(&id) {
            queue.discard(Place::Row, id);
        }
    }
    let files = named.kept.values().filter(|kept| kept.place() == Place::File).map(|kept| kept.id());
    Ok(Loaded { index, files: files.collect() })
}

/// Reads a content from the database.
///
/// # Errors
/// Fails if it cannot be read; `QueryReturnedNoRows` if it does not exist.
pub fn read_row(database: &Connection, id: i64) -> rusqlite::Result<Bytes> {
    let mut select = database.prepare_cached("SELECT bytes FROM contents WHERE id = ?1")?;
    select.query_row([id], |row| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)))
}

/// Writes a group and deletes rows, in one transaction.
///
/// # Errors
/// Fails if nothing was written.
pub fn write(database: &mut Connection, group: Option<&Group>, rows: &[i64]) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    for id in rows {
        transaction.prepare_cached("DELETE FROM contents WHERE id = ?1")?.execute([id])?;
    }
    if let Some(group) = group {
        group.changes.iter().try_for_each(|change| write_change(&transaction, change))?;
        let Marks { id, change } = group.marks;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO marks VALUES (1, ?1, ?2)")?
            .execute(params![id, change.to_string()])?;
    }
    transaction.commit()
}

fn write_change(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        transaction.prepare_cached(sql)?.execute(values).map(drop)
    };
    match change {
        Change::PutContainer { id, name, facts } => {
            let sql = "INSERT INTO containers VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET facts = ?3";
            run(sql, params![id, name, json(facts)])
        }
        // The rows of its blobs are deleted later.
        Change::DropContainer { id, .. } => run("DELETE FROM containers WHERE id = ?1", params![id]),
        Change::PutBlob { container, name, blob, replaced } => {
            forget_appends(transaction, *container, name, replaced.as_deref())?;
            let pieces: Vec<PieceRow<'_>> = blob.body.pieces.iter().map(PieceRow::from).collect();
            let values = params![container, name, json(&blob.facts), json(&pieces)];
            run("INSERT OR REPLACE INTO blobs VALUES (?1, ?2, ?3, ?4)", values)
        }
        Change::SetFacts { container, name, blob } => set_facts(transaction, *container, name, blob),
        Change::Append { container, name, number, piece, blob } => {
            let number = i64::try_from(*number).unwrap_or(i64::MAX);
            let values = params![container, name, number, json(&PieceRow::from(piece))];
            run("INSERT INTO appends VALUES (?1, ?2, ?3, ?4)", values)?;
            set_facts(transaction, *container, name, blob)
        }
        Change::DropBlob { container, name, blob } => {
            forget_appends(transaction, *container, name, Some(blob))?;
            run("DELETE FROM blobs WHERE container = ?1 AND name = ?2", params![container, name])
        }
        Change::PutBlock { container, name, piece, at, .. } => {
            let values = params![container, name, piece.block.as_deref(), at, json(&PieceRow::from(piece))];
            run("INSERT OR REPLACE INTO blocks VALUES (?1, ?2, ?3, ?4, ?5)", values)
        }
        Change::DropBlocks { container, name, .. } => {
            run("DELETE FROM blocks WHERE container = ?1 AND name = ?2", params![container, name])
        }
        Change::PutRow { id, bytes } => run("INSERT INTO contents VALUES (?1, ?2)", params![id, &bytes[..]]),
        Change::NewFile => Ok(()),
    }
}

fn set_facts(transaction: &Transaction<'_>, container: i64, name: &str, blob: &Blob) -> rusqlite::Result<()> {
    let sql = "UPDATE blobs SET facts = ?3 WHERE container = ?1 AND name = ?2";
    transaction.prepare_cached(sql)?.execute(params![container, name, json(&blob.facts)]).map(drop)
}

fn forget_appends(
    transaction: &Transaction<'_>,
    container: i64,
    name: &str,
    old: Option<&Blob>,
) -> rusqlite::Result<()> {
    if old.is_none_or(|old| old.facts.kind != Kind::Append) {
        return Ok(());
    }
    let sql = "DELETE FROM appends WHERE container = ?1 AND name = ?2";
    transaction.prepare_cached(sql)?.execute(params![container, name]).map(drop)
}

/// Deletes some rows of a deleted container; returns whether there may be more.
///
/// # Errors
/// Fails if nothing was deleted.
pub fn clear(database: &Connection, container: i64) -> rusqlite::Result<bool> {
    const AT_ONCE: u16 = 500;
    let sql = "DELETE FROM blobs WHERE container = ?1
        AND name IN (SELECT name FROM blobs WHERE container = ?1 LIMIT ?2)";
    if database.prepare_cached(sql)?.execute(params![container, AT_ONCE])? == usize::from(AT_ONCE) {
        return Ok(true);
    }
    let sql = "DELETE FROM appends WHERE container = ?1
        AND (name, number) IN (SELECT name, number FROM appends WHERE container = ?1 LIMIT ?2)";
    if database.prepare_cached(sql)?.execute(params![container, AT_ONCE])? == usize::from(AT_ONCE) {
        return Ok(true);
    }
    let sql = "DELETE FROM blocks WHERE container = ?1
        AND (name, block) IN (SELECT name, block FROM blocks WHERE container = ?1 LIMIT ?2)";
    Ok(database.prepare_cached(sql)?.execute(params![container, AT_ONCE])? == usize::from(AT_ONCE))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("stored types have text keys")
}
