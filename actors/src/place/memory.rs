//! Results in memory, for simulations: no thread, no file.

use super::{
    Delivery, PlaceError, Placed, ResultPlace, beside,
    layout::{failed_folder, is_log, single_name},
};
use dropmill_journal::event::DeliveredFile;
use dropmill_lifecycle::plan::Layout;
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
    layout: Option<Layout>,
}

#[derive(Default)]
struct Inner {
    staged: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    published: BTreeMap<String, Vec<u8>>,
    /// Tasks by the places of their files, in layouts without a folder per result.
    owners: BTreeMap<String, String>,
    /// Standard output and error that the folder of the run keeps, by task and name.
    logs: BTreeMap<(String, String), Vec<u8>>,
}

struct Writing {
    inner: Arc<Mutex<Inner>>,
    task: String,
    path: String,
}

impl MemoryPlace {
    /// Creates an empty place with a layout; by default each result has its folder.
    pub fn with_layout(layout: Layout) -> Self {
        Self { layout: Some(layout), ..Self::default() }
    }

    /// Returns the logs of successful tasks by task and name.
    pub fn logs(&self) -> BTreeMap<(String, String), Vec<u8>> {
        self.lock().logs.clone()
    }

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

impl Inner {
    fn put_folder(&mut self, delivery: Delivery, staged: BTreeMap<String, Vec<u8>>) -> Placed {
        let Delivery { folder, files, .. } = delivery;
        for (path, bytes) in staged {
            let place = if folder.is_empty() { path } else { format!("{folder}/{path}") };
            self.published.insert(place, bytes);
        }
        Placed { folder, files, replaced: false, beside: None }
    }

    fn put_files(
        &mut self,
        layout: Layout,
        delivery: &Delivery,
        mut staged: BTreeMap<String, Vec<u8>>,
    ) -> Placed {
        let (mut files, mut beside_what) = (vec![], None);
        for file in &delivery.files {
            let bytes = staged.remove(&file.path).unwrap_or_default();
            if is_log(layout, &file.path) {
                self.logs.insert((delivery.task.clone(), file.path.clone()), bytes);
                files.push(DeliveredFile { is_log: true, ..file.clone() });
                continue;
            }
            let name = single_name(layout, &delivery.folder, &delivery.input.name, &file.path);
            // The task's own file is already in place if a process crashed after it had moved it there.
            let is_free = |place: &String| self.owners.get(place).is_none_or(|owner| *owner == delivery.task);
            let place = (0..).map(|tries| beside(&name, tries, false)).find(is_free).unwrap_or_default();
            if place != name {
                beside_what.get_or_insert_with(|| format!("{name} is the result of another input"));
            }
            self.owners.insert(place.clone(), delivery.task.clone());
            self.published.insert(place.clone(), bytes);
            files.push(DeliveredFile { at: (place != file.path).then_some(place), ..file.clone() });
        }
        Placed { folder: String::new(), files, replaced: false, beside: beside_what }
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
        let staged = inner.staged.remove(&delivery.task).unwrap_or_default();
        let placed = match self.layout {
            Some(layout @ (Layout::Flat | Layout::Mirror)) if delivery.success => {
                inner.put_files(layout, &delivery, staged)
            }
            Some(Layout::Flat | Layout::Mirror) => {
                let folder = failed_folder(&delivery.input.relative);
                inner.put_folder(Delivery { folder, ..delivery }, staged)
            }
            Some(Layout::ByInput) | None => inner.put_folder(delivery, staged),
        };
        Box::pin(async move { Ok(placed) })
    }

    fn discard(&self, task: &str) {
        self.lock().staged.remove(task);
    }
}
