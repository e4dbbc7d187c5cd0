//! Results in a folder on this machine.
//!
//! Staging folders are in `.dropmill-<run>` in the output folder, so that a rename never crosses file
//! systems. One thread makes waiting results durable in groups and renames them.

use super::{Delivery, PlaceError, Placed, ResultPlace, logs::Logs, publisher::Publisher};
use crate::output_names::OURS;
use dropmill_azure_wire::blob::FileMetadata;
use dropmill_journal::results::OwnResults;
use dropmill_lifecycle::plan::{Layout, OutputPlan, RunPlan};
use futures_util::future::BoxFuture;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Time that a result waits for others that are being downloaded, so that they share a flush.
const GATHER: Duration = Duration::from_millis(8);
/// Results in a folder.
pub struct DiskPlace {
    output: OutputPlan,
    staging: PathBuf,
    queue: Arc<Queue>,
    worker: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Waiting>,
    news: Condvar,
}

impl Queue {
    /// Returns the waiting results, with those that arrive shortly after; empty when the place is closed.
    pub(super) fn next_group(&self) -> Vec<Published> {
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

/// A result to be published, and the channel for the outcome.
pub(super) type Published = (Delivery, oneshot::Sender<Result<Placed, PlaceError>>);

#[derive(Default)]
struct Waiting {
    /// Tasks whose results are being downloaded, not yet published or discarded, with the number of bytes
    /// still to come.
    staged: BTreeMap<String, Arc<AtomicU64>>,
    deliveries: VecDeque<Published>,
    closed: bool,
}

impl DiskPlace {
    /// Creates the place for the results of a run. The folder is created with the first result. If the plan
    /// names its run file, results are recorded as its own. `logs` is the folder for standard output and
    /// error of successful tasks with the layout `mirror`.
    pub fn of(plan: &RunPlan, logs: Option<PathBuf>) -> Self {
        let keeps_new = plan.output.layout != Layout::ByInput;
        let open = |file: &PathBuf| OwnResults::open(&plan.output.directory, file, keeps_new);
        let own = plan.run_file.as_ref().map(open).transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the record of earlier results: they are kept, and new ones get other names");
            None
        });
        Self::with(&plan.run, &plan.output, own, plan.recipe.clone(), logs)
    }

    fn with(
        run: &str,
        output: &OutputPlan,
        own: Option<OwnResults>,
        recipe: BTreeMap<String, String>,
        logs: Option<PathBuf>,
    ) -> Self {
        let staging = Self::staging(run, output);
        let queue = Arc::<Queue>::default();
        let publisher = Publisher {
            run: run.to_owned(),
            output: output.clone(),
            staging: staging.clone(),
            own,
            recipe,
            logs: logs.map(Logs::in_folder),
        };
        let waiting = queue.clone();
        let worker = std::thread::Builder::new()
            .name("results".into())
            .spawn(move || publisher.work(&waiting))
            .expect("a thread can be started");
        Self { output: output.clone(), staging, queue, worker: Some(worker) }
    }

    /// Returns the staging folder of a run's results.
    pub fn staging(run: &str, output: &OutputPlan) -> PathBuf {
        output.directory.join(format!("{OURS}-{run}"))
    }

    /// Only this user can access the staging folder. What is published from it keeps the modes that the umask
    /// allows.
    fn make_staging(&self) -> io::Result<()> {
        if !self.staging.exists() {
            fs::create_dir_all(&self.output.directory)?;
        }
        Ok(dropmill_private_files::folder(&self.staging)?)
    }

    fn staged(&self, task: &str) -> PathBuf {
        self.staging.join(task)
    }

    /// Reserves disk space for a task's result, in addition to what other results still need. Without this,
    /// results that are downloaded together would each use a part of the space that one needs, and none would
    /// be complete.
    fn reserve(&self, task: &str, needs_bytes: u64) -> Result<(), PlaceError> {
        let directory = &self.output.directory;
        let mut waiting = lock(&self.queue);
        waiting.staged.remove(task);
        let free = directory.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
        let free_bytes = free.map_or(u64::MAX, |facts| facts.f_bavail.saturating_mul(facts.f_frsize));
        let others = waiting.staged.values().map(|bytes| bytes.load(Relaxed));
        let reserved_bytes = others.fold(0, u64::saturating_add);
        if needs_bytes == 0 || needs_bytes <= free_bytes.saturating_sub(reserved_bytes) {
            waiting.staged.insert(task.to_owned(), Arc::new(needs_bytes.into()));
            return Ok(());
        }
        let reserved = match reserved_bytes {
            0 => String::new(),
            bytes => format!(", of which {bytes} B are reserved for other results"),
        };
        Err(PlaceError::Refused {
            what: "find room in",
            path: directory.display().to_string(),
            reason: format!("a result needs {needs_bytes} B, {free_bytes} B are free{reserved}"),
            may_pass: true,
        })
    }
}

/// A file of a result. Written bytes no longer have to be reserved.
struct Reserved {
    file: File,
    left_bytes: Option<Arc<AtomicU64>>,
}

impl Write for Reserved {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if let Some(left) = &self.left_bytes {
            let _ = left.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(written as u64)));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Creates a file below a folder. Never follows links: each folder is opened relative to its parent.
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

/// Opens a file below a folder; never follows links.
fn open_beneath(folder: &Path, path: &str) -> rustix::io::Result<File> {
    let as_folder = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, folder, as_folder, Mode::empty())?;
    let mut segments: Vec<&str> = path.split('/').collect();
    let name = segments.pop().unwrap_or_default();
    for segment in segments {
        at = openat(&at, segment, as_folder, Mode::empty())?;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(&at, name, flags, Mode::empty())?.into())
}

/// Removes the files of a staging folder that are not in `keep`; all of them, if one in `keep` is missing.
/// Returns whether those in `keep` exist.
fn empty_but_for(folder: &Path, keep: &BTreeSet<String>) -> io::Result<bool> {
    let is_file = |path: &String| fs::symlink_metadata(folder.join(path)).is_ok_and(|facts| facts.is_file());
    if !keep.is_empty() && keep.iter().all(is_file) {
        return remove_others(folder, "", keep).map(|()| true);
    }
    fs::remove_dir_all(folder).and_then(|()| fs::create_dir(folder)).map(|()| keep.is_empty())
}

/// Removes the files below a folder that are not in `keep`; `below` is the folder's path within the result,
/// empty or ending in `/`. Folders stay, links are not followed.
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
        // Succeeds only if every result was published or discarded; the remains of a failed one stay for
        // inspection.
        let _ = fs::remove_dir(&self.staging);
    }
}

impl ResultPlace for DiskPlace {
    fn stage(&self, task: &str, needs_bytes: u64, keep: &BTreeSet<String>) -> Result<bool, PlaceError> {
        let folder = self.staged(task);
        // Remains of an earlier attempt are removed first: they may be what fills the disk.
        let kept = match folder.exists() {
            true => empty_but_for(&folder, keep).map_err(|error| refused("empty folder", &folder, &error))?,
            false => keep.is_empty(),
        };
        self.reserve(task, needs_bytes)?;
        let make = || self.make_staging().and_then(|()| fs::create_dir_all(&folder));
        make().map_err(|error| refused("make folder", &folder, &error))?;
        Ok(kept)
    }

    fn create(&self, task: &str, path: &str) -> Result<Box<dyn Write + Send>, PlaceError> {
        let staged = self.staged(task);
        let file = create_beneath(&staged, path)
            .map_err(|error| refused("create", &staged.join(path), &error.into()))?;
        let left_bytes = lock(&self.queue).staged.get(task).cloned();
        Ok(Box::new(BufWriter::with_capacity(64 * 1024, Reserved { file, left_bytes })))
    }

    fn settle(&self, task: &str, path: &str, facts: &FileMetadata) -> Result<(), PlaceError> {
        let (Some(mode), Some(modified)) = (facts.mode, facts.modified) else { return Ok(()) };
        let staged = self.staged(task);
        let settle = || -> io::Result<()> {
            let file = open_beneath(&staged, path)?;
            file.set_modified(modified)?;
            file.set_permissions(fs::Permissions::from_mode(mode))
        };
        settle().map_err(|error| refused("set mode and time of", &staged.join(path), &error))
    }

    fn publish(&self, delivery: Delivery) -> BoxFuture<'static, Result<Placed, PlaceError>> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = lock(&self.queue);
        waiting.staged.remove(&delivery.task);
        waiting.deliveries.push_back((delivery, answer));
        drop(waiting);
        self.queue.news.notify_one();
        let directory = self.output.directory.clone();
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| {
                let gone = io::Error::other("the thread that publishes results has ended");
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

/// Returns whether the user can fix the problem: by freeing space, or remounting a file system for writing.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | Interrupted)
}

pub(crate) fn refused(what: &'static str, path: &Path, error: &io::Error) -> PlaceError {
    let may_pass = may_pass(error);
    PlaceError::Refused { what, path: path.display().to_string(), reason: error.to_string(), may_pass }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "own_tests.rs"]
mod own_tests;
