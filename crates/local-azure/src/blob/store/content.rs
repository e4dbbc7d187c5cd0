//! Contents: in memory, in a row, or in their own file, each for as long as it is needed.
//!
//! A row or file belongs to the [`Kept`] values with its number. When the last is dropped and nothing durable
//! refers to it, it is queued for deletion. So an interrupted upload leaves nothing, and a blob that is
//! deleted during a read can be read to its end.

use super::queue::Queue;
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Maximum length of contents in the index itself, and in the blob's own row.
pub const INLINE: usize = 256;
/// Maximum length of contents in the database; longer ones are in files.
pub const IN_DATABASE: usize = 64 << 10;

/// The bytes of a content.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory: short contents, or all if nothing is durable.
    Bytes(Bytes),
    /// In a row or file.
    Kept(Arc<Kept>),
}

/// A row or file that exists as long as something refers to it or reads it.
pub struct Kept {
    id: i64,
    place: Place,
    /// Number of durable pieces that refer to it.
    names: AtomicUsize,
    queue: Arc<Queue>,
}

/// The kind of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A row of the database.
    Row,
    /// A file of the store.
    File,
}

impl Kept {
    /// Creates a row or file that nothing durable refers to yet.
    pub fn new(id: i64, place: Place, queue: Arc<Queue>) -> Self {
        Self { id, place, names: AtomicUsize::new(0), queue }
    }

    /// Returns its number: the row's key, the file's name.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Returns the kind of storage.
    pub fn place(&self) -> Place {
        self.place
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.place, self.id)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if *self.names.get_mut() == 0 {
            self.queue.discard(self.place, self.id);
        }
    }
}

impl Content {
    /// Counts a durable reference.
    pub fn named(&self) {
        if let Self::Kept(kept) = self {
            kept.names.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes a durable reference.
    pub fn unnamed(&self) {
        if let Self::Kept(kept) = self {
            let before = kept.names.fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before > 0, "content {} was unnamed more often than named", kept.id);
        }
    }
}

/// Equal if it is the same storage, not if the bytes happen to be equal.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(bytes), Self::Bytes(others)) => bytes == others,
            (Self::Kept(kept), Self::Kept(other)) => kept.id == other.id,
            _ => false,
        }
    }
}
