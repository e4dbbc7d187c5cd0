//! One run's events on SQLite.
//!
//! A file journal has one writer thread. Pending events are committed in one transaction (WAL,
//! synchronous=FULL), and an append completes only after its commit: an acknowledged event survives a crash.
//! Each event carries a checksum over all its fields; a damaged journal is rejected, and damaged events are
//! never skipped.
//!
//! A journal consists of three files: the database, its log (`-wal`) while it is open or after a crash, and
//! its mark (`-mark`). [`files`] checks them before SQLite opens them, and the mark contains the minimum
//! number of events.

use crate::{
    Damage, JournalError, database,
    event::{Event, EventKind},
    files,
    mark::{LogUse, Mark, MarkFile},
    row::{self, Row},
    writer::{APPLICATION, FORMAT, Order, Store, WITH_MARK, Writer},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::mpsc::{Sender, channel},
    task::{Context, Poll},
    thread::JoinHandle,
};

/// The header of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHeader {
    /// Name of the run.
    pub run: String,
    /// `run.name` of its run file.
    pub name: String,
    /// Time of its creation.
    pub created: Timestamp,
    /// Version of the program that created it.
    pub program: String,
    /// Hash of the plan, to detect changes.
    pub plan: String,
    /// Absolute path of the run file; `None` if the run was created without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Settings of the command line that override the run file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// The services that it uses; a run can only be resumed with the same ones. Contains no secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The work folder of the daemon that the run belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<PathBuf>,
    /// Features of the journal that a release must know to read it. Empty if it needs nothing beyond its
    /// format; only later releases fill it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

impl RunHeader {
    /// Creates the header of a new run.
    pub fn new(run: &str, name: &str, created: Timestamp, plan: &str) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let (run, name, plan) = (run.into(), name.into(), plan.into());
        Self {
            run,
            name,
            created,
            program,
            plan,
            file: None,
            set: vec![],
            service: String::new(),
            watch: None,
            needs: vec![],
        }
    }
}

/// Maximum number of attempts to read a journal that seems damaged: another process may be writing it.
const ATTEMPTS: u32 = 3;

/// Resolves when the events are durable, or with the error that prevents it.
#[must_use = "an event counts only when its commit is done"]
pub struct Committed(Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send>>);

impl Future for Committed {
    type Output = Result<(), JournalError>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// The events of one run, open for appending.
pub struct Journal {
    inner: Inner,
    last: u64,
}

enum Inner {
    File { orders: Option<Sender<Order>>, writer: Option<JoinHandle<()>> },
    Elsewhere(Box<Keep>),
}

/// A function that stores events instead of SQLite, for simulations.
type Keep = dyn Fn(Vec<Event>) -> Option<Result<(), JournalError>> + Send + Sync;

impl Journal {
    /// Creates a journal in a new file that only its owner can read.
    ///
    /// # Errors
    /// [`JournalError::Exists`] if the file exists, [`JournalError::Io`] if it cannot be created.
    pub fn create(path: &Path, header: &RunHeader) -> Result<Self, JournalError> {
        match dropmill_private_files::create_new(path) {
            Ok(_) => {}
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {
                return Err(JournalError::Exists { path: path.into() });
            }
            Err(error) => return Err(JournalError::refused(path, &error)),
        }
        // Created first: once the journal has content, a missing mark means damage.
        let mark = Mark { run: header.run.clone(), last: 0, log: LogUse::Optional };
        let mark = MarkFile::begin(path, mark)?;
        Ok(Self::over(Store::create(path, mark, header)?, 0))
    }

    /// Opens an existing journal for appending and checks every event in it. The first append converts a
    /// journal of an earlier format to the present format.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(path: &Path) -> Result<(Self, RunHeader, Vec<Event>), JournalError> {
        let (header, events) = settled(|| {
            let read = read_once(path)?;
            check_structure(path)?;
            Ok(read)
        })?;
        let last = events.last().map_or(0, |event| event.seq);
        let log = Mark::read(path)?.map_or(LogUse::Optional, |mark| mark.log);
        let mark = MarkFile::begin(path, Mark { run: header.run.clone(), last, log })?;
        Ok((Self::over(Store::resume(path, mark)?, last), header, events))
    }

    /// Creates a journal without a file or a thread, for simulations; a subscriber can receive its events.
    pub fn in_memory() -> Self {
        Self::kept_by(|_| Ok(()))
    }

    /// Creates a journal whose events are stored by `keep`, which may fail: for simulations of failing disks.
    pub fn kept_by(keep: impl Fn(Vec<Event>) -> Result<(), JournalError> + Send + Sync + 'static) -> Self {
        Self::answered_by(move |events| Some(keep(events)))
    }

    /// Creates a journal whose commits are answered by `keep`, or never: for simulations of crashes.
    pub fn answered_by(
        keep: impl Fn(Vec<Event>) -> Option<Result<(), JournalError>> + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Inner::Elsewhere(Box::new(keep)), last: 0 }
    }

    fn over(store: Store, last: u64) -> Self {
        let (orders, waiting) = channel();
        let writer = Writer::new(store);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.work(&waiting));
        Self { inner: Inner::File { orders: Some(orders), writer: thread.ok() }, last }
    }

    /// Returns the number of the last event when the journal was opened.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Appends events in the given order.
    pub fn append(&self, events: Vec<Event>) -> Committed {
        match &self.inner {
            Inner::Elsewhere(keep) => match keep(events) {
                Some(answer) => Committed(Box::pin(std::future::ready(answer))),
                None => Committed(Box::pin(std::future::pending())),
            },
            Inner::File { orders, .. } => {
                let (answer, answered) = async_channel::bounded(1);
                let sent =
                    orders.as_ref().is_some_and(|orders| orders.send(Order { events, answer }).is_ok());
                Committed(Box::pin(async move {
                    if !sent {
                        return Err(JournalError::Closed);
                    }
                    answered.recv().await.unwrap_or(Err(JournalError::Closed))
                }))
            }
        }
    }

    /// Returns whether a journal, or a part of one, exists. A log or a mark alone is damage, which reading
    /// reports; it does not mean that the run never began.
    pub fn exists(path: &Path) -> bool {
        files::exist(path)
    }

    /// Returns the header of a journal. Changes nothing.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn header(path: &Path) -> Result<RunHeader, JournalError> {
        settled(|| {
            let mark = files::check(path)?;
            let database = database::open_to_read(path)?;
            Ok(read_header(path, &database, mark.as_ref())?.0)
        })
    }

    /// Returns all events of a journal after checking them, even while a run writes it. Changes nothing.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn read(path: &Path) -> Result<(RunHeader, Vec<Event>), JournalError> {
        settled(|| read_once(path))
    }

    /// Returns the events of a journal after number `after`, also while a run writes it. Each is checked; whether earlier
    /// ones are complete is not. It changes nothing.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn read_after(path: &Path, after: u64) -> Result<Vec<Event>, JournalError> {
        settled(|| {
            let mark = files::check(path)?;
            let database = database::open_to_read(path)?;
            let (header, _) = read_header(path, &database, mark.as_ref())?;
            read_events(path, &database, &header.run, after)
        })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Inner::File { orders, writer } = &mut self.inner {
            drop(orders.take());
            if let Some(writer) = writer.take() {
                let _ = writer.join();
            }
        }
    }
}

/// Repeats an attempt that found damage. Another process that writes the journal may be between two steps;
/// real damage stays.
fn settled<T>(attempt: impl Fn() -> Result<T, JournalError>) -> Result<T, JournalError> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if error.may_pass() => {}
            outcome => return outcome,
        }
    }
    attempt()
}

fn read_once(path: &Path) -> Result<(RunHeader, Vec<Event>), JournalError> {
    let mark = files::check(path)?;
    let database = database::open_to_read(path)?;
    let (header, format) = read_header(path, &database, mark.as_ref())?;
    let events = read_events(path, &database, &header.run, 0)?;
    let Some(mark) = mark else {
        // The last event shows whether the run has ended; it is checked like all others.
        let has_ended = matches!(events.last(), Some(Event { kind: EventKind::RunEnded { .. }, .. }));
        return match format < WITH_MARK || has_ended {
            true => Ok((header, events)),
            false => Err(Damage::MarkMissing.in_file(Mark::path(path))),
        };
    };
    let (expected, found) = (mark.last, events.len() as u64);
    if found < expected {
        return Err(Damage::Lost { expected, found }.in_file(path));
    }
    Ok((header, events))
}

/// Checks the free part of each page, which reading events does not check. A page with a wrong offset for its
/// next row would overwrite other rows.
fn check_structure(path: &Path) -> Result<(), JournalError> {
    let database = database::open_to_read(path)?;
    let checked = database.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match checked.map_err(|error| error.to_string()) {
        Ok(text) if text == "ok" => Ok(()),
        Ok(reason) | Err(reason) => Err(Damage::Structure { reason }.in_file(path)),
    }
}

fn read_header(
    path: &Path,
    database: &Connection,
    mark: Option<&Mark>,
) -> Result<(RunHeader, i64), JournalError> {
    let number = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    // A file with a mark was a journal once.
    let no_journal = || match mark {
        Some(_) => Damage::NoJournal.in_file(path),
        None => JournalError::NoJournal { path: path.into() },
    };
    let blank = || match mark.is_some_and(Mark::has_begun) {
        true => Damage::Blank.in_file(path),
        false => JournalError::Empty { path: path.into() },
    };
    let application = number("application_id").map_err(|error| match error.sqlite_error() {
        // A rollback journal (other than a WAL) exists only until the first step of the setup is written.
        Some(error) if error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK => blank(),
        _ => no_journal(),
    })?;
    // Both are set in one transaction: no process has written to a file that has neither.
    if application == 0 && number("schema_version").map_err(|_| no_journal())? == 0 {
        return Err(blank());
    }
    if application != APPLICATION {
        return Err(no_journal());
    }
    let damaged = |reason: String| JournalError::Damaged { path: path.into(), seq: 0, reason };
    let format = number("user_version").map_err(|error| JournalError::refused(path, &error))?;
    match format {
        1..=FORMAT => {}
        _ if format > FORMAT => {
            return Err(JournalError::Newer { path: path.into(), found: format, known: FORMAT });
        }
        _ => return Err(damaged(format!("expected format 1 to {FORMAT}, found {format}"))),
    }
    let select = match format < WITH_MARK {
        true => "SELECT body, NULL FROM header",
        false => "SELECT body, sum FROM header",
    };
    let row: Option<(String, Option<u32>)> = database
        .query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(|error| damaged(error.to_string()))?;
    let (body, sum) = row.ok_or_else(|| damaged("its header is missing".into()))?;
    if sum.is_some_and(|sum| sum != crc32fast::hash(body.as_bytes())) {
        return Err(damaged("the checksum of its header is wrong".into()));
    }
    let header: RunHeader = serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
    if let Some(mark) = mark.filter(|mark| mark.run != header.run) {
        let found = mark.run.clone();
        return Err(Damage::OtherRun { expected: header.run, found }.in_file(Mark::path(path)));
    }
    if !header.needs.is_empty() {
        return Err(JournalError::Needs { path: path.into(), needs: header.needs });
    }
    Ok((header, format))
}

fn read_events(
    path: &Path,
    database: &Connection,
    run: &str,
    after: u64,
) -> Result<Vec<Event>, JournalError> {
    let mut events = vec![];
    let refused = |error: rusqlite::Error| JournalError::refused(path, &error);
    let mut rows = database.prepare(row::SELECT).map_err(refused)?;
    // A row with a number that no event has is damage, which the first comparison finds.
    let after_row = if after == 0 { i64::MIN } else { i64::try_from(after).unwrap_or(i64::MAX) };
    let mut rows = rows.query([after_row]).map_err(refused)?;
    loop {
        let next = after + events.len() as u64 + 1;
        let damaged = |reason: String| JournalError::Damaged { path: path.into(), seq: next, reason };
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(events),
            Err(error) => return Err(damaged(error.to_string())),
        };
        let row = Row::read(row).map_err(|error| damaged(error.to_string()))?;
        if row.seq != next {
            return Err(damaged(format!("event {} follows", row.seq)));
        }
        if !row.is_intact(run) {
            return Err(damaged("its checksum is wrong".into()));
        }
        events.push(row.event(path, run)?);
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
