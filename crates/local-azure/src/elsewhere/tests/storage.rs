//! Tests containers of another account: of a second local service, over sockets, and of a misbehaving server.

use super::{
    server::{Server, answer},
    *,
};
use crate::{
    blob::{BlobService, BlobSettings},
    durability::Durability,
};
use dropmill_azure_wire::{
    sas::{Grant, Permissions},
    sign::{Scheme, SharedKey},
    time::{Clock, WallClock, parse_iso},
};
use std::{
    net::SocketAddr,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};
use tokio::sync::oneshot;
use tower::ServiceExt;

/// The key of the other account, in base64.
const KEY: &str = "b3RoZXI=";

/// A Blob service of another account on its own port, with a container `box`.
struct Other {
    address: SocketAddr,
    service: BlobService,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Other {
    fn start() -> Self {
        let (report, reports) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let settings = BlobSettings {
                    state_dir: None,
                    durability: Durability::Process,
                    account: "other".into(),
                    key: KEY.into(),
                    endpoint: format!("http://{address}/other"),
                    allow_https_only_sas: false,
                };
                let service = BlobService::open(settings, Arc::new(WallClock)).unwrap();
                let router = service.router();
                report.send((address, service)).unwrap();
                tokio::select! {
                    served = axum::serve(listener, router).into_future() => served.unwrap(),
                    _ = ended => {}
                }
            });
        };
        let thread = std::thread::spawn(serve);
        let (address, service) = reports.recv().unwrap();
        let other = Self { address, service, end: Some(end), thread: Some(thread) };
        other.make_container();
        other
    }

    /// Creates `box` with a client request.
    fn make_container(&self) {
        let target = format!("http://{}/other/box?restype=container", self.address);
        let mut request = http::Request::put(target).body(axum::body::Body::empty()).unwrap();
        key().authorize(Scheme::Storage, &mut request, WallClock.now());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(self.service.router().oneshot(request)).unwrap();
        assert_eq!(answer.status(), 201);
    }

    fn url(&self, container: &str, permissions: Permissions) -> String {
        let sas = Grant::to_container(container, permissions, parse_iso("2100-01-01").unwrap()).sign(&key());
        format!("http://{}/other/{container}?{}", self.address, sas.expose())
    }
}

fn key() -> SharedKey {
    SharedKey::new("other", &KEY.into()).unwrap()
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().unwrap().join();
        self.service.close();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Returns all permissions that nodes need.
fn all() -> Permissions {
    Permissions::READ | Permissions::LIST | Permissions::CREATE | Permissions::WRITE
}

impl Rig {
    fn file(&self, name: &str, content: &[u8]) -> FileToStore {
        let path =
            self.folder.path().join("outputs").join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        FileToStore { name: name.into(), path, facts: FileMetadata::default() }
    }
}

#[test]
fn files_are_uploaded_to_another_account_and_downloaded() {
    let (rig, other) = (Rig::with(|limits| (limits.block_bytes, limits.page) = (4, 2)), Other::start());
    let container = other.url("box", all());
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_764_475_200, 5);
    let facts = FileMetadata { mode: Some(0o640), modified: Some(modified), left_out_bytes: 0 };
    let names = ["a b/\u{e9}?#%.txt", "long", "longer", "none", "one"];
    let contents: [&[u8]; 5] = [b"xy", b"12345", b"0123456789ab", b"", b"1"];
    let files: Vec<_> = names
        .iter()
        .zip(contents)
        .map(|(name, content)| FileToStore { facts, ..rig.file(name, content) })
        .collect();
    rig.doors.store(&container, &files, &|| true).unwrap();
    // Once more, replacing the existing blobs.
    rig.doors.store(&container, &files, &|| true).unwrap();
    assert_eq!(rig.doors.list(&container, "", &|| true).unwrap(), names);
    assert_eq!(rig.doors.list(&container, "lon", &|| true).unwrap(), ["long", "longer"]);
    assert_eq!(rig.doors.list(&container, "x", &|| true).unwrap(), [""; 0]);
    for (name, content) in names.iter().zip(contents) {
        let url = super::super::decide::of_container(&container, name, "").unwrap();
        let found = rig.doors.fetch(url.as_str(), &rig.place(), &|| true).unwrap();
        assert_eq!((fs::read(rig.place()).unwrap().as_slice(), found), (content, facts), "{name}");
    }
    assert!(rig.own_calls().is_empty());
}

#[test]
fn a_missing_or_forbidden_container_has_its_own_error() {
    let (rig, other) = (Rig::with(|limits| limits.block_bytes = 4), Other::start());
    let short = [rig.file("short", b"1")];
    let long = [rig.file("long", b"12345")];
    let kind = |outcome: Result<(), DoorError>| match outcome.unwrap_err() {
        DoorError::NotFound(_) => "not found",
        DoorError::Denied(_) => "denied",
        error => panic!("{error}"),
    };
    let forged = other.url("box", all()).replace("sig=", "sig=x");
    for (container, expected) in [
        (other.url("none", all()), "not found"),
        (other.url("box", Permissions::FIND), "denied"),
        (forged, "denied"),
    ] {
        assert_eq!(kind(rig.doors.list(&container, "", &|| true).map(drop)), expected, "{container}");
        assert_eq!(kind(rig.doors.store(&container, &short, &|| true)), expected, "{container}");
        assert_eq!(kind(rig.doors.store(&container, &long, &|| true)), expected, "{container}");
    }
}

#[test]
fn a_retried_upload_is_complete() {
    let rig = Rig::new();
    let server = Server::start(|path, number| match (path, number) {
        ("/c/a?sv=2018-03-28&sig=secret", 0 | 1) => answer(503, &["x-ms-error-code: ServerBusy"], b""),
        ("/c/a?sv=2018-03-28&sig=secret" | "/public/a", _) => answer(201, &[], b""),
        _ => answer(500, &[], b""),
    });
    let files = [rig.file("a", b"content")];
    rig.doors.store(&server.url("/c?sv=2018-03-28&sig=secret"), &files, &|| true).unwrap();
    rig.doors.store(&server.url("/public"), &files, &|| true).unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[0], requests[2]);
    for header in [
        "content-length: 7\r\n",
        "content-type: application/octet-stream\r\n",
        "x-ms-blob-content-type: application/octet-stream\r\n",
        "x-ms-blob-type: BlockBlob\r\n",
        "content-md5: mgNkuembtIDdJeHwKEyFVQ==\r\n",
    ] {
        assert!(requests[0].contains(header), "{header}: {}", requests[0]);
    }
    // The version of the SAS counts.
    assert!(!requests[0].contains("x-ms-version") && requests[3].contains("x-ms-version: 2025-01-05"));
    let error = rig.doors.store(&server.url("/other?sig=secret"), &files, &|| true).unwrap_err();
    assert!(error.to_string().ends_with("/other/a: the server responds with 500"), "{error}");
    assert_eq!(server.requests().len(), 4 + 5);
}

#[test]
fn an_invalid_or_endless_list_is_an_error() {
    let rig = Rig::with(|limits| (limits.page_bytes, limits.names_bytes) = (1000, 200));
    let page =
        "<?xml version=\"1.0\"?><EnumerationResults><Blobs /><NextMarker>m</NextMarker></EnumerationResults>";
    let named = |name: &str, number: usize| {
        let properties = "<Last-Modified>Mon, 01 Dec 2025 00:00:00 GMT</Last-Modified><Etag>x</Etag>";
        let blob = format!("<Blob><Name>{name}</Name><Properties>{properties}</Properties></Blob>");
        let next = format!("<NextMarker>{number}</NextMarker>");
        format!("<EnumerationResults><Blobs>{blob}</Blobs>{next}</EnumerationResults>")
    };
    let server = Server::start(move |path, number| match path.split('?').next().unwrap() {
        "/endless" => answer(200, &[], named("a", number).as_bytes()),
        "/dots" => answer(200, &[], named("a/../b", number).as_bytes()),
        "/again" => answer(200, &[], page.as_bytes()),
        "/html" => answer(200, &[], b"<html>"),
        "/long" => answer(200, &[], &[b' '; 2000]),
        _ => answer(302, &["location: /again"], b""),
    });
    for (path, expected) in [
        ("/again", "repeats a page"),
        ("/html", "not a list of blobs"),
        ("/long", "too long"),
        ("/endless", "too many blobs"),
        ("/dots", "a URL cannot contain the blob name \"a/../b\""),
        ("/moved", "the server responds with 302"),
    ] {
        let error = rig.doors.list(&server.url(&format!("{path}?sig=secret")), "p q", &|| true).unwrap_err();
        assert!(matches!(error, DoorError::Other(_)) && error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let target = "GET /again?sig=secret&restype=container&comp=list&prefix=p%20q&marker=m&maxresults=5000 ";
    assert!(server.requests()[1].starts_with(target), "{}", server.requests()[1]);
}

#[test]
fn uploads_stop_between_files_when_the_caller_must_stop() {
    let rig = Rig::new();
    let server = Server::start(|_, _| answer(201, &[], b""));
    let files = [rig.file("a", b"1"), rig.file("b", b"2")];
    let go_on = || server.requests().is_empty();
    let outcome = rig.doors.store(&server.url("/c?sig=x"), &files, &go_on);
    assert_eq!((outcome, server.requests().len()), (Err(DoorError::Stopped), 1));
}

#[test]
fn a_missing_file_or_an_impossible_name_is_an_error() {
    let rig = Rig::new();
    let server = Server::start(|_, _| answer(201, &[], b""));
    let gone = FileToStore { path: "/nowhere/a".into(), ..rig.file("a", b"") };
    let error = rig.doors.store(&server.url("/c"), &[gone], &|| true).unwrap_err();
    assert!(matches!(error, DoorError::Local(_)), "{error}");
    let dots = FileToStore { name: "a/../../d/b".into(), ..rig.file("a", b"") };
    let error = rig.doors.store(&server.url("/c"), &[dots], &|| true).unwrap_err();
    assert!(matches!(error, DoorError::Other(_)), "{error}");
    assert!(server.requests().is_empty());
}
