//! What waits to become durable, and for whom: changes are gathered into groups, one commit each.
//!
//! There is no fixed delay: what arrives while one group is committed is the next. Whoever needs a change to be
//! durable holds its [`Ticket`], on a thread or in a task.

use super::{StoreError, change::Change, content::Place};
use async_channel::{Receiver, Sender};
use dropmill_azure_wire::time::Timestamp;
use std::{
    collections::VecDeque,
    convert::Infallible,
    mem::take,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// Rows deleted at most in one commit, so that nobody waits long behind them.
const ROWS_AT_ONCE: usize = 500;
/// Files deleted at most before looking for more important work.
const FILES_AT_ONCE: usize = 16;

/// Resolves when what it stands for is durable.
#[derive(Debug, Clone, Default)]
pub struct Ticket(Option<Arc<Outcome>>);

#[derive(Debug)]
struct Outcome {
    told: OnceLock<Result<(), StoreError>>,
    /// Closes when it is told; nothing is ever sent. None afterwards: a blob keeps its ticket for as long as it is there.
    closed: Mutex<Option<Receiver<Infallible>>>,
}

impl Ticket {
    /// One that has failed.
    pub fn failed(error: StoreError) -> Self {
        let group = Group::new();
        let ticket = Self(Some(group.outcome.clone()));
        group.tell(Err(error));
        ticket
    }

    /// Waits.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn durable(&self) -> Result<(), StoreError> {
        let Some(outcome) = &self.0 else { return Ok(()) };
        if let Some(closed) = outcome.closed() {
            let _ = closed.recv().await;
        }
        outcome.read()
    }

    /// Waits, on a thread that may.
    ///
    /// # Errors
    /// When it could not be made durable.
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
    /// Whether both stand for the same commit.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Outcome {
    /// What closes when it is told; none if it is.
    fn closed(&self) -> Option<Receiver<Infallible>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(&self) -> Result<(), StoreError> {
        self.told.get().cloned().unwrap_or_else(|| Err(StoreError::closed()))
    }
}

/// Numbers that must never go back, whatever is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// The last number given to a container, row or file.
    pub id: i64,
    /// The last moment given to a change.
    pub change: Timestamp,
}

/// Changes that become durable together.
#[derive(Debug)]
pub struct Group {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// The marks after them.
    pub marks: Marks,
    outcome: Arc<Outcome>,
    /// Dropped when it is told.
    open: Sender<Infallible>,
}

impl Group {
    fn new() -> Self {
        let (open, closed) = async_channel::bounded(1);
        let outcome = Arc::new(Outcome { told: OnceLock::new(), closed: Mutex::new(Some(closed)) });
        Self { changes: vec![], marks: Marks::default(), outcome, open }
    }

    /// Tells everybody who waits; gives the changes back.
    pub fn tell(self, outcome: Result<(), StoreError>) -> Vec<Change> {
        let _ = self.outcome.told.set(outcome);
        self.outcome.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self.open);
        self.changes
    }
}

/// What the writer does next.
#[derive(Debug, Default)]
pub struct Work {
    /// Changes to commit.
    pub group: Option<Group>,
    /// Rows to delete in the same commit.
    pub rows: Vec<i64>,
    /// Files to delete; none while changes wait.
    pub files: Vec<i64>,
    /// A container, gone already, whose rows are to be deleted; none while changes wait.
    pub container: Option<i64>,
}

/// What waits.
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
    /// The writer has nothing to do.
    idle: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes changes in, after all that were taken in before.
    pub fn order(&self, changes: Vec<Change>, marks: Marks) -> Ticket {
        let mut waiting = self.lock();
        if waiting.closed {
            // `changes` may hold the last handle of a content, which looks for this queue when it is dropped.
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

    /// A row or file that nothing needs any more.
    pub fn discard(&self, place: Place, id: i64) {
        let mut waiting = self.lock();
        if waiting.closed {
            // What is left is found when the store is opened again.
            return;
        }
        match place {
            Place::Row => waiting.rows.push_back(id),
            Place::File => waiting.files.push_back(id),
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// A container that is gone: its blobs' rows can go, too.
    pub fn discard_container(&self, id: i64) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.containers.push_back(id);
            drop(waiting);
            self.news.notify_one();
        }
    }

    /// Waits for work; `None` when there will be no more.
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

    /// Waits until nothing waits any more.
    #[cfg(test)]
    pub fn until_idle(&self) {
        let busy = |waiting: &mut Waiting| {
            let empty = waiting.group.is_none()
                && [&waiting.rows, &waiting.files, &waiting.containers].iter().all(|some| some.is_empty());
            !(waiting.closed || waiting.idle && empty)
        };
        drop(self.rest.wait_while(self.lock(), busy));
    }

    /// Takes what waits without waiting.
    pub fn take_group(&self) -> Option<Group> {
        self.lock().group.take()
    }

    /// Takes no more orders. What waits is committed.
    pub fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    /// There is no writer any more: what waits fails.
    pub fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let left = take(&mut *waiting);
        waiting.closed = true;
        drop(waiting);
        if let Some(group) = left.group {
            group.tell(Err(StoreError::closed()));
        }
    }
}
