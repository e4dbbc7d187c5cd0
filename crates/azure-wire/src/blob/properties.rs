//! Properties and metadata of a blob, in headers and in list responses.

use super::{header as name, is_valid_metadata_name};
use crate::{
    etag::ETag,
    secret::Secret,
    shape::open_enum,
    time::{Timestamp, http_date, parse_http_date},
    xml::{Document, Element},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;

/// Metadata as names and values that the service does not interpret. Blob Storage preserves the case of names
/// but compares them case-insensitively; requests and responses within a process carry them in lower case.
pub type Metadata = BTreeMap<String, String>;

/// The properties of a blob.
#[derive(Debug, Clone, PartialEq)]
pub struct BlobProperties {
    /// Time when the blob was created.
    pub creation_time: Option<Timestamp>,
    /// Time of the last change of content, properties or metadata.
    pub last_modified: Timestamp,
    /// Entity tag, which changes with every update.
    pub etag: ETag,
    /// Length of the whole blob in bytes, also in the response to a ranged read.
    pub content_length: u64,
    /// Media type; `application/octet-stream` by default.
    pub content_type: Option<String>,
    /// Content encoding, for example `gzip`.
    pub content_encoding: Option<String>,
    /// Content language, for example `en`.
    pub content_language: Option<String>,
    /// MD5 of the content (base64), if a client set it or the service computed it.
    pub content_md5: Option<String>,
    /// Content disposition, for example `attachment`.
    pub content_disposition: Option<String>,
    /// Cache control, for example `no-cache`.
    pub cache_control: Option<String>,
    /// Type of the blob.
    pub blob_type: BlobType,
    /// Access tier: `Hot`, `Cool`, ….
    pub access_tier: Option<String>,
    /// `true` if the tier is the account's default.
    pub access_tier_inferred: bool,
    /// Time when a client set the tier.
    pub access_tier_change_time: Option<Timestamp>,
    /// Lease status: `unlocked` or `locked`.
    pub lease_status: Option<String>,
    /// Lease state: `available`, `leased`, ….
    pub lease_state: Option<String>,
    /// `infinite` or `fixed` while leased, else `None`.
    pub lease_duration: Option<String>,
    /// `true` if the blob is stored encrypted.
    pub server_encrypted: bool,
    /// Copy operation that created the blob.
    pub copy: Option<CopyProperties>,
}

/// The copy operation that created a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyProperties {
    /// Id of the copy operation.
    pub id: String,
    /// State of the copy: `success`, `pending`, `aborted`, `failed`.
    pub status: String,
    /// URL of the source; may carry a SAS.
    pub source: Option<Secret>,
    /// Bytes copied of total bytes: `5/5`.
    pub progress: Option<String>,
    /// Time when the copy ended.
    pub completion_time: Option<Timestamp>,
    /// Reason why the copy failed.
    pub status_description: Option<String>,
}

open_enum! {
    /// The type of a blob.
    pub enum BlobType {
        /// A block blob, made of blocks that can be uploaded in any order.
        Block = "BlockBlob",
        /// A page blob, for random access.
        Page = "PageBlob",
        /// An append blob, to which blocks can only be appended.
        Append = "AppendBlob",
    }
}

impl BlobProperties {
    /// Creates the properties of a block blob with defaults for everything else.
    pub fn new(etag: ETag, last_modified: Timestamp, content_length: u64) -> Self {
        Self {
            creation_time: None,
            last_modified,
            etag,
            content_length,
            content_type: None,
            content_encoding: None,
            content_language: None,
            content_md5: None,
            content_disposition: None,
            cache_control: None,
            blob_type: BlobType::Block,
            access_tier: None,
            access_tier_inferred: false,
            access_tier_change_time: None,
            lease_status: None,
            lease_state: None,
            lease_duration: None,
            server_encrypted: false,
            copy: None,
        }
    }

    /// Parses the headers of a response. Returns `None` if ETag, Last-Modified or the length is missing.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let time = |name: &str| text(name).as_deref().and_then(parse_http_date);
        let is_true = |name: &str| text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        // In the response to a ranged read, Content-Length and Content-MD5 describe the range.
        let ranged = text("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let content_md5 = if ranged.is_some() { text(name::BLOB_CONTENT_MD5) } else { text("content-md5") };
        let copy = text(name::COPY_ID).map(|id| CopyProperties {
            id,
            status: text(name::COPY_STATUS).unwrap_or_default(),
            source: text(name::COPY_SOURCE).map(Secret::new),
            progress: text(name::COPY_PROGRESS),
            completion_time: time(name::COPY_COMPLETION_TIME),
            status_description: text(name::COPY_STATUS_DESCRIPTION),
        });
        Some(Self {
            creation_time: time(name::CREATION_TIME),
            last_modified: time("last-modified")?,
            etag: ETag::new(text("etag")?),
            content_length: ranged.or_else(|| text("content-length")?.parse().ok())?,
            content_type: text("content-type"),
            content_encoding: text("content-encoding"),
            content_language: text("content-language"),
            content_md5,
            content_disposition: text("content-disposition"),
            cache_control: text("cache-control"),
            blob_type: text(name::BLOB_TYPE).map_or(BlobType::Block, |text| text.as_str().into()),
            access_tier: text(name::ACCESS_TIER),
            access_tier_inferred: is_true(name::ACCESS_TIER_INFERRED),
            access_tier_change_time: time(name::ACCESS_TIER_CHANGE_TIME),
            lease_status: text(name::LEASE_STATUS),
            lease_state: text(name::LEASE_STATE),
            lease_duration: text(name::LEASE_DURATION),
            server_encrypted: is_true(name::SERVER_ENCRYPTED),
            copy,
        })
    }

    /// Inserts the properties into the headers of a response, except those that describe the body:
    /// Content-Length, Content-Range and, for a range, Content-MD5. Omits values that are not valid in a
    /// header.
    pub fn put_headers(&self, headers: &mut HeaderMap, ranged: bool) {
        let mut put = |name: &'static str, value: Option<&str>| {
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        };
        put("last-modified", Some(&http_date(self.last_modified)));
        put("etag", Some(&self.etag.quoted()));
        put("accept-ranges", Some("bytes"));
        put("content-type", Some(self.content_type.as_deref().unwrap_or("application/octet-stream")));
        put("content-encoding", self.content_encoding.as_deref());
        put("content-language", self.content_language.as_deref());
        put("content-disposition", self.content_disposition.as_deref());
        put("cache-control", self.cache_control.as_deref());
        put(if ranged { name::BLOB_CONTENT_MD5 } else { "content-md5" }, self.content_md5.as_deref());
        put(name::BLOB_TYPE, Some(self.blob_type.as_str()));
        put(name::CREATION_TIME, self.creation_time.map(http_date).as_deref());
        put(name::ACCESS_TIER, self.access_tier.as_deref());
        put(name::ACCESS_TIER_INFERRED, self.access_tier_inferred.then_some("true"));
        put(name::ACCESS_TIER_CHANGE_TIME, self.access_tier_change_time.map(http_date).as_deref());
        put(name::LEASE_STATUS, self.lease_status.as_deref());
        put(name::LEASE_STATE, self.lease_state.as_deref());
        put(name::LEASE_DURATION, self.lease_duration.as_deref());
        put(name::SERVER_ENCRYPTED, self.server_encrypted.then_some("true"));
        if let Some(copy) = &self.copy {
            put(name::COPY_ID, Some(&copy.id));
            put(name::COPY_STATUS, Some(&copy.status));
            put(name::COPY_SOURCE, copy.source.as_ref().map(Secret::expose));
            put(name::COPY_PROGRESS, copy.progress.as_deref());
            put(name::COPY_COMPLETION_TIME, copy.completion_time.map(http_date).as_deref());
            put(name::COPY_STATUS_DESCRIPTION, copy.status_description.as_deref());
        }
    }

    /// Parses the `<Properties>` element of a list. Returns `None` if Etag or Last-Modified is missing.
    pub(super) fn from_xml(element: &Element<'_>) -> Option<Self> {
        let text = |name: &str| element.leaf(name).map(str::to_owned);
        let time = |name: &str| element.leaf(name).and_then(parse_http_date);
        let is_true = |name: &str| element.leaf(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let copy = text("CopyId").map(|id| CopyProperties {
            id,
            status: text("CopyStatus").unwrap_or_default(),
            source: text("CopySource").map(Secret::new),
            progress: text("CopyProgress"),
            completion_time: time("CopyCompletionTime"),
            status_description: text("CopyStatusDescription"),
        });
        Some(Self {
            creation_time: time("Creation-Time"),
            last_modified: time("Last-Modified")?,
            etag: element.leaf("Etag").and_then(ETag::from_text)?,
            content_length: element.parse("Content-Length").unwrap_or_default(),
            content_type: text("Content-Type"),
            content_encoding: text("Content-Encoding"),
            content_language: text("Content-Language"),
            content_md5: text("Content-MD5"),
            content_disposition: text("Content-Disposition"),
            cache_control: text("Cache-Control"),
            blob_type: element.leaf("BlobType").map_or(BlobType::Block, BlobType::from),
            access_tier: text("AccessTier"),
            access_tier_inferred: is_true("AccessTierInferred"),
            access_tier_change_time: time("AccessTierChangeTime"),
            lease_status: text("LeaseStatus"),
            lease_state: text("LeaseState"),
            lease_duration: text("LeaseDuration"),
            server_encrypted: is_true("ServerEncrypted"),
            copy,
        })
    }

    /// Writes the `<Properties>` element of a list. As in Azure, missing content headers become empty
    /// elements.
    pub(super) fn write_xml(&self, xml: &mut Document) {
        xml.open("Properties");
        xml.leaf_if("Creation-Time", self.creation_time.map(http_date));
        xml.leaf("Last-Modified", &http_date(self.last_modified));
        xml.leaf("Etag", self.etag.as_str());
        xml.leaf("Content-Length", &self.content_length.to_string());
        xml.leaf("Content-Type", self.content_type.as_deref().unwrap_or("application/octet-stream"));
        for (name, value) in [
            ("Content-Encoding", &self.content_encoding),
            ("Content-Language", &self.content_language),
            ("Content-MD5", &self.content_md5),
            ("Cache-Control", &self.cache_control),
            ("Content-Disposition", &self.content_disposition),
        ] {
            match value {
                Some(value) => xml.leaf(name, value),
                None => xml.empty(name),
            }
        }
        xml.leaf("BlobType", self.blob_type.as_str());
        xml.leaf_if("AccessTier", self.access_tier.as_ref());
        xml.leaf_if("AccessTierInferred", self.access_tier_inferred.then_some("true"));
        xml.leaf_if("AccessTierChangeTime", self.access_tier_change_time.map(http_date));
        xml.leaf_if("LeaseStatus", self.lease_status.as_ref());
        xml.leaf_if("LeaseState", self.lease_state.as_ref());
        xml.leaf_if("LeaseDuration", self.lease_duration.as_ref());
        if let Some(copy) = &self.copy {
            xml.leaf("CopyId", &copy.id);
            xml.leaf("CopyStatus", &copy.status);
            xml.leaf_if("CopySource", copy.source.as_ref().map(Secret::expose));
            xml.leaf_if("CopyProgress", copy.progress.as_ref());
            xml.leaf_if("CopyCompletionTime", copy.completion_time.map(http_date));
            xml.leaf_if("CopyStatusDescription", copy.status_description.as_ref());
        }
        xml.leaf("ServerEncrypted", if self.server_encrypted { "true" } else { "false" });
        xml.close("Properties");
    }
}

/// Returns the metadata in the headers of a request or response.
pub fn metadata_from_headers(headers: &HeaderMap) -> Metadata {
    let named = headers.iter().filter_map(|(header, value)| {
        let name = header.as_str().strip_prefix(name::METADATA_PREFIX)?;
        Some((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    named.collect()
}

/// Inserts metadata into the headers of a request or response. Omits entries that are not valid in a header.
pub fn put_metadata(metadata: &Metadata, headers: &mut HeaderMap) {
    for (key, value) in metadata {
        let name = HeaderName::try_from(format!("{}{key}", name::METADATA_PREFIX));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}

/// Writes the `<Metadata>` element of a list. Omits invalid metadata names.
pub(super) fn write_metadata(metadata: &Metadata, xml: &mut Document) {
    xml.open("Metadata");
    for (name, value) in metadata.iter().filter(|(name, _)| is_valid_metadata_name(name)) {
        xml.leaf(name, value);
    }
    xml.close("Metadata");
}

pub(super) fn read_metadata(element: &Element<'_>) -> Metadata {
    element.children().iter().map(|child| (child.name().to_owned(), child.text().to_owned())).collect()
}
