//! Tests the life cycle of contents, and what is stored.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn opened(folder: &Path) -> Store {
    Store::open(folder, Durability::Power, clock()).unwrap()
}

fn with_container(folder: &Path) -> Store {
    let store = opened(folder);
    store.create_container("con", Metadata::new()).durable_blocking().unwrap();
    store
}

#[test]
fn contents_of_every_length_are_kept_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    let lengths = [0, 1, 255, 256, 257, 4096, IN_DATABASE - 1, IN_DATABASE, IN_DATABASE + 1, 1_000_000];
    for length in lengths {
        put(&store, "con", &length.to_string(), &bytes(length as u64, length)).durable_blocking().unwrap();
    }
    let before: Vec<_> =
        lengths.iter().map(|l| store.blob("con", &l.to_string()).durable_blocking().unwrap()).collect();
    drop(store);
    let store = opened(folder.path());
    for (length, before) in lengths.into_iter().zip(before) {
        assert_eq!(
            content(&store, "con", &length.to_string()).unwrap(),
            bytes(length as u64, length),
            "{length}"
        );
        assert_eq!(store.blob("con", &length.to_string()).durable_blocking().unwrap(), before);
    }
    // Two of the lengths are stored in files, four in rows.
    assert_eq!((files(folder.path()), count(folder.path(), "contents")), (2, 4));
}

#[test]
fn properties_of_containers_and_blobs_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path());
    let metadata = Metadata::from([("owner".to_owned(), "é \"<&>".to_owned())]);
    store.create_container("con", Metadata::new()).durable_blocking().unwrap();
    store.set_container_metadata("con", metadata.clone(), &any_container).durable_blocking().unwrap();
    let described = Described {
        headers: ContentHeaders {
            content_type: Some("text/plain".into()),
            encoding: Some("gzip".into()),
            language: Some("en".into()),
            disposition: Some("inline".into()),
            cache_control: Some("no-cache".into()),
            md5: Some("rL0Y20zC+Fzt72VPzMSk2A==".into()),
        },
        metadata: metadata.clone(),
        tier: Some("Cool".into()),
        copied: Some(Box::new(Copied {
            id: "1".into(),
            source: "http://h/x".into(),
            at: Timestamp::UNIX_EPOCH,
        })),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        kind: Kind::Block,
    };
    store.put_blob("con", "a", Incoming::Bytes(bytes(1, 9)), described, &any).durable_blocking().unwrap();
    store.change_blob("con", "a", &any, |facts| facts.tier = Some("Cold".into())).durable_blocking().unwrap();
    let (container, blob) =
        (store.container("con").durable_blocking(), store.blob("con", "a").durable_blocking());
    assert_eq!(container.as_ref().unwrap().metadata, metadata);
    assert_eq!(blob.as_ref().unwrap().facts.tier.as_deref(), Some("Cold"));
    drop(store);
    let store = opened(folder.path());
    assert_eq!(store.container("con").durable_blocking(), container);
    assert_eq!(store.blob("con", "a").durable_blocking(), blob);
}

#[test]
fn replaced_and_deleted_contents_are_removed_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    for round in 0..3 {
        put(&store, "con", "long", &bytes(round, 100_000)).durable_blocking().unwrap();
        put(&store, "con", "short", &bytes(round, 1_000)).durable_blocking().unwrap();
    }
    until_idle(&store);
    assert_eq!((files(folder.path()), count(folder.path(), "contents")), (1, 1));
    store.delete_blob("con", "long", &any).durable_blocking().unwrap();
    store.delete_blob("con", "short", &any).durable_blocking().unwrap();
    until_idle(&store);
    assert_eq!((files(folder.path()), count(folder.path(), "contents")), (0, 0));
}

#[test]
fn a_container_is_deleted_with_its_content_and_its_name_is_free_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    for number in 0..1_200 {
        drop(put(&store, "con", &format!("s{number}"), &bytes(number, 300)));
    }
    put(&store, "con", "long", &bytes(0, 100_000)).durable_blocking().unwrap();
    store
        .put_block("con", "blocks", "AAAA", Incoming::Bytes(bytes(0, 300)), &any)
        .durable_blocking()
        .unwrap();
    store.delete_container("con", &any_container).durable_blocking().unwrap();
    assert_eq!(store.blob("con", "long").durable_blocking(), Err(Refused::NoContainer));
    store.create_container("con", Metadata::new()).durable_blocking().unwrap();
    assert_eq!(names(&store, "con"), Vec::<String>::new());
    put(&store, "con", "new", &bytes(1, 1_000)).durable_blocking().unwrap();
    until_idle(&store);
    let rows = ["containers", "blobs", "blocks", "contents"].map(|table| count(folder.path(), table));
    assert_eq!((rows, files(folder.path())), ([1, 1, 0, 1], 0));
}

#[test]
fn a_blob_deleted_during_a_read_can_be_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    let (long, short) = (bytes(1, 200_000), bytes(2, 5_000));
    for (id, part) in [("AAAA", &long), ("BBBB", &short), ("CCCC", &long)] {
        store.put_block("con", "b", id, incoming(&store, part), &any).durable_blocking().unwrap();
    }
    let choices = ["AAAA", "BBBB", "CCCC"].map(|id| choose(BlockSource::Latest, id));
    let blob =
        store.put_block_list("con", "b", &choices, Described::default(), &any).durable_blocking().unwrap();
    let mut reading = store.read(&blob.body, 0, blob.length());
    drop(blob);
    let mut read = reading.next(1_000).unwrap().to_vec();
    store.delete_blob("con", "b", &any).durable_blocking().unwrap();
    until_idle(&store);
    assert_eq!((files(folder.path()), count(folder.path(), "contents")), (2, 1));
    while reading.left() > 0 {
        read.extend_from_slice(&reading.next(7_000).unwrap());
    }
    assert_eq!(read, [long.clone(), short, long].concat());
    drop(reading);
    until_idle(&store);
    assert_eq!((files(folder.path()), count(folder.path(), "contents")), (0, 0));
}

#[test]
fn an_aborted_upload_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    let upload = incoming(&store, &bytes(1, 100_000));
    assert_eq!(files(folder.path()), 1);
    drop(upload);
    let refused =
        store.put_blob("none", "b", incoming(&store, &bytes(1, 100_000)), Described::default(), &any);
    assert_eq!(refused.durable_blocking().unwrap_err(), Refused::NoContainer);
    until_idle(&store);
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn a_copy_shares_its_bytes_and_is_kept_when_its_source_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    for (name, length) in [("long", 100_000), ("short", 1_000), ("tiny", 10)] {
        let blob = put(&store, "con", name, &bytes(1, length)).durable_blocking().unwrap();
        let copy = format!("{name} copy");
        let body = Incoming::Of(blob.body.clone());
        store.put_blob("con", &copy, body, Described::default(), &any).durable_blocking().unwrap();
        store.delete_blob("con", name, &any).durable_blocking().unwrap();
    }
    until_idle(&store);
    assert_eq!((files(folder.path()), count(folder.path(), "contents")), (1, 1));
    drop(store);
    let store = opened(folder.path());
    until_idle(&store);
    for (name, length) in [("long copy", 100_000), ("short copy", 1_000), ("tiny copy", 10)] {
        assert_eq!(content(&store, "con", name).unwrap(), bytes(1, length));
        store.delete_blob("con", name, &any).durable_blocking().unwrap();
    }
    until_idle(&store);
    assert_eq!((files(folder.path()), count(folder.path(), "contents")), (0, 0));
}

#[test]
fn blocks_become_blobs_by_every_kind_of_choice() {
    for folder in [None, Some(tempfile::tempdir().unwrap())] {
        let store = match &folder {
            Some(folder) => opened(folder.path()),
            None => Store::in_memory(clock()),
        };
        store.create_container("con", Metadata::new()).durable_blocking().unwrap();
        let stage = |id: &str, seed| {
            store.put_block("con", "b", id, Incoming::Bytes(bytes(seed, 400)), &any).durable_blocking()
        };
        let commit = |choices: &[BlockChoice]| {
            store.put_block_list("con", "b", choices, Described::default(), &any).durable_blocking().map(drop)
        };
        use BlockSource::{Committed, Latest, Uncommitted};
        stage("AAAA", 1).unwrap();
        stage("BBBB", 2).unwrap();
        assert_eq!(commit(&[choose(Committed, "AAAA")]), Err(Refused::UnknownBlock));
        commit(&[choose(Latest, "AAAA"), choose(Uncommitted, "BBBB"), choose(Latest, "AAAA")]).unwrap();
        assert_eq!(
            content(&store, "con", "b").unwrap(),
            [bytes(1, 400), bytes(2, 400), bytes(1, 400)].concat()
        );
        stage("AAAA", 3).unwrap();
        assert_eq!(stage("AAAAAAAA", 3), Err(Refused::BlockIdLength));
        assert_eq!(commit(&[choose(Uncommitted, "BBBB")]), Err(Refused::UnknownBlock));
        commit(&[choose(Committed, "AAAA"), choose(Uncommitted, "AAAA"), choose(Latest, "BBBB")]).unwrap();
        assert_eq!(
            content(&store, "con", "b").unwrap(),
            [bytes(1, 400), bytes(3, 400), bytes(2, 400)].concat()
        );
        // Blocks that were not chosen are removed, and all blocks are when a blob is put at once.
        stage("CCCC", 4).unwrap();
        put(&store, "con", "b", &bytes(5, 5)).durable_blocking().unwrap();
        assert_eq!(store.blocks("con", "b").durable_blocking().unwrap().1, vec![]);
        assert_eq!(commit(&[choose(Latest, "CCCC")]), Err(Refused::UnknownBlock));
        commit(&[]).unwrap();
        assert_eq!(content(&store, "con", "b").unwrap(), b"");
        if let Some(folder) = &folder {
            until_idle(&store);
            assert_eq!((count(folder.path(), "contents"), count(folder.path(), "blocks")), (0, 0));
        }
    }
}

#[test]
fn uncommitted_blocks_are_removed_after_a_week() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Arc::new(Hand(AtomicI64::new(1_000_000)));
    let store = Store::open(folder.path(), Durability::Power, hand.clone()).unwrap();
    store.create_container("con", Metadata::new()).durable_blocking().unwrap();
    store
        .put_block("con", "b", "AAAA", incoming(&store, &bytes(1, 100_000)), &any)
        .durable_blocking()
        .unwrap();
    store.put_block("con", "b", "BBBB", incoming(&store, &bytes(1, 1_000)), &any).durable_blocking().unwrap();
    drop(store);
    for (days, left) in [(6, 2), (8, 0)] {
        hand.0.store(1_000_000 + days * 24 * 3600, Ordering::Relaxed);
        let store = Store::open(folder.path(), Durability::Power, hand.clone()).unwrap();
        let blocks = store.blocks("con", "b").durable_blocking().map_or(0, |(_, staged)| staged.len());
        until_idle(&store);
        assert_eq!((blocks, files(folder.path()) + count(folder.path(), "contents") as usize), (left, left));
    }
}

#[test]
fn etags_are_never_reused_even_if_the_clock_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Arc::new(Hand(AtomicI64::new(1_000_000)));
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4 {
        let store = Store::open(folder.path(), Durability::Power, hand.clone()).unwrap();
        if round == 0 {
            store.create_container("con", Metadata::new()).durable_blocking().unwrap();
        }
        for _ in 0..3 {
            let blob = put(&store, "con", "b", &bytes(1, 1)).durable_blocking().unwrap();
            assert!(seen.insert(blob.facts.etag().to_string()));
            store.delete_blob("con", "b", &any).durable_blocking().unwrap();
        }
        hand.0.fetch_sub(1_000, Ordering::Relaxed);
    }
}

#[test]
fn only_the_owner_can_read_stored_files() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("blobs");
    let store = with_container(&inside);
    put(&store, "con", "b", &bytes(1, 100_000)).durable_blocking().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in [inside.clone(), inside.join("contents")] {
        assert_eq!(mode(&path), 0o700, "{path:?}");
    }
    let mut files: Vec<_> = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.extend(fs::read_dir(inside.join("contents")).unwrap().map(|entry| entry.unwrap().path()));
    files.retain(|path| path.is_file());
    assert!(files.len() >= 4, "{files:?}");
    files.iter().for_each(|path| assert_eq!(mode(path), 0o600, "{path:?}"));
}

#[test]
fn a_damaged_store_or_one_of_another_version_is_rejected_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_container(folder.path()));
    let path = folder.path().join("blobs.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.pragma_update(None, "user_version", 7).unwrap();
    database.pragma_update(None, "journal_mode", "DELETE").unwrap();
    drop(database);
    let before = fs::read(&path).unwrap();
    let error = Store::open(folder.path(), Durability::Power, clock()).unwrap_err().to_string();
    assert!(error.contains("expected format 2, found 7"), "{error}");
    assert!(error.contains("blobs.db"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::write(&path, bytes(1, 10_000)).unwrap();
    let error = Store::open(folder.path(), Durability::Power, clock()).unwrap_err().to_string();
    assert!(error.contains("not a database"), "{error}");
}

#[test]
fn a_store_of_the_first_format_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    put(&store, "con", "b", &bytes(1, 1_000)).durable_blocking().unwrap();
    drop(store);
    let database = rusqlite::Connection::open(folder.path().join("blobs.db")).unwrap();
    database.execute_batch("DROP TABLE appends").unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    drop(database);
    let store = opened(folder.path());
    assert_eq!(content(&store, "con", "b").unwrap(), bytes(1, 1_000));
    let described = Described { kind: Kind::Append, ..Described::default() };
    store.put_blob("con", "a", Incoming::Nothing, described, &any).durable_blocking().unwrap();
    for number in 0..3 {
        let bytes = Incoming::Bytes(bytes(number, 10));
        store.append_block("con", "a", bytes, AppendLimits::default(), &any).durable_blocking().unwrap();
    }
    drop(store);
    let whole: Vec<u8> = (0..3).flat_map(|number| bytes(number, 10)).collect();
    assert_eq!(content(&opened(folder.path()), "con", "a").unwrap(), whole);
}

#[test]
fn a_grown_blob_that_is_replaced_or_deleted_leaves_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    let described = || Described { kind: Kind::Append, ..Described::default() };
    for name in ["again", "put", "deleted", "dropped"] {
        let con = if name == "dropped" { "other" } else { "con" };
        let _ = store.create_container("other", Metadata::new()).durable_blocking();
        store.put_blob(con, name, Incoming::Nothing, described(), &any).durable_blocking().unwrap();
        for length in [10, 1_000, 100_000] {
            let bytes = incoming(&store, &bytes(1, length));
            store.append_block(con, name, bytes, AppendLimits::default(), &any).durable_blocking().unwrap();
        }
    }
    store.put_blob("con", "again", Incoming::Nothing, described(), &any).durable_blocking().unwrap();
    put(&store, "con", "put", &bytes(2, 10)).durable_blocking().unwrap();
    store.delete_blob("con", "deleted", &any).durable_blocking().unwrap();
    store.delete_container("other", &any_container).durable_blocking().unwrap();
    until_idle(&store);
    let rows = ["appends", "contents"].map(|table| count(folder.path(), table));
    assert_eq!((rows, files(folder.path())), ([0, 0], 0));
    let bytes = bytes(3, 5);
    let limits = AppendLimits { at: Some(0), longest: Some(5) };
    let grown = store.append_block("con", "again", Incoming::Bytes(bytes.clone()), limits, &any);
    assert_eq!(grown.durable_blocking().unwrap().length(), 5);
    drop(store);
    assert_eq!(content(&opened(folder.path()), "con", "again").unwrap(), bytes);
}

#[test]
fn a_closed_store_returns_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_container(folder.path());
    store.close();
    let refused = put(&store, "con", "b", &bytes(1, 1_000)).durable_blocking().unwrap_err();
    assert!(
        matches!(&refused, Refused::Failed(error) if error.to_string().contains("closed")),
        "{refused:?}"
    );
    // A change that was not stored is not visible either.
    assert!(matches!(content(&store, "con", "b"), Err(Refused::Failed(_))));
    drop(store);
    assert_eq!(names(&opened(folder.path()), "con"), Vec::<String>::new());
}
