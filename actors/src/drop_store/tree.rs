//! A folder as one input: the files in it, and what a look at all of them shows.
//!
//! Nothing is followed: whatever is neither a folder nor a plain file makes the whole folder no input.

use dropmill_lifecycle::arrival::Look;
use rustix::fs::{Access, AtFlags, CWD};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, Metadata},
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// A file of a folder.
#[derive(Debug)]
pub struct TreeFile {
    /// Path below the folder.
    pub relative: PathBuf,
    /// What the file system tells of it.
    pub facts: Metadata,
}

/// Why a folder is no input.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The file system refused, or the folder changed meanwhile.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// It holds something that cannot be an input.
    #[error("it holds {path}, which is {what}")]
    NoInput {
        /// Path below the folder.
        path: PathBuf,
        /// A link, a FIFO, a file that may not be read, …
        what: &'static str,
    },
}

impl TreeError {
    /// Whether something was there when the folder was read, and then was not.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The files in a folder and in the folders in it, by path.
///
/// # Errors
/// When it cannot be read, or holds what is neither a folder nor a plain file.
pub fn files(folder: &Path) -> Result<Vec<TreeFile>, TreeError> {
    walk(folder, |_| {})
}

/// What tells whether anybody wrote to any of them: the sum of their lengths, the latest change, and a hash of
/// their names and of what tells each from another; and the files.
///
/// # Errors
/// As [`files`]; and when one of them may not be read.
pub fn look(folder: &Path) -> Result<(Look, Vec<TreeFile>), TreeError> {
    let mut latest = i128::MIN;
    let files = walk(folder, |facts| latest = latest.max(modified_ns(facts)))?;
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    for file in &files {
        let (path, facts) = (&file.relative, &file.facts);
        if rustix::fs::accessat(CWD, folder.join(path), Access::READ_OK, AtFlags::EACCESS).is_err() {
            return Err(TreeError::NoInput { path: path.clone(), what: "not readable" });
        }
        size_bytes += facts.len();
        latest = latest.max(modified_ns(facts));
        hash.update(path.as_os_str().as_bytes());
        hash.update([0]);
        hash.update(facts.ino().to_le_bytes());
        hash.update(facts.len().to_le_bytes());
        hash.update(modified_ns(facts).to_le_bytes());
    }
    let hash = hash.finalize();
    let inode = hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok((Look { size_bytes, modified_ns: latest, inode }, files))
}

/// Nanoseconds since 1970 of the latest change of a content.
pub fn modified_ns(facts: &Metadata) -> i128 {
    i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec())
}

fn walk(folder: &Path, mut on_folder: impl FnMut(&Metadata)) -> Result<Vec<TreeFile>, TreeError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TreeError::Io { path, source }
    };
    let (mut found, mut folders) = (vec![], vec![PathBuf::new()]);
    while let Some(below) = folders.pop() {
        let here = folder.join(&below);
        on_folder(&fs::symlink_metadata(&here).map_err(io(&here))?);
        for entry in fs::read_dir(&here).map_err(io(&here))? {
            let entry = entry.map_err(io(&here))?;
            let relative = below.join(entry.file_name());
            // Of the entry itself: a link is not followed.
            let facts = entry.metadata().map_err(io(&entry.path()))?;
            let kind = facts.file_type();
            if kind.is_dir() {
                folders.push(relative);
            } else if kind.is_file() {
                found.push(TreeFile { relative, facts });
            } else {
                let what = if kind.is_symlink() { "a symbolic link" } else { "no plain file" };
                return Err(TreeError::NoInput { path: relative, what });
            }
        }
    }
    found.sort_by(|one, other| one.relative.cmp(&other.relative));
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whatever_happens_to_any_of_its_files_a_look_shows() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::create_dir_all(here.join("a/b")).unwrap();
        fs::write(here.join("a/b/one"), "1").unwrap();
        fs::write(here.join("two"), "22").unwrap();
        let (first, found) = look(here).unwrap();
        assert_eq!((first.size_bytes, found.len()), (3, 2));
        assert_eq!(look(here).unwrap().0, first);
        let names: Vec<_> = files(here).unwrap().into_iter().map(|file| file.relative).collect();
        assert_eq!(names, [Path::new("a/b/one"), Path::new("two")]);
        let mut looks = vec![first];
        let mut changed = |what: &str| {
            let look = look(here).unwrap().0;
            assert!(!looks.contains(&look), "{what}");
            looks.push(look);
        };
        fs::write(here.join("a/b/one"), "2").unwrap();
        changed("written to");
        fs::rename(here.join("two"), here.join("three")).unwrap();
        changed("another name");
        fs::write(here.join("two"), "22").unwrap();
        fs::rename(here.join("two"), here.join("three")).unwrap();
        changed("replaced");
        fs::create_dir(here.join("empty")).unwrap();
        changed("a folder more");
    }

    #[test]
    fn a_link_anywhere_in_it_makes_it_no_input() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a/link")).unwrap();
        let refused = look(folder.path()).unwrap_err();
        assert_eq!(refused.to_string(), "it holds a/link, which is a symbolic link");
        assert!(!refused.is_gone());
        assert!(look(&folder.path().join("nothing")).unwrap_err().is_gone());
    }
}
