//! Finds folders below an open one: with `openat2`, or part by part if the kernel does not support it.

use super::error::Cause;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// Maximum length of a path for the kernel, including the final zero byte.
const PATH_MAX: usize = 4096;

/// How paths are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// By the kernel in one call, and part by part if that is not possible.
    Kernel,
    /// Part by part.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "tests choose what the kernel's answer chooses otherwise")
    )]
    Walk,
}

/// The purpose of an opened folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Access to an entry in it: this needs no permission to read the folder.
    Passing,
    /// Listing and syncing it.
    Reading,
}

impl For {
    fn flags(self) -> OFlags {
        let access = match self {
            Self::Passing => OFlags::PATH,
            Self::Reading => OFlags::RDONLY,
        };
        access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
    }
}

/// Returns the parts of a relative path; none for an empty one.
///
/// `Path::components` would hide empty parts and `.`. Paths of this program have neither, so a path with them
/// was created by another program.
pub(super) fn segments(relative: &Path) -> Result<Vec<&OsStr>, Cause> {
    let bytes = relative.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Ok(vec![]);
    }
    let parts = bytes.split(|byte| *byte == b'/').map(|part| match part {
        b"" | b"." | b".." => Err(Cause::Outside),
        part => Ok(OsStr::from_bytes(part)),
    });
    parts.collect()
}

/// Opens a folder below another. No part of the path may be a link or lead out of it.
pub(super) fn open_beneath(
    root: BorrowedFd<'_>,
    parts: &[&OsStr],
    purpose: For,
    lookup: Lookup,
) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = parts;
    loop {
        let (piece, left) = rest.split_at(fitting(rest));
        let purpose = if left.is_empty() { purpose } else { For::Passing };
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        let next = match lookup {
            Lookup::Kernel => open_piece(from, piece, purpose),
            Lookup::Walk => walk(from, piece, purpose),
        }?;
        if left.is_empty() {
            return Ok(next);
        }
        (at, rest) = (Some(next), left);
    }
}

/// Returns how many parts fit into one path for the kernel.
fn fitting(parts: &[&OsStr]) -> usize {
    let mut length = 0;
    let fit = parts.iter().take_while(|part| {
        length += part.len() + 1;
        length <= PATH_MAX
    });
    // A name that is too long for any file system is passed alone, and the kernel reports it.
    fit.count().max(1).min(parts.len())
}

fn open_piece(at: BorrowedFd<'_>, parts: &[&OsStr], purpose: For) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut path = OsString::new();
    for part in parts {
        if !path.is_empty() {
            path.push("/");
        }
        path.push(part);
    }
    let path = if path.is_empty() { OsStr::new(".") } else { &path };
    match openat2(at, path, purpose.flags(), Mode::empty(), resolve) {
        // A kernel before 5.6; a sandbox without this call; or a concurrent rename that might affect this
        // path.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => walk(at, parts, purpose),
        outcome => outcome,
    }
}

fn walk(at: BorrowedFd<'_>, parts: &[&OsStr], purpose: For) -> Result<OwnedFd, Errno> {
    let Some((last, above)) = parts.split_last() else {
        return openat(at, ".", purpose.flags(), Mode::empty());
    };
    let mut held: Option<OwnedFd> = None;
    for part in above {
        let from = held.as_ref().map_or(at, AsFd::as_fd);
        held = Some(openat(from, *part, For::Passing.flags(), Mode::empty())?);
    }
    let from = held.as_ref().map_or(at, AsFd::as_fd);
    openat(from, *last, purpose.flags(), Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_below_have_segments() {
        let parts = |path: &str| segments(Path::new(path)).ok().map(|parts| parts.len());
        for (path, expected) in [
            ("", Some(0)),
            ("a", Some(1)),
            ("a/b/c", Some(3)),
            ("..a/b..", Some(2)),
            ("...", Some(1)),
            ("/a", None),
            ("/", None),
            ("a/", None),
            ("a//b", None),
            (".", None),
            ("a/./b", None),
            ("..", None),
            ("a/../b", None),
            ("a/..", None),
        ] {
            assert_eq!(parts(path), expected, "{path:?}");
        }
    }

    #[test]
    fn long_paths_are_cut_into_pieces_that_the_kernel_takes() {
        let name = OsString::from("n".repeat(255));
        // Sixteen names, fifteen slashes and a zero byte are 4096 bytes.
        for (count, expected) in [(0, 0), (1, 1), (16, 16), (17, 16), (40, 16)] {
            assert_eq!(fitting(&vec![name.as_os_str(); count]), expected, "{count}");
        }
        let endless = OsString::from("n".repeat(5000));
        assert_eq!(fitting(&[&endless, &name]), 1);
    }
}
