//! Opens and creates files below an open folder.

use super::{
    Folder, Place,
    error::{Cause, FolderError},
    facts::{Facts, Identity, Kind},
};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, OFlags, fstat, openat, statat},
};
use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

impl Folder {
    /// Opens a regular file for reading, and returns the metadata of the opened file.
    ///
    /// Neither waits for the other end of a FIFO nor opens a device.
    ///
    /// # Errors
    /// Fails if it does not exist, is not a regular file, a part of its path is a link, or this process may
    /// not read it.
    pub fn open_file(&self, relative: impl AsRef<Path>) -> Result<(File, Facts), FolderError> {
        self.open_if(relative.as_ref(), |_| true)
    }

    /// Opens exactly the file that was found before under this path, if it is still there.
    ///
    /// # Errors
    /// As [`Folder::open_file`]; and if another file replaced it.
    pub fn open_same(
        &self,
        relative: impl AsRef<Path>,
        expected: Identity,
    ) -> Result<(File, Facts), FolderError> {
        self.open_if(relative.as_ref(), |facts| facts.identity == expected)
    }

    /// Reads a short file.
    ///
    /// # Errors
    /// As [`Folder::open_file`]. Of a longer file, only the first `longest` bytes are returned.
    pub fn read(&self, relative: impl AsRef<Path>, longest: u64) -> Result<Vec<u8>, FolderError> {
        let relative = relative.as_ref();
        let (file, _) = self.open_file(relative)?;
        let mut bytes = vec![];
        let read = file.take(longest).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| self.error("read", relative, error))
    }

    /// Creates a file and opens it for writing.
    ///
    /// The umask removes bits from `mode`, as for every new file.
    ///
    /// # Errors
    /// Fails if an entry of that name exists, even a link, or on an error of the file system.
    pub fn create_file(&self, relative: impl AsRef<Path>, mode: u32) -> Result<File, FolderError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = self.at("create file", relative.as_ref(), |place| {
            openat(&place.folder, place.name, flags, Mode::from_raw_mode(mode))
        });
        created.map(File::from)
    }

    /// Creates a file with a content and makes the content durable. Its name is durable after a sync of the
    /// folder.
    ///
    /// # Errors
    /// As [`Folder::create_file`]. A file whose content could not be written is removed.
    pub fn write_new(&self, relative: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<(), FolderError> {
        let relative = relative.as_ref();
        let mut file = self.create_file(relative, mode)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
            // The first error is the relevant one.
            let _ = self.remove_file(relative);
            self.error("write", relative, error)
        })
    }

    pub(super) fn open_if(
        &self,
        relative: &Path,
        is_expected: impl Fn(&Facts) -> bool,
    ) -> Result<(File, Facts), FolderError> {
        let opened = self.place(relative).and_then(|place| open_plain(&place, is_expected));
        opened.map_err(|cause| self.error("open", relative, cause))
    }
}

/// Opens a regular file. It is checked before, so that no device is opened, and after, because it may have
/// been replaced: opening does not follow links and does not wait, so opening a wrong entry has no effect.
fn open_plain(place: &Place<'_>, is_expected: impl Fn(&Facts) -> bool) -> Result<(File, Facts), Cause> {
    let found = Facts::of(&statat(&place.folder, place.name, AtFlags::SYMLINK_NOFOLLOW)?);
    if found.kind != Kind::File {
        return Err(Cause::NoFile(found.kind));
    }
    if !is_expected(&found) {
        return Err(Cause::Replaced);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let handle: OwnedFd = openat(&place.folder, place.name, flags, Mode::empty())?;
    let opened = Facts::of(&fstat(&handle)?);
    match opened.identity == found.identity && opened.kind == Kind::File {
        true => Ok((handle.into(), opened)),
        false => Err(Cause::Replaced),
    }
}
