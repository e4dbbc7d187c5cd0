//! Checks the files of a journal before SQLite opens them.
//!
//! SQLite repairs what it opens: it removes the log of an empty database and ignores what follows an invalid
//! frame. Therefore damage must be detected before that. This module never writes, removes a file, waits for
//! a FIFO or follows a link.
//!
//! It never opens the database itself: closing it would release the locks that SQLite holds on it in this
//! process.

use crate::{
    Damage, JournalError,
    mark::{LogUse, Mark},
    wal::{self, WalState},
};
use dropmill_private_files as private_files;
use std::{
    fs,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

/// The suffixes of the database and of the files that belong to it.
const ENDINGS: [&str; 5] = ["", "-wal", "-shm", "-journal", "-mark"];

/// Returns the path of a file beside a journal.
pub fn beside(journal: &Path, ending: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Returns whether a journal, or a part of one, exists. A folder without any of its files belongs to a run
/// that never began; a log or a mark alone belongs to a journal that was removed.
pub fn exist(journal: &Path) -> bool {
    ["", "-wal", "-mark"].into_iter().any(|ending| fs::symlink_metadata(beside(journal, ending)).is_ok())
}

/// Checks the types and lengths of a journal's files, and the log. Returns the mark, if it exists.
///
/// # Errors
/// [`JournalError::Broken`] if the files do not match, [`JournalError::Empty`] if the database is empty and
/// no file shows that the run began, [`JournalError::Io`] if a file cannot be read.
pub fn check(journal: &Path) -> Result<Option<Mark>, JournalError> {
    // Read the mark first: a process that writes the journal at the same time can only add events that are
    // not in the mark.
    let mark = match length_of(&Mark::path(journal))? {
        Some(_) => Mark::read(journal)?,
        None => None,
    };
    let mut lengths = [None; ENDINGS.len()];
    for (length, ending) in lengths.iter_mut().zip(ENDINGS) {
        *length = length_of(&beside(journal, ending))?;
    }
    let [database, log, ..] = lengths;
    let has_begun = mark.as_ref().is_some_and(Mark::has_begun);
    match database {
        None if log.is_some() || mark.is_some() => return Err(Damage::Missing.in_file(journal)),
        None => return Err(JournalError::refused(journal, &"file not found")),
        Some(0) if log.is_some_and(|bytes| bytes > 0) => {
            return Err(Damage::Empty { log_bytes: log.unwrap_or(0) }.in_file(journal));
        }
        Some(0) if has_begun => return Err(Damage::Empty { log_bytes: 0 }.in_file(journal)),
        Some(0) => return Err(JournalError::Empty { path: journal.into() }),
        Some(_) => {}
    }
    let path = beside(journal, "-wal");
    let required = mark.as_ref().is_some_and(|mark| mark.log == LogUse::Required);
    let state = match log {
        None if required => return Err(Damage::LogMissing.in_file(path)),
        None => return Ok(mark),
        Some(_) => read_log(&path)?,
    };
    match state {
        WalState::Empty if required => Err(Damage::LogEmpty.in_file(path)),
        // While a journal is being created, its log may be incomplete in any way.
        WalState::BadHeader if mark.as_ref().is_none_or(Mark::has_begun) => {
            Err(Damage::LogHeader.in_file(path))
        }
        WalState::Damaged { frame } => Err(Damage::LogFrame { frame }.in_file(path)),
        WalState::Empty | WalState::BadHeader | WalState::Whole { .. } | WalState::Torn { .. } => Ok(mark),
    }
}

/// Returns the length of a regular file, or `None` if it does not exist.
fn length_of(path: &Path) -> Result<Option<u64>, JournalError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
        Ok(metadata) if metadata.is_symlink() => Err(Damage::Link.in_file(path)),
        Ok(_) => Err(Damage::NoFile.in_file(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JournalError::refused(path, &error)),
    }
}

fn read_log(path: &Path) -> Result<WalState, JournalError> {
    let file = match private_files::open_to_read(path) {
        // It was removed in the meantime by a process that closed the journal.
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(WalState::Empty),
        opened => opened.map_err(|error| JournalError::refused(path, &error))?,
    };
    wal::walk(BufReader::with_capacity(1 << 16, file)).map_err(|error| JournalError::refused(path, &error))
}
