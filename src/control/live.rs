//! Answers requests about a run that this process works on.

use super::{
    VERSION,
    message::{ControlError, LogPart, LogState, Request, Response, RunStatus},
    server::ControlServer,
};
use crate::logs::{LogSource, Range};
use dropmill_actors::Canceller;
use dropmill_journal::{
    Journal, JournalError,
    tasks::{TaskRow, TaskTable},
};
use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};
use tokio::time::Instant;

/// Exit code of a process that was ended at once, as after two interrupts.
const INTERRUPTED: i32 = 130;
/// Longest time that a request for a log waits for its first byte.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Time between two reads of a stream while a request waits.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A live run that other processes can control through the socket in its folder. Dropping it closes the socket.
pub struct LiveRun {
    shared: Rc<Shared>,
    _server: ControlServer,
}

struct Shared {
    logs: LogSource,
    journal: PathBuf,
    canceller: Canceller,
    table: RefCell<TaskTable>,
    before_exit: RefCell<Option<Box<dyn Fn()>>>,
}

impl LiveRun {
    /// Listens in the folder of a run. Returns nothing, and logs the reason, if there can be no socket: the run does not
    /// need one.
    pub fn listen(logs: LogSource, folder: &Path, canceller: Canceller) -> Option<Self> {
        let shared = Rc::new(Shared {
            logs,
            journal: folder.join("journal.db"),
            canceller,
            table: RefCell::default(),
            before_exit: RefCell::default(),
        });
        let answering = shared.clone();
        let server = ControlServer::start(folder, move |request| {
            let shared = answering.clone();
            Box::pin(async move { shared.answer(request).await.unwrap_or_else(Response::Error) })
        });
        match server {
            Ok(server) => Some(Self { shared, _server: server }),
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "no control socket");
                None
            }
        }
    }

    /// Sets what is done before the process is ended at once.
    pub fn before_exit(&self, stop: impl Fn() + 'static) {
        *self.shared.before_exit.borrow_mut() = Some(Box::new(stop));
    }
}

impl Shared {
    async fn answer(self: Rc<Self>, request: Request) -> Result<Response, ControlError> {
        match request {
            Request::Status {} => {
                self.read_journal().await?;
                Ok(Response::Status(self.status()))
            }
            Request::Log { task, attempt, stream, at, from_end, len, wait_ms } => {
                let wait = Duration::from_millis(wait_ms.into()).min(MAX_WAIT);
                Ok(Response::Log(self.log(&task, Range { attempt, stream, at, from_end, len }, wait).await?))
            }
            Request::Cancel { tasks, now } => self.cancel(&tasks, now),
            Request::Pause {} | Request::Resume {} => {
                Err(ControlError::new("not_possible", "this run cannot be paused"))
            }
        }
    }

    fn status(&self) -> RunStatus {
        RunStatus {
            version: VERSION.into(),
            run: self.logs.run().to_owned(),
            pid: std::process::id(),
            last: self.table.borrow().last(),
            paused: false,
        }
    }

    /// Applies the events that were recorded since the last request.
    async fn read_journal(&self) -> Result<(), ControlError> {
        let (journal, after) = (self.journal.clone(), self.table.borrow().last());
        let read = tokio::task::spawn_blocking(move || Journal::read_after(&journal, after)).await;
        match read {
            Ok(Ok(events)) => {
                let mut table = self.table.borrow_mut();
                // Meanwhile, another request may have applied some of them.
                let last = table.last();
                events.iter().filter(|event| event.seq > last).for_each(|event| table.apply(event));
                Ok(())
            }
            // The run has not recorded its first event.
            Ok(Err(JournalError::Empty { .. })) => Ok(()),
            Ok(Err(error)) => Err(ControlError::new("journal", error.to_string())),
            Err(error) => Err(ControlError::new("journal", error.to_string())),
        }
    }

    async fn log(&self, task: &str, range: Range, wait: Duration) -> Result<LogPart, ControlError> {
        let until = Instant::now() + wait;
        loop {
            self.read_journal().await?;
            let (row, is_job_deleted) = {
                let table = self.table.borrow();
                (table.get(task).cloned(), table.is_job_deleted())
            };
            // Tasks without any event are waiting for their input.
            let row = row.unwrap_or_else(|| TaskRow { attempt: 1, ..TaskRow::default() });
            let part = self.logs.read(&row, is_job_deleted, range).await?;
            let may_grow = matches!(part.state, LogState::Waiting | LogState::Live);
            if !part.data.is_empty() || !may_grow || Instant::now() >= until {
                return Ok(part);
            }
            tokio::time::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    fn cancel(self: Rc<Self>, tasks: &[String], now: bool) -> Result<Response, ControlError> {
        if !tasks.is_empty() {
            return Err(ControlError::new("not_possible", "single tasks cannot be cancelled yet"));
        }
        if now {
            // The response is sent first.
            tokio::task::spawn_local(async move {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Some(stop) = &*self.before_exit.borrow() {
                    stop();
                }
                std::process::exit(INTERRUPTED);
            });
            let message = "the process ends at once; `dropmill resume` continues the run";
            return Ok(Response::Accepted { message: message.into() });
        }
        self.canceller.cancel("dropmill cancel");
        let message = "running tasks are stopped, finished results are downloaded, then the run ends";
        Ok(Response::Accepted { message: message.into() })
    }
}
