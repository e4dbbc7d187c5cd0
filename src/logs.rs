//! Standard output and error of tasks, while they run and afterwards: from the node, from the output container, or from the
//! delivered result.

use crate::{
    control::{ControlError, LogPart, LogState, Stream},
    stored_run::LOGS,
};
use dropmill_actors::{Services, earlier_stream};
use dropmill_azure_client::{BlobError, batch::Part};
use dropmill_journal::{
    event::DeliveredFile,
    tasks::{TaskRow, TaskState},
};
use dropmill_lifecycle::plan::{RunPlan, attempt_id};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The most bytes of one part.
pub const MAX_PART: u32 = 256 << 10;

/// Bytes of a stream, with the offset of the first.
type Bytes = (u64, Vec<u8>);

/// A range of a task's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Number of the attempt, from 1; 0: the latest.
    pub attempt: u32,
    /// The stream to read.
    pub stream: Stream,
    /// Offset of the first byte.
    pub at: u64,
    /// Counts `at` from the end of the stream.
    pub from_end: bool,
    /// The most bytes to read.
    pub len: u32,
}

/// Everything that is needed to read the streams of a run's tasks.
#[derive(Clone)]
pub struct LogSource {
    services: Services,
    run: String,
    job: String,
    container: String,
    folders: Folders,
}

/// Folders with delivered streams.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The output folder.
    pub output: PathBuf,
    /// The folder of the run, for streams of successful tasks with the layout `mirror`.
    pub run: PathBuf,
}

impl LogSource {
    /// Creates the source of the streams of a run.
    pub fn new(services: Services, plan: &RunPlan, folder: &Path) -> Self {
        let (run, job, container) = (plan.run.clone(), plan.job.id.clone(), plan.output_container());
        let folders = Folders { output: plan.output.directory.clone(), run: folder.to_owned() };
        Self { services, run, job, container, folders }
    }

    /// Returns the name of the run.
    pub fn run(&self) -> &str {
        &self.run
    }
}

/// Where the stream of an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It does not exist yet: the attempt has not started.
    NotStarted,
    /// On its node, and still growing.
    Node,
    /// On its node or in the output container; it no longer grows.
    Service,
    /// In a delivered result: this file.
    Delivered(PathBuf),
    /// It no longer exists.
    Gone,
}

/// Returns where the stream of an attempt is. `is_job_deleted`: the service has deleted the job of the task.
pub fn place(row: &TaskRow, range: Range, folders: &Folders, is_job_deleted: bool) -> Place {
    let is_earlier = range.attempt != 0 && range.attempt < row.attempt;
    if row.delivered_ms.is_some() {
        let name = match is_earlier {
            true => earlier_stream(range.attempt, range.stream.file()),
            false => range.stream.file().to_owned(),
        };
        let file = row.files.iter().find(|file| file.path == name);
        return match (file, &row.folder) {
            (Some(file), _) if file.is_log => {
                Place::Delivered(folders.run.join(LOGS).join(&row.task).join(&file.path))
            }
            (Some(file), Some(folder)) => Place::Delivered(delivered_path(&folders.output, folder, file)),
            // The service kept no output of the task.
            _ => Place::Gone,
        };
    }
    match row.state {
        _ if is_earlier && !is_job_deleted => Place::Service,
        TaskState::Waiting | TaskState::Uploaded | TaskState::Queued => Place::NotStarted,
        TaskState::Running => Place::Node,
        _ if row.submitted_ms.is_none() => Place::NotStarted,
        _ if is_job_deleted => Place::Gone,
        TaskState::Delivering | TaskState::Succeeded | TaskState::Failed | TaskState::Unfinished => {
            Place::Service
        }
    }
}

fn delivered_path(output: &Path, folder: &str, file: &DeliveredFile) -> PathBuf {
    match &file.at {
        Some(at) => output.join(at),
        None => output.join(folder).join(&file.path),
    }
}

/// Reads a part of a file; also returns the offset of its first byte.
fn read_file(path: &Path, range: Range, is_log: bool) -> io::Result<Bytes> {
    let mut file = match File::open(path) {
        // An empty log of the run has no file.
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_log => return Ok((range.at, vec![])),
        file => file?,
    };
    let at = if range.from_end { file.metadata()?.len().saturating_sub(range.at) } else { range.at };
    file.seek(SeekFrom::Start(at))?;
    let mut data = vec![];
    file.take(range.len.min(MAX_PART).into()).read_to_end(&mut data)?;
    Ok((at, data))
}

/// Reads a part of a stream that was delivered or no longer exists; returns nothing if only the service has
/// it.
///
/// # Errors Fails if the delivered file cannot be read, for example because it was moved.
pub fn read_here(
    row: &TaskRow,
    range: Range,
    folders: &Folders,
    is_job_deleted: bool,
) -> Result<Option<LogPart>, ControlError> {
    let part = |state, read: Bytes| Some(part_of(row, range, state, read));
    Ok(match place(row, range, folders, is_job_deleted) {
        Place::NotStarted => part(LogState::Waiting, (range.at, vec![])),
        Place::Gone => part(LogState::Gone, (range.at, vec![])),
        Place::Delivered(path) => {
            let read =
                read_file(&path, range, path.starts_with(folders.run.join(LOGS))).map_err(|error| {
                    ControlError::new("gone", format!("cannot read {}: {error}", path.display()))
                })?;
            part(LogState::Final, read)
        }
        Place::Node | Place::Service => None,
    })
}

fn part_of(row: &TaskRow, range: Range, state: LogState, (at, data): Bytes) -> LogPart {
    let attempt = if range.attempt == 0 { row.attempt } else { range.attempt };
    LogPart { state, attempt, latest: row.attempt, at, data }
}

impl LogSource {
    /// Reads a part of the stream of a task's latest attempt, wherever it is.
    ///
    /// # Errors Fails if the service rejects the request or cannot be reached.
    pub async fn read(
        &self,
        row: &TaskRow,
        is_job_deleted: bool,
        range: Range,
    ) -> Result<LogPart, ControlError> {
        if let Some(part) = read_here(row, range, &self.folders, is_job_deleted)? {
            return Ok(part);
        }
        let part =
            |state, read: Option<Bytes>| part_of(row, range, state, read.unwrap_or((range.at, vec![])));
        let place = place(row, range, &self.folders, is_job_deleted);
        let on_node = self.on_node(row, range).await?;
        if place == Place::Node {
            return Ok(part(LogState::Live, on_node));
        }
        let found = match on_node {
            Some(found) => Some(found),
            None => self.in_container(row, range).await?,
        };
        Ok(part(if found.is_some() { LogState::Final } else { LogState::Gone }, found))
    }

    /// Returns a part of the file on the task's node; nothing if the node or the file does not exist.
    async fn on_node(&self, row: &TaskRow, range: Range) -> Result<Option<Bytes>, ControlError> {
        let (batch, task) = (&self.services.batch, attempt_task(row, range));
        let file = range.stream.file();
        let read = async {
            let mut at = range.at;
            if range.from_end {
                at = batch.get_task_file_size(&self.job, &task, file).await?.saturating_sub(range.at);
            }
            let last = at.saturating_add(range.len.clamp(1, MAX_PART).into()) - 1;
            let part = batch.get_task_file_part(&self.job, &task, file, Part::Range(at, last)).await;
            match part {
                Ok(bytes) => Ok((at, bytes.into())),
                Err(error) if error.status() == Some(416) => Ok((at, vec![])),
                Err(error) => Err(error),
            }
        };
        match read.await {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.status(), Some(404 | 409)) => Ok(None),
            Err(error) => Err(ControlError::new("service", error.to_string())),
        }
    }

    /// Returns a part of the file that the task's node stored in the output container; nothing if it did not.
    async fn in_container(&self, row: &TaskRow, range: Range) -> Result<Option<Bytes>, ControlError> {
        let blob = format!("{}/{}", attempt_task(row, range), range.stream.file());
        let read = async {
            let mut at = range.at;
            if range.from_end {
                let info = self.services.blob.head_blob(&self.container, &blob).await?;
                at = info.size_bytes.saturating_sub(range.at);
            }
            let len = range.len.clamp(1, MAX_PART);
            let bytes = self.services.blob.get_blob_part(&self.container, &blob, at, len).await?;
            Ok::<_, BlobError>(bytes.map(|bytes| (at, bytes.into())))
        };
        match read.await {
            Err(error) if error.is_not_found() => Ok(None),
            read => read.map_err(|error| ControlError::new("service", error.to_string())),
        }
    }
}

/// Returns the id that an attempt has as a task of the service.
fn attempt_task(row: &TaskRow, range: Range) -> String {
    attempt_id(&row.task, if range.attempt == 0 { row.attempt } else { range.attempt })
}

/// How far a stream was read: what to read next, and whether all of it was read.
#[cfg(any(feature = "cli", test))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Number of the attempt that is read.
    pub attempt: u32,
    /// Offset of the next byte.
    pub at: u64,
    /// Whether the complete stream was read.
    pub is_done: bool,
}

#[cfg(any(feature = "cli", test))]
impl Cursor {
    /// Starts at the beginning of an attempt.
    pub fn new(attempt: u32) -> Self {
        Self { attempt, at: 0, is_done: false }
    }

    /// Returns what to read next.
    pub fn range(&self, stream: Stream) -> Range {
        Range { attempt: self.attempt, stream, at: self.at, from_end: false, len: MAX_PART }
    }

    /// Records what was read for [`Cursor::range`]; returns whether a later attempt follows.
    pub fn take(&mut self, part: &LogPart) -> bool {
        self.at = part.at + part.data.len() as u64;
        let is_whole = match part.state {
            LogState::Waiting | LogState::Live => false,
            LogState::Final => part.data.len() < MAX_PART as usize,
            LogState::Gone => true,
        };
        if is_whole && part.latest > self.attempt {
            *self = Self::new(self.attempt + 1);
            return true;
        }
        self.is_done = is_whole;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(attempt: u32, stream: Stream) -> Range {
        Range { attempt, stream, at: 0, from_end: false, len: 1 }
    }

    #[test]
    fn a_stream_is_read_where_the_events_say_it_is() {
        let row = |state, submitted: bool| TaskRow {
            state,
            attempt: 2,
            submitted_ms: submitted.then_some(1),
            ..TaskRow::default()
        };
        let output = &Folders { output: "/out".into(), run: "/run".into() };
        for (state, submitted, is_job_deleted, attempt, expected) in [
            (TaskState::Waiting, false, false, 0, Place::NotStarted),
            (TaskState::Queued, true, false, 0, Place::NotStarted),
            (TaskState::Queued, true, false, 1, Place::Service),
            (TaskState::Running, true, false, 2, Place::Node),
            (TaskState::Delivering, true, false, 0, Place::Service),
            (TaskState::Failed, true, false, 0, Place::Service),
            (TaskState::Failed, true, true, 0, Place::Gone),
            (TaskState::Failed, true, true, 1, Place::Gone),
            (TaskState::Unfinished, false, false, 0, Place::NotStarted),
            (TaskState::Unfinished, true, true, 0, Place::Gone),
        ] {
            let found = place(&row(state, submitted), range(attempt, Stream::Stdout), output, is_job_deleted);
            assert_eq!(found, expected, "{state:?} {submitted} {is_job_deleted} {attempt}");
        }
    }

    #[test]
    fn a_delivered_stream_is_read_from_its_place() {
        let file = |path: &str, at: Option<&str>| DeliveredFile {
            path: path.into(),
            at: at.map(Into::into),
            ..DeliveredFile::default()
        };
        let row = TaskRow {
            state: TaskState::Failed,
            attempt: 2,
            delivered_ms: Some(1),
            folder: Some("a".into()),
            files: vec![
                file("stdout.txt", None),
                file("stderr.txt", Some("a.err")),
                file("attempt-1.stderr.txt", None),
            ],
            ..TaskRow::default()
        };
        let output = &Folders { output: "/out".into(), run: "/run".into() };
        let found = |attempt, stream| place(&row, range(attempt, stream), output, true);
        assert_eq!(found(0, Stream::Stdout), Place::Delivered("/out/a/stdout.txt".into()));
        assert_eq!(found(2, Stream::Stderr), Place::Delivered("/out/a.err".into()));
        assert_eq!(found(1, Stream::Stderr), Place::Delivered("/out/a/attempt-1.stderr.txt".into()));
        assert_eq!(found(1, Stream::Stdout), Place::Gone);
        let log = DeliveredFile { is_log: true, ..file("stdout.txt", None) };
        let row = TaskRow { task: "t".into(), folder: Some(String::new()), files: vec![log], ..row.clone() };
        let found = place(&row, range(0, Stream::Stdout), output, true);
        assert_eq!(found, Place::Delivered("/run/logs/t/stdout.txt".into()));
    }

    #[test]
    fn a_cursor_reads_each_attempt_to_its_end_and_stops_after_the_last() {
        let part = |state, attempt, latest, at, len: usize| LogPart {
            state,
            attempt,
            latest,
            at,
            data: vec![b'x'; len],
        };
        let full = MAX_PART as usize;
        let mut cursor = Cursor::new(1);
        for (part, further, expected) in [
            (part(LogState::Waiting, 1, 1, 0, 0), false, (1, 0, false)),
            (part(LogState::Live, 1, 1, 0, full), false, (1, full as u64, false)),
            (part(LogState::Live, 1, 1, full as u64, 0), false, (1, full as u64, false)),
            // It failed, and the next attempt is already running: the rest of the first attempt comes first.
            (part(LogState::Final, 1, 2, full as u64, full), false, (1, 2 * full as u64, false)),
            (part(LogState::Final, 1, 2, 2 * full as u64, 3), true, (2, 0, false)),
            (part(LogState::Live, 2, 2, 0, 5), false, (2, 5, false)),
            (part(LogState::Final, 2, 2, 5, 0), false, (2, 5, true)),
        ] {
            assert_eq!(cursor.take(&part), further, "{:?}", part.state);
            assert_eq!((cursor.attempt, cursor.at, cursor.is_done), expected);
        }
    }
}
