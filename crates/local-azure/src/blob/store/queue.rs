//! Changes that wait to become durable, and their callers: changes are collected into groups with one commit
//! each.
//!
//! There is no fixed delay: the changes that arrive during a commit are the next group. A caller that needs a
//! durable change holds its [`Ticket`], on a thread or in a task.

use super::{StoreError, change::Change, content::Place};
use async_channel::{Receiver, Sender};
use dropmill_azure_wire::time::Timestamp;
use std::{
    collections::VecDeque,
    convert::Infallible,
    mem::take,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// Maximum number of rows deleted in one commit, so that other changes do not wait long.
const ROWS_AT_ONCE: usize = 500;
/// Maximum number of files deleted before the next check for changes.
const FILES_AT_ONCE: usize = 16;

/// Resolves when the commit is durable.
#[derive(Debug, Clone, Default)]
pub struct Ticket(Option<Arc<Outcome>>);

#[derive(Debug)]
struct Outcome {
    outcome: OnceLock<Result<(), StoreError>>,
    /// Closes when the outcome is set; nothing is ever sent. `None` afterwards, because a blob keeps its
    /// ticket as long as it exists.
    closed: Mutex<Option<Receiver<Infallible>>>,
}

impl Ticket {
    /// Creates a ticket that has failed.
    pub fn failed(error: StoreError) -> Self {
        let group = Group::new();
        let ticket = Self(Some(group.outcome.clone()));
        group.finish(Err(error));
        ticket
    }

    /// Waits for the commit.
    ///
    /// # Errors
    /// Fails if the change could not be made durable.
    pub async fn durable(&self) -> Result<(), StoreError> {
        let Some(outcome) = &self.0 else { return Ok(()) };
        if let Some(closed) = outcome.closed() {
            let _ = closed.recv().await;
        }
        outcome.read()
    }

    /// Waits for the commit, on a blocking thread.
    ///
    /// # Errors
    /// Fails if the change could not be made durable.
    pub fn durable_blocking(&self) -> Result<(), StoreError> {
        let Some(outcome) = &self.0 else { return Ok(()) };
        if let Some(closed) = outcome.closed() {
            let _ = closed.recv_blocking();
        }
        outcome.read()
    }
}

#[cfg(test)]
impl Ticket {
    /// Returns whether both belong to the same commit.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Outcome {
    /// Returns the channel that closes with the outcome; `None` if there is one already.
    fn closed(&self) -> Option<Receiver<Infallible>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(&self) -> Result<(), StoreError> {
        self.outcome.get().cloned().unwrap_or_else(|| Err(StoreError::closed()))
    }
}

/// Numbers that must never decrease, whatever is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// The last number given to a container, row or file.
    pub id: i64,
    /// The last time given to a change.
    pub change: Timestamp,
}

/// Changes that become durable together.
#[derive(Debug)]
pub struct Group {
    /// Changes in their order.
    pub changes: Vec<Change>,
    /// The marks after them.
    pub marks: Marks,
    outcome: Arc<Outcome>,
    /// Dropped when the outcome is set.
    open: Sender<Infallible>,
}

impl Group {
    fn new() -> Self {
        let (open, closed) = async_channel::bounded(1);
        let outcome = Arc::new(Outcome { outcome: OnceLock::new(), closed: Mutex::new(Some(closed)) });
        Self { changes: vec![], marks: Marks::default(), outcome, open }
    }

    /// Sets the outcome for all callers that wait; returns the changes.
    pub fn finish(self, outcome: Result<(), StoreError>) -> Vec<Change> {
        let _ = self.outcome.outcome.set(outcome);
        self.outcome.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self.open);
        self.changes
    }
}

/// The next work of the writer.
#[derive(Debug, Default)]
pub struct Work {
    /// Changes to commit.
    pub group: Option<Group>,
    /// Rows to delete in the same commit.
    pub rows: Vec<i64>,
    /// Files to delete; empty while changes are pending.
    pub files: Vec<i64>,
    /// A deleted container whose rows are left to delete; `None` while changes are pending.
    pub container: Option<i64>,
}

/// The pending work.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
    rest: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    group: Option<Group>,
    rows: VecDeque<i64>,
    files: VecDeque<i64>,
    containers: VecDeque<i64>,
    closed: bool,
    /// Whether the writer has nothing to do.
    idle: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds changes after all earlier ones.
    pub fn order(&self, changes: Vec<Change>, marks: Marks) -> Ticket {
        let mut waiting = self.lock();
        if waiting.closed {
            // `changes` may hold the last reference to a content, which locks this queue when it is dropped.
            drop(waiting);
            return Ticket::failed(StoreError::closed());
        }
        let group = waiting.group.get_or_insert_with(Group::new);
        group.changes.extend(changes);
        group.marks = marks;
        let ticket = Ticket(Some(group.outcome.clone()));
        drop(waiting);
        self.news.notify_one();
        ticket
    }

    /// Queues a row or file for deletion.
    pub fn discard(&self, place: Place, id: i64) {
        let mut waiting = self.lock();
        if waiting.closed {
            // The rest is found when the store is opened again.
            return;
        }
        match place {
            Place::Row => waiting.rows.push_back(id),
            Place::File => waiting.files.push_back(id),
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Queues the rows of a deleted container's blobs for deletion.
    pub fn discard_container(&self, id: i64) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.containers.push_back(id);
            drop(waiting);
            self.news.notify_one();
        }
    }

    /// Waits for work; `None` after the queue is closed.
    pub fn next(&self) -> Option<Work> {
        let mut waiting = self.lock();
        loop {
            let some = waiting.rows.len().min(ROWS_AT_ONCE);
            if let Some(group) = waiting.group.take() {
                let rows = waiting.rows.drain(..some).collect();
                return Some(Work { group: Some(group), rows, ..Work::default() });
            }
            if waiting.closed {
                return None;
            }
            if some > 0 || !waiting.files.is_empty() || !waiting.containers.is_empty() {
                let rows = waiting.rows.drain(..some).collect();
                let some = waiting.files.len().min(FILES_AT_ONCE);
                let files = waiting.files.drain(..some).collect();
                return Some(Work { rows, files, container: waiting.containers.pop_front(), group: None });
            }
            waiting.idle = true;
            self.rest.notify_all();
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.idle = false;
        }
    }

    /// Waits until no work is pending.
    #[cfg(test)]
    pub fn until_idle(&self) {
        let busy = |waiting: &mut Waiting| {
            let empty = waiting.group.is_none()
                && [&waiting.rows, &waiting.files, &waiting.containers].iter().all(|some| some.is_empty());
            !(waiting.closed || waiting.idle && empty)
        };
        drop(self.rest.wait_while(self.lock(), busy));
    }

    /// Takes the pending changes without waiting.
    pub fn take_group(&self) -> Option<Group> {
        self.lock().group.take()
    }

    /// Closes the queue. Pending changes are committed.
    pub fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    /// Fails all pending changes, because there is no writer any more.
    pub fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let left = take(&mut *waiting);
        waiting.closed = true;
        drop(waiting);
        if let Some(group) = left.group {
            group.finish(Err(StoreError::closed()));
        }
    }
}
