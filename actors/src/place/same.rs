//! Checks whether the files in a place are those that were delivered there.

use dropmill_journal::event::DeliveredFile;
use md5::{Digest, Md5};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Returns whether the folder contains exactly these files: a result that was published before its event was
/// recorded.
pub(super) fn same_folder(place: &Path, files: &[DeliveredFile]) -> bool {
    let found = files_below(place).map(|found| found.len());
    found == Some(files.len()) && files.iter().all(|file| is_as_delivered(&place.join(&file.path), file))
}

/// Returns whether a folder contains nothing but these files, as they were delivered. Some may be missing or
/// empty: deleted or emptied files cannot be lost.
pub(super) fn holds_only(place: &Path, files: &[DeliveredFile]) -> bool {
    let Some(found) = files_below(place) else { return false };
    found.iter().all(|path| {
        let file = path.strip_prefix(place).ok().and_then(Path::to_str);
        let file = file.and_then(|path| files.iter().find(|file| file.path == path));
        file.is_some_and(|file| is_as_delivered(path, file) || is_empty_file(path))
    })
}

fn is_empty_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0)
}

/// Returns everything below a folder except folders; `None` if it cannot be read.
fn files_below(place: &Path) -> Option<Vec<PathBuf>> {
    let mut found = vec![];
    let mut folders = vec![place.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).ok()? {
            let entry = entry.ok()?;
            match entry.file_type().ok()?.is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    Some(found)
}

/// Returns whether a place has a regular file of the delivered length.
pub fn lies_there(place: &Path, file: &DeliveredFile) -> bool {
    fs::symlink_metadata(place).is_ok_and(|found| found.is_file() && found.len() == file.bytes)
}

/// Returns whether the file in a place has the delivered content.
pub fn content_is(place: &Path, file: &DeliveredFile) -> bool {
    md5_of(place).is_ok_and(|md5| md5 == file.md5)
}

/// Returns whether a place has this file with this content.
pub(super) fn is_as_delivered(place: &Path, file: &DeliveredFile) -> bool {
    lies_there(place, file) && content_is(place, file)
}

fn md5_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Md5::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
