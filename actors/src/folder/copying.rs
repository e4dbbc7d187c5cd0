//! Copies files and folders between open folders, durably.

use super::{
    Folder,
    error::{Cause, FolderError},
    facts::{Facts, Identity, Kind},
};
use rustix::fs::fstat;
use std::{
    fs::{File, FileTimes},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Permissions that a copy keeps: neither setuid nor setgid, which would have another meaning for another
/// owner.
const KEPT: u32 = 0o777;

impl Folder {
    /// Copies a regular file, or a folder with its content, to a free name.
    ///
    /// The copy has the permissions and the modification time of the original. Content and names inside the
    /// copy are durable; its own name is durable after a sync of its folder. If the copy fails, a part may
    /// remain. Returns the identity of the copy.
    ///
    /// # Errors
    /// Fails if something is neither a regular file nor a folder, a file was replaced or changed during the
    /// copy, the new name is taken, or on an error of the file system.
    pub fn copy(
        &self,
        from: impl AsRef<Path>,
        to: &Folder,
        name: impl AsRef<Path>,
    ) -> Result<Identity, FolderError> {
        let (from, name) = (from.as_ref(), name.as_ref());
        match self.facts(from)?.kind {
            Kind::File => self.copy_file(from, to, name),
            Kind::Folder => {
                let copy = to.create_folder(name, 0o700)?;
                copy_tree(&self.folder(from)?, &copy)?;
                copy.identity()
            }
            kind => Err(self.error("copy", from, Cause::NoFile(kind))),
        }
    }

    /// Gives this folder the permissions and the modification time of another one; its owner can always
    /// change it.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn keep(&self, facts: &Facts) -> Result<(), FolderError> {
        let handle = self.handle.try_clone().map(File::from);
        let kept = handle.and_then(|handle| keep(&handle, facts, facts.mode & KEPT | 0o700));
        kept.map_err(|error| FolderError::new("set permissions and time of", &self.path, error))
    }

    fn copy_file(&self, from: &Path, to: &Folder, name: &Path) -> Result<Identity, FolderError> {
        let (source, opened) = self.open_file(from)?;
        let target = to.create_file(name, 0o600)?;
        let copied = copy_bytes(&source, &target, opened.size_bytes)
            .map_err(|error| to.error("copy to", name, error))?;
        check_unchanged(&source, &opened, copied).map_err(|cause| self.error("copy", from, cause))?;
        let kept = keep(&target, &opened, opened.mode & KEPT).and_then(|()| target.sync_all());
        let copy = kept.and_then(|()| Ok(Facts::of(&fstat(&target)?)));
        copy.map(|copy| copy.identity).map_err(|error| to.error("copy to", name, error))
    }
}

/// Copies at most the original length: a file that grows as fast as it is read would never end.
fn copy_bytes(source: &File, target: &File, length: u64) -> io::Result<u64> {
    let (mut source, mut target) = (source.take(length), target);
    // The kernel does this if the file systems support it (`copy_file_range`).
    io::copy(&mut source, &mut target)
}

/// Checks that a file is unchanged since it was opened, after this many bytes were copied.
fn check_unchanged(source: &File, opened: &Facts, copied: u64) -> Result<(), Cause> {
    let now = Facts::of(&fstat(source)?);
    match copied == opened.size_bytes && now.look() == opened.look() {
        true => Ok(()),
        false => Err(Cause::Changed),
    }
}

fn keep(target: &File, facts: &Facts, mode: u32) -> io::Result<()> {
    target.set_permissions(PermissionsExt::from_mode(mode))?;
    target.set_times(FileTimes::new().set_modified(moment(facts.modified_ns)))
}

fn moment(modified_ns: i128) -> SystemTime {
    let length = |ns: u128| {
        let seconds = u64::try_from(ns / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, u32::try_from(ns % 1_000_000_000).unwrap_or(0))
    };
    let distance = length(modified_ns.unsigned_abs());
    let moment = match modified_ns < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
    };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Copies the content of a folder into another, new one.
fn copy_tree(source: &Folder, target: &Folder) -> Result<(), FolderError> {
    let mut made = vec![];
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        let (here, there) = (source.folder(&below)?, target.folder(&below)?);
        let facts = here.own_facts()?;
        for entry in here.entries()? {
            let name = Path::new(&entry.name);
            match entry.kind {
                Kind::Folder => {
                    there.create_folder(name, 0o700)?;
                    waiting.push(below.join(name));
                }
                Kind::File => {
                    here.copy_file(name, &there, name)?;
                }
                kind => return Err(here.error("copy", name, Cause::NoFile(kind))),
            }
        }
        made.push((below, facts));
    }
    // The innermost first, because a new entry changes the modification time of its folder.
    for (below, facts) in made.into_iter().rev() {
        let folder = target.folder(&below)?;
        folder.keep(&facts)?;
        folder.sync()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_write_during_a_copy_is_detected() {
        let outer = tempfile::tempdir().unwrap();
        let (path, folder) = (outer.path().join("file"), Folder::open(outer.path()).unwrap());
        let checked = |copied, meanwhile: &dyn Fn(&File)| {
            fs::write(&path, "content").unwrap();
            let (source, opened) = folder.open_file("file").unwrap();
            meanwhile(&File::options().write(true).open(&path).unwrap());
            check_unchanged(&source, &opened, copied).is_ok()
        };
        assert!(checked(7, &|_| {}));
        assert!(!checked(6, &|_| {}), "it was shorter while it was read");
        assert!(!checked(7, &|file| file.set_len(8).unwrap()));
        assert!(!checked(7, &|file| file.set_len(0).unwrap()));
        assert!(!checked(7, &|file| file.set_modified(SystemTime::UNIX_EPOCH).unwrap()));
        assert!(checked(7, &|_| fs::remove_file(&path).unwrap()), "its content is as it was");
    }

    #[test]
    fn every_modification_time_is_kept() {
        for (ns, expected) in [
            (0, Some(SystemTime::UNIX_EPOCH)),
            (1_500_000_000, SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(1500))),
            (-1_500_000_000, SystemTime::UNIX_EPOCH.checked_sub(Duration::from_millis(1500))),
        ] {
            assert_eq!(Some(moment(ns)), expected, "{ns}");
        }
    }
}
