//! Errors of storing and reading events.

use std::path::{Path, PathBuf};

/// The reason why events could not be stored or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// A journal exists already.
    #[error("journal {path} exists already: a run has one journal")]
    Exists {
        /// Path of the journal.
        path: PathBuf,
    },
    /// A later release wrote the file.
    #[error(
        "{path} was made by a later release: its format is {found}, this release reads up to {known}; \
         use that release or a later one"
    )]
    Newer {
        /// Path of the file.
        path: PathBuf,
        /// Version of the file's format.
        found: i64,
        /// The latest format that this release reads.
        known: i64,
    },
    /// A later release wrote the file and uses a feature that this release must not ignore.
    #[error(
        "{path} was made by a later release: it uses {}, which this release does not know; use that release or a later one",
        needs.join(", ")
    )]
    Needs {
        /// Path of the file.
        path: PathBuf,
        /// Names of the features.
        needs: Vec<String>,
    },
    /// An event is intact, but of a kind that this release does not know.
    #[error(
        "journal {path} was made by a later release: this release cannot read event {seq} ({reason}); \
         use that release or a later one"
    )]
    UnknownEvent {
        /// Path of the file.
        path: PathBuf,
        /// Number of the event.
        seq: u64,
        /// What the parser reports.
        reason: String,
    },
    /// The file is not a journal.
    #[error("{path} is not a journal of dropmill")]
    NoJournal {
        /// Path of the file.
        path: PathBuf,
    },
    /// The process that created the file was interrupted before it wrote anything: there is no run to resume.
    #[error("journal {path} is empty: its run was interrupted before it began")]
    Empty {
        /// Path of the file.
        path: PathBuf,
    },
    /// An event is missing or was changed.
    #[error(
        "journal {path} is damaged at event {seq}: {reason}; nothing after it can be trusted: restore the run's folder \
         from a copy, or move it away and start a new run, which processes every input again"
    )]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Number of the event.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file of the journal is damaged, or the files do not belong together.
    #[error(
        "cannot use {}: {damage}; nothing was changed: restore the run's folder from a copy, or move it away and start \
         a new run, which processes every input again",
        path.display()
    )]
    Broken {
        /// Path of the damaged file.
        path: PathBuf,
        /// Kind of the damage.
        damage: Damage,
    },
    /// The disk or the database reports an error.
    #[error("journal {path}: {reason}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Message of the error.
        reason: String,
    },
    /// A flush failed. The kernel reports this only once, so a later successful flush proves nothing about
    /// earlier writes: the journal accepts no more events.
    #[error(
        "journal {path}: a flush failed ({reason}), so what it holds is known only by reading it again: \
         resuming the run does that"
    )]
    FlushFailed {
        /// Path of the file.
        path: PathBuf,
        /// Message of the error.
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

    /// Returns whether the cause may be a process that writes the journal at the same time: then a second
    /// attempt succeeds.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Damaged { .. })
    }
}

/// The kind of damage to a file of a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The database is missing, but other files of the journal exist.
    #[error("the file is missing, but other files of the journal exist")]
    Missing,
    /// The database has no bytes, although the run has begun.
    #[error("expected a database, found an empty file beside a log of {log_bytes} bytes")]
    Empty {
        /// Length of the log.
        log_bytes: u64,
    },
    /// The file has a mark, but its first page is not that of a journal.
    #[error("expected a journal of dropmill, found a damaged or another file")]
    NoJournal,
    /// The database has no tables, although the run has begun.
    #[error("expected the events of a run that has begun, found an empty database")]
    Blank,
    /// All events can be read, but writing to the database would destroy data.
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
        /// Number of the last durable event, according to the mark.
        expected: u64,
        /// Number of the last event in the journal.
        found: u64,
    },
    /// The mark is missing, although the run has not ended.
    #[error("the file is missing: without it, lost events would not be noticed")]
    MarkMissing,
    /// The mark is damaged.
    #[error("expected one line with a valid checksum, found something else")]
    Mark,
    /// The mark belongs to another run.
    #[error(
        "expected the mark of run {expected}, which the journal is of, found that of run {found}: one of them was replaced"
    )]
    OtherRun {
        /// Run of the journal.
        expected: String,
        /// Run of the mark.
        found: String,
    },
    /// The path is a symbolic link.
    #[error("expected a regular file, found a symbolic link")]
    Link,
    /// The path is a folder, a FIFO, a socket or a device.
    #[error("expected a regular file, found a folder, FIFO, socket or device")]
    NoFile,
}

impl Damage {
    /// Returns the error that names the damaged file.
    pub(crate) fn in_file(self, path: impl Into<PathBuf>) -> JournalError {
        JournalError::Broken { path: path.into(), damage: self }
    }
}
