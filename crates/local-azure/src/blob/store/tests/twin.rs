//! Tests that the store on disk and the one in memory give the same results for any operations, even when the
//! first is reopened. Names are keys: nothing outside the store's folder is read or written.

use super::{any, *};
use crate::blob::lease;
use proptest::{collection::vec, prelude::*, sample::select};

#[derive(Debug, Clone)]
enum Act {
    CreateContainer(&'static str),
    SetMetadata(&'static str, String),
    DeleteContainer(&'static str),
    Put(&'static str, &'static str, usize),
    PutNew(&'static str, &'static str, usize),
    Stage(&'static str, &'static str, &'static str, usize),
    Commit(&'static str, &'static str, Vec<(BlockSource, &'static str)>),
    Copy(&'static str, &'static str, &'static str),
    SetFacts(&'static str, &'static str, String),
    Delete(&'static str, &'static str),
    Grow(&'static str, &'static str),
    Append(&'static str, &'static str, usize),
    LeaseBlob(&'static str, &'static str, lease::Order),
    LeaseContainer(&'static str, lease::Order),
    List(&'static str, &'static str, &'static str, usize),
    Later(i64),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    use Act::*;
    let con = || select(vec!["one", "two"]);
    let name = || select(vec!["a", "a/b", "a/b/c", "a/bb", "é", "../x"]);
    let block = || select(vec!["AAAA", "BBBB", "AAAABBBB"]);
    let length = || select(vec![0_usize, 5, 300, 70_000]);
    let source = || select(vec![BlockSource::Committed, BlockSource::Uncommitted, BlockSource::Latest]);
    prop_oneof![
        3 => con().prop_map(CreateContainer),
        1 => (con(), "[a-z]{0,3}").prop_map(|(c, m)| SetMetadata(c, m)),
        1 => con().prop_map(DeleteContainer),
        8 => (con(), name(), length()).prop_map(|(c, n, l)| Put(c, n, l)),
        2 => (con(), name(), length()).prop_map(|(c, n, l)| PutNew(c, n, l)),
        6 => (con(), name(), block(), length()).prop_map(|(c, n, b, l)| Stage(c, n, b, l)),
        4 => (con(), name(), vec((source(), block()), 0..3)).prop_map(|(c, n, b)| Commit(c, n, b)),
        3 => (con(), name(), name()).prop_map(|(c, n, to)| Copy(c, n, to)),
        2 => (con(), name(), "[a-z]{0,3}").prop_map(|(c, n, t)| SetFacts(c, n, t)),
        4 => (con(), name()).prop_map(|(c, n)| Delete(c, n)),
        3 => (con(), name()).prop_map(|(c, n)| Grow(c, n)),
        9 => (con(), name(), length()).prop_map(|(c, n, l)| Append(c, n, l)),
        4 => (con(), name(), order()).prop_map(|(c, n, o)| LeaseBlob(c, n, o)),
        1 => (con(), order()).prop_map(|(c, o)| LeaseContainer(c, o)),
        2 => (con(), select(vec!["", "a", "a/", "z"]), select(vec!["", "/", "b"]), 1_usize..4)
            .prop_map(|(c, p, d, l)| List(c, p, d, l)),
        1 => (-5_i64..50).prop_map(Later),
        2 => Just(Reopen),
    ]
}

fn order() -> impl Strategy<Value = lease::Order> {
    use lease::Order::*;
    prop_oneof![
        select(vec![None, Some(15), Some(60)]).prop_map(|seconds| Acquire { id: "own".into(), seconds }),
        Just(Renew { id: "own".into() }),
        Just(Change { id: "own".into(), to: "other".into() }),
        Just(Release { id: "own".into() }),
        select(vec![None, Some(0), Some(20)]).prop_map(|seconds| Break { seconds }),
    ]
}

/// Formats what both must return equally: properties, lengths and errors, but not where bytes are stored.
fn shown_reply<T>(reply: DurableReply<T>, show: impl FnOnce(T) -> String) -> String {
    match reply.durable_blocking() {
        Ok(answer) => show(answer),
        Err(refused) => format!("{refused:?}"),
    }
}

fn shown(blob: &Blob) -> String {
    format!("{:?} {}", blob.facts, blob.length())
}

fn carry_out(store: &Store, act: &Act, seed: u64) -> String {
    let only_new =
        |found: Option<&BlobFacts>| if found.is_some() { Err(Refused::BlobExists) } else { Ok(()) };
    let described = || Described { tier: Some("Hot".into()), ..Described::default() };
    let blob = |answer: Arc<Blob>| shown(&answer);
    match act {
        Act::CreateContainer(con) => {
            shown_reply(store.create_container(con, Metadata::new()), |f| format!("{f:?}"))
        }
        Act::SetMetadata(con, value) => {
            let metadata = Metadata::from([("m".to_owned(), value.clone())]);
            shown_reply(store.set_container_metadata(con, metadata, &any_container), |f| format!("{f:?}"))
        }
        Act::DeleteContainer(con) => {
            shown_reply(store.delete_container(con, &any_container), |()| "deleted".into())
        }
        Act::Put(con, name, length) => {
            let bytes = incoming(store, &bytes(seed, *length));
            shown_reply(store.put_blob(con, name, bytes, described(), &any), blob)
        }
        Act::PutNew(con, name, length) => {
            let bytes = incoming(store, &bytes(seed, *length));
            shown_reply(store.put_blob(con, name, bytes, described(), &only_new), blob)
        }
        Act::Stage(con, name, block, length) => shown_reply(
            store.put_block(con, name, block, incoming(store, &bytes(seed, *length)), &any),
            |()| "staged".into(),
        ),
        Act::Commit(con, name, blocks) => {
            let choices: Vec<_> = blocks.iter().map(|(source, id)| choose(*source, id)).collect();
            shown_reply(store.put_block_list(con, name, &choices, described(), &any), blob)
        }
        Act::Copy(con, name, to) => match store.blob(con, name).durable_blocking() {
            Ok(from) => {
                shown_reply(store.put_blob(con, to, Incoming::Of(from.body.clone()), described(), &any), blob)
            }
            Err(refused) => format!("{refused:?}"),
        },
        Act::SetFacts(con, name, tier) => shown_reply(
            store.change_blob(con, name, &any, |facts| facts.tier = Some(tier.as_str().into())),
            blob,
        ),
        Act::Delete(con, name) => shown_reply(store.delete_blob(con, name, &any), |()| "deleted".into()),
        Act::List(con, prefix, delimiter, limit) => {
            let listing = Listing { prefix, delimiter, from: "", limit: *limit };
            shown_reply(store.blobs(con, &listing), |page| {
                let entries = page.entries.iter();
                let entries: Vec<_> =
                    entries.map(|(name, blob)| (name, blob.as_deref().map(shown))).collect();
                format!("{entries:?} {:?}", page.next)
            })
        }
        Act::Grow(con, name) => {
            let described = Described { kind: Kind::Append, ..Described::default() };
            shown_reply(store.put_blob(con, name, Incoming::Nothing, described, &any), blob)
        }
        Act::Append(con, name, length) => {
            let (bytes, limits) = (incoming(store, &bytes(seed, *length)), AppendLimits::default());
            shown_reply(store.append_block(con, name, bytes, limits, &any), blob)
        }
        Act::LeaseBlob(con, name, order) => {
            shown_reply(store.lease_blob(con, name, &any, |had, now| lease::apply(had, order, now)), blob)
        }
        Act::LeaseContainer(con, order) => {
            let applied =
                store.lease_container(con, &any_container, |had, now| lease::apply(had, order, now));
            shown_reply(applied, |facts| format!("{facts:?}"))
        }
        Act::Later(_) | Act::Reopen => String::new(),
    }
}

/// Returns everything in the store, with contents.
fn whole(store: &Store) -> Vec<String> {
    let (containers, next) = store.containers("", "", 100).durable_blocking().unwrap();
    let mut said = vec![format!("{containers:?} {next:?}")];
    for (con, _) in containers {
        for name in ["a", "a/b", "a/b/c", "a/bb", "é", "../x"] {
            let bytes = content(store, &con, name).map(|bytes| crate::blob::sums::md5_of(&bytes));
            let blob = store.blob(&con, name).durable_blocking().map(|blob| shown(&blob));
            let blocks = store.blocks(&con, name).durable_blocking().map(|(blob, staged)| {
                let pieces = |pieces: &[Piece]| -> Vec<_> {
                    pieces.iter().map(|piece| (piece.block.clone(), piece.length)).collect()
                };
                (blob.map(|blob| pieces(&blob.body.pieces)), pieces(&staged))
            });
            said.push(format!("{con} {name} {bytes:?} {blob:?} {blocks:?}"));
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_give_the_same_results(acts in vec(act(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let hand = Arc::new(Hand(AtomicI64::new(1_000_000)));
        let memory = Store::in_memory(hand.clone());
        let mut disk = Store::open(folder.path(), Durability::Power, hand.clone()).unwrap();
        for (step, act) in acts.iter().enumerate() {
            match act {
                Act::Later(seconds) => {
                    hand.0.fetch_add(*seconds, Ordering::Relaxed);
                }
                Act::Reopen => {
                    drop(disk);
                    disk = Store::open(folder.path(), Durability::Power, hand.clone()).unwrap();
                }
                _ => {}
            }
            let (one, other) = (carry_out(&memory, act, step as u64), carry_out(&disk, act, step as u64));
            prop_assert_eq!(one, other, "step {}: {:?}", step, act);
        }
        prop_assert_eq!(whole(&memory), whole(&disk));
        drop(disk);
        let disk = Store::open(folder.path(), Durability::Power, hand.clone()).unwrap();
        prop_assert_eq!(whole(&memory), whole(&disk), "after reopening");
        // No content without a reference is left, and none is missing.
        until_idle(&disk);
        let index = disk.lock();
        let pieces = index.containers.values().flat_map(|con| {
            let staged = con.staged.values().flat_map(|staged| staged.0.values());
            con.blobs.values().flat_map(|entry| &entry.blob.body.pieces).chain(staged)
        });
        let kept = pieces.filter_map(|piece| match &piece.content {
            content::Content::Kept(kept) => Some((kept.place() == content::Place::File, kept.id())),
            content::Content::Bytes(_) => None,
        });
        let kept: std::collections::BTreeSet<_> = kept.collect();
        let named = |file: bool| kept.iter().filter(|(is_file, _)| *is_file == file).count();
        prop_assert_eq!(named(true), files(folder.path()));
        prop_assert_eq!(named(false) as i64, count(folder.path(), "contents"));
    }

    #[test]
    fn hostile_names_are_keys_and_touch_no_path(names in vec(hostile(), 1..12)) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("deep").join("blobs");
        let store = Store::open(&folder, Durability::Power, clock()).unwrap();
        store.create_container("con", Metadata::new()).durable_blocking().unwrap();
        let mut expected = std::collections::BTreeMap::new();
        for (number, name) in names.iter().enumerate() {
            let bytes = bytes(number as u64, [10, 1_000, 70_000][number % 3]);
            put(&store, "con", name, &bytes).durable_blocking().unwrap();
            expected.insert(name.clone(), bytes);
        }
        drop(store);
        let store = Store::open(&folder, Durability::Power, clock()).unwrap();
        prop_assert!(super::names(&store, "con").iter().eq(expected.keys()));
        for (name, bytes) in &expected {
            prop_assert_eq!(&content(&store, "con", name).unwrap(), bytes);
        }
        // Below the root are only the files of the database, and numbers.
        let mut folders = vec![root.path().to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(&next).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    prop_assert!(["deep", "blobs", "contents"].contains(&&*name), "{:?}", path);
                    folders.push(path);
                } else if next.ends_with("contents") {
                    prop_assert!(name.parse::<u64>().is_ok(), "{:?}", path);
                } else {
                    prop_assert!(["blobs.db", "blobs.db-wal", "blobs.db-shm"].contains(&&*name), "{:?}", path);
                }
            }
        }
    }
}

fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => select(vec!["..", "../", "/", "//", ".", "\\", "%2e%2e%2f", "~", "contents", "blobs.db", "C:", "CON",
            "etc/passwd", "\u{202e}", "'; DROP TABLE blobs; --", "*", "?", "\n", "\u{7f}", "é", "e\u{301}", " ", "1"])
            .prop_map(str::to_owned),
        1 => "[^\0]{1,5}",
    ];
    vec(part, 1..6).prop_map(|parts| parts.concat())
}
