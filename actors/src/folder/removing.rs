//! Removes entries below an open folder.

use super::{
    Folder,
    error::{Cause, FolderError},
    facts::Kind,
};
use rustix::{
    fs::{AtFlags, Mode, fchmod, unlinkat},
    io::Errno,
};
use std::path::{Path, PathBuf};

/// Maximum number of times that a folder is emptied: entries may be added meanwhile.
const ROUNDS: u32 = 64;

impl Folder {
    /// Removes an entry that is not a folder. A link is removed, its target stays.
    ///
    /// # Errors
    /// Fails if there is no such entry, it is a folder, or on an error of the file system.
    pub fn remove_file(&self, relative: impl AsRef<Path>) -> Result<(), FolderError> {
        self.at("remove", relative.as_ref(), |place| unlinkat(&place.folder, place.name, AtFlags::empty()))
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// Fails if it does not exist, it is not empty, or on an error of the file system.
    pub fn remove_empty_folder(&self, relative: impl AsRef<Path>) -> Result<(), FolderError> {
        self.at("remove folder", relative.as_ref(), |place| {
            unlinkat(&place.folder, place.name, AtFlags::REMOVEDIR)
        })
    }

    /// Removes an entry of any kind, a folder with its content; returns whether there was one.
    ///
    /// # Errors
    /// Fails on an error of the file system, or if another process creates files as fast as they are removed.
    pub fn remove(&self, relative: impl AsRef<Path>) -> Result<bool, FolderError> {
        let relative = relative.as_ref();
        match self.facts(relative) {
            Ok(facts) if facts.kind == Kind::Folder => self.remove_tree(relative),
            Ok(_) => self.remove_file(relative),
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        }?;
        Ok(true)
    }

    /// Removes a folder with its content, by paths relative to its own handle: neither links nor the depth of
    /// the tree matter, and only one folder is open at a time.
    fn remove_tree(&self, relative: &Path) -> Result<(), FolderError> {
        let top = self.folder(relative)?;
        let mut waiting = vec![(PathBuf::new(), 0)];
        while let Some((below, visits)) = waiting.last_mut() {
            let is_top = below.as_os_str().is_empty();
            let removed = match is_top {
                true => self.remove_empty_folder(relative),
                false => top.remove_empty_folder(&below),
            };
            match removed {
                Err(error) if error.is_taken() => {
                    if *visits > ROUNDS {
                        return Err(self.error("remove folder", relative, Cause::KeepsFilling));
                    }
                    *visits += 1;
                    let more = top.empty(below)?;
                    waiting.extend(more.into_iter().map(|below| (below, 0)));
                }
                // Moved away, or replaced by something that the next visit to its parent removes.
                Err(error) if !is_top && !error.is_gone() => return Err(error),
                Err(error) if is_top && !error.is_not_found() => return Err(error),
                _ => {
                    waiting.pop();
                }
            }
        }
        Ok(())
    }

    /// Removes everything except folders from a folder, and returns the paths of its folders.
    fn empty(&self, below: &Path) -> Result<Vec<PathBuf>, FolderError> {
        let here = match self.folder(below) {
            Ok(here) => here,
            Err(error) if error.is_gone() => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        if here.own_facts()?.mode & 0o300 != 0o300 {
            // The owner of a folder can make it writable again. If it belongs to another user, the removal
            // reports that.
            let _ = fchmod(&here.handle, Mode::RWXU);
        }
        let mut folders = vec![];
        for entry in here.entries()? {
            let name = Path::new(&entry.name);
            if entry.kind == Kind::Folder {
                folders.push(below.join(name));
                continue;
            }
            match unlinkat(&here.handle, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // A folder replaced it since it was listed.
                Err(Errno::ISDIR) => folders.push(below.join(name)),
                Err(error) => return Err(here.error("remove", name, error)),
            }
        }
        Ok(folders)
    }
}
