//! Decides whether a file or folder that exists may be used, by its owner and mode.

/// Bits by which group and others can write.
const OTHERS_WRITE: u32 = 0o022;

/// A file or folder as the file system shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Numeric id of its owner.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// Whether an entry may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is as we create it.
    Fits,
    /// It is ours and nobody else could change it: its mode is set to ours.
    Tighten,
    /// Another user owns it or could have changed it.
    Refuse,
}

/// Decides about an entry; `user` is that of this process, `wanted` the mode that we create with.
pub fn verdict(entry: &Entry, user: u32, wanted: u32) -> Verdict {
    if entry.owner != user || entry.mode & OTHERS_WRITE != 0 {
        Verdict::Refuse
    } else if entry.mode == wanted {
        Verdict::Fits
    } else {
        Verdict::Tighten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_users_own_or_can_write_to_is_refused_and_what_they_can_read_is_tightened() {
        use Verdict::{Fits, Refuse, Tighten};
        for (owner, mode, wanted, expected) in [
            (7, 0o700, 0o700, Fits),
            (7, 0o600, 0o600, Fits),
            (7, 0o755, 0o700, Tighten),
            (7, 0o711, 0o700, Tighten),
            (7, 0o500, 0o700, Tighten),
            (7, 0o644, 0o600, Tighten),
            (7, 0o604, 0o600, Tighten),
            (7, 0o775, 0o700, Refuse),
            (7, 0o702, 0o700, Refuse),
            (7, 0o777, 0o700, Refuse),
            (7, 0o620, 0o600, Refuse),
            (7, 0o666, 0o600, Refuse),
            (8, 0o700, 0o700, Refuse),
            (8, 0o600, 0o600, Refuse),
            (0, 0o700, 0o700, Refuse),
        ] {
            assert_eq!(verdict(&Entry { owner, mode }, 7, wanted), expected, "{owner} {mode:o}");
        }
    }
}
