//! What is done with inputs on their way into the work folder: moved there, known by their content, and found again.

use super::shelf::{COMING, NotTaken, take};
use crate::tree;
use dropmill_lifecycle::arrival::Look;
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A file on its way into the work folder.
pub(super) struct Move {
    pub id: u32,
    pub from: PathBuf,
    pub to: PathBuf,
    pub look: Look,
    pub marker: Option<PathBuf>,
    /// Hash the content, under this name.
    pub key_of: Option<PathBuf>,
}

/// What became of a move, and the file's key if one was asked for.
pub(super) type Moved = (u32, Result<(), NotTaken>, Option<String>);

impl Move {
    pub fn make(self) -> Moved {
        let taken = take(&self.from, &self.to, &self.look, self.marker.as_deref());
        // A file that cannot be read is nobody's duplicate; its upload says why.
        let key = self.key_of.filter(|_| taken.is_ok()).and_then(|name| key_of(&name, &self.to).ok());
        (self.id, taken, key)
    }
}

/// Name and content of an input as one hash; of a folder, names and contents of all files in it.
fn key_of(relative: &Path, input: &Path) -> io::Result<String> {
    use std::os::unix::ffi::OsStrExt;
    let mut hash = Sha256::new();
    hash.update(relative.as_os_str().as_bytes());
    hash.update([0]);
    if input.is_dir() {
        for file in tree::files(input).map_err(io::Error::other)? {
            hash.update(file.relative.as_os_str().as_bytes());
            hash.update([0]);
            hash.update(file.facts.len().to_le_bytes());
            add_content(&mut hash, &input.join(&file.relative))?;
        }
    } else {
        add_content(&mut hash, input)?;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn add_content(hash: &mut Sha256, file: &Path) -> io::Result<()> {
    let mut file = fs::File::open(file)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The one input in a folder of the work folder.
pub fn only_file_in(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    entries.find(|entry| entry.file_name() != COMING).map(|entry| entry.path())
}

/// What to say when there is less free space than there shall be.
pub(super) fn short_of_space(folder: &Path, floor: u64) -> Option<String> {
    let facts = rustix::fs::statvfs(folder).ok()?;
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    (free < floor).then(|| {
        format!(
            "{} has {} MiB of free space, limits.disk_floor asks for {}",
            folder.display(),
            free >> 20,
            floor >> 20
        )
    })
}
