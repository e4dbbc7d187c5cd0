//! Takes inputs from the drop folder into the work folder, by one rename. Inputs that cross file systems are copied beside
//! their place first.

use super::scan::look_at;
use crate::{
    drop_store::NotTaken,
    place::{PlaceError, refused, rename_new, sync},
};
use dropmill_lifecycle::arrival::Look;
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

/// Where a copy from another file system grows.
pub const COMING: &str = ".coming";
/// Moves a file from the drop folder into a folder of its own; only if it still looks as it did.
pub fn take(from: &Path, to: &Path, look: &Look, marker: Option<&Path>) -> Result<(), NotTaken> {
    let refuse = |what, path: &Path, error: &io::Error| NotTaken::Refused(refused(what, path, error));
    match look_at(from) {
        Ok(now) if now == *look => {}
        Ok(_) => return Err(NotTaken::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NotTaken::Gone),
        Err(error) => return Err(refuse("look at", from, &error)),
    }
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(|error| refuse("make folder", folder, &error))?;
    if let Some(marker) = marker {
        // Before the file: a marker that stays alone would call the next file of that name complete.
        match fs::remove_file(marker) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(refuse("remove", marker, &error));
            }
            _ => {}
        }
    }
    match rename_new(from, to) {
        Ok(()) => as_it_was_seen(to, from, look),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // A copy excludes nobody: first it is taken where it is, by a rename.
            let held = held(from, folder);
            match rename_new(from, &held) {
                Ok(()) => as_it_was_seen(&held, from, look)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NotTaken::Gone),
                Err(error) => return Err(refuse("rename to", &held, &error)),
            }
            bring(&held, to).map_err(NotTaken::Refused)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(NotTaken::Gone),
        Err(error) => Err(refuse("rename to", to, &error)),
    }
}

/// Whether what was just moved is what was looked at; if not, it goes back.
fn as_it_was_seen(moved: &Path, from: &Path, look: &Look) -> Result<(), NotTaken> {
    match look_at(moved) {
        Ok(now) if now == *look => Ok(()),
        // If its place is taken meanwhile it stays where it is, from which it is taken again.
        _ => match rename_new(moved, from) {
            Ok(()) => Err(NotTaken::Changed),
            Err(_) => Ok(()),
        },
    }
}

/// Where an input is while it is copied to another file system: beside its place, under the name of the folder that it
/// goes to, which no other input has.
fn held(from: &Path, folder: &Path) -> PathBuf {
    let mut name = OsString::from(".dropmill-");
    name.push(folder.file_name().unwrap_or(OsStr::new("input")));
    from.with_file_name(name)
}

/// Brings an input that is held to its place on another file system. Whatever was done of it before counts.
fn bring(held: &Path, to: &Path) -> Result<(), PlaceError> {
    if !to.exists() {
        let beside = to.with_file_name(COMING);
        let _ = remove(&beside);
        copy(held, &beside).map_err(|error| refused("copy to", &beside, &error))?;
        rename_new(&beside, to).map_err(|error| refused("rename to", to, &error))?;
        sync(to.parent().unwrap_or(to))?;
    }
    remove(held).map_err(|error| refused("remove", held, &error))
}

/// Returns the one input in a folder of the work folder.
pub fn only_file_in(folder: Option<&Path>) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder?).ok()?.flatten();
    entries.find(|entry| entry.file_name() != COMING).map(|entry| entry.path())
}

/// Takes an input that an earlier life was copying to another file system; whether there was one.
///
/// # Errors
/// When the file system refuses.
pub fn go_on_taking(from: &Path, to: &Path) -> Result<bool, PlaceError> {
    let held = held(from, to.parent().unwrap_or(to));
    let is_there = fs::symlink_metadata(&held).is_ok();
    if is_there {
        bring(&held, to)?;
    }
    Ok(is_there)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// Copies a file, or a folder with everything in it, durably; follows no link.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if kind.is_file() {
        fs::copy(from, to)?;
    } else {
        return Err(io::Error::other(format!("{} is no plain file", from.display())));
    }
    fs::File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn look(path: &Path) -> Look {
        look_at(path).unwrap()
    }

    #[test]
    fn a_folder_is_taken_whole_and_only_as_it_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("work/t/a"));
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/x"), "1").unwrap();
        let seen = look(&from);
        fs::write(from.join("deep/y"), "2").unwrap();
        assert!(matches!(take(&from, &to, &seen, None), Err(NotTaken::Changed)));
        take(&from, &to, &look(&from), None).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep/y")).unwrap(), "2");
        assert!(!from.exists());
    }

    #[test]
    fn what_is_taken_to_another_file_system_is_taken_once_also_when_that_was_cut_off() {
        let (folder, Some(other)) = (tempfile::tempdir().unwrap(), elsewhere()) else { return };
        for (at, kind) in ["file", "folder"].into_iter().enumerate() {
            let (from, to) = (folder.path().join(kind), other.path().join(format!("work/t{at}/{kind}")));
            let make = || match kind {
                "file" => fs::write(&from, "1").unwrap(),
                _ => {
                    fs::create_dir_all(from.join("deep")).unwrap();
                    fs::write(from.join("deep/x"), "1").unwrap();
                }
            };
            let whole = |place: &Path| match kind {
                "file" => fs::read_to_string(place).unwrap() == "1",
                _ => fs::read_to_string(place.join("deep/x")).unwrap() == "1",
            };
            make();
            let seen = look(&from);
            fs::write(if kind == "file" { from.clone() } else { from.join("more") }, "written to").unwrap();
            assert!(matches!(take(&from, &to, &seen, None), Err(NotTaken::Changed)));
            assert!(from.exists() && !to.exists());
            make();
            let _ = fs::remove_file(from.join("more"));
            let seen = look(&from);
            take(&from, &to, &seen, None).unwrap();
            assert!(whole(&to) && !from.exists());
            assert!(matches!(take(&from, &to, &seen, None), Err(NotTaken::Gone)));
            assert!(!go_on_taking(&from, &to).unwrap(), "nothing was left half done");
            // Cut off before the copy, in the middle of it, and after it.
            let holds = held(&from, to.parent().unwrap());
            for cut in 0..3 {
                remove(&to).unwrap();
                make();
                fs::rename(&from, &holds).unwrap();
                match cut {
                    0 => {}
                    1 => fs::write(to.with_file_name(COMING), "torn").unwrap(),
                    _ => copy(&holds, &to).unwrap(),
                }
                assert!(go_on_taking(&from, &to).unwrap());
                assert!(whole(&to) && !from.exists() && !holds.exists(), "{kind} {cut}");
                assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1, "{kind} {cut}");
            }
        }
    }

    #[test]
    fn a_file_is_taken_once_and_only_as_it_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("work/t/a"));
        fs::write(&from, "1").unwrap();
        let seen = look(&from);
        fs::write(&from, "12").unwrap();
        assert!(matches!(take(&from, &to, &seen, None), Err(NotTaken::Changed)));
        assert_eq!(fs::read_to_string(&from).unwrap(), "12");
        let (seen, marker) = (look(&from), folder.path().join("a.done"));
        fs::write(&marker, "").unwrap();
        take(&from, &to, &seen, Some(&marker)).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "12");
        assert!(!marker.exists());
        assert!(matches!(take(&from, &to, &seen, None), Err(NotTaken::Gone)));
    }
}

/// Returns a folder on another file system than the temporary folder, if there is one.
#[cfg(test)]
pub(super) fn elsewhere() -> Option<tempfile::TempDir> {
    use std::os::unix::fs::MetadataExt;
    let here = fs::metadata(std::env::temp_dir()).unwrap().dev();
    let there = fs::metadata("/dev/shm").ok()?.dev();
    if here == there {
        eprintln!("not tested: /dev/shm and the temporary folder are on one file system");
        return None;
    }
    tempfile::tempdir_in("/dev/shm").ok()
}
