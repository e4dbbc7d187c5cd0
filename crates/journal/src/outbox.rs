//! A durable queue of notifications. Each has an id that stays the same if it is added again.

use crate::{JournalError, database};
use rusqlite::{Connection, params};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Version of the format of this file.
const FORMAT: i64 = 1;

/// A notification to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Unique id; the same in every attempt and after a restart.
    pub id: String,
    /// Kind of the notification.
    pub kind: String,
    /// Content of the notification.
    pub body: String,
}

/// Stores notifications until they are sent, also after the program exits.
pub struct Outbox {
    path: PathBuf,
    database: Connection,
}

impl Outbox {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, or was written by a later version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::over(path, database::open(path)?)
    }

    /// Creates an outbox in memory.
    ///
    /// # Errors
    /// Fails if there is not enough memory.
    pub fn in_memory() -> Result<Self, JournalError> {
        Self::over(Path::new("(memory)"), database::in_memory()?)
    }

    fn over(path: &Path, opened: Connection) -> Result<Self, JournalError> {
        // FULL, because a notification that was added must be sent even after a power loss.
        let schema = "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS notices (
                 number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, body TEXT NOT NULL,
                 settled INTEGER
             ) STRICT;
             CREATE INDEX IF NOT EXISTS waiting ON notices (number) WHERE settled IS NULL;";
        let database = database::ready(path, opened, FORMAT, schema)?;
        Ok(Self { path: path.into(), database })
    }

    /// Stores a notification durably. Returns whether it is new.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn put(&self, notice: &Notice) -> Result<bool, JournalError> {
        let Notice { id, kind, body } = notice;
        let put = self.database.execute(
            "INSERT OR IGNORE INTO notices (id, kind, body) VALUES (?1, ?2, ?3)",
            params![id, kind, body],
        );
        put.map(|rows| rows > 0).map_err(|error| self.refused(&error))
    }

    /// Returns the oldest pending notification that is not in `except`.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn next(&self, except: &BTreeSet<String>) -> Result<Option<Notice>, JournalError> {
        let read = || -> rusqlite::Result<Option<Notice>> {
            let select = "SELECT id, kind, body FROM notices WHERE settled IS NULL ORDER BY number LIMIT ?1";
            let mut select = self.database.prepare_cached(select)?;
            let most = i64::try_from(except.len()).unwrap_or(i64::MAX).saturating_add(1);
            let rows = select.query_map([most], |row| {
                Ok(Notice { id: row.get(0)?, kind: row.get(1)?, body: row.get(2)? })
            })?;
            for notice in rows {
                let notice = notice?;
                if !except.contains(&notice.id) {
                    return Ok(Some(notice));
                }
            }
            Ok(None)
        };
        read().map_err(|error| self.refused(&error))
    }

    /// Returns the number of pending notifications.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn waiting(&self) -> Result<u64, JournalError> {
        let count = "SELECT count(*) FROM notices WHERE settled IS NULL";
        let count: rusqlite::Result<i64> = self.database.query_row(count, [], |row| row.get(0));
        count.map(i64::unsigned_abs).map_err(|error| self.refused(&error))
    }

    /// Marks a notification as sent or given up; `at` is in seconds since 1970. Its content is deleted, its
    /// id is kept.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn settle(&self, id: &str, at: i64) -> Result<(), JournalError> {
        let settle = "UPDATE notices SET settled = ?2, body = '' WHERE id = ?1";
        self.database.execute(settle, params![id, at]).map(|_| ()).map_err(|error| self.refused(&error))
    }

    /// Removes the notifications that were settled before a time; returns their number.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn forget_before(&self, at: i64) -> Result<usize, JournalError> {
        let delete = "DELETE FROM notices WHERE settled < ?1";
        self.database.execute(delete, [at]).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &rusqlite::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(id: &str) -> Notice {
        Notice { id: id.into(), kind: "finished".into(), body: format!("about {id}") }
    }

    #[test]
    fn a_notice_stays_pending_after_a_restart_until_it_is_settled_and_is_never_new_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notices.db");
        let outbox = Outbox::open(&path).unwrap();
        for id in ["a", "b", "c"] {
            assert!(outbox.put(&notice(id)).unwrap());
        }
        drop(outbox);
        let outbox = Outbox::open(&path).unwrap();
        assert!(!outbox.put(&notice("a")).unwrap());
        let mut under_way = BTreeSet::new();
        for id in ["a", "b", "c"] {
            let next = outbox.next(&under_way).unwrap().unwrap();
            assert_eq!(next, notice(id));
            under_way.insert(next.id);
        }
        assert_eq!(outbox.next(&under_way).unwrap(), None);
        outbox.settle("b", 100).unwrap();
        assert_eq!(outbox.waiting().unwrap(), 2);
        drop(outbox);
        let outbox = Outbox::open(&path).unwrap();
        let under_way = BTreeSet::from(["a".to_owned()]);
        assert_eq!(outbox.next(&under_way).unwrap().unwrap().id, "c");
        assert!(!outbox.put(&notice("b")).unwrap(), "it was sent");
        assert_eq!(outbox.forget_before(100).unwrap(), 0);
        assert_eq!(outbox.forget_before(101).unwrap(), 1, "pending notifications are not removed");
        assert_eq!(outbox.waiting().unwrap(), 2);
    }
}
