//! A folder as one input: its files, and the detection of changes by other processes.
//!
//! The folder is held open. Each file is opened relative to the handle, and must be the one that was listed.

use super::{
    Folder,
    error::FolderError,
    facts::{Facts, Kind},
};
use dropmill_lifecycle::arrival::FileSnapshot;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Maximum nesting of folders in an input. Each level costs a look-up for each file below it.
const DEEPEST: usize = 256;

/// An open folder and the files in it.
#[derive(Debug)]
pub struct Tree {
    folder: Folder,
    files: Vec<TreeFile>,
    folders: Vec<PathBuf>,
    look: FileSnapshot,
}

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Path below the folder.
    pub relative: PathBuf,
    /// Metadata of the file when the folder was listed.
    pub facts: Facts,
}

/// The reason why a folder is not an input.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The file system reports an error, or the folder changed meanwhile.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It contains something that cannot be an input.
    #[error("it contains {}, which is {what}", shown(path))]
    NoInput {
        /// Path below the folder.
        path: PathBuf,
        /// Such as "a symbolic link" or "not readable".
        what: String,
    },
}

impl TreeError {
    /// Returns whether an entry disappeared after it was listed: the folder is being changed.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Folder(error) if error.is_gone())
    }
}

impl Folder {
    /// Opens a folder below this one and lists its files, also those in nested folders; an empty path is this
    /// folder.
    ///
    /// # Errors
    /// Fails if it cannot be read, or contains something that is neither a folder nor a regular file.
    pub fn tree(&self, relative: impl AsRef<Path>) -> Result<Tree, TreeError> {
        let folder = self.folder(relative)?;
        let mut walk = Walk { latest: i128::MIN, files: vec![] };
        let mut folders = vec![];
        let mut waiting = vec![(PathBuf::new(), 0)];
        while let Some((below, depth)) = waiting.pop() {
            let inner = walk.list(&folder.folder(&below)?, &below)?;
            if depth == DEEPEST && !inner.is_empty() {
                let path = below.components().take(1).collect();
                let what = format!("nested deeper than {DEEPEST} folders");
                return Err(TreeError::NoInput { path, what });
            }
            waiting.extend(inner.into_iter().map(|path| (path, depth + 1)));
            folders.push(below);
        }
        let Walk { latest, mut files } = walk;
        files.sort_by(|one, other| one.relative.cmp(&other.relative));
        let look = look_of(&files, latest);
        Ok(Tree { folder, files, folders, look })
    }

    /// Returns metadata that change when another process changes or replaces an input, file or folder.
    ///
    /// # Errors
    /// Fails if there is no such entry, or it is not an input.
    pub fn look(&self, relative: impl AsRef<Path>) -> Result<FileSnapshot, TreeError> {
        let relative = relative.as_ref();
        let facts = self.facts(relative)?;
        match facts.kind {
            Kind::File => Ok(facts.look()),
            Kind::Folder => Ok(self.tree(relative)?.look()),
            kind => Err(TreeError::NoInput { path: relative.to_owned(), what: kind.to_string() }),
        }
    }
}

/// Returns a path in which no character controls the terminal or breaks the line.
fn shown(path: &Path) -> String {
    let quoted = format!("{path:?}");
    quoted.trim_matches('"').to_owned()
}

struct Walk {
    latest: i128,
    files: Vec<TreeFile>,
}

impl Walk {
    /// Adds the files of one folder, and returns the paths of its folders.
    fn list(&mut self, here: &Folder, below: &Path) -> Result<Vec<PathBuf>, TreeError> {
        self.latest = self.latest.max(here.own_facts()?.modified_ns);
        let mut folders = vec![];
        for entry in here.entries()? {
            let relative = below.join(&entry.name);
            let facts = here.facts(&entry.name)?;
            match facts.kind {
                Kind::Folder => folders.push(relative),
                Kind::File if !here.is_readable(&entry.name) => {
                    return Err(TreeError::NoInput { path: relative, what: "not readable".into() });
                }
                Kind::File => {
                    self.latest = self.latest.max(facts.modified_ns);
                    self.files.push(TreeFile { relative, facts });
                }
                kind => return Err(TreeError::NoInput { path: relative, what: kind.to_string() }),
            }
        }
        Ok(folders)
    }
}

/// Returns the sum of the lengths, the latest modification time, and a hash of the names and identities of
/// the files.
fn look_of(files: &[TreeFile], latest: i128) -> FileSnapshot {
    let mut hash = Sha256::new();
    for TreeFile { relative, facts } in files {
        hash.update(relative.as_os_str().as_bytes());
        hash.update([0]);
        hash.update(facts.identity.inode.to_le_bytes());
        hash.update(facts.size_bytes.to_le_bytes());
        hash.update(facts.modified_ns.to_le_bytes());
    }
    let hash = hash.finalize();
    let inode = hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    let size_bytes = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.facts.size_bytes));
    FileSnapshot { size_bytes, modified_ns: latest, inode }
}

impl Tree {
    /// Returns the files, sorted by path.
    pub fn files(&self) -> &[TreeFile] {
        &self.files
    }

    /// Returns the paths of the files, sorted.
    pub fn into_paths(self) -> Vec<PathBuf> {
        self.files.into_iter().map(|file| file.relative).collect()
    }

    /// Returns the first folder whose entries this process may not rename and remove, if there is one. An
    /// empty path is the folder itself.
    pub fn unchangeable(&self) -> Option<&Path> {
        self.folders.iter().find(|below| !self.folder.is_changeable(below)).map(PathBuf::as_path)
    }

    /// Returns metadata that change when another process changes, replaces or renames one of the files.
    pub fn look(&self) -> FileSnapshot {
        self.look
    }

    /// Opens exactly the file that was listed, for reading.
    ///
    /// # Errors
    /// Fails if another file replaced it, a part of its path became a link, or on an error of the file
    /// system.
    pub fn open(&self, file: &TreeFile) -> Result<File, FolderError> {
        Ok(self.folder.open_same(&file.relative, file.facts.identity)?.0)
    }

    /// Opens each file in turn, sorted by path.
    pub fn read(&self) -> impl Iterator<Item = Result<(&TreeFile, File), FolderError>> {
        self.files.iter().map(|file| Ok((file, self.open(file)?)))
    }
}
