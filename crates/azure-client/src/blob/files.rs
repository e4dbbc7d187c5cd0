//! Reading a file so that it is known afterwards what was read: whether it stood still meanwhile.

use std::{
    fs::{File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files up to this length are read where the call is made: that takes less time than asking another thread.
const SHORT_BYTES: u64 = 1 << 20;

/// Where long work on files is done: reading them, and computing checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileReads {
    /// On the thread of the caller: for simulations, in which nothing may happen elsewhere.
    Inline,
    /// On the runtime's threads for blocking work, so that other calls go on meanwhile.
    #[default]
    Threads,
}

impl FileReads {
    /// Does the work there; `bytes` says how long it takes.
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

/// A file held open, and how it was when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: Arc<File>,
    path: PathBuf,
    opened: Look,
}

/// What changes when a file's content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Why there is nothing to upload.
#[derive(Debug)]
pub(super) enum Unread {
    /// The file did not stand still.
    Changed,
    /// It could not be read.
    Failed(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Source {
    /// Opens a file that has bytes of its own: no folder, no pipe that would never end.
    pub fn open(path: &Path) -> Result<Self, io::Error> {
        let refuse = |metadata: &Metadata| match metadata.is_file() {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        };
        // Asked before as well: to open a pipe waits for somebody who writes.
        refuse(&path.metadata()?)?;
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        refuse(&metadata)?;
        Ok(Self { file: Arc::new(file), path: path.to_owned(), opened: Look::of(&metadata) })
    }

    pub fn length(&self) -> u64 {
        self.opened.length
    }

    /// Something that another content of the file would not have: when its owner touched it, and where it is.
    pub fn fingerprint(&self) -> String {
        let Look { length, modified, changed, place } = self.opened;
        format!("{length}/{modified:?}/{changed:?}/{place:?}")
    }

    /// Reads so many bytes from an offset on.
    pub fn read_at(&self, offset: u64, length: u64) -> Result<Vec<u8>, Unread> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        file.take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length { Err(Unread::Changed) } else { Ok(bytes) }
    }

    /// Whether the file is as it was when it was opened, and its path still leads to it or to nothing.
    pub fn stood_still(&self) -> Result<(), Unread> {
        let replaced = match self.path.metadata() {
            Ok(metadata) => (metadata.dev(), metadata.ino()) != self.opened.place,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        let now = Look::of(&self.file.metadata()?);
        // A deleted file is touched by its deletion; its bytes are the same.
        let changed = now.length != self.opened.length || now.modified != self.opened.modified;
        if replaced || changed { Err(Unread::Changed) } else { Ok(()) }
    }
}
