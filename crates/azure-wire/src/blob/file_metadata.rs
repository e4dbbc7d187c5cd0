//! File metadata (mode and modification time) that is stored with the blob of an uploaded file.
//!
//! Azure does not store file modes and times, so the blob metadata entry `dropmill_file` holds them as
//! `<mode, octal> <seconds since 1970>.<nanoseconds, 9 digits>`. If the middle of the content was omitted,
//! the number of omitted bytes follows after a space.

use super::Metadata;
use std::time::{Duration, SystemTime};

/// Name of the metadata entry.
const NAME: &str = "dropmill_file";

/// The mode and modification time of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileMetadata {
    /// Permission bits, the lowest nine of the mode.
    pub mode: Option<u32>,
    /// Modification time; `None` if it is before 1970.
    pub modified: Option<SystemTime>,
    /// Number of bytes omitted from the middle of the content.
    pub left_out_bytes: u64,
}

impl FileMetadata {
    /// Parses the entry in the metadata of a blob. All fields are empty if it is missing or invalid.
    pub fn from_blob_metadata(metadata: &Metadata) -> Self {
        let found = metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case(NAME));
        found.and_then(|(_, value)| Self::read(value)).unwrap_or_default()
    }

    fn read(value: &str) -> Option<Self> {
        let mut words = value.split(' ');
        let mode = u32::from_str_radix(words.next()?, 8).ok()? & 0o777;
        let (seconds, nanoseconds) = words.next()?.split_once('.')?;
        let nanoseconds = nanoseconds.parse().ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
        let since = Duration::new(seconds.parse().ok()?, nanoseconds);
        let left_out_bytes = words.next().map_or(Some(0), |bytes| bytes.parse().ok())?;
        Some(Self { mode: Some(mode), modified: SystemTime::UNIX_EPOCH.checked_add(since), left_out_bytes })
    }

    /// Returns the metadata entry; empty if mode or modification time is missing.
    pub fn metadata(&self) -> Metadata {
        let since = self.modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let (Some(mode), Some(since)) = (self.mode, since) else { return Metadata::new() };
        let mut value = format!("{:o} {}.{:09}", mode & 0o777, since.as_secs(), since.subsec_nanos());
        if self.left_out_bytes > 0 {
            value.push_str(&format!(" {}", self.left_out_bytes));
        }
        [(NAME.to_owned(), value)].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_back_and_invalid_metadata_is_empty() {
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_764_475_200, 5);
        for left_out_bytes in [0, 7] {
            let facts = FileMetadata { mode: Some(0o4755), modified: Some(modified), left_out_bytes };
            let read = FileMetadata::from_blob_metadata(&facts.metadata());
            assert_eq!(read, FileMetadata { mode: Some(0o755), ..facts });
        }
        assert_eq!(FileMetadata::default().metadata(), Metadata::new());
        for value in ["", "644", "9 1.0", "644 1", "644 -1.0", "644 1.9999999999", "644 1.0 x"] {
            let metadata = [("Dropmill_File".to_owned(), value.to_owned())].into();
            assert_eq!(FileMetadata::from_blob_metadata(&metadata), FileMetadata::default(), "{value:?}");
        }
    }
}
