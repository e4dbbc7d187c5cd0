//! Deleting folders late: on ext4 many deletions make the next folders three times slower to create.
//!
//! A folder is first moved into the trash, which is one rename, and deleted when nothing has been started for a
//! while, or slowly when that does not happen. What is in the trash when the service stops goes at its next start.

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

/// Nothing started for so long: now is the time.
const QUIET: Duration = Duration::from_millis(300);
/// Longest wait for a quiet moment; after it, one deletion at a time with rests between.
const PATIENCE: Duration = Duration::from_secs(10);

/// Folders whose entries are dealt out one by one.
const MOST_TAKEN_APART: usize = 64;

/// Folders on their way out.
pub(super) struct Removal {
    trash: PathBuf,
    state: Mutex<State>,
    came: Condvar,
    /// Folders still in their place: mostly none, and then a launch need not look.
    asked: AtomicUsize,
    began: Instant,
    /// When the last launch started, in milliseconds since `began`.
    last_start: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Folders to be moved, oldest first, and since when. Those that are not in `asked` any more went already.
    in_place: VecDeque<(PathBuf, Instant)>,
    /// The same, for launches to find.
    asked: HashSet<PathBuf>,
    /// Folders to be deleted, oldest first, and since when.
    in_trash: VecDeque<(PathBuf, Instant)>,
    /// Names in the trash are numbers, counted over all lives of the service.
    next: u64,
    /// Set by [`Removal::close`]: until when deleting may go on.
    closed: Option<Instant>,
}

impl Removal {
    /// Takes over what an earlier life left in the trash.
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

    /// Has a folder removed soon.
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

    /// A launch is about to use this folder: what was there and is to be removed goes first.
    ///
    /// # Errors
    /// When the old folder cannot be moved away.
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

    /// Moves a folder away at once; that it is not there is no error.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn discard_now(&self, folder: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.asked.retain(|asked| !asked.starts_with(folder));
        self.asked.store(state.asked.len(), Ordering::Release);
        self.discard(&mut state, folder)?;
        self.came.notify_one();
        Ok(())
    }

    /// Moves the oldest folder away that is still to go; whether there was an entry at all.
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
            tracing::warn!(folder = %folder.display(), %error, "a folder could not be removed");
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

    /// Deletes for at most so long, then lets [`Removal::run`] return.
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
                // From the trash the next life takes it over.
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
            // A rename is quick, so a launch that wants the folder's place may wait for it; a deletion is not.
            // Where nothing is quiet for long, what waited shortest waits on while what waited longest is deleted.
            if (closing.is_some() || !trash_waited) && self.move_next(&mut state) {
                continue;
            }
            let Some((folder, _)) = state.in_trash.pop_front() else { continue };
            drop(state);
            let began = Instant::now();
            // A service that stops has nothing better to do.
            if closing.is_some() {
                delete_side_by_side(&folder);
            }
            if let Err(error) = delete(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "a removed folder could not be deleted");
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

/// Deletes most of a large folder on all processors; what is left, and every error, is for [`delete`].
fn delete_side_by_side(folder: &Path) {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut folders = VecDeque::from([folder.to_owned()]);
    // Folders of folders are taken apart until there is enough for everybody.
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

/// Deletes a folder also when its task took write permission from folders in it.
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
    fn what_was_asked_for_is_gone_when_closed() {
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
    fn a_launch_finds_its_place_empty() {
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
    fn a_folder_asked_for_again_goes_again_and_once() {
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
        // What is there now was not asked for.
        folder_with_file(&folder);
        removal.close(Duration::ZERO);
        removal.run();
        assert!(folder.exists());
    }
}
