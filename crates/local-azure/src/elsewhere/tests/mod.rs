//! Tests downloads and uploads over real connections on loopback, with short timeouts of their own.

mod downloads;
mod server;
mod storage;

use super::{Doors, Limits};
use crate::orders::{BlobAccess, DoorError, FileToStore, GoOn};
use dropmill_azure_wire::blob::FileMetadata;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

/// The access of a service that only records its calls.
#[derive(Default)]
struct OwnDoor(Mutex<Vec<String>>);

impl OwnDoor {
    fn note(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

impl BlobAccess for OwnDoor {
    fn fetch(&self, url: &str, to: &Path, _: GoOn<'_>) -> Result<FileMetadata, DoorError> {
        self.note(&format!("fetch {url}"));
        fs::write(to, "own").unwrap();
        Ok(FileMetadata::default())
    }
    fn list(&self, container_url: &str, _: &str, _: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        self.note(&format!("list {container_url}"));
        Ok(vec![])
    }
    fn store(&self, container_url: &str, _: &[FileToStore], _: GoOn<'_>) -> Result<(), DoorError> {
        self.note(&format!("store {container_url}"));
        Ok(())
    }
    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        self.note(&format!("fetch {url}"));
        Ok(vec![])
    }
    fn store_bytes(&self, container_url: &str, _: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        self.note(&format!("store {container_url}"));
        Ok(())
    }
}

/// Doors of a service at `http://127.0.0.1:1/acc`, where no process listens, and a folder for files.
struct Rig {
    doors: Doors,
    own: Arc<OwnDoor>,
    folder: tempfile::TempDir,
}

impl Rig {
    /// Creates it with short delays and five attempts, as in the defaults.
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits =
            Limits { delays: vec![Duration::ZERO; 4], longest_delay: Duration::ZERO, ..Limits::default() };
        change(&mut limits);
        let own = Arc::new(OwnDoor::default());
        let doors = Doors::new(own.clone(), "http://127.0.0.1:1/acc", limits);
        Self { doors, own, folder: tempfile::tempdir().unwrap() }
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    /// Downloads an address; returns its content.
    fn fetch(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        let fetched = self.doors.fetch(url, &self.place(), &|| true);
        assert_eq!(fetched.is_ok(), self.place().exists(), "there is a file if and only if it is whole");
        fetched.map(|_| fs::read(self.place()).unwrap())
    }

    /// Downloads an address, which must fail; returns the error.
    fn fails(&self, url: &str) -> DoorError {
        let error = self.fetch(url).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        error
    }

    fn own_calls(&self) -> Vec<String> {
        self.own.0.lock().unwrap().clone()
    }
}
