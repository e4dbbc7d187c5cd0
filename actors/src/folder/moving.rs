//! Renames entries between open folders.

use super::{Folder, Place, error::Cause, error::FolderError};
use rustix::{
    fs::{AtFlags, RenameFlags, renameat, renameat_with, statat},
    io::Errno,
};
use std::path::Path;

impl Folder {
    /// Moves an entry to a free name, in this folder or another one.
    ///
    /// A rename moves the entry that has the name at that moment, which may differ from the one that was
    /// checked; links are moved as links. Check it afterwards, in a folder that no other user can write to.
    ///
    /// # Errors
    /// Fails if there is no such entry, the new name is taken, the folders are on different file systems, or
    /// on an error of the file system.
    pub fn rename_new(
        &self,
        from: impl AsRef<Path>,
        to: &Folder,
        name: impl AsRef<Path>,
    ) -> Result<(), FolderError> {
        self.rename(from.as_ref(), to, name.as_ref(), |from, to| {
            match renameat_with(&from.folder, from.name, &to.folder, to.name, RenameFlags::NOREPLACE) {
                // The file system does not support this kind of rename.
                Err(Errno::INVAL | Errno::NOSYS) => rename_in_two_steps(from, to),
                outcome => outcome,
            }
        })
    }

    /// Swaps two entries in one step.
    ///
    /// # Errors
    /// Fails if one of them does not exist, they are on different file systems, or on an error of the file
    /// system.
    pub fn exchange(
        &self,
        one: impl AsRef<Path>,
        with: &Folder,
        other: impl AsRef<Path>,
    ) -> Result<(), FolderError> {
        self.rename(one.as_ref(), with, other.as_ref(), |one, other| {
            renameat_with(&one.folder, one.name, &other.folder, other.name, RenameFlags::EXCHANGE)
        })
    }

    fn rename(
        &self,
        from: &Path,
        to: &Folder,
        name: &Path,
        rename: impl FnOnce(&Place<'_>, &Place<'_>) -> Result<(), Errno>,
    ) -> Result<(), FolderError> {
        let source = self.place(from).map_err(|cause| self.error("rename", from, cause))?;
        let target = to.place(name).map_err(|cause| to.error("rename to", name, cause))?;
        rename(&source, &target).map_err(|errno| match errno {
            Errno::NOENT => self.error("rename", from, errno),
            // For the last segment, these errors never mean a link in the path.
            Errno::LOOP | Errno::NOTDIR => to.error("rename to", name, Cause::Io(errno.into())),
            _ => to.error("rename to", name, errno),
        })
    }
}

/// Renames on a file system that cannot refuse to replace an entry. An entry that appears between the two
/// steps is replaced: such a file system offers nothing better.
fn rename_in_two_steps(from: &Place<'_>, to: &Place<'_>) -> Result<(), Errno> {
    match statat(&to.folder, to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => renameat(&from.folder, from.name, &to.folder, to.name),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_in_two_steps_replaces_nothing() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(outer.path()).unwrap();
        std::fs::write(outer.path().join("a"), "a").unwrap();
        std::fs::write(outer.path().join("b"), "b").unwrap();
        std::os::unix::fs::symlink("nowhere", outer.path().join("link")).unwrap();
        let rename = |from: &str, to: &str| {
            let (from, to) = (Path::new(from), Path::new(to));
            rename_in_two_steps(&folder.place(from).unwrap(), &folder.place(to).unwrap())
        };
        assert_eq!(rename("a", "b"), Err(Errno::EXIST));
        assert_eq!(rename("a", "link"), Err(Errno::EXIST), "also where a link leads nowhere");
        assert_eq!(rename("none", "c"), Err(Errno::NOENT));
        assert_eq!(rename("a", "c"), Ok(()));
        assert_eq!(std::fs::read_to_string(outer.path().join("c")).unwrap(), "a");
        assert_eq!(std::fs::read_to_string(outer.path().join("b")).unwrap(), "b");
    }
}
