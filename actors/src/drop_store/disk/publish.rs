//! Puts results and failures in their places, each by one rename.
//!
//! The order of the steps says after a crash how far they came: the note is written, the input joins the results (or is set
//! aside to be removed), the results get their name. So a parcel without results and input was published.

use super::{
    DropFolders, RESULTS,
    scan::look_at,
    shelf::{copy, remove},
};
use crate::{
    drop_store::{NotPublished, Parcel, Published, Root, parcel::beside_path},
    place::{PlaceError, refused, rename_new, sync},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Numbers that are tried to find a free name.
const NAMES: u32 = 10_000;

/// Returns the folder that a root stands for.
pub fn root(folders: &DropFolders, root: Root) -> &Path {
    match root {
        Root::Done => &folders.done,
        Root::Failed => &folders.failed,
    }
}

/// Returns the folder of what a task left.
pub fn results(folders: &DropFolders, run: &str, folder: &str) -> PathBuf {
    folders.work.join(run).join(RESULTS).join(folder)
}

/// A parcel and the paths that it is made of.
struct Shipment<'a> {
    parcel: &'a Parcel,
    root: &'a Path,
    results: PathBuf,
    input: PathBuf,
    /// Where an input waits for its removal.
    spent: PathBuf,
}

/// Puts a parcel in its place.
///
/// # Errors
/// Fails if the input was written to since it was taken, or if the file system refuses. Everything stays where it can be
/// found again.
pub fn publish(folders: &DropFolders, parcel: &Parcel) -> Result<Published, NotPublished> {
    let (run, folder) = &parcel.results;
    let results = results(folders, run, folder);
    let mut spent = results.clone().into_os_string();
    spent.push("~spent");
    let input = folders.work.join(&parcel.input).join(parcel.relative.file_name().unwrap_or_default());
    let shipment = Shipment { parcel, root: root(folders, parcel.root), results, input, spent: spent.into() };
    let place = shipment.put()?;
    let left = shipment.remove_spent()?;
    Ok(Published { place, left })
}

impl Shipment<'_> {
    fn put(&self) -> Result<PathBuf, NotPublished> {
        let has_input = exists(&self.input);
        if !exists(&self.results) && !has_input {
            // An earlier process published it, and was killed before it could record that.
            match (self.find(), self.parcel.root) {
                (Some(found), _) => return Ok(found),
                // A reader has taken it away since.
                (None, Root::Done) => return Ok(self.parcel.relative.clone()),
                // The input was removed from the work folder: the note says what became of the task.
                (None, Root::Failed) => {}
            }
        }
        if has_input && let Some(look) = self.parcel.look {
            let now = look_at(&self.input).map_err(|error| refused("look at", &self.input, &error))?;
            if now != look {
                return Err(NotPublished::Changed(now));
            }
        }
        self.write_note()?;
        if has_input {
            let to = match self.parcel.with_input {
                true => self.results.join(self.parcel.input_name()),
                false => self.spent.clone(),
            };
            rename_new(&self.input, &to).map_err(|error| refused("rename to", &to, &error))?;
        }
        sync(&self.results)?;
        Ok(self.rename()?)
    }

    fn write_note(&self) -> Result<(), PlaceError> {
        fs::create_dir_all(&self.results).map_err(|error| refused("make folder", &self.results, &error))?;
        let note = self.results.join(self.parcel.note_name());
        let body = serde_json::to_vec_pretty(&self.parcel.note).unwrap_or_default();
        fs::write(&note, body).map_err(|error| refused("write", &note, &error))?;
        sync(&note)
    }

    fn rename(&self) -> Result<PathBuf, PlaceError> {
        for tries in 0..NAMES {
            let relative = beside_path(&self.parcel.relative, tries);
            let place = self.root.join(&relative);
            let parent = place.parent().unwrap_or(self.root);
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
                Err(error) if is_taken(&error) => {
                    // Copied there by a process that was killed before it removed what it had copied.
                    if self.is_this(&place) {
                        fs::remove_dir_all(&self.results)
                            .map_err(|error| refused("remove", &self.results, &error))?;
                        return Ok(relative);
                    }
                }
                Err(error) => return Err(refused("rename to", &place, &error)),
            }
        }
        Err(PlaceError::Taken { path: self.root.join(&self.parcel.relative).display().to_string() })
    }

    /// Copies the results beside their place on another file system, then renames them.
    fn copy_to(&self, place: &Path) -> io::Result<()> {
        if exists(place) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let task = self.parcel.note["task"].as_str().unwrap_or("parcel");
        let coming = self.root.join(format!(".dropmill-{task}"));
        let _ = fs::remove_dir_all(&coming);
        copy(&self.results, &coming)?;
        rename_new(&coming, place)?;
        fs::remove_dir_all(&self.results)
    }

    /// Removes an input whose result is in its place. One that was written to since goes back to where it was.
    fn remove_spent(&self) -> Result<bool, PlaceError> {
        let Ok(now) = look_at(&self.spent) else { return Ok(false) };
        if self.parcel.look.is_none_or(|look| look == now) {
            remove(&self.spent).map_err(|error| refused("remove", &self.spent, &error))?;
            return Ok(false);
        }
        rename_new(&self.spent, &self.input).map_err(|error| refused("rename to", &self.input, &error))?;
        Ok(true)
    }

    /// Returns the place that an earlier process put it to.
    fn find(&self) -> Option<PathBuf> {
        (0..NAMES)
            .map(|tries| beside_path(&self.parcel.relative, tries))
            .take_while(|relative| exists(&self.root.join(relative)))
            .find(|relative| self.is_this(&self.root.join(relative)))
    }

    /// Returns whether a place holds this very parcel, as its note says.
    fn is_this(&self, place: &Path) -> bool {
        let note = fs::read(place.join(self.parcel.note_name()));
        note.is_ok_and(|note| self.parcel.is_mine(&note))
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    struct Desk {
        folder: tempfile::TempDir,
        folders: DropFolders,
    }

    impl Desk {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let folders = DropFolders {
                directory: path("drop"),
                done: path("done"),
                failed: path("failed"),
                work: path("work"),
            };
            Self { folder, folders }
        }

        /// A task that left `out.txt` and had an input `a.txt`.
        fn parcel(&self, task: &str) -> Parcel {
            let left = results(&self.folders, "r", task);
            fs::create_dir_all(&left).unwrap();
            fs::write(left.join("out.txt"), task).unwrap();
            let input = self.folders.work.join("r").join(task);
            fs::create_dir_all(&input).unwrap();
            fs::write(input.join("a.txt"), "input").unwrap();
            Parcel {
                results: ("r".into(), task.into()),
                input: format!("r/{task}"),
                relative: "deep/a.txt".into(),
                look: Some(look_at(&input.join("a.txt")).unwrap()),
                with_input: true,
                root: Root::Done,
                note: json!({ "run": "r", "task": task, "files": [{ "path": "out.txt" }] }),
            }
        }

        fn put(&self, parcel: &Parcel) -> Result<PathBuf, NotPublished> {
            publish(&self.folders, parcel).map(|published| published.place)
        }

        fn read(&self, below: &str) -> String {
            fs::read_to_string(self.folder.path().join(below)).unwrap()
        }

        fn count(&self, below: &str) -> usize {
            fs::read_dir(self.folder.path().join(below)).unwrap().count()
        }
    }

    #[test]
    fn a_result_appears_whole_never_over_another_and_is_recognised() {
        let desk = Desk::new();
        let (one, other) = (desk.parcel("t1"), desk.parcel("t2"));
        assert_eq!(desk.put(&one).unwrap(), Path::new("deep/a.txt"));
        assert_eq!(desk.put(&other).unwrap(), Path::new("deep/a.txt~2"));
        assert_eq!(desk.read("done/deep/a.txt~2/out.txt"), "t2");
        assert_eq!(desk.read("done/deep/a.txt~2/a.txt"), "input");
        // Once more, after a crash between the rename and its record.
        assert_eq!(desk.put(&one).unwrap(), Path::new("deep/a.txt"));
        assert_eq!(desk.put(&other).unwrap(), Path::new("deep/a.txt~2"));
        assert_eq!(desk.count("done/deep"), 2);
        // A reader took it away before the crash was over: it is not delivered a second time.
        fs::remove_dir_all(desk.folders.done.join("deep/a.txt~2")).unwrap();
        desk.put(&other).unwrap();
        assert_eq!(desk.count("done/deep"), 1);
    }

    #[test]
    fn an_input_that_was_written_to_is_not_delivered_and_stays() {
        let desk = Desk::new();
        let parcel = desk.parcel("t");
        fs::write(desk.folders.work.join("r/t/a.txt"), "input and more").unwrap();
        let Err(NotPublished::Changed(now)) = desk.put(&parcel) else { panic!("it was delivered") };
        assert_eq!(now.size_bytes, 14);
        assert_eq!(desk.read("work/r/t/a.txt"), "input and more");
        assert!(!desk.folders.done.exists());
    }

    #[test]
    fn an_input_that_is_removed_is_compared_once_more_and_kept_if_it_was_written_to() {
        let desk = Desk::new();
        let gone = Parcel { with_input: false, ..desk.parcel("gone") };
        assert!(!publish(&desk.folders, &gone).unwrap().left);
        assert_eq!((desk.count("work/r/.results"), desk.count("work/r/gone")), (0, 0));
        // As a process leaves it that was killed between the rename and the removal, while a writer went on.
        let kept = Parcel { with_input: false, ..desk.parcel("kept") };
        let spent = desk.folders.work.join("r/.results/kept~spent");
        fs::rename(desk.folders.work.join("r/kept/a.txt"), &spent).unwrap();
        fs::write(&spent, "input and more").unwrap();
        let published = publish(&desk.folders, &kept).unwrap();
        assert!(published.left);
        assert_eq!(desk.read("work/r/kept/a.txt"), "input and more");
        assert_eq!(desk.count("done/deep"), 2);
    }

    #[test]
    fn a_result_on_its_way_to_another_file_system_is_not_put_there_twice() {
        let (mut desk, Some(other)) = (Desk::new(), super::super::shelf::elsewhere()) else { return };
        desk.folders.done = other.path().join("done");
        let one = desk.parcel("t1");
        assert_eq!(desk.put(&one).unwrap(), Path::new("deep/a.txt"));
        // As a process leaves it that was killed between the rename there and the removal here.
        copy(&desk.folders.done.join("deep/a.txt"), &results(&desk.folders, "r", "t1")).unwrap();
        assert_eq!(desk.put(&one).unwrap(), Path::new("deep/a.txt"));
        assert_eq!(fs::read_dir(desk.folders.done.join("deep")).unwrap().count(), 1);
        assert!(!results(&desk.folders, "r", "t1").exists());
        assert_eq!(fs::read_dir(&desk.folders.done).unwrap().count(), 1, "no partial copy is left");
    }

    #[test]
    fn outputs_keep_their_names_and_contents_beside_note_and_input() {
        let desk = Desk::new();
        let mut parcel = desk.parcel("t");
        let left = results(&desk.folders, "r", "t");
        for name in ["result.json", "a.txt"] {
            fs::write(left.join(name), "the task's own").unwrap();
        }
        parcel.note["files"] = json!([{ "path": "out.txt" }, { "path": "result.json" }, { "path": "a.txt" }]);
        desk.put(&parcel).unwrap();
        assert_eq!(desk.read("done/deep/a.txt/result.json"), "the task's own");
        assert_eq!(desk.read("done/deep/a.txt/a.txt"), "the task's own");
        assert_eq!(desk.read("done/deep/a.txt/a.txt~input"), "input");
        assert!(desk.read("done/deep/a.txt/result.json~note").contains("\"task\": \"t\""));
        assert_eq!(desk.put(&parcel).unwrap(), Path::new("deep/a.txt"), "it is recognised");
    }
}
