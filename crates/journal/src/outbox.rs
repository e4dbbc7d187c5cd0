//! Notices that somebody is to be told, kept until they were: each has an id that is the same however often it is put.

use crate::{JournalError, database};
use rusqlite::{Connection, params};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Version of the file's format.
const FORMAT: i64 = 1;

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What tells it from any other; the same in every try and every life.
    pub id: String,
    /// What it is about.
    pub kind: String,
    /// What it says.
    pub body: String,
}

/// Remembers notices over lives of a program.
pub struct Outbox {
    path: PathBuf,
    database: Connection,
}

impl Outbox {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a later version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::over(path, database::open(path)?)
    }

    /// One that ends with the program.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn in_memory() -> Result<Self, JournalError> {
        Self::over(Path::new("(memory)"), database::in_memory()?)
    }

    fn over(path: &Path, opened: Connection) -> Result<Self, JournalError> {
        // FULL: a notice that was put is told, whatever happens to the machine.
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

    /// Keeps a notice, durably; whether it is a new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, notice: &Notice) -> Result<bool, JournalError> {
        let Notice { id, kind, body } = notice;
        let put = self.database.execute(
            "INSERT OR IGNORE INTO notices (id, kind, body) VALUES (?1, ?2, ?3)",
            params![id, kind, body],
        );
        put.map(|rows| rows > 0).map_err(|error| self.refused(&error))
    }

    /// The oldest one that waits and is not among these.
    ///
    /// # Errors
    /// When the file cannot be read.
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

    /// How many wait.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn waiting(&self) -> Result<u64, JournalError> {
        let count = "SELECT count(*) FROM notices WHERE settled IS NULL";
        let count: rusqlite::Result<i64> = self.database.query_row(count, [], |row| row.get(0));
        count.map(i64::unsigned_abs).map_err(|error| self.refused(&error))
    }

    /// It was told, or given up; `at` is in seconds since 1970. What it said is forgotten, that it was there is not.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn settle(&self, id: &str, at: i64) -> Result<(), JournalError> {
        let settle = "UPDATE notices SET settled = ?2, body = '' WHERE id = ?1";
        self.database.execute(settle, params![id, at]).map(|_| ()).map_err(|error| self.refused(&error))
    }

    /// Forgets what was settled before a moment; tells how much.
    ///
    /// # Errors
    /// When it cannot be written.
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
    fn a_notice_waits_over_lives_until_it_is_settled_and_is_never_new_again() {
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
        assert!(!outbox.put(&notice("b")).unwrap(), "it was told");
        assert_eq!(outbox.forget_before(100).unwrap(), 0);
        assert_eq!(outbox.forget_before(101).unwrap(), 1, "what waits is not forgotten");
        assert_eq!(outbox.waiting().unwrap(), 2);
    }
}
