//! Results in a folder on this machine.
//!
//! Staging folders lie in `.dropmill-<run>` in the output folder, so that a rename never crosses file
//! systems. One thread makes waiting results durable in groups and renames them.

use super::{Delivery, PlaceError, ResultPlace, beside};
use crate::output_names::{OURS, guarded};
use dropmill_journal::event::DeliveredFile;
use dropmill_lifecycle::plan::{Existing, Layout, OutputPlan, Superseded};
use futures_util::future::BoxFuture;
use md5::{Digest, Md5};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, mkdirat, openat};
use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// From so many files on, one `syncfs` replaces the `fsync` of each.
const SYNC_TOGETHER: usize = 4;
/// How long a result waits for those that are being fetched, so that they share a flush.
const GATHER: Duration = Duration::from_millis(8);
/// Tries to find a free name.
const NAMES: u32 = 10_000;

/// Results in a folder.
pub struct DiskPlace {
    output: OutputPlan,
    staging: PathBuf,
    queue: Arc<Queue>,
    worker: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    inner: Mutex<Waiting>,
    news: Condvar,
}

impl Queue {
    /// What waits, with what comes within a moment if more is on its way; nothing when the place is closed.
    fn next_group(&self) -> Vec<Published> {
        let mut waiting = lock(self);
        while waiting.deliveries.is_empty() && !waiting.closed {
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + GATHER;
        while !waiting.staged.is_empty() && !waiting.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.news.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.deliveries.drain(..).collect()
    }
}

/// A result to be published, and who waits for it.
type Published = (Delivery, oneshot::Sender<Result<String, PlaceError>>);

#[derive(Default)]
struct Waiting {
    /// Tasks whose results are being fetched: neither published nor discarded.
    staged: BTreeSet<String>,
    deliveries: VecDeque<Published>,
    closed: bool,
}

impl DiskPlace {
    /// The place for one run's results. The folder is made when the first result comes.
    pub fn new(run: &str, output: &OutputPlan) -> Self {
        let staging = Self::staging(run, output);
        let queue = Arc::<Queue>::default();
        let publisher = Publisher { output: output.clone(), staging: staging.clone() };
        let waiting = queue.clone();
        let worker = std::thread::Builder::new()
            .name("results".into())
            .spawn(move || publisher.work(&waiting))
            .expect("a thread can be started");
        Self { output: output.clone(), staging, queue, worker: Some(worker) }
    }

    /// Where a run's results are staged.
    pub fn staging(run: &str, output: &OutputPlan) -> PathBuf {
        output.directory.join(format!("{OURS}-{run}"))
    }

    /// Only we look into the staging folder. What is published from it keeps the modes that the umask gives.
    fn make_staging(&self) -> io::Result<()> {
        if !self.staging.exists() {
            fs::create_dir_all(&self.output.directory)?;
        }
        Ok(dropmill_private_files::folder(&self.staging)?)
    }

    fn staged(&self, task: &str) -> PathBuf {
        self.staging.join(task)
    }

    /// Whether so many bytes fit: better than to find out when most of them are here.
    fn find_room(&self, needs_bytes: u64) -> Result<(), PlaceError> {
        let directory = &self.output.directory;
        let free = directory.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
        let free_bytes = free.map_or(u64::MAX, |facts| facts.f_bavail.saturating_mul(facts.f_frsize));
        match free_bytes < needs_bytes {
            false => Ok(()),
            true => Err(PlaceError::Refused {
                what: "find room in",
                path: directory.display().to_string(),
                reason: format!("a result needs {needs_bytes} B, {free_bytes} B are free"),
                may_pass: true,
            }),
        }
    }
}

/// A new file below a folder. Whatever is put into the way meanwhile, no link is followed: each folder is opened in the
/// one before it.
fn create_beneath(folder: &Path, path: &str) -> rustix::io::Result<File> {
    let as_folder = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, folder, as_folder, Mode::empty())?;
    let mut segments: Vec<&str> = path.split('/').collect();
    let name = segments.pop().unwrap_or_default();
    for segment in segments {
        match mkdirat(&at, segment, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        at = openat(&at, segment, as_folder, Mode::empty())?;
    }
    let anew = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&at, name, anew, Mode::from_raw_mode(0o666))?.into())
}

/// Removes the files of a staging folder that are not in `keep`; all of them, if one in `keep` is missing. Returns whether
/// those in `keep` are there.
fn empty_but_for(folder: &Path, keep: &BTreeSet<String>) -> io::Result<bool> {
    let is_file = |path: &String| fs::symlink_metadata(folder.join(path)).is_ok_and(|facts| facts.is_file());
    if !keep.is_empty() && keep.iter().all(is_file) {
        return remove_others(folder, "", keep).map(|()| true);
    }
    fs::remove_dir_all(folder).and_then(|()| fs::create_dir(folder)).map(|()| keep.is_empty())
}

/// Removes the files below a folder that are not in `keep`; `below` is the folder's path within the result, empty or
/// ending in `/`. Folders stay, links are not followed.
fn remove_others(folder: &Path, below: &str, keep: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let relative = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            remove_others(&entry.path(), &format!("{relative}/"), keep)?;
        } else if !keep.contains(&relative) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Drop for DiskPlace {
    fn drop(&mut self) {
        lock(&self.queue).closed = true;
        self.queue.news.notify_all();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        // Empty once every result was published or discarded; what a failed one left stays for a look.
        let _ = fs::remove_dir(&self.staging);
    }
}

impl ResultPlace for DiskPlace {
    fn stage(&self, task: &str, needs_bytes: u64, keep: &BTreeSet<String>) -> Result<bool, PlaceError> {
        lock(&self.queue).staged.insert(task.to_owned());
        let folder = self.staged(task);
        self.find_room(needs_bytes)?;
        self.make_staging().map_err(|error| refused("make folder", &self.staging, &error))?;
        match fs::create_dir(&folder) {
            Ok(()) => Ok(keep.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                empty_but_for(&folder, keep).map_err(|error| refused("empty folder", &folder, &error))
            }
            Err(error) => Err(refused("make folder", &folder, &error)),
        }
    }

    fn create(&self, task: &str, path: &str) -> Result<Box<dyn Write + Send>, PlaceError> {
        let staged = self.staged(task);
        let file = create_beneath(&staged, path)
            .map_err(|error| refused("create", &staged.join(path), &error.into()))?;
        Ok(Box::new(BufWriter::with_capacity(64 * 1024, file)))
    }

    fn publish(&self, delivery: Delivery) -> BoxFuture<'static, Result<String, PlaceError>> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = lock(&self.queue);
        waiting.staged.remove(&delivery.task);
        waiting.deliveries.push_back((delivery, answer));
        drop(waiting);
        self.queue.news.notify_one();
        let directory = self.output.directory.clone();
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| {
                let gone = io::Error::other("the thread that publishes results is gone");
                Err(refused("publish below", &directory, &gone))
            })
        })
    }

    fn discard(&self, task: &str) {
        lock(&self.queue).staged.remove(task);
        let _ = fs::remove_dir_all(self.staged(task));
    }
}

fn lock(queue: &Queue) -> std::sync::MutexGuard<'_, Waiting> {
    queue.inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether somebody may make it pass: space is freed, a file system is mounted for writing again.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | Interrupted)
}

pub(crate) fn refused(what: &'static str, path: &Path, error: &io::Error) -> PlaceError {
    let may_pass = may_pass(error);
    PlaceError::Refused { what, path: path.display().to_string(), reason: error.to_string(), may_pass }
}

/// The thread's part.
struct Publisher {
    output: OutputPlan,
    staging: PathBuf,
}

impl Publisher {
    fn work(&self, queue: &Queue) {
        loop {
            let group = queue.next_group();
            if group.is_empty() {
                return;
            }
            self.publish_group(group);
        }
    }

    /// Contents first, then names, then the folders that hold the names: each step for the whole group.
    fn publish_group(&self, group: Vec<Published>) {
        let synced = self.sync_contents(&group);
        let mut folders = BTreeSet::new();
        let mut outcomes = vec![];
        for (delivery, answer) in group {
            let outcome = synced.clone().and_then(|()| self.put(&delivery, &mut folders));
            outcomes.push((answer, outcome));
        }
        let named = self.sync_names(&folders);
        for (answer, outcome) in outcomes {
            // Nobody waits any more for a result whose run was given up; it is in place all the same.
            let _ = answer.send(outcome.and_then(|folder| named.clone().map(|()| folder)));
        }
    }

    fn sync_contents(&self, group: &[Published]) -> Result<(), PlaceError> {
        if group.iter().map(|(delivery, _)| delivery.files.len()).sum::<usize>() >= SYNC_TOGETHER {
            return sync_file_system(&self.staging);
        }
        for (delivery, _) in group {
            let folder = self.staging.join(&delivery.task);
            for file in &delivery.files {
                sync(&folder.join(&file.path))?;
            }
            sync(&folder)?;
        }
        Ok(())
    }

    fn sync_names(&self, folders: &BTreeSet<PathBuf>) -> Result<(), PlaceError> {
        if folders.len() >= SYNC_TOGETHER {
            return sync_file_system(&self.output.directory);
        }
        folders.iter().try_for_each(|folder| sync(folder))
    }

    fn put(&self, delivery: &Delivery, folders: &mut BTreeSet<PathBuf>) -> Result<String, PlaceError> {
        match self.output.layout {
            Layout::ByInput => self.put_folder(delivery, folders),
            Layout::Flat => self.put_files(delivery, folders).map(|()| String::new()),
        }
    }

    fn put_folder(&self, delivery: &Delivery, folders: &mut BTreeSet<PathBuf>) -> Result<String, PlaceError> {
        let staged = self.staging.join(&delivery.task);
        for tries in 0..NAMES {
            let folder = beside(&guarded(&delivery.folder), tries, true);
            let place = self.output.directory.join(&folder);
            let parent = place.parent().unwrap_or(&self.output.directory).to_path_buf();
            match rename_new(&staged, &place) {
                Ok(()) => {
                    folders.insert(parent);
                    return Ok(folder);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(&parent).map_err(|error| refused("make folder", &parent, &error))?;
                    let mut above = parent.parent();
                    while let Some(folder) = above.filter(|above| above.starts_with(&self.output.directory)) {
                        folders.insert(folder.to_path_buf());
                        above = folder.parent();
                    }
                    rename_new(&staged, &place).map_err(|error| refused("rename to", &place, &error))?;
                    folders.insert(parent);
                    return Ok(folder);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if same_folder(&place, &delivery.files) {
                        fs::remove_dir_all(&staged).map_err(|error| refused("remove", &staged, &error))?;
                        return Ok(folder);
                    }
                    let superseded = delivery
                        .supersedes
                        .as_ref()
                        .is_some_and(|old| old.folder == folder && same_folder(&place, &files_of(old)));
                    match self.output.existing {
                        Existing::KeepBoth if !superseded => {}
                        Existing::Refuse if !superseded => {
                            return Err(PlaceError::Taken { path: place.display().to_string() });
                        }
                        Existing::Replace | Existing::KeepBoth | Existing::Refuse => {
                            exchange(&staged, &place).map_err(|error| refused("replace", &place, &error))?;
                            folders.insert(parent);
                            remove_any(&staged).map_err(|error| refused("remove", &staged, &error))?;
                            return Ok(folder);
                        }
                    }
                }
                Err(error) => return Err(refused("rename to", &place, &error)),
            }
        }
        Err(PlaceError::Taken { path: self.output.directory.join(&delivery.folder).display().to_string() })
    }

    fn put_files(&self, delivery: &Delivery, folders: &mut BTreeSet<PathBuf>) -> Result<(), PlaceError> {
        let staged = self.staging.join(&delivery.task);
        for file in &delivery.files {
            let name = flat_name(&delivery.input, &file.path);
            self.put_file(&staged.join(&file.path), &name, file, folders)?;
        }
        fs::remove_dir_all(&staged).map_err(|error| refused("remove", &staged, &error))
    }

    fn put_file(
        &self,
        staged: &Path,
        name: &str,
        file: &DeliveredFile,
        folders: &mut BTreeSet<PathBuf>,
    ) -> Result<(), PlaceError> {
        for tries in 0..NAMES {
            let place = self.output.directory.join(beside(name, tries, false));
            let parent = place.parent().unwrap_or(&self.output.directory).to_path_buf();
            fs::create_dir_all(&parent).map_err(|error| refused("make folder", &parent, &error))?;
            match rename_new(staged, &place) {
                Ok(()) => {
                    folders.insert(parent);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if same_file(&place, file) {
                        return Ok(());
                    }
                    match self.output.existing {
                        Existing::KeepBoth => {}
                        Existing::Refuse => {
                            return Err(PlaceError::Taken { path: place.display().to_string() });
                        }
                        Existing::Replace => {
                            exchange(staged, &place).map_err(|error| refused("replace", &place, &error))?;
                            folders.insert(parent);
                            return Ok(());
                        }
                    }
                }
                Err(error) => return Err(refused("rename to", &place, &error)),
            }
        }
        Err(PlaceError::Taken { path: self.output.directory.join(name).display().to_string() })
    }
}

/// In a flat layout standard output and error carry the input's name, outputs their own, which is guarded already.
fn flat_name(input: &str, path: &str) -> String {
    match path {
        "stdout.txt" | "stderr.txt" => guarded(&format!("{input}.{path}")),
        _ => path.to_owned(),
    }
}

/// Renames without replacing. A file system that cannot say so is asked in two steps.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            match rustix::fs::statat(CWD, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
                Err(rustix::io::Errno::NOENT) => fs::rename(from, to),
                Err(error) => Err(error.into()),
            }
        }
        outcome => Ok(outcome?),
    }
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

fn remove_any(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

pub(crate) fn sync(path: &Path) -> Result<(), PlaceError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| refused("sync", path, &error))
}

fn sync_file_system(below: &Path) -> Result<(), PlaceError> {
    File::open(below)
        .and_then(|folder| Ok(rustix::fs::syncfs(&folder)?))
        .map_err(|error| refused("sync file system of", below, &error))
}

fn files_of(old: &Superseded) -> Vec<DeliveredFile> {
    let file = |(path, bytes, md5): &(String, u64, String)| DeliveredFile {
        path: path.clone(),
        bytes: *bytes,
        md5: md5.clone(),
    };
    old.files.iter().map(file).collect()
}

/// Whether the folder holds exactly these files: a result that was published before its event was recorded.
fn same_folder(place: &Path, files: &[DeliveredFile]) -> bool {
    let mut found = 0;
    let mut folders = vec![place.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { return false };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                Ok((path, kind)) if kind.is_dir() => folders.push(path),
                Ok(_) => found += 1,
                Err(_) => return false,
            }
        }
    }
    found == files.len() && files.iter().all(|file| same_file(&place.join(&file.path), file))
}

fn same_file(place: &Path, file: &DeliveredFile) -> bool {
    let Ok(found) = fs::symlink_metadata(place) else { return false };
    found.is_file() && found.len() == file.bytes && md5_of(place).is_ok_and(|md5| md5 == file.md5)
}

fn md5_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Md5::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
