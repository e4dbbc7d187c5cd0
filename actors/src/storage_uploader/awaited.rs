//! The uploads that each task still waits for: its own files, and files that it shares with other tasks.

use super::uploading::{blob_name, is_own};
use dropmill_lifecycle::{Failure, plan::Item};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// A file that several tasks share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SharedFile {
    /// Name of its blob.
    pub blob: String,
    /// Path on this machine.
    pub source: PathBuf,
    /// Length when the plan was created.
    pub size_bytes: u64,
}

/// Returns the files that only this task has: names of blobs and lengths.
pub(super) fn own_files(item: &Item) -> Vec<(String, u64)> {
    let source =
        item.source.iter().filter(|_| item.blob.is_none()).map(|_| (blob_name(item), item.size_bytes));
    let more = item.more_files.iter().filter(|file| is_own(item, &file.blob));
    source.chain(more.map(|file| (file.blob.clone(), file.size_bytes))).collect()
}

/// Returns the files that a task shares.
pub(super) fn shared_files(item: &Item) -> Vec<SharedFile> {
    let source = item.source.iter().zip(&item.blob).map(|(source, blob)| SharedFile {
        blob: blob.clone(),
        source: source.clone(),
        size_bytes: item.size_bytes,
    });
    let more = item.more_files.iter().filter(|file| !is_own(item, &file.blob)).map(|file| SharedFile {
        blob: file.blob.clone(),
        source: file.source.clone(),
        size_bytes: file.size_bytes,
    });
    source.chain(more).collect()
}

#[derive(Debug)]
enum Shared {
    /// The upload is in progress; these tasks wait for it.
    Open(BTreeSet<u32>),
    Uploaded,
    Failed(Failure),
}

/// The uploads that tasks wait for.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    shared: BTreeMap<String, Shared>,
    /// Number of uploads that each task waits for.
    open: BTreeMap<u32, usize>,
}

/// The uploads that a task needs.
#[derive(Debug, PartialEq)]
pub(super) enum Wanted {
    /// All files are uploaded.
    Nothing,
    /// Some files must be or are being uploaded: its own files (if any), and these shared files.
    Uploads(Vec<SharedFile>),
    /// A shared file could not be uploaded.
    Failed(Failure),
}

impl Awaited {
    /// Adds a task; `is_there` returns whether a shared file was uploaded before.
    pub fn want(
        &mut self,
        index: u32,
        has_own: bool,
        files: Vec<SharedFile>,
        is_there: impl Fn(&SharedFile) -> bool,
    ) -> Wanted {
        let (mut begin, mut open) = (vec![], usize::from(has_own));
        for file in files {
            let entry = self.shared.entry(file.blob.clone()).or_insert_with(|| match is_there(&file) {
                true => Shared::Uploaded,
                false => {
                    begin.push(file);
                    Shared::Open(BTreeSet::new())
                }
            });
            match entry {
                Shared::Open(tasks) => open += usize::from(tasks.insert(index)),
                Shared::Uploaded => {}
                Shared::Failed(failure) => return Wanted::Failed(failure.clone()),
            }
        }
        if open == 0 {
            return Wanted::Nothing;
        }
        self.open.insert(index, open);
        Wanted::Uploads(begin)
    }

    /// Records that a task's own files are uploaded; returns whether it has no more uploads to wait for.
    pub fn own_uploaded(&mut self, index: u32) -> bool {
        self.one_less(index)
    }

    /// Records that a shared file is uploaded; returns the tasks that have no more uploads to wait for.
    pub fn shared_uploaded(&mut self, blob: &str) -> Vec<u32> {
        let tasks = match self.shared.insert(blob.to_owned(), Shared::Uploaded) {
            Some(Shared::Open(tasks)) => tasks,
            _ => BTreeSet::new(),
        };
        tasks.into_iter().filter(|index| self.one_less(*index)).collect()
    }

    /// Records that a shared file cannot be uploaded; returns the tasks that fail because of it.
    pub fn shared_failed(&mut self, blob: &str, failure: &Failure) -> Vec<u32> {
        let tasks = match self.shared.insert(blob.to_owned(), Shared::Failed(failure.clone())) {
            Some(Shared::Open(tasks)) => tasks,
            _ => BTreeSet::new(),
        };
        tasks.into_iter().filter(|index| self.open.remove(index).is_some()).collect()
    }

    /// Records that a task's own files cannot be uploaded; returns whether the task had not failed before.
    pub fn own_failed(&mut self, index: u32) -> bool {
        self.open.remove(&index).is_some()
    }

    fn one_less(&mut self, index: u32) -> bool {
        let Some(open) = self.open.get_mut(&index) else { return false };
        *open -= 1;
        if *open > 0 {
            return false;
        }
        self.open.remove(&index);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_lifecycle::Code;

    fn file(blob: &str) -> SharedFile {
        SharedFile { blob: blob.into(), source: "/x".into(), size_bytes: 1 }
    }

    fn uploads(blobs: &[&str]) -> Wanted {
        Wanted::Uploads(blobs.iter().map(|blob| file(blob)).collect())
    }

    #[test]
    fn a_shared_file_is_uploaded_once_and_every_task_waits_for_all_its_files() {
        let mut awaited = Awaited::default();
        let none = |_: &SharedFile| false;
        assert_eq!(awaited.want(0, true, vec![file("r")], none), uploads(&["r"]));
        assert_eq!(awaited.want(1, false, vec![file("r")], none), uploads(&[]), "it is on its way");
        assert_eq!(awaited.want(2, true, vec![], none), uploads(&[]));
        assert!(!awaited.own_uploaded(0), "it still waits for the shared file");
        assert!(awaited.own_uploaded(2));
        assert_eq!(awaited.shared_uploaded("r"), [0, 1]);
        assert_eq!(awaited.want(3, false, vec![file("r"), file("r")], none), Wanted::Nothing);
        assert_eq!(
            awaited.want(4, false, vec![file("old")], |_| true),
            Wanted::Nothing,
            "an earlier process uploaded it"
        );
    }

    #[test]
    fn a_failed_shared_file_fails_each_of_its_tasks_once() {
        let mut awaited = Awaited::default();
        let failure = Failure::permanent(Code::Source, "gone");
        let none = |_: &SharedFile| false;
        assert_eq!(awaited.want(0, true, vec![file("r"), file("s")], none), uploads(&["r", "s"]));
        assert_eq!(awaited.want(1, false, vec![file("r")], none), uploads(&[]));
        assert_eq!(awaited.shared_failed("r", &failure), [0, 1]);
        assert_eq!(awaited.shared_uploaded("s"), Vec::<u32>::new());
        assert!(!awaited.own_failed(0) && !awaited.own_uploaded(0));
        assert_eq!(awaited.want(2, false, vec![file("r")], none), Wanted::Failed(failure));
    }
}
