//! The state folder: one folder for each run, which only its owner can read, and which is locked while
//! the run is running.

use crate::error::{StateError, UsageError};
use anyhow::Result;
use dropmill_azure_wire::time::{Timestamp, iso_seconds};
use dropmill_journal::{Journal, JournalError, RunHeader};
use dropmill_private_files as private_files;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Longest wait until locks of a dead process are released.
const LETTING_GO: Duration = Duration::from_secs(10);
/// Time between two checks that a locked folder is still in its place.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The place of runs and of the local service.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

/// The folder of a run, locked by this process.
pub struct RunFolder {
    /// The path of the state folder.
    pub path: PathBuf,
    _lock: File,
}

impl State {
    /// Returns the folder that was named, or the one that the environment names.
    pub fn at(named: Option<PathBuf>) -> Result<Self, UsageError> {
        if let Some(folder) = named {
            let absolute = std::path::absolute(&folder);
            let absolute = absolute.map_err(|error| UsageError::Argument {
                argument: format!("state folder {:?}", folder.display().to_string()),
                problem: error.to_string(),
            });
            return Ok(Self { folder: absolute? });
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
        let base = base.ok_or(UsageError::NoStateFolder)?;
        Ok(Self { folder: base.join("dropmill") })
    }

    /// Returns the path of the state folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder in which `serve` keeps its service.
    #[cfg(feature = "cli")]
    pub fn service(&self) -> PathBuf {
        self.folder.join("service")
    }

    /// Creates the state folder, or checks that no other user owns it or can write to it.
    ///
    /// # Errors
    /// Fails if another user owns it or can write to it, with what to do.
    #[cfg(feature = "cli")]
    pub fn create(&self) -> Result<()> {
        Ok(private_files::folder(&self.folder)?)
    }

    /// Creates and locks the folder of a new run.
    pub fn new_run(&self, run: &str, now: Timestamp) -> Result<RunFolder> {
        let path = self.folder.join("runs").join(run);
        for folder in [&self.folder, &self.folder.join("runs"), &path] {
            private_files::folder(folder)?;
        }
        let lock = hold(&path.join("lock"), now)?;
        Ok(RunFolder { path, _lock: lock })
    }

    /// Locks the folder of an existing run.
    pub fn hold_run(&self, path: &Path, now: Timestamp) -> Result<RunFolder> {
        for folder in [&self.folder, &self.folder.join("runs"), path] {
            private_files::folder(folder)?;
        }
        let lock = hold(&path.join("lock"), now)?;
        Ok(RunFolder { path: path.to_owned(), _lock: lock })
    }

    /// Returns the journals of the runs with the same settings, by [`Loaded::identity`](crate::settings::Loaded::identity),
    /// the latest first.
    pub fn runs_of(&self, identity: &Path) -> Result<Vec<(PathBuf, RunHeader)>> {
        let mut found = vec![];
        for entry in fs::read_dir(self.folder.join("runs")).into_iter().flatten() {
            let path = entry?.path();
            let journal = path.join("journal.db");
            // A folder without a journal belongs to a run that never began.
            if Journal::exists(&journal) {
                let Some(header) = header_of(&journal)? else { continue };
                if header.file.as_deref() == Some(identity) && header.watch.is_none() {
                    found.push((path, header));
                }
            }
        }
        found.sort_by(|(_, one), (_, other)| (other.created, &other.run).cmp(&(one.created, &one.run)));
        Ok(found)
    }

    /// Returns the runs of a daemon, found by its work folder, the oldest first.
    pub fn runs_of_daemon(&self, work: &Path) -> Result<Vec<(PathBuf, RunHeader)>> {
        let mut found = vec![];
        for entry in fs::read_dir(self.folder.join("runs")).into_iter().flatten() {
            let path = entry?.path();
            let journal = path.join("journal.db");
            if Journal::exists(&journal) {
                let Some(header) = header_of(&journal)? else { continue };
                if header.watch.as_deref() == Some(work) {
                    found.push((path, header));
                }
            }
        }
        found.sort_by(|(_, one), (_, other)| (one.created, &one.run).cmp(&(other.created, &other.run)));
        Ok(found)
    }

    /// Creates and locks the folder of the daemon of a drop folder.
    pub fn daemon(&self, name: &str, now: Timestamp) -> Result<RunFolder> {
        let path = self.folder.join("watch").join(name);
        for folder in [&self.folder, &self.folder.join("watch"), &path] {
            private_files::folder(folder)?;
        }
        let lock = hold(&path.join("lock"), now)?;
        Ok(RunFolder { path, _lock: lock })
    }

    /// Returns the folder of a run. `name` is its name, a unique prefix of it, the name of its run file (`run.name`, the
    /// latest run), or `latest`.
    ///
    /// # Errors
    /// Fails if there is no such run, or several begin with the prefix.
    pub fn find_run(&self, name: &str) -> Result<PathBuf, UsageError> {
        let runs = self.folder.join("runs");
        let mut found: Vec<String> = match fs::read_dir(&runs) {
            Ok(entries) => {
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            }
            Err(_) => vec![],
        };
        // Names of runs end with the time of their start.
        found.sort_by_key(|run| parts_of(run).0);
        if found.iter().any(|run| run == name) {
            return Ok(runs.join(name));
        }
        let of_file = |run: &&String| name == "latest" || parts_of(run).1 == name;
        if let Some(run) = found.iter().rfind(of_file) {
            return Ok(runs.join(run));
        }
        let mut like: Vec<_> = found.into_iter().filter(|run| run.starts_with(name)).collect();
        match (like.len(), like.pop()) {
            (1, Some(run)) => Ok(runs.join(run)),
            (count, Some(latest)) => Err(UsageError::AmbiguousRun { run: name.to_owned(), count, latest }),
            (_, None) => Err(UsageError::UnknownRun { run: name.to_owned(), state: self.folder.clone() }),
        }
    }
}

/// Splits the name of a run, such as `lines-20261123-074052-k3f9ab`, into the time of its start and the name
/// of its run file.
fn parts_of(run: &str) -> (String, &str) {
    let mut parts = run.rsplitn(4, '-');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(random), Some(time), Some(date), Some(file)) => (format!("{date}-{time}-{random}"), file),
        _ => (String::new(), ""),
    }
}

/// Waits until a locked folder was removed or replaced, and returns that as an error. Open files stay open in
/// that case: writing would succeed, but nothing that was written could be found later.
pub async fn taken_away(folder: PathBuf) -> StateError {
    let lock = folder.join("lock");
    let identity = || fs::metadata(&lock).map(|facts| (facts.dev(), facts.ino()));
    let held = identity().ok();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let gone = match identity() {
            Ok(now) => held.is_some_and(|held| held != now),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if gone {
            return StateError::Removed { folder };
        }
    }
}

/// Returns the header of a journal, or nothing if its run was interrupted before it wrote one.
fn header_of(journal: &Path) -> Result<Option<RunHeader>> {
    match Journal::header(journal) {
        Ok(header) => Ok(Some(header)),
        Err(JournalError::Empty { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether a process holds the lock of a run's folder, which means that the run is running.
#[cfg(feature = "cli")]
pub fn is_held(run: &Path) -> bool {
    let Ok(lock) = private_files::open_to_read(&run.join("lock")) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
}

/// Returns the holder of a folder's lock: `pid 12 since …`, or nothing if it is not locked.
#[cfg(any(test, feature = "cli"))]
pub fn holder(folder: &Path) -> Option<String> {
    let mut lock = private_files::open_to_read(&folder.join("lock")).ok()?;
    if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut holder = String::new();
    lock.read_to_string(&mut holder).ok()?;
    Some(holder.trim().to_owned())
}

/// Returns whether the process that wrote `pid 12 since …` may still be running: true if a process has this
/// number, or if that is unknown.
fn is_alive(holder: &str) -> bool {
    let pid = holder.strip_prefix("pid ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn hold(path: &Path, now: Timestamp) -> Result<File> {
    hold_after(path, now, || std::thread::sleep(Duration::from_millis(10)))
}

/// Locks a file. If the previous holder is dead but the lock is not yet released, calls `rest` and tries
/// again.
fn hold_after(path: &Path, now: Timestamp, mut rest: impl FnMut()) -> Result<File> {
    // The file is changed in place, not replaced: a new file would be another lock.
    let mut lock = private_files::open_or_create(path)?;
    let until = Instant::now() + LETTING_GO;
    while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let _ = lock.read_to_string(&mut holder);
        // A process that a killed program was just starting inherits the lock and holds it until it executes
        // its own program.
        if is_alive(&holder) || Instant::now() >= until {
            let holder = holder.trim().to_owned();
            return Err(StateError::InUse { path: path.to_owned(), holder }.into());
        }
        rest();
        lock.rewind()?;
    }
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "pid {} since {}", std::process::id(), iso_seconds(now))?;
    Ok(lock)
}

/// Returns this number of random bytes as hexadecimal digits.
pub fn random_name(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    // This fails only on systems without random numbers, which TLS and keys need too.
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .expect("the system has random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    // No flush to disk is needed: what must be durable is in the journal.
    Ok(private_files::replace(path, content, |_| Ok(()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_name_prefix_run_file_or_as_the_latest() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(Some(folder.path().to_owned())).unwrap();
        state.find_run("latest").unwrap_err();
        let runs =
            ["sums-20261123-074052-k3f9ab", "sums-20261124-060000-aaaaaa", "sum-20261123-235959-zzzzzz"];
        for run in runs {
            fs::create_dir_all(folder.path().join("runs").join(run)).unwrap();
        }
        let found = |name: &str| {
            state.find_run(name).map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        };
        assert_eq!(found(runs[0]).unwrap(), runs[0]);
        assert_eq!(found("sums-20261123").unwrap(), runs[0]);
        assert_eq!(found("sums").unwrap(), runs[1]);
        assert_eq!(found("sum").unwrap(), runs[2]);
        assert_eq!(found("latest").unwrap(), runs[1]);
        let error = found("sums-2026112").unwrap_err().to_string();
        assert!(error.contains("2 runs begin with sums-2026112") && error.contains(runs[1]), "{error}");
    }

    #[test]
    fn a_lock_file_of_a_dead_process_does_not_block_others() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(Some(folder.path().join("state"))).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        // The number in the file now belongs to another process: this one.
        let run = state.new_run("r", now).unwrap();
        let content = fs::read_to_string(run.path.join("lock")).unwrap();
        assert_eq!(holder(&run.path), Some(content.trim().to_owned()));
        drop(run);
        let path = state.folder().join("runs/r");
        assert_eq!(
            fs::read_to_string(path.join("lock")).unwrap(),
            content,
            "it still names a process that lives"
        );
        assert_eq!(holder(&path), None);
        let again = state.hold_run(&path, now).unwrap();
        let refused = state.hold_run(&path, now).err().unwrap().to_string();
        assert!(refused.contains(&format!("in use by pid {} since 1970", std::process::id())), "{refused}");
        drop(again);
    }

    #[test]
    fn a_lock_of_a_killed_program_is_awaited_until_its_starting_child_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        // No process has such a high number.
        fs::write(&path, format!("pid {} since 1970\n", i32::MAX)).unwrap();
        // The process that the dead one was starting still holds the lock.
        let mut left = Some(File::open(&path).unwrap());
        flock(left.as_ref().unwrap(), FlockOperation::NonBlockingLockExclusive).unwrap();
        let mut rests = 0;
        let held = hold_after(&path, Timestamp::UNIX_EPOCH, || {
            rests += 1;
            left = None;
        });
        held.unwrap();
        assert_eq!(rests, 1);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("pid {} since 1970-01-01T00:00:00Z\n", std::process::id())
        );
        // A lock whose holder is alive fails at once, without waiting.
        let _held = hold(&path, Timestamp::UNIX_EPOCH).unwrap();
        hold_after(&path, Timestamp::UNIX_EPOCH, || panic!("it must not wait")).unwrap_err();
    }
}
