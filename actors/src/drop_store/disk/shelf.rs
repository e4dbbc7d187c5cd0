//! Moves inputs from the drop folder to the work folder, with one rename. Inputs on another file system are
//! first copied beside their place.
//!
//! Other users may write to the drop folder at any time. Everything in it is accessed through a handle of the
//! folder that contains the input. A rename moves the entry that has the name at that moment, so the entry is
//! checked afterwards, in a folder that only this process can write to.

use super::kept::kept;
use crate::{
    drop_store::{NotTaken, Take, parcel::beside_path},
    folder::{Folder, FolderError, Kind, TreeError},
    place::{PlaceError, beside},
};
use dropmill_lifecycle::arrival::FileSnapshot;
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

pub use crate::drop_store::rules::COMING;

/// Permissions of the folders in the work folder.
pub const PRIVATE: u32 = 0o700;
/// Number of names that are tried for an input that is moved back while another entry has its name.
const NAMES: u32 = 1000;

/// An input that is moved from its folder to the folder of its place.
struct Move<'a> {
    parent: Folder,
    name: &'a Path,
    place: Folder,
    look: &'a FileSnapshot,
}

/// Moves an input from the drop folder to its place, if its metadata are unchanged.
pub fn take(directory: &Folder, work: &Folder, take: &Take) -> Result<(), NotTaken> {
    let Take { relative, place, look, marker, .. } = take;
    let (parent, name) = match parent_of(directory, relative) {
        Ok(found) => found,
        Err(error) if error.is_gone() => return Err(NotTaken::Gone),
        Err(error) => return Err(refused(error)),
    };
    match parent.look(name) {
        Ok(now) if now == *look => {}
        Ok(_) => return Err(NotTaken::Changed),
        Err(error) if error.is_gone() => return Err(NotTaken::Gone),
        // A link or similar entry was added since the check; the next check reports it.
        Err(TreeError::NoInput { .. }) => return Err(NotTaken::Changed),
        Err(TreeError::Folder(error)) => return Err(refused(error)),
    }
    let place = work.create_folders(place, PRIVATE).map_err(refused)?;
    if let Some(marker) = marker.as_ref().and_then(|marker| marker.file_name()) {
        // Before the file: a remaining marker would declare the next file of that name complete.
        match parent.remove_file(marker) {
            Err(error) if !error.is_not_found() => return Err(refused(error)),
            _ => {}
        }
    }
    Move { parent, name, place, look }.make()
}

impl Move<'_> {
    fn make(&self) -> Result<(), NotTaken> {
        match self.parent.rename_new(self.name, &self.place, self.name) {
            Ok(()) if self.is_as_it_was(&self.place, self.name) => Ok(()),
            Ok(()) => Err(self.give_back(&self.place, self.name)),
            Err(error) if error.crosses_file_systems() => self.make_across(),
            Err(error) if error.is_not_found() => Err(NotTaken::Gone),
            Err(error) => Err(refused(error)),
        }
    }

    /// A copy does not exclude other processes: so the input is first renamed in its folder.
    fn make_across(&self) -> Result<(), NotTaken> {
        let held = held(self.place.path());
        match self.parent.rename_new(self.name, &self.parent, &held) {
            Ok(()) if self.is_as_it_was(&self.parent, &held) => {}
            Ok(()) => return Err(self.give_back(&self.parent, &held)),
            Err(error) if error.is_not_found() => return Err(NotTaken::Gone),
            Err(error) => return Err(refused(error)),
        }
        match bring(&self.parent, &held, &self.place, self.name) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.give_back(&self.parent, &held)),
            Err(error) => Err(refused(error)),
        }
    }

    fn is_as_it_was(&self, folder: &Folder, name: &Path) -> bool {
        folder.look(name).is_ok_and(|now| now == *self.look)
    }

    /// Moves an entry that is not the checked one back to its folder.
    fn give_back(&self, from: &Folder, name: &Path) -> NotTaken {
        match give_back(from, name, &self.parent, self.name) {
            Ok(()) => NotTaken::Changed,
            Err(error) => NotTaken::Refused(error),
        }
    }
}

/// Moves an entry back to the drop folder, under another name if its name is taken.
fn give_back(from: &Folder, name: &Path, parent: &Folder, wanted: &Path) -> Result<(), PlaceError> {
    let is_folder = from.facts(name).is_ok_and(|facts| facts.kind == Kind::Folder);
    for tries in 0..NAMES {
        match from.rename_new(name, parent, another(wanted, tries, is_folder)) {
            Err(error) if error.is_taken() => {}
            outcome => return Ok(outcome?),
        }
    }
    Err(PlaceError::Taken { path: parent.path().join(wanted).display().to_string() })
}

/// Returns another name with the same extension, so that patterns for names match both.
fn another(name: &Path, tries: u32, is_folder: bool) -> PathBuf {
    match name.to_str() {
        Some(text) => beside(text, tries, is_folder).into(),
        None => beside_path(name, tries),
    }
}

fn refused(error: FolderError) -> NotTaken {
    NotTaken::Refused(error.into())
}

/// Opens the folder of an input, and returns the name of the input in it.
pub fn parent_of<'a>(directory: &Folder, relative: &'a Path) -> Result<(Folder, &'a Path), FolderError> {
    let parent = directory.folder(relative.parent().unwrap_or(Path::new("")))?;
    Ok((parent, Path::new(relative.file_name().unwrap_or_default())))
}

/// Returns the name of an input while it is copied to another file system: the name of the folder that it is
/// moved to, which no other input has.
fn held(place: &Path) -> PathBuf {
    let mut name = OsString::from(".dropmill-");
    name.push(place.file_name().unwrap_or(OsStr::new("input")));
    name.into()
}

/// Copies a held input to its place on another file system; returns whether it is a complete input. Continues
/// what an interrupted process did.
fn bring(parent: &Folder, held: &Path, place: &Folder, name: &Path) -> Result<bool, FolderError> {
    let (Ok(before), Ok(facts)) = (parent.look(held), parent.facts(held)) else { return Ok(false) };
    if !place.holds(name) {
        place.remove(COMING)?;
        match parent.copy(held, place, COMING) {
            // Each file of a folder was copied completely, but perhaps not all in the state of one moment.
            Ok(_) if parent.look(held).is_ok_and(|after| after == before) => {}
            Err(error) if !error.shows_another_process() => return Err(error),
            Ok(_) | Err(_) => {
                place.remove(COMING)?;
                return Ok(false);
            }
        }
        place.rename_new(COMING, place, name)?;
        place.sync()?;
    }
    // A writer may still have it open: it is kept until the result is delivered. Another user may have given
    // its name to another entry.
    if parent.facts(held).is_ok_and(|now| now.identity == facts.identity) {
        parent.rename_new(held, parent, kept(place.path()))?;
    }
    Ok(true)
}

/// Continues to claim an input that an interrupted process was copying to another file system. An entry that
/// is no longer an input is moved back. Returns whether there was one.
///
/// # Errors
/// Fails on an error of the file system.
pub fn go_on_taking(
    directory: &Folder,
    relative: &Path,
    work: &Folder,
    place: &str,
) -> Result<bool, PlaceError> {
    // If its folder is not accessible, another user may have caused that, which must not prevent the start.
    let Ok((parent, name)) = parent_of(directory, relative) else { return Ok(false) };
    let held = held(Path::new(place));
    if !parent.holds(&held) {
        return Ok(false);
    }
    let brought = bring(&parent, &held, &work.create_folders(place, PRIVATE)?, name)?;
    if !brought {
        give_back(&parent, &held, &parent, name)?;
    }
    Ok(brought)
}

/// Returns a folder on another file system than the temporary folder, if there is one.
#[cfg(test)]
pub(super) fn elsewhere() -> Option<tempfile::TempDir> {
    use std::{fs, os::unix::fs::MetadataExt};
    let here = fs::metadata(std::env::temp_dir()).ok()?.dev();
    let there = fs::metadata("/dev/shm").ok()?.dev();
    if here == there {
        eprintln!("not tested: /dev/shm and the temporary folder are on one file system");
        return None;
    }
    tempfile::tempdir_in("/dev/shm").ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Desk {
        drop: tempfile::TempDir,
        work: tempfile::TempDir,
    }

    impl Desk {
        fn new(work: tempfile::TempDir) -> Self {
            Self { drop: tempfile::tempdir().unwrap(), work }
        }

        fn folders(&self) -> (Folder, Folder) {
            (Folder::open(self.drop.path()).unwrap(), Folder::open(self.work.path()).unwrap())
        }

        fn drop(&self, below: &str) -> PathBuf {
            self.drop.path().join(below)
        }

        fn work(&self, below: &str) -> PathBuf {
            self.work.path().join(below)
        }

        fn look(&self, name: &str) -> FileSnapshot {
            self.folders().0.look(name).unwrap()
        }

        /// Claims an input into the place `r/t`.
        fn take(&self, name: &str, look: FileSnapshot, marker: Option<&str>) -> Result<(), NotTaken> {
            let (drop, work) = self.folders();
            let (relative, marker) = (name.into(), marker.map(PathBuf::from));
            take(&drop, &work, &Take { id: 0, relative, place: "r/t".into(), look, marker, hash: false })
        }

        fn go_on(&self, name: &str) -> bool {
            let (drop, work) = self.folders();
            go_on_taking(&drop, Path::new(name), &work, "r/t").unwrap()
        }

        fn drop_names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.drop.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_folder_is_claimed_completely_and_only_if_unchanged() {
        let desk = Desk::new(tempfile::tempdir().unwrap());
        fs::create_dir_all(desk.drop("a/deep")).unwrap();
        fs::write(desk.drop("a/deep/x"), "1").unwrap();
        let seen = desk.look("a");
        fs::write(desk.drop("a/deep/y"), "2").unwrap();
        assert!(matches!(desk.take("a", seen, None), Err(NotTaken::Changed)));
        desk.take("a", desk.look("a"), None).unwrap();
        assert_eq!(fs::read_to_string(desk.work("r/t/a/deep/y")).unwrap(), "2");
        assert!(!desk.drop("a").exists());
    }

    #[test]
    fn an_input_is_copied_to_another_file_system_once_even_after_an_interruption() {
        for kind in ["file", "folder"] {
            let Some(other) = elsewhere() else { return };
            let desk = Desk::new(other);
            let make = || match kind {
                "file" => fs::write(desk.drop(kind), "1").unwrap(),
                _ => {
                    fs::create_dir_all(desk.drop("folder/deep")).unwrap();
                    fs::write(desk.drop("folder/deep/x"), "1").unwrap();
                }
            };
            let (to, holds) = (desk.work("r/t").join(kind), desk.drop(".dropmill-t"));
            let original = desk.drop(".dropmill-kept-t");
            let whole = || match kind {
                "file" => fs::read_to_string(&to).unwrap() == "1",
                _ => fs::read_to_string(to.join("deep/x")).unwrap() == "1",
            };
            make();
            let seen = desk.look(kind);
            let more = if kind == "file" { desk.drop(kind) } else { desk.drop("folder/more") };
            fs::write(more, "written to").unwrap();
            assert!(matches!(desk.take(kind, seen, None), Err(NotTaken::Changed)));
            assert!(desk.drop(kind).exists() && !to.exists());
            make();
            let _ = fs::remove_file(desk.drop("folder/more"));
            let seen = desk.look(kind);
            desk.take(kind, seen, None).unwrap();
            assert!(whole() && !desk.drop(kind).exists());
            assert!(matches!(desk.take(kind, seen, None), Err(NotTaken::Gone)));
            assert!(!desk.go_on(kind), "nothing was left half done");
            assert!(original.exists(), "it is kept until its result is delivered");
            // Interrupted before the copy, during it, and after it.
            let (drop, work) = desk.folders();
            for cut in 0..3 {
                work.remove(Path::new("r/t").join(kind)).unwrap();
                drop.remove(".dropmill-kept-t").unwrap();
                make();
                fs::rename(desk.drop(kind), &holds).unwrap();
                match cut {
                    0 => {}
                    1 => fs::write(to.with_file_name(COMING), "torn").unwrap(),
                    _ => drop.copy(".dropmill-t", &work, Path::new("r/t").join(kind)).map(|_| ()).unwrap(),
                }
                assert!(desk.go_on(kind));
                assert!(whole() && !desk.drop(kind).exists() && !holds.exists(), "{kind} {cut}");
                assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1, "{kind} {cut}");
            }
            // Another user may create an entry with the name of an interrupted copy.
            work.remove(Path::new("r/t").join(kind)).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", &holds).unwrap();
            assert!(!desk.go_on(kind) && !to.exists() && !holds.exists());
            assert!(fs::symlink_metadata(desk.drop(kind)).unwrap().is_symlink(), "it is left under the name");
        }
    }

    #[test]
    fn a_file_is_claimed_once_and_only_if_unchanged() {
        let desk = Desk::new(tempfile::tempdir().unwrap());
        fs::write(desk.drop("a"), "1").unwrap();
        let seen = desk.look("a");
        fs::write(desk.drop("a"), "12").unwrap();
        assert!(matches!(desk.take("a", seen, None), Err(NotTaken::Changed)));
        assert_eq!(fs::read_to_string(desk.drop("a")).unwrap(), "12");
        let seen = desk.look("a");
        fs::write(desk.drop("a.done"), "").unwrap();
        desk.take("a", seen, Some("a.done")).unwrap();
        assert_eq!(fs::read_to_string(desk.work("r/t/a")).unwrap(), "12");
        assert!(desk.drop_names().is_empty());
        assert!(matches!(desk.take("a", seen, None), Err(NotTaken::Gone)));
    }

    #[test]
    fn a_wrongly_moved_entry_is_moved_back_even_if_its_name_is_taken() {
        let desk = Desk::new(tempfile::tempdir().unwrap());
        let (drop, work) = desk.folders();
        let place = work.create_folders("r/t", PRIVATE).unwrap();
        fs::write(desk.drop("a.txt"), "1").unwrap();
        let look = desk.look("a.txt");
        let make = || {
            Move { parent: drop.clone(), name: Path::new("a.txt"), place: place.clone(), look: &look }.make()
        };
        fs::remove_file(desk.drop("a.txt")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", desk.drop("a.txt")).unwrap();
        assert!(matches!(make(), Err(NotTaken::Changed)));
        assert!(fs::symlink_metadata(desk.drop("a.txt")).unwrap().is_symlink());
        // As if another file had got the name between the two renames.
        fs::write(desk.work("r/t/moved"), "other").unwrap();
        give_back(&place, Path::new("moved"), &drop, Path::new("a.txt")).unwrap();
        assert_eq!(desk.drop_names(), ["a.txt", "a~2.txt"]);
        assert_eq!(fs::read_dir(desk.work("r/t")).unwrap().count(), 0);
    }
}
