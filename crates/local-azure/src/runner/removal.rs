//! Deletes folders later: on ext4, many deletions make it three times slower to create further folders.
//!
//! A folder is first moved into the trash, which is one rename. It is deleted when nothing has started for a
//! while, or slowly if that does not happen. A service deletes at its start what is left in the trash.

use super::control::lock;
use std::{
    collections::{HashSet, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Time without a start after which deletions begin.
const QUIET: Duration = Duration::from_millis(300);
/// Longest wait for such a time; after it, single deletions with delays between them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Number of folders whose entries are distributed one by one.
const MOST_TAKEN_APART: usize = 64;

/// Folders to be removed.
pub(super) struct Removal {
    trash: PathBuf,
    state: Mutex<State>,
    came: Condvar,
    /// Number of folders that are still in place: usually 0, and then a launch need not lock.
    asked: AtomicUsize,
    began: Instant,
    /// Time of the last start of a launch, in milliseconds since `began`.
    last_start: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Folders to be moved, oldest first, with the time of the request. Those that are no longer in `asked`
    /// were already moved.
    in_place: VecDeque<(PathBuf, Instant)>,
    /// The same folders, for lookup by launches.
    asked: HashSet<PathBuf>,
    /// Folders to be deleted, oldest first, with the time of their move.
    in_trash: VecDeque<(PathBuf, Instant)>,
    /// The next name in the trash: numbers that continue after a restart.
    next: u64,
    /// Set by [`Removal::close`]: time until which deletions may continue.
    closed: Option<Instant>,
}

impl Removal {
    /// Continues with the trash of a previous process.
    pub fn new(trash: PathBuf) -> Self {
        let now = Instant::now();
        let left: VecDeque<_> =
            fs::read_dir(&trash).into_iter().flatten().flatten().map(|entry| (entry.path(), now)).collect();
        let number = |path: &Path| path.file_name()?.to_str()?.parse().ok();
        let next = left.iter().filter_map(|(path, _)| number(path)).max().map_or(0, |last: u64| last + 1);
        Self {
            trash,
            state: Mutex::new(State { in_trash: left, next, ..State::default() }),
            came: Condvar::new(),
            asked: AtomicUsize::new(0),
            began: now,
            last_start: AtomicU64::new(0),
        }
    }

    /// Requests the removal of a folder.
    pub fn ask(&self, folder: PathBuf) {
        let mut state = lock(&self.state);
        if state.asked.insert(folder.clone()) {
            state.in_place.push_back((folder, Instant::now()));
        }
        self.asked.store(state.asked.len(), Ordering::Release);
        if state.in_place.len() == 1 {
            self.came.notify_one();
        }
    }

    /// Prepares a folder for a launch: moves an old folder away that is to be removed.
    ///
    /// # Errors
    /// Fails if the old folder cannot be moved.
    pub fn make_way(&self, folder: &Path) -> io::Result<()> {
        self.last_start.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
        if self.asked.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut state = lock(&self.state);
        for old in folder.ancestors() {
            if state.asked.remove(old) {
                self.asked.store(state.asked.len(), Ordering::Release);
                self.discard(&mut state, old)?;
            }
        }
        Ok(())
    }

    /// Moves a folder away at once; it need not exist.
    ///
    /// # Errors
    /// Fails if it cannot be moved.
    pub fn discard_now(&self, folder: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.asked.retain(|asked| !asked.starts_with(folder));
        self.asked.store(state.asked.len(), Ordering::Release);
        self.discard(&mut state, folder)?;
        self.came.notify_one();
        Ok(())
    }

    /// Moves the oldest folder that is still in place; returns whether there was an entry.
    fn move_next(&self, state: &mut State) -> bool {
        let Some((folder, _)) = state.in_place.pop_front() else { return false };
        if state.asked.remove(&folder) {
            self.asked.store(state.asked.len(), Ordering::Release);
            self.move_away(state, &folder);
        }
        true
    }

    fn move_away(&self, state: &mut State, folder: &Path) {
        if let Err(error) = self.discard(state, folder) {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove a folder");
        }
    }

    fn discard(&self, state: &mut State, folder: &Path) -> io::Result<()> {
        let target = self.trash.join(state.next.to_string());
        state.next += 1;
        match fs::rename(folder, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                state.in_trash.push_back((target, Instant::now()));
                Ok(())
            }
        }
    }

    /// Deletes for at most this time, then lets [`Removal::run`] return.
    pub fn close(&self, budget: Duration) {
        lock(&self.state).closed = Some(Instant::now() + budget);
        self.came.notify_all();
    }

    /// Moves and deletes until closed; blocks.
    pub fn run(&self) {
        let mut state = lock(&self.state);
        loop {
            if state.in_place.is_empty() && state.in_trash.is_empty() {
                if state.closed.is_some() {
                    return;
                }
                state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let closing = state.closed;
            if closing.is_some_and(|until| Instant::now() >= until) {
                // The next process deletes them from the trash.
                while self.move_next(&mut state) {}
                return;
            }
            let long = |entry: Option<&(PathBuf, Instant)>| {
                entry.is_some_and(|(_, since)| since.elapsed() >= PATIENCE)
            };
            let (place_waited, trash_waited) = (long(state.in_place.front()), long(state.in_trash.front()));
            let waited = place_waited || trash_waited;
            let quiet = self.quiet_for();
            if closing.is_none() && !waited && quiet < QUIET {
                state = self.rest(state, QUIET - quiet);
                continue;
            }
            // A rename is quick, so a launch may wait for it; a deletion is not. If nothing is idle for long,
            // the oldest folder is deleted, and newer ones wait.
            if (closing.is_some() || !trash_waited) && self.move_next(&mut state) {
                continue;
            }
            let Some((folder, _)) = state.in_trash.pop_front() else { continue };
            drop(state);
            let began = Instant::now();
            // A service that stops can use all its time.
            if closing.is_some() {
                delete_side_by_side(&folder);
            }
            if let Err(error) = delete(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "cannot delete a removed folder");
            }
            state = lock(&self.state);
            if closing.is_none() && self.quiet_for() < QUIET {
                state = self.rest(state, began.elapsed() * 4);
            }
        }
    }

    fn quiet_for(&self) -> Duration {
        let last = Duration::from_millis(self.last_start.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }

    fn rest<'a>(
        &self,
        state: std::sync::MutexGuard<'a, State>,
        length: Duration,
    ) -> std::sync::MutexGuard<'a, State> {
        self.came.wait_timeout(state, length).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Deletes most of a large folder on all processors; [`delete`] handles the rest and all errors.
fn delete_side_by_side(folder: &Path) {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut folders = VecDeque::from([folder.to_owned()]);
    // Nested folders are split until there is enough work for all threads.
    for _ in 0..MOST_TAKEN_APART {
        if folders.len() >= workers * 16 {
            break;
        }
        let Some(next) = folders.pop_front() else { return };
        let entries = fs::read_dir(next).into_iter().flatten().flatten();
        folders.extend(entries.filter(is_folder).map(|entry| entry.path()));
    }
    if folders.len() < workers {
        return;
    }
    let folders = Mutex::new(folders);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(folder) = { lock(&folders).pop_front() } {
                    fs::remove_dir_all(folder).ok();
                }
            });
        }
    });
}

fn is_folder(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Deletes a folder, even if its task removed write permissions in it.
fn delete(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(folder)?;
            fs::remove_dir_all(folder)
        }
        outcome => outcome,
    }
}

fn make_writable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn folder_with_file(path: &Path) {
        fs::create_dir_all(path.join("sub")).unwrap();
        fs::write(path.join("sub/file"), "x").unwrap();
    }

    #[test]
    fn requested_folders_are_deleted_when_closed() {
        let root = tempfile::tempdir().unwrap();
        let trash = root.path().join(".trash");
        fs::create_dir(&trash).unwrap();
        folder_with_file(&trash.join("7"));
        let removal = Arc::new(Removal::new(trash.clone()));
        let thread = std::thread::spawn({
            let removal = removal.clone();
            move || removal.run()
        });
        for name in ["a", "b", "c"] {
            folder_with_file(&root.path().join(name));
            removal.ask(root.path().join(name));
        }
        removal.ask(root.path().join("never there"));
        removal.close(Duration::from_secs(3600));
        thread.join().unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "only the trash is left");
        assert_eq!(fs::read_dir(&trash).unwrap().count(), 0);
    }

    #[test]
    fn a_launch_gets_an_empty_folder() {
        let root = tempfile::tempdir().unwrap();
        let trash = root.path().join(".trash");
        fs::create_dir(&trash).unwrap();
        let removal = Removal::new(trash.clone());
        folder_with_file(&root.path().join("job/task"));
        removal.ask(root.path().join("job"));
        removal.make_way(&root.path().join("other")).unwrap();
        assert!(root.path().join("job").exists());
        removal.make_way(&root.path().join("job/task")).unwrap();
        assert!(!root.path().join("job").exists());
        assert!(trash.join("0/task/sub/file").exists());
        removal.make_way(&root.path().join("job/task")).unwrap();
    }

    #[test]
    fn a_folder_requested_again_is_removed_again_and_once() {
        let root = tempfile::tempdir().unwrap();
        let trash = root.path().join(".trash");
        fs::create_dir(&trash).unwrap();
        let removal = Removal::new(trash.clone());
        let folder = root.path().join("task");
        for times in 1..=2 {
            folder_with_file(&folder);
            removal.ask(folder.clone());
            removal.ask(folder.clone());
            removal.make_way(&folder).unwrap();
            assert!(!folder.exists());
            assert_eq!(fs::read_dir(&trash).unwrap().count(), times);
        }
        // The new folder was not requested.
        folder_with_file(&folder);
        removal.close(Duration::ZERO);
        removal.run();
        assert!(folder.exists());
    }
}
