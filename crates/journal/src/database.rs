//! Opens the small SQLite files of this project.

use crate::JournalError;
use dropmill_private_files as private_files;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Opens or creates a database for reading and writing, which no other user can read.
///
/// # Errors
/// Fails if the file cannot be opened, is a link, or is accessible to other users.
pub fn open(path: &Path) -> Result<Connection, JournalError> {
    let file = private_files::database(path).map_err(|error| refused(path, &error))?;
    let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Connection::open_with_flags(file, flags).map_err(|error| refused(path, &error))
}

/// Opens a database in memory.
///
/// # Errors
/// Fails if there is not enough memory.
pub fn in_memory() -> Result<Connection, JournalError> {
    Connection::open_in_memory().map_err(|error| refused(Path::new("(memory)"), &error))
}

/// Opens a database for reading.
///
/// # Errors
/// Fails if its file cannot be opened or is a link.
pub fn open_to_read(path: &Path) -> Result<Connection, JournalError> {
    let file = private_files::without_links(path).map_err(|error| refused(path, &error))?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Connection::open_with_flags(file, flags).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &dyn std::fmt::Display) -> JournalError {
    JournalError::refused(path, error)
}

/// Prepares a database for use: rejects later formats and creates missing tables.
///
/// # Errors
/// Fails if the database cannot be opened or written, or was written by a later version.
pub fn ready(
    path: &Path,
    database: Connection,
    format: i64,
    schema: &str,
) -> Result<Connection, JournalError> {
    let refused = |error: rusqlite::Error| refused(path, &error);
    let found: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(refused)?;
    if found > format {
        return Err(JournalError::Newer { path: path.into(), found, known: format });
    }
    database.execute_batch(schema).map_err(refused)?;
    database.pragma_update(None, "user_version", format).map_err(refused)?;
    Ok(database)
}
