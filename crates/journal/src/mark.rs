//! The high-water mark of a journal: the number of its last durable event, kept in a file of its own.
//!
//! A log that was truncated after a commit looks complete, and a missing log looks as if it had never
//! existed. Therefore the file `journal.db-mark` is stored beside the journal. The writer overwrites its one
//! line after each commit, without a flush. Therefore the mark is never ahead of the journal; it is exact, or
//! too low after a power loss. A journal that ends before its mark has lost events.
//!
//! The mark also records whether the log must exist, and is flushed whenever this changes. The log is
//! required as soon as it contains the run's first transaction. It becomes optional just before the journal
//! is closed, because SQLite then removes it.
//!
//! The line has a fixed length and fits into one sector, so that a power loss leaves the old line or the new
//! one: `dropmill-mark 1 <last event, 20 digits> <required|optional> <run> <CRC-32 of all that, 8 hex
//! digits>`.

use crate::{Damage, JournalError};
use dropmill_private_files as private_files;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const BEGINNING: &str = "dropmill-mark 1 ";
/// More than the length of any mark: names of runs are short.
const MOST_BYTES: u64 = 4096;

/// Whether the write-ahead log of a journal must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogUse {
    /// The journal is not complete without its log.
    Required,
    /// The journal is being created, or was closed.
    Optional,
}

impl LogUse {
    fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

/// The content of a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Name of the run.
    pub run: String,
    /// Number of the last event that is known to be durable, 0 before the first.
    pub last: u64,
    /// Whether the log must exist.
    pub log: LogUse,
}

impl Mark {
    /// Returns the path of a journal's mark.
    pub fn path(journal: &Path) -> PathBuf {
        crate::files::beside(journal, "-mark")
    }

    /// Reads the mark of a journal, if it exists.
    ///
    /// # Errors
    /// [`JournalError::Broken`] if the mark is damaged, [`JournalError::Io`] if it cannot be read.
    pub fn read(journal: &Path) -> Result<Option<Self>, JournalError> {
        let path = Self::path(journal);
        let file = match private_files::open_to_read(&path) {
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(None),
            opened => opened.map_err(|error| JournalError::refused(journal, &error))?,
        };
        let mut bytes = vec![];
        file.take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| JournalError::refused(&path, &error))?;
        match std::str::from_utf8(&bytes).ok().and_then(Self::parse) {
            Some(mark) => Ok(Some(mark)),
            None => Err(Damage::Mark.in_file(path)),
        }
    }

    /// Returns whether the run has begun, according to the mark: then its journal is not empty.
    pub fn has_begun(&self) -> bool {
        self.last > 0 || self.log == LogUse::Required
    }

    fn line(&self) -> String {
        let (last, log, run) = (self.last, self.log.name(), &self.run);
        let text = format!("{BEGINNING}{last:020} {log} {run} ");
        let sum = crc32fast::hash(text.as_bytes());
        format!("{text}{sum:08x}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix(BEGINNING)?.splitn(3, ' ');
        let last = fields.next()?.parse().ok()?;
        let name = fields.next()?;
        let log = [LogUse::Required, LogUse::Optional].into_iter().find(|log| log.name() == name)?;
        let (run, _) = fields.next()?.rsplit_once(' ')?;
        let mark = Self { run: run.into(), last, log };
        // Formatting the parsed mark must give the same bytes: that also checks the checksum.
        (mark.line() == line).then_some(mark)
    }
}

/// The mark of a journal that this process writes.
pub struct MarkFile {
    path: PathBuf,
    file: File,
    mark: Mark,
    /// The mark could not be written; this was logged, and the journal is written without it.
    is_behind: bool,
}

impl MarkFile {
    /// Creates or replaces the mark of a journal, and makes it durable.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn begin(journal: &Path, mark: Mark) -> Result<Self, JournalError> {
        let path = Mark::path(journal);
        // The name of the mark becomes durable with that of the log, because SQLite flushes the folder of a
        // log that it creates.
        let settle = |opened: &File| match opened.metadata()?.is_dir() {
            true => Ok(()),
            false => opened.sync_all(),
        };
        let made = private_files::replace(&path, mark.line().as_bytes(), settle)
            .and_then(|()| private_files::open_existing(&path));
        let file = made.map_err(|error| JournalError::refused(journal, &error))?;
        Ok(Self { path, file, mark, is_behind: false })
    }

    /// Records that all events up to this one are durable. If the mark cannot be written, it stays too low,
    /// which only weakens the protection: this is logged once.
    pub fn advance(&mut self, last: u64) {
        self.mark.last = last;
        if let Err(error) = self.write()
            && !std::mem::replace(&mut self.is_behind, true)
        {
            let path = self.path.display();
            tracing::warn!(%error, "cannot write {path}: the loss of later events would not be noticed");
        }
    }

    /// Records durably whether the log must exist.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn set_log(&mut self, log: LogUse) -> io::Result<()> {
        self.mark.log = log;
        self.write()?;
        self.file.sync_data()
    }

    fn write(&self) -> io::Result<()> {
        self.file.write_all_at(self.mark.line().as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_mark_can_be_read_and_every_changed_byte_is_noticed() {
        for (run, last, log) in [("r-1", 0, LogUse::Optional), ("a run\nof two", u64::MAX, LogUse::Required)]
        {
            let mark = Mark { run: run.into(), last, log };
            let line = mark.line();
            assert_eq!(Mark::parse(&line), Some(mark));
            for at in 0..line.len() {
                assert_eq!(Mark::parse(&line[..at]), None, "cut at {at}");
                let mut bytes = line.clone().into_bytes();
                bytes[at] ^= 1;
                let changed = String::from_utf8(bytes).expect("the lowest bit of ASCII");
                assert_eq!(Mark::parse(&changed), None, "{changed}");
            }
        }
    }
}
