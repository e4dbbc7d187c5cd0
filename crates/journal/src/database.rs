//! Opening a small SQLite file of ours.

use crate::JournalError;
use rusqlite::Connection;
use std::path::Path;

/// Makes a database ready that this version can read: later formats are refused, what is missing is made.
///
/// # Errors
/// When it could not be opened, cannot be written, or was written by a later version.
pub fn ready(
    path: &Path,
    opened: rusqlite::Result<Connection>,
    format: i64,
    schema: &str,
) -> Result<Connection, JournalError> {
    let refused =
        |error: rusqlite::Error| JournalError::Refused { path: path.into(), reason: error.to_string() };
    let database = opened.map_err(refused)?;
    let found: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(refused)?;
    if found > format {
        return Err(JournalError::Newer { path: path.into(), found });
    }
    database.execute_batch(schema).map_err(refused)?;
    database.pragma_update(None, "user_version", format).map_err(refused)?;
    Ok(database)
}
