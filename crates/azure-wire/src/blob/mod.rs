//! The nouns of Blob storage: properties in headers, lists and block lists in XML.
//!
//! Each is read and written here, so that client and service cannot differ.

mod blocks;
mod containers;
mod file_facts;
mod list;
mod properties;
mod tags;

pub use crate::xml::BadXml;
pub use blocks::{Block, BlockChoice, BlockList, BlockSource, read_block_choices, write_block_choices};
pub use containers::{ContainerItem, ContainerList};
pub use file_facts::FileFacts;
pub use list::{BlobItem, BlobList, Entry};
pub use properties::{BlobProperties, BlobType, CopyProperties, Metadata, metadata_of, put_metadata};
pub use tags::{FoundByTags, TagFilter, Tags, are_valid_tags, read_tags, tags_of_header, write_tags};

/// The version our own client sends as `x-ms-version`. A service must not refuse a newer one.
pub const VERSION: &str = "2025-01-05";

/// Names of headers that Blob has beside HTTP's own.
pub mod header {
    /// The version of the protocol, on every request and answer.
    pub const VERSION: &str = "x-ms-version";
    /// The date that is signed.
    pub const DATE: &str = "x-ms-date";
    /// The service's name for a call.
    pub const REQUEST_ID: &str = "x-ms-request-id";
    /// The caller's name for a call; repeated in the answer.
    pub const CLIENT_REQUEST_ID: &str = "x-ms-client-request-id";
    /// The code of an error, also where there is no body.
    pub const ERROR_CODE: &str = "x-ms-error-code";
    /// `BlockBlob` or `AppendBlob`, on Put Blob and on answers.
    pub const BLOB_TYPE: &str = "x-ms-blob-type";
    /// A range in place of `Range`.
    pub const RANGE: &str = "x-ms-range";
    /// `true`: the answer has the MD5 of the range.
    pub const RANGE_GET_MD5: &str = "x-ms-range-get-content-md5";
    /// How the names of metadata begin.
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
    /// The MD5 to store (base64); on ranged answers the MD5 of the whole blob.
    pub const BLOB_CONTENT_MD5: &str = "x-ms-blob-content-md5";
    /// The checksum CRC-64 of a body (base64).
    pub const CONTENT_CRC64: &str = "x-ms-content-crc64";
    /// When the blob was made.
    pub const CREATION_TIME: &str = "x-ms-creation-time";
    /// The tier of a blob.
    pub const ACCESS_TIER: &str = "x-ms-access-tier";
    /// Whether nobody chose the tier.
    pub const ACCESS_TIER_INFERRED: &str = "x-ms-access-tier-inferred";
    /// When the tier was chosen.
    pub const ACCESS_TIER_CHANGE_TIME: &str = "x-ms-access-tier-change-time";
    /// `unlocked` or `locked`.
    pub const LEASE_STATUS: &str = "x-ms-lease-status";
    /// `available`, `leased`, ….
    pub const LEASE_STATE: &str = "x-ms-lease-state";
    /// `infinite` or `fixed` on answers; on an acquire seconds, or -1.
    pub const LEASE_DURATION: &str = "x-ms-lease-duration";
    /// The lease that a request or answer is about.
    pub const LEASE_ID: &str = "x-ms-lease-id";
    /// `acquire`, `renew`, `change`, `release`, `break`.
    pub const LEASE_ACTION: &str = "x-ms-lease-action";
    /// The id that an acquire or change asks for.
    pub const PROPOSED_LEASE_ID: &str = "x-ms-proposed-lease-id";
    /// Seconds that a break waits at most.
    pub const LEASE_BREAK_PERIOD: &str = "x-ms-lease-break-period";
    /// Seconds until a broken lease is over.
    pub const LEASE_TIME: &str = "x-ms-lease-time";
    /// The lease that the source of a copy must have.
    pub const SOURCE_LEASE_ID: &str = "x-ms-source-lease-id";
    /// Tags to set, written like a query.
    pub const TAGS: &str = "x-ms-tags";
    /// How many tags a blob has, if any.
    pub const TAG_COUNT: &str = "x-ms-tag-count";
    /// Where an append must begin.
    pub const APPEND_POSITION: &str = "x-ms-blob-condition-appendpos";
    /// The length that a blob may have after an append.
    pub const APPEND_MAX_SIZE: &str = "x-ms-blob-condition-maxsize";
    /// Where an append began.
    pub const APPEND_OFFSET: &str = "x-ms-blob-append-offset";
    /// How many blocks an append blob has.
    pub const COMMITTED_BLOCKS: &str = "x-ms-blob-committed-block-count";
    /// Whether a blob is stored encrypted.
    pub const SERVER_ENCRYPTED: &str = "x-ms-server-encrypted";
    /// Whether a write was stored encrypted.
    pub const REQUEST_SERVER_ENCRYPTED: &str = "x-ms-request-server-encrypted";
    /// `include` or `only`, on deletion.
    pub const DELETE_SNAPSHOTS: &str = "x-ms-delete-snapshots";
    /// The URL to copy from; may carry a SAS.
    pub const COPY_SOURCE: &str = "x-ms-copy-source";
    /// The name of a copy.
    pub const COPY_ID: &str = "x-ms-copy-id";
    /// `success`, `pending`, `aborted`, `failed`.
    pub const COPY_STATUS: &str = "x-ms-copy-status";
    /// Why a copy failed.
    pub const COPY_STATUS_DESCRIPTION: &str = "x-ms-copy-status-description";
    /// Bytes copied of bytes to copy: `5/5`.
    pub const COPY_PROGRESS: &str = "x-ms-copy-progress";
    /// When a copy was over.
    pub const COPY_COMPLETION_TIME: &str = "x-ms-copy-completion-time";
    /// `true`: the copy is over when the answer comes.
    pub const REQUIRES_SYNC: &str = "x-ms-requires-sync";
    /// `container` or `blob` when a container is public.
    pub const PUBLIC_ACCESS: &str = "x-ms-blob-public-access";
    /// `true`: the container may not be deleted before its policy ends.
    pub const HAS_IMMUTABILITY_POLICY: &str = "x-ms-has-immutability-policy";
    /// `true`: the container may not be deleted.
    pub const HAS_LEGAL_HOLD: &str = "x-ms-has-legal-hold";
}

/// Numbers the service holds its callers to.
pub mod limit {
    /// Bytes of one Put Blob.
    pub const PUT_BLOB_BYTES: u64 = 5000 << 20;
    /// Bytes of one block.
    pub const BLOCK_BYTES: u64 = 4000 << 20;
    /// Bytes of one block of an append blob.
    pub const APPEND_BYTES: u64 = 100 << 20;
    /// Blocks of one blob.
    pub const BLOCKS: usize = 50_000;
    /// Blocks that wait to be committed.
    pub const UNCOMMITTED_BLOCKS: usize = 100_000;
    /// Bytes of a block id before base64.
    pub const BLOCK_ID_BYTES: usize = 64;
    /// Entries of a page of a list.
    pub const PAGE: u32 = 5000;
    /// Characters of a blob name.
    pub const NAME_CHARACTERS: usize = 1024;
    /// Bytes of all names and values of metadata.
    pub const METADATA_BYTES: usize = 8 << 10;
}

/// Whether a text may name a container: 3 to 63 small letters, digits and single hyphens within; or `$root`,
/// `$web`, `$logs`.
pub fn is_valid_container_name(name: &str) -> bool {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let plain = (3..=63).contains(&name.len())
        && name.bytes().all(|b| letters(b) || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    plain || matches!(name, "$root" | "$web" | "$logs")
}

/// Whether a text may name a blob: 1 to 1024 characters.
pub fn is_valid_blob_name(name: &str) -> bool {
    (1..=limit::NAME_CHARACTERS).contains(&name.encode_utf16().count())
}

/// Whether a text may name metadata: a letter or `_`, then letters, digits and `_`.
pub fn is_valid_metadata_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
