//! Shared parts of the fuzz targets: a service in memory, requests written as text, and rules for all
//! responses.

pub mod reply;
pub mod script;
pub mod world;

/// Creates a temporary folder that is deleted when it is dropped. It is in memory if the machine has a memory
/// file system, so that inputs do not wait for a disk.
///
/// # Panics
/// Panics if the folder cannot be created.
pub fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a temporary folder")
}
