//! The folders of a drop folder's daemon on this machine.
//!
//! Other users may write to the drop folder, and below the folders of results and failures, at any time. Each
//! operation opens the configured folder and stays below that handle, without following links; see
//! [`crate::folder`]. The work folder is private, but files that were moved into it may still be open
//! elsewhere.

mod kept;
mod publish;
mod reading;
mod rehouse;
mod scan;
mod shelf;

use super::{
    DropStore, EntryState, NotPublished, NotTaken, Parcel, Published, Root, Rules, StoredInput, Survey, Take,
    Taken,
};
use crate::{
    drop_folder::watcher,
    folder::{ConfiguredFolder, Folder, FolderError, Kind, TreeError},
    place::{DiskPlace, PlaceError, ResultPlace, refused},
};
use dropmill_lifecycle::{arrival::FileSnapshot, plan::RunPlan};
use futures_util::future::BoxFuture;
use kept::Kept;
use reading::Listings;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Folder of the results of a run's tasks, in the run's folder below the work folder.
const RESULTS: &str = ".results";
/// Permissions of folders for users; the umask removes what is not allowed.
const SHARED: u32 = 0o777;

/// The folders of one daemon, as absolute paths.
#[derive(Debug, Clone)]
pub struct DropFolders {
    /// Folder for new files.
    pub directory: PathBuf,
    /// Folder for results.
    pub done: PathBuf,
    /// Folder for failed inputs.
    pub failed: PathBuf,
    /// Folder for inputs in progress: `<run>/<task>/<file>`.
    pub work: PathBuf,
}

/// The folders on this machine; cheap to clone.
#[derive(Debug, Clone)]
pub struct DiskDropStore {
    folders: Arc<Configured>,
}

#[derive(Debug)]
struct Configured {
    directory: ConfiguredFolder,
    done: ConfiguredFolder,
    failed: ConfiguredFolder,
    work: ConfiguredFolder,
    listings: Listings,
}

impl Configured {
    fn work(&self) -> Result<Folder, FolderError> {
        self.work.open_or_create(shelf::PRIVATE)
    }

    fn root(&self, root: Root) -> &ConfiguredFolder {
        match root {
            Root::Done => &self.done,
            Root::Failed => &self.failed,
        }
    }

    fn take_all(&self, takes: Vec<Take>) -> Vec<Taken> {
        let folders = self.directory.open().and_then(|directory| Ok((directory, self.work()?)));
        let (directory, work) = match folders {
            Ok(folders) => folders,
            Err(error) => {
                let why = || match error.is_not_found() {
                    true => NotTaken::Gone,
                    false => NotTaken::Refused((&error).into()),
                };
                return takes
                    .iter()
                    .map(|take| Taken { id: take.id, outcome: Err(why()), key: None })
                    .collect();
            }
        };
        let take_one = |take: Take| {
            let outcome = shelf::take(&directory, &work, &take);
            // An input that cannot be read is not a duplicate; its upload reports the error.
            let hash = take.hash && outcome.is_ok();
            let key =
                hash.then(|| reading::key(&take.relative, &work, &below(&take.place, &take.relative)).ok());
            Taken { id: take.id, outcome, key: key.flatten() }
        };
        takes.into_iter().map(take_one).collect()
    }

    fn find(&self, place: &str, relative: &Path) -> Result<Option<StoredInput>, PlaceError> {
        let work = self.work()?;
        if let Ok(directory) = self.directory.open() {
            shelf::go_on_taking(&directory, relative, &work, place)?;
        }
        let place_folder = match work.folder(place) {
            Ok(folder) => folder,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(name) = input_in(&place_folder, relative)? else { return Ok(None) };
        match rehouse::finish(&place_folder, &name) {
            Ok(_) => {}
            // Another user must not be able to prevent the start. The input stays, and the next start tries
            // again.
            Err(error) if error.shows_another_process() => {
                tracing::error!(%error, place, "cannot resume a file");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let facts = place_folder.facts(&name)?;
        let look = match facts.kind {
            Kind::File => facts.look(),
            Kind::Folder => look_of(&place_folder, &name)?,
            kind => {
                tracing::error!(place, %kind, "cannot resume a file: it is not a valid input");
                return Ok(None);
            }
        };
        // A writer writes to the original of a copy.
        let directory = self.directory.open().ok();
        let kept = directory.and_then(|directory| Kept::find(&directory, relative, place)?.look());
        let look = kept.unwrap_or(look);
        let (source, whole_folder) = (self.work.path().join(place).join(name), facts.kind == Kind::Folder);
        Ok(Some(StoredInput { source, look, whole_folder }))
    }
}

impl DiskDropStore {
    /// Opens the folders of a daemon. Missing folders are created; the work folder belongs to this user only.
    ///
    /// # Errors
    /// Fails on an error of the file system, or if the work folder belongs to another user.
    pub fn open(folders: &DropFolders) -> Result<Self, FolderError> {
        let configured = Configured {
            directory: ConfiguredFolder::resolve(&folders.directory)?,
            done: ConfiguredFolder::resolve(&folders.done)?,
            failed: ConfiguredFolder::resolve(&folders.failed)?,
            work: ConfiguredFolder::resolve_private(&folders.work)?,
            listings: Listings::default(),
        };
        Ok(Self { folders: Arc::new(configured) })
    }

    /// Counts the entries of a drop folder, without a store. Creates nothing.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn survey(directory: &Path, rules: &Rules) -> io::Result<Survey> {
        let directory = Folder::open(directory)?;
        Ok(scan::survey(&directory, rules)?)
    }

    /// Lists all inputs in a work folder, without a store: their places and file names. Creates nothing.
    pub fn inputs_below(work: &Path) -> Vec<(String, PathBuf)> {
        Folder::open(work).map(|work| inputs(&work)).unwrap_or_default()
    }
}

impl DropStore for DiskDropStore {
    fn scan(&self, rules: &Rules) -> BoxFuture<'static, io::Result<Vec<(PathBuf, EntryState)>>> {
        let (folders, rules) = (self.folders.clone(), rules.clone());
        in_a_thread(
            move || Ok(folders.directory.open().and_then(|directory| scan::all(&directory, &rules))?),
            |error| Err(io::Error::other(error)),
        )
    }

    fn check(&self, rules: &Rules, relative: &Path) -> EntryState {
        match self.folders.directory.open() {
            Ok(directory) => scan::one(&directory, rules, relative),
            Err(_) => EntryState::Gone,
        }
    }

    fn identity(&self) -> Option<(u64, u64)> {
        let directory = self.folders.directory.open().ok()?;
        directory.identity().ok().map(|identity| (identity.device, identity.inode))
    }

    fn free_bytes(&self) -> Option<u64> {
        self.folders.work().and_then(|work| work.free_bytes()).ok()
    }

    fn unreliable(&self) -> Option<String> {
        let folder = self.folders.directory.path();
        let kind = watcher::unreliable_fs(folder)?;
        Some(format!("{} is on {kind}, which does not report all changes", folder.display()))
    }

    fn probe(&self) -> io::Result<()> {
        Ok(self.folders.directory.open().and_then(|directory| watcher::write_probe_file(&directory))?)
    }

    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Vec<Taken>> {
        let folders = self.folders.clone();
        in_a_thread(move || folders.take_all(takes), |_| vec![])
    }

    fn find(&self, place: &str, relative: &Path) -> Result<Option<StoredInput>, PlaceError> {
        self.folders.find(place, relative)
    }

    fn inputs(&self) -> Vec<(String, PathBuf)> {
        self.folders.work().map(|work| inputs(&work)).unwrap_or_default()
    }

    fn source(&self, place: &str, relative: &Path) -> PathBuf {
        self.folders.work.path().join(below(place, relative))
    }

    fn publish(&self, parcel: Parcel) -> BoxFuture<'static, Result<Published, NotPublished>> {
        let folders = self.folders.clone();
        let publish = move || {
            let roots = folders.root(parcel.root).open_or_create(SHARED);
            let roots = roots.and_then(|root| Ok((folders.work()?, root))).map_err(PlaceError::from);
            let (work, root) = roots?;
            let directory = folders.directory.open().ok();
            let kept =
                directory.and_then(|directory| Kept::find(&directory, &parcel.relative, &parcel.input));
            let Some(kept) = kept else { return publish::publish(&work, &root, &parcel) };
            folders.listings.forget(Path::new(&parcel.input));
            let place = || work.create_folders(&parcel.input, shelf::PRIVATE);
            kept.publish(place, &parcel, |parcel| publish::publish(&work, &root, parcel))
        };
        in_a_thread(publish, |error| {
            Err(refused("publish", Path::new("a result"), &io::Error::other(error)).into())
        })
    }

    fn root(&self, root: Root) -> PathBuf {
        self.folders.root(root).path().to_owned()
    }

    fn release(&self, place: &str) {
        self.folders.listings.forget(Path::new(place));
        self.in_work(|work| work.remove_empty_folder(place));
    }

    fn discard_results(&self, run: &str, folder: &str) {
        self.in_work(|work| work.remove(publish::results(run, folder)).map(|_| ()));
    }

    fn close_run(&self, run: &str) {
        self.in_work(|work| work.remove_empty_folder(Path::new(run).join(RESULTS)));
        self.in_work(|work| work.remove_empty_folder(run));
    }

    fn prune(&self) {
        self.in_work(|work| {
            for run in folders_in(work) {
                for task in work.folder(&run).map(|run| folders_in(&run)).unwrap_or_default() {
                    // This removes only empty folders.
                    let _ = work.remove_empty_folder(run.join(task));
                }
                let _ = work.remove_empty_folder(run);
            }
            Ok(())
        });
    }

    fn results(&self, plan: &RunPlan) -> Arc<dyn ResultPlace> {
        Arc::new(DiskPlace::of(plan, None))
    }
}

impl DiskDropStore {
    /// Runs an operation in the work folder that may fail: what stays there is found again.
    fn in_work(&self, work: impl FnOnce(&Folder) -> Result<(), FolderError>) {
        if let Err(error) = self.folders.work().and_then(|folder| work(&folder)) {
            tracing::debug!(%error, "left in the work folder");
        }
    }
}

/// Returns the path of an input in its place, relative to the work folder.
fn below(place: &str, relative: &Path) -> PathBuf {
    Path::new(place).join(relative.file_name().unwrap_or_default())
}

/// Returns the name of the input in a place: the expected one, or the only one there.
fn input_in(place: &Folder, relative: &Path) -> Result<Option<PathBuf>, FolderError> {
    let name = PathBuf::from(relative.file_name().unwrap_or_default());
    match place.holds(&name) {
        true => Ok(Some(name)),
        false => Ok(names_in(place)?.into_iter().next()),
    }
}

/// Returns the names of the inputs in a place: one or none.
fn names_in(place: &Folder) -> Result<BTreeSet<PathBuf>, FolderError> {
    let mut names: BTreeSet<PathBuf> = place.entries()?.into_iter().map(|entry| entry.name.into()).collect();
    names.remove(Path::new(shelf::COMING));
    if names.remove(Path::new(rehouse::OLD)) {
        names.extend(
            place.folder(rehouse::OLD)?.entries()?.into_iter().map(|entry| PathBuf::from(entry.name)),
        );
    }
    Ok(names)
}

fn look_of(place: &Folder, name: &Path) -> Result<FileSnapshot, FolderError> {
    match place.look(name) {
        Ok(look) => Ok(look),
        Err(TreeError::Folder(error)) if !error.shows_another_process() => Err(error),
        // Another process changed it after it was claimed. Its upload reports the error.
        Err(_) => Ok(place.facts(name)?.look()),
    }
}

fn folders_in(folder: &Folder) -> Vec<PathBuf> {
    let entries = folder.entries().unwrap_or_default().into_iter();
    entries.filter(|entry| entry.kind == Kind::Folder).map(|entry| entry.name.into()).collect()
}

fn inputs(work: &Folder) -> Vec<(String, PathBuf)> {
    let mut found = vec![];
    for run in folders_in(work) {
        let tasks = work.folder(&run).map(|run| folders_in(&run)).unwrap_or_default();
        for task in tasks.into_iter().filter(|task| task.as_os_str() != RESULTS) {
            let place = run.join(task);
            let names = work.folder(&place).and_then(|place| names_in(&place)).unwrap_or_default();
            found.extend(names.into_iter().map(|name| (place.display().to_string(), name)));
        }
    }
    found.sort();
    found
}

/// Runs blocking work on another thread than that of the actors.
fn in_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    lost: impl FnOnce(tokio::task::JoinError) -> T + Send + 'static,
) -> BoxFuture<'static, T> {
    let work = tokio::task::spawn_blocking(work);
    Box::pin(async move { work.await.unwrap_or_else(lost) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    pub(super) fn desk() -> (tempfile::TempDir, DiskDropStore) {
        let outer = tempfile::tempdir().unwrap();
        let path = |name: &str| outer.path().join(name);
        let folders = DropFolders {
            directory: path("drop"),
            done: path("done"),
            failed: path("failed"),
            work: path("work/id"),
        };
        let store = DiskDropStore::open(&folders).unwrap();
        (outer, store)
    }

    #[test]
    fn an_input_in_the_work_folder_is_found_after_interruptions_and_changes() {
        let (outer, store) = desk();
        let place = outer.path().join("work/id/r/t");
        assert_eq!(store.find("r/t", Path::new("a")).unwrap(), None);
        fs::create_dir_all(place.join(".old/a/deep")).unwrap();
        fs::create_dir_all(place.join("a")).unwrap();
        fs::write(place.join(".old/a/deep/x"), "12").unwrap();
        fs::write(place.join("a/y"), "345").unwrap();
        assert_eq!(store.inputs(), [("r/t".to_owned(), PathBuf::from("a"))]);
        let found = store.find("r/t", Path::new("sub/a")).unwrap().unwrap();
        assert_eq!((found.look.size_bytes, found.whole_folder), (5, true));
        assert_eq!(found.source, place.join("a"));
        assert_eq!(fs::read_to_string(place.join("a/deep/x")).unwrap(), "12");
        assert!(!place.join(".old").exists());
        // The upload rejects a file that has become a link.
        symlink("/etc/hostname", place.join("a/link")).unwrap();
        assert!(store.find("r/t", Path::new("a")).unwrap().is_some());
        fs::remove_dir_all(place.join("a")).unwrap();
        symlink("/etc/hostname", place.join("a")).unwrap();
        assert_eq!(store.find("r/t", Path::new("a")).unwrap(), None);
        assert_eq!(store.find("r/t/../../..", Path::new("etc")).ok(), None);
    }

    #[test]
    fn a_probe_writes_through_no_link() {
        let (outer, store) = desk();
        let victim = outer.path().join("victim");
        fs::write(&victim, "content").unwrap();
        symlink(&victim, outer.path().join("drop/.dropmill-probe")).unwrap();
        store.probe().unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "content");
        assert_eq!(fs::read_dir(outer.path().join("drop")).unwrap().count(), 0);
    }
}
