//! Paths of pools, nodes and tasks; they cannot leave the runner's root, whatever the names.

use crate::orders::NodeRef;
use dropmill_private_files::create_folder;
use sha2::{Digest, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The folder of all nodes.
#[derive(Debug, Clone)]
pub(super) struct Places {
    root: PathBuf,
}

/// The folders of one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskPlace {
    /// Root of the node.
    pub node: PathBuf,
    /// Folder of the task, with `stdout.txt` and `stderr.txt`.
    pub directory: PathBuf,
    /// Working folder of the task.
    pub working: PathBuf,
}

/// Folders of every node. (`applications` and `volatile` exist because programs expect them.)
pub(super) const NODE_FOLDERS: [&str; 7] =
    ["applications", "fsmounts", "shared", "startup/wd", "startup/certs", "volatile", "workitems"];

impl Places {
    /// Creates it; `root` must be absolute.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns the folder of all nodes.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates a folder below the root with its parents, but never the root: if the user removed it with its
    /// content, it is not created again.
    ///
    /// # Errors
    /// Fails if the folder cannot be created, or the root does not exist.
    pub fn make(&self, path: &Path) -> io::Result<()> {
        let made = match create_folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(above) if above != self.root() && above.starts_with(self.root()) => {
                    self.make(above)?;
                    create_folder(path)
                }
                _ => Err(error),
            },
            outcome => outcome,
        };
        // Another thread may have created it.
        made.or_else(|error| if path.is_dir() { Ok(()) } else { Err(error) })
    }

    /// Returns the folder of folders to be deleted; no pool's folder has this name.
    pub fn trash(&self) -> PathBuf {
        self.root.join(".trash")
    }

    /// Returns a node's root.
    pub fn node(&self, node: &NodeRef) -> PathBuf {
        self.root.join(folder_name(&node.pool)).join(folder_name(&node.node))
    }

    /// Returns a task's folders; `None` if `directory` is empty or would leave the node's root.
    pub fn task(&self, node: &NodeRef, directory: &str) -> Option<TaskPlace> {
        let node = self.node(node);
        let below = beneath(directory).filter(|path| !path.as_os_str().is_empty())?;
        let directory = node.join(below);
        Some(TaskPlace { working: directory.join("wd"), directory, node })
    }
}

/// Returns the name if it is safe as a file name, otherwise its hash with a prefix that no safe name has.
fn folder_name(name: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(harmless) {
        return name.to_owned();
    }
    format!("~{}", hex(&Sha256::digest(name.as_bytes())[..16]))
}

/// Returns bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a relative path with `/` between segments that is safe to join to a folder; `None` if it is
/// absolute, or contains `..` or a zero byte. Empty segments and `.` are left out, so the result may be
/// empty.
pub(super) fn beneath(path: &str) -> Option<PathBuf> {
    if path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut safe = PathBuf::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => return None,
            name => safe.push(name),
        }
    }
    Some(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn folders_are_created_below_the_root_but_not_the_root() {
        let home = tempfile::tempdir().unwrap();
        let places = Places::new(home.path().join("nodes"));
        let task = places.root().join("pool/node/task/wd");
        assert_eq!(places.make(&task).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(
            places.make(places.root().join("pool").as_path()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(!places.root().exists());
        fs::create_dir(places.root()).unwrap();
        places.make(&task).unwrap();
        places.make(&task).unwrap();
        fs::write(places.root().join("file"), "").unwrap();
        assert!(places.make(&places.root().join("file")).is_err());
        assert!(places.make(&places.root().join("file/below")).is_err());
    }

    #[test]
    fn plain_names_stay_readable_and_others_are_hashed() {
        let table = [
            ("pool-1", "pool-1"),
            ("a.b_C:job-1", "a.b_C:job-1"),
            ("", "~e3b0c44298fc1c149afbf4c8996fb924"),
            (".", "~cdb4ee2aea69cc6a83331bbe96dc2caa"),
            ("..", "~a5ec44ae9bf90ebaf32a9b1d6b2f0c8d"),
        ];
        for (name, expected) in table {
            if expected.starts_with('~') {
                assert!(folder_name(name).starts_with('~'), "{name}");
                assert_eq!(folder_name(name).len(), 33);
            } else {
                assert_eq!(folder_name(name), expected);
            }
        }
        assert_ne!(folder_name("a/b"), folder_name("a/c"));
    }

    #[test]
    fn paths_consist_of_plain_segments() {
        let table = [
            ("a/b.txt", Some("a/b.txt")),
            ("./a//b/", Some("a/b")),
            ("", Some("")),
            ("a\\..\\b", Some("a\\..\\b")),
            ("..", None),
            ("a/../b", None),
            ("/etc/passwd", None),
            ("a\0b", None),
        ];
        for (path, expected) in table {
            assert_eq!(beneath(path), expected.map(PathBuf::from), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_root(pool in ".*", node in ".*", directory in "[a./\0]{0,12}") {
            let places = Places::new("/root/nodes".into());
            let node = NodeRef { pool, node };
            let plain = |path: &Path| !path.components().any(|part| part.as_os_str() == "..");
            let path = places.node(&node);
            prop_assert!(plain(&path) && path.strip_prefix("/root/nodes").is_ok_and(|rest| rest.components().count() == 2));
            prop_assert!(!path.starts_with(places.trash()));
            if let Some(task) = places.task(&node, &directory) {
                prop_assert!(plain(&task.working) && task.directory.starts_with(&path) && task.directory != path);
            }
        }
    }
}
