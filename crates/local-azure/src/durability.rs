//! Which failures the acknowledged changes of the service survive.

use std::{fs::File, io};

/// When a change counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it survives a power loss: it was flushed to the disk.
    #[default]
    Power,
    /// When it survives the end of this process in any way: the kernel has it. After a restart of the
    /// machine, nothing of it is used. For a service that belongs to a run with a flushed journal: lost work
    /// is repeated.
    Process,
}

impl Durability {
    /// Returns the value of SQLite's `PRAGMA synchronous`, for a write-ahead log.
    pub(crate) fn synchronous(self) -> &'static str {
        match self {
            Self::Power => "FULL",
            Self::Process => "OFF",
        }
    }

    /// Makes a file's content, or a folder's names, as durable as required.
    pub(crate) fn settle(self, file: &File) -> io::Result<()> {
        match self {
            Self::Power => file.sync_all(),
            Self::Process => Ok(()),
        }
    }
}
