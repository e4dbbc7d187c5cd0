//! Damages a journal's files, one at a time. Every recorded event must still be there, or the journal must be
//! rejected with its name. No event may be lost silently, because a resumed run that lacks an event would
//! execute its task again.
#![allow(clippy::unwrap_used)]

use dropmill_journal::{
    Damage, Journal, JournalError, RunHeader,
    event::{Event, EventKind, Outcome},
    past::RecoveredRun,
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    pin::pin,
    task::{Context, Waker},
};
use tempfile::TempDir;

/// The files of a journal, by their suffix after `journal.db`.
type Files = BTreeMap<&'static str, Vec<u8>>;

const NAMES: [&str; 3] = ["", "-wal", "-mark"];

/// The files of a journal at some time.
struct Kept {
    name: &'static str,
    files: Files,
    /// Events that were recorded and acknowledged by then.
    events: Vec<Event>,
}

fn header(run: &str) -> RunHeader {
    RunHeader::new(run, "r", Timestamp::UNIX_EPOCH, "hash")
}

fn event(run: &str, seq: u64, kind: EventKind) -> Event {
    Event {
        seq,
        at: Timestamp::UNIX_EPOCH,
        elapsed_ms: seq * 10,
        run: run.into(),
        actor: "output_fetcher".into(),
        subject: format!("task/{seq}-txt-0123456789ab").into(),
        cause: (seq > 1).then_some(1),
        kind,
    }
}

/// Returns the event of a delivered task, which must never be lost.
fn delivery(run: &str, seq: u64) -> Event {
    let folder = format!("data/{seq}.txt");
    event(run, seq, EventKind::OutputDelivered { folder, files: vec![], replaced: false, beside: None })
}

fn commit(journal: &Journal, events: &[Event]) {
    let mut committed = pin!(journal.append(events.to_vec()));
    // The response comes from another thread.
    while committed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        std::thread::yield_now();
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn files(path: &Path) -> Files {
    NAMES.into_iter().filter_map(|name| Some((name, fs::read(beside(path, name)).ok()?))).collect()
}

fn write(path: &Path, files: &Files) {
    for name in ["", "-wal", "-mark", "-shm"] {
        let _ = fs::remove_file(beside(path, name));
    }
    for (name, bytes) in files {
        fs::write(beside(path, name), bytes).unwrap();
    }
}

/// Returns the journal of a run in each state in which it can be left.
fn states(run: &str) -> Vec<Kept> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let mut kept = vec![];
    let mut keep = |name, events: &[Event]| {
        kept.push(Kept { name, files: files(&path), events: events.to_vec() });
    };
    let mut events: Vec<Event> = (1..=61).map(|seq| delivery(run, seq)).collect();

    let journal = Journal::create(&path, &header(run)).unwrap();
    keep("begun", &[]);
    events[..30].chunks(3).for_each(|some| commit(&journal, some));
    keep("killed, nothing checkpointed", &events[..30]);
    drop(journal);
    keep("closed before its end", &events[..30]);
    let (journal, ..) = Journal::open(&path).unwrap();
    commit(&journal, &events[30..32]);
    keep("resumed", &events[..32]);
    events[32..60].chunks(2).for_each(|some| commit(&journal, some));
    keep("killed after it was resumed", &events[..60]);
    drop(journal);
    // Killed twice: the log of the first process was copied into the database, and the second process
    // overwrote the log.
    write(&path, &kept[4].files);
    let mut keep = |name, events: &[Event]| {
        kept.push(Kept { name, files: files(&path), events: events.to_vec() });
    };
    let (journal, ..) = Journal::open(&path).unwrap();
    commit(&journal, &events[60..]);
    keep("killed twice", &events);
    let end = EventKind::RunEnded { outcome: Outcome::Succeeded, succeeded: 61, failed: 0, unfinished: 0 };
    events.push(event(run, 62, end));
    commit(&journal, &events[61..]);
    keep("killed after its end", &events);
    drop(journal);
    keep("ended", &events);
    kept
}

fn dice(seed: u64) -> impl FnMut() -> u8 {
    let mut dice = seed | 1;
    move || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 56) as u8
    }
}

/// Returns every damage of one file: its description, and the remaining bytes.
fn damages(whole: &[u8], others: &[(&str, &Vec<u8>)]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut damages = vec![("deleted".to_owned(), None), ("emptied".to_owned(), Some(vec![]))];
    let length = whole.len();
    // A mark is a single line.
    let parts = if length < 200 { 4 } else { 12 };
    let places: Vec<usize> = (1..parts).map(|part| length * part / parts).collect();
    for at in &places {
        damages.push((format!("cut at {at}"), Some(whole[..*at].to_vec())));
    }
    // At the end of a page and of a frame, where a truncation could look like a regular end.
    for pages in [1, 2, 4, 7, 9] {
        for at in [pages * 4096, 32 + pages * 4120].into_iter().filter(|at| *at < length) {
            damages.push((format!("cut at {at}"), Some(whole[..at].to_vec())));
        }
    }
    for at in places.iter().map(|at| at + 5).chain([0, 3, 17, 26, 31, 33, 45, 60]).filter(|at| *at < length) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1 << (at % 8);
        damages.push((format!("bit flipped at {at}"), Some(bytes)));
    }
    for (at, number) in places.iter().copied().zip(0_u64..).chain([(0, 99)]) {
        let end = length.min(at + 700);
        let mut bytes = whole.to_vec();
        bytes[at..end].fill(0);
        damages.push((format!("zeros from {at} to {end}"), Some(bytes)));
        let mut bytes = whole.to_vec();
        bytes[at..end].fill_with(dice(number * 77));
        damages.push((format!("garbage from {at} to {end}"), Some(bytes)));
        let mut bytes = whole.to_vec();
        bytes[at..].fill(0);
        damages.push((format!("zeros from {at} on"), Some(bytes)));
    }
    for (of, other) in others {
        damages.push((format!("replaced by that of {of}"), Some((*other).clone())));
    }
    damages.retain(|(_, bytes)| bytes.as_deref() != Some(whole));
    damages
}

/// The outcomes of the damages of one state.
#[derive(Default)]
struct Tally {
    intact: usize,
    refused: BTreeMap<String, usize>,
}

/// Returns the name of an error, without its fields.
fn name_of(error: &JournalError) -> String {
    let text = match error {
        JournalError::Broken { damage, .. } => format!("{damage:?}"),
        other => format!("{other:?}"),
    };
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

#[test]
fn a_damaged_journal_has_every_event_or_is_rejected_with_its_name() {
    let (mine, other) = (states("r-1"), states("r-2"));
    let tallies: Vec<(&str, Tally)> = std::thread::scope(|scope| {
        let states = mine.iter().zip(&other);
        let checks: Vec<_> = states
            .map(|(state, other)| (state.name, scope.spawn(|| damage_each_file(state, other, &mine))))
            .collect();
        checks.into_iter().map(|(name, check)| (name, check.join().unwrap())).collect()
    });
    let (mut text, mut total, mut intact) = (String::new(), 0, 0);
    for (state, tally) in &tallies {
        let refused: usize = tally.refused.values().sum();
        writeln!(text, "{state}: {} intact, {refused} refused {:?}", tally.intact, tally.refused).unwrap();
        (total, intact) = (total + refused + tally.intact, intact + tally.intact);
    }
    println!("{total} damages, {intact} journals intact\n{text}");
    assert!(total >= 1000, "{total}: {text}");
    // Some damages are in unused bytes: a log that was checkpointed, or the free part of a page.
    assert!(intact > total / 50 && intact < total / 2, "{intact} of {total}: {text}");
}

/// Damages each file of a journal in every way, one at a time.
fn damage_each_file(state: &Kept, other: &Kept, mine: &[Kept]) -> Tally {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let history = &mine.last().unwrap().events;
    write(&path, &state.files);
    assert_eq!(Journal::read(&path).unwrap().1, state.events, "{}: as it was left", state.name);
    let mut tally = Tally::default();
    for (name, whole) in &state.files {
        // The same file of another run, and of this run at other times.
        let swaps: Vec<_> = std::iter::once(other)
            .chain(mine)
            .filter_map(|of| Some((of.name, of.files.get(name)?)))
            .collect();
        for (damage, left) in damages(whole, &swaps) {
            let what = format!("{}: journal.db{name} {damage}", state.name);
            let mut files = state.files.clone();
            match left {
                Some(bytes) => files.insert(name, bytes),
                None => files.remove(name),
            };
            write(&path, &files);
            check(&what, &path, state, history, &mut tally);
        }
    }
    tally
}

/// Checks the outcome of a damage.
fn check(what: &str, path: &Path, state: &Kept, history: &[Event], tally: &mut Tally) {
    let before = files(path);
    assert!(Journal::exists(path), "{what}: the run must not count as absent");
    // The header identifies the run: a wrong header would hide the run.
    if let Ok(header) = Journal::header(path) {
        assert_eq!(header.run, "r-1", "{what}");
    }
    match Journal::read(path) {
        Ok((_, events)) => {
            assert!(events.len() >= state.events.len(), "{what}: {} events are left", events.len());
            // There may be more events than before, if the log of a later time was put in place: they belong
            // to the run too.
            assert!(events == history[..events.len()], "{what}: other events");
            match Journal::open(path) {
                Ok((journal, ..)) => {
                    tally.intact += 1;
                    resumed(what, path, journal, &events);
                }
                // The events can be read, but adding to the journal would destroy data.
                Err(JournalError::Broken { damage: Damage::Structure { .. }, .. }) => {
                    *tally.refused.entry("Structure".into()).or_default() += 1;
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
        Err(JournalError::Empty { .. }) => {
            // A new run begins, which is right if this one had not done anything.
            assert_eq!(state.events, [], "{what}: must not count as a run that never began");
            *tally.refused.entry("Empty".into()).or_default() += 1;
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains("journal.db"), "{what}: {message}");
            assert!(Journal::open(path).is_err(), "{what}: {message}");
            for (name, bytes) in before {
                // Readers may leave an empty log, but no other file.
                assert_eq!(fs::read(beside(path, name)).unwrap(), bytes, "{what}: {name} was changed");
            }
            *tally.refused.entry(name_of(&error)).or_default() += 1;
        }
    }
}

/// An intact journal can be extended, and what is added can be read.
fn resumed(what: &str, path: &Path, journal: Journal, events: &[Event]) {
    let next = delivery("r-1", events.len() as u64 + 1);
    commit(&journal, std::slice::from_ref(&next));
    let left = files(path);
    drop(journal);
    for files in [left, files(path)] {
        write(path, &files);
        let (_, found) = Journal::read(path).unwrap();
        assert_eq!(found.len(), events.len() + 1, "{what}");
        assert!(found[..events.len()] == *events && found.last() == Some(&next), "{what}: other events");
    }
}

/// SQLite would remove the log, because the database is empty.
#[test]
fn the_log_of_an_emptied_database_is_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let state = states("r-1").swap_remove(1);
    write(&path, &state.files);
    fs::write(&path, "").unwrap();
    let log_bytes = state.files["-wal"].len() as u64;
    for _ in 0..2 {
        let Err(JournalError::Broken { path: file, damage }) = Journal::open(&path).map(|_| ()) else {
            panic!()
        };
        assert_eq!((file, damage), (path.clone(), Damage::Empty { log_bytes }));
    }
    assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), state.files["-wal"]);
    // When the files are restored, the journal is complete.
    write(&path, &state.files);
    assert_eq!(Journal::open(&path).unwrap().2, state.events);
}

#[test]
fn links_fifos_and_folders_are_rejected_without_waiting() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = TempDir::new().unwrap();
    let (path, real) = (folder.path().join("journal.db"), folder.path().join("real"));
    let state = states("r-1").swap_remove(1);
    for name in ["", "-wal", "-shm", "-mark"] {
        for kind in ["fifo", "link", "folder"] {
            write(&path, &state.files);
            let place = beside(&path, name);
            let _ = fs::remove_file(&place);
            match kind {
                "fifo" => mknodat(CWD, &place, FileType::Fifo, Mode::RWXU, 0).unwrap(),
                "link" => {
                    fs::write(&real, state.files.get(name).cloned().unwrap_or_default()).unwrap();
                    std::os::unix::fs::symlink(&real, &place).unwrap();
                }
                _ => fs::create_dir(&place).unwrap(),
            }
            for refused in [Journal::read(&path).map(|_| ()), Journal::open(&path).map(|_| ())] {
                match refused {
                    Err(JournalError::Broken { path: file, damage: Damage::Link | Damage::NoFile }) => {
                        assert_eq!(file, place);
                    }
                    other => panic!("{name} {kind}: {other:?}"),
                }
            }
            assert!(Journal::exists(&path));
            let _ = fs::remove_file(&place).or_else(|_| fs::remove_dir(&place));
        }
    }
}

/// Reading takes no lock: files that change during a read must not be reported as damage.
#[test]
fn a_journal_that_is_being_written_is_never_reported_as_damaged() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Journal::create(&path, &header("r-1")).unwrap();
    drop(journal);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut last = 0;
            // Opened and closed, with a log that is rewritten from its start.
            for _ in 0..20 {
                let (journal, ..) = Journal::open(&path).unwrap();
                for _ in 0..40 {
                    let some: Vec<Event> = (last + 1..=last + 25).map(|seq| delivery("r-1", seq)).collect();
                    last += 25;
                    commit(&journal, &some);
                }
            }
            last
        });
        let (mut reads, mut seen) = (0, 0);
        while !writing.is_finished() {
            let (_, events) = Journal::read(&path).unwrap_or_else(|error| panic!("after {reads}: {error}"));
            assert!(events.len() >= seen, "an event is missing");
            (reads, seen) = (reads + 1, events.len());
        }
        assert!(reads > 5, "{reads}");
        assert_eq!(Journal::read(&path).unwrap().1.len() as u64, writing.join().unwrap());
    });
}

/// A resumed run relies on this: the recovered events are never fewer than the acknowledged ones.
#[test]
fn no_delivery_is_lost_by_a_truncation_of_any_length() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let state = states("r-1").swap_remove(4);
    let delivered = |events: &[Event]| {
        let past = RecoveredRun::of(events);
        past.tasks.values().filter(|task| task.delivered.is_some()).count()
    };
    let log = &state.files["-wal"];
    let mut refused = 0;
    for length in (0..=log.len()).step_by(1030) {
        let mut files = state.files.clone();
        files.insert("-wal", log[..length].to_vec());
        write(&path, &files);
        match Journal::read(&path) {
            Ok((_, events)) => assert_eq!(delivered(&events), 60, "cut at {length}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "{refused}");
}
