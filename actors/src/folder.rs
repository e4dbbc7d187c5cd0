//! An open folder, and operations below it that follow no symbolic link and never leave it.
//!
//! Other users may write to a drop folder at any time: they can replace a folder by a link, move it, or
//! continue to write to it after it was claimed. A path that was checked can lead to another file when it is
//! used. A [`Folder`] therefore holds a handle, each path is relative to it, and no part of a path may be a
//! link.
//!
//! A handle follows its folder: when the folder is moved, operations continue in the moved one. Only the path
//! that the user configured, which [`Folder::open`] takes, may contain links.

mod configured;
mod copying;
mod error;
mod facts;
mod files;
mod lookup;
mod moving;
mod removing;
mod tree;

#[cfg(test)]
mod tests;

pub use configured::ConfiguredFolder;
pub use error::{Cause, FolderError};
pub use facts::{Entry, Facts, Identity, Kind};
pub use tree::{Tree, TreeError, TreeFile};

use lookup::{For, Lookup, open_beneath, segments};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Access, AtFlags, CWD, Dir, Mode, OFlags, accessat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An open folder. A clone shares the handle.
#[derive(Debug, Clone)]
pub struct Folder {
    handle: Arc<OwnedFd>,
    /// The path at which it was opened, for messages only.
    path: PathBuf,
    lookup: Lookup,
}

/// The folder that contains an entry, and the name of the entry in it.
struct Place<'a> {
    folder: Parent<'a>,
    name: &'a OsStr,
}

enum Parent<'a> {
    Here(&'a OwnedFd),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Here(handle) => handle.as_fd(),
            Self::Below(handle) => handle.as_fd(),
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Folder {
    /// Opens the folder at a path that the user configured. Links in this path are followed.
    ///
    /// # Errors
    /// Fails if it is not a folder, or this process may not read it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|error| FolderError::new("open folder", path, error))?;
        Ok(Self { handle: Arc::new(handle), path: path.to_owned(), lookup: Lookup::Kernel })
    }

    /// Opens a folder below this one; an empty path opens this one again.
    ///
    /// # Errors
    /// Fails if it is not a folder, a part of the path is a link, or this process may not read the folder.
    pub fn folder(&self, relative: impl AsRef<Path>) -> Result<Self, FolderError> {
        let relative = relative.as_ref();
        let handle = segments(relative)
            .and_then(|parts| Ok(open_beneath(self.handle.as_fd(), &parts, For::Reading, self.lookup)?))
            .map_err(|cause| self.error("open folder", relative, cause))?;
        Ok(self.below(relative, handle))
    }

    /// Creates a folder; its parent must exist.
    ///
    /// The umask removes bits from `mode`, as for every new file.
    ///
    /// # Errors
    /// Fails if an entry of that name exists, or on an error of the file system.
    pub fn create_folder(&self, relative: impl AsRef<Path>, mode: u32) -> Result<Self, FolderError> {
        let relative = relative.as_ref();
        self.at("create folder", relative, |place| {
            rustix::fs::mkdirat(&place.folder, place.name, Mode::from_raw_mode(mode))
        })?;
        self.folder(relative)
    }

    /// Creates each missing folder of a path and opens the last.
    ///
    /// # Errors
    /// Fails if a part of the path is not a folder, or on an error of the file system.
    pub fn create_folders(&self, relative: impl AsRef<Path>, mode: u32) -> Result<Self, FolderError> {
        let relative = relative.as_ref();
        let fail = |cause: Cause| self.error("create folder", relative, cause);
        let parts = segments(relative).map_err(fail)?;
        let Some((last, above)) = parts.split_last() else { return self.folder(relative) };
        let make = |at: BorrowedFd<'_>, part: &OsStr, purpose| match rustix::fs::mkdirat(
            at,
            part,
            Mode::from_raw_mode(mode),
        ) {
            Ok(()) | Err(Errno::EXIST) => open_beneath(at, &[part], purpose, self.lookup),
            Err(error) => Err(error),
        };
        let mut parent = Parent::Here(&self.handle);
        for part in above {
            let next = make(parent.as_fd(), part, For::Passing).map_err(|error| fail(error.into()))?;
            parent = Parent::Below(next);
        }
        let handle = make(parent.as_fd(), last, For::Reading).map_err(|error| fail(error.into()))?;
        Ok(self.below(relative, handle))
    }

    /// Returns the path at which the folder was opened. It is for messages: the folder may have been moved since.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the identity of this folder, which is independent of its path.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn identity(&self) -> Result<Identity, FolderError> {
        self.own_facts().map(|facts| facts.identity)
    }

    /// Returns the metadata of the folder itself.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn own_facts(&self) -> Result<Facts, FolderError> {
        let stat = rustix::fs::fstat(&self.handle);
        stat.map(|stat| Facts::of(&stat)).map_err(|error| FolderError::new("check", &self.path, error))
    }

    /// Returns the metadata of an entry; for a link, those of the link itself, never of its target.
    ///
    /// # Errors
    /// Fails if there is no entry, a part of its path is a link, or on an error of the file system.
    pub fn facts(&self, relative: impl AsRef<Path>) -> Result<Facts, FolderError> {
        let stat = self.at("check", relative.as_ref(), |place| {
            rustix::fs::statat(&place.folder, place.name, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        Ok(Facts::of(&stat))
    }

    /// Returns whether an entry of any kind exists, even a dangling link.
    pub fn holds(&self, relative: impl AsRef<Path>) -> bool {
        self.facts(relative).is_ok()
    }

    /// Returns whether this process may read an entry; never checks the target of a link.
    ///
    /// The result applies to this moment. The entry is not opened for this: in a watched folder, each opening
    /// would cause a notification, and that the next check.
    pub fn is_readable(&self, relative: impl AsRef<Path>) -> bool {
        self.allows(relative.as_ref(), Access::READ_OK)
    }

    /// Returns whether this process may list a folder and rename and remove its entries. An empty path is
    /// this folder.
    pub fn is_changeable(&self, relative: impl AsRef<Path>) -> bool {
        self.allows(relative.as_ref(), Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
    }

    fn allows(&self, relative: &Path, access: Access) -> bool {
        let ask = |folder: BorrowedFd<'_>, name: &OsStr| {
            let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
            match accessat(folder, name, access, flags) {
                // A kernel before 5.8 follows links here: a link that replaced the entry after the check only
                // changes the result.
                Err(Errno::NOSYS | Errno::PERM) => accessat(folder, name, access, AtFlags::EACCESS),
                outcome => outcome,
            }
        };
        match relative.as_os_str().is_empty() {
            true => ask(self.handle.as_fd(), OsStr::new(".")).is_ok(),
            false => self.at("check", relative, |place| ask(place.folder.as_fd(), place.name)).is_ok(),
        }
    }

    /// Returns the entries of this folder, in the order of the file system.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn entries(&self) -> Result<Vec<Entry>, FolderError> {
        let fail = |error| FolderError::new("list", &self.path, error);
        let mut found = vec![];
        for entry in Dir::read_from(&self.handle).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match Kind::of(entry.file_type()) {
                Some(kind) => kind,
                // Some file systems do not report the kind.
                None => match self.facts(name) {
                    Ok(facts) => facts.kind,
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                },
            };
            found.push(Entry { name: name.to_owned(), kind });
        }
        Ok(found)
    }

    /// Returns the free bytes for this process on the folder's file system.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn free_bytes(&self) -> Result<u64, FolderError> {
        let facts = rustix::fs::fstatvfs(&self.handle)
            .map_err(|error| FolderError::new("find the free space of", &self.path, error))?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    /// Makes the names in this folder durable.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn sync(&self) -> Result<(), FolderError> {
        rustix::fs::fsync(&self.handle).map_err(|error| FolderError::new("sync", &self.path, error))
    }

    /// Makes the names in the folder of an entry durable.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn sync_parent_of(&self, relative: impl AsRef<Path>) -> Result<(), FolderError> {
        match relative.as_ref().parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.folder(parent)?.sync(),
            _ => self.sync(),
        }
    }

    /// Runs an operation on an entry: finds its parent first, each part of the path without following a link.
    fn at<T>(
        &self,
        action: &'static str,
        relative: &Path,
        act: impl FnOnce(&Place<'_>) -> Result<T, Errno>,
    ) -> Result<T, FolderError> {
        let done = self.place(relative).and_then(|place| Ok(act(&place)?));
        done.map_err(|cause| self.error(action, relative, cause))
    }

    fn place<'a>(&'a self, relative: &'a Path) -> Result<Place<'a>, Cause> {
        let parts = segments(relative)?;
        let (name, above) = parts.split_last().ok_or(Cause::Outside)?;
        let folder = match above {
            [] => Parent::Here(&self.handle),
            _ => Parent::Below(open_beneath(self.handle.as_fd(), above, For::Passing, self.lookup)?),
        };
        Ok(Place { folder, name })
    }

    fn below(&self, relative: &Path, handle: OwnedFd) -> Self {
        let path = join(&self.path, relative);
        Self { handle: Arc::new(handle), path, lookup: self.lookup }
    }

    fn error(&self, action: &'static str, relative: &Path, cause: impl Into<Cause>) -> FolderError {
        FolderError::new(action, &join(&self.path, relative), cause)
    }

    /// Returns the error of an operation that would replace an entry.
    pub(crate) fn taken(&self, name: &Path) -> FolderError {
        self.error("create", name, Errno::EXIST)
    }

    /// Returns the error of an operation whose entry was replaced by another process.
    pub(crate) fn replaced(&self, name: &Path) -> FolderError {
        self.error("use", name, Cause::Replaced)
    }

    /// Opens a folder whose paths are looked up part by part, as on a kernel without `openat2`.
    #[cfg(test)]
    fn open_walking(path: &Path) -> Result<Self, FolderError> {
        Ok(Self { lookup: Lookup::Walk, ..Self::open(path)? })
    }
}

/// Joins paths; unlike `Path::join`, it accepts no absolute path, and adds no `/` for an empty one.
fn join(path: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() {
        return path.to_owned();
    }
    let mut whole = OsString::from(path);
    if path.as_os_str().as_bytes().last() != Some(&b'/') {
        whole.push("/");
    }
    whole.push(relative);
    whole.into()
}
