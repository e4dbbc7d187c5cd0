//! Reads inputs in the work folder, for uploads and for hashes.
//!
//! A claimed folder can still be changed by a process that has it open. It is read through its handle: no
//! link is followed, and each file must be the one that was listed.

use super::{DiskDropStore, in_a_thread};
use crate::{
    folder::{Folder, FolderError, Identity, Kind, TreeError},
    inputs::Inputs,
};
use dropmill_azure_client::blob::FileSource;
use dropmill_lifecycle::{Code, Failure, plan::Item};
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The files of inputs that are folders, as listed for the upload.
#[derive(Debug, Default)]
pub struct Listings {
    /// By the path of the input below the work folder, then by the path of the file in it.
    inner: Mutex<BTreeMap<PathBuf, Files>>,
}

type Files = BTreeMap<PathBuf, Identity>;

impl Listings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Files>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the list of an input that has left its place.
    pub fn forget(&self, place: &Path) {
        self.lock().retain(|input, _| !input.starts_with(place));
    }

    fn identity_of(&self, input: &Path, file: &Path) -> Option<Identity> {
        self.lock().get(input)?.get(file).copied()
    }
}

impl DiskDropStore {
    /// Returns the path of an item's input, relative to the work folder.
    fn below_work(&self, item: &Item) -> io::Result<PathBuf> {
        let source = item.source.as_ref().ok_or_else(|| io::Error::other("the task has no input"))?;
        let below = source.strip_prefix(self.folders.work.path());
        below
            .map(Path::to_owned)
            .map_err(|_| io::Error::other(format!("{source:?} is not in the work folder")))
    }

    fn list(&self, input: &Path) -> Result<Vec<PathBuf>, TreeError> {
        let tree = self.folders.work()?.tree(input)?;
        let files: Files =
            tree.files().iter().map(|file| (file.relative.clone(), file.facts.identity)).collect();
        let paths = files.keys().cloned().collect();
        self.folders.listings.lock().insert(input.to_owned(), files);
        Ok(paths)
    }
}

impl Inputs for DiskDropStore {
    fn files(&self, item: &Item) -> BoxFuture<'static, Result<Vec<PathBuf>, Failure>> {
        let (store, input) = (self.clone(), self.below_work(item));
        let list = move || {
            let input = input.map_err(|error| Failure::permanent(Code::Source, error.to_string()))?;
            store.list(&input).map_err(|error| Failure::permanent(Code::Source, error.to_string()))
        };
        in_a_thread(list, |error| Err(Failure::transient(Code::Thread, error.to_string())))
    }

    fn open(&self, item: &Item, below: Option<&Path>) -> io::Result<FileSource> {
        let (input, work) = (self.below_work(item)?, self.folders.work()?);
        let path = below.map_or_else(|| input.clone(), |below| input.join(below));
        let listed = below.and_then(|below| self.folders.listings.identity_of(&input, below));
        let (file, _) = match listed {
            Some(identity) => work.open_same(&path, identity)?,
            None => work.open_file(&path)?,
        };
        FileSource::from_file(file, &self.folders.work.path().join(path))
    }
}

/// Returns a hash of name and content of an input; for a folder, of names and contents of all its files.
pub fn key(relative: &Path, work: &Folder, input: &Path) -> Result<String, TreeError> {
    let mut hash = Sha256::new();
    hash.update(relative.as_os_str().as_bytes());
    hash.update([0]);
    let unread = |error: io::Error| FolderError::new("read", &work.path().join(input), error);
    if work.facts(input)?.kind == Kind::Folder {
        let tree = work.tree(input)?;
        for read in tree.read() {
            let (file, content) = read?;
            hash.update(file.relative.as_os_str().as_bytes());
            hash.update([0]);
            hash.update(file.facts.size_bytes.to_le_bytes());
            add_content(&mut hash, content).map_err(unread)?;
        }
    } else {
        add_content(&mut hash, work.open_file(input)?.0).map_err(unread)?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn add_content(hash: &mut Sha256, mut file: File) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::desk, *};
    use std::{fs, os::unix::fs::symlink};

    fn item(source: PathBuf) -> Item {
        Item {
            index: 0,
            task: "t".into(),
            relative: "a".into(),
            source: Some(source),
            whole_folder: true,
            file_name: "a".into(),
            size_bytes: 0,
            modified: None,
            mode: None,
            command_line: String::new(),
            environment: vec![],
            result_folder: String::new(),
            supersedes: None,
            blob: None,
            more_files: vec![],
            values: vec![],
            recipe: Default::default(),
            outputs: None,
            chunk: None,
        }
    }

    #[tokio::test]
    async fn only_the_files_that_were_listed_are_read() {
        let (outer, store) = desk();
        let input = outer.path().join("work/id/r/t/a");
        fs::create_dir_all(input.join("deep")).unwrap();
        for name in ["one", "two", "deep/three"] {
            fs::write(input.join(name), name).unwrap();
        }
        let item = item(input.clone());
        let files = store.files(&item).await.unwrap();
        assert_eq!(files, ["deep/three", "one", "two"].map(PathBuf::from));
        let read = |name: &str| store.open(&item, Some(Path::new(name))).map(|source| source.length());
        fs::write(input.join("new"), "another file").unwrap();
        fs::rename(input.join("new"), input.join("one")).unwrap();
        fs::remove_file(input.join("two")).unwrap();
        symlink("/etc/hostname", input.join("two")).unwrap();
        fs::rename(input.join("deep"), outer.path().join("deep")).unwrap();
        symlink(outer.path().join("deep"), input.join("deep")).unwrap();
        for name in ["one", "two", "deep/three"] {
            assert!(read(name).is_err(), "{name}");
        }
        let refused = store.files(&item).await.unwrap_err();
        assert!(refused.message.ends_with("which is a symbolic link"), "{}", refused.message);
        // The list is removed with the input: a later input in the same place is another one.
        store.folders.listings.forget(Path::new("r/t"));
        assert_eq!(read("one").unwrap(), 12);
        let outside = Item { source: Some(outer.path().join("deep/three")), ..item.clone() };
        assert!(store.open(&outside, None).is_err(), "it is not in the work folder");
    }
}
