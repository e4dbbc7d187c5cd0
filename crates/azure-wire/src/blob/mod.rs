//! Types of Azure Blob Storage: properties in headers; lists and block lists in XML.
//!
//! Client and service use the same code to read and write them, so they cannot differ.

mod blocks;
mod containers;
mod file_metadata;
mod list;
mod properties;
mod tags;

pub use crate::xml::BadXml;
pub use blocks::{Block, BlockChoice, BlockList, BlockSource, read_block_choices, write_block_choices};
pub use containers::{ContainerItem, ContainerList};
pub use file_metadata::FileMetadata;
pub use list::{BlobItem, BlobList, Entry};
pub use properties::{
    BlobProperties, BlobType, CopyProperties, Metadata, metadata_from_headers, put_metadata,
};
pub use tags::{FoundByTags, TagFilter, Tags, are_valid_tags, parse_tags_header, read_tags, write_tags};

/// Version that our client sends as `x-ms-version`. A service must accept newer versions.
pub const VERSION: &str = "2025-01-05";

/// Names of headers that only Blob Storage uses.
pub mod header {
    /// Protocol version, in every request and response.
    pub const VERSION: &str = "x-ms-version";
    /// Date that the signature covers.
    pub const DATE: &str = "x-ms-date";
    /// Request id that the service assigns.
    pub const REQUEST_ID: &str = "x-ms-request-id";
    /// Request id that the client chooses; repeated in the response.
    pub const CLIENT_REQUEST_ID: &str = "x-ms-client-request-id";
    /// Error code, also present if the response has no body.
    pub const ERROR_CODE: &str = "x-ms-error-code";
    /// `BlockBlob` or `AppendBlob`, in Put Blob and in responses.
    pub const BLOB_TYPE: &str = "x-ms-blob-type";
    /// Byte range; takes precedence over `Range`.
    pub const RANGE: &str = "x-ms-range";
    /// `true` to return the MD5 of the requested range.
    pub const RANGE_GET_MD5: &str = "x-ms-range-get-content-md5";
    /// Prefix of the headers that carry metadata.
    pub const METADATA_PREFIX: &str = "x-ms-meta-";
    /// The content type to store.
    pub const BLOB_CONTENT_TYPE: &str = "x-ms-blob-content-type";
    /// The content encoding to store.
    pub const BLOB_CONTENT_ENCODING: &str = "x-ms-blob-content-encoding";
    /// The content language to store.
    pub const BLOB_CONTENT_LANGUAGE: &str = "x-ms-blob-content-language";
    /// The content disposition to store.
    pub const BLOB_CONTENT_DISPOSITION: &str = "x-ms-blob-content-disposition";
    /// The cache control to store.
    pub const BLOB_CACHE_CONTROL: &str = "x-ms-blob-cache-control";
    /// MD5 to store (base64); in responses to ranged reads, the MD5 of the whole blob.
    pub const BLOB_CONTENT_MD5: &str = "x-ms-blob-content-md5";
    /// CRC-64 checksum of the body (base64).
    pub const CONTENT_CRC64: &str = "x-ms-content-crc64";
    /// Creation time of the blob.
    pub const CREATION_TIME: &str = "x-ms-creation-time";
    /// Access tier of the blob.
    pub const ACCESS_TIER: &str = "x-ms-access-tier";
    /// `true` if the tier is the account's default.
    pub const ACCESS_TIER_INFERRED: &str = "x-ms-access-tier-inferred";
    /// Time when a client set the tier.
    pub const ACCESS_TIER_CHANGE_TIME: &str = "x-ms-access-tier-change-time";
    /// Lease status: `unlocked` or `locked`.
    pub const LEASE_STATUS: &str = "x-ms-lease-status";
    /// Lease state: `available`, `leased`, ….
    pub const LEASE_STATE: &str = "x-ms-lease-state";
    /// In responses `infinite` or `fixed`; in an acquire request seconds, or -1 for infinite.
    pub const LEASE_DURATION: &str = "x-ms-lease-duration";
    /// Id of the lease.
    pub const LEASE_ID: &str = "x-ms-lease-id";
    /// Lease operation: `acquire`, `renew`, `change`, `release`, `break`.
    pub const LEASE_ACTION: &str = "x-ms-lease-action";
    /// Lease id that an acquire or change request proposes.
    pub const PROPOSED_LEASE_ID: &str = "x-ms-proposed-lease-id";
    /// Maximum number of seconds before a broken lease ends.
    pub const LEASE_BREAK_PERIOD: &str = "x-ms-lease-break-period";
    /// Seconds until a broken lease ends.
    pub const LEASE_TIME: &str = "x-ms-lease-time";
    /// Id of the lease that the source of a copy must have.
    pub const SOURCE_LEASE_ID: &str = "x-ms-source-lease-id";
    /// Tags to set, encoded like a URL query.
    pub const TAGS: &str = "x-ms-tags";
    /// Number of tags of a blob; absent if it has none.
    pub const TAG_COUNT: &str = "x-ms-tag-count";
    /// Condition: offset at which the append must start.
    pub const APPEND_POSITION: &str = "x-ms-blob-condition-appendpos";
    /// Condition: maximum length of the blob after the append.
    pub const APPEND_MAX_SIZE: &str = "x-ms-blob-condition-maxsize";
    /// Offset at which the block was appended.
    pub const APPEND_OFFSET: &str = "x-ms-blob-append-offset";
    /// Number of blocks of an append blob.
    pub const COMMITTED_BLOCKS: &str = "x-ms-blob-committed-block-count";
    /// `true` if the blob is stored encrypted.
    pub const SERVER_ENCRYPTED: &str = "x-ms-server-encrypted";
    /// `true` if the written data is stored encrypted.
    pub const REQUEST_SERVER_ENCRYPTED: &str = "x-ms-request-server-encrypted";
    /// `include` to delete a blob with its snapshots, `only` to delete just the snapshots.
    pub const DELETE_SNAPSHOTS: &str = "x-ms-delete-snapshots";
    /// URL of the copy source; may carry a SAS.
    pub const COPY_SOURCE: &str = "x-ms-copy-source";
    /// Id of a copy operation.
    pub const COPY_ID: &str = "x-ms-copy-id";
    /// State of a copy: `success`, `pending`, `aborted`, `failed`.
    pub const COPY_STATUS: &str = "x-ms-copy-status";
    /// Reason why a copy failed.
    pub const COPY_STATUS_DESCRIPTION: &str = "x-ms-copy-status-description";
    /// Progress of a copy as bytes copied of total bytes: `5/5`.
    pub const COPY_PROGRESS: &str = "x-ms-copy-progress";
    /// Time when a copy ended.
    pub const COPY_COMPLETION_TIME: &str = "x-ms-copy-completion-time";
    /// `true` to complete the copy before the response is sent.
    pub const REQUIRES_SYNC: &str = "x-ms-requires-sync";
    /// `container` or `blob` if the container is public.
    pub const PUBLIC_ACCESS: &str = "x-ms-blob-public-access";
    /// `true` if an immutability policy prevents deletion of the container.
    pub const HAS_IMMUTABILITY_POLICY: &str = "x-ms-has-immutability-policy";
    /// `true` if a legal hold prevents deletion of the container.
    pub const HAS_LEGAL_HOLD: &str = "x-ms-has-legal-hold";
}

/// Limits that the service enforces.
pub mod limit {
    /// Maximum size of one Put Blob in bytes.
    pub const PUT_BLOB_BYTES: u64 = 5000 << 20;
    /// Maximum size of one block in bytes.
    pub const BLOCK_BYTES: u64 = 4000 << 20;
    /// Maximum size of one appended block in bytes.
    pub const APPEND_BYTES: u64 = 100 << 20;
    /// Maximum number of blocks of one blob.
    pub const BLOCKS: usize = 50_000;
    /// Maximum number of uncommitted blocks of one blob.
    pub const UNCOMMITTED_BLOCKS: usize = 100_000;
    /// Maximum length of a block id in bytes, before base64 encoding.
    pub const BLOCK_ID_BYTES: usize = 64;
    /// Maximum number of entries on a page of a list.
    pub const PAGE: u32 = 5000;
    /// Maximum length of a blob name in characters.
    pub const NAME_CHARACTERS: usize = 1024;
    /// Maximum total size of metadata names and values in bytes.
    pub const METADATA_BYTES: usize = 8 << 10;
}

/// Returns `true` if `name` is a valid container name: 3 to 63 lower-case letters, digits and single inner
/// hyphens; or `$root`, `$web`, `$logs`.
pub fn is_valid_container_name(name: &str) -> bool {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let plain = (3..=63).contains(&name.len())
        && name.bytes().all(|b| letters(b) || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    plain || matches!(name, "$root" | "$web" | "$logs")
}

/// Returns `true` if `name` is a valid blob name: 1 to 1024 characters.
pub fn is_valid_blob_name(name: &str) -> bool {
    (1..=limit::NAME_CHARACTERS).contains(&name.encode_utf16().count())
}

/// Returns `true` if `name` is a valid metadata name: a letter or `_`, then letters, digits and `_`.
pub fn is_valid_metadata_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
