//! One run's events on SQLite.
//!
//! A file journal has one writer thread. What waits is committed in one transaction (WAL, synchronous=FULL),
//! and an append is answered only after its commit: an event that was acknowledged survives a crash. Each
//! event carries a checksum over all its fields; a journal that is damaged is refused, never skipped over.

use crate::{
    database,
    event::{Event, Happening},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::mpsc::{Receiver, Sender, channel},
    task::{Context, Poll},
    thread::JoinHandle,
};

/// Version of the file's format.
const FORMAT: i64 = 1;
/// `drml`: what tells a journal from another database.
const APPLICATION: i64 = 0x6472_6d6c;

/// What a journal says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHeader {
    /// The run.
    pub run: String,
    /// `run.name` of its run file.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Version of the program that made it.
    pub program: String,
    /// Hash of the plan, to notice that it changed.
    pub plan: String,
    /// The run file, absolute; none if the run was made without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What the command line set over it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// Which services it uses: a run goes on only with the same. Holds no secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The work folder of the daemon that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<PathBuf>,
}

impl RunHeader {
    /// The header of a run that begins now.
    pub fn of(run: &str, name: &str, created: Timestamp, plan: &str) -> Self {
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
        }
    }
}

/// Why events could not be kept or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// There is a journal already.
    #[error("journal {path} exists: a run has one journal, made once")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version.
    #[error("journal {path} has format {found}, this program reads up to {FORMAT}: use a newer dropmill")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// The file is no journal.
    #[error("{path} is not a journal of dropmill")]
    NoJournal {
        /// The file.
        path: PathBuf,
    },
    /// Whoever made the file was cut off before anything was in it: there is no run to go on with.
    #[error("journal {path} is empty: its run was cut off before it began")]
    NeverBegun {
        /// The file.
        path: PathBuf,
    },
    /// An event is missing or changed.
    #[error(
        "journal {path} is damaged at event {seq}: {reason}; nothing after it can be trusted: restore the file from a copy, or start a new run"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The event.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// The disk or the database refused.
    #[error("journal {path}: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What came back.
        reason: String,
    },
    /// A flush failed. The kernel tells that once and then forgets it, so a later flush that succeeds says nothing of
    /// what was written before: nothing more is taken in.
    #[error(
        "journal {path}: a flush failed ({reason}), so what it holds is known only by reading it again: \
         the next life of the run does that"
    )]
    Unsure {
        /// The file.
        path: PathBuf,
        /// What came back.
        reason: String,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// Resolves when events are durable, or cannot be made so.
#[must_use = "an event counts only when its commit is done"]
pub struct Committed(Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send>>);

impl Future for Committed {
    type Output = Result<(), JournalError>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// One run's events, to be appended to.
pub struct Journal {
    inner: Inner,
    last: u64,
}

enum Inner {
    File { orders: Option<Sender<Order>>, writer: Option<JoinHandle<()>> },
    Elsewhere(Box<Keep>),
}

/// Somebody else's way to keep events.
type Keep = dyn Fn(Vec<Event>) -> Option<Result<(), JournalError>> + Send + Sync;

struct Order {
    events: Vec<Event>,
    answer: async_channel::Sender<Result<(), JournalError>>,
}

impl Journal {
    /// A new journal in a file of its own, readable by its owner alone.
    ///
    /// # Errors
    /// [`JournalError::Exists`] if there is one, [`JournalError::Refused`] if it cannot be made.
    pub fn create(path: &Path, header: &RunHeader) -> Result<Self, JournalError> {
        match dropmill_private_files::create_new(path) {
            Ok(_) => {}
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {
                return Err(JournalError::Exists { path: path.into() });
            }
            Err(error) => return Err(refused(path, &error)),
        }
        let database = database::open(path)?;
        set_up(&database, header).map_err(|error| refused(path, &error))?;
        Ok(Self::over(path, database, 0))
    }

    /// An existing journal, to go on with; every event in it is checked.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(path: &Path) -> Result<(Self, RunHeader, Vec<Event>), JournalError> {
        let (header, events) = Self::read(path)?;
        let database = database::open(path)?;
        database.pragma_update(None, "synchronous", "FULL").map_err(|error| refused(path, &error))?;
        let last = events.last().map_or(0, |event| event.seq);
        Ok((Self::over(path, database, last), header, events))
    }

    /// A journal without a file or a thread, for simulations: whoever wants its events subscribes to them.
    pub fn in_memory() -> Self {
        Self::kept_by(|_| Ok(()))
    }

    /// A journal whose events `keep` makes durable, or refuses to: for simulations of disks that fail.
    pub fn kept_by(keep: impl Fn(Vec<Event>) -> Result<(), JournalError> + Send + Sync + 'static) -> Self {
        Self::answered_by(move |events| Some(keep(events)))
    }

    /// A journal that `keep` answers for, or never does: for simulations of machines that die.
    pub fn answered_by(
        keep: impl Fn(Vec<Event>) -> Option<Result<(), JournalError>> + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Inner::Elsewhere(Box::new(keep)), last: 0 }
    }

    fn over(path: &Path, database: Connection, last: u64) -> Self {
        let (orders, waiting) = channel();
        let writer = Writer { path: path.into(), database, broken: None };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.work(&waiting));
        Self { inner: Inner::File { orders: Some(orders), writer: thread.ok() }, last }
    }

    /// Number of the last event that was there when the journal was opened.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Appends events in their order.
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

    /// What a journal says of itself.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn header(path: &Path) -> Result<RunHeader, JournalError> {
        let database = database::open_to_read(path)?;
        read_header(path, &database)
    }

    /// Every event of a journal, checked; also while a run writes it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn read(path: &Path) -> Result<(RunHeader, Vec<Event>), JournalError> {
        let database = database::open_to_read(path)?;
        let header = read_header(path, &database)?;
        let mut events = vec![];
        let mut rows = database
            .prepare(
                "SELECT seq, at, elapsed_ms, cause, actor, subject, happening, sum FROM events ORDER BY seq",
            )
            .map_err(|error| refused(path, &error))?;
        let mut rows = rows.query([]).map_err(|error| refused(path, &error))?;
        loop {
            let next = events.len() as u64 + 1;
            let damaged = |reason: String| JournalError::Damaged { path: path.into(), seq: next, reason };
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok((header, events)),
                Err(error) => return Err(damaged(error.to_string())),
            };
            let row = Row::read(row).map_err(|error| damaged(error.to_string()))?;
            if row.seq != next {
                return Err(damaged(format!("event {} follows", row.seq)));
            }
            if row.sum != row.checksum(&header.run) {
                return Err(damaged("its checksum is wrong".into()));
            }
            events.push(row.event(&header.run).map_err(damaged)?);
        }
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

fn set_up(database: &Connection, header: &RunHeader) -> rusqlite::Result<()> {
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    // One transaction: each of its own would be flushed for itself.
    let transaction = database.unchecked_transaction()?;
    database.pragma_update(None, "application_id", APPLICATION)?;
    database.pragma_update(None, "user_version", FORMAT)?;
    database.execute_batch(
        "CREATE TABLE header (body TEXT NOT NULL) STRICT;
         CREATE TABLE events (
             seq INTEGER PRIMARY KEY, at TEXT NOT NULL, elapsed_ms INTEGER NOT NULL, cause INTEGER,
             actor TEXT NOT NULL, subject TEXT NOT NULL, happening TEXT NOT NULL, sum INTEGER NOT NULL
         ) STRICT;",
    )?;
    let body = serde_json::to_string(header).expect("a header has only text for keys");
    database.execute("INSERT INTO header VALUES (?1)", [body])?;
    transaction.commit()
}

fn read_header(path: &Path, database: &Connection) -> Result<RunHeader, JournalError> {
    let number = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let no_journal = || JournalError::NoJournal { path: path.into() };
    let application = number("application_id").map_err(|error| match error.sqlite_error() {
        // Something to roll back, other than a log, is there only until the first lines of the setting up are written.
        Some(error) if error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK => {
            JournalError::NeverBegun { path: path.into() }
        }
        _ => no_journal(),
    })?;
    // It is set in the same transaction as everything else: a file with neither is one that nobody wrote to.
    if application == 0 && number("schema_version").map_err(|_| no_journal())? == 0 {
        return Err(JournalError::NeverBegun { path: path.into() });
    }
    if application != APPLICATION {
        return Err(no_journal());
    }
    let format = number("user_version").map_err(|error| refused(path, &error))?;
    if format > FORMAT {
        return Err(JournalError::Newer { path: path.into(), found: format });
    }
    let damaged = |reason: String| JournalError::Damaged { path: path.into(), seq: 0, reason };
    let body: Option<String> = database
        .query_row("SELECT body FROM header", [], |row| row.get(0))
        .optional()
        .map_err(|error| damaged(error.to_string()))?;
    let body = body.ok_or_else(|| damaged("its header is missing".into()))?;
    serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))
}

struct Writer {
    path: PathBuf,
    database: Connection,
    /// A flush failed: why nothing is taken in any more.
    broken: Option<JournalError>,
}

impl Writer {
    fn work(mut self, waiting: &Receiver<Order>) {
        while let Ok(first) = waiting.recv() {
            let orders: Vec<Order> = std::iter::once(first).chain(waiting.try_iter()).collect();
            let outcome = match self.broken.clone() {
                Some(broken) => Err(broken),
                None => {
                    let committed = self.commit(&orders);
                    self.judged(committed)
                }
            };
            for order in orders {
                // Whoever asked may be gone; the events are kept all the same.
                let _ = order.answer.try_send(outcome.clone());
            }
        }
    }

    /// What a commit means for this journal and for those that come after it.
    fn judged(&mut self, committed: rusqlite::Result<()>) -> Result<(), JournalError> {
        use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
        let Err(error) = committed else { return Ok(()) };
        let code = error.sqlite_error().map(|error| error.extended_code);
        if !matches!(code, Some(SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC)) {
            return Err(refused(&self.path, &error));
        }
        let unsure = JournalError::Unsure { path: self.path.clone(), reason: error.to_string() };
        self.broken = Some(unsure.clone());
        Err(unsure)
    }

    fn commit(&mut self, orders: &[Order]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
            for event in orders.iter().flat_map(|order| &order.events) {
                let row = Row::of(event);
                insert.execute(params![
                    row.seq.cast_signed(),
                    row.at,
                    row.elapsed_ms.cast_signed(),
                    row.cause.map(u64::cast_signed),
                    row.actor,
                    row.subject,
                    row.happening,
                    row.checksum(&event.run),
                ])?;
            }
        }
        transaction.commit()
    }
}

/// An event as the table keeps it.
struct Row {
    seq: u64,
    at: String,
    elapsed_ms: u64,
    cause: Option<u64>,
    actor: String,
    subject: String,
    happening: String,
    sum: u32,
}

impl Row {
    fn of(event: &Event) -> Self {
        Self {
            seq: event.seq,
            at: event.at.to_string(),
            elapsed_ms: event.elapsed_ms,
            cause: event.cause,
            actor: event.actor.clone(),
            subject: event.subject.clone(),
            happening: serde_json::to_string(&event.happening).expect("happenings have only text for keys"),
            sum: 0,
        }
    }

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            at: row.get(1)?,
            elapsed_ms: row.get::<_, i64>(2)?.cast_unsigned(),
            cause: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
            actor: row.get(4)?,
            subject: row.get(5)?,
            happening: row.get(6)?,
            sum: row.get(7)?,
        })
    }

    /// Over every field, and over the run, so that an event of another journal does not pass.
    fn checksum(&self, run: &str) -> u32 {
        let mut hash = crc32fast::Hasher::new_with_initial(1);
        for number in [self.seq, self.elapsed_ms, self.cause.unwrap_or(0)] {
            hash.update(&number.to_le_bytes());
        }
        for text in [run, &self.at, &self.actor, &self.subject, &self.happening] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.finalize()
    }

    fn event(self, run: &str) -> Result<Event, String> {
        let at = self.at.parse().map_err(|error: jiff::Error| error.to_string())?;
        let happening: Happening =
            serde_json::from_str(&self.happening).map_err(|error| error.to_string())?;
        let (seq, elapsed_ms, cause) = (self.seq, self.elapsed_ms, self.cause);
        Ok(Event {
            seq,
            at,
            elapsed_ms,
            run: run.into(),
            actor: self.actor,
            subject: self.subject,
            cause,
            happening,
        })
    }
}

fn refused(path: &Path, error: &impl std::fmt::Display) -> JournalError {
    JournalError::Refused { path: path.into(), reason: error.to_string() }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
