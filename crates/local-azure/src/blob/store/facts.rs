//! Containers and blobs as the store keeps them: what is known of them, and of which pieces a blob is made.

use super::content::Content;
use crate::blob::lease::{self, Lease};
use dropmill_azure_wire::{
    blob::{BlobProperties, BlobType, CopyProperties, Metadata, Tags},
    etag::ETag,
    secret::Secret,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// When it changed last; no other change has this moment.
    pub modified: Timestamp,
    /// Pairs that only the owner understands.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// The lease on it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Box<Lease>>,
}

impl ContainerFacts {
    /// Its tag.
    pub fn etag(&self) -> ETag {
        etag(self.modified)
    }
}

/// A blob. Cloning it does not copy its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Blob {
    /// What is known of it.
    pub facts: BlobFacts,
    /// Its content.
    pub body: Arc<Body>,
}

/// What is known of a blob beside its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobFacts {
    /// When it was made.
    pub created: Timestamp,
    /// When it changed last; no other change has this moment.
    pub modified: Timestamp,
    /// Headers that its owner set.
    #[serde(default)]
    pub headers: ContentHeaders,
    /// Pairs that only the owner understands.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub metadata: Pairs,
    /// The tier its owner chose; kept and shown, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Box<str>>,
    /// When the tier was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier_changed: Option<Timestamp>,
    /// How it was copied, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<Box<Copied>>,
    /// Pairs that it can be found by.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// What may be done with its content.
    #[serde(default, skip_serializing_if = "Kind::is_block")]
    pub kind: Kind,
    /// The lease on it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Box<Lease>>,
}

/// Metadata as a blob keeps it. A map of one pair would take half a kilobyte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Metadata", into = "Metadata")]
pub struct Pairs(Box<[(Box<str>, Box<str>)]>);

impl Pairs {
    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the pairs as a map.
    pub fn to_metadata(&self) -> Metadata {
        self.0.iter().map(|(name, value)| (String::from(&**name), String::from(&**value))).collect()
    }
}

impl From<Metadata> for Pairs {
    fn from(metadata: Metadata) -> Self {
        Self(metadata.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl From<Pairs> for Metadata {
    fn from(pairs: Pairs) -> Self {
        pairs.to_metadata()
    }
}

/// How a content comes about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Put whole, or of blocks.
    #[default]
    Block,
    /// It grows at its end.
    Append,
}

impl Kind {
    fn is_block(&self) -> bool {
        *self == Self::Block
    }
}

/// The copy that a blob comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Name of the copy.
    pub id: String,
    /// The source's URL without its query, which may hold a SAS.
    pub source: String,
    /// When it was made.
    pub at: Timestamp,
}

/// Headers of a blob that its owner sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ContentHeaders {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disposition: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Box<str>>,
    /// Base64 of 16 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<Box<str>>,
}

/// What a put says of a blob; tag and moments are the store's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Headers to keep.
    pub headers: ContentHeaders,
    /// Pairs to keep.
    pub metadata: Metadata,
    /// The tier, if one was chosen.
    pub tier: Option<Box<str>>,
    /// Where from, if it is a copy.
    pub copied: Option<Box<Copied>>,
    /// Pairs that it can be found by.
    pub tags: Tags,
    /// What it shall be.
    pub kind: Kind,
}

/// A blob's content: pieces in order.
#[derive(Debug, Default, PartialEq)]
pub struct Body {
    /// The pieces. A blob that was put at once has one, without block id.
    pub pieces: Vec<Piece>,
    /// The sum of their lengths.
    pub length: u64,
}

/// A part of a content.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Block id (base64) if it came as a block.
    pub block: Option<Box<str>>,
    /// Its length.
    pub length: u64,
    /// Its bytes.
    pub content: Content,
}

impl Body {
    /// A content of these pieces.
    pub fn of(pieces: Vec<Piece>) -> Self {
        let length = pieces.iter().map(|piece| piece.length).sum();
        Self { pieces, length }
    }
}

impl BlobFacts {
    /// Its tag.
    pub fn etag(&self) -> ETag {
        etag(self.modified)
    }
}

impl Blob {
    /// Its length.
    pub fn length(&self) -> u64 {
        self.body.length
    }

    /// What is known of it at a moment, as answers and lists tell it.
    pub fn properties(&self, now: Timestamp) -> BlobProperties {
        let BlobFacts { created, modified, headers, tier, tier_changed, copied, kind, lease, .. } =
            &self.facts;
        let state = lease::state(lease.as_deref(), now);
        // Tiers are of block blobs alone.
        let is_block = kind.is_block();
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let copy = copied.as_deref().map(|Copied { id, source, at }| CopyProperties {
            id: id.clone(),
            status: "success".into(),
            source: Some(Secret::new(source)),
            progress: Some(format!("{0}/{0}", self.length())),
            completion_time: Some(*at),
            status_description: None,
        });
        BlobProperties {
            creation_time: Some(*created),
            content_type: text(&headers.content_type),
            content_encoding: text(&headers.encoding),
            content_language: text(&headers.language),
            content_md5: text(&headers.md5),
            content_disposition: text(&headers.disposition),
            cache_control: text(&headers.cache_control),
            blob_type: if is_block { BlobType::Block } else { BlobType::Append },
            access_tier: is_block.then(|| text(tier).unwrap_or_else(|| "Hot".into())),
            access_tier_inferred: is_block && tier.is_none(),
            access_tier_change_time: tier_changed.filter(|_| is_block),
            lease_status: Some(state.status().into()),
            lease_state: Some(state.as_str().into()),
            lease_duration: lease::duration(lease.as_deref(), now).map(Into::into),
            server_encrypted: true,
            copy,
            ..BlobProperties::new(self.facts.etag(), *modified, self.length())
        }
    }
}

/// The tag of a change is its moment, in ticks of 100 ns: the store gives every change one of its own.
fn etag(modified: Timestamp) -> ETag {
    ETag::new(format!("0x{:X}", modified.as_nanosecond() / 100))
}
