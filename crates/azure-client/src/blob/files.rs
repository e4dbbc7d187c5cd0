//! Reads a file and checks afterwards whether it changed meanwhile.

use bytes::Bytes;
use dropmill_azure_wire::blob::FileMetadata;
use std::{
    fs::{File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files up to this length are read on the caller's thread, which is faster than switching threads.
const SHORT_BYTES: u64 = 1 << 20;

/// Where long work on files is done: reading and checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileReads {
    /// On the caller's thread: for simulations, which must have a single thread.
    Inline,
    /// On the runtime's threads for blocking work, so that other requests continue meanwhile.
    #[default]
    Threads,
}

impl FileReads {
    /// Runs the work there; `bytes` is a measure of its duration.
    pub(super) async fn run<T: Send + 'static>(
        self,
        bytes: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, io::Error> {
        if self == Self::Inline || bytes <= SHORT_BYTES {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }
}

/// The source of a blob: an open file or bytes in memory, with the metadata from when it was opened.
#[derive(Debug, Clone)]
pub struct FileSource {
    content: Content,
    label: PathBuf,
    /// Whether `label` is a path that must still lead to the file after reading.
    check_path: bool,
    opened: Look,
    facts: FileMetadata,
}

#[derive(Debug, Clone)]
enum Content {
    File(Arc<File>),
    Memory(Bytes),
}

/// Metadata that changes when the content of a file changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    place: (u64, u64),
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            place: (metadata.dev(), metadata.ino()),
        }
    }
}

/// The reason why a source could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The file changed while it was read.
    Changed,
    /// The file could not be read.
    Failed(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl FileSource {
    /// Opens the regular file at a path.
    ///
    /// # Errors
    /// Fails if the file cannot be opened or is not a regular file: a folder, or a pipe that would never end.
    pub fn open(path: &Path) -> Result<Self, io::Error> {
        // Also checked before opening, because opening a pipe waits for a writer.
        regular(&path.metadata()?)?;
        Ok(Self { check_path: true, ..Self::from_file(File::open(path)?, path)? })
    }

    /// Reads from a file that the caller has opened; `label` names it in errors.
    ///
    /// # Errors
    /// Fails if it is not a regular file.
    pub fn from_file(file: File, label: &Path) -> Result<Self, io::Error> {
        let metadata = file.metadata()?;
        regular(&metadata)?;
        let opened = Look::of(&metadata);
        Ok(Self {
            content: Content::File(Arc::new(file)),
            label: label.to_owned(),
            check_path: false,
            opened,
            facts: FileMetadata {
                mode: Some(metadata.mode() & 0o777),
                modified: metadata.modified().ok(),
                left_out_bytes: 0,
            },
        })
    }

    /// Reads from memory; `label` names the content in errors, `version` distinguishes it from other
    /// contents.
    pub fn from_bytes(bytes: Bytes, label: &Path, version: u64) -> Self {
        let opened = Look { length: bytes.len() as u64, place: (0, version), ..Look::default() };
        let facts = FileMetadata::default();
        Self { content: Content::Memory(bytes), label: label.to_owned(), check_path: false, opened, facts }
    }

    /// Returns the length in bytes.
    pub fn length(&self) -> u64 {
        self.opened.length
    }

    /// Returns mode and modification time of the file; empty for bytes in memory.
    pub fn facts(&self) -> FileMetadata {
        self.facts
    }

    /// Returns the name that errors use.
    pub fn label(&self) -> &Path {
        &self.label
    }

    /// Returns a text that differs for every other content of the file.
    pub(super) fn fingerprint(&self) -> String {
        let Look { length, modified, changed, place } = self.opened;
        format!("{length}/{modified:?}/{changed:?}/{place:?}")
    }

    /// Reads `length` bytes from an offset.
    pub(super) fn read_at(&self, offset: u64, length: u64) -> Result<Vec<u8>, Unread> {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        match &self.content {
            Content::File(file) => {
                let mut file = &**file;
                file.seek(SeekFrom::Start(offset))?;
                file.take(length).read_to_end(&mut bytes)?;
            }
            Content::Memory(all) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(all.len());
                bytes.extend_from_slice(&all[place(offset)..place(offset.saturating_add(length))]);
            }
        }
        if (bytes.len() as u64) < length { Err(Unread::Changed) } else { Ok(bytes) }
    }

    /// Checks that the file is unchanged since it was opened, and that its path leads to it or to nothing.
    pub(super) fn stood_still(&self) -> Result<(), Unread> {
        let Content::File(file) = &self.content else { return Ok(()) };
        let replaced = match self.check_path.then(|| self.label.metadata()) {
            None => false,
            Some(Ok(metadata)) => (metadata.dev(), metadata.ino()) != self.opened.place,
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
            Some(Err(error)) => return Err(error.into()),
        };
        let now = Look::of(&file.metadata()?);
        // Deleting a file changes its ctime, but not its bytes.
        let changed = now.length != self.opened.length || now.modified != self.opened.modified;
        if replaced || changed { Err(Unread::Changed) } else { Ok(()) }
    }
}

fn regular(metadata: &Metadata) -> Result<(), io::Error> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}
