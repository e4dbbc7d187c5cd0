//! Metadata of entries, as the file system reports them.

use dropmill_lifecycle::arrival::FileSnapshot;
use rustix::fs::{FileType, Stat};
use std::{ffi::OsString, fmt};

/// The identity of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Number of its file system.
    pub device: u64,
    /// Inode number on it.
    pub inode: u64,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// The entry is a folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// The entry is a socket.
    Socket,
    /// A block or character device.
    Device,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the entry, of arbitrary bytes.
    pub name: OsString,
    /// Kind of the entry when the folder was listed.
    pub kind: Kind,
}

/// The metadata of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Kind of the entry.
    pub kind: Kind,
    /// Identity of the entry.
    pub identity: Identity,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Modification time in nanoseconds since 1970; its owner can set it.
    pub modified_ns: i128,
    /// Permissions: the twelve bits below the kind.
    pub mode: u32,
    /// User id of its owner.
    pub owner: u32,
    /// Number of hard links.
    pub links: u64,
}

impl Kind {
    /// Returns the kind; `None` if the file system did not report it.
    pub(super) fn of(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::BlockDevice | FileType::CharacterDevice => Self::Device,
            FileType::Unknown => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::File => "a regular file",
            Self::Folder => "a folder",
            Self::Link => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::Device => "a device",
        })
    }
}

impl Facts {
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "types differ between machines")]
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            // An unknown kind is neither read nor entered, like a device.
            kind: Kind::of(FileType::from_raw_mode(stat.st_mode)).unwrap_or(Kind::Device),
            identity: Identity { device: stat.st_dev as u64, inode: stat.st_ino as u64 },
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
            mode: stat.st_mode as u32 & 0o7777,
            owner: stat.st_uid,
            links: u64::from(stat.st_nlink),
        }
    }

    /// Returns the metadata that change when another process changes or replaces the file.
    pub fn look(&self) -> FileSnapshot {
        FileSnapshot {
            size_bytes: self.size_bytes,
            modified_ns: self.modified_ns,
            inode: self.identity.inode,
        }
    }
}
