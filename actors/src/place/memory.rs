//! Results in memory, for simulations: no thread, no file.

use super::{Delivery, PlaceError, Placed, ResultPlace};
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard},
};

/// Results by folder and path.
#[derive(Clone, Default)]
pub struct MemoryPlace {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    staged: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    published: BTreeMap<String, Vec<u8>>,
}

struct Writing {
    inner: Arc<Mutex<Inner>>,
    task: String,
    path: String,
}

impl MemoryPlace {
    /// Returns the published files by path.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock().published.clone()
    }

    /// Returns whether a folder has published files.
    pub fn has(&self, folder: &str) -> bool {
        let below = format!("{folder}/");
        self.lock().published.keys().any(|path| path.starts_with(&below))
    }

    /// Removes and returns the published files of a folder, by relative path.
    pub fn take(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let below = format!("{folder}/");
        let mut inner = self.lock();
        let taken: Vec<String> =
            inner.published.keys().filter(|path| path.starts_with(&below)).cloned().collect();
        let files = taken.into_iter().filter_map(|path| {
            let bytes = inner.published.remove(&path)?;
            Some((path[below.len()..].to_owned(), bytes))
        });
        files.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let files = inner.staged.entry(self.task.clone()).or_default();
        files.entry(self.path.clone()).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ResultPlace for MemoryPlace {
    fn stage(&self, task: &str, _: u64, keep: &BTreeSet<String>) -> Result<bool, PlaceError> {
        let mut inner = self.lock();
        let files = inner.staged.entry(task.to_owned()).or_default();
        files.retain(|path, _| keep.contains(path));
        let all_there = files.len() == keep.len();
        if !all_there {
            files.clear();
        }
        Ok(all_there)
    }

    fn create(&self, task: &str, path: &str) -> Result<Box<dyn Write + Send>, PlaceError> {
        self.lock().staged.entry(task.to_owned()).or_default().insert(path.to_owned(), vec![]);
        Ok(Box::new(Writing { inner: self.inner.clone(), task: task.to_owned(), path: path.to_owned() }))
    }

    fn publish(&self, delivery: Delivery) -> BoxFuture<'static, Result<Placed, PlaceError>> {
        let mut inner = self.lock();
        for (path, bytes) in inner.staged.remove(&delivery.task).unwrap_or_default() {
            let place = if delivery.folder.is_empty() { path } else { format!("{}/{path}", delivery.folder) };
            inner.published.insert(place, bytes);
        }
        let Delivery { folder, files, .. } = delivery;
        Box::pin(async move { Ok(Placed { folder, files, replaced: false, beside: None }) })
    }

    fn discard(&self, task: &str) {
        self.lock().staged.remove(task);
    }
}
