//! Renames entries between open folders.

use super::{Folder, Place, error::Cause, error::FolderError};
use rustix::{
    fs::{AtFlags, RenameFlags, renameat, renameat_with, statat},
    io::Errno,
};
use std::path::Path;

impl Folder {
    /// Moves an entry to a name that is free, in this folder or in another one.
    ///
    /// A rename moves what has the name at that moment, which may be another entry than the one that was checked, and
    /// links are moved as links. Check afterwards, in a folder that nobody else can write to.
    ///
    /// # Errors
    /// When there is no such entry, when the new name is taken, when the two folders are on different file systems, or
    /// when the file system refuses.
    pub fn rename_new(
        &self,
        from: impl AsRef<Path>,
        to: &Folder,
        name: impl AsRef<Path>,
    ) -> Result<(), FolderError> {
        self.rename(from.as_ref(), to, name.as_ref(), |from, to| {
            match renameat_with(&from.folder, from.name, &to.folder, to.name, RenameFlags::NOREPLACE) {
                // The file system knows no such rename.
                Err(Errno::INVAL | Errno::NOSYS) => rename_in_two_steps(from, to),
                outcome => outcome,
            }
        })
    }

    /// Swaps two entries in one step.
    ///
    /// # Errors
    /// When one of them does not exist, when they are on different file systems, or when the file system refuses.
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
            // Of a name that is not looked up any further, the two never mean a link in the way.
            Errno::LOOP | Errno::NOTDIR => to.error("rename to", name, Cause::Io(errno.into())),
            _ => to.error("rename to", name, errno),
        })
    }
}

/// Renames where the file system cannot refuse to replace. Whatever appears between the two steps is replaced: this is
/// the most that such a file system offers.
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
