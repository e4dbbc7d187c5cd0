//! What the service's answers outlive.

use std::{fs::File, io};

/// When something counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it outlives a loss of power: it was flushed to the disk.
    #[default]
    Power,
    /// When it outlives the end of this process, however that comes: the kernel has it. After the machine itself
    /// went down, nothing of it is used. For a service that is part of a run whose own journal is flushed: what is
    /// lost is done again.
    Process,
}

impl Durability {
    /// What SQLite calls it (`PRAGMA synchronous`, with a write-ahead log).
    pub(crate) fn synchronous(self) -> &'static str {
        match self {
            Self::Power => "FULL",
            Self::Process => "OFF",
        }
    }

    /// Makes a file's content, or a folder's names, as durable as this asks.
    pub(crate) fn settle(self, file: &File) -> io::Result<()> {
        match self {
            Self::Power => file.sync_all(),
            Self::Process => Ok(()),
        }
    }
}
