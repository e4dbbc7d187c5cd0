mod crashes;
mod lives;
mod twin;

use super::*;
use bytes::Bytes;
use dropmill_azure_wire::blob::{BlockChoice, BlockSource};
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that is set by the test; seconds since 1970.
#[derive(Debug, Default)]
pub struct Hand(pub AtomicI64);

impl dropmill_azure_wire::time::Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

pub fn clock() -> SharedClock {
    Arc::new(Hand(AtomicI64::new(1_000_000)))
}

pub fn any(_: Option<&BlobFacts>) -> Result<(), Refused> {
    Ok(())
}

pub fn any_container(_: &ContainerFacts) -> Result<(), Refused> {
    Ok(())
}

/// Returns bytes that depend on the seed.
pub fn bytes(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect::<Vec<_>>().into()
}

/// Returns bytes to store, as the HTTP interface provides them: long ones in a file.
pub fn incoming(store: &Store, bytes: &Bytes) -> Incoming {
    use std::io::Write;
    let file = if bytes.len() > IN_DATABASE { store.new_file().unwrap() } else { None };
    match file {
        None => Incoming::Bytes(bytes.clone()),
        Some(mut file) => {
            file.file.write_all(bytes).unwrap();
            file.settle().unwrap();
            Incoming::File(file, bytes.len() as u64)
        }
    }
}

pub fn put(store: &Store, container: &str, name: &str, bytes: &Bytes) -> DurableReply<Arc<Blob>> {
    store.put_blob(container, name, incoming(store, bytes), Described::default(), &any)
}

pub fn content(store: &Store, container: &str, name: &str) -> Result<Vec<u8>, Refused> {
    let blob = store.blob(container, name).durable_blocking()?;
    let mut reading = store.read(&blob.body, 0, blob.length());
    let mut bytes = vec![];
    while reading.left() > 0 {
        bytes.extend_from_slice(&reading.next(10_000).map_err(Refused::Failed)?);
    }
    Ok(bytes)
}

pub fn names(store: &Store, container: &str) -> Vec<String> {
    let listing = Listing { limit: 10_000, ..Listing::default() };
    let page = store.blobs(container, &listing).durable_blocking().unwrap();
    page.entries.into_iter().map(|(name, _)| name).collect()
}

/// Returns the number of files with long contents.
pub fn files(folder: &Path) -> usize {
    fs::read_dir(folder.join("contents")).unwrap().count()
}

/// Counts rows directly in the database.
pub fn count(folder: &Path, table: &str) -> i64 {
    let database = rusqlite::Connection::open(folder.join("blobs.db")).unwrap();
    database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

pub fn until_idle(store: &Store) {
    store.disk.as_ref().unwrap().queue.until_idle();
}

pub fn choose(source: BlockSource, id: &str) -> BlockChoice {
    BlockChoice { source, id: id.into() }
}
