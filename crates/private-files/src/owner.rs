//! Decides from owner and mode whether an existing file or folder can be used.

/// Write permissions of the group and of other users.
const OTHERS_WRITE: u32 = 0o022;

/// The owner and mode of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Numeric user id of the owner.
    pub owner: u32,
    /// Permission bits of the mode.
    pub mode: u32,
}

/// The decision about an existing file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Usable: owner and mode are as created by this crate.
    Usable,
    /// Usable after removing the read access of other users.
    Tighten,
    /// Not usable: another user owns it or had write access.
    Reject,
}

/// Decides about an entry. `user` is the user id of this process, `wanted` the mode of newly created entries.
pub fn verdict(entry: &Entry, user: u32, wanted: u32) -> Verdict {
    if entry.owner != user || entry.mode & OTHERS_WRITE != 0 {
        Verdict::Reject
    } else if entry.mode == wanted {
        Verdict::Usable
    } else {
        Verdict::Tighten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_others_are_rejected_and_readable_ones_are_tightened() {
        use Verdict::{Reject, Tighten, Usable};
        for (owner, mode, wanted, expected) in [
            (7, 0o700, 0o700, Usable),
            (7, 0o600, 0o600, Usable),
            (7, 0o755, 0o700, Tighten),
            (7, 0o711, 0o700, Tighten),
            (7, 0o500, 0o700, Tighten),
            (7, 0o644, 0o600, Tighten),
            (7, 0o604, 0o600, Tighten),
            (7, 0o775, 0o700, Reject),
            (7, 0o702, 0o700, Reject),
            (7, 0o777, 0o700, Reject),
            (7, 0o620, 0o600, Reject),
            (7, 0o666, 0o600, Reject),
            (8, 0o700, 0o700, Reject),
            (8, 0o600, 0o600, Reject),
            (0, 0o700, 0o700, Reject),
        ] {
            assert_eq!(verdict(&Entry { owner, mode }, 7, wanted), expected, "{owner} {mode:o}");
        }
    }
}
