//! What a SAS allows, and what an operation needs.

use http::Method;
use std::{
    fmt::{self, Write},
    ops::BitOr,
};

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Permissions(u16);

/// The letters in the order that a SAS writes them.
const LETTERS: &[u8] = b"racwdxyltfmei";

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `r`: content, properties, metadata.
    pub const READ: Self = Self(1);
    /// `a`: blocks at the end of an append blob.
    pub const ADD: Self = Self(1 << 1);
    /// `c`: a new blob.
    pub const CREATE: Self = Self(1 << 2);
    /// `w`: a new blob, or another content of one.
    pub const WRITE: Self = Self(1 << 3);
    /// `d`: deletion of a blob.
    pub const DELETE: Self = Self(1 << 4);
    /// `x`: deletion of a version.
    pub const DELETE_VERSION: Self = Self(1 << 5);
    /// `y`: deletion for good.
    pub const PERMANENT_DELETE: Self = Self(1 << 6);
    /// `l`: the list of a container's blobs.
    pub const LIST: Self = Self(1 << 7);
    /// `t`: tags.
    pub const TAGS: Self = Self(1 << 8);
    /// `f`: search by tags.
    pub const FIND: Self = Self(1 << 9);
    /// `m`: another name.
    pub const MOVE: Self = Self(1 << 10);
    /// `e`: properties of the file system.
    pub const EXECUTE: Self = Self(1 << 11);
    /// `i`: immutability.
    pub const IMMUTABILITY: Self = Self(1 << 12);

    /// Reads letters; those that are not known allow nothing.
    pub fn parse(letters: &str) -> Self {
        let known = letters.bytes().filter_map(|letter| LETTERS.iter().position(|l| *l == letter));
        Self(known.fold(0, |set, at| set | 1 << at))
    }

    /// Whether any of `others` is in this set.
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

/// As a SAS writes them: in the service's order.
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

/// What kind of thing an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The account: `s` of an account SAS.
    Service,
    /// A container: `c`.
    Container,
    /// A blob: `o`.
    Object,
}

/// An operation, as far as permissions are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Get Blob, its properties, metadata, block list; the source of a copy.
    ReadBlob,
    /// Put Blob, Copy Blob, Snapshot: something new.
    CreateBlob,
    /// Put Blob or Copy Blob over a blob that is there.
    ReplaceBlob,
    /// Put Block, Put Block List, Set Blob Metadata, Properties, Tier.
    WriteBlob,
    /// Append Block.
    AppendBlock,
    /// Lease Blob.
    LeaseBlob,
    /// Delete Blob.
    DeleteBlob,
    /// Delete Blob of a version.
    DeleteVersion,
    /// Get or Set Blob Tags.
    TagBlob,
    /// List Blobs.
    ListBlobs,
    /// Find Blobs by Tags in a container.
    FindBlobs,
    /// Get Container Properties, Metadata, ACL.
    ReadContainer,
    /// Create Container.
    CreateContainer,
    /// Set Container Metadata.
    WriteContainer,
    /// Delete Container.
    DeleteContainer,
    /// List Containers.
    ListContainers,
    /// Get Service Properties, Stats.
    ReadService,
    /// Set Service Properties.
    WriteService,
}

impl Action {
    /// What a request wants, by its method, what its path names, and `restype`, `comp` and `versionid` of its
    /// query. A Put Blob is [`Action::CreateBlob`]; whether it replaces something is known only later. `None`: no
    /// operation that a SAS can allow.
    pub fn of(method: &Method, level: Level, query: &str) -> Option<Self> {
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

    /// The permissions of which one is needed.
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

    /// What it is about.
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

    /// Whether a service SAS can allow it at all: all of blobs, and the lists of a container.
    pub fn is_within_container(self) -> bool {
        self.level() == Level::Object || matches!(self, Self::ListBlobs | Self::FindBlobs)
    }
}
