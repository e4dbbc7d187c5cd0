//! An index of the files that a drop folder has processed, by name and content, to detect duplicates.

use crate::{JournalError, database};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};

/// Version of the format of this file.
const FORMAT: i64 = 1;

/// Remembers processed files after the daemon exits.
pub struct DuplicateIndex {
    path: PathBuf,
    database: Connection,
}

impl DuplicateIndex {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, or was written by a later version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::with(path, database::open(path)?)
    }

    /// Remembers files in memory, for simulations.
    ///
    /// # Errors
    /// Fails if there is not enough memory.
    pub fn in_memory() -> Result<Self, JournalError> {
        Self::with(Path::new("memory"), database::in_memory()?)
    }

    fn with(path: &Path, opened: Connection) -> Result<Self, JournalError> {
        let schema = "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS files (
                 key TEXT PRIMARY KEY, run TEXT NOT NULL, task TEXT NOT NULL, at INTEGER NOT NULL
             ) STRICT, WITHOUT ROWID;";
        let database = database::ready(path, opened, FORMAT, schema)?;
        Ok(Self { path: path.into(), database })
    }

    /// Returns the run and the task that processed a file before.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn find(&self, key: &str) -> Result<Option<(String, String)>, JournalError> {
        self.database
            .query_row("SELECT run, task FROM files WHERE key = ?1", [key], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .map_err(|error| self.refused(&error))
    }

    /// Adds a file; `at` is in seconds since 1970.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn add(&self, key: &str, run: &str, task: &str, at: i64) -> Result<(), JournalError> {
        self.database
            .execute("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4)", params![key, run, task, at])
            .map(|_| ())
            .map_err(|error| self.refused(&error))
    }

    /// Removes the files that were processed before a time; returns their number.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn forget_before(&self, at: i64) -> Result<usize, JournalError> {
        self.database.execute("DELETE FROM files WHERE at < ?1", [at]).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &rusqlite::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processed_file_is_remembered_until_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.db");
        let seen = DuplicateIndex::open(&path).unwrap();
        assert_eq!(seen.find("a").unwrap(), None);
        seen.add("a", "run", "task", 100).unwrap();
        seen.add("b", "run", "other", 200).unwrap();
        drop(seen);
        let seen = DuplicateIndex::open(&path).unwrap();
        assert_eq!(seen.find("a").unwrap(), Some(("run".into(), "task".into())));
        assert_eq!(seen.forget_before(150).unwrap(), 1);
        assert_eq!((seen.find("a").unwrap(), seen.find("b").unwrap().is_some()), (None, true));
    }
}
