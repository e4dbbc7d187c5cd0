//! Moves the files of a claimed folder into new folders, before it is delivered.
//!
//! A folder that was moved stays writable for every process that has it, or a folder in it, open: such a
//! process can replace a file by a link at any time, even long after the delivery. New folders belong to this
//! process only. The files are moved into them by renames, and entries that are neither files nor folders are
//! left out.

use super::shelf::PRIVATE;
use crate::{
    drop_store::parcel::beside_path,
    folder::{Cause, Facts, Folder, FolderError, Kind},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Name of the folder that is being emptied, within the place.
pub const OLD: &str = ".old";
/// Maximum number of times that the folder is searched: another process may create files in it meanwhile.
const ROUNDS: u32 = 64;
/// Number of names that are tried for a file whose name is taken by an earlier one.
const NAMES: u32 = 1000;

/// Moves the files of the folder `name` into new folders of the same names; returns the paths that were left
/// out.
///
/// After a crash, [`finish`] continues.
///
/// # Errors
/// Fails on an error of the file system, or if another process creates files as fast as they are moved.
pub fn rehouse(place: &Folder, name: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let old = place.create_folders(OLD, PRIVATE)?;
    if !old.holds(name) {
        place.rename_new(name, &old, name)?;
    }
    finish(place, name)
}

/// Finishes an interrupted move, if there is one.
///
/// # Errors
/// As [`rehouse`].
pub fn finish(place: &Folder, name: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let old = match place.folder(OLD) {
        Ok(old) => old,
        Err(error) if error.is_not_found() => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut moving = Moving { name, old, new: None, folders: BTreeMap::new(), left_out: vec![] };
    moving.make(place)?;
    place.remove_empty_folder(OLD)?;
    Ok(moving.left_out)
}

struct Moving<'a> {
    name: &'a Path,
    /// The folder with the one that is being emptied.
    old: Folder,
    new: Option<Folder>,
    /// The folders found, with their original metadata.
    folders: BTreeMap<PathBuf, Facts>,
    left_out: Vec<PathBuf>,
}

impl Moving<'_> {
    fn make(&mut self, place: &Folder) -> Result<(), FolderError> {
        for _ in 0..ROUNDS {
            if !self.old.holds(self.name) {
                return self.keep_facts();
            }
            let new = place.create_folders(self.name, PRIVATE)?;
            self.new = Some(new.clone());
            let found = self.empty(&new)?;
            for below in found.iter().rev() {
                match self.old.remove_empty_folder(self.below(below)) {
                    Err(error) if !error.is_taken() && !error.is_gone() => return Err(error),
                    // Something was added meanwhile: the next round finds it.
                    _ => {}
                }
            }
        }
        Err(FolderError::new("empty folder", &self.old.path().join(self.name), Cause::KeepsFilling))
    }

    /// Moves all current files; returns the folders found, each before those in it.
    fn empty(&mut self, new: &Folder) -> Result<Vec<PathBuf>, FolderError> {
        let mut found = vec![];
        let mut waiting = vec![PathBuf::new()];
        while let Some(below) = waiting.pop() {
            let here = match self.old.folder(self.below(&below)) {
                Ok(here) => here,
                Err(error) if error.is_gone() => continue,
                Err(error) => return Err(error),
            };
            let facts = here.own_facts()?;
            self.folders.entry(below.clone()).or_insert(facts);
            let there = new.create_folders(&below, PRIVATE)?;
            for entry in here.entries()? {
                let name = Path::new(&entry.name);
                match entry.kind {
                    Kind::Folder => waiting.push(below.join(name)),
                    Kind::File => self.move_file(&here, &there, name, &below)?,
                    _ => self.leave_out(&here, name, &below)?,
                }
            }
            found.push(below);
        }
        Ok(found)
    }

    /// Moves a file, and checks in the new folder that it is one: it may have been replaced since it was
    /// listed.
    fn move_file(
        &mut self,
        here: &Folder,
        there: &Folder,
        name: &Path,
        below: &Path,
    ) -> Result<(), FolderError> {
        for tries in 0..NAMES {
            let to = beside_path(name, tries);
            match here.rename_new(name, there, &to) {
                Ok(()) => {}
                Err(error) if error.is_taken() => continue,
                // Removed, or replaced by a folder: the next round finds it.
                Err(error) if error.is_gone() => return Ok(()),
                Err(error) => return Err(error),
            }
            return match there.facts(&to)?.kind {
                Kind::File => Ok(()),
                Kind::Folder => there.rename_new(&to, here, beside_path(name, tries + 1)),
                _ => self.leave_out(there, &to, below),
            };
        }
        Err(FolderError::new("move", &here.path().join(name), Cause::KeepsFilling))
    }

    /// Removes a link, a FIFO or a similar entry: it has no content of its own.
    fn leave_out(&mut self, here: &Folder, name: &Path, below: &Path) -> Result<(), FolderError> {
        match here.remove_file(name) {
            Ok(()) => self.left_out.push(below.join(name)),
            Err(error) if error.is_gone() => {}
            // It is a folder now: the next round finds it.
            Err(_) if here.facts(name).is_ok_and(|facts| facts.kind == Kind::Folder) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Gives the new folders the permissions and times of the old ones, the innermost first, so that the
    /// input looks as before.
    fn keep_facts(&self) -> Result<(), FolderError> {
        let Some(new) = &self.new else { return Ok(()) };
        for (below, facts) in self.folders.iter().rev() {
            new.folder(below)?.keep(facts)?;
        }
        Ok(())
    }

    fn below(&self, below: &Path) -> PathBuf {
        match below.as_os_str().is_empty() {
            true => self.name.to_owned(),
            false => self.name.join(below),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::{
            fd::{AsFd, AsRawFd},
            unix::fs::symlink,
        },
        sync::atomic::{AtomicBool, Ordering::Relaxed},
        thread,
    };

    fn desk() -> (tempfile::TempDir, Folder) {
        let outer = tempfile::tempdir().unwrap();
        let place = outer.path().join("place");
        fs::create_dir_all(place.join("a/deep/empty")).unwrap();
        fs::write(place.join("a/one"), "1").unwrap();
        fs::write(place.join("a/deep/two"), "22").unwrap();
        let place = Folder::open(&place).unwrap();
        (outer, place)
    }

    #[test]
    fn files_move_into_new_folders_and_the_input_looks_as_before() {
        let (outer, place) = desk();
        let path = |below: &str| outer.path().join("place/a").join(below);
        let (before, folder) = (place.look("a").unwrap(), place.folder("a/deep").unwrap());
        assert!(rehouse(&place, Path::new("a")).unwrap().is_empty());
        assert_eq!(place.look("a").unwrap(), before);
        assert_eq!(fs::read_to_string(path("deep/two")).unwrap(), "22");
        assert!(path("deep/empty").is_dir());
        assert_eq!(place.entries().unwrap().len(), 1, "nothing is left of the old folder");
        // A process with an open folder of it can no longer change anything.
        assert_ne!(place.folder("a/deep").unwrap().identity().unwrap(), folder.identity().unwrap());
        assert!(folder.create_file("late", 0o600).is_err());
    }

    #[test]
    fn entries_that_are_not_files_are_left_out_and_their_targets_are_not_changed() {
        let (outer, place) = desk();
        let victim = outer.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("kept"), "kept").unwrap();
        symlink(&victim, outer.path().join("place/a/deep/away")).unwrap();
        symlink(victim.join("kept"), outer.path().join("place/a/link")).unwrap();
        let mut left_out = rehouse(&place, Path::new("a")).unwrap();
        left_out.sort();
        assert_eq!(left_out, [Path::new("deep/away"), Path::new("link")]);
        assert_eq!(fs::read_to_string(victim.join("kept")).unwrap(), "kept");
        assert_eq!(place.tree("a").unwrap().files().len(), 2);
    }

    #[test]
    fn an_interrupted_move_is_finished_from_every_step() {
        for step in 0..4 {
            let (outer, place) = desk();
            let path = |below: &str| outer.path().join("place").join(below);
            fs::create_dir(path(".old")).unwrap();
            let move_to = |from: &str, to: &str| fs::rename(path(from), path(to)).unwrap();
            if step > 0 {
                move_to("a", ".old/a");
            }
            if step > 1 {
                fs::create_dir_all(path("a/deep")).unwrap();
                move_to(".old/a/deep/two", "a/deep/two");
            }
            if step > 2 {
                move_to(".old/a/one", "a/one");
                fs::remove_dir_all(path(".old/a")).unwrap();
            }
            finish(&place, Path::new("a")).unwrap();
            let content = |below: &str| fs::read_to_string(path(below)).unwrap();
            assert_eq!((content("a/one"), content("a/deep/two")), ("1".into(), "22".into()), "{step}");
            assert!(!path(".old").exists(), "{step}");
            assert!(finish(&place, Path::new("a")).unwrap().is_empty(), "{step}");
        }
    }

    #[test]
    fn a_move_during_changes_loses_nothing_and_moves_no_link() {
        let (outer, place) = desk();
        fs::create_dir(outer.path().join("outside")).unwrap();
        fs::write(outer.path().join("outside/secret"), "secret").unwrap();
        let (folder, over) = (place.folder("a").unwrap(), AtomicBool::new(false));
        let written = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = 0;
                let own = PathBuf::from(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd()));
                // As long as the folder exists, through its handle.
                for number in 0.. {
                    let name = format!("late{number}");
                    let target = outer.path().join("outside/secret");
                    let _ = symlink(&target, own.join(format!("link{number}")));
                    let is_new = folder.create_file(&name, 0o600).is_ok();
                    written += u32::from(is_new);
                    if over.load(Relaxed) || !is_new {
                        break;
                    }
                }
                written
            });
            let moved = rehouse(&place, Path::new("a"));
            over.store(true, Relaxed);
            let written = writer.join().unwrap();
            if moved.is_err() {
                // Files were added faster than they were moved; now no more are added.
                finish(&place, Path::new("a")).unwrap();
            }
            written
        });
        let tree = place.tree("a").unwrap();
        assert_eq!(tree.files().len() as u32, written + 2);
        assert_eq!(fs::read_to_string(outer.path().join("outside/secret")).unwrap(), "secret");
    }
}
