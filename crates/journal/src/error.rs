//! Why events could not be kept or read.

use std::path::{Path, PathBuf};

/// Why events could not be kept or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// There is a journal already.
    #[error("journal {path} exists: a run has one journal, made once")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A later release wrote the file.
    #[error(
        "{path} was made by a later release: its format is {found}, this release reads up to {known}; \
         use that release or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest format that this release reads.
        known: i64,
    },
    /// A later release wrote the file and uses something in it that this release must not ignore.
    #[error(
        "{path} was made by a later release: it uses {}, which this release does not know; use that release or a later one",
        needs.join(", ")
    )]
    Needs {
        /// The file.
        path: PathBuf,
        /// What it uses.
        needs: Vec<String>,
    },
    /// An event is intact, but of a kind that this release does not know.
    #[error(
        "journal {path} was made by a later release: this release cannot read event {seq} ({reason}); \
         use that release or a later one"
    )]
    UnknownEvent {
        /// The file.
        path: PathBuf,
        /// Number of the event.
        seq: u64,
        /// What the parser reports.
        reason: String,
    },
    /// The file is no journal.
    #[error("{path} is not a journal of dropmill")]
    NoJournal {
        /// The file.
        path: PathBuf,
    },
    /// The process that created the file was interrupted before anything was in it: there is no run to resume.
    #[error("journal {path} is empty: its run was interrupted before it began")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// An event is missing or changed.
    #[error(
        "journal {path} is damaged at event {seq}: {reason}; nothing after it can be trusted: restore the run's folder \
         from a copy, or move it away and start a new run, which processes every input again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The event.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// One of the journal's files is damaged, or they do not belong together.
    #[error(
        "cannot use {}: {damage}; nothing was changed: restore the run's folder from a copy, or move it away and start \
         a new run, which processes every input again",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The disk or the database reports an error.
    #[error("journal {path}: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        reason: String,
    },
    /// A flush failed. The kernel reports that once and then forgets it, so a later flush that succeeds proves nothing about
    /// what was written before: the journal takes no more events.
    #[error(
        "journal {path}: a flush failed ({reason}), so what it holds is known only by reading it again: \
         the next life of the run does that"
    )]
    FlushFailed {
        /// The file.
        path: PathBuf,
        /// The error.
        reason: String,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    pub(crate) fn refused(path: &Path, error: &dyn std::fmt::Display) -> Self {
        Self::Io { path: path.into(), reason: error.to_string() }
    }

    /// Whether a process that writes the journal at the same time may be the cause: then a second attempt succeeds.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Damaged { .. })
    }
}

/// What is wrong with a file of a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The database is missing, other files of the journal are there.
    #[error("the file is missing, but other files of the journal exist")]
    Missing,
    /// The database has no bytes, although the run has begun.
    #[error("expected a database, found an empty file beside a log of {log_bytes} bytes")]
    Empty {
        /// Length of the log.
        log_bytes: u64,
    },
    /// The database was a journal, and its first page is not one of a journal any more.
    #[error("expected a journal of dropmill, found a damaged or another file")]
    NoJournal,
    /// The database holds no tables, although the run has begun.
    #[error("expected the events of a run that has begun, found an empty database")]
    Blank,
    /// All events can be read, but the database cannot be written to without harm.
    #[error("the structure of the database is damaged ({reason})")]
    Structure {
        /// What SQLite reports.
        reason: String,
    },
    /// The log is missing, although the journal was not closed.
    #[error("the log is missing, but the run was interrupted and its journal is not complete without it")]
    LogMissing,
    /// The log has no bytes, although the journal was not closed.
    #[error("the log is empty, but the run was interrupted and its journal is not complete without it")]
    LogEmpty,
    /// The log's header is incomplete, or its checksum is wrong.
    #[error("the header of the log is damaged")]
    LogHeader,
    /// A frame of the log is invalid, but a transaction that was committed later is complete.
    #[error("frame {frame} of the log is damaged, and later transactions follow it")]
    LogFrame {
        /// Number of the frame, from 1.
        frame: u64,
    },
    /// Events that were durable are missing at the end.
    #[error(
        "expected at least {expected} events, found {found}: the end of the log is lost, or a file was replaced"
    )]
    Lost {
        /// Number of the last event that was durable, as the mark says.
        expected: u64,
        /// Number of the last event that the journal holds.
        found: u64,
    },
    /// The mark is missing, although the run has not ended.
    #[error("the file is missing: without it, lost events would not be noticed")]
    MarkMissing,
    /// The mark is not as it was written.
    #[error("expected one line with a valid checksum, found something else")]
    Mark,
    /// The mark belongs to another run.
    #[error(
        "expected the mark of run {expected}, which the journal is of, found that of run {found}: one of them was replaced"
    )]
    OtherRun {
        /// The run of the journal.
        expected: String,
        /// The run of the mark.
        found: String,
    },
    /// A link is in the file's place.
    #[error("expected a regular file, found a symbolic link")]
    Link,
    /// A folder, a FIFO, a socket or a device is in the file's place.
    #[error("expected a regular file, found a folder, FIFO, socket or device")]
    NoFile,
}

impl Damage {
    /// Returns the error that names the damaged file.
    pub(crate) fn in_file(self, path: impl Into<PathBuf>) -> JournalError {
        JournalError::Broken { path: path.into(), damage: self }
    }
}
