//! Limits standard output and error: a command that prints without end must neither fill the disk nor be
//! blocked.
//!
//! The command writes directly to the files, so nothing is copied. While it runs, the middle of a file that
//! became too large is removed from the disk (a hole; the file's length still grows). After its end, the file
//! is reduced to its beginning, a line with the number of missing bytes, and its end.

use rustix::fs::{FallocateFlags, fallocate};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Number of bytes left out of each file.
pub(super) type LeftOut = BTreeMap<PathBuf, u64>;

const FILES: [&str; 2] = ["stdout.txt", "stderr.txt"];
/// Holes consist of whole pages.
const PAGE: u64 = 4096;

/// Frees the middle of files that use more than `limit_bytes` on disk; for running commands.
pub(super) fn thin(directory: &Path, limit_bytes: u64) {
    for name in FILES {
        let path = directory.join(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if !metadata.is_file() || metadata.blocks() * 512 <= limit_bytes {
            continue;
        }
        let hole = hole(metadata.len(), limit_bytes);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let outcome = open(&path)
            .and_then(|file| fallocate(file, flags, hole.0, hole.1 - hole.0).map_err(io::Error::from));
        if let Err(error) = outcome {
            tracing::debug!(path = %path.display(), %error, "cannot free the middle of a large output");
        }
    }
}

/// Keeps the beginning and the end of files longer than `limit_bytes`; for commands that have ended. Returns
/// the number of bytes left out of each file.
pub(super) fn cut(directory: &Path, limit_bytes: u64) -> LeftOut {
    let mut left_out = LeftOut::new();
    for name in FILES {
        let path = directory.join(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if !metadata.is_file() || metadata.len() <= limit_bytes {
            continue;
        }
        match shorten(&path, metadata.len(), limit_bytes) {
            Ok(bytes) => drop(left_out.insert(path, bytes)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot shorten a large output");
            }
        }
    }
    left_out
}

/// Returns the end of the first part and the start of the last part.
fn hole(length: u64, limit_bytes: u64) -> (u64, u64) {
    let half = (limit_bytes / 2).max(PAGE) / PAGE * PAGE;
    let tail = length.saturating_sub(half).next_multiple_of(PAGE).min(length);
    (half.min(tail), tail)
}

fn shorten(path: &Path, length: u64, limit_bytes: u64) -> io::Result<u64> {
    let (head, tail) = hole(length, limit_bytes);
    let mut long = open(path)?;
    let new = path.with_extension("short");
    let mut short = dropmill_private_files::create_new(&new)?;
    io::copy(&mut io::Read::take(&mut long, head), &mut short)?;
    write!(short, "\n[... {} bytes left out by the node ...]\n", tail - head)?;
    long.seek(SeekFrom::Start(tail))?;
    io::copy(&mut long, &mut short)?;
    fs::rename(&new, path).map(|()| tail - head)
}

fn open(path: &Path) -> io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    OpenOptions::new().read(true).write(true).custom_flags(no_follow).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_output_keeps_its_head_and_its_tail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stdout.txt");
        let line = |number: u32| format!("{number:015}\n");
        let text: String = (0..10_000).map(line).collect();
        fs::write(&path, &text).unwrap();
        fs::write(folder.path().join("stderr.txt"), "short\n").unwrap();
        thin(folder.path(), 16 * 1024);
        assert_eq!(fs::metadata(&path).unwrap().len(), 160_000, "the command's own position must not move");
        cut(folder.path(), 16 * 1024);
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.len() < 17 * 1024, "{}", kept.len());
        assert!(kept.starts_with(&text[..8192]));
        assert!(kept.contains("bytes left out"), "{}", &kept[8192..8300]);
        assert!(kept.ends_with(&line(9_999)));
        assert_eq!(fs::read_to_string(folder.path().join("stderr.txt")).unwrap(), "short\n");
    }

    #[test]
    fn head_and_tail_never_overlap() {
        for length in [0, 1, 4095, 4096, 8192, 8193, 100_000] {
            for limit in [0, 1, 4096, 8191, 8192, 65_536] {
                let (head, tail) = hole(length, limit);
                assert!(head <= tail && tail <= length, "{length} {limit}: {head} {tail}");
            }
        }
    }
}
