//! A container and a blob as the store keeps them.

use bytes::Bytes;
use dropmill_azure_wire::{
    blob::{BlobProperties, Metadata},
    etag::ETag,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A container and what is in it.
#[derive(Debug)]
pub struct Container {
    /// Its number, which no other container ever gets.
    pub id: i64,
    /// What is known of it.
    pub facts: ContainerFacts,
    /// Its blobs by name.
    pub blobs: BTreeMap<String, Arc<Blob>>,
    /// Blocks that wait to be put into a blob, by blob name and block id.
    pub staged: BTreeMap<String, BTreeMap<String, Piece>>,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerFacts {
    /// Changes with every change.
    pub etag: ETag,
    /// When it changed last.
    pub modified: Timestamp,
    /// Pairs that only the owner understands.
    pub metadata: Metadata,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blob {
    /// Changes with every change.
    pub etag: ETag,
    /// When it was made.
    pub created: Timestamp,
    /// When it changed last.
    pub modified: Timestamp,
    /// Headers that its owner set.
    pub headers: ContentHeaders,
    /// Pairs that only the owner understands.
    pub metadata: Metadata,
    /// Its content, in order. A blob that was put at once has one piece without id.
    pub pieces: Vec<Piece>,
    /// How it was copied, if it was: name of the copy, source without query, moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<(String, String, Timestamp)>,
}

/// Headers of a blob that its owner sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ContentHeaders {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
}

/// A part of a blob's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Block id (base64) if it came as a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// Its length.
    pub length: u64,
    /// Where it is.
    pub content: Content,
}

/// Where bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Here: few bytes, as hex when written.
    Inline(#[serde(with = "hex")] Bytes),
    /// In a row of the database.
    Row(i64),
    /// In a file of its own.
    File(i64),
}

impl Blob {
    /// Its length.
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }

    /// What is known of it, as answers and lists tell it.
    pub fn properties(&self) -> BlobProperties {
        let headers = self.headers.clone();
        let copy =
            self.copied.as_ref().map(|(id, source, moment)| dropmill_azure_wire::blob::CopyProperties {
                id: id.clone(),
                status: "success".into(),
                source: Some(dropmill_azure_wire::secret::Secret::new(source)),
                progress: Some(format!("{0}/{0}", self.length())),
                completion_time: Some(*moment),
                status_description: None,
            });
        BlobProperties {
            creation_time: Some(self.created),
            content_type: headers.content_type,
            content_encoding: headers.encoding,
            content_language: headers.language,
            content_md5: headers.md5,
            content_disposition: headers.disposition,
            cache_control: headers.cache_control,
            access_tier: Some("Hot".into()),
            access_tier_inferred: true,
            lease_status: Some("unlocked".into()),
            lease_state: Some("available".into()),
            server_encrypted: true,
            copy,
            ..BlobProperties::new(self.etag.clone(), self.modified, self.length())
        }
    }
}

mod hex {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            u8::from_str_radix(pair, 16).map_err(D::Error::custom)
        };
        text.as_bytes().chunks(2).map(byte).collect::<Result<Vec<_>, _>>().map(Bytes::from)
    }
}
