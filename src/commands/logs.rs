//! `dropmill logs`: standard output and error of tasks, while they run and afterwards.

use super::environment;
use crate::{
    cli::LogsArgs,
    control::{ControlClient, LogPart, LogState, Request, Response, Stream},
    logs::{Cursor, Folders, LogSource, MAX_PART, Range, read_here},
    render::say::{self, TextStream},
    services::{self, Embedded},
    session::same_service,
    settings::ServiceKind,
    state::{RunFolder, State, is_held},
    stored_run::StoredRun,
};
use anyhow::{Result, bail};
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_journal::{
    Journal,
    event::{Event, EventKind},
    tasks::{TaskRow, TaskState, TaskTable},
};
use std::{path::PathBuf, sync::Arc, thread, time::Duration};

/// Time between two reads of a run that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a request for the log of a single task may wait for its next byte.
const WAIT_MS: u32 = 1000;
/// Longest incomplete line that is held back.
const MAX_LINE: usize = 64 << 10;

/// Prints the streams of the tasks that the arguments name; follows them with `-f`.
pub fn logs(arguments: &LogsArgs, state: &State) -> Result<u8> {
    let mut logs = Logs::of(StoredRun::find(&arguments.run, state)?, state.clone());
    match &arguments.task {
        Some(name) => {
            let task = logs.stored.find_task(&logs.table, name)?;
            // An input of a task for several has its streams there.
            let task = logs.table.get(&task).and_then(|row| row.chunk.clone()).unwrap_or(task);
            logs.one(&task, arguments)
        }
        None => logs.all(arguments),
    }
}

/// The logs of one run.
struct Logs {
    state: State,
    stored: StoredRun,
    table: TaskTable,
    has_ended: bool,
    source: Source,
}

/// The source of streams that are not delivered.
enum Source {
    /// The source was not needed yet.
    NotOpen,
    /// The process that works on the run.
    Live(ControlClient),
    /// The service of the run, called by this process.
    Service(Box<Asking>),
    /// There is no source, for this reason.
    None(String),
}

/// Everything that this process needs to call the service of a run.
struct Asking {
    logs: LogSource,
    runtime: tokio::runtime::Runtime,
    embedded: Option<Embedded>,
    _held: Option<RunFolder>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(embedded) = &self.embedded {
            embedded.stop();
        }
    }
}

/// A task whose stream is printed together with others.
struct TaskLog {
    cursor: Cursor,
    /// The beginning of a line whose end was not read yet.
    line: Vec<u8>,
}

impl Logs {
    fn of(stored: StoredRun, state: State) -> Self {
        let table = stored.tasks();
        let has_ended = stored.past().ended.is_some();
        Self { state, stored, table, has_ended, source: Source::NotOpen }
    }

    /// Applies the events that were recorded since the last read.
    fn read_journal(&mut self) -> Result<()> {
        if self.has_ended {
            return Ok(());
        }
        let events = Journal::read_after(&self.journal(), self.table.last())?;
        let ends = |event: &Event| matches!(event.kind, EventKind::RunEnded { .. });
        self.has_ended |= events.iter().any(ends);
        events.iter().for_each(|event| self.table.apply(event));
        Ok(())
    }

    fn journal(&self) -> PathBuf {
        self.stored.path.join("journal.db")
    }

    /// Prints the stream of one task.
    fn one(&mut self, task: &str, arguments: &LogsArgs) -> Result<u8> {
        let mut cursor: Option<Cursor> = None;
        let mut printed = TextStream::default();
        loop {
            self.read_journal()?;
            let Some(row) = self.table.get(task).cloned() else { bail!("the task has no row") };
            let mut next = match cursor.take() {
                Some(cursor) => cursor,
                None => self.start(&row, arguments)?,
            };
            let wait = if arguments.follow { WAIT_MS } else { 0 };
            let part = self.read(&row, next.range(stream(arguments)), wait)?;
            if !printed.write(&part.data) {
                return Ok(0);
            }
            if next.take(&part) {
                say::note(&format!("{}: attempt {} follows", title(&row), next.attempt));
            }
            let is_over = next.is_done || (!arguments.follow && part.data.is_empty());
            if is_over || (self.has_ended && part.state == LogState::Waiting) {
                return Ok(explain(&row, &part));
            }
            if part.state == LogState::Waiting {
                thread::sleep(LOOK_EVERY);
            }
            cursor = Some(next);
        }
    }

    /// Prints the streams of all tasks; each line names its task.
    fn all(&mut self, arguments: &LogsArgs) -> Result<u8> {
        let mut logs: Vec<Option<TaskLog>> = vec![];
        loop {
            self.read_journal()?;
            let has_ended = self.has_ended;
            logs.resize_with(self.table.rows().len(), || None);
            for (place, log) in logs.iter_mut().enumerate() {
                let row = &self.table.rows()[place];
                let is_wanted = !arguments.failed || row.state == TaskState::Failed;
                let is_done = log.as_ref().is_some_and(|log| log.cursor.is_done);
                if is_done || !is_wanted || row.chunk.is_some() || row.state < TaskState::Running {
                    continue;
                }
                let row = row.clone();
                if !self.task(&row, log, arguments)? {
                    return Ok(0);
                }
            }
            if !arguments.follow || has_ended {
                return Ok(0);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Prints new output of a task; returns whether standard output is still read.
    fn task(&mut self, row: &TaskRow, log: &mut Option<TaskLog>, arguments: &LogsArgs) -> Result<bool> {
        let mut log_of = match log.take() {
            Some(log) => log,
            None => TaskLog { cursor: self.start(row, arguments)?, line: vec![] },
        };
        let mut is_read = true;
        while is_read && !log_of.cursor.is_done {
            let part = self.read(row, log_of.cursor.range(stream(arguments)), 0)?;
            log_of.cursor.take(&part);
            is_read = log_of.print(row, &part.data, log_of.cursor.is_done || !arguments.follow);
            if part.data.is_empty() {
                break;
            }
        }
        *log = Some(log_of);
        Ok(is_read)
    }

    /// Returns where to start reading: at the beginning, or at the last lines.
    fn start(&mut self, row: &TaskRow, arguments: &LogsArgs) -> Result<Cursor> {
        let mut cursor = Cursor::new(row.attempt);
        if let Some(lines) = arguments.tail {
            let range = Range { from_end: true, at: MAX_PART.into(), ..cursor.range(stream(arguments)) };
            let part = self.read(row, range, 0)?;
            cursor.at = part.at + last_lines(&part.data, lines) as u64;
        }
        Ok(cursor)
    }

    /// Reads a part of a stream, wherever it is.
    fn read(&mut self, row: &TaskRow, range: Range, wait_ms: u32) -> Result<LogPart> {
        let folders =
            Folders { output: self.stored.plan.output.directory.clone(), run: self.stored.path.clone() };
        let is_job_deleted = self.table.is_job_deleted();
        if let Some(part) = read_here(row, range, &folders, is_job_deleted)? {
            return Ok(part);
        }
        if matches!(self.source, Source::NotOpen) {
            self.source = self.open()?;
        }
        match &mut self.source {
            Source::Live(client) => {
                let Range { attempt, stream, at, from_end, len } = range;
                let task = row.task.clone();
                let request = Request::Log { task, attempt, stream, at, from_end, len, wait_ms };
                match client.ask(&request) {
                    Ok(Ok(Response::Log(part))) => Ok(part),
                    Ok(Ok(other)) => {
                        bail!("the process that works on the run gave another response: {other:?}")
                    }
                    Ok(Err(error)) => Err(error.into()),
                    Err(_) => {
                        // The process has ended: the next read opens another source.
                        self.source = Source::NotOpen;
                        let (state, latest) = (LogState::Waiting, row.attempt);
                        Ok(LogPart { state, attempt: range.attempt, latest, at: range.at, data: vec![] })
                    }
                }
            }
            Source::Service(asking) => {
                Ok(asking.runtime.block_on(asking.logs.read(row, is_job_deleted, range))?)
            }
            Source::None(reason) => bail!("{reason}"),
            Source::NotOpen => bail!("no source of logs"),
        }
    }

    fn open(&self) -> Result<Source> {
        let (folder, run) = (&self.stored.path, &self.stored.header.run);
        if let Some(client) = ControlClient::connect(folder)? {
            return Ok(Source::Live(client));
        }
        if is_held(folder) {
            let reason = format!("run {run} is live in another program that opened no control socket");
            return Ok(Source::None(reason));
        }
        let clock: SharedClock = Arc::new(WallClock);
        let loaded = self.stored.load(&[], environment())?;
        same_service(&self.stored.header, &loaded)?;
        let service = folder.join("service");
        let mut held = None;
        if loaded.settings.service.kind == ServiceKind::Embedded {
            if !self.has_ended {
                let reason = format!("run {run} was interrupted: `dropmill resume {run}` continues it");
                return Ok(Source::None(reason));
            }
            if !service.exists() {
                let reason =
                    format!("the service of run {run} is gone: only delivered results have their logs");
                return Ok(Source::None(reason));
            }
            held = Some(self.state.hold_run(folder, clock.now())?);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (services, embedded) =
            runtime.block_on(async { services::open(&loaded, &service, &clock, None) })?;
        let logs = LogSource::new(services, &self.stored.plan, &self.stored.path);
        Ok(Source::Service(Box::new(Asking { logs, runtime, embedded, _held: held })))
    }
}

impl TaskLog {
    /// Prints complete lines; returns whether standard output is still read.
    fn print(&mut self, row: &TaskRow, data: &[u8], is_last: bool) -> bool {
        self.line.extend_from_slice(data);
        let mut lines = vec![];
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            lines.push(line);
        }
        if !self.line.is_empty() && (is_last || self.line.len() > MAX_LINE) {
            lines.push(std::mem::take(&mut self.line));
        }
        let title = title(row);
        let text = |line: Vec<u8>| {
            let line = String::from_utf8_lossy(&line);
            format!("{title} | {}", line.trim_end_matches(['\n', '\r']))
        };
        say::lines(lines.into_iter().map(text))
    }
}

fn stream(arguments: &LogsArgs) -> Stream {
    if arguments.stderr { Stream::Stderr } else { Stream::Stdout }
}

fn title(row: &TaskRow) -> String {
    row.input.clone().unwrap_or_else(|| row.task.clone())
}

/// Returns the offset of the last `lines` lines.
fn last_lines(data: &[u8], lines: usize) -> usize {
    let content = data.strip_suffix(b"\n").unwrap_or(data);
    let ends = content.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match lines {
        0 => data.len(),
        lines => ends.map(|(place, _)| place + 1).nth(lines - 1).unwrap_or(0),
    }
}

/// Prints why there is no output; returns the exit code.
fn explain(row: &TaskRow, part: &LogPart) -> u8 {
    match part.state {
        LogState::Waiting => {
            say::note(&format!("{} has not started ({})", title(row), row.state.as_str()));
            0
        }
        LogState::Gone => {
            say::note(&format!(
                "{}: its output was not delivered, and the service does not have it any more",
                title(row)
            ));
            1
        }
        LogState::Live | LogState::Final => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_start_after_a_line_end() {
        for (data, lines, expected) in [
            ("a\nb\nc\n", 1, "c\n"),
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\n", 0, ""),
            ("", 3, ""),
        ] {
            assert_eq!(&data[last_lines(data.as_bytes(), lines)..], expected, "{data:?} {lines}");
        }
    }
}
