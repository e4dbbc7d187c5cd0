//! The lock that shows whether processes of a previous keeper may still run.

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::File,
    io,
    path::Path,
    time::{Duration, Instant},
};

/// Name of the locked file in the runner's folder; no pool's folder has this name.
const NAME: &str = ".keeper.lock";
/// Interval between attempts to get a lock that another process holds.
const TRY_EVERY: Duration = Duration::from_millis(2);

/// The locked file. The lock belongs to the open file: it is free when the runner and all keepers have closed
/// it.
#[derive(Debug)]
pub(in crate::runner) struct Lock(pub(super) File);

impl Lock {
    /// Takes the lock in a runner's folder, after the keepers of a previous process have ended their
    /// processes. Returns `None` if this takes longer than `patience`, or if the file system has no locks.
    ///
    /// # Errors
    /// Fails if the file cannot be opened.
    pub fn take(root: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let file = dropmill_private_files::open_or_create(&root.join(NAME))?;
        let started = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self(file))),
                Err(Errno::WOULDBLOCK) if started.elapsed() < patience => std::thread::sleep(TRY_EVERY),
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(%error, root = %root.display(), "cannot wait for task processes of a previous process");
                    return Ok(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_when_the_last_copy_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), Duration::ZERO).unwrap().unwrap();
        let copy = first.0.try_clone().unwrap();
        drop(first);
        assert!(Lock::take(folder.path(), Duration::ZERO).unwrap().is_none(), "a keeper has it");
        let frees = std::thread::spawn(move || drop(copy));
        assert!(Lock::take(folder.path(), Duration::from_secs(60)).unwrap().is_some());
        frees.join().unwrap();
    }
}
