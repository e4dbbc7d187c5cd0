//! Adds tasks to a running run.

use crate::{
    item_list::ItemList,
    pool_keeper::Backlog,
    record::Recorder,
    result_collector::WhenDurable,
    run_keeper::{RunActors, RunHappened, RunKeeper},
    task_monitor::{NoMoreTasks, TaskAdded},
};
use actix::Addr;
use dropmill_journal::event::{EventKind, Role, Subject};
use dropmill_lifecycle::{plan::Item, run::RunEvent};

/// Adds tasks to a run; cheap to clone.
#[derive(Clone)]
pub struct Feeder {
    pub(crate) item_list: ItemList,
    pub(crate) record: Recorder,
    pub(crate) crew: RunActors,
    pub(crate) keeper: Addr<RunKeeper>,
}

impl Feeder {
    /// Adds a task; returns its index.
    pub fn add(&self, item: Item) -> u32 {
        let index = self.item_list.add(item).index;
        // The keeper first: a task must be counted before it can be closed.
        self.keeper.do_send(RunHappened(RunEvent::TasksAdded(1)));
        self.crew.tasks.do_send(TaskAdded(index));
        self.crew.uploader.do_send(TaskAdded(index));
        index
    }

    /// Returns whether the run has a task with this id.
    pub fn has(&self, task: &str) -> bool {
        self.item_list.has(task)
    }

    /// Reports the number of waiting and running tasks, now or soon: the pool grows accordingly.
    pub fn backlog(&self, tasks: u32) {
        self.crew.pool.do_send(Backlog(tasks));
    }

    /// Announces that no more tasks follow: the run ends once all are closed.
    pub fn close(&self) {
        self.crew.tasks.do_send(NoMoreTasks);
        self.keeper.do_send(RunHappened(RunEvent::NoMoreTasks));
    }

    /// Records an event of the run; returns its number.
    pub fn note(&self, actor: Role, subject: Subject, cause: Option<u64>, kind: EventKind) -> u64 {
        self.record.note(actor, subject, cause, kind)
    }

    /// Resolves when all events so far are durable; `false` if that is impossible.
    pub async fn durable(&self) -> bool {
        match self.crew.collector.send(WhenDurable).await {
            Ok(durable) => durable.await.is_ok(),
            Err(_) => false,
        }
    }

    /// Returns the milliseconds since the start of the run.
    pub fn elapsed_ms(&self) -> u64 {
        self.record.clock().elapsed().0
    }
}
