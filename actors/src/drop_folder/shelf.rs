//! Moving files between the folders: from the drop folder to work, from work to where results and failures go.
//!
//! Whatever appears in those folders appears by one rename. What crosses file systems is copied beside its place first.

use super::scan::look_at;
use crate::place::{LONGEST_NAME, PlaceError, beside, refused, rename_new, sync};
use dropmill_lifecycle::arrival::Look;
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// Where a copy from another file system grows.
pub const COMING: &str = ".coming";
/// Tries to find a free name.
const NAMES: u32 = 10_000;

/// Why a file was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It is not there: somebody else was quicker.
    Gone,
    /// Somebody wrote to it after it was looked at; it was left, or put back, where it was.
    Changed,
    /// The file system refused.
    Refused(PlaceError),
}

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

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// A result, or a failure, to be put in its place.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Folder of what the task left; need not exist.
    pub results: PathBuf,
    /// The input; none to leave it out.
    pub input: Option<PathBuf>,
    /// `done` or `failed`.
    pub root: PathBuf,
    /// The name it gets below.
    pub relative: PathBuf,
    /// Name of the note: `result.json` or `reason.json`.
    pub note_name: &'static str,
    /// What the note says; `run` and `task` tell a parcel that is in its place already.
    pub note: Value,
}

impl Parcel {
    /// Puts it in its place; answers with the name that it got.
    ///
    /// # Errors
    /// When the file system refuses. Everything is where it can be found again.
    pub fn put(&self) -> Result<PathBuf, PlaceError> {
        if !self.results.exists() && self.input.as_ref().is_none_or(|input| !input.exists()) {
            // Put there by an earlier life that was not heard of.
            if let Some(found) = self.found() {
                return Ok(found);
            }
        }
        fs::create_dir_all(&self.results).map_err(|error| refused("make folder", &self.results, &error))?;
        let note = self.results.join(self.note_name);
        let body = serde_json::to_vec_pretty(&self.note).unwrap_or_default();
        fs::write(&note, body).map_err(|error| refused("write", &note, &error))?;
        sync(&note)?;
        if let Some(input) = &self.input
            && input.exists()
        {
            let name = input.file_name().unwrap_or(OsStr::new("input"));
            let mut place = self.results.join(name);
            if place.exists() {
                let mut other = name.as_bytes().to_vec();
                other.truncate(LONGEST_NAME - "~input".len());
                other.extend_from_slice(b"~input");
                place = self.results.join(OsString::from_vec(other));
            }
            rename_new(input, &place).map_err(|error| refused("rename to", &place, &error))?;
        }
        sync(&self.results)?;
        self.rename()
    }

    fn rename(&self) -> Result<PathBuf, PlaceError> {
        for tries in 0..NAMES {
            let relative = beside_path(&self.relative, tries);
            let place = self.root.join(&relative);
            let parent = place.parent().unwrap_or(&self.root);
            fs::create_dir_all(parent).map_err(|error| refused("make folder", parent, &error))?;
            let outcome = match rename_new(&self.results, &place) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.copy_to(&place),
                outcome => outcome,
            };
            match outcome {
                Ok(()) => {
                    sync(parent)?;
                    return Ok(relative);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    // Copied there by a life that was cut off before it removed what it had copied.
                    if self.is_this(&place) {
                        fs::remove_dir_all(&self.results)
                            .map_err(|error| refused("remove", &self.results, &error))?;
                        return Ok(relative);
                    }
                }
                Err(error) => return Err(refused("rename to", &place, &error)),
            }
        }
        let path = self.root.join(&self.relative).display().to_string();
        Err(PlaceError::Taken { path })
    }

    /// Beside its place first, then by one rename.
    fn copy_to(&self, place: &Path) -> io::Result<()> {
        if fs::symlink_metadata(place).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let task = self.note["task"].as_str().unwrap_or("parcel");
        let coming = self.root.join(format!(".dropmill-{task}"));
        let _ = fs::remove_dir_all(&coming);
        copy(&self.results, &coming)?;
        rename_new(&coming, place)?;
        fs::remove_dir_all(&self.results)
    }

    /// The place that an earlier life put it to.
    fn found(&self) -> Option<PathBuf> {
        (0..NAMES)
            .map(|tries| beside_path(&self.relative, tries))
            .take_while(|relative| self.root.join(relative).exists())
            .find(|relative| self.is_this(&self.root.join(relative)))
    }

    /// Whether a place holds this very parcel, as its note says.
    fn is_this(&self, place: &Path) -> bool {
        let note = fs::read(place.join(self.note_name)).ok();
        let note: Option<Value> = note.and_then(|note| serde_json::from_slice(&note).ok());
        note.is_some_and(|note| note["task"] == self.note["task"] && note["run"] == self.note["run"])
    }
}

/// Copies a file, or a folder with everything in it, durably; follows no link.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
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

/// `name`, `name~2`, `name~3`, …: a folder's whole name is its stem.
fn beside_path(relative: &Path, tries: u32) -> PathBuf {
    match relative.to_str() {
        Some(text) => beside(text, tries, true).into(),
        None => {
            let mut bytes = relative.as_os_str().as_bytes().to_vec();
            if tries > 0 {
                let number = format!("~{}", tries + 1);
                let name = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                bytes.truncate(name + LONGEST_NAME - number.len());
                bytes.extend_from_slice(number.as_bytes());
            }
            OsString::from_vec(bytes).into()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

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

    fn parcel(folder: &Path, task: &str) -> Parcel {
        let results = folder.join("work/results").join(task);
        fs::create_dir_all(&results).unwrap();
        fs::write(results.join("out.txt"), task).unwrap();
        let input = folder.join("work").join(task);
        fs::write(&input, "input").unwrap();
        Parcel {
            results,
            input: Some(input),
            root: folder.join("done"),
            relative: "deep/a.txt".into(),
            note_name: "result.json",
            note: json!({ "run": "r", "task": task }),
        }
    }

    #[test]
    fn a_result_appears_whole_never_over_another_and_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (parcel(folder.path(), "t1"), parcel(folder.path(), "t2"));
        assert_eq!(one.put().unwrap(), Path::new("deep/a.txt"));
        assert_eq!(other.put().unwrap(), Path::new("deep/a.txt~2"));
        let place = folder.path().join("done/deep/a.txt~2");
        assert_eq!(fs::read_to_string(place.join("out.txt")).unwrap(), "t2");
        assert_eq!(fs::read_to_string(place.join("t2")).unwrap(), "input");
        // Again, after a crash between the rename and its record.
        assert_eq!(one.put().unwrap(), Path::new("deep/a.txt"));
        assert_eq!(other.put().unwrap(), Path::new("deep/a.txt~2"));
        assert_eq!(fs::read_dir(folder.path().join("done/deep")).unwrap().count(), 2);
    }

    /// A folder on another file system than the temporary folder; none where there is no such thing.
    fn elsewhere() -> Option<tempfile::TempDir> {
        use std::os::unix::fs::MetadataExt;
        let here = fs::metadata(std::env::temp_dir()).unwrap().dev();
        let there = fs::metadata("/dev/shm").ok()?.dev();
        if here == there {
            eprintln!("not tested: /dev/shm and the temporary folder are on one file system");
            return None;
        }
        tempfile::tempdir_in("/dev/shm").ok()
    }

    #[test]
    fn a_result_on_its_way_to_another_file_system_is_not_put_there_twice() {
        let (folder, Some(other)) = (tempfile::tempdir().unwrap(), elsewhere()) else { return };
        let mut one = parcel(folder.path(), "t1");
        one.root = other.path().join("done");
        // As a life leaves it that is cut off between the rename there and the removal here.
        assert_eq!(one.put().unwrap(), Path::new("deep/a.txt"));
        copy(&one.root.join("deep/a.txt"), &one.results).unwrap();
        assert_eq!(one.put().unwrap(), Path::new("deep/a.txt"));
        assert_eq!(fs::read_dir(one.root.join("deep")).unwrap().count(), 1);
        assert!(!one.results.exists());
        assert_eq!(fs::read_to_string(one.root.join("deep/a.txt/t1")).unwrap(), "input");
        assert_eq!(fs::read_dir(&one.root).unwrap().count(), 1, "nothing on its way is left");
    }

    #[test]
    fn an_output_that_is_called_like_the_input_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let one = parcel(folder.path(), "out.txt");
        one.put().unwrap();
        let place = folder.path().join("done/deep/a.txt");
        assert_eq!(fs::read_to_string(place.join("out.txt")).unwrap(), "out.txt");
        assert_eq!(fs::read_to_string(place.join("out.txt~input")).unwrap(), "input");
    }
}
