//! A folder that the user configured by a path.

use super::{
    Folder,
    error::{Cause, FolderError},
};
use rustix::fs::{Mode, fchmod};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Permissions of a private folder.
const PRIVATE: u32 = 0o700;

/// A folder that the user configured. Links in its path are followed once, when the path is resolved.
///
/// Each use opens the folder again, below `/` and without following a link. So a folder that is mounted or
/// moved to the path later is found, its file system can be unmounted between two uses, and a part of the
/// path that becomes a link later is not followed.
#[derive(Debug)]
pub struct ConfiguredFolder {
    given: PathBuf,
    /// Path below `/`.
    resolved: PathBuf,
    top: Folder,
    is_private: bool,
}

impl ConfiguredFolder {
    /// Resolves the path of a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// Fails on an error of the file system, or if the path is not a folder.
    pub fn resolve(given: &Path) -> Result<Self, FolderError> {
        let fail = |error: io::Error| FolderError::new("open folder", given, error);
        fs::create_dir_all(given).map_err(fail)?;
        let resolved = fs::canonicalize(given).map_err(fail)?;
        let top = Folder::open(Path::new("/"))?;
        let resolved = resolved.strip_prefix("/").unwrap_or(&resolved).to_owned();
        Ok(Self { given: given.to_owned(), resolved, top, is_private: false })
    }

    /// Resolves the path of a folder that no other user may enter. Its parent may be any folder.
    ///
    /// # Errors
    /// As [`ConfiguredFolder::resolve`]; and if the folder belongs to another user.
    pub fn resolve_private(given: &Path) -> Result<Self, FolderError> {
        let (Some(parent), Some(name)) = (given.parent(), given.file_name()) else {
            return Err(FolderError::new("open folder", given, Cause::Outside));
        };
        let Self { resolved, top, .. } = Self::resolve(parent)?;
        let private = Self { given: given.to_owned(), resolved: resolved.join(name), top, is_private: true };
        private.open_or_create(PRIVATE)?;
        Ok(private)
    }

    /// Opens the current folder at the path.
    ///
    /// # Errors
    /// Fails if there is none, a part of the path became a link, or on an error of the file system.
    pub fn open(&self) -> Result<Folder, FolderError> {
        self.checked(self.top.folder(&self.resolved))
    }

    /// Opens the current folder at the path, or creates it.
    ///
    /// # Errors
    /// Fails if a part of the path became a link, or on an error of the file system.
    pub fn open_or_create(&self, mode: u32) -> Result<Folder, FolderError> {
        self.checked(self.top.create_folders(&self.resolved, mode))
    }

    /// Returns the path as the user gave it, for messages and for other programs.
    pub fn path(&self) -> &Path {
        &self.given
    }

    fn checked(&self, opened: Result<Folder, FolderError>) -> Result<Folder, FolderError> {
        let opened = opened.map_err(|error| error.at(&self.given))?;
        let folder = Folder { path: self.given.clone(), ..opened };
        if self.is_private {
            keep_private(&folder)?;
        }
        Ok(folder)
    }
}

fn keep_private(folder: &Folder) -> Result<(), FolderError> {
    let facts = folder.own_facts()?;
    if facts.owner != rustix::process::geteuid().as_raw() {
        return Err(FolderError::new("use folder", &folder.path, Cause::Foreign { owner: facts.owner }));
    }
    if facts.mode & 0o777 != PRIVATE {
        fchmod(&folder.handle, Mode::from_raw_mode(PRIVATE))
            .map_err(|error| FolderError::new("set the permissions of", &folder.path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn links_in_the_path_are_followed_once_and_none_that_comes_later() {
        let outer = tempfile::tempdir().unwrap();
        let path = |below: &str| outer.path().join(below);
        fs::create_dir_all(path("data/done")).unwrap();
        fs::create_dir(path("elsewhere")).unwrap();
        symlink("data", path("srv")).unwrap();
        let done = ConfiguredFolder::resolve(&path("srv/done")).unwrap();
        done.open().unwrap().create_file("a", 0o600).unwrap();
        assert!(path("data/done/a").exists());
        // Another folder is at the path now.
        fs::rename(path("data/done"), path("before")).unwrap();
        let error = done.open().unwrap_err();
        assert!(error.is_not_found() && error.to_string().contains("srv/done"), "{error}");
        done.open_or_create(0o755).unwrap().create_file("b", 0o600).unwrap();
        assert!(path("data/done/b").exists());
        // A link is at the path now.
        fs::remove_dir_all(path("data/done")).unwrap();
        symlink(path("elsewhere"), path("data/done")).unwrap();
        assert!(done.open().is_err() && done.open_or_create(0o755).is_err());
        assert_eq!(fs::read_dir(path("elsewhere")).unwrap().count(), 0);
    }

    #[test]
    fn a_private_folder_is_closed_to_others_and_must_belong_to_this_user() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("work/id");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        let work = ConfiguredFolder::resolve_private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::remove_dir(&path).unwrap();
        work.open_or_create(0o700).unwrap();
        fs::remove_dir(&path).unwrap();
        symlink("/etc", &path).unwrap();
        assert!(work.open().is_err() && ConfiguredFolder::resolve_private(&path).is_err());
        fs::remove_file(&path).unwrap();
        if rustix::process::geteuid().is_root() {
            fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            let error = work.open().unwrap_err().to_string();
            assert!(error.ends_with("it belongs to user 65534; expected a folder of this process's user"));
        }
    }
}
