//! Brings tasks into a run that takes them while it goes on.

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

/// Somebody's means to add tasks; cheap to clone.
#[derive(Clone)]
pub struct Feeder {
    pub(crate) item_list: ItemList,
    pub(crate) record: Recorder,
    pub(crate) crew: RunActors,
    pub(crate) keeper: Addr<RunKeeper>,
}

impl Feeder {
    /// Adds a task; answers with its index.
    pub fn add(&self, item: Item) -> u32 {
        let index = self.item_list.add(item).index;
        // The keeper first: a task must be counted before it can be closed.
        self.keeper.do_send(RunHappened(RunEvent::TasksAdded(1)));
        self.crew.tasks.do_send(TaskAdded(index));
        self.crew.uploader.do_send(TaskAdded(index));
        index
    }

    /// Whether the run has a task of that id.
    pub fn has(&self, task: &str) -> bool {
        self.item_list.has(task)
    }

    /// So many tasks wait or run, or soon will: the pool grows with them.
    pub fn backlog(&self, tasks: u32) {
        self.crew.pool.do_send(Backlog(tasks));
    }

    /// No more will come: the run ends once all are closed.
    pub fn close(&self) {
        self.crew.tasks.do_send(NoMoreTasks);
        self.keeper.do_send(RunHappened(RunEvent::NoMoreTasks));
    }

    /// Says in the run's record what happened; answers with the event's number.
    pub fn note(&self, actor: Role, subject: Subject, cause: Option<u64>, kind: EventKind) -> u64 {
        self.record.note(actor, subject, cause, kind)
    }

    /// Resolves once everything said so far is durable; false if it will never be.
    pub async fn durable(&self) -> bool {
        match self.crew.collector.send(WhenDurable).await {
            Ok(durable) => durable.await.is_ok(),
            Err(_) => false,
        }
    }

    /// Milliseconds that the run has lasted.
    pub fn elapsed_ms(&self) -> u64 {
        self.record.clock().elapsed().0
    }
}
