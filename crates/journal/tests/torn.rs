//! What a power cut, a failing disk or an editor leaves of a journal: it opens with a prefix of its events,
//! or reports damage. It never returns a changed event.
#![allow(clippy::unwrap_used)]

use dropmill_journal::{
    Damage, Journal, JournalError, RunHeader,
    event::{Event, EventKind},
};
use jiff::Timestamp;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    pin::pin,
    task::{Context, Waker},
};
use tempfile::TempDir;

/// Number of commits of the journal, and of events in each.
const COMMITS: usize = 5;
const EACH: usize = 2;
/// Length of the header of SQLite's write-ahead log, and of a frame: its header and a page.
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + 4096;

/// A journal as it was while it was written: all events are only in the log.
struct Torn {
    folder: TempDir,
    file: Vec<u8>,
    log: Vec<u8>,
    /// The mark as it was flushed last, which is what a power loss may leave.
    mark: Vec<u8>,
    /// The mark of the journal after it was closed.
    closed: Vec<u8>,
    events: Vec<Event>,
}

fn event(seq: usize) -> Event {
    Event {
        seq: seq as u64,
        at: Timestamp::UNIX_EPOCH,
        elapsed_ms: seq as u64 * 10,
        run: "r-1".into(),
        actor: "run_keeper".into(),
        subject: "run".into(),
        cause: (seq > 1).then_some(1),
        kind: EventKind::Degraded { reason: format!("reason {seq}") },
    }
}

impl Torn {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("journal.db");
        let header = RunHeader::new("r-1", "r", Timestamp::UNIX_EPOCH, "hash");
        let journal = Journal::create(&path, &header).unwrap();
        let mark = fs::read(beside(&path, "-mark")).unwrap();
        let events: Vec<Event> = (1..=COMMITS * EACH).map(event).collect();
        for some in events.chunks(EACH) {
            let mut committed = pin!(journal.append(some.to_vec()));
            // The response comes from another thread.
            while committed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                std::thread::yield_now();
            }
        }
        let (file, log) = (fs::read(&path).unwrap(), fs::read(beside(&path, "-wal")).unwrap());
        drop(journal);
        let closed = fs::read(beside(&path, "-mark")).unwrap();
        assert!(log.len() >= LOG_HEADER + FRAME * COMMITS, "each commit has a frame of its own");
        Self { folder, file, log, mark, closed, events }
    }

    /// Reads a journal that consists of these bytes.
    fn read(&self, file: &[u8], log: &[u8]) -> Result<Vec<Event>, JournalError> {
        self.read_with(file, log, &self.mark)
    }

    fn read_with(&self, file: &[u8], log: &[u8], mark: &[u8]) -> Result<Vec<Event>, JournalError> {
        let path = self.folder.path().join("torn.db");
        let _ = fs::remove_file(beside(&path, "-shm"));
        fs::write(&path, file).unwrap();
        fs::write(beside(&path, "-wal"), log).unwrap();
        fs::write(beside(&path, "-mark"), mark).unwrap();
        let read = Journal::read(&path).map(|(_, events)| events);
        if let Err(error) = &read {
            assert!(error.to_string().contains("torn.db"), "it says where: {error}");
        }
        read
    }

    /// Returns how many events are read with such a log: a prefix of the events, or 0 if damage is reported.
    #[track_caller]
    fn reads(&self, log: &[u8]) -> usize {
        let found = self.read(&self.file, log).unwrap_or_default();
        assert_eq!(found, self.events[..found.len()], "other events were read");
        found.len()
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Returns lengths to truncate at: all around the frame boundaries, where a truncation could look like a
/// regular end, and some between.
fn lengths(whole: usize) -> impl Iterator<Item = usize> {
    (0..=whole).filter(move |length| {
        let within = length.saturating_sub(LOG_HEADER) % FRAME;
        *length <= LOG_HEADER || within < 32 || FRAME - within < 8 || length % 101 == 0 || *length == whole
    })
}

#[test]
fn a_journal_truncated_at_any_length_opens_with_its_complete_commits() {
    let torn = Torn::new();
    let (mut before, mut seen) = (0, BTreeSet::new());
    for length in lengths(torn.log.len()) {
        let found = match torn.read(&torn.file, &torn.log[..length]) {
            Ok(found) => found,
            // The mark was flushed before the first event.
            Err(JournalError::Broken { damage: Damage::LogEmpty | Damage::LogHeader, .. })
                if length < LOG_HEADER =>
            {
                continue;
            }
            Err(error) => panic!("cut at {length}: {error}"),
        };
        assert_eq!(found, torn.events[..found.len()], "cut at {length}");
        assert_eq!(found.len() % EACH, 0, "cut at {length}: half a commit");
        assert!(found.len() >= before, "cut at {length}: a longer file has fewer events");
        before = found.len();
        seen.insert(before);
    }
    assert!(seen.into_iter().eq((0..=COMMITS).map(|commits| commits * EACH)), "each commit was cut off once");
}

#[test]
fn zeros_and_garbage_after_the_end_are_not_read_as_events() {
    let torn = Torn::new();
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    for length in [1, 23, 24, 25, 4095, FRAME, FRAME + 1, 3 * FRAME] {
        let mut more = vec![0; length];
        assert_eq!(torn.reads(&[&*torn.log, &more].concat()), torn.events.len(), "{length} zeros");
        more.fill_with(|| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 56) as u8
        });
        assert_eq!(torn.reads(&[&*torn.log, &more].concat()), torn.events.len(), "{length} of garbage");
        // A copy of an old frame is not a new one.
        let old = &torn.log[LOG_HEADER..LOG_HEADER + length];
        match torn.read(&torn.file, &[&*torn.log, old].concat()) {
            Ok(found) => assert_eq!(found, torn.events, "{length} of itself"),
            // Several copies in a row look like transactions after a damaged frame. No writer produces that.
            Err(JournalError::Broken { damage: Damage::LogFrame { .. }, .. }) if length >= 2 * FRAME => {}
            Err(error) => panic!("{length} of itself: {error}"),
        }
    }
}

#[test]
fn the_log_ends_at_a_flipped_bit() {
    let torn = Torn::new();
    for at in (0..torn.log.len()).filter(|at| at % 53 == 0 || at.saturating_sub(LOG_HEADER) % FRAME < 24) {
        let mut log = torn.log.clone();
        log[at] ^= 1 << (at % 8);
        torn.reads(&log);
    }
    // In the last frame: its commit is ignored, earlier ones are kept.
    let mut log = torn.log.clone();
    log[LOG_HEADER + (COMMITS - 1) * FRAME + 1000] ^= 4;
    assert_eq!(torn.reads(&log), torn.events.len() - EACH);
    // In the frame before it: a commit follows, so this frame was valid once.
    log[LOG_HEADER + (COMMITS - 2) * FRAME + 1000] ^= 4;
    log[LOG_HEADER + (COMMITS - 1) * FRAME + 1000] ^= 4;
    match torn.read(&torn.file, &log) {
        Err(JournalError::Broken { damage: Damage::LogFrame { frame }, .. }) => {
            assert_eq!(frame, COMMITS as u64 - 1);
        }
        other => panic!("{other:?}"),
    }
}

/// Lengths that are far too large are rejected, and no memory is reserved for them.
#[test]
fn a_huge_length_is_rejected() {
    let torn = Torn::new();
    let mut log = torn.log.clone();
    log[8..12].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(torn.reads(&log), 0, "pages of 2 GiB");
    // In the database file, at every offset where a length may precede a text: 9 bytes of 0xff are SQLite's
    // largest number.
    let path = torn.folder.path().join("folded.db");
    fs::write(&path, &torn.file).unwrap();
    fs::write(beside(&path, "-wal"), &torn.log).unwrap();
    let folding = rusqlite::Connection::open(&path).unwrap();
    folding.pragma_update(None, "journal_mode", "DELETE").unwrap();
    drop(folding);
    let whole = fs::read(&path).unwrap();
    let text = b"reason 7";
    let place = whole.windows(text.len()).rposition(|window| window == text).unwrap();
    let mut noticed = 0;
    for back in 9..200 {
        let mut bytes = whole.clone();
        bytes[place - back..place - back + 9].copy_from_slice(&[0xff; 9]);
        match torn.read_with(&bytes, &[], &torn.closed) {
            Ok(found) => assert_eq!(found, torn.events[..found.len()], "{back} bytes before"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 100, "{noticed}");
}
