//! Tests containers, uploads, lists and SAS.

use crate::service::{Answer, Seen, Service, blob_options, key, now, status, with_body};
use dropmill_azure_client::{
    blob::{BlobApi, BlobOptions, FileReads, PutOptions},
    error::BlobError,
};
use dropmill_azure_wire::{
    blob::{BlobItem, BlobList, BlobProperties, Block, BlockList, read_block_choices},
    etag::ETag,
    sas::{Action, SasRequest, verify},
    uri::decode,
};
use dropmill_lifecycle::FailureKind;
use futures_util::FutureExt;
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex},
};

fn blob_refusal(code: u16, error: &'static str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{error}</Code><Message>It is so.\nRequestId:x</Message></Error>"
    );
    with_body(code, &[("x-ms-error-code", error), ("content-type", "application/xml")], body)
}

fn created() -> Answer {
    status(201, &[("etag", "\"0x8D\"")])
}

#[tokio::test]
async fn an_existing_container_is_reported_and_is_not_an_error() {
    for (code, existed) in [(201, false), (409, true)] {
        let service = Service::answering(move |_| match code {
            201 => created(),
            _ => blob_refusal(409, "ContainerAlreadyExists"),
        });
        assert_eq!(service.blob().create_container("c1").await.unwrap(), existed);
        let asked = &service.asked()[0];
        assert_eq!(asked.line(), "PUT /account/c1?restype=container");
        assert_eq!(asked.header("x-ms-version"), "2025-01-05");
    }
    let service = Service::answering(|_| blob_refusal(409, "ContainerBeingDeleted"));
    let error = service.blob().create_container("c1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "create container c1: rejected with 409 ContainerBeingDeleted: It is so. (request req-1)"
    );
    assert_eq!(error.kind(), FailureKind::Transient);
}

#[tokio::test]
async fn containers_and_blobs_are_found_and_deleted() {
    let service = Service::answering(|seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("HEAD", "/account/there") => status(200, &[]),
        ("HEAD", _) => status(404, &[("x-ms-error-code", "ContainerNotFound")]),
        ("DELETE", "/account/there" | "/account/there/b") => status(202, &[]),
        _ => blob_refusal(404, "BlobNotFound"),
    });
    let api = service.blob();
    assert!(api.container_exists("there").await.unwrap());
    assert!(!api.container_exists("gone").await.unwrap());
    api.delete_container("there").await.unwrap();
    api.delete_blob("there", "b").await.unwrap();
    assert!(api.delete_blob("there", "gone").await.unwrap_err().is_not_found());
    assert!(api.delete_container("gone").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn bytes_are_stored_in_one_call_with_their_checksum() {
    let service = Service::answering(|_| created());
    let options = PutOptions {
        only_if_absent: true,
        content_type: Some("text/plain".into()),
        metadata: [("run".to_owned(), "r1".to_owned())].into(),
    };
    let stored = service.blob().put_blob("c", "b.txt", "hello", options).await.unwrap();
    assert_eq!(
        (stored.bytes, stored.md5.as_str(), stored.etag.as_str()),
        (5, "5d41402abc4b2a76b9719d911017c592", "0x8D")
    );
    let asked = &service.asked()[0];
    assert_eq!(asked.line(), "PUT /account/c/b.txt?");
    for (name, value) in [
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
        ("content-length", "5"),
        ("content-type", "text/plain"),
        ("if-none-match", "*"),
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-meta-run", "r1"),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    service.blob().put_blob("c", "empty", "", PutOptions::default()).await.unwrap();
    let asked = &service.asked()[1];
    assert_eq!((asked.header("content-length"), asked.header("if-none-match")), ("0", ""));
}

#[tokio::test]
async fn an_upload_with_a_lost_response_is_ambiguous_only_if_it_must_not_be_repeated() {
    let service = Service::answering(|_| blob_refusal(500, "InternalError"));
    for (only_if_absent, kind) in [(false, FailureKind::Transient), (true, FailureKind::Ambiguous)] {
        let options = PutOptions { only_if_absent, ..Default::default() };
        let error = service.blob().put_blob("c", "b", "x", options).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test]
async fn every_name_reaches_the_service_unchanged() {
    for name in [
        "plain.txt",
        "dir/sub dir/ä€😀.txt",
        "100%.txt",
        "%2e%2e%2F",
        "what?#&=+;,.txt",
        "a/../b",
        "a/./b",
        "..",
        ".",
        "../../etc/passwd",
        "trailing/",
        "//double//",
        "back\\slash",
        "quote\"'<>|*",
        "tab\tnew\nline\u{7f}\u{1b}",
        "\u{202e}gnp.exe",
    ] {
        let service = Service::answering(|_| created());
        let api = service.blob();
        api.put_blob("c", name, "x", PutOptions::default()).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let path = service.asked()[0].path.clone();
        assert_eq!(decode(path.strip_prefix("/account/c/").unwrap()), name);
        // A SAS has the same path.
        let url = api.blob_sas("c", name, "r", now());
        assert!(url.expose().starts_with(&format!("http://service.local:1{path}?")), "{name}");
    }
}

/// A block's id and its bytes.
type Waiting = (String, Vec<u8>);

/// Stores blocks like the service: put, listed while uncommitted, committed.
#[derive(Clone, Default)]
struct BlockStore {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    content: Arc<Mutex<Option<Vec<u8>>>>,
}

impl BlockStore {
    fn answer(&self, seen: &Seen) -> Answer {
        let query = |name| dropmill_azure_wire::uri::value(&seen.query, name).map(|value| value.into_owned());
        match (seen.method.as_str(), query("comp").as_deref()) {
            ("PUT", Some("block")) => {
                self.waiting.lock().unwrap().push((query("blockid").unwrap(), seen.body.to_vec()));
                status(201, &[])
            }
            ("GET", Some("blocklist")) => {
                let waiting = self.waiting.lock().unwrap();
                if waiting.is_empty() {
                    return blob_refusal(404, "BlobNotFound");
                }
                let block = |(id, bytes): &Waiting| Block { id: id.clone(), size_bytes: bytes.len() as u64 };
                let list =
                    BlockList { uncommitted: Some(waiting.iter().map(block).collect()), committed: None };
                with_body(200, &[("content-type", "application/xml")], list.write())
            }
            ("PUT", Some("blocklist")) => {
                let waiting = self.waiting.lock().unwrap();
                let blocks = read_block_choices(&seen.body).unwrap();
                let find = |id: &str| waiting.iter().find(|(known, _)| known == id).unwrap().1.clone();
                *self.content.lock().unwrap() =
                    Some(blocks.iter().flat_map(|block| find(&block.id)).collect());
                created()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn small_blocks(service: &Service, file_reads: FileReads) -> BlobApi {
    let options = blob_options(service.in_process(), "http://service.local:1/account");
    BlobApi::new(BlobOptions { file_reads, longest_in_one_bytes: 100, block_bytes: 64, ..options })
}

fn file(folder: &Path, length: usize) -> (std::path::PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
    let path = folder.join("source.bin");
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

#[tokio::test]
async fn a_file_of_any_length_is_stored_completely_with_either_kind_of_reading() {
    let folder = tempfile::tempdir().unwrap();
    for file_reads in [FileReads::Inline, FileReads::Threads] {
        for length in [0, 1, 100, 101, 128, 129, 1000] {
            let (path, bytes) = file(folder.path(), length);
            let store = BlockStore::default();
            let service = {
                let store = store.clone();
                Service::answering(move |seen| match seen.query.is_empty() {
                    true => {
                        *store.content.lock().unwrap() = Some(seen.body.to_vec());
                        created()
                    }
                    false => store.answer(&seen),
                })
            };
            let stored = small_blocks(&service, file_reads)
                .put_file("c", "b", &path, PutOptions::default())
                .await
                .unwrap();
            assert_eq!(store.content.lock().unwrap().take().as_deref(), Some(&*bytes), "{length}");
            assert_eq!(stored.bytes, length as u64);
            let in_blocks = service.asked().iter().any(|seen| seen.query.contains("blocklist"));
            assert_eq!(in_blocks, length > 100, "{length}");
            if let Some(commit) = service.asked().iter().find(|seen| seen.query == "comp=blocklist") {
                assert_ne!(commit.header("x-ms-blob-content-md5"), "");
            }
        }
    }
}

#[tokio::test]
async fn a_long_file_is_read_while_blocks_are_uploaded() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = file(folder.path(), (3 << 20) + 5);
    let service = Service::answering(|_| created());
    let stored = service.blob().put_file("c", "b", &path, PutOptions::default()).await.unwrap();
    assert_eq!(stored.bytes, bytes.len() as u64);
    assert_eq!(service.asked()[0].body, bytes);
}

#[tokio::test]
async fn at_most_four_blocks_are_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = file(folder.path(), 64 * 20);
    // The number of blocks in flight, and its maximum.
    let (store, counts) = (BlockStore::default(), Arc::new(Mutex::new((0u32, 0u32))));
    let service = {
        let counts = counts.clone();
        Service::answering_later(move |seen| {
            let (store, counts) = (store.clone(), counts.clone());
            async move {
                if seen.query.contains("comp=block&") {
                    let now = counts.lock().unwrap().0 + 1;
                    let most = counts.lock().unwrap().1.max(now);
                    *counts.lock().unwrap() = (now, most);
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    counts.lock().unwrap().0 -= 1;
                }
                store.answer(&seen)
            }
            .boxed()
        })
    };
    small_blocks(&service, FileReads::Inline).put_file("c", "b", &path, PutOptions::default()).await.unwrap();
    assert_eq!(*counts.lock().unwrap(), (0, 4));
}

#[tokio::test]
async fn an_interrupted_upload_continues_with_the_missing_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = file(folder.path(), 64 * 6);
    let (store, broken) = (BlockStore::default(), Arc::new(Mutex::new(true)));
    let service = {
        let (store, broken) = (store.clone(), broken.clone());
        Service::answering(move |seen| {
            let refused = *broken.lock().unwrap() && store.waiting.lock().unwrap().len() == 4;
            if refused && seen.query.contains("comp=block&") {
                return blob_refusal(503, "ServerBusy");
            }
            store.answer(&seen)
        })
    };
    let api = small_blocks(&service, FileReads::Inline);
    let options = PutOptions { only_if_absent: true, ..Default::default() };
    let error = api.put_file("c", "b", &path, options.clone()).await.unwrap_err();
    assert!(error.to_string().starts_with("put block of blob c/b: rejected with 503 ServerBusy"), "{error}");
    assert_eq!(error.kind(), FailureKind::Transient);
    assert!(store.content.lock().unwrap().is_none(), "nothing is committed");
    *broken.lock().unwrap() = false;
    let before = service.asked().len();
    api.put_file("c", "b", &path, options).await.unwrap();
    assert_eq!(store.content.lock().unwrap().as_deref(), Some(&*bytes));
    let sent_again =
        service.asked()[before..].iter().filter(|seen| seen.query.contains("comp=block&")).count();
    assert_eq!(sent_again, 2);
    assert_eq!(service.asked().last().unwrap().header("if-none-match"), "*");
    // Another content has other block ids, so old blocks are not used.
    fs::write(&path, vec![7; 64 * 6]).unwrap();
    api.put_file("c", "b", &path, PutOptions::default()).await.unwrap();
    assert_eq!(store.content.lock().unwrap().as_deref(), Some(&*vec![7; 64 * 6]));
    let ids: BTreeSet<String> = store.waiting.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids.len(), 12);
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_not_stored() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("grows", |path| fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap()),
        ("shrinks", |path| fs::File::options().write(true).open(path).unwrap().set_len(10).unwrap()),
        ("is replaced", |path| {
            fs::write(path.with_extension("new"), b"new").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("is written over", |path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = file(folder.path(), 64 * 20);
        let store = BlockStore::default();
        let service = {
            let (store, path) = (store.clone(), path.clone());
            Service::answering(move |seen| {
                if seen.query.contains("comp=block&") && store.waiting.lock().unwrap().len() == 2 {
                    change(&path);
                }
                store.answer(&seen)
            })
        };
        let api = small_blocks(&service, FileReads::Inline);
        let error = api.put_file("c", "b", &path, PutOptions::default()).await.unwrap_err();
        assert!(matches!(error, BlobError::SourceChanged { .. }), "{what}: {error}");
        assert_eq!((error.kind(), error.failure().code.as_str()), (FailureKind::Transient, "SourceChanged"));
        assert!(store.content.lock().unwrap().is_none(), "{what}");
    }
}

#[tokio::test]
async fn a_deleted_file_that_was_open_is_still_uploaded() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = file(folder.path(), 64 * 4);
    let store = BlockStore::default();
    let service = {
        let (store, path) = (store.clone(), path.clone());
        Service::answering(move |seen| {
            let _ = fs::remove_file(&path);
            store.answer(&seen)
        })
    };
    small_blocks(&service, FileReads::Inline).put_file("c", "b", &path, PutOptions::default()).await.unwrap();
    assert_eq!(store.content.lock().unwrap().as_deref(), Some(&*bytes));
}

#[tokio::test]
async fn only_regular_files_are_uploaded() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::answering(|_| panic!("nothing is sent"));
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap();
    assert!(made.success());
    for (name, kind) in
        [("", "not a regular file"), ("pipe", "not a regular file"), ("missing", "No such file")]
    {
        let path = folder.path().join(name);
        let error = service.blob().put_file("c", "b", &path, PutOptions::default()).await.unwrap_err();
        let failure = error.failure();
        assert!(failure.message.contains(kind), "{}", failure.message);
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Permanent, "SourceUnreadable"));
    }
}

fn page(names: &[&str], next: Option<&str>) -> Answer {
    let blob = |name: &&str| {
        let mut properties = BlobProperties::new(ETag::new("0x1"), now(), 5);
        properties.content_md5 = Some("XUFAKrxLKna5cZ2REBfFkg==".into());
        BlobItem { name: (*name).to_owned(), properties, metadata: None, tags: None }.into()
    };
    let list = BlobList {
        entries: names.iter().map(blob).collect(),
        next_marker: next.map(str::to_owned),
        ..Default::default()
    };
    with_body(200, &[("content-type", "application/xml")], list.write())
}

#[tokio::test]
async fn a_list_of_blobs_is_read_to_its_end() {
    let service = Service::answering(|seen| match seen.query.contains("marker") {
        false => page(&["dir a/1", " odd &<>\u{e4}"], Some("2!m/")),
        // Pages overlap when the container changes between them.
        true => page(&[" odd &<>\u{e4}", "dir a/3"], None),
    });
    let blobs = service.blob().list_blobs("c", "dir a/").await.unwrap();
    let names: Vec<&str> = blobs.iter().map(|blob| blob.name.as_str()).collect();
    assert_eq!(names, ["dir a/1", " odd &<>\u{e4}", "dir a/3"]);
    assert_eq!((blobs[0].size_bytes, blobs[0].md5.as_deref()), (5, Some("5d41402abc4b2a76b9719d911017c592")));
    let queries: Vec<String> = service.asked().iter().map(|seen| seen.query.clone()).collect();
    assert_eq!(
        queries,
        [
            "restype=container&comp=list&include=metadata&prefix=dir%20a%2F",
            "restype=container&comp=list&include=metadata&prefix=dir%20a%2F&marker=2%21m%2F"
        ]
    );
}

#[tokio::test]
async fn a_list_of_blobs_is_read_only_up_to_the_requested_number() {
    let service = Service::answering(|seen| match seen.query.contains("marker") {
        false => page(&["a", "b"], Some("more")),
        true => page(&["c", "d"], Some("and more")),
    });
    for (most, pages) in [(1, 1), (2, 2), (3, 2)] {
        let before = service.asked().len();
        let blobs = service.blob().list_some_blobs("c", "", most).await.unwrap();
        assert!(blobs.len() > most, "more than {most} blobs mean that there are too many");
        assert_eq!(service.asked().len() - before, pages, "pages for {most}");
    }
}

#[tokio::test]
async fn an_endless_or_invalid_list_of_blobs_is_an_error() {
    for (answer, problem) in [
        ((|| page(&["a"], Some("m"))) as fn() -> Answer, "the list has no end after 2 pages"),
        (|| with_body(200, &[], "<NotAList/>"), "EnumerationResults"),
        (|| with_body(200, &[("content-type", "text/html")], "<html>"), "an HTML page"),
        (|| status(200, &[]), "is not valid"),
    ] {
        let service = Service::answering(move |_| answer());
        let error = service.blob().list_blobs("c", "").await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn the_service_accepts_a_sas() {
    let service = Service::answering(|_| created());
    let expires = now().checked_add(std::time::Duration::from_secs(3600)).unwrap();
    let asked = SasRequest {
        container: "c",
        blob: "dir a/ä.txt",
        action: Action::ReadBlob,
        now: now(),
        https: false,
        from: Ipv4Addr::LOCALHOST.into(),
    };
    for url in [
        service.blob().blob_sas("c", "dir a/ä.txt", "r", expires),
        service.blob().container_sas("c", "rl", expires),
    ] {
        let (place, query) = url.expose().split_once('?').unwrap();
        assert!(place.starts_with("http://service.local:1/account/c"), "{place}");
        verify(&key(), query, &asked).unwrap();
        let late = SasRequest { now: expires, ..asked };
        assert!(verify(&key(), query, &late).is_err());
    }
}
