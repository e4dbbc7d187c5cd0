//! The durable side of the store: one thread that commits what waits, together.

use bytes::Bytes;
use rusqlite::{Connection, params};
use std::{
    fmt::Display,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

/// Version of the database.
const FORMAT: i64 = 1;

/// Why the store cannot be used.
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
}

/// A change that must become durable.
#[derive(Debug)]
pub enum Change {
    PutContainer {
        id: i64,
        name: String,
        body: String,
    },
    DropContainer {
        id: i64,
    },
    PutBlob {
        container: i64,
        name: String,
        body: String,
    },
    DropBlob {
        container: i64,
        name: String,
    },
    PutBlock {
        container: i64,
        name: String,
        block: String,
        body: String,
    },
    DropBlocks {
        container: i64,
        name: String,
    },
    PutRow {
        id: i64,
        bytes: Bytes,
    },
    /// Bytes that were written to a file: its content must be durable before what names it.
    Sync(PathBuf),
    DropRows(Vec<i64>),
    DropFiles(Vec<PathBuf>),
}

/// Resolves when a change is durable.
pub struct Ticket(Option<async_channel::Receiver<Result<(), StoreError>>>);

impl Ticket {
    /// Waits for it.
    pub async fn durable(self) -> Result<(), StoreError> {
        match self.0 {
            None => Ok(()),
            Some(answered) => answered.recv().await.unwrap_or_else(|_| Err(closed())),
        }
    }

    /// Waits for it on a thread that may block.
    pub fn durable_blocking(self) -> Result<(), StoreError> {
        match self.0 {
            None => Ok(()),
            Some(answered) => answered.recv_blocking().unwrap_or_else(|_| Err(closed())),
        }
    }
}

fn closed() -> StoreError {
    StoreError::new("write to", "", &"the blob store is closed")
}

/// Takes changes in.
pub struct Commits {
    orders: Mutex<Option<Sender<Order>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    in_memory: bool,
}

struct Order {
    changes: Vec<Change>,
    answer: async_channel::Sender<Result<(), StoreError>>,
}

impl Commits {
    /// Nothing to do: everything is in memory.
    pub fn none() -> Self {
        Self { orders: Mutex::default(), writer: Mutex::default(), in_memory: true }
    }

    /// Commits to the database in this file.
    pub fn to(path: &Path) -> Result<Self, StoreError> {
        let database = open(path)?;
        let (orders, waiting) = channel();
        let writer = Writer { path: path.into(), database };
        let thread = std::thread::Builder::new()
            .name("blobs".into())
            .spawn(move || writer.work(&waiting))
            .map_err(|error| StoreError::new("start the writer of", path, &error))?;
        Ok(Self { orders: Mutex::new(Some(orders)), writer: Mutex::new(Some(thread)), in_memory: false })
    }

    /// Takes changes in, in this order.
    pub fn order(&self, changes: Vec<Change>) -> Ticket {
        if self.in_memory || changes.is_empty() {
            return Ticket(None);
        }
        let (answer, answered) = async_channel::bounded(1);
        if let Some(orders) = self.orders.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // A writer that is gone drops the answer, which tells whoever waits.
            let _ = orders.send(Order { changes, answer });
        }
        Ticket(Some(answered))
    }

    /// Commits what waits and ends the writer.
    pub fn close(&self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens the database for reading and writing; makes its tables if it is new.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    let told = |error: rusqlite::Error| StoreError::new("open", path, &error);
    let database = Connection::open(path).map_err(told)?;
    database.busy_timeout(std::time::Duration::from_secs(10)).map_err(told)?;
    database.pragma_update(None, "journal_mode", "WAL").map_err(told)?;
    database.pragma_update(None, "synchronous", "FULL").map_err(told)?;
    let format: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(told)?;
    if format > FORMAT {
        let reason =
            format!("it has format {format}, this program knows up to {FORMAT}: use a newer dropmill");
        return Err(StoreError::new("open", path, &reason));
    }
    database
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS containers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS blobs (container INTEGER NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
                 PRIMARY KEY (container, name)) STRICT, WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS blocks (container INTEGER NOT NULL, name TEXT NOT NULL, block TEXT NOT NULL,
                 body TEXT NOT NULL, PRIMARY KEY (container, name, block)) STRICT, WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS contents (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;",
        )
        .map_err(told)?;
    database.pragma_update(None, "user_version", FORMAT).map_err(told)?;
    Ok(database)
}

struct Writer {
    path: PathBuf,
    database: Connection,
}

impl Writer {
    fn work(mut self, waiting: &Receiver<Order>) {
        while let Ok(first) = waiting.recv() {
            let orders: Vec<Order> = std::iter::once(first).chain(waiting.try_iter()).collect();
            let outcome = self.commit(&orders);
            if outcome.is_ok() {
                // Only now does nothing durable name these files any more.
                for change in orders.iter().flat_map(|order| &order.changes) {
                    if let Change::DropFiles(files) = change {
                        files.iter().for_each(|file| drop(fs::remove_file(file)));
                    }
                }
            }
            for order in orders {
                let _ = order.answer.try_send(outcome.clone());
            }
        }
    }

    fn commit(&mut self, orders: &[Order]) -> Result<(), StoreError> {
        let mut folder = None;
        for change in orders.iter().flat_map(|order| &order.changes) {
            if let Change::Sync(file) = change {
                let synced = File::open(file).and_then(|file| file.sync_all());
                synced.map_err(|error| StoreError::new("sync", file, &error))?;
                folder = file.parent();
            }
        }
        if let Some(folder) = folder {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| StoreError::new("sync", folder, &error))?;
        }
        self.write(orders).map_err(|error| StoreError::new("write to", &self.path, &error))
    }

    fn write(&mut self, orders: &[Order]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        for change in orders.iter().flat_map(|order| &order.changes) {
            let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
                transaction.prepare_cached(sql)?.execute(values).map(drop)
            };
            match change {
                Change::PutContainer { id, name, body } => {
                    run("INSERT OR REPLACE INTO containers VALUES (?1, ?2, ?3)", params![id, name, body])?;
                }
                Change::DropContainer { id } => {
                    run("DELETE FROM containers WHERE id = ?1", params![id])?;
                    run("DELETE FROM blobs WHERE container = ?1", params![id])?;
                    run("DELETE FROM blocks WHERE container = ?1", params![id])?;
                }
                Change::PutBlob { container, name, body } => {
                    run("INSERT OR REPLACE INTO blobs VALUES (?1, ?2, ?3)", params![container, name, body])?;
                }
                Change::DropBlob { container, name } => {
                    run("DELETE FROM blobs WHERE container = ?1 AND name = ?2", params![container, name])?;
                }
                Change::PutBlock { container, name, block, body } => {
                    let sql = "INSERT OR REPLACE INTO blocks VALUES (?1, ?2, ?3, ?4)";
                    run(sql, params![container, name, block, body])?;
                }
                Change::DropBlocks { container, name } => {
                    run("DELETE FROM blocks WHERE container = ?1 AND name = ?2", params![container, name])?;
                }
                Change::PutRow { id, bytes } => {
                    run("INSERT INTO contents VALUES (?1, ?2)", params![id, &bytes[..]])?;
                }
                Change::DropRows(rows) => {
                    for id in rows {
                        run("DELETE FROM contents WHERE id = ?1", params![id])?;
                    }
                }
                Change::Sync(_) | Change::DropFiles(_) => {}
            }
        }
        transaction.commit()
    }
}
