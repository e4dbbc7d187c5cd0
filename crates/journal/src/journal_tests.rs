#![allow(clippy::unwrap_used)]
use super::*;
use tempfile::TempDir;

fn header() -> RunHeader {
    RunHeader::of("r-1", "r", Timestamp::UNIX_EPOCH, "hash")
}

fn event(seq: u64) -> Event {
    Event {
        seq,
        at: Timestamp::UNIX_EPOCH,
        elapsed_ms: seq * 10,
        run: "r-1".into(),
        actor: "run_keeper".into(),
        subject: "run".into(),
        cause: (seq > 1).then_some(1),
        happening: Happening::Degraded { reason: format!("reason {seq}") },
    }
}

/// Waits for a commit without a runtime.
fn wait(committed: Committed) -> Result<(), JournalError> {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut committed = std::pin::pin!(committed);
    loop {
        match committed.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn written(folder: &TempDir, events: u64) -> PathBuf {
    let path = folder.path().join("journal.db");
    let journal = Journal::create(&path, &header()).unwrap();
    wait(journal.append((1..=events).map(event).collect())).unwrap();
    path
}

#[test]
fn what_was_acknowledged_is_read_back_also_while_the_journal_is_open() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Journal::create(&path, &header()).unwrap();
    wait(journal.append(vec![event(1), event(2)])).unwrap();
    assert_eq!(Journal::read(&path).unwrap(), (header(), vec![event(1), event(2)]));
    wait(journal.append(vec![event(3)])).unwrap();
    assert_eq!(Journal::read(&path).unwrap().1.len(), 3);
    drop(journal);
    let (journal, _, events) = Journal::open(&path).unwrap();
    assert_eq!((journal.last(), events.len()), (3, 3));
    wait(journal.append(vec![event(4)])).unwrap();
    assert_eq!(Journal::read(&path).unwrap().1[3], event(4));
}

#[test]
fn a_run_has_one_journal_which_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = written(&folder, 1);
    assert!(matches!(Journal::create(&path, &header()), Err(JournalError::Exists { .. })));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_event_that_is_missing_or_changed_is_damage_with_its_number() {
    for (change, seq) in [
        ("DELETE FROM events WHERE seq = 2", 2),
        ("UPDATE events SET happening = replace(happening, 'reason 3', 'reason 4') WHERE seq = 3", 3),
        ("UPDATE events SET cause = 2 WHERE seq = 3", 3),
        ("UPDATE events SET sum = sum + 1 WHERE seq = 1", 1),
    ] {
        let folder = TempDir::new().unwrap();
        let path = written(&folder, 3);
        Connection::open(&path).unwrap().execute(change, []).unwrap();
        match Journal::read(&path) {
            Err(JournalError::Damaged { seq: found, .. }) => assert_eq!(found, seq, "{change}"),
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[test]
fn bits_that_flip_are_noticed_or_harmless_but_never_another_event() {
    let folder = TempDir::new().unwrap();
    let path = written(&folder, 40);
    let (_, events) = Journal::read(&path).unwrap();
    // Fold the write-ahead log into the file, so that one file is all there is.
    Connection::open(&path).unwrap().pragma_update(None, "journal_mode", "DELETE").unwrap();
    let whole = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged.db");
    for at in (0..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&damaged, bytes).unwrap();
        if let Ok((_, found)) = Journal::read(&damaged) {
            assert!(found == events[..found.len()], "byte {at}: other events were read");
        }
    }
}

#[test]
fn other_files_and_later_formats_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let path = written(&folder, 1);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    assert!(matches!(Journal::read(&path), Err(JournalError::Newer { found: 9, .. })));
    let text = folder.path().join("text");
    std::fs::write(&text, "hello, this is no database at all, but long enough to be looked at").unwrap();
    assert!(matches!(Journal::read(&text), Err(JournalError::NoJournal { .. })));
}

#[test]
fn a_full_disk_is_told_and_passes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    drop(Journal::create(&path, &header()).unwrap());
    let database = Connection::open(&path).unwrap();
    database.pragma_update(None, "max_page_count", 8).unwrap();
    let (mut writer, big) =
        (Writer { path: path.clone(), database, broken: None }, (1..=400).map(event).collect());
    let (answer, _answered) = async_channel::bounded(1);
    let orders = [Order { events: big, answer }];
    assert!(writer.commit(&orders).is_err());
    assert_eq!(Journal::read(&path).unwrap().1, vec![], "nothing half written");
    writer.database.pragma_update(None, "max_page_count", 100_000).unwrap();
    writer.commit(&orders).unwrap();
    assert_eq!(Journal::read(&path).unwrap().1.len(), 400);
}

#[test]
fn a_flush_that_failed_ends_the_journal_whatever_the_next_one_would_say() {
    let folder = TempDir::new().unwrap();
    let path = written(&folder, 1);
    let failed = |code| Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
    let mut writer = Writer { path: path.clone(), database: Connection::open(&path).unwrap(), broken: None };
    assert!(matches!(writer.judged(failed(rusqlite::ffi::SQLITE_FULL)), Err(JournalError::Refused { .. })));
    assert!(writer.broken.is_none(), "a full disk passes");
    let flush = failed(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    assert!(matches!(writer.judged(flush), Err(JournalError::Unsure { .. })));
    let (orders, waiting) = channel();
    let (answer, answered) = async_channel::bounded(1);
    orders.send(Order { events: vec![event(2)], answer }).unwrap();
    drop(orders);
    writer.work(&waiting);
    assert!(matches!(answered.try_recv().unwrap(), Err(JournalError::Unsure { .. })));
    assert_eq!(Journal::read(&path).unwrap().1, vec![event(1)]);
}

#[test]
fn a_journal_that_nobody_wrote_to_is_told_from_one_that_is_damaged() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Journal::header(&path), Err(JournalError::NeverBegun { .. })));
    // Its first page, and nothing else.
    Connection::open(&path).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
    assert!(matches!(Journal::header(&path), Err(JournalError::NeverBegun { .. })));
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE header (body TEXT)").unwrap();
    assert!(matches!(Journal::header(&path), Err(JournalError::NoJournal { .. })));
}

#[test]
fn a_journal_whose_making_was_cut_off_within_its_first_write_was_never_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (made, left) = (folder.path().join("made.db"), folder.path().join("left.db"));
    let database = Connection::open(&made).unwrap();
    database.execute_batch("PRAGMA cache_size = 1; CREATE TABLE t (x); BEGIN;").unwrap();
    // More than is kept in memory: the file is written to before the end of the transaction.
    for _ in 0..200 {
        database.execute("INSERT INTO t VALUES (randomblob(2000))", []).unwrap();
    }
    std::fs::copy(&made, &left).unwrap();
    std::fs::copy(folder.path().join("made.db-journal"), folder.path().join("left.db-journal")).unwrap();
    assert!(
        matches!(Journal::header(&left), Err(JournalError::NeverBegun { .. })),
        "{:?}",
        Journal::header(&left)
    );
}
