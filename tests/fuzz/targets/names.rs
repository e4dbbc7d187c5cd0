//! Names are keys and never paths: a blob is found under its own name only, and a service on disk changes
//! nothing outside of its folder.
#![no_main]

use axum::body::Body;
use dropmill_azure_wire::{
    sign::{Scheme, SharedKey},
    time::{Clock, WallClock},
    uri::{decode, encode, encode_path},
};
use dropmill_fuzz::{
    reply::{Reply, send},
    world::{World, in_virtual_time},
};
use dropmill_local_azure::{
    runner::{Pretend, FakeRunner, FakeSettings},
    service::{Durability, LocalAzure, RunnerChoice, ServiceSettings},
};
use http::Request;
use libfuzzer_sys::fuzz_target;
use std::{cell::OnceCell, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A service on disk, shared by all inputs: starting one for each would be slow, and names must not affect
/// each other anyway.
struct Fixture {
    /// Contains only `state`, the folder of the service.
    folder: TempDir,
    runtime: Runtime,
    service: LocalAzure,
}

thread_local! {
    static FIXTURE: OnceCell<Fixture> = const { OnceCell::new() };
}

// The first line is the name of the container, the rest the name of the blob.
fuzz_target!(|text: &str| {
    let (container, name) = text.split_once('\n').unwrap_or(("", text));
    assert_eq!(decode(&encode(name)), name);
    assert_eq!(decode(&encode_path(name)), name);
    FIXTURE.with(|fixture| {
        let fixture = fixture.get_or_init(Fixture::open);
        fixture.runtime.block_on(fixture.check(container, name));
        let beside = std::fs::read_dir(fixture.folder.path()).expect("the folder is there").count();
        assert_eq!(beside, 1, "{name:?} created a file outside of the service's folder");
        fixture.check_folder();
    });
    in_virtual_time(ids(name));
});

/// Checks that ids of jobs and pools are either stored unchanged or rejected.
async fn ids(name: &str) {
    let world = World::open();
    for kind in ["jobs", "pools"] {
        let body = serde_json::json!({
            "id": name,
            "vmSize": "a1",
            "poolInfo": {"poolId": "p"},
            "virtualMachineConfiguration": {"imageReference": {}, "nodeAgentSKUId": "x"},
        });
        let made = world.batch_text("POST", kind, &body.to_string()).await.status == 201;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(!made || name.bytes().all(plain), "{name:?}");
        if !name.is_empty() {
            let found = world.batch_text("GET", &format!("{kind}/{}", encode(name)), "").await.status;
            assert_eq!(found == 200, made, "{kind} {name:?}: {found}");
        }
    }
}

impl Fixture {
    fn open() -> Self {
        let folder = dropmill_fuzz::scratch();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut settings = ServiceSettings::at(folder.path().join("state"));
        settings.durability = Durability::Process;
        let make = RunnerChoice::Custom(Box::new(|reports, door| {
            let settings = FakeSettings {
                script: Arc::new(|_| Pretend::default()),
                boot: Arc::new(|_| Duration::from_secs(1)),
            };
            FakeRunner::start(settings, Arc::new(WallClock), reports, door)
        }));
        let service = {
            let _inside = runtime.enter();
            LocalAzure::open(settings, Arc::new(WallClock), make).expect("a service on a disk")
        };
        let fixture = Self { folder, runtime, service };
        let made = fixture.runtime.block_on(fixture.blob("PUT", "con?restype=container", b""));
        assert_eq!(made.status, 201);
        fixture
    }

    async fn blob(&self, method: &str, target: &str, body: &[u8]) -> Reply {
        let access = self.service.connection().blob;
        let key = SharedKey::new(&access.account, &access.key).expect("the service's key");
        let request = Request::builder().method(method).uri(format!("http://blob/local/{target}"));
        let request = request.header("x-ms-blob-type", "BlockBlob").body(Body::from(body.to_vec()));
        let mut request = request.expect("an encoded target is a URL");
        key.authorize(Scheme::Storage, &mut request, WallClock.now());
        send(self.service.blob_router(), request).await
    }

    async fn check(&self, container: &str, name: &str) {
        let path = encode_path(name);
        // Sometimes long enough to be stored in a separate file.
        let content = name.repeat(if name.len() % 16 == 0 { 4096 } else { 1 });
        let put = self.blob("PUT", &format!("con/{path}"), content.as_bytes()).await;
        if put.status == 201 {
            let read = self.blob("GET", &format!("con/{path}"), b"").await;
            assert_eq!((read.status.as_u16(), &*read.body), (200, content.as_bytes()), "{name:?}");
            let deleted = self.blob("DELETE", &format!("con/{path}"), b"").await;
            assert_eq!(deleted.status, 202, "{name:?}");
        }
        let list = self.blob("GET", "con?restype=container&comp=list", b"").await;
        let list = dropmill_azure_wire::blob::BlobList::read(&list.body).expect("a list");
        assert_eq!(list.blobs().count(), 0, "{name:?} left a blob behind");
        // The name of a container is either stored unchanged or rejected.
        let target = format!("{}?restype=container", encode(container));
        let is_made = self.blob("PUT", &target, b"").await.status == 201;
        if is_made {
            assert!(
                container.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                "{container:?}"
            );
            assert_eq!(self.blob("DELETE", &target, b"").await.status, 202, "{container:?}");
        }
    }

    /// Checks that all files in the service's folder have names that the service chose, not a client.
    fn check_folder(&self) {
        let state = self.folder.path().join("state");
        let known =
            ["lock", "boot", "keys.json", "batch.db", "batch.db-wal", "batch.db-shm", "blobs", "nodes"];
        for found in names_in(&state) {
            assert!(known.contains(&&*found), "{found}");
        }
        for found in names_in(&state.join("blobs")) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            assert!(found.len() < 40 && found.bytes().all(plain), "{found}");
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
