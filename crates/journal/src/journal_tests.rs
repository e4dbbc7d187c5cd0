use super::*;
use tempfile::TempDir;

fn header() -> RunHeader {
    RunHeader::new("r-1", "r", Timestamp::UNIX_EPOCH, "hash")
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
        kind: EventKind::Degraded { reason: format!("reason {seq}") },
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
fn acknowledged_events_can_be_read_even_while_the_journal_is_open() {
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
    assert_eq!(Journal::read_after(&path, 2).unwrap(), [event(3), event(4)]);
    assert!(Journal::read_after(&path, 9).unwrap().is_empty());
}

#[test]
fn a_run_has_one_journal_that_only_its_owner_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = written(&folder, 1);
    assert!(matches!(Journal::create(&path, &header()), Err(JournalError::Exists { .. })));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_missing_or_changed_event_is_reported_as_damage_with_its_number() {
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
fn flipped_bits_are_noticed_or_harmless_but_never_give_another_event() {
    let folder = TempDir::new().unwrap();
    let path = written(&folder, 40);
    let (_, events) = Journal::read(&path).unwrap();
    // Checkpoint the write-ahead log, so that the database is the only file.
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
fn other_files_and_later_formats_are_rejected_with_their_name() {
    let folder = TempDir::new().unwrap();
    let path = written(&folder, 1);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    assert!(matches!(Journal::read(&path), Err(JournalError::Newer { found: 9, .. })));
    let message = Journal::read(&path).unwrap_err().to_string();
    assert!(message.contains("was made by a later release: its format is 9"), "{message}");
    let text = folder.path().join("text");
    std::fs::write(&text, "hello, this is no database at all, but long enough to be read").unwrap();
    assert!(matches!(Journal::read(&text), Err(JournalError::NoJournal { .. })));
}

#[test]
fn an_empty_journal_is_distinguished_from_a_damaged_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Journal::header(&path), Err(JournalError::Empty { .. })));
    // The first page only.
    Connection::open(&path).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
    assert!(matches!(Journal::header(&path), Err(JournalError::Empty { .. })));
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE header (body TEXT)").unwrap();
    assert!(matches!(Journal::header(&path), Err(JournalError::NoJournal { .. })));
}

#[test]
fn a_journal_truncated_during_creation_counts_as_absent() {
    let folder = tempfile::tempdir().unwrap();
    let (made, left) = (folder.path().join("made.db"), folder.path().join("left.db"));
    let database = Connection::open(&made).unwrap();
    database.execute_batch("PRAGMA cache_size = 1; CREATE TABLE t (x); BEGIN;").unwrap();
    // More than the cache can hold: SQLite writes to the file before the end of the transaction.
    for _ in 0..200 {
        database.execute("INSERT INTO t VALUES (randomblob(2000))", []).unwrap();
    }
    std::fs::copy(&made, &left).unwrap();
    std::fs::copy(folder.path().join("made.db-journal"), folder.path().join("left.db-journal")).unwrap();
    assert!(
        matches!(Journal::header(&left), Err(JournalError::Empty { .. })),
        "{:?}",
        Journal::header(&left)
    );
}

#[test]
fn features_of_a_later_release_are_named_and_not_reported_as_damage() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("needs.db");
    let needs = vec!["folded-tasks".to_owned()];
    drop(Journal::create(&path, &RunHeader { needs: needs.clone(), ..header() }).unwrap());
    match Journal::open(&path).map(|_| ()) {
        Err(JournalError::Needs { needs: found, .. }) => assert_eq!(found, needs),
        other => panic!("{other:?}"),
    }
    // An event of a kind that this release does not know.
    let path = written(&folder, 2);
    let database = Connection::open(&path).unwrap();
    let mut row = Row::of(&event(3));
    row.set_happening("r-1", r#"{"kind":"task_folded","payload":{}}"#);
    row.insert(&mut database.prepare(row::INSERT).unwrap()).unwrap();
    match Journal::read(&path) {
        Err(error @ JournalError::UnknownEvent { seq: 3, .. }) => {
            assert!(error.to_string().contains("made by a later release"), "{error}");
            assert!(error.to_string().contains("task_folded"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn damage_that_disappears_was_a_write_in_progress() {
    let path = Path::new("journal.db");
    let tried = std::cell::Cell::new(0);
    let after = |attempts: u32, error: fn(&Path) -> JournalError| {
        tried.set(0);
        settled(|| {
            tried.set(tried.get() + 1);
            if tried.get() > attempts { Ok(()) } else { Err(error(path)) }
        })
    };
    let missing = |path: &Path| Damage::LogMissing.in_file(path);
    after(ATTEMPTS - 1, missing).unwrap();
    assert!(matches!(after(ATTEMPTS, missing), Err(JournalError::Broken { .. })));
    assert_eq!(tried.get(), ATTEMPTS);
    let never_begun = |path: &Path| JournalError::Empty { path: path.into() };
    assert!(matches!(after(1, never_begun), Err(JournalError::Empty { .. })));
    assert_eq!(tried.get(), 1, "other errors are not retried");
}
