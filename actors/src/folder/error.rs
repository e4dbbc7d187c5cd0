//! Errors of operations below an open folder.

use super::facts::Kind;
use crate::place::{PlaceError, may_pass};
use rustix::io::Errno;
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// An operation below an open folder that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path:?}: {cause}")]
pub struct FolderError {
    action: &'static str,
    path: PathBuf,
    cause: Cause,
}

/// The reason for the failure.
#[derive(Debug)]
pub enum Cause {
    /// The file system's error.
    Io(io::Error),
    /// A part of the path is a link, or something else that is not a folder.
    Diverted,
    /// The path has an empty part, `.` or `..`, or is absolute.
    Outside,
    /// The entry is not a regular file.
    NoFile(Kind),
    /// Another entry replaced the one that was checked.
    Replaced,
    /// The file was changed while it was copied.
    Changed,
    /// Entries were added to the folder as fast as they were removed.
    KeepsFilling,
    /// The folder belongs to another user.
    Foreign {
        /// User id of its owner.
        owner: u32,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(to),
            Self::Diverted => to.write_str("a part of the path is a symbolic link or not a folder"),
            Self::Outside => to.write_str("expected a relative path without empty parts, `.` and `..`"),
            Self::NoFile(kind) => write!(to, "it is {kind}, not a regular file"),
            Self::Replaced => to.write_str("another file has replaced it"),
            Self::Changed => to.write_str("it was changed meanwhile"),
            Self::KeepsFilling => to.write_str("another process keeps creating files in it"),
            Self::Foreign { owner } => {
                write!(to, "it belongs to user {owner}; expected a folder of this process's user")
            }
        }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Cause {
    fn from(error: Errno) -> Self {
        match error {
            // A link in the path gives the first error with `openat2`, the second with `O_DIRECTORY` and
            // `O_NOFOLLOW`.
            Errno::LOOP | Errno::NOTDIR => Self::Diverted,
            error => Self::Io(error.into()),
        }
    }
}

impl FolderError {
    pub(crate) fn new(action: &'static str, path: &Path, cause: impl Into<Cause>) -> Self {
        Self { action, path: path.to_owned(), cause: cause.into() }
    }

    /// Replaces the path by the one that the user knows.
    pub(super) fn at(self, path: &Path) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// Returns the reason for the failure.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Returns the kind of the file system's error, if there is one.
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match &self.cause {
            Cause::Io(error) => Some(error.kind()),
            _ => None,
        }
    }

    /// Returns whether the entry, or a folder in its path, does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == Some(io::ErrorKind::NotFound)
    }

    /// Returns whether the entry does not exist under its path: it is missing, or the path leads through a
    /// link.
    pub fn is_gone(&self) -> bool {
        self.is_not_found() || matches!(self.cause, Cause::Diverted)
    }

    /// Returns whether another process may have caused the failure by removing, replacing or changing an
    /// entry, or its permissions.
    pub fn shows_another_process(&self) -> bool {
        match self.cause {
            Cause::Diverted | Cause::NoFile(_) | Cause::Replaced | Cause::Changed | Cause::KeepsFilling => {
                true
            }
            Cause::Io(_) => {
                matches!(self.kind(), Some(io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied))
            }
            Cause::Outside | Cause::Foreign { .. } => false,
        }
    }

    /// Returns whether the name of a new entry is taken.
    pub fn is_taken(&self) -> bool {
        matches!(self.kind(), Some(io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty))
    }

    /// Returns whether a rename failed because it would cross file systems.
    pub fn crosses_file_systems(&self) -> bool {
        self.kind() == Some(io::ErrorKind::CrossesDevices)
    }
}

impl From<&FolderError> for PlaceError {
    fn from(error: &FolderError) -> Self {
        let may_pass = match &error.cause {
            // Another process holds a lease on the file, which ends by the attempt to open it.
            Cause::Io(cause) => may_pass(cause) || cause.kind() == io::ErrorKind::WouldBlock,
            Cause::Changed | Cause::Replaced | Cause::KeepsFilling => true,
            Cause::Diverted | Cause::Outside | Cause::NoFile(_) | Cause::Foreign { .. } => false,
        };
        let (path, reason) = (format!("{:?}", error.path), error.cause.to_string());
        Self::Refused { what: error.action, path, reason, may_pass }
    }
}

impl From<FolderError> for PlaceError {
    fn from(error: FolderError) -> Self {
        Self::from(&error)
    }
}

impl From<FolderError> for io::Error {
    fn from(error: FolderError) -> Self {
        Self::new(error.kind().unwrap_or(io::ErrorKind::Other), error)
    }
}
