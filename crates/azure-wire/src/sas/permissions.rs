//! SAS permissions, and which permission each operation needs.

use http::Method;
use std::{
    fmt::{self, Write},
    ops::BitOr,
};

/// A set of SAS permissions, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Permissions(u16);

/// Letters in the order in which the service writes them; bit `i` is letter `i`.
const LETTERS: &[u8] = b"racwdxyltfmei";

impl Permissions {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// `r`: read content, properties and metadata.
    pub const READ: Self = Self(1);
    /// `a`: append blocks to an append blob.
    pub const ADD: Self = Self(1 << 1);
    /// `c`: create a new blob.
    pub const CREATE: Self = Self(1 << 2);
    /// `w`: create or overwrite a blob.
    pub const WRITE: Self = Self(1 << 3);
    /// `d`: delete a blob.
    pub const DELETE: Self = Self(1 << 4);
    /// `x`: delete a version.
    pub const DELETE_VERSION: Self = Self(1 << 5);
    /// `y`: delete permanently.
    pub const PERMANENT_DELETE: Self = Self(1 << 6);
    /// `l`: list the blobs of a container.
    pub const LIST: Self = Self(1 << 7);
    /// `t`: read and write tags.
    pub const TAGS: Self = Self(1 << 8);
    /// `f`: find blobs by tags.
    pub const FIND: Self = Self(1 << 9);
    /// `m`: rename a blob.
    pub const MOVE: Self = Self(1 << 10);
    /// `e`: read file system properties.
    pub const EXECUTE: Self = Self(1 << 11);
    /// `i`: set immutability policies.
    pub const IMMUTABILITY: Self = Self(1 << 12);

    /// Parses permission letters; unknown letters are ignored.
    pub fn parse(letters: &str) -> Self {
        let known = letters.bytes().filter_map(|letter| LETTERS.iter().position(|l| *l == letter));
        Self(known.fold(0, |set, at| set | 1 << at))
    }

    /// Returns `true` if the set contains at least one of `others`.
    pub fn allow_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl BitOr for Permissions {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Writes the letters in the order of the service.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = LETTERS.iter().enumerate().filter(|(at, _)| self.0 & (1 << at) != 0);
        present.map(|(_, letter)| char::from(*letter)).try_for_each(|letter| f.write_char(letter))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The kind of resource that an operation works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The account: `s` in the `srt` of an account SAS.
    Service,
    /// A container: `c` in `srt`.
    Container,
    /// A blob: `o` in `srt`.
    Object,
}

/// An operation, as precise as permissions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Get Blob, Blob Properties, Blob Metadata or Block List, or read the source of a copy.
    ReadBlob,
    /// Put Blob, Copy Blob or Snapshot Blob that creates something new.
    CreateBlob,
    /// Put Blob or Copy Blob onto an existing blob.
    ReplaceBlob,
    /// Put Block, Put Block List, Set Blob Metadata, Set Blob Properties or Set Blob Tier.
    WriteBlob,
    /// The operation Append Block.
    AppendBlock,
    /// The operation Lease Blob.
    LeaseBlob,
    /// The operation Delete Blob.
    DeleteBlob,
    /// Delete Blob with a `versionid`.
    DeleteVersion,
    /// Get or Set Blob Tags.
    TagBlob,
    /// The operation List Blobs.
    ListBlobs,
    /// Find Blobs by Tags in a container.
    FindBlobs,
    /// Get Container Properties, Metadata or ACL.
    ReadContainer,
    /// The operation Create Container.
    CreateContainer,
    /// The operation Set Container Metadata.
    WriteContainer,
    /// The operation Delete Container.
    DeleteContainer,
    /// The operation List Containers.
    ListContainers,
    /// Get Blob Service Properties or Stats.
    ReadService,
    /// Set Blob Service Properties.
    WriteService,
}

impl Action {
    /// Returns the operation of a request, from its method, the resource in its path, and `restype`, `comp`
    /// and `versionid` of its query. Put Blob is always [`Action::CreateBlob`]: whether it replaces a blob is
    /// known only later. Returns `None` for operations that no SAS can allow.
    pub fn from_request(method: &Method, level: Level, query: &str) -> Option<Self> {
        let value = |name| crate::uri::value(query, name).unwrap_or_default();
        let comp = value("comp").to_ascii_lowercase();
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let (puts, deletes) = (*method == Method::PUT, *method == Method::DELETE);
        Some(match (level, comp.as_str()) {
            (Level::Object, "" | "metadata" | "blocklist" | "properties" | "pagelist") if reads => {
                Self::ReadBlob
            }
            (Level::Object, "tags") if reads || puts => Self::TagBlob,
            (Level::Object, "" | "snapshot" | "copy") if puts => Self::CreateBlob,
            (Level::Object, "appendblock") if puts => Self::AppendBlock,
            (Level::Object, "lease") if puts => Self::LeaseBlob,
            (
                Level::Object,
                "block" | "blocklist" | "metadata" | "properties" | "tier" | "page" | "undelete",
            ) if puts => Self::WriteBlob,
            (Level::Object, "") if deletes && !value("versionid").is_empty() => Self::DeleteVersion,
            (Level::Object, "") if deletes => Self::DeleteBlob,
            (Level::Container, "list") if reads => Self::ListBlobs,
            (Level::Container, "blobs") if reads => Self::FindBlobs,
            (Level::Container, "" | "metadata" | "acl") if reads => Self::ReadContainer,
            (Level::Container, "") if puts => Self::CreateContainer,
            (Level::Container, "metadata" | "lease") if puts => Self::WriteContainer,
            (Level::Container, "") if deletes => Self::DeleteContainer,
            (Level::Service, "list") if reads => Self::ListContainers,
            (Level::Service, "properties" | "stats") if reads => Self::ReadService,
            (Level::Service, "properties") if puts => Self::WriteService,
            _ => return None,
        })
    }

    /// Returns the permissions that allow the operation; one of them is enough.
    pub fn needs(self) -> Permissions {
        type P = Permissions;
        match self {
            Self::ReadBlob | Self::ReadContainer | Self::ReadService => P::READ,
            Self::CreateBlob | Self::CreateContainer => P::CREATE | P::WRITE,
            Self::ReplaceBlob | Self::WriteBlob | Self::WriteContainer | Self::WriteService => P::WRITE,
            Self::AppendBlock => P::ADD | P::WRITE,
            Self::LeaseBlob => P::WRITE | P::DELETE,
            Self::DeleteBlob | Self::DeleteContainer => P::DELETE,
            Self::DeleteVersion => P::DELETE_VERSION,
            Self::TagBlob => P::TAGS,
            Self::ListBlobs | Self::ListContainers => P::LIST,
            Self::FindBlobs => P::FIND,
        }
    }

    /// Returns the kind of resource that the operation works on.
    pub fn level(self) -> Level {
        match self {
            Self::ListBlobs
            | Self::FindBlobs
            | Self::ReadContainer
            | Self::CreateContainer
            | Self::WriteContainer
            | Self::DeleteContainer => Level::Container,
            Self::ListContainers | Self::ReadService | Self::WriteService => Level::Service,
            _ => Level::Object,
        }
    }

    /// Returns `true` if a service SAS can allow the operation: all blob operations and the lists of a
    /// container.
    pub fn is_within_container(self) -> bool {
        self.level() == Level::Object || matches!(self, Self::ListBlobs | Self::FindBlobs)
    }
}
