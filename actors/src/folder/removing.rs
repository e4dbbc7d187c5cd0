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

/// Times that a folder is emptied before its removal fails: entries may appear in it meanwhile.
const ROUNDS: u32 = 64;

impl Folder {
    /// Removes an entry that is no folder. A link is removed, what it leads to stays.
    ///
    /// # Errors
    /// When there is no such entry, when it is a folder, or when the file system refuses.
    pub fn remove_file(&self, relative: impl AsRef<Path>) -> Result<(), FolderError> {
        self.at("remove", relative.as_ref(), |place| unlinkat(&place.folder, place.name, AtFlags::empty()))
    }

    /// Removes a folder that is empty.
    ///
    /// # Errors
    /// When there is no such folder, when something is in it, or when the file system refuses.
    pub fn remove_empty_folder(&self, relative: impl AsRef<Path>) -> Result<(), FolderError> {
        self.at("remove folder", relative.as_ref(), |place| {
            unlinkat(&place.folder, place.name, AtFlags::REMOVEDIR)
        })
    }

    /// Removes whatever has this name, a folder with everything in it; returns whether something had.
    ///
    /// # Errors
    /// When the file system refuses, or when another process creates files as fast as they are removed.
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

    /// Removes a folder with everything in it: by paths from its own handle, so that neither links nor the depth of the
    /// tree matter, and with one open folder at a time.
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

    /// Removes what is no folder from a folder below, and returns the paths of the folders in it.
    fn empty(&self, below: &Path) -> Result<Vec<PathBuf>, FolderError> {
        let here = match self.folder(below) {
            Ok(here) => here,
            Err(error) if error.is_gone() => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        if here.own_facts()?.mode & 0o300 != 0o300 {
            // The owner of a folder may make it writable again. If it belongs to another user, the removal says so.
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
                // A folder took its place since it was listed.
                Err(Errno::ISDIR) => folders.push(below.join(name)),
                Err(error) => return Err(here.error("remove", name, error)),
            }
        }
        Ok(folders)
    }
}
