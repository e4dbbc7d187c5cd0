//! Stores an event as a row of the journal's table, with its checksum.

use crate::{
    JournalError,
    event::{Event, EventKind},
};
use rusqlite::{Statement, params};
use std::path::Path;

/// Selects rows after a number, with the columns in the order that [`Row::read`] expects.
pub const SELECT: &str = "SELECT seq, at, elapsed_ms, cause, actor, subject, happening, sum FROM events WHERE seq > ?1 ORDER BY seq";
/// Inserts a row, for [`Row::insert`].
pub const INSERT: &str = "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// An event as a row of the table.
pub struct Row {
    /// Number of the event.
    pub seq: u64,
    at: String,
    elapsed_ms: u64,
    cause: Option<u64>,
    actor: String,
    subject: String,
    happening: String,
    sum: u32,
}

impl Row {
    /// Creates the row of an event of a run.
    pub fn of(event: &Event) -> Self {
        let mut row = Self {
            seq: event.seq,
            at: event.at.to_string(),
            elapsed_ms: event.elapsed_ms,
            cause: event.cause,
            actor: event.actor.as_str().to_owned(),
            subject: event.subject.to_string(),
            happening: serde_json::to_string(&event.kind).expect("kinds of events have only text for keys"),
            sum: 0,
        };
        row.sum = row.checksum(&event.run);
        row
    }

    /// Reads a row of [`SELECT`].
    ///
    /// # Errors
    /// Fails if a column has another type.
    pub fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            at: row.get(1)?,
            elapsed_ms: row.get::<_, i64>(2)?.cast_unsigned(),
            cause: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
            actor: row.get(4)?,
            subject: row.get(5)?,
            happening: row.get(6)?,
            sum: row.get(7)?,
        })
    }

    /// Inserts the row; the statement is [`INSERT`].
    ///
    /// # Errors
    /// Fails on an error of the database.
    pub fn insert(&self, insert: &mut Statement<'_>) -> rusqlite::Result<()> {
        let inserted = insert.execute(params![
            self.seq.cast_signed(),
            self.at,
            self.elapsed_ms.cast_signed(),
            self.cause.map(u64::cast_signed),
            self.actor,
            self.subject,
            self.happening,
            self.sum,
        ]);
        inserted.map(|_| ())
    }

    /// Replaces the content of the event, as if a later release had written it.
    #[cfg(test)]
    pub fn set_happening(&mut self, run: &str, happening: &str) {
        self.happening = happening.into();
        self.sum = self.checksum(run);
    }

    /// Returns whether the row is unchanged and belongs to this run.
    pub fn is_intact(&self, run: &str) -> bool {
        self.sum == self.checksum(run)
    }

    /// Returns a checksum over every field and the run, so that an event of another journal is rejected.
    fn checksum(&self, run: &str) -> u32 {
        let mut hash = crc32fast::Hasher::new_with_initial(1);
        for number in [self.seq, self.elapsed_ms, self.cause.unwrap_or(0)] {
            hash.update(&number.to_le_bytes());
        }
        for text in [run, &self.at, &self.actor, &self.subject, &self.happening] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.finalize()
    }

    /// Returns the event of an intact row.
    ///
    /// # Errors
    /// [`JournalError::UnknownEvent`] if this release does not know its kind: since the row is intact, a
    /// later release wrote it.
    pub fn event(self, journal: &Path, run: &str) -> Result<Event, JournalError> {
        let (seq, elapsed_ms, cause) = (self.seq, self.elapsed_ms, self.cause);
        let unknown = |reason: String| JournalError::UnknownEvent { path: journal.into(), seq, reason };
        let at = self.at.parse().map_err(|error: jiff::Error| unknown(error.to_string()))?;
        let kind: EventKind =
            serde_json::from_str(&self.happening).map_err(|error| unknown(error.to_string()))?;
        Ok(Event {
            seq,
            at,
            elapsed_ms,
            run: run.into(),
            actor: self.actor.into(),
            subject: self.subject.into(),
            cause,
            kind,
        })
    }
}
