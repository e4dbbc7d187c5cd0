//! A reserve of disk space for records.
//!
//! On a full disk, large files can be deleted only after the records that allow this are written. So files of
//! tasks and blobs leave some space for the databases.

use std::{io, path::Path};

/// Size of the reserve in bytes. It is at most `all / PART` of the file system.
const RESERVE: u64 = 16 << 20;
const PART: u64 = 16;

/// Checks that this many bytes fit on the disk of `at`, without using the reserve.
///
/// # Errors
/// Fails with `StorageFull` if they do not. Succeeds if the file system does not report its free space.
pub(crate) fn check(at: &Path, bytes: u64) -> io::Result<()> {
    let Ok(found) = rustix::fs::statvfs(at) else { return Ok(()) };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let all = found.f_blocks.saturating_mul(found.f_frsize);
    match fits(free, all, bytes) {
        true => Ok(()),
        false => Err(rustix::io::Errno::NOSPC.into()),
    }
}

fn fits(free: u64, all: u64, bytes: u64) -> bool {
    free >= bytes.saturating_add(RESERVE.min(all / PART))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn files_leave_the_reserve_for_records() {
        let (mib, gib) = (1 << 20, 1 << 30);
        for (free, all, bytes, expected) in [
            (100 * gib, 200 * gib, gib, true),
            (16 * mib, 200 * gib, 0, true),
            (16 * mib, 200 * gib, 1, false),
            (17 * mib, 200 * gib, mib, true),
            // The reserve of a small file system is small.
            (2 * mib, 16 * mib, mib, true),
            (2 * mib, 16 * mib, mib + 1, false),
            (0, 0, 0, true),
            (gib, u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(fits(free, all, bytes), expected, "{free} of {all} for {bytes}");
        }
    }
}
