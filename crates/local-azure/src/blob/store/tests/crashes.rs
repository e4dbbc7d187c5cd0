//! Tests what is left after a kill, a truncated log, or a failed commit; and that changes are committed
//! together.

use super::*;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

const FOLDER: &str = "DROPMILL_TEST_BLOBS_UNTIL_KILLED";

/// Not a test of its own: the next test starts and kills it.
#[test]
#[ignore = "started by another test"]
fn puts_blobs_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = Arc::new(Store::open(Path::new(&folder), Durability::Power, clock()).unwrap());
    let _ = store.create_container("con", Metadata::new()).durable_blocking();
    let writers = (0..4).map(|writer| {
        let store = store.clone();
        std::thread::spawn(move || {
            for number in 0.. {
                let length = [10, 1_000, 100_000][number % 3];
                let name = format!("{writer}-{number}");
                put(&store, "con", &name, &bytes(number as u64, length)).durable_blocking().unwrap();
                println!("put {writer} {number}");
                if number >= 3 && number % 2 == 0 {
                    let old = number - 3;
                    store.delete_blob("con", &format!("{writer}-{old}"), &any).durable_blocking().unwrap();
                    println!("deleted {writer} {old}");
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn acknowledged_changes_are_kept_after_a_kill() {
    let program = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let this = module_path!().split_once("::").unwrap().1;
    for (life, lines) in [1, 7, 40, 100].into_iter().enumerate() {
        let folder = folder.path().join(life.to_string());
        let mut child = Command::new(&program)
            .args(["--exact", &format!("{this}::puts_blobs_until_it_is_killed"), "--ignored", "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut said = said.filter(|line| line.contains("put ") || line.contains("deleted "));
        let mut printed: Vec<String> = said.by_ref().take(lines).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        // Printed before the kill, read afterwards.
        printed.extend(said);
        assert!(printed.len() >= lines);
        let store = Store::open(&folder, Durability::Power, clock()).unwrap();
        let there = names(&store, "con");
        let number = |line: &str, word: &str| {
            let rest = line.split_once(word)?.1;
            let (writer, number) = rest.split_once(' ')?;
            Some((writer.parse::<usize>().ok()?, number.parse::<usize>().ok()?))
        };
        let deleted: Vec<_> = printed.iter().filter_map(|line| number(line, "deleted ")).collect();
        for (writer, number) in printed.iter().filter_map(|line| number(line, "put ")) {
            let name = format!("{writer}-{number}");
            if deleted.contains(&(writer, number)) {
                assert!(!there.contains(&name), "{name} was deleted");
                continue;
            }
            // It may have been deleted before the line was printed.
            if !there.contains(&name) {
                assert!(printed.contains(&format!("put {writer} {}", number + 3)), "{name} is not there");
            }
        }
        for name in &there {
            let number: usize = name.split_once('-').unwrap().1.parse().unwrap();
            let expected = bytes(number as u64, [10, 1_000, 100_000][number % 3]);
            assert_eq!(content(&store, "con", name).unwrap(), expected, "{name}");
        }
        until_idle(&store);
        let long =
            there.iter().filter(|name| name.split_once('-').unwrap().1.parse::<usize>().unwrap() % 3 == 2);
        assert_eq!(files(&folder), long.count(), "contents that nothing names are gone");
    }
}

#[test]
fn a_truncated_log_gives_the_state_after_one_of_its_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Durability::Power, clock()).unwrap();
    type State = BTreeMap<String, Vec<u8>>;
    let mut states: Vec<State> = vec![State::new()];
    store.create_container("con", Metadata::new()).durable_blocking().unwrap();
    for number in 0..12_u64 {
        let mut state = states.last().unwrap().clone();
        let name = format!("b{}", number % 5);
        if number % 4 == 3 {
            store.delete_blob("con", &name, &any).durable_blocking().unwrap_or_default();
            state.remove(&name);
        } else {
            let bytes = bytes(number, [30, 700, 70_000][number as usize % 3]);
            put(&store, "con", &name, &bytes).durable_blocking().unwrap();
            state.insert(name, bytes.to_vec());
        }
        states.push(state);
        until_idle(&store);
    }
    // Not closed: closing would copy the log into the database. The files are copied as a power loss leaves
    // them, except for contents: files that were deleted since then belong to states that the truncated log
    // restores.
    let log = fs::read(folder.path().join("blobs.db-wal")).unwrap();
    let mut reached = vec![false; states.len()];
    for length in (0..=log.len()).step_by(509).chain([log.len()]) {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("contents")).unwrap();
        fs::copy(folder.path().join("blobs.db"), copy.path().join("blobs.db")).unwrap();
        fs::write(copy.path().join("blobs.db-wal"), &log[..length]).unwrap();
        let Ok(torn) = Store::open(copy.path(), Durability::Power, clock()) else {
            panic!(
                "torn at {length}: {:?}",
                Store::open(copy.path(), Durability::Power, clock()).unwrap_err()
            );
        };
        let there: Vec<_> = match torn.container("con").durable_blocking() {
            Ok(_) => names(&torn, "con"),
            Err(_) => vec![],
        };
        let short = |state: &State| -> State {
            state.clone().into_iter().filter(|(_, b)| b.len() < 70_000).collect()
        };
        let read = there.iter().map(|name| (name.clone(), content(&torn, "con", name)));
        let read: State = read.filter_map(|(name, content)| Some((name, content.ok()?))).collect();
        let fits = |state: &&State| state.keys().eq(there.iter()) && short(state) == short(&read);
        let found = states.iter().position(|state| fits(&state));
        reached[found.unwrap_or_else(|| panic!("torn at {length}: {there:?}"))] = true;
    }
    assert!(reached.iter().filter(|reached| **reached).count() > 6, "{reached:?}");
    drop(store);
}

/// Returns a store whose commits fail while a blob named `poison` is in them.
fn poisoned(folder: &Path) -> Store {
    let store = Store::open(folder, Durability::Power, clock()).unwrap();
    store.create_container("con", Metadata::new()).durable_blocking().unwrap();
    let database = rusqlite::Connection::open(folder.join("blobs.db")).unwrap();
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON blobs WHEN NEW.name = 'poison'
        BEGIN SELECT RAISE(ABORT, 'no space left'); END";
    database.execute_batch(trigger).unwrap();
    store
}

#[test]
fn after_a_failed_commit_the_store_matches_the_disk_and_continues() {
    let folder = tempfile::tempdir().unwrap();
    let store = poisoned(folder.path());
    put(&store, "con", "kept", &bytes(1, 1_000)).durable_blocking().unwrap();
    for length in [10, 1_000, 100_000] {
        let refused = put(&store, "con", "poison", &bytes(2, length)).durable_blocking().unwrap_err();
        assert!(matches!(&refused, Refused::Failed(error) if error.to_string().contains("no space left")));
        assert_eq!(store.blob("con", "poison").durable_blocking(), Err(Refused::NoBlob));
        assert_eq!(names(&store, "con"), ["kept"]);
        assert_eq!(content(&store, "con", "kept").unwrap(), bytes(1, 1_000));
    }
    put(&store, "con", "kept", &bytes(3, 100_000)).durable_blocking().unwrap();
    assert_eq!(content(&store, "con", "kept").unwrap(), bytes(3, 100_000));
    until_idle(&store);
    assert_eq!((files(folder.path()), count(folder.path(), "contents")), (1, 0));
}

#[test]
fn changes_based_on_a_failed_commit_fail_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = poisoned(folder.path());
    put(&store, "con", "b", &bytes(1, 1_000)).durable_blocking().unwrap();
    // While another connection locks the database, one group waits for it and the next is collected.
    let other = rusqlite::Connection::open(folder.path().join("blobs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let poison = put(&store, "con", "poison", &bytes(2, 10));
    let replies: Vec<_> =
        (0..20).map(|number| put(&store, "con", &format!("n{number}"), &bytes(3, 10))).collect();
    let gone = store.delete_blob("con", "b", &any);
    let list = store.blobs("con", &Listing { limit: 100, ..Listing::default() });
    let missing = store.blob("con", "b");
    let read = store.blob("con", "n3");
    other.execute_batch("COMMIT").unwrap();
    assert!(matches!(poison.durable_blocking(), Err(Refused::Failed(_))));
    assert!(replies.into_iter().all(|reply| matches!(reply.durable_blocking(), Err(Refused::Failed(_)))));
    assert!(matches!(gone.durable_blocking(), Err(Refused::Failed(_))));
    assert!(matches!(list.durable_blocking(), Err(Refused::Failed(_))), "a list of what never was");
    assert!(matches!(missing.durable_blocking(), Err(Refused::Failed(_))), "a deletion that never was");
    assert!(matches!(read.durable_blocking(), Err(Refused::Failed(_))), "a blob that never was");
    assert_eq!(names(&store, "con"), ["b"]);
    assert_eq!(content(&store, "con", "b").unwrap(), bytes(1, 1_000));
}

#[test]
fn an_error_waits_until_the_state_behind_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = poisoned(folder.path());
    let other = rusqlite::Connection::open(folder.path().join("blobs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let poison = put(&store, "con", "poison", &bytes(2, 10));
    let only_new =
        |found: Option<&BlobFacts>| if found.is_some() { Err(Refused::BlobExists) } else { Ok(()) };
    let bytes = Incoming::Bytes(bytes(3, 10));
    let exists = store.put_blob("con", "poison", bytes, Described::default(), &only_new);
    other.execute_batch("COMMIT").unwrap();
    assert!(matches!(poison.durable_blocking(), Err(Refused::Failed(_))));
    assert!(matches!(exists.durable_blocking(), Err(Refused::Failed(_))), "it does not exist after all");
}

#[tokio::test]
async fn two_hundred_puts_at_a_time_share_two_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Durability::Power, clock()).unwrap();
    store.create_container("con", Metadata::new()).durable().await.unwrap();
    let other = rusqlite::Connection::open(folder.path().join("blobs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let replies: Vec<_> =
        (0..200).map(|number| put(&store, "con", &format!("{number:03}"), &bytes(number, 1_000))).collect();
    let mut groups: Vec<Ticket> = replies.iter().map(|reply| reply.ticket.clone()).collect();
    groups.dedup_by(|one, other| one.is_same(other));
    assert!(groups.len() <= 2, "{}", groups.len());
    other.execute_batch("COMMIT").unwrap();
    let outcomes = futures_util::future::join_all(replies.into_iter().map(DurableReply::durable)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    for number in [0, 100, 199] {
        assert_eq!(content(&store, "con", &format!("{number:03}")).unwrap(), bytes(number, 1_000));
    }
}
