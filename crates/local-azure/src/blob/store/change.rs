//! Changes that are not durable yet. They hold what they replace until they are.

use super::{
    content::Content,
    facts::{Blob, ContainerFacts, Piece},
    index::{Container, Staged},
};
use bytes::Bytes;
use std::sync::Arc;

/// A change that must become durable.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Change {
    PutContainer {
        id: i64,
        name: String,
        facts: ContainerFacts,
    },
    DropContainer {
        id: i64,
        container: Box<Container>,
    },
    PutBlob {
        container: i64,
        name: String,
        blob: Arc<Blob>,
        replaced: Option<Arc<Blob>>,
    },
    /// Replaces the properties, not the content.
    SetFacts {
        container: i64,
        name: String,
        blob: Arc<Blob>,
    },
    DropBlob {
        container: i64,
        name: String,
        blob: Arc<Blob>,
    },
    PutBlock {
        container: i64,
        name: String,
        piece: Piece,
        at: i64,
        replaced: Option<Piece>,
    },
    DropBlocks {
        container: i64,
        name: String,
        staged: Staged,
    },
    /// Appends a piece and replaces the properties.
    Append {
        container: i64,
        name: String,
        number: usize,
        piece: Piece,
        blob: Arc<Blob>,
    },
    PutRow {
        id: i64,
        bytes: Bytes,
    },
    /// A file was written and synced; its folder must be synced before anything refers to the file.
    NewFile,
}

impl Change {
    /// Called when the change is durable: updates the reference counts of contents.
    pub fn settle(&self) {
        match self {
            Self::PutBlob { blob, replaced, .. } => {
                blob.body.pieces.iter().for_each(|piece| piece.content.named());
                replaced.iter().for_each(|old| unnamed(old));
            }
            Self::DropBlob { blob, .. } => unnamed(blob),
            Self::PutBlock { piece, replaced, .. } => {
                piece.content.named();
                replaced.iter().for_each(|old| old.content.unnamed());
            }
            Self::Append { piece, .. } => piece.content.named(),
            Self::DropBlocks { staged, .. } => staged.contents().for_each(Content::unnamed),
            Self::DropContainer { container, .. } => {
                container.blobs.values().for_each(|entry| unnamed(&entry.blob));
                container.staged.values().flat_map(Staged::contents).for_each(Content::unnamed);
            }
            Self::PutContainer { .. } | Self::SetFacts { .. } | Self::PutRow { .. } | Self::NewFile => {}
        }
    }
}

fn unnamed(blob: &Blob) {
    blob.body.pieces.iter().for_each(|piece| piece.content.unnamed());
}
