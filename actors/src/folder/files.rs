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
    /// Opens a plain file for reading, and returns the facts about the file that was opened.
    ///
    /// It neither waits for the other end of a FIFO nor opens a device.
    ///
    /// # Errors
    /// When there is no file, when it is no plain file, when a part of its path is a link, or when this process may not
    /// read it.
    pub fn open_file(&self, relative: impl AsRef<Path>) -> Result<(File, Facts), FolderError> {
        self.open_if(relative.as_ref(), |_| true)
    }

    /// Opens the very file that was found before under this path, if it is still there.
    ///
    /// # Errors
    /// As [`Folder::open_file`]; and when another file took its place.
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
    /// As [`Folder::open_file`]. Of a file that is longer than `longest` bytes the rest is left out.
    pub fn read(&self, relative: impl AsRef<Path>, longest: u64) -> Result<Vec<u8>, FolderError> {
        let relative = relative.as_ref();
        let (file, _) = self.open_file(relative)?;
        let mut bytes = vec![];
        let read = file.take(longest).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| self.error("read", relative, error))
    }

    /// Creates a file and opens it for writing.
    ///
    /// The umask takes bits away from `mode`, as for every new file.
    ///
    /// # Errors
    /// When something of that name exists, a link included, or the file system refuses.
    pub fn create_file(&self, relative: impl AsRef<Path>, mode: u32) -> Result<File, FolderError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = self.at("create file", relative.as_ref(), |place| {
            openat(&place.folder, place.name, flags, Mode::from_raw_mode(mode))
        });
        created.map(File::from)
    }

    /// Creates a file with a content and makes the content durable. Its name is durable once the folder is synced.
    ///
    /// # Errors
    /// As [`Folder::create_file`]. A file whose content could not be written is removed.
    pub fn write_new(&self, relative: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<(), FolderError> {
        let relative = relative.as_ref();
        let mut file = self.create_file(relative, mode)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
            // The first error is the one that says what is wrong.
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

/// Opens a plain file. Checked first, so that no device is opened; checked again, as it may have been replaced between
/// the two: without a link to follow and without waiting, to open the wrong entry does nothing.
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
