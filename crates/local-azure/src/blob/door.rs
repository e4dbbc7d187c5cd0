//! Access of nodes to blobs without a socket: with the same URLs, SAS and checks, then directly from and to
//! the store. Files are copied, never linked, because a task may write to its files.

use super::{
    Inner,
    address::{Address, inside_url},
    authorize::{HERE, Rights, sas_rights},
    http::answer::Refusal,
    lease,
    store::{
        BlobFacts, ContentHeaders, Described, DurableReply, IN_DATABASE, Incoming, Listing, Reading, Refused,
    },
    sums::{Sums, md5_of},
};
use crate::{
    orders::{BlobAccess, DoorError, FileToStore, GoOn},
    room,
    turns::{Turn, Turns},
};
use bytes::Bytes;
use dropmill_azure_wire::{
    blob::{FileMetadata, Metadata},
    sas::Action,
    secret::shown_url,
};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

/// Bytes copied at a time.
const PART: usize = 1 << 20;
/// Maximum number of bytes of one caller that are in memory and not yet on disk.
const UNWRITTEN: usize = 16 << 20;
/// Files longer than this are copied in turns: more copies at a time would slow each other down, and fill a
/// disk sooner.
const LONG: u64 = 1 << 20;
/// Number of long files copied at the same time.
const COPIES: usize = 2;
/// Number of names listed at a time.
const NAMES: usize = 5000;

/// The blob access of one service.
pub struct Door {
    inner: Arc<Inner>,
    copies: Turns,
}

/// What a URL of this service names, and its query.
struct Named<'a> {
    address: Address,
    query: &'a str,
}

/// Returns the error for a name, without a SAS.
fn denied(address: &Address, refused: &Refusal) -> DoorError {
    DoorError::Denied(format!("{address}: {}: {}", refused.error.code, refused.error.text()))
}

fn failed(address: &Address, refused: Refused) -> DoorError {
    match refused {
        Refused::NoContainer => DoorError::NotFound(format!("container {}", address.container)),
        Refused::NoBlob => DoorError::NotFound(format!("blob {address}")),
        Refused::BlobExists | Refused::NotReplaceable => {
            DoorError::Denied(format!("{address} exists, and the SAS does not allow to replace it"))
        }
        // The owner of the node owns the disk too, so its error is more helpful than "internal error".
        Refused::Failed(error) => DoorError::Other(format!("{address}: {error}")),
        other => {
            let Refusal { error, .. } = other.into();
            DoorError::Other(format!("{address}: {}: {}", error.code, error.text()))
        }
    }
}

fn local(path: &Path) -> impl Fn(io::Error) -> DoorError {
    move |error| DoorError::Local(format!("{}: {error}", path.display()))
}

impl Door {
    /// Creates the access to this service.
    pub fn new(inner: Arc<Inner>) -> Self {
        Self { inner, copies: Turns::new(COPIES) }
    }

    /// Waits for a turn to copy this many bytes, if they are many.
    fn turn(&self, bytes: u64) -> Option<Turn<'_>> {
        (bytes > LONG).then(|| self.copies.take())
    }

    fn named<'a>(&self, url: &'a str) -> Result<Named<'a>, DoorError> {
        let inside = inside_url(&self.inner.endpoint, self.inner.key.account(), url).ok_or_else(|| {
            let shown = shown_url(url);
            let host = shown.split('/').nth(2).unwrap_or_default();
            DoorError::Denied(format!("host {host} is not this service's, or its path names another account"))
        })?;
        let (path, query) = inside.split_once('?').unwrap_or((inside, ""));
        // A container's URL may end in a slash.
        let address = Address::read(path).and_then(|address| address.check().map(|()| address));
        let address = address.map_err(|bad| DoorError::NotFound(format!("{}: {bad}", shown_url(url))))?;
        if address.container.is_empty() {
            return Err(DoorError::NotFound(format!("{} names no container", shown_url(url))));
        }
        Ok(Named { address, query })
    }

    fn rights(&self, address: &Address, query: &str, action: Action) -> Result<Rights, DoorError> {
        let https = self.inner.https;
        sas_rights(&self.inner, query, address, action, HERE, https)
            .map_err(|refused| denied(address, &refused))
    }

    fn readable(&self, url: &str) -> Result<(Reading, FileMetadata), DoorError> {
        let Named { address, query } = self.named(url)?;
        if address.blob.is_empty() {
            return Err(DoorError::NotFound(format!("{address} names a container, not a blob")));
        }
        self.rights(&address, query, Action::ReadBlob)?;
        let blob = self.inner.store.blob(&address.container, &address.blob).durable_blocking();
        let blob = blob.map_err(|refused| failed(&address, refused))?;
        let facts = FileMetadata::from_blob_metadata(&blob.facts.metadata.to_metadata());
        Ok((self.inner.store.read(&blob.body, 0, blob.length()), facts))
    }

    /// Stores contents under names, and waits once for all of them (or for some, if many bytes are pending).
    fn put_all(
        &self,
        container_url: &str,
        contents: impl Iterator<Item = Result<(String, Incoming, String, Metadata), DoorError>>,
    ) -> Result<(), DoorError> {
        let Named { address: of, query } = self.named(container_url)?;
        let settle = |tickets: &mut Vec<(Address, DurableReply<_>)>| {
            let waited = tickets.drain(..).map(|(address, reply)| match reply.durable_blocking() {
                Ok(_) => Ok(()),
                Err(refused) => Err(failed(&address, refused)),
            });
            // It waits for all, even after an error.
            let waited: Vec<_> = waited.collect();
            waited.into_iter().collect()
        };
        let (mut tickets, mut unwritten) = (vec![], 0);
        for content in contents {
            let (blob, bytes, md5, metadata) = content?;
            let address = Address { container: of.container.clone(), blob };
            if address.blob.is_empty() || address.check().is_err() {
                return Err(DoorError::Other(format!(
                    "{address}: the name of a blob must have 1 to 1024 characters"
                )));
            }
            let rights = self.rights(&address, query, Action::CreateBlob)?;
            let clock = self.inner.clock.clone();
            let allow = move |found: Option<&BlobFacts>| match found {
                Some(_) if !rights.may_replace() => Err(Refused::NotReplaceable),
                // An output never names a lease.
                Some(blob) => {
                    lease::allow_write(blob.lease.as_deref(), None, clock.now()).map_err(Refused::BlobLease)
                }
                None => Ok(()),
            };
            if let Incoming::Bytes(bytes) = &bytes {
                unwritten += bytes.len();
            }
            let headers = ContentHeaders { md5: Some(md5.into()), ..ContentHeaders::default() };
            let described = Described { headers, metadata, ..Described::default() };
            let reply =
                self.inner.store.put_blob(&address.container, &address.blob, bytes, described, &allow);
            tickets.push((address, reply));
            if unwritten > UNWRITTEN {
                settle(&mut tickets)?;
                unwritten = 0;
            }
        }
        settle(&mut tickets)
    }

    /// Prepares a file to be stored: short ones in memory, long ones copied into the store.
    fn file(&self, path: &Path) -> Result<(Incoming, String), DoorError> {
        let mut from = File::open(path).map_err(local(path))?;
        let length = from.metadata().map_err(local(path))?.len();
        let _turn = self.turn(length);
        room::check(path, length).map_err(local(path))?;
        let mut bytes = vec![];
        Read::by_ref(&mut from).take(IN_DATABASE as u64 + 1).read_to_end(&mut bytes).map_err(local(path))?;
        let kept =
            |error: &dyn std::fmt::Display| DoorError::Other(format!("keep {}: {error}", path.display()));
        let new_file = match bytes.len() > IN_DATABASE {
            true => self.inner.store.new_file().map_err(|error| kept(&error))?,
            false => None,
        };
        let Some(mut to) = new_file else {
            from.read_to_end(&mut bytes).map_err(local(path))?;
            let md5 = md5_of(&bytes);
            return Ok((Incoming::Bytes(bytes.into()), md5));
        };
        let (mut sums, mut length) = (Sums::wanting(true, false), 0);
        while !bytes.is_empty() {
            sums.update(&bytes);
            to.file.write_all(&bytes).map_err(|error| kept(&error))?;
            length += bytes.len() as u64;
            bytes.clear();
            Read::by_ref(&mut from).take(PART as u64).read_to_end(&mut bytes).map_err(local(path))?;
        }
        to.settle().map_err(|error| kept(&error))?;
        Ok((Incoming::File(to, length), sums.made().md5.unwrap_or_default()))
    }
}

/// Writes the content; the kernel copies a file of the store.
fn pour(mut reading: Reading, to: &mut File, path: &Path) -> Result<u64, DoorError> {
    let length = reading.left();
    let unread = |error: super::StoreError| DoorError::Other(error.to_string());
    if let Some(file) = reading.whole_file().map_err(unread)? {
        let copied = io::copy(&mut file.take(length), to).map_err(local(path))?;
        return match copied == length {
            true => Ok(length),
            false => Err(DoorError::Other(format!("expected {length} bytes of the blob, found {copied}"))),
        };
    }
    while reading.left() > 0 {
        to.write_all(&reading.next(PART).map_err(unread)?).map_err(local(path))?;
    }
    Ok(length)
}

impl BlobAccess for Door {
    fn fetch(&self, url: &str, to: &Path, _go_on: GoOn<'_>) -> Result<FileMetadata, DoorError> {
        let (reading, facts) = self.readable(url)?;
        let _turn = self.turn(reading.left());
        room::check(to.parent().unwrap_or(to), reading.left()).map_err(local(to))?;
        let mut file = File::create(to).map_err(local(to))?;
        pour(reading, &mut file, to).map(|_| facts)
    }

    fn list(&self, container_url: &str, prefix: &str, _go_on: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        let Named { address, query } = self.named(container_url)?;
        let address = Address { blob: String::new(), ..address };
        self.rights(&address, query, Action::ListBlobs)?;
        let (mut names, mut from) = (vec![], String::new());
        loop {
            let listing = Listing { prefix, delimiter: "", from: &from, limit: NAMES };
            let page = self.inner.store.blobs(&address.container, &listing).durable_blocking();
            let page = page.map_err(|refused| failed(&address, refused))?;
            names.extend(page.entries.into_iter().map(|(name, _)| name));
            match page.next {
                Some(next) => from = next,
                None => return Ok(names),
            }
        }
    }

    fn store(&self, container_url: &str, files: &[FileToStore], _go_on: GoOn<'_>) -> Result<(), DoorError> {
        let file = |file: &FileToStore| {
            let (bytes, md5) = self.file(&file.path)?;
            Ok((file.name.clone(), bytes, md5, file.facts.metadata()))
        };
        self.put_all(container_url, files.iter().map(file))
    }

    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        let (mut reading, _) = self.readable(url)?;
        let mut bytes = vec![];
        while reading.left() > 0 {
            bytes
                .extend_from_slice(&reading.next(PART).map_err(|error| DoorError::Other(error.to_string()))?);
        }
        Ok(bytes)
    }

    fn store_bytes(&self, container_url: &str, files: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        let content = |(name, bytes): &(String, Vec<u8>)| {
            let content = Incoming::Bytes(Bytes::copy_from_slice(bytes));
            Ok((name.clone(), content, md5_of(bytes), Metadata::new()))
        };
        self.put_all(container_url, files.iter().map(content))
    }
}
