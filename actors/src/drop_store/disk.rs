//! The folders of a drop folder's daemon on this machine.

mod publish;
mod scan;
mod shelf;

use super::{
    DropStore, EntryState, NotPublished, Parcel, Published, Root, Rules, StoredInput, Take, Taken, tree,
};
use crate::{
    drop_folder::watcher,
    inputs::Inputs,
    place::{DiskPlace, PlaceError, ResultPlace, refused},
};
use dropmill_azure_client::blob::FileSource;
use dropmill_lifecycle::{
    Trouble,
    plan::{Item, RunPlan},
};
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Folder of the results of a run's tasks, in the run's folder below the work folder.
const RESULTS: &str = ".results";

/// The folders of one daemon, absolute.
#[derive(Debug, Clone)]
pub struct DropFolders {
    /// Where files appear.
    pub directory: PathBuf,
    /// Where results go.
    pub done: PathBuf,
    /// Where failures go.
    pub failed: PathBuf,
    /// Where inputs are while they are worked on: `<run>/<task>/<file>`.
    pub work: PathBuf,
}

/// Files on this machine; cheap to clone.
#[derive(Debug, Clone)]
pub struct DiskDropStore {
    folders: Arc<DropFolders>,
}

impl DiskDropStore {
    /// Opens the folders of a daemon, which exist.
    pub fn new(folders: DropFolders) -> Self {
        Self { folders: Arc::new(folders) }
    }

    fn place(&self, place: &str, relative: &Path) -> PathBuf {
        self.folders.work.join(place).join(relative.file_name().unwrap_or_default())
    }

    fn take_one(&self, take: Take) -> Taken {
        let from = self.folders.directory.join(&take.relative);
        let to = self.place(&take.place, &take.relative);
        let marker = take.marker.map(|marker| self.folders.directory.join(marker));
        let outcome = shelf::take(&from, &to, &take.look, marker.as_deref());
        // An input that cannot be read is no duplicate; its upload says why.
        let hash = take.hash && outcome.is_ok();
        let key = hash.then(|| key_of(&take.relative, &to).ok()).flatten();
        Taken { id: take.id, outcome, key }
    }
}

impl DropStore for DiskDropStore {
    fn scan(&self, rules: &Rules) -> BoxFuture<'static, io::Result<Vec<(PathBuf, EntryState)>>> {
        let (folders, rules) = (self.folders.clone(), rules.clone());
        in_a_thread(move || scan::all(&folders.directory, &rules), |error| Err(io::Error::other(error)))
    }

    fn check(&self, rules: &Rules, relative: &Path) -> EntryState {
        scan::one(&self.folders.directory, rules, relative)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(&self.folders.directory).ok().map(|facts| (facts.dev(), facts.ino()))
    }

    fn free_bytes(&self) -> Option<u64> {
        let facts = rustix::fs::statvfs(&self.folders.work).ok()?;
        Some(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    fn unreliable(&self) -> Option<String> {
        let kind = watcher::unreliable_fs(&self.folders.directory)?;
        let folder = self.folders.directory.display();
        Some(format!("{folder} is on {kind}, which does not report all changes"))
    }

    fn probe(&self) -> io::Result<()> {
        watcher::write_probe_file(&self.folders.directory)
    }

    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Vec<Taken>> {
        let store = self.clone();
        in_a_thread(move || takes.into_iter().map(|take| store.take_one(take)).collect(), |_| vec![])
    }

    fn find(&self, place: &str, relative: &Path) -> Result<Option<StoredInput>, PlaceError> {
        let to = self.place(place, relative);
        shelf::go_on_taking(&self.folders.directory.join(relative), &to)?;
        let found =
            if fs::symlink_metadata(&to).is_ok() { Some(to) } else { shelf::only_file_in(to.parent()) };
        let Some(source) = found else { return Ok(None) };
        let look = scan::look_at(&source).map_err(|error| refused("look at", &source, &error))?;
        let whole_folder = source.is_dir();
        Ok(Some(StoredInput { source, look, whole_folder }))
    }

    fn inputs(&self) -> Vec<(String, PathBuf)> {
        let mut found = vec![];
        for run in entries(&self.folders.work) {
            for task in
                entries(&self.folders.work.join(&run)).into_iter().filter(|task| task.as_os_str() != RESULTS)
            {
                for file in entries(&self.folders.work.join(&run).join(&task)) {
                    if file.as_os_str() != shelf::COMING {
                        found.push((
                            format!("{run}/{task}", run = run.display(), task = task.display()),
                            file,
                        ));
                    }
                }
            }
        }
        found.sort();
        found
    }

    fn source(&self, place: &str, relative: &Path) -> PathBuf {
        self.place(place, relative)
    }

    fn publish(&self, parcel: Parcel) -> BoxFuture<'static, Result<Published, NotPublished>> {
        let folders = self.folders.clone();
        in_a_thread(
            move || publish::publish(&folders, &parcel),
            |error| Err(refused("publish", Path::new("a result"), &io::Error::other(error)).into()),
        )
    }

    fn root(&self, root: Root) -> PathBuf {
        publish::root(&self.folders, root).to_owned()
    }

    fn release(&self, place: &str) {
        let _ = fs::remove_dir(self.folders.work.join(place));
    }

    fn discard_results(&self, run: &str, folder: &str) {
        let _ = fs::remove_dir_all(publish::results(&self.folders, run, folder));
    }

    fn close_run(&self, run: &str) {
        let _ = fs::remove_dir(self.folders.work.join(run).join(RESULTS));
        let _ = fs::remove_dir(self.folders.work.join(run));
    }

    fn prune(&self) {
        for run in entries(&self.folders.work) {
            let run = self.folders.work.join(run);
            for task in entries(&run) {
                // This removes empty folders only.
                let _ = fs::remove_dir(run.join(task));
            }
            let _ = fs::remove_dir(run);
        }
    }

    fn results(&self, plan: &RunPlan) -> Arc<dyn ResultPlace> {
        Arc::new(DiskPlace::new(&plan.run, &plan.output))
    }
}

impl Inputs for DiskDropStore {
    fn files(&self, item: &Item) -> BoxFuture<'static, Result<Vec<PathBuf>, Trouble>> {
        crate::inputs::PathInputs.files(item)
    }

    fn open(&self, item: &Item, below: Option<&Path>) -> io::Result<FileSource> {
        crate::inputs::PathInputs.open(item, below)
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().into()).collect()
}

/// Runs blocking work beside the actors' thread.
fn in_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    lost: impl FnOnce(tokio::task::JoinError) -> T + Send + 'static,
) -> BoxFuture<'static, T> {
    let work = tokio::task::spawn_blocking(work);
    Box::pin(async move { work.await.unwrap_or_else(lost) })
}

/// Returns a hash of name and content of an input; of a folder, of names and contents of all files in it.
fn key_of(relative: &Path, input: &Path) -> io::Result<String> {
    use std::os::unix::ffi::OsStrExt;
    let mut hash = Sha256::new();
    hash.update(relative.as_os_str().as_bytes());
    hash.update([0]);
    if input.is_dir() {
        for file in tree::files(input).map_err(io::Error::other)? {
            hash.update(file.relative.as_os_str().as_bytes());
            hash.update([0]);
            hash.update(file.facts.len().to_le_bytes());
            add_content(&mut hash, &input.join(&file.relative))?;
        }
    } else {
        add_content(&mut hash, input)?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn add_content(hash: &mut Sha256, file: &Path) -> io::Result<()> {
    let mut file = fs::File::open(file)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(()),
            read => hash.update(&buffer[..read]),
        }
    }
}
