//! The files of nodes as the protocol shows them: only regular files and folders below a node's root.
//!
//! Tasks can change them at any time: the kernel opens every path below the root (`openat2`), so that a link
//! created between check and use cannot lead outside.

use super::place::{Places, beneath};
use crate::orders::{FileEntry, NodeFiles, NodeRef};
use dropmill_azure_wire::time::Timestamp;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, statat, unlinkat},
    io::Errno,
};
use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
};

/// Maximum depth of folders in a listing: each needs an open handle.
const MAX_DEPTH: usize = 128;

/// The files of nodes on the local disk.
#[derive(Debug, Clone)]
pub struct DiskFiles {
    places: Places,
}

impl DiskFiles {
    /// Creates it for the folder of all nodes.
    pub(super) fn new(places: Places) -> Self {
        Self { places }
    }

    fn root(&self, node: &NodeRef) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::open(self.places.node(node), flags, Mode::empty())?)
    }

    fn open(&self, node: &NodeRef, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let below = beneath(path).ok_or_else(outside)?;
        open_beneath(&self.root(node)?, &below, flags)
    }
}

impl NodeFiles for DiskFiles {
    fn list(&self, node: &NodeRef, directory: &str, recursive: bool) -> io::Result<Vec<FileEntry>> {
        let folder = self.open(node, directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        list_into(&folder, "", if recursive { MAX_DEPTH } else { 0 }, &mut entries)?;
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    fn entry(&self, node: &NodeRef, path: &str) -> io::Result<Option<FileEntry>> {
        let opened = self.open(node, path, OFlags::PATH);
        match opened.and_then(|handle| Ok(fstat(handle)?)) {
            Ok(stat) => Ok(entry(path.trim_matches('/').to_owned(), &stat)),
            Err(error) if not_there(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, node: &NodeRef, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        // A pipe must not block: it is opened in non-blocking mode and then rejected.
        let handle = self.open(node, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let stat = fstat(&handle)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{path} is not a regular file")));
        }
        let left = u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(length)];
        let file = File::from(handle);
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn delete(&self, node: &NodeRef, path: &str, recursive: bool) -> io::Result<()> {
        let below = beneath(path).filter(|below| !below.as_os_str().is_empty()).ok_or_else(outside)?;
        let (parent, name) =
            (below.parent().unwrap_or(Path::new("")), below.file_name().ok_or_else(outside)?);
        let parent = open_beneath(&self.root(node)?, parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (is_folder, recursive) {
            (false, _) => Ok(unlinkat(&parent, name, AtFlags::empty())?),
            (true, false) => Ok(unlinkat(&parent, name, AtFlags::REMOVEDIR)?),
            // Relative to its open parent, because its path may have changed meanwhile. Links inside are not
            // followed.
            (true, true) => std::fs::remove_dir_all(
                Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name),
            ),
        }
    }
}

/// Opens a checked path; links are followed as long as they stay below `root`.
fn open_beneath(root: &OwnedFd, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        // A kernel before 5.6, or a sandbox without this call: open each segment, without following links.
        Err(Errno::NOSYS | Errno::PERM) => open_by_segments(root, path, flags),
        // The kernel asks to retry because of a concurrent rename.
        Err(Errno::AGAIN) => open_by_segments(root, path, flags),
        outcome => Ok(outcome?),
    }
}

fn open_by_segments(root: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let no_links = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = OFlags::PATH | OFlags::DIRECTORY | no_links;
    let mut at = rustix::fs::openat(root, ".", folder, Mode::empty())?;
    for segment in path.parent().into_iter().flatten() {
        at = rustix::fs::openat(&at, segment, folder, Mode::empty())?;
    }
    let last = path.file_name().map_or(Path::new("."), Path::new);
    Ok(rustix::fs::openat(&at, last, flags | no_links, Mode::empty())?)
}

fn list_into(folder: impl AsFd, prefix: &str, depth: usize, entries: &mut Vec<FileEntry>) -> io::Result<()> {
    for item in Dir::read_from(&folder)? {
        let item = item?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // Deleted meanwhile, or a link: left out.
        let Ok(stat) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let Some(entry) = entry(format!("{prefix}{}", name.to_string_lossy()), &stat) else { continue };
        let enter = (depth > 0 && entry.is_directory).then(|| format!("{}/", entry.name));
        entries.push(entry);
        if let Some(prefix) = enter {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
                Ok(inner) => list_into(inner, &prefix, depth - 1, entries)?,
                // Deleted, replaced, or not readable: the others are still listed.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Returns the entry; `None` if it is neither a file nor a folder.
fn entry(name: String, stat: &Stat) -> Option<FileEntry> {
    let is_directory = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => true,
        FileType::RegularFile => false,
        _ => return None,
    };
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Some(FileEntry {
        name,
        is_directory,
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        modified: Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or_default(),
        mode: stat.st_mode,
    })
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the path leads out of the node's folders")
}

/// Returns whether the path does not exist, leads out of the root, or has a file in place of a folder.
fn not_there(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    error.kind() == io::ErrorKind::NotFound
        || matches!(
            errno,
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG)
        )
}
