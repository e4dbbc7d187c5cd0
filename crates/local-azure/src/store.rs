//! Stores the state of the model in SQLite: changes of many requests are committed together, and a response
//! waits for its own changes.

use crate::durability::Durability;
use crate::model::{
    Change, Job, JobKey, MOST_LEASES, Model, NodeUsage, Pool, PoolKey, Schedule, ScheduleKey, Task,
    TaskFacts, TaskKey,
};
use dropmill_azure_wire::{batch::TaskAdd, time::Timestamp};
use dropmill_private_files as private_files;
use rusqlite::{Connection, OpenFlags, params};
use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

/// Version of the database.
const FORMAT: i64 = 1;

/// The reason why the store cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("store {}: {reason}", path.display())]
pub struct StoreError {
    /// Path of the file.
    pub path: PathBuf,
    /// Message of the error.
    pub reason: String,
}

/// Makes changes durable.
pub struct Store {
    orders: Mutex<Option<Sender<Order>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Order {
    changes: Vec<Change>,
    answer: Option<async_channel::Sender<Result<(), StoreError>>>,
}

/// Resolves when the changes are durable.
pub struct Ticket(Option<async_channel::Receiver<Result<(), StoreError>>>);

impl Ticket {
    /// Waits until the changes are durable.
    pub async fn durable(self) -> Result<(), StoreError> {
        let Some(answered) = self.0 else { return Ok(()) };
        let closed = || StoreError { path: PathBuf::new(), reason: "it is closed".into() };
        answered.recv().await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Store {
    /// Creates a store that stores nothing.
    pub fn none() -> Self {
        Self { orders: Mutex::default(), writer: Mutex::default() }
    }

    /// Opens the database, loads its content into the model, and accepts changes from then on.
    ///
    /// # Errors
    /// Fails if it cannot be read, or has a later format.
    pub fn open(
        path: &Path,
        durability: Durability,
        model: &mut Model,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let failed = |reason: String| StoreError { path: path.to_owned(), reason };
        let database = open(path, durability).map_err(|error| failed(error.to_string()))?;
        let format: i64 = database
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|error| failed(error.to_string()))?;
        if format > FORMAT {
            return Err(failed(format!(
                "expected at most format {FORMAT}, found {format}; use a newer version of dropmill"
            )));
        }
        database.pragma_update(None, "user_version", FORMAT).map_err(|error| failed(error.to_string()))?;
        load(&database, model, now).map_err(|error| failed(error.to_string()))?;
        let (orders, waiting) = channel();
        let writer = Writer { path: path.to_owned(), database };
        let thread =
            std::thread::Builder::new().name("batch store".into()).spawn(move || writer.work(&waiting));
        let thread = thread.map_err(|error| failed(error.to_string()))?;
        Ok(Self { orders: Mutex::new(Some(orders)), writer: Mutex::new(Some(thread)) })
    }

    /// Accepts changes, in this order; the ticket reports when they are durable, if a caller waits.
    pub fn order(&self, changes: Vec<Change>, waits: bool) -> Ticket {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(orders) = orders.as_ref().filter(|_| !changes.is_empty()) else { return Ticket(None) };
        let (answer, answered) = async_channel::bounded(1);
        // If the writer has ended, it drops the channel, which the caller notices.
        let _ = orders.send(Order { changes, answer: waits.then_some(answer) });
        Ticket(waits.then_some(answered))
    }

    /// Commits pending changes and ends the writer.
    pub fn close(&self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn open(path: &Path, durability: Durability) -> Result<Connection, Box<dyn std::error::Error>> {
    let file = private_files::database(path)?;
    let database = Connection::open_with_flags(file, OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW)?;
    database.pragma_update(None, "synchronous", durability.synchronous())?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // One transaction, because each commit is flushed.
    database.execute_batch(
        "BEGIN;
         CREATE TABLE IF NOT EXISTS pools (key TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS jobs (key TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS schedules (key TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS leases (number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL) STRICT;
         CREATE TABLE IF NOT EXISTS tasks (job TEXT NOT NULL, key TEXT NOT NULL, asked TEXT NOT NULL, facts TEXT NOT NULL,
             PRIMARY KEY (job, key)) STRICT;
         COMMIT;",
    )?;
    Ok(database)
}

fn load(database: &Connection, model: &mut Model, now: Timestamp) -> Result<(), Box<dyn std::error::Error>> {
    let (mut pools, mut jobs, mut tasks) = (vec![], vec![], vec![]);
    let mut rows = database.prepare("SELECT key, body FROM pools")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        pools.push((
            PoolKey::of(row.get_ref(0)?.as_str()?),
            serde_json::from_str::<Pool>(&row.get::<_, String>(1)?)?,
        ));
    }
    let mut rows = database.prepare("SELECT key, body FROM jobs")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        jobs.push((
            JobKey::of(row.get_ref(0)?.as_str()?),
            serde_json::from_str::<Job>(&row.get::<_, String>(1)?)?,
        ));
    }
    let mut rows = database.prepare("SELECT job, key, asked, facts FROM tasks ORDER BY rowid")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let text = row.get_ref(2)?.as_str()?;
        let asked: TaskAdd = serde_json::from_str(text)?;
        let facts: TaskFacts = serde_json::from_str(row.get_ref(3)?.as_str()?)?;
        let (job, key) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        let key = TaskKey::of(key);
        let task = Task::new(&key, &asked, text, facts);
        tasks.push((JobKey::of(job), key, task));
    }
    let mut schedules = vec![];
    let mut rows = database.prepare("SELECT key, body FROM schedules")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        schedules.push((
            ScheduleKey::of(row.get_ref(0)?.as_str()?),
            serde_json::from_str::<Schedule>(&row.get::<_, String>(1)?)?,
        ));
    }
    let mut leases = vec![];
    let mut rows = database.prepare("SELECT body FROM leases ORDER BY number")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        leases.push(serde_json::from_str::<NodeUsage>(&row.get::<_, String>(0)?)?);
    }
    model.revive_leases(leases);
    model.revive(pools, jobs, tasks, now);
    model.revive_schedules(schedules, now);
    Ok(())
}

struct Writer {
    path: PathBuf,
    database: Connection,
}

impl Writer {
    fn work(mut self, waiting: &Receiver<Order>) {
        while let Ok(first) = waiting.recv() {
            let orders: Vec<Order> = std::iter::once(first).chain(waiting.try_iter()).collect();
            let outcome = self
                .commit(&orders)
                .map_err(|error| StoreError { path: self.path.clone(), reason: error.to_string() });
            if let Err(error) = &outcome {
                tracing::error!(%error, "cannot store changes");
            }
            for answer in orders.into_iter().filter_map(|order| order.answer) {
                let _ = answer.try_send(outcome.clone());
            }
        }
    }

    fn commit(&mut self, orders: &[Order]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        for change in orders.iter().flat_map(|order| &order.changes) {
            let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
                transaction.prepare_cached(sql)?.execute(values).map(drop)
            };
            match change {
                Change::PutPool { key, body } => {
                    run("INSERT OR REPLACE INTO pools VALUES (?1, ?2)", params![key.as_str(), body])?
                }
                Change::DropPool { key } => run("DELETE FROM pools WHERE key = ?1", params![key.as_str()])?,
                Change::PutJob { key, body } => {
                    run("INSERT OR REPLACE INTO jobs VALUES (?1, ?2)", params![key.as_str(), body])?
                }
                Change::DropJob { key } => {
                    run("DELETE FROM jobs WHERE key = ?1", params![key.as_str()])?;
                    run("DELETE FROM tasks WHERE job = ?1", params![key.as_str()])?;
                }
                Change::PutSchedule { key, body } => {
                    run("INSERT OR REPLACE INTO schedules VALUES (?1, ?2)", params![key.as_str(), body])?
                }
                Change::DropSchedule { key } => {
                    run("DELETE FROM schedules WHERE key = ?1", params![key.as_str()])?
                }
                Change::AddLease { body } => {
                    run("INSERT INTO leases (body) VALUES (?1)", params![body])?;
                    let sql = "DELETE FROM leases WHERE number <= last_insert_rowid() - ?1";
                    run(sql, params![i64::try_from(MOST_LEASES).unwrap_or(i64::MAX)])?;
                }
                Change::PutTask { job, key, add, facts } => {
                    run(
                        "INSERT OR REPLACE INTO tasks VALUES (?1, ?2, ?3, ?4)",
                        params![job.as_str(), key.as_str(), add, facts],
                    )?;
                }
                Change::PutTaskFacts { job, key, facts } => {
                    let sql = "UPDATE tasks SET facts = ?3 WHERE job = ?1 AND key = ?2";
                    run(sql, params![job.as_str(), key.as_str(), facts])?;
                }
                Change::DropTask { job, key } => {
                    run(
                        "DELETE FROM tasks WHERE job = ?1 AND key = ?2",
                        params![job.as_str(), key.as_str()],
                    )?;
                }
            }
        }
        transaction.commit()
    }
}
