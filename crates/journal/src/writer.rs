//! The thread that writes a journal, and its open files.

use crate::{
    JournalError, RunHeader, database,
    event::Event,
    mark::{LogUse, MarkFile},
    row::{self, Row},
};
use rusqlite::{Connection, config::DbConfig, params};
use std::{
    path::{Path, PathBuf},
    sync::mpsc::Receiver,
};

/// Version of the format that this release writes; it reads all earlier ones.
/// `docs/decisions/0003-format-of-journal-and-plan.md` describes when it changes.
pub const FORMAT: i64 = 2;
/// The first format whose journals have a mark and whose header has a checksum.
pub const WITH_MARK: i64 = 2;
/// `drml`, the application id that distinguishes a journal from other databases.
pub const APPLICATION: i64 = 0x6472_6d6c;

/// Events to be committed, and the channel for the outcome.
pub struct Order {
    /// The events, in their order.
    pub events: Vec<Event>,
    /// Receives the outcome once.
    pub answer: async_channel::Sender<Result<(), JournalError>>,
}

/// A journal that is open for writing. Its log is required until it is dropped: SQLite removes the log when
/// it closes.
pub struct Store {
    path: PathBuf,
    database: Connection,
    mark: MarkFile,
    /// The first transaction of this process is committed, and the log is required.
    has_begun: bool,
}

impl Store {
    /// Fills a new journal: its tables and its header are durable in the database itself, not only in its
    /// log.
    ///
    /// # Errors
    /// Fails if the file cannot be opened or written.
    pub fn create(path: &Path, mark: MarkFile, header: &RunHeader) -> Result<Self, JournalError> {
        let mut store = Self { path: path.into(), database: database::open(path)?, mark, has_begun: false };
        store.begin(|database| set_up(database, header))?;
        Ok(store)
    }

    /// Opens a journal that was read without an error. Nothing changes before the first commit, so that a
    /// full disk can be retried, as later.
    ///
    /// # Errors
    /// Fails if the file cannot be opened.
    pub fn resume(path: &Path, mark: MarkFile) -> Result<Self, JournalError> {
        Ok(Self { path: path.into(), database: database::open(path)?, mark, has_begun: false })
    }

    /// Commits a first transaction, copies the log into the database, and records that the log is required
    /// from now on. This makes the events durable that were read before: a killed process may have written
    /// them without a flush. A checkpoint does not empty the log, so that an empty log always means damage.
    fn begin(&mut self, first: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), JournalError> {
        let checkpoint = |database: &Connection| -> rusqlite::Result<()> {
            database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        };
        first(&self.database)
            .and_then(|()| checkpoint(&self.database))
            .map_err(|error| failed(&self.path, &error))?;
        self.mark.set_log(LogUse::Required).map_err(|error| JournalError::refused(&self.path, &error))?;
        self.has_begun = true;
        Ok(())
    }

    /// Commits events; before the first ones, converts a resumed journal to the present format.
    fn commit(&mut self, orders: &[Order]) -> Result<(), JournalError> {
        if !self.has_begun {
            self.begin(upgrade)?;
        }
        self.insert(orders).map_err(|error| failed(&self.path, &error))?;
        if let Some(last) = orders.iter().flat_map(|order| &order.events).next_back() {
            self.mark.advance(last.seq);
        }
        Ok(())
    }

    fn insert(&mut self, orders: &[Order]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        {
            let mut insert = transaction.prepare_cached(row::INSERT)?;
            for event in orders.iter().flat_map(|order| &order.events) {
                Row::of(event).insert(&mut insert)?;
            }
        }
        transaction.commit()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.mark.set_log(LogUse::Optional) {
            // The log must stay, because the mark requires it. If that fails too, the run is rejected later,
            // and nothing is lost.
            tracing::warn!(%error, "cannot write the mark of {}: its log is kept", self.path.display());
            let _ = self.database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

fn set_up(database: &Connection, header: &RunHeader) -> rusqlite::Result<()> {
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    // One transaction for all events, because each commit is flushed.
    let transaction = database.unchecked_transaction()?;
    database.pragma_update(None, "application_id", APPLICATION)?;
    database.pragma_update(None, "user_version", FORMAT)?;
    database.execute_batch(
        "CREATE TABLE header (body TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
         CREATE TABLE events (
             seq INTEGER PRIMARY KEY, at TEXT NOT NULL, elapsed_ms INTEGER NOT NULL, cause INTEGER,
             actor TEXT NOT NULL, subject TEXT NOT NULL, happening TEXT NOT NULL, sum INTEGER NOT NULL
         ) STRICT;",
    )?;
    let body = serde_json::to_string(header).expect("a header has only text for keys");
    let sum = crc32fast::hash(body.as_bytes());
    database.execute("INSERT INTO header VALUES (?1, ?2)", params![body, sum])?;
    transaction.commit()
}

fn upgrade(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update(None, "synchronous", "FULL")?;
    let transaction = database.unchecked_transaction()?;
    let format: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format < WITH_MARK {
        let body: String = database.query_row("SELECT body FROM header", [], |row| row.get(0))?;
        database.execute_batch("ALTER TABLE header ADD COLUMN sum INTEGER NOT NULL DEFAULT 0")?;
        database.execute("UPDATE header SET sum = ?1", [crc32fast::hash(body.as_bytes())])?;
    }
    // Written even if it is unchanged, so that the log is not empty.
    database.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

/// Translates an error of SQLite.
fn failed(path: &Path, error: &rusqlite::Error) -> JournalError {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC) => {
            JournalError::FlushFailed { path: path.into(), reason: error.to_string() }
        }
        _ => JournalError::refused(path, error),
    }
}

/// Commits orders on its own thread.
pub struct Writer {
    store: Store,
    /// The error of a failed flush, after which no more events are accepted.
    broken: Option<JournalError>,
}

impl Writer {
    /// Creates the writer of an open journal.
    pub fn new(store: Store) -> Self {
        Self { store, broken: None }
    }

    /// Commits orders until the channel closes; pending orders are committed in one transaction.
    pub fn work(mut self, waiting: &Receiver<Order>) {
        while let Ok(first) = waiting.recv() {
            let orders: Vec<Order> = std::iter::once(first).chain(waiting.try_iter()).collect();
            let outcome = match self.broken.clone() {
                Some(broken) => Err(broken),
                None => {
                    let committed = self.store.commit(&orders);
                    self.judged(committed)
                }
            };
            for order in orders {
                // The caller may have been dropped; the events are stored all the same.
                let _ = order.answer.try_send(outcome.clone());
            }
        }
    }

    /// Keeps the error of a failed flush: it is the outcome of all later commits too.
    fn judged(&mut self, committed: Result<(), JournalError>) -> Result<(), JournalError> {
        if let Err(error @ JournalError::FlushFailed { .. }) = &committed {
            self.broken = Some(error.clone());
        }
        committed
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
