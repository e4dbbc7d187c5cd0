//! Facts about entries, as the file system reports them.

use dropmill_lifecycle::arrival::FileSnapshot;
use rustix::fs::{FileType, Stat};
use std::{ffi::OsString, fmt};

/// What distinguishes a file or folder from every other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Number of its file system.
    pub device: u64,
    /// Number there.
    pub inode: u64,
}

/// Kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A plain file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device for blocks or characters.
    Device,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, of whatever bytes.
    pub name: OsString,
    /// Its kind when the folder was listed.
    pub kind: Kind,
}

/// Facts about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// What distinguishes it from every other one.
    pub identity: Identity,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Nanoseconds since 1970 at which its content was changed; its owner may set them.
    pub modified_ns: i128,
    /// Permissions: the twelve bits below the kind.
    pub mode: u32,
    /// User id of its owner.
    pub owner: u32,
    /// Names that it has.
    pub links: u64,
}

impl Kind {
    /// Returns the kind; none when the file system did not report it.
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
            Self::File => "a plain file",
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
            // Whatever is of no known kind is neither read nor entered, as a device.
            kind: Kind::of(FileType::from_raw_mode(stat.st_mode)).unwrap_or(Kind::Device),
            identity: Identity { device: stat.st_dev as u64, inode: stat.st_ino as u64 },
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
            mode: stat.st_mode as u32 & 0o7777,
            owner: stat.st_uid,
            links: u64::from(stat.st_nlink),
        }
    }

    /// Returns what shows whether another process wrote to the file or replaced it.
    pub fn look(&self) -> FileSnapshot {
        FileSnapshot {
            size_bytes: self.size_bytes,
            modified_ns: self.modified_ns,
            inode: self.identity.inode,
        }
    }
}
