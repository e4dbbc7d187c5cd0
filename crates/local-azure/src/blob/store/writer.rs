//! The only thread that writes: it commits groups, and deletes unused contents when it is idle.

use super::{
    StoreError,
    change::Change,
    content::Place,
    index::Index,
    queue::{Group, Queue, Ticket, Work},
    tables,
};
use crate::durability::Durability;
use rusqlite::Connection;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::ErrorKind,
    mem::replace,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The writer of one store.
#[allow(missing_docs)]
pub struct Writer {
    pub database: Connection,
    pub durability: Durability,
    /// Path of the database, for errors.
    pub path: PathBuf,
    /// Folder of contents.
    pub files: PathBuf,
    pub queue: Arc<Queue>,
    pub index: Arc<Mutex<Index>>,
}

/// However the thread ends, no caller waits for ever.
struct Gone(Arc<Queue>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub fn work(mut self) {
        let _gone = Gone(self.queue.clone());
        while let Some(Work { group, rows, files, container }) = self.queue.next() {
            match group {
                Some(group) => self.commit(group, &rows),
                None if rows.is_empty() => {}
                None => tidied("delete rows", tables::write(&mut self.database, None, &rows)),
            }
            for id in files {
                match fs::remove_file(self.files.join(id.to_string())) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        tracing::warn!(id, %error, "cannot delete an unused content");
                    }
                    _ => {}
                }
            }
            if let Some(id) = container {
                match tables::clear(&self.database, id) {
                    Ok(true) => self.queue.discard_container(id),
                    outcome => tidied("clear container", outcome.map(drop)),
                }
            }
        }
    }

    fn commit(&mut self, group: Group, rows: &[i64]) {
        match self.write(&group, rows) {
            Ok(()) => {
                group.changes.iter().for_each(Change::settle);
                for change in &group.changes {
                    if let Change::DropContainer { id, .. } = change {
                        self.queue.discard_container(*id);
                    }
                }
                // The outcome is set first: dropping replaced contents may take long.
                drop(group.finish(Ok(())));
            }
            Err(error) => self.fall_back(group, &error),
        }
    }

    fn write(&mut self, group: &Group, rows: &[i64]) -> Result<(), StoreError> {
        if group.changes.iter().any(|change| matches!(change, Change::NewFile)) {
            let synced = File::open(&self.files).and_then(|folder| self.durability.settle(&folder));
            synced.map_err(|error| StoreError::new("sync", &self.files, &error))?;
        }
        tables::write(&mut self.database, Some(group), rows)
            .map_err(|error| StoreError::new("write to", &self.path, &error))
    }

    /// Handles a failed commit. All decisions since the group was created depend on it, so they fail too, and
    /// the index is read again from the disk. The store continues from there: a full disk is no reason to
    /// stop permanently.
    fn fall_back(&mut self, group: Group, error: &StoreError) {
        tracing::error!(%error, "the blob store falls back to what is durable");
        let index = self.index.clone();
        let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
        // Changes are ordered under the index's lock: there are no others.
        let next = self.queue.take_group();
        let (fallen, outcome) = match tables::load(&self.database, &self.queue) {
            Ok(loaded) => {
                let mut loaded = loaded.index;
                // Uploads in progress have numbers already.
                loaded.marks = index.marks;
                (replace(&mut *index, loaded), Err(error.clone()))
            }
            Err(reason) => {
                self.queue.close();
                let error = StoreError::new("read", &self.path, &reason);
                tracing::error!(%error, "the blob store is closed");
                let failed = Ticket::failed(error.clone());
                // Not even "not found" may be returned any more.
                let nothing = Index { latest: failed.clone(), removal: failed, ..Index::default() };
                (replace(&mut *index, nothing), Err(error))
            }
        };
        drop(index);
        let changes: Vec<_> =
            std::iter::once(group).chain(next).map(|group| group.finish(outcome.clone())).collect();
        drop((changes, fallen));
    }
}

/// Logs a failed cleanup; it is repeated when the store is opened again.
fn tidied(what: &str, outcome: rusqlite::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(what, %error, "the blob store could not be tidied");
    }
}

/// Queues files without references: uploads that were never acknowledged. Returns the highest number.
///
/// # Errors
/// Fails if the folder cannot be read.
pub fn sweep(folder: &Path, named: &BTreeSet<i64>, queue: &Queue) -> std::io::Result<i64> {
    let mut highest = 0;
    for entry in fs::read_dir(folder)? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
        let Some(number) = number else { continue };
        highest = highest.max(number);
        if !named.contains(&number) {
            queue.discard(Place::File, number);
        }
    }
    Ok(highest)
}
