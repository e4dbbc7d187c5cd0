//! What is known of a blob beside its content: in headers, and in lists.

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

/// Names and values that only the owner understands. Blob storage keeps the letter case of names and ignores it when it
/// compares them; requests and responses within a process carry them in lower case.
pub type Metadata = BTreeMap<String, String>;

/// What is known of a blob beside its content.
#[derive(Debug, Clone, PartialEq)]
pub struct BlobProperties {
    /// When it was made.
    pub creation_time: Option<Timestamp>,
    /// When it changed last.
    pub last_modified: Timestamp,
    /// Changes with every change.
    pub etag: ETag,
    /// Its length in bytes; of the whole blob, also on the answer to a range.
    pub content_length: u64,
    /// `application/octet-stream` by default.
    pub content_type: Option<String>,
    /// Such as `gzip`.
    pub content_encoding: Option<String>,
    /// Such as `en`.
    pub content_language: Option<String>,
    /// MD5 of the content (base64), if it was given or is known.
    pub content_md5: Option<String>,
    /// Such as `attachment`.
    pub content_disposition: Option<String>,
    /// Such as `no-cache`.
    pub cache_control: Option<String>,
    /// What kind of blob it is.
    pub blob_type: BlobType,
    /// `Hot`, `Cool`, ….
    pub access_tier: Option<String>,
    /// Whether nobody chose the tier.
    pub access_tier_inferred: bool,
    /// When the tier was chosen, if a client chose it.
    pub access_tier_change_time: Option<Timestamp>,
    /// `unlocked` or `locked`.
    pub lease_status: Option<String>,
    /// `available`, `leased`, ….
    pub lease_state: Option<String>,
    /// `infinite` or `fixed`, while it is leased.
    pub lease_duration: Option<String>,
    /// Whether it is stored encrypted.
    pub server_encrypted: bool,
    /// The copy it comes from.
    pub copy: Option<CopyProperties>,
}

/// The copy that a blob comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyProperties {
    /// Its name.
    pub id: String,
    /// `success`, `pending`, `aborted`, `failed`.
    pub status: String,
    /// Where from; may carry a SAS.
    pub source: Option<Secret>,
    /// Bytes copied of bytes to copy: `5/5`.
    pub progress: Option<String>,
    /// When it was over.
    pub completion_time: Option<Timestamp>,
    /// Why it failed.
    pub status_description: Option<String>,
}

open_enum! {
    /// What kind of blob.
    pub enum BlobType {
        /// Made of blocks.
        Block = "BlockBlob",
        /// Made of pages.
        Page = "PageBlob",
        /// Grows at its end.
        Append = "AppendBlob",
    }
}

impl BlobProperties {
    /// A block blob of which nothing but this is known.
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

    /// Reads them from the headers of an answer; `None` without ETag, Last-Modified or length.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let moment = |name: &str| text(name).as_deref().and_then(parse_http_date);
        let is_true = |name: &str| text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        // Of a range, Content-Length and Content-MD5 are those of the range.
        let ranged = text("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let content_md5 = if ranged.is_some() { text(name::BLOB_CONTENT_MD5) } else { text("content-md5") };
        let copy = text(name::COPY_ID).map(|id| CopyProperties {
            id,
            status: text(name::COPY_STATUS).unwrap_or_default(),
            source: text(name::COPY_SOURCE).map(Secret::new),
            progress: text(name::COPY_PROGRESS),
            completion_time: moment(name::COPY_COMPLETION_TIME),
            status_description: text(name::COPY_STATUS_DESCRIPTION),
        });
        Some(Self {
            creation_time: moment(name::CREATION_TIME),
            last_modified: moment("last-modified")?,
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
            access_tier_change_time: moment(name::ACCESS_TIER_CHANGE_TIME),
            lease_status: text(name::LEASE_STATUS),
            lease_state: text(name::LEASE_STATE),
            lease_duration: text(name::LEASE_DURATION),
            server_encrypted: is_true(name::SERVER_ENCRYPTED),
            copy,
        })
    }

    /// Puts them into the headers of an answer, but for Content-Length, Content-Range and, of a range, Content-MD5,
    /// which are about the body. A value that no header can hold is left out.
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

    /// Reads them from `<Properties>` of a list; `None` without Etag or Last-Modified.
    pub(super) fn from_xml(element: &Element<'_>) -> Option<Self> {
        let text = |name: &str| element.leaf(name).map(str::to_owned);
        let moment = |name: &str| element.leaf(name).and_then(parse_http_date);
        let is_true = |name: &str| element.leaf(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let copy = text("CopyId").map(|id| CopyProperties {
            id,
            status: text("CopyStatus").unwrap_or_default(),
            source: text("CopySource").map(Secret::new),
            progress: text("CopyProgress"),
            completion_time: moment("CopyCompletionTime"),
            status_description: text("CopyStatusDescription"),
        });
        Some(Self {
            creation_time: moment("Creation-Time"),
            last_modified: moment("Last-Modified")?,
            etag: element.leaf("Etag").and_then(ETag::told)?,
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
            access_tier_change_time: moment("AccessTierChangeTime"),
            lease_status: text("LeaseStatus"),
            lease_state: text("LeaseState"),
            lease_duration: text("LeaseDuration"),
            server_encrypted: is_true("ServerEncrypted"),
            copy,
        })
    }

    /// Writes `<Properties>` of a list. As the service does, what a content header lacks is an empty element.
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

/// The metadata in the headers of a request or answer.
pub fn metadata_of(headers: &HeaderMap) -> Metadata {
    let named = headers.iter().filter_map(|(header, value)| {
        let name = header.as_str().strip_prefix(name::METADATA_PREFIX)?;
        Some((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    named.collect()
}

/// Puts metadata into the headers of a request or answer; what no header can hold is left out.
pub fn put_metadata(metadata: &Metadata, headers: &mut HeaderMap) {
    for (key, value) in metadata {
        let name = HeaderName::try_from(format!("{}{key}", name::METADATA_PREFIX));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}

/// `<Metadata>` of a list; names that may not name metadata are left out.
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
