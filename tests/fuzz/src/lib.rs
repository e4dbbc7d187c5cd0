//! What the targets share: a service in memory, requests written as text, and what every answer must keep to.

pub mod answer;
pub mod script;
pub mod world;

/// A folder that goes when it is dropped; in memory where the machine has such a place, so that inputs do not wait for a disk.
///
/// # Panics
/// When there is no room for it.
pub fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a temporary folder")
}
