//! The way from nodes to blobs, without a socket: the same URLs, the same SAS, the same checks.

use super::{
    Inner,
    authorize::{Rights, sas_rights},
    store::{IN_DATABASE, Incoming, Refused},
    stored::{Blob, ContentHeaders, Piece},
};
use crate::orders::{BlobDoor, DoorError};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dropmill_azure_wire::{
    blob::Metadata, etag::ETag, sas::Action, secret::without_query, time::Timestamp, uri::decode,
};
use md5::{Digest, Md5};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// The door of one service.
pub struct Door(pub Arc<Inner>);

/// What a URL of ours names.
struct Named {
    container: String,
    blob: String,
    query: String,
}

impl Door {
    fn named(&self, url: &str) -> Result<Named, DoorError> {
        let shown = without_query(url);
        let rest = url
            .strip_prefix(&self.0.endpoint)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| DoorError::Denied(format!("{shown} is not an address of this service")))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (container, blob) = path.split_once('/').unwrap_or((path, ""));
        Ok(Named {
            container: decode(container).into_owned(),
            blob: decode(blob).into_owned(),
            query: query.to_owned(),
        })
    }

    fn rights(&self, named: &Named, blob: &str, action: Action) -> Result<Rights, DoorError> {
        sas_rights(&self.0, &named.query, &named.container, blob, action).map_err(|refused| {
            let what =
                if blob.is_empty() { named.container.clone() } else { format!("{}/{blob}", named.container) };
            DoorError::Denied(format!("{what}: {}: {}", refused.error.code, refused.error.text()))
        })
    }

    fn readable(&self, url: &str) -> Result<Arc<Blob>, DoorError> {
        let named = self.named(url)?;
        self.rights(&named, &named.blob, Action::ReadBlob)?;
        self.0.store.blob(&named.container, &named.blob).map_err(|refused| not_there(&named, refused))
    }

    fn pour(&self, blob: &Blob, to: &mut dyn Write) -> Result<u64, DoorError> {
        let mut written = 0;
        for piece in &blob.pieces {
            let mut offset = 0;
            while offset < piece.length {
                let bytes = self
                    .0
                    .store
                    .read(piece, offset, CHUNK)
                    .map_err(|error| DoorError::Other(error.to_string()))?;
                if bytes.is_empty() {
                    return Err(DoorError::Other(
                        "a content of the blob is shorter than it should be".into(),
                    ));
                }
                to.write_all(&bytes).map_err(|error| DoorError::Local(error.to_string()))?;
                offset += bytes.len() as u64;
            }
            written += offset;
        }
        Ok(written)
    }

    /// Puts contents under names; waits once for all.
    fn put_all(
        &self,
        container_url: &str,
        contents: impl Iterator<Item = Result<(String, Incoming, String), DoorError>>,
    ) -> Result<(), DoorError> {
        let named = self.named(container_url)?;
        let mut tickets = vec![];
        for content in contents {
            let (name, bytes, md5) = content?;
            let rights = self.rights(&named, &name, Action::CreateBlob)?;
            let condition = |found: Option<&Blob>| match found {
                Some(_) if !rights.may_replace() => Err(Refused::BlobExists),
                _ => Ok(()),
            };
            let put = self.0.store.put_blob(&named.container, &name, bytes, fresh(md5), &condition);
            let (blob, ticket) = put.map_err(|refused| match refused {
                Refused::BlobExists => {
                    DoorError::Denied(format!("{name} exists, and the SAS does not allow to replace it"))
                }
                other => not_there(&named, other),
            })?;
            tickets.push((blob, ticket));
        }
        for (blob, ticket) in tickets {
            ticket.durable_blocking().map_err(|error| DoorError::Other(error.to_string()))?;
            self.0.store.settled(&blob.pieces);
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> Result<(Incoming, String), DoorError> {
        let local = |error: io::Error| DoorError::Local(format!("{}: {error}", path.display()));
        let mut file = File::open(path).map_err(local)?;
        let length = file.metadata().map_err(local)?.len();
        if length <= IN_DATABASE as u64 {
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            file.take(IN_DATABASE as u64 + 1).read_to_end(&mut bytes).map_err(local)?;
            let md5 = STANDARD.encode(Md5::digest(&bytes));
            return Ok((Incoming::Bytes(bytes.into()), md5));
        }
        let Some((id, to)) = self.0.store.new_file() else {
            let bytes = fs::read(path).map_err(local)?;
            let md5 = STANDARD.encode(Md5::digest(&bytes));
            return Ok((Incoming::Bytes(bytes.into()), md5));
        };
        let kept = |error: io::Error| DoorError::Other(format!("keep {}: {error}", path.display()));
        let mut copy = File::create_new(&to).map_err(kept)?;
        let (mut hash, mut length, mut buffer) = (Md5::new(), 0u64, vec![0; CHUNK]);
        loop {
            let read = file.read(&mut buffer).map_err(local)?;
            if read == 0 {
                return Ok((Incoming::File { id, path: to, length }, STANDARD.encode(hash.finalize())));
            }
            hash.update(&buffer[..read]);
            copy.write_all(&buffer[..read]).map_err(kept)?;
            length += read as u64;
        }
    }
}

/// A blob of which only its MD5 is known; the store fills in the rest.
fn fresh(md5: String) -> Blob {
    Blob {
        etag: ETag::new(""),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
        headers: ContentHeaders { md5: Some(md5), ..ContentHeaders::default() },
        metadata: Metadata::new(),
        pieces: Vec::<Piece>::new(),
        copied: None,
    }
}

fn not_there(named: &Named, refused: Refused) -> DoorError {
    match refused {
        Refused::NoContainer => DoorError::NotFound(format!("container {}", named.container)),
        Refused::NoBlob => DoorError::NotFound(format!("blob {}/{}", named.container, named.blob)),
        other => DoorError::Other(format!("{other:?}")),
    }
}

impl BlobDoor for Door {
    fn fetch(&self, url: &str, to: &Path) -> Result<u64, DoorError> {
        let blob = self.readable(url)?;
        let mut file =
            File::create(to).map_err(|error| DoorError::Local(format!("{}: {error}", to.display())))?;
        self.pour(&blob, &mut file)
    }

    fn list(&self, container_url: &str, prefix: &str) -> Result<Vec<String>, DoorError> {
        let named = self.named(container_url)?;
        self.rights(&named, "", Action::ListBlobs)?;
        let (blobs, _) = self
            .0
            .store
            .blobs(&named.container, prefix, "", "", usize::MAX)
            .map_err(|refused| not_there(&named, refused))?;
        Ok(blobs.into_iter().map(|(name, _)| name).collect())
    }

    fn store(&self, container_url: &str, files: &[(String, PathBuf)]) -> Result<(), DoorError> {
        self.put_all(
            container_url,
            files.iter().map(|(name, path)| self.file(path).map(|(bytes, md5)| (name.clone(), bytes, md5))),
        )
    }

    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        let blob = self.readable(url)?;
        let mut bytes = vec![];
        self.pour(&blob, &mut bytes)?;
        Ok(bytes)
    }

    fn store_bytes(&self, container_url: &str, files: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        self.put_all(
            container_url,
            files.iter().map(|(name, bytes)| {
                let md5 = STANDARD.encode(Md5::digest(bytes));
                Ok((name.clone(), Incoming::Bytes(Bytes::copy_from_slice(bytes)), md5))
            }),
        )
    }
}
