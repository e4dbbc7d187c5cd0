//! Where bytes are: in memory, in a row, or in a file of their own, each for as long as it is needed.
//!
//! A row or file belongs to the [`Kept`]s of its number. When the last is dropped and nothing durable names it
//! any more, it goes to the heap of things to delete. So an upload that breaks off leaves nothing, and a blob
//! that is deleted while somebody reads it is read to its end.

use super::queue::Queue;
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Contents up to this length lie in the index itself, and in the blob's own row.
pub const INLINE: usize = 256;
/// Contents up to this length lie in the database, longer ones in files.
pub const IN_DATABASE: usize = 64 << 10;

/// Bytes.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory: few, or everything where nothing is durable.
    Bytes(Bytes),
    /// Elsewhere.
    Kept(Arc<Kept>),
}

/// A row or file that is there for as long as something names or reads it.
pub struct Kept {
    id: i64,
    place: Place,
    /// How many durable pieces name it.
    names: AtomicUsize,
    queue: Arc<Queue>,
}

/// What holds the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A row of the database.
    Row,
    /// A file.
    File,
}

impl Kept {
    /// A row or file that nothing durable names yet.
    pub fn new(id: i64, place: Place, queue: Arc<Queue>) -> Self {
        Self { id, place, names: AtomicUsize::new(0), queue }
    }

    /// Its number: the row's key, the file's name.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// What holds the bytes.
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
    /// Something durable names it from now on.
    pub fn named(&self) {
        if let Self::Kept(kept) = self {
            kept.names.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One durable name less.
    pub fn unnamed(&self) {
        if let Self::Kept(kept) = self {
            let before = kept.names.fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before > 0, "content {} was unnamed more often than named", kept.id);
        }
    }
}

/// Equal if the same bytes are meant, not if others happen to be equal.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(bytes), Self::Bytes(others)) => bytes == others,
            (Self::Kept(kept), Self::Kept(other)) => kept.id == other.id,
            _ => false,
        }
    }
}
