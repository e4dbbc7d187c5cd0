//! Containers and blobs as the store keeps them: their properties, and the pieces of a blob.

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

/// The properties of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// Time of the last change; no other change has the same time.
    pub modified: Timestamp,
    /// Metadata that the user set.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// Lease on it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Box<Lease>>,
}

impl ContainerFacts {
    /// Returns its ETag.
    pub fn etag(&self) -> ETag {
        etag(self.modified)
    }
}

/// A blob. Cloning it does not copy its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Blob {
    /// Properties of the blob.
    pub facts: BlobFacts,
    /// Content of the blob.
    pub body: Arc<Body>,
}

/// The properties of a blob, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobFacts {
    /// Creation time of the blob.
    pub created: Timestamp,
    /// Time of the last change; no other change has the same time.
    pub modified: Timestamp,
    /// Content headers set by the user.
    #[serde(default)]
    pub headers: ContentHeaders,
    /// Metadata that the user set.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub metadata: Pairs,
    /// Tier chosen by the user; stored and shown, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Box<str>>,
    /// Time when the tier was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier_changed: Option<Timestamp>,
    /// The copy that created it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<Box<Copied>>,
    /// Blob index tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The kind of blob.
    #[serde(default, skip_serializing_if = "Kind::is_block")]
    pub kind: Kind,
    /// Lease on it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Box<Lease>>,
}

/// Metadata in a compact form: a map with one pair would take half a kilobyte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Metadata", into = "Metadata")]
pub struct Pairs(Box<[(Box<str>, Box<str>)]>);

impl Pairs {
    /// Returns whether there are no pairs.
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

/// The kind of a blob.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A block blob: put at once, or in blocks.
    #[default]
    Block,
    /// An append blob: extended at its end.
    Append,
}

impl Kind {
    fn is_block(&self) -> bool {
        *self == Self::Block
    }
}

/// The copy that created a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Id of the copy.
    pub id: String,
    /// URL of the source without its query, which may contain a SAS.
    pub source: String,
    /// Time of the copy.
    pub at: Timestamp,
}

/// Content headers of a blob, set by the user.
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

/// The properties in a put; the store adds ETag and times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Content headers to store.
    pub headers: ContentHeaders,
    /// Metadata to store.
    pub metadata: Metadata,
    /// Tier, if one was chosen.
    pub tier: Option<Box<str>>,
    /// The copy, if it is one.
    pub copied: Option<Box<Copied>>,
    /// Blob index tags.
    pub tags: Tags,
    /// The kind of blob.
    pub kind: Kind,
}

/// The content of a blob: pieces in order.
#[derive(Debug, Default, PartialEq)]
pub struct Body {
    /// The pieces. A blob that was put at once has one, without a block id.
    pub pieces: Vec<Piece>,
    /// Total length of the pieces.
    pub length: u64,
}

/// A piece of a content.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Block id (base64), if it is a block.
    pub block: Option<Box<str>>,
    /// Length in bytes.
    pub length: u64,
    /// Bytes of the piece.
    pub content: Content,
}

impl Body {
    /// Creates a body from pieces.
    pub fn of(pieces: Vec<Piece>) -> Self {
        let length = pieces.iter().map(|piece| piece.length).sum();
        Self { pieces, length }
    }
}

impl BlobFacts {
    /// Returns its ETag.
    pub fn etag(&self) -> ETag {
        etag(self.modified)
    }
}

impl Blob {
    /// Returns its length.
    pub fn length(&self) -> u64 {
        self.body.length
    }

    /// Returns its properties at a given time, for responses and lists.
    pub fn properties(&self, now: Timestamp) -> BlobProperties {
        let BlobFacts { created, modified, headers, tier, tier_changed, copied, kind, lease, .. } =
            &self.facts;
        let state = lease::state(lease.as_deref(), now);
        // Only block blobs have tiers.
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

/// Returns the ETag of a change: its time in ticks of 100 ns, since every change has its own time.
fn etag(modified: Timestamp) -> ETag {
    ETag::new(format!("0x{:X}", modified.as_nanosecond() / 100))
}
