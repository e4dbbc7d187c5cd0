//! The files of nodes without a disk.

use super::{control::lock, place::beneath};
use crate::orders::{FileEntry, NodeFiles, NodeRef};
use dropmill_azure_wire::time::Timestamp;
use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{Arc, Mutex},
};

/// Files by node and path. A folder exists as long as it has content, or if it was created explicitly.
#[derive(Default)]
pub(super) struct MemoryFiles {
    nodes: Mutex<BTreeMap<NodeRef, Tree>>,
}

type Tree = BTreeMap<String, Item>;

#[derive(Clone)]
struct Item {
    /// Content of a file; `None` for a folder.
    content: Option<Arc<[u8]>>,
    modified: Timestamp,
}

impl MemoryFiles {
    /// Creates a folder and its parents.
    pub fn make_folder(&self, node: &NodeRef, path: &str, now: Timestamp) {
        let mut nodes = lock(&self.nodes);
        let tree = nodes.entry(node.clone()).or_default();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.filter(|end| *end > 0) {
            tree.entry(path[..end].to_owned()).or_insert(Item { content: None, modified: now });
        }
    }

    /// Writes a file and creates its folders.
    pub fn write(&self, node: &NodeRef, path: &str, content: &[u8], now: Timestamp) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.make_folder(node, folder, now);
        }
        let item = Item { content: Some(content.into()), modified: now };
        lock(&self.nodes).entry(node.clone()).or_default().insert(path.to_owned(), item);
    }

    /// Returns the files below a folder, by their relative paths.
    pub fn below(&self, node: &NodeRef, folder: &str) -> Vec<(String, Arc<[u8]>)> {
        let nodes = lock(&self.nodes);
        let Some(tree) = nodes.get(node) else { return Vec::new() };
        within(tree, folder)
            .filter_map(|(name, item)| Some((name.to_owned(), item.content.clone()?)))
            .collect()
    }

    /// Deletes a folder with its content; it need not exist.
    pub fn remove(&self, node: &NodeRef, folder: &str) {
        let mut nodes = lock(&self.nodes);
        if folder.is_empty() {
            nodes.remove(node);
        } else if let Some(tree) = nodes.get_mut(node) {
            tree.retain(|path, _| path != folder && !is_below(path, folder));
        }
    }
}

impl NodeFiles for MemoryFiles {
    fn list(&self, node: &NodeRef, directory: &str, recursive: bool) -> io::Result<Vec<FileEntry>> {
        let folder = plain(directory).ok_or(ErrorKind::NotFound)?;
        let nodes = lock(&self.nodes);
        let tree = nodes.get(node).ok_or(ErrorKind::NotFound)?;
        if !folder.is_empty() && tree.get(&folder).is_none_or(|item| item.content.is_some()) {
            return Err(ErrorKind::NotFound.into());
        }
        let names = within(tree, &folder).filter(|(name, _)| recursive || !name.contains('/'));
        Ok(names.map(|(name, item)| entry(name, item)).collect())
    }

    fn entry(&self, node: &NodeRef, path: &str) -> io::Result<Option<FileEntry>> {
        let Some(path) = plain(path) else { return Ok(None) };
        Ok(lock(&self.nodes).get(node).and_then(|tree| Some(entry(&path, tree.get(&path)?))))
    }

    fn read(&self, node: &NodeRef, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let path = plain(path).ok_or(ErrorKind::NotFound)?;
        let nodes = lock(&self.nodes);
        let item = nodes.get(node).and_then(|tree| tree.get(&path)).ok_or(ErrorKind::NotFound)?;
        let content = item.content.as_ref().ok_or(ErrorKind::NotFound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let end = start.saturating_add(length).min(content.len());
        Ok(content[start..end].to_vec())
    }

    fn delete(&self, node: &NodeRef, path: &str, recursive: bool) -> io::Result<()> {
        let path = plain(path).filter(|path| !path.is_empty()).ok_or(ErrorKind::NotFound)?;
        let mut nodes = lock(&self.nodes);
        let tree = nodes.get_mut(node).filter(|tree| tree.contains_key(&path)).ok_or(ErrorKind::NotFound)?;
        if !recursive && within(tree, &path).next().is_some() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        tree.retain(|other, _| *other != path && !is_below(other, &path));
        Ok(())
    }
}

fn plain(path: &str) -> Option<String> {
    Some(beneath(path.trim_end_matches('/'))?.to_str()?.to_owned())
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn within<'a>(tree: &'a Tree, folder: &str) -> impl Iterator<Item = (&'a str, &'a Item)> + use<'a> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let after = tree.range(prefix.clone()..);
    after.map_while(move |(path, item)| Some((path.strip_prefix(&prefix)?, item)))
}

fn entry(name: &str, item: &Item) -> FileEntry {
    let is_directory = item.content.is_none();
    FileEntry {
        name: name.to_owned(),
        is_directory,
        size_bytes: item.content.as_ref().map_or(0, |content| content.len() as u64),
        modified: item.modified,
        mode: if is_directory { 0o040_755 } else { 0o100_644 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_listed_and_deleted() {
        let files = MemoryFiles::default();
        let node = NodeRef { pool: "p".into(), node: "n".into() };
        for path in ["a/b/c", "a/b.txt", "a/d", "e"] {
            files.write(&node, path, path.as_bytes(), Timestamp::default());
        }
        let list = |directory: &str, recursive| {
            let entries = files.list(&node, directory, recursive).unwrap();
            entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
        };
        assert_eq!(list("", false), ["a", "e"]);
        assert_eq!(list("a/", false), ["b", "b.txt", "d"]);
        assert_eq!(list("a", true), ["b", "b.txt", "b/c", "d"]);
        assert!(files.list(&node, "e", false).is_err() && files.list(&node, "..", false).is_err());
        assert_eq!(files.read(&node, "a/b/c", 2, 2).unwrap(), b"b/");
        assert_eq!(files.read(&node, "a/b/c", 9, 2).unwrap(), b"");
        assert!(files.entry(&node, "a/b").unwrap().unwrap().is_directory);
        assert_eq!(files.entry(&node, "a/../e").unwrap(), None);
        assert!(files.delete(&node, "a/b", false).is_err());
        files.delete(&node, "a/b", true).unwrap();
        assert_eq!(list("", true), ["a", "a/b.txt", "a/d", "e"]);
        files.remove(&node, "a");
        assert_eq!(list("", true), ["e"]);
    }
}
