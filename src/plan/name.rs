//! Names of runs and tasks. They depend only on what they name, so that a repeated request is recognised.

use dropmill_azure_wire::time::Timestamp;
use dropmill_lifecycle::plan::slug;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Returns `lines-20261123-074052-k3f9ab`: at most 24 characters of the name, the time, six random letters.
/// With the suffixes that are added to it, it fits into the 63 characters of a container name.
pub fn run_name(name: &str, now: Timestamp, rng: &mut impl Rng) -> String {
    let slug = slug(name, 24);
    let slug = if slug.is_empty() { "run" } else { &slug };
    let moment = now.strftime("%Y%m%d-%H%M%S");
    let random: String = (0..6).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect();
    format!("{slug}-{moment}-{random}")
}

/// Returns a new name of a run, with random letters of the operating system.
///
/// # Errors
/// Fails if the system has no random numbers.
pub fn new_run_name(name: &str, now: Timestamp) -> std::io::Result<String> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(run_name(name, now, &mut ChaCha8Rng::from_seed(bytes)))
}

/// Returns `<slug of the file name>-<12 hex digits>`: people recognise the first part; the second part
/// differs between files whose names differ only in letter case or folder.
pub fn task_name(relative: &str) -> String {
    task_name_of(relative.rsplit('/').next().unwrap_or(relative), relative)
}

/// Returns a name as [`task_name`], with another text for people.
pub fn task_name_of(label: &str, relative: &str) -> String {
    let hash: String =
        Sha256::digest(relative.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let slug = slug(label, 40);
    if slug.is_empty() { hash } else { format!("{slug}-{hash}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_azure_wire::{batch::is_valid_id, blob::is_valid_container_name};
    use rand::SeedableRng;

    #[test]
    fn names_are_valid_whatever_they_are_made_from() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let now: Timestamp = "2026-11-23T07:40:52Z".parse().unwrap();
        for name in ["lines", "Ünïcode & spaces!", "", "--", &"long ".repeat(40), "a/../b", "\u{202e}x\n"] {
            let run = run_name(name, now, &mut rng);
            assert!(is_valid_id(&run), "{run}");
            for role in ["app", "input", "output"] {
                assert!(is_valid_container_name(&format!("{run}-{role}")), "{run}");
            }
            assert!(is_valid_id(&task_name(name)), "{name:?}");
        }
        assert!(run_name("Lines", now, &mut rng).starts_with("lines-20261123-074052-"));
        assert_ne!(task_name("x/a.txt"), task_name("y/a.txt"));
        assert_ne!(task_name("x/A.txt"), task_name("x/a.txt"));
        assert_eq!(task_name("data/a b.txt"), task_name("data/a b.txt"));
    }
}
