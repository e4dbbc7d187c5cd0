use super::*;
use crate::{Journal, event::EventKind, mark::Mark};
use jiff::Timestamp;
use std::sync::mpsc::channel;
use tempfile::TempDir;

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

/// Returns the writer of a new journal, and its path.
fn writer(folder: &TempDir) -> (Writer, PathBuf) {
    let path = folder.path().join("journal.db");
    drop(dropmill_private_files::create_new(&path).unwrap());
    let mark = Mark { run: "r-1".into(), last: 0, log: LogUse::Optional };
    let header = RunHeader::new("r-1", "r", Timestamp::UNIX_EPOCH, "hash");
    let store = Store::create(&path, MarkFile::begin(&path, mark).unwrap(), &header).unwrap();
    (Writer::new(store), path)
}

fn order(events: Vec<Event>) -> (Order, async_channel::Receiver<Result<(), JournalError>>) {
    let (answer, answered) = async_channel::bounded(1);
    (Order { events, answer }, answered)
}

#[test]
fn a_full_disk_is_reported_and_is_temporary() {
    let folder = TempDir::new().unwrap();
    let (mut writer, path) = writer(&folder);
    writer.store.database.pragma_update(None, "max_page_count", 8).unwrap();
    let orders = [order((1..=400).map(event).collect()).0];
    assert!(writer.store.commit(&orders).is_err());
    assert_eq!(Journal::read(&path).unwrap().1, vec![], "no part of a failed commit is stored");
    writer.store.database.pragma_update(None, "max_page_count", 100_000).unwrap();
    writer.store.commit(&orders).unwrap();
    assert_eq!(Journal::read(&path).unwrap().1.len(), 400);
}

#[test]
fn a_failed_flush_ends_the_journal_even_if_a_later_one_would_succeed() {
    let folder = TempDir::new().unwrap();
    let (mut writer, path) = writer(&folder);
    writer.store.commit(&[order(vec![event(1)]).0]).unwrap();
    let failed =
        |code| Err(failed(&path, &rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)));
    assert!(matches!(writer.judged(failed(rusqlite::ffi::SQLITE_FULL)), Err(JournalError::Io { .. })));
    assert!(writer.broken.is_none(), "a full disk is temporary");
    let flush = failed(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    assert!(matches!(writer.judged(flush), Err(JournalError::FlushFailed { .. })));
    let (orders, waiting) = channel();
    let (sent, answered) = order(vec![event(2)]);
    orders.send(sent).unwrap();
    drop(orders);
    writer.work(&waiting);
    assert!(matches!(answered.try_recv().unwrap(), Err(JournalError::FlushFailed { .. })));
    assert_eq!(Journal::read(&path).unwrap().1, vec![event(1)]);
}

#[test]
fn a_journal_whose_first_commit_failed_is_not_reported_as_damaged() {
    let folder = TempDir::new().unwrap();
    let (mut first, path) = writer(&folder);
    first.store.commit(&[order(vec![event(1)]).0]).unwrap();
    drop(first);
    let mark = MarkFile::begin(&path, Mark::read(&path).unwrap().unwrap()).unwrap();
    let mut store = Store::resume(&path, mark).unwrap();
    // The log has content, and then the first transaction fails.
    let failed = store.begin(|database| {
        database.execute("CREATE TABLE more (x)", [])?;
        Err(rusqlite::Error::InvalidQuery)
    });
    assert!(matches!(failed, Err(JournalError::Io { .. })));
    drop(store);
    assert!(!crate::files::beside(&path, "-wal").exists(), "SQLite removed the log");
    assert_eq!(Journal::read(&path).unwrap().1, vec![event(1)]);
    // A full disk is temporary before the first commit, too.
    let mark = MarkFile::begin(&path, Mark::read(&path).unwrap().unwrap()).unwrap();
    let mut writer = Writer::new(Store::resume(&path, mark).unwrap());
    writer.store.database.pragma_update(None, "query_only", true).unwrap();
    let orders = [order(vec![event(2)]).0];
    let refused = writer.store.commit(&orders);
    assert!(matches!(writer.judged(refused), Err(JournalError::Io { .. })));
    assert!(writer.broken.is_none());
    writer.store.database.pragma_update(None, "query_only", false).unwrap();
    writer.store.commit(&orders).unwrap();
    drop(writer);
    assert_eq!(Journal::read(&path).unwrap().1, vec![event(1), event(2)]);
}
