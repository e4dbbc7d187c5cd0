//! Publishes results and failures, each with one rename.
//!
//! After a crash, the order of the steps shows how far they came: the note is written, the input is moved to
//! the results (or set aside for removal), the results are renamed. So a parcel without results and input has
//! been published.
//!
//! Other users may write to the folders below those of results and failures: no link in them is followed.

use super::{
    RESULTS,
    rehouse::{self, rehouse},
    shelf::PRIVATE,
};
use crate::{
    drop_store::{NotPublished, Parcel, Published, Root, parcel::beside_path},
    folder::{Folder, FolderError, Kind, TreeError},
    place::PlaceError,
};
use std::path::{Path, PathBuf};

/// Maximum number of attempts to find a free name.
const NAMES: u32 = 10_000;
/// Maximum number of bytes of a note that are read to recognise it.
const LONGEST_NOTE: u64 = 64 << 20;
/// Permissions of folders for users; the umask removes what is not allowed.
const SHARED: u32 = 0o777;
/// Permissions of notes, in the same way.
const SHARED_FILE: u32 = 0o666;

/// Returns the folder of a task's results, relative to the work folder.
pub fn results(run: &str, folder: &str) -> PathBuf {
    Path::new(run).join(RESULTS).join(folder)
}

/// A parcel, the folders in which it is prepared, and its parts.
struct Shipment<'a> {
    parcel: &'a Parcel,
    work: &'a Folder,
    root: &'a Folder,
    /// Path of the results below the work folder.
    results: PathBuf,
    /// Name of the input in its place.
    name: &'a Path,
    /// Path of an input that waits for its removal, below the work folder.
    spent: PathBuf,
}

/// Publishes a parcel below `root`.
///
/// # Errors
/// Fails if the input was changed after it was claimed, or on an error of the file system. Everything stays
/// where it can be found again.
pub fn publish(work: &Folder, root: &Folder, parcel: &Parcel) -> Result<Published, NotPublished> {
    let (run, folder) = &parcel.results;
    let results = results(run, folder);
    let mut spent = results.clone().into_os_string();
    spent.push("~spent");
    let name = Path::new(parcel.relative.file_name().unwrap_or_default());
    let shipment = Shipment { parcel, work, root, results, name, spent: spent.into() };
    let place = shipment.put()?;
    let left = shipment.remove_spent()?;
    Ok(Published { place, left })
}

impl Shipment<'_> {
    fn put(&self) -> Result<PathBuf, NotPublished> {
        let input = self.input()?;
        if !self.work.holds(&self.results) && input.is_none() {
            // A previous process published it, and was killed before it recorded that.
            match (self.find(), self.parcel.root) {
                (Some(found), _) => return Ok(found),
                // A reader has removed it since.
                (None, Root::Done) => return Ok(self.parcel.relative.clone()),
                // The input was removed from the work folder: the note records the outcome of the task.
                (None, Root::Failed) => {}
            }
        }
        let is_input = input.as_ref().map_or(Ok(true), |place| self.is_as_it_was(place))?;
        let left = self.write_note()?;
        if let Some(place) = &input {
            self.add_input(place, &left, is_input)?;
        }
        left.sync().map_err(refused)?;
        Ok(self.rename()?)
    }

    /// Returns the folder of the input, if the input exists.
    fn input(&self) -> Result<Option<Folder>, NotPublished> {
        let place = match self.work.folder(&self.parcel.input) {
            Ok(place) => place,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(refused(error)),
        };
        rehouse::finish(&place, self.name).map_err(refused)?;
        Ok(place.holds(self.name).then_some(place))
    }

    /// Compares the input with its metadata at the claim; returns whether it is a valid input at all. A
    /// failure is published even if not: the invalid parts are left out.
    fn is_as_it_was(&self, place: &Folder) -> Result<bool, NotPublished> {
        let (Some(look), failed) = (self.parcel.look, self.parcel.root == Root::Failed) else {
            return Ok(true);
        };
        match place.look(self.name) {
            Ok(now) if now == look => Ok(true),
            Ok(now) => Err(NotPublished::Changed(now)),
            Err(TreeError::NoInput { .. }) if failed => Ok(false),
            Err(TreeError::Folder(error)) if !error.shows_another_process() => Err(refused(error)),
            Err(_) => {
                let facts = place.facts(self.name).map_err(refused)?;
                Err(NotPublished::Changed(facts.look()))
            }
        }
    }

    fn add_input(&self, place: &Folder, left: &Folder, is_input: bool) -> Result<(), NotPublished> {
        if !self.parcel.with_input {
            return place.rename_new(self.name, self.work, &self.spent).map_err(refused);
        }
        let input = &self.parcel.relative;
        match place.facts(self.name).map_err(refused)?.kind {
            Kind::File => {}
            Kind::Folder => {
                let stayed_out = rehouse(place, self.name).map_err(refused)?;
                stayed_out.iter().for_each(|path| {
                    tracing::warn!(?input, ?path, "not delivered, because it is neither a file nor a folder");
                });
                // Between the comparison and the move, other processes could still write to the old folder.
                if is_input {
                    self.is_as_it_was(place)?;
                }
            }
            kind => {
                tracing::warn!(?input, %kind, "not delivered, because it is not a regular file");
                return place.remove_file(self.name).map_err(refused);
            }
        }
        place.rename_new(self.name, left, self.parcel.input_name()).map_err(refused)
    }

    /// Writes the note, and returns the folder of the results.
    fn write_note(&self) -> Result<Folder, NotPublished> {
        let above = self.results.parent().unwrap_or(Path::new(""));
        let above = self.work.create_folders(above, PRIVATE).map_err(refused)?;
        let name = self.results.file_name().unwrap_or_default();
        let left = above.create_folders(name, SHARED).map_err(refused)?;
        let note = self.parcel.note_name();
        let body = serde_json::to_vec_pretty(&self.parcel.note).unwrap_or_default();
        // From a failed attempt.
        left.remove(note).map_err(refused)?;
        left.write_new(note, &body, SHARED_FILE).map_err(refused)?;
        Ok(left)
    }

    fn rename(&self) -> Result<PathBuf, PlaceError> {
        let above = self.parcel.relative.parent().unwrap_or(Path::new(""));
        let is_new = !above.as_os_str().is_empty() && !self.root.holds(above);
        let parent = self.root.create_folders(above, SHARED)?;
        if is_new {
            self.sync_from_root(above)?;
        }
        for tries in 0..NAMES {
            let relative = beside_path(&self.parcel.relative, tries);
            let name = Path::new(relative.file_name().unwrap_or_default());
            let outcome = match self.work.rename_new(&self.results, &parent, name) {
                Err(error) if error.crosses_file_systems() => self.copy_to(&parent, name),
                outcome => outcome,
            };
            match outcome {
                Ok(()) => {
                    parent.sync()?;
                    return Ok(relative);
                }
                // Copied there by a process that was killed before it removed the original.
                Err(error) if error.is_taken() && self.is_this(&relative) => {
                    self.work.remove(&self.results)?;
                    return Ok(relative);
                }
                Err(error) if error.is_taken() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PlaceError::Taken { path: self.root.path().join(&self.parcel.relative).display().to_string() })
    }

    /// Makes the names of new folders durable.
    fn sync_from_root(&self, folder: &Path) -> Result<(), FolderError> {
        folder
            .ancestors()
            .filter(|path| !path.as_os_str().is_empty())
            .try_for_each(|path| self.root.sync_parent_of(path))
    }

    /// Copies the results to another file system, then renames them.
    fn copy_to(&self, parent: &Folder, name: &Path) -> Result<(), FolderError> {
        if parent.holds(name) {
            return Err(parent.taken(name));
        }
        let task = self.parcel.note["task"].as_str().unwrap_or("parcel");
        let coming = PathBuf::from(format!(".dropmill-{task}"));
        self.root.remove(&coming)?;
        let copy = self.work.copy(&self.results, self.root, &coming)?;
        self.root.rename_new(&coming, parent, name)?;
        // Another user with write access could have renamed it.
        if parent.facts(name)?.identity != copy {
            return Err(parent.replaced(name));
        }
        self.work.remove(&self.results).map(|_| ())
    }

    /// Removes an input whose result is published. If it was changed, it is moved back instead.
    fn remove_spent(&self) -> Result<bool, PlaceError> {
        let is_same = match (self.work.look(&self.spent), self.parcel.look) {
            (Err(error), _) if error.is_gone() && !self.work.holds(&self.spent) => return Ok(false),
            (_, None) => true,
            (Ok(now), Some(look)) => now == look,
            // It is no longer a valid input, or is being changed at this moment.
            (Err(TreeError::NoInput { .. }), _) => false,
            (Err(TreeError::Folder(error)), _) if error.shows_another_process() => false,
            (Err(TreeError::Folder(error)), _) => return Err(error.into()),
        };
        if is_same {
            self.work.remove(&self.spent)?;
            return Ok(false);
        }
        let place = self.work.create_folders(&self.parcel.input, PRIVATE)?;
        self.work.rename_new(&self.spent, &place, self.name)?;
        Ok(true)
    }

    /// Returns the place to which a previous process moved it.
    fn find(&self) -> Option<PathBuf> {
        (0..NAMES)
            .map(|tries| beside_path(&self.parcel.relative, tries))
            .take_while(|relative| self.root.holds(relative))
            .find(|relative| self.is_this(relative))
    }

    /// Returns whether a place below the root has exactly this parcel, according to its note.
    fn is_this(&self, relative: &Path) -> bool {
        let note = self.root.read(relative.join(self.parcel.note_name()), LONGEST_NOTE);
        note.is_ok_and(|note| self.parcel.is_mine(&note))
    }
}

fn refused(error: FolderError) -> NotPublished {
    NotPublished::Refused(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    struct Desk {
        folder: tempfile::TempDir,
        /// Folder of results.
        done: PathBuf,
    }

    impl Desk {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["done", "work"] {
                fs::create_dir(folder.path().join(name)).unwrap();
            }
            let done = folder.path().join("done");
            Self { folder, done }
        }

        fn work(&self, below: impl AsRef<Path>) -> PathBuf {
            self.folder.path().join("work").join(below)
        }

        fn open(&self, below: impl AsRef<Path>) -> Folder {
            Folder::open(&self.folder.path().join(below)).unwrap()
        }

        /// Creates a task with the output `out.txt` and an input `a.txt`.
        fn parcel(&self, task: &str) -> Parcel {
            let left = self.work(results("r", task));
            fs::create_dir_all(&left).unwrap();
            fs::write(left.join("out.txt"), task).unwrap();
            let input = self.work("r").join(task);
            fs::create_dir_all(&input).unwrap();
            fs::write(input.join("a.txt"), "input").unwrap();
            Parcel {
                results: ("r".into(), task.into()),
                input: format!("r/{task}"),
                relative: "deep/a.txt".into(),
                look: Some(Folder::open(&input).unwrap().look("a.txt").unwrap()),
                with_input: true,
                root: Root::Done,
                note: json!({ "run": "r", "task": task, "files": [{ "path": "out.txt" }] }),
            }
        }

        fn publish(&self, parcel: &Parcel) -> Result<Published, NotPublished> {
            publish(&self.open("work"), &self.open(&self.done), parcel)
        }

        fn put(&self, parcel: &Parcel) -> Result<PathBuf, NotPublished> {
            self.publish(parcel).map(|published| published.place)
        }

        fn read(&self, below: &str) -> String {
            fs::read_to_string(self.folder.path().join(below)).unwrap()
        }

        fn count(&self, below: &str) -> usize {
            fs::read_dir(self.folder.path().join(below)).unwrap().count()
        }
    }

    #[test]
    fn a_result_appears_completely_replaces_nothing_and_is_recognised() {
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
        // A reader removed it before the process resumed: it is not delivered a second time.
        fs::remove_dir_all(desk.done.join("deep/a.txt~2")).unwrap();
        desk.put(&other).unwrap();
        assert_eq!(desk.count("done/deep"), 1);
    }

    #[test]
    fn a_changed_input_is_not_delivered_and_stays() {
        let desk = Desk::new();
        let parcel = desk.parcel("t");
        fs::write(desk.work("r/t/a.txt"), "input and more").unwrap();
        let Err(NotPublished::Changed(now)) = desk.put(&parcel) else { panic!("it was delivered") };
        assert_eq!(now.size_bytes, 14);
        assert_eq!(desk.read("work/r/t/a.txt"), "input and more");
        assert_eq!(desk.count("done"), 0);
    }

    #[test]
    fn an_input_is_checked_before_its_removal_and_kept_if_it_was_changed() {
        let desk = Desk::new();
        let gone = Parcel { with_input: false, ..desk.parcel("gone") };
        assert!(!desk.publish(&gone).unwrap().left);
        assert_eq!((desk.count("work/r/.results"), desk.count("work/r/gone")), (0, 0));
        // The state after a process was killed between the rename and the removal, while a writer continued.
        let kept = Parcel { with_input: false, ..desk.parcel("kept") };
        let spent = desk.work("r/.results/kept~spent");
        fs::rename(desk.work("r/kept/a.txt"), &spent).unwrap();
        fs::write(&spent, "input and more").unwrap();
        let published = desk.publish(&kept).unwrap();
        assert!(published.left);
        assert_eq!(desk.read("work/r/kept/a.txt"), "input and more");
        assert_eq!(desk.count("done/deep"), 2);
    }

    #[test]
    fn a_result_is_moved_to_another_file_system_only_once() {
        let (mut desk, Some(other)) = (Desk::new(), super::super::shelf::elsewhere()) else { return };
        desk.done = other.path().to_owned();
        let one = desk.parcel("t1");
        assert_eq!(desk.put(&one).unwrap(), Path::new("deep/a.txt"));
        // The state after a process was killed between the rename there and the removal here.
        desk.open(&desk.done).copy("deep/a.txt", &desk.open("work"), results("r", "t1")).unwrap();
        assert_eq!(desk.put(&one).unwrap(), Path::new("deep/a.txt"));
        assert_eq!(fs::read_dir(desk.done.join("deep")).unwrap().count(), 1);
        assert!(!desk.work(results("r", "t1")).exists());
        assert_eq!(fs::read_dir(&desk.done).unwrap().count(), 1, "no partial copy is left");
    }

    #[test]
    fn outputs_keep_their_names_and_contents_beside_note_and_input() {
        let desk = Desk::new();
        let mut parcel = desk.parcel("t");
        let left = desk.work(results("r", "t"));
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

    /// Creates a task with a folder as its input, into which another process put a link after the claim.
    fn linked(desk: &Desk, task: &str, root: Root) -> Parcel {
        let parcel = desk.parcel(task);
        let place = desk.work(&parcel.input);
        fs::remove_file(place.join("a.txt")).unwrap();
        fs::create_dir(place.join("a.txt")).unwrap();
        fs::write(place.join("a.txt/one"), "1").unwrap();
        let look = Folder::open(&place).unwrap().look("a.txt").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", place.join("a.txt/link")).unwrap();
        Parcel { look: Some(look), root, ..parcel }
    }

    #[test]
    fn an_input_folder_with_a_new_link_is_not_delivered_as_a_result() {
        let desk = Desk::new();
        let done = linked(&desk, "t1", Root::Done);
        assert!(matches!(desk.put(&done), Err(NotPublished::Changed(_))));
        assert_eq!((desk.count("done"), desk.count("work/r/t1/a.txt")), (0, 2), "it stays where it was");
        let spent = Parcel { with_input: false, ..linked(&desk, "t2", Root::Done) };
        assert!(matches!(desk.put(&spent), Err(NotPublished::Changed(_))));
        let failed = linked(&desk, "t3", Root::Failed);
        assert_eq!(desk.put(&failed).unwrap(), Path::new("deep/a.txt"));
        assert_eq!(desk.count("done/deep/a.txt/a.txt"), 1);
        assert_eq!(desk.read("done/deep/a.txt/a.txt/one"), "1");
    }

    #[test]
    fn a_link_in_the_path_of_a_result_is_not_followed() {
        let desk = Desk::new();
        let parcel = desk.parcel("t");
        fs::create_dir(desk.folder.path().join("outside")).unwrap();
        std::os::unix::fs::symlink("../outside", desk.done.join("deep")).unwrap();
        let Err(NotPublished::Refused(error)) = desk.put(&parcel) else { panic!("it was published") };
        assert!(
            error.to_string().ends_with("a part of the path is a symbolic link or not a folder"),
            "{error}"
        );
        assert_eq!(desk.count("outside"), 0);
        fs::remove_file(desk.done.join("deep")).unwrap();
        assert_eq!(desk.put(&parcel).unwrap(), Path::new("deep/a.txt"));
        assert_eq!(desk.read("done/deep/a.txt/a.txt"), "input");
    }
}
