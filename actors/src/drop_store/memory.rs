//! The folders of a drop folder's daemon in memory, for simulations: without threads and files, and with a
//! record of where each file is.

use super::{
    DropStore, EntryState, NotPublished, NotTaken, Parcel, Published, Root, Rules, StoredInput, Take, Taken,
    parcel::beside_path, rules::Ownership,
};
use crate::{
    inputs::{self, Inputs},
    place::{MemoryPlace, PlaceError, ResultPlace},
};
use dropmill_azure_client::blob::FileSource;
use dropmill_lifecycle::{
    Failure,
    arrival::FileSnapshot,
    plan::{Item, RunPlan},
};
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Path of the work folder in plans and events.
const WORK: &str = "/work";
/// Path of the drop folder in notifications.
pub const DIRECTORY: &str = "/drop";

/// A file in any place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Number of the file, which stays the same when it is moved or changed.
    pub inode: u64,
    /// The bytes of the file.
    pub content: Vec<u8>,
    /// Whether the entry is a symbolic link rather than a file.
    pub is_link: bool,
    /// Number of the latest write, among all writes to all files.
    written: u64,
}

/// A published result or failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnShelf {
    /// The input, if it was published with the result.
    pub input: Option<Stored>,
    /// Content of the input when the result was published; its writer can still change the input.
    pub published: Vec<u8>,
    /// Output files of the task, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The note of the parcel.
    pub note: serde_json::Value,
}

/// The folders in memory; cheap to clone.
#[derive(Clone, Default)]
pub struct MemoryDropStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    directory: BTreeMap<PathBuf, Stored>,
    work: BTreeMap<(String, PathBuf), Stored>,
    results: BTreeMap<String, MemoryPlace>,
    /// Inputs that were moved to their unpublished results; by run and folder of the results.
    joined: BTreeMap<(String, String), Option<Stored>>,
    shelves: BTreeMap<(Root, PathBuf), OnShelf>,
    /// Files that their owner removed or replaced, and inputs that were removed after their results were
    /// delivered.
    removed: Vec<Stored>,
    writes: u64,
    files: u64,
}

impl Stored {
    fn look(&self) -> FileSnapshot {
        FileSnapshot {
            size_bytes: self.content.len() as u64,
            modified_ns: self.written.into(),
            inode: self.inode,
        }
    }
}

impl MemoryDropStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a new file into the drop folder, with one rename; returns its number. Replaces a file of that
    /// name.
    pub fn put(&self, name: &Path, content: &[u8]) -> u64 {
        self.put_entry(name, content, false)
    }

    /// Puts a symbolic link into the drop folder. Replaces a file of that name.
    pub fn put_link(&self, name: &Path) {
        self.put_entry(name, b"", true);
    }

    fn put_entry(&self, name: &Path, content: &[u8], is_link: bool) -> u64 {
        let mut inner = self.lock();
        inner.files += 1;
        inner.writes += 1;
        let (inode, written) = (inner.files, inner.writes);
        let file = Stored { inode, content: content.to_vec(), is_link, written };
        if let Some(replaced) = inner.directory.insert(name.to_owned(), file) {
            inner.removed.push(replaced);
        }
        inode
    }

    /// Appends to a file that a writer holds open, wherever the file is. Returns whether it still exists.
    pub fn append(&self, inode: u64, more: &[u8]) -> bool {
        let mut inner = self.lock();
        inner.writes += 1;
        let written = inner.writes;
        let Some(file) = inner.find_mut(inode) else { return false };
        file.content.extend_from_slice(more);
        file.written = written;
        true
    }

    /// Removes a file from the drop folder, if it is still there.
    pub fn remove(&self, name: &Path) {
        let mut inner = self.lock();
        if let Some(removed) = inner.directory.remove(name) {
            inner.removed.push(removed);
        }
    }

    /// Carries out the first half of a publication, like a process that is killed within it.
    pub fn publish_half(&self, parcel: &Parcel) {
        let _ = self.lock().join(parcel);
    }

    /// Returns the number of the file with a name in the drop folder.
    pub fn inode_of(&self, name: &Path) -> Option<u64> {
        self.lock().directory.get(name).map(|file| file.inode)
    }

    /// Returns the numbers of the symbolic links in the drop folder.
    pub fn links(&self) -> BTreeSet<u64> {
        self.lock().directory.values().filter(|file| file.is_link).map(|file| file.inode).collect()
    }

    /// Returns the published results and failures, by root and path.
    pub fn shelves(&self) -> BTreeMap<(Root, PathBuf), OnShelf> {
        self.lock().shelves.clone()
    }

    /// Returns all places of each file, by the file's number: more or fewer than one is a defect.
    pub fn whereabouts(&self) -> BTreeMap<u64, Vec<String>> {
        let inner = self.lock();
        let mut found: BTreeMap<u64, Vec<String>> = (1..=inner.files).map(|inode| (inode, vec![])).collect();
        let mut add = |file: &Stored, place: String| found.entry(file.inode).or_default().push(place);
        inner.directory.iter().for_each(|(name, file)| add(file, format!("drop/{}", name.display())));
        inner
            .work
            .iter()
            .for_each(|((place, name), file)| add(file, format!("work/{place}/{}", name.display())));
        for ((root, place), shelf) in &inner.shelves {
            if let Some(file) = &shelf.input {
                add(file, format!("{root:?}/{}", place.display()));
            }
        }
        for ((run, folder), file) in &inner.joined {
            if let Some(file) = file {
                add(file, format!("work/{run}/.results/{folder}"));
            }
        }
        inner.removed.iter().for_each(|file| add(file, "removed".into()));
        found
    }
}

impl Inner {
    fn find_mut(&mut self, inode: u64) -> Option<&mut Stored> {
        let shelved = self.shelves.values_mut().filter_map(|shelf| shelf.input.as_mut());
        let joined = self.joined.values_mut().flatten();
        let mut all = self.directory.values_mut().chain(self.work.values_mut()).chain(joined).chain(shelved);
        all.find(|file| file.inode == inode)
    }

    fn take(&mut self, take: &Take) -> Result<(), NotTaken> {
        let Some(file) = self.directory.get(&take.relative) else { return Err(NotTaken::Gone) };
        if file.is_link || file.look() != take.look {
            return Err(NotTaken::Changed);
        }
        if let Some(marker) = take.marker.as_ref().and_then(|marker| self.directory.remove(marker)) {
            self.removed.push(marker);
        }
        if let Some(file) = self.directory.remove(&take.relative) {
            self.work.insert((take.place.clone(), name_of(&take.relative)), file);
        }
        Ok(())
    }

    fn key(&self, take: &Take) -> Option<String> {
        let file = self.work.get(&(take.place.clone(), name_of(&take.relative)))?;
        let mut hash = Sha256::new();
        hash.update(take.relative.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(&file.content);
        Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Carries out the first step of a publication: moves the input to the results. Returns `None` if the
    /// parcel was published before.
    fn join(&mut self, parcel: &Parcel) -> Result<Option<()>, NotPublished> {
        let (run, folder) = &parcel.results;
        let input = (parcel.input.clone(), name_of(&parcel.relative));
        let has_results = self.results.get(run).is_some_and(|place| place.has(folder));
        let is_joined = self.joined.contains_key(&parcel.results);
        if !has_results && !is_joined && !self.work.contains_key(&input) {
            return Ok(None);
        }
        if let (Some(file), Some(look)) = (self.work.get(&input), parcel.look)
            && file.look() != look
        {
            return Err(NotPublished::Changed(file.look()));
        }
        let input = self.work.remove(&input);
        if input.is_some() || !is_joined {
            self.joined.insert(parcel.results.clone(), input);
        }
        Ok(Some(()))
    }

    fn publish(&mut self, parcel: Parcel) -> Result<Published, NotPublished> {
        if self.join(&parcel)?.is_none() {
            let found = self.find(&parcel).unwrap_or_else(|| parcel.relative.clone());
            return Ok(Published { place: found, left: false });
        }
        let (run, folder) = &parcel.results;
        let files = self.results.get(run).map(|place| place.take(folder)).unwrap_or_default();
        let input = self.joined.remove(&parcel.results).flatten();
        let published = input.as_ref().map(|file| file.content.clone()).unwrap_or_default();
        let (input, spent) = if parcel.with_input { (input, None) } else { (None, input) };
        self.removed.extend(spent);
        let free = |place: &PathBuf| !self.shelves.contains_key(&(parcel.root, place.clone()));
        let place = (0..).map(|tries| beside_path(&parcel.relative, tries)).find(free).unwrap_or_default();
        self.shelves
            .insert((parcel.root, place.clone()), OnShelf { input, published, files, note: parcel.note });
        Ok(Published { place, left: false })
    }

    fn find(&self, parcel: &Parcel) -> Option<PathBuf> {
        let mine = |shelf: &OnShelf| {
            let same = |key: &str| shelf.note[key] == parcel.note[key];
            same("run") && same("task")
        };
        let mut shelves = self.shelves.iter();
        shelves
            .find(|((root, _), shelf)| *root == parcel.root && mine(shelf))
            .map(|((_, place), _)| place.clone())
    }
}

fn name_of(relative: &Path) -> PathBuf {
    relative.file_name().map(PathBuf::from).unwrap_or_default()
}

impl DropStore for MemoryDropStore {
    fn scan(&self, rules: &Rules) -> BoxFuture<'static, io::Result<Vec<(PathBuf, EntryState)>>> {
        let names: Vec<PathBuf> = self.lock().directory.keys().cloned().collect();
        let found = names.into_iter().map(|name| (name.clone(), self.check(rules, &name)));
        let found = found.filter(|(_, state)| !matches!(state, EntryState::Ignored(_) | EntryState::Gone));
        let found = Ok(found.collect());
        Box::pin(async move { found })
    }

    fn check(&self, rules: &Rules, relative: &Path) -> EntryState {
        if let Some(why) = rules.why_ignored(relative, false) {
            return EntryState::Ignored(why);
        }
        let inner = self.lock();
        let Some(file) = inner.directory.get(relative) else { return EntryState::Gone };
        let look = file.look();
        if file.is_link {
            return EntryState::Refused(
                "a symbolic link: links are not followed, put the file itself here".into(),
            );
        }
        if let Some(why) = rules.why_short(look.size_bytes) {
            return EntryState::Ignored(why);
        }
        match rules.why_rejected(look.size_bytes, [Ownership { uid: 0, links: 1 }], 0) {
            Some(why) => EntryState::Refused(why.into()),
            None => {
                let marker = rules.marker_of(relative);
                let marked = marker.is_some_and(|marker| inner.directory.contains_key(&marker));
                EntryState::Input(look, marked)
            }
        }
    }

    fn identity(&self) -> Option<(u64, u64)> {
        Some((1, 1))
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn unreliable(&self) -> Option<String> {
        None
    }

    fn probe(&self) -> io::Result<()> {
        Ok(())
    }

    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Vec<Taken>> {
        let mut inner = self.lock();
        let mut taken = vec![];
        for take in takes {
            let outcome = inner.take(&take);
            let key = (take.hash && outcome.is_ok()).then(|| inner.key(&take)).flatten();
            taken.push(Taken { id: take.id, outcome, key });
        }
        Box::pin(async move { taken })
    }

    fn find(&self, place: &str, relative: &Path) -> Result<Option<StoredInput>, PlaceError> {
        let inner = self.lock();
        let found = inner.work.get(&(place.to_owned(), name_of(relative)));
        let source = self.source(place, relative);
        Ok(found.map(|file| StoredInput { source, look: file.look(), whole_folder: false }))
    }

    fn inputs(&self) -> Vec<(String, PathBuf)> {
        self.lock().work.keys().cloned().collect()
    }

    fn source(&self, place: &str, relative: &Path) -> PathBuf {
        Path::new(WORK).join(place).join(name_of(relative))
    }

    fn publish(&self, parcel: Parcel) -> BoxFuture<'static, Result<Published, NotPublished>> {
        let published = self.lock().publish(parcel);
        Box::pin(async move { published })
    }

    fn root(&self, root: Root) -> PathBuf {
        match root {
            Root::Done => "/done".into(),
            Root::Failed => "/failed".into(),
        }
    }

    fn release(&self, _: &str) {}

    fn discard_results(&self, run: &str, folder: &str) {
        if let Some(place) = self.lock().results.get(run) {
            place.take(folder);
        }
    }

    fn close_run(&self, _: &str) {}

    fn prune(&self) {}

    fn results(&self, plan: &RunPlan) -> Arc<dyn ResultPlace> {
        Arc::new(self.lock().results.entry(plan.run.clone()).or_default().clone())
    }
}

impl Inputs for MemoryDropStore {
    fn files(&self, _: &Item) -> BoxFuture<'static, Result<Vec<PathBuf>, Failure>> {
        Box::pin(async { Ok(vec![]) })
    }

    fn open(&self, item: &Item, below: Option<&Path>) -> io::Result<FileSource> {
        let path = inputs::path_of(item, below)?;
        let relative = path.strip_prefix(WORK).map_err(io::Error::other)?;
        let place = relative.parent().unwrap_or(relative).display().to_string();
        let inner = self.lock();
        let file = inner.work.get(&(place, name_of(relative))).ok_or(io::ErrorKind::NotFound)?;
        Ok(FileSource::from_bytes(file.content.clone().into(), &path, file.written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn take(store: &MemoryDropStore, name: &str, place: &str) -> Result<(), NotTaken> {
        let mut inner = store.lock();
        let look = inner.directory.get(Path::new(name)).map(Stored::look).unwrap();
        let (relative, place) = (name.into(), place.to_owned());
        inner.take(&Take { id: 1, relative, place, look, marker: None, hash: false })
    }

    #[test]
    fn a_file_is_always_in_exactly_one_place() {
        let store = MemoryDropStore::default();
        let (a, b) = (store.put(Path::new("a"), b"1"), store.put(Path::new("b"), b"2"));
        let places = |inode: u64| store.whereabouts()[&inode].clone();
        assert_eq!((places(a), places(b)), (vec!["drop/a".into()], vec!["drop/b".into()]));
        take(&store, "a", "r/t").unwrap();
        assert_eq!(places(a), ["work/r/t/a"]);
        assert!(store.append(a, b"more"), "a writer that holds it open goes on");
        store.remove(Path::new("b"));
        assert_eq!(places(b), ["removed"]);
        let note = json!({ "run": "r", "task": "t" });
        let parcel = Parcel {
            results: ("r".into(), "t".into()),
            input: "r/t".into(),
            relative: "a".into(),
            look: None,
            with_input: true,
            root: Root::Done,
            note,
        };
        let changed =
            Parcel { look: Some(FileSnapshot { size_bytes: 1, modified_ns: 1, inode: a }), ..parcel.clone() };
        assert!(
            matches!(store.lock().publish(changed), Err(NotPublished::Changed(look)) if look.size_bytes == 5)
        );
        assert_eq!(store.lock().publish(parcel.clone()).unwrap().place, Path::new("a"));
        assert_eq!(places(a), ["Done/a"]);
        assert_eq!(store.lock().publish(parcel).unwrap().place, Path::new("a"), "it is recognised");
        assert_eq!(store.shelves().len(), 1);
    }
}
