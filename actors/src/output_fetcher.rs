//! Downloads the outputs of ended tasks.
//!
//! It downloads only outputs of this run's tasks, only to names inside the result's folder. Files are staged
//! and checked during the download, and published together.

mod sharing;
mod staging;
mod streams;

use crate::{
    item_list::ItemList,
    liveness::LivenessGuard,
    output_names::{STREAMS, earlier_stream, is_stream, output_name, result_path},
    place::{Delivery, InputOf, PlaceError, Placed, ResultPlace, may_pass},
    record::{Recorder, retrying},
    run_context::RunContext,
    self_upload,
    services::Services,
    shell::{DrivesMany, Shells},
    space_keeper::{ResultDelivered, SpaceKeeper},
    task_monitor::{TailSeen, TaskHappened, TaskMonitor},
};
use actix::prelude::*;
use dropmill_azure_client::blob::BlobListing;
use dropmill_journal::{
    event::{DeliveredFile, EventKind, Role, Subject},
    past::RecoveredRun,
};
use dropmill_lifecycle::{
    Code, Elapsed, Failure, FailureKind,
    plan::{Chunk, Item, RunPlan, attempt_id},
    retry::{Retry, RetryCommand, RetryEvent, RetryLimits, RetryState},
    task::TaskEvent,
};
use globset::{GlobBuilder, GlobMatcher};
use staging::stage_files;
use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Write},
    rc::Rc,
    sync::Arc,
};
use streams::{Shortened, Tail, last_lines};

const ME: Role = Role::OutputFetcher;
/// MD5 of an empty file, which needs no download.
const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The actor that downloads results.
pub struct OutputFetcher {
    plan: Rc<RunPlan>,
    item_list: ItemList,
    services: Services,
    place: Arc<dyn ResultPlace>,
    record: Recorder,
    tasks: Addr<TaskMonitor>,
    space: Addr<SpaceKeeper>,
    past: Rc<RecoveredRun>,
    shells: Shells<Retry>,
    patterns: Rc<Vec<(String, GlobMatcher)>>,
    fetches: BTreeMap<u32, FetchWork>,
    queue: VecDeque<u32>,
    in_flight: u32,
    _guard: LivenessGuard,
}

struct FetchWork {
    state: RetryState,
    /// Number of the attempt of these results, from 1.
    attempt: u32,
    /// Whether the service reports success.
    success: bool,
    cause: Option<u64>,
    home: Option<Home>,
    kept: Kept,
    /// Of a task for several inputs: the results of inputs that are in their places, or never will be.
    shared: sharing::Shares,
}

/// Complete staged files of a result, by their paths: a retry does not download them again.
type Kept = BTreeMap<String, KeptFile>;

struct KeptFile {
    /// The blob as it was listed then.
    listed: BlobListing,
    file: DeliveredFile,
    /// The end of standard error, if the file is that.
    stderr_tail: String,
}

/// A blob of a task's results, and its path below the result.
#[derive(Clone)]
struct Left {
    container: String,
    blob: BlobListing,
    path: String,
}

/// The downloaded files of one task.
struct Home {
    placed: Placed,
    stderr_tail: String,
}

/// A task ended: download its outputs.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Fetch {
    /// Index of its item.
    pub index: u32,
    /// Number of its last attempt, from 1.
    pub attempt: u32,
    /// Whether the service reports success.
    pub success: bool,
    /// Number of the event that recorded its end.
    pub cause: Option<u64>,
}

impl OutputFetcher {
    /// Creates the fetcher of one run. Invalid patterns were rejected when the plan was created.
    pub fn new(
        context: RunContext,
        place: Arc<dyn ResultPlace>,
        tasks: Addr<TaskMonitor>,
        space: Addr<SpaceKeeper>,
        guard: LivenessGuard,
    ) -> Self {
        let RunContext { plan, item_list, services, record, past, .. } = context;
        // Computed results are valuable: only the deadline ends the retries of their delivery, not a number
        // of attempts.
        let limits = RetryLimits { whole: plan.deadlines.delivery, delays: plan.delays.until_deadline() };
        let patterns = Rc::new(matchers(&plan.job.outputs));
        Self {
            plan,
            item_list,
            services,
            place,
            record,
            tasks,
            space,
            past,
            shells: Shells::new(limits),
            patterns,
            fetches: BTreeMap::new(),
            queue: VecDeque::new(),
            in_flight: 0,
            _guard: guard,
        }
    }

    fn subject(&self, index: u32) -> Subject {
        Subject::of_task(&self.item_list.item(index).task)
    }

    fn fetch(&mut self, index: u32, ctx: &mut Context<Self>) {
        let Some(work) = self.fetches.get_mut(&index) else { return };
        let mut kept = std::mem::take(&mut work.kept);
        let mut shared = std::mem::take(&mut work.shared);
        let (attempt, success) = (work.attempt, work.success);
        let (services, place, plan) = (self.services.clone(), self.place.clone(), self.plan.clone());
        let item = self.item_list.item(index);
        let patterns = self.patterns_of(&item);
        let call = async move {
            let before = kept.len() + shared.len();
            let source = sharing::Source { services: &services, place: &*place, plan: &plan };
            let brought = match success && sharing::is_shared(&item) {
                true => sharing::bring(source, &item, &mut kept, &mut shared).await,
                false => bring(&services, &*place, &plan, &item, attempt, &mut kept).await,
            };
            let outcome = match brought {
                Ok((files, stderr_tail)) => {
                    let is_whole =
                        !plan.limits.fail_on_overflow || files.iter().all(|file| file.left_out == 0);
                    let success = success && is_whole && missing(&patterns, &files).is_empty();
                    let placed = publish(&*place, &item, success, files).await;
                    // Files that could not be made durable are downloaded again: a later successful flush
                    // proves nothing.
                    kept.clear();
                    placed.map(|placed| Home { placed, stderr_tail })
                }
                Err(failure) => Err(failure),
            };
            let further = kept.len() + shared.len() > before;
            (outcome, (kept, shared), further)
        };
        ctx.spawn(call.into_actor(self).map(move |(outcome, (kept, shared), further), fetcher, ctx| {
            let Some(work) = fetcher.fetches.get_mut(&index) else { return };
            (work.kept, work.shared) = (kept, shared);
            match outcome {
                Ok(home) => {
                    work.home = Some(home);
                    fetcher.happened(index, RetryEvent::Succeeded, ctx);
                }
                Err(failure) => {
                    if further {
                        fetcher.happened(index, RetryEvent::GotFurther, ctx);
                    }
                    fetcher.happened(index, RetryEvent::TryFailed(failure), ctx);
                }
            }
            fetcher.fill(ctx);
        }));
    }

    fn delivered(&mut self, index: u32) {
        let Some(FetchWork { attempt, cause, home: Some(home), shared, success, .. }) =
            self.fetches.remove(&index)
        else {
            return;
        };
        let item = self.item_list.item(index);
        let shared_bytes = sharing::bytes(&shared);
        if success && sharing::is_shared(&item) {
            self.shares_delivered(&item, cause, shared);
        }
        let Placed { folder, files, replaced, beside } = home.placed;
        let event = self.judged(&item, &files);
        let bytes = files.iter().map(|file| file.bytes).sum::<u64>() + shared_bytes;
        // Of a task for several inputs, a previous process may have recorded its own result and not yet what became of each.
        let is_recorded = self.past.tasks.get(&item.task).is_some_and(|past| past.delivered.is_some());
        let seq = match is_recorded {
            true => cause,
            false => {
                let kind = EventKind::OutputDelivered { folder, files, replaced, beside };
                Some(self.record.note(ME, self.subject(index), cause, kind))
            }
        };
        if !home.stderr_tail.is_empty() {
            self.tasks.do_send(TailSeen { index, tail: home.stderr_tail });
        }
        self.tasks.do_send(TaskHappened { index, event, cause: seq });
        self.space.do_send(ResultDelivered { index, attempt, bytes });
    }

    /// Returns the patterns of a task's outputs.
    fn patterns_of(&self, item: &Item) -> Rc<Vec<(String, GlobMatcher)>> {
        match &item.outputs {
            // Its inputs have the outputs; it has its streams.
            Some(_) if sharing::is_shared(item) => Rc::new(vec![]),
            Some(_) if item.chunk.is_some() => Rc::new(matchers(&sharing::patterns_in_result(item))),
            Some(own) => Rc::new(matchers(own)),
            None => self.patterns.clone(),
        }
    }

    /// Returns the event for complete or missing outputs: every pattern needs a matching file.
    fn judged(&self, item: &Item, files: &[DeliveredFile]) -> TaskEvent {
        let limits = &self.plan.limits;
        if let Some(file) = files.iter().find(|file| file.left_out > 0 && limits.fail_on_overflow) {
            return TaskEvent::DeliveredCut(file.path.clone());
        }
        let short = missing(&self.patterns_of(item), files);
        if short.is_empty() { TaskEvent::Delivered } else { TaskEvent::DeliveredShort(short) }
    }

    fn fill(&mut self, ctx: &mut Context<Self>) {
        while self.in_flight < self.plan.limits.fetches {
            let Some(index) = self.queue.pop_front() else { return };
            self.happened(index, RetryEvent::Begun, ctx);
        }
    }
}

impl DrivesMany<Retry> for OutputFetcher {
    fn shells(&mut self) -> &mut Shells<Retry> {
        &mut self.shells
    }

    fn machine(&mut self, index: u32) -> Option<(&mut RetryState, &mut Shells<Retry>)> {
        Some((&mut self.fetches.get_mut(&index)?.state, &mut self.shells))
    }

    fn now(&self) -> Elapsed {
        self.record.clock().elapsed()
    }

    fn changed(&mut self, index: u32, before: &RetryState, _: &mut Context<Self>) {
        match (before.is_trying(), self.fetches.get(&index).is_some_and(|work| work.state.is_trying())) {
            (false, true) => self.in_flight += 1,
            (true, false) => self.in_flight -= 1,
            (true, true) | (false, false) => {}
        }
    }

    fn carry_out(&mut self, index: u32, command: RetryCommand, ctx: &mut Context<Self>) {
        match command {
            RetryCommand::Try => self.fetch(index, ctx),
            RetryCommand::ReportDelay { attempt, rest, failure } => {
                let cause = self.fetches.get(&index).and_then(|work| work.cause);
                let kind = retrying("fetch results", attempt, rest, failure);
                self.record.note(ME, self.subject(index), cause, kind);
            }
            RetryCommand::ReportDone => self.delivered(index),
            RetryCommand::ReportFailed(failure) => {
                let item = self.item_list.item(index);
                let work = self.fetches.remove(&index);
                let cause = work.as_ref().and_then(|work| work.cause);
                self.place.discard(&item.task);
                if let Some(work) = work.filter(|work| work.success && sharing::is_shared(&item)) {
                    self.shares_failed(&item, cause, work.shared, &failure);
                }
                let event = TaskEvent::DeliveryFailed(failure);
                self.tasks.do_send(TaskHappened { index, event, cause });
            }
        }
    }
}

impl Actor for OutputFetcher {
    type Context = Context<Self>;
}

impl Handler<Fetch> for OutputFetcher {
    type Result = ();
    fn handle(&mut self, Fetch { index, attempt, success, cause }: Fetch, ctx: &mut Context<Self>) {
        // A previous process recorded its delivery.
        let item = self.item_list.item(index);
        let shared = match success && sharing::is_shared(&item) {
            true => sharing::of_past(&self.plan, &item, &self.past),
            false => sharing::Shares::default(),
        };
        let all = |chunk: &Chunk| shared.len() == chunk.count as usize;
        let is_whole = !sharing::is_shared(&item) || !success || item.members().is_some_and(all);
        if let Some(files) =
            self.past.tasks.get(&item.task).and_then(|past| past.delivered.as_ref()).filter(|_| is_whole)
        {
            if success && sharing::is_shared(&item) {
                self.shares_delivered(&item, cause, shared);
            }
            let event = self.judged(&item, files);
            return self.tasks.do_send(TaskHappened { index, event, cause });
        }
        let (state, kept) = (RetryState::Waiting, Kept::new());
        self.fetches.insert(index, FetchWork { state, attempt, success, cause, home: None, kept, shared });
        self.queue.push_back(index);
        self.fill(ctx);
    }
}

/// Patterns that are not valid were rejected when the plan was made.
fn matchers(patterns: &[String]) -> Vec<(String, GlobMatcher)> {
    let matcher = |pattern: &String| {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build().ok()?;
        Some((pattern.clone(), glob.compile_matcher()))
    };
    patterns.iter().filter_map(matcher).collect()
}

/// Returns the patterns that match no file.
fn missing(patterns: &[(String, GlobMatcher)], files: &[DeliveredFile]) -> Vec<String> {
    // Standard output and error are not outputs, whatever the pattern.
    let outputs = || files.iter().filter(|file| !is_stream(&file.path));
    let fits = |pattern: &GlobMatcher| outputs().any(|file| pattern.is_match(output_name(&file.path)));
    patterns.iter().filter(|(_, pattern)| !fits(pattern)).map(|(text, _)| text.clone()).collect()
}

/// Stages the output files of a task's last attempt, and standard output and error of all attempts; returns
/// them and the end of standard error.
async fn bring(
    services: &Services,
    place: &dyn ResultPlace,
    plan: &RunPlan,
    item: &Item,
    attempt: u32,
    kept: &mut Kept,
) -> Result<(Vec<DeliveredFile>, String), Failure> {
    let id = attempt_id(&item.task, attempt);
    let outputs = plan.output_container();
    let mut left = vec![];
    for blob in list(services, plan, &format!("{id}/")).await? {
        let path =
            result_path(&id, &blob.name).map_err(|reason| Failure::permanent(Code::HostileName, reason))?;
        let path = item.place_in_result(&item.task, &path).to_owned();
        left.push(Left { container: outputs.clone(), blob, path });
    }
    if plan.job.self_upload {
        let most = plan.limits.result_files as usize;
        let uploaded = self_upload::list(&services.blob, plan, &id, most).await?;
        at_most(uploaded.len(), most)?;
        let container = self_upload::container(plan, &id);
        left.extend(uploaded.into_iter().map(|(blob, path)| Left {
            container: container.clone(),
            blob,
            path,
        }));
    }
    for earlier in 1..attempt {
        let id = attempt_id(&item.task, earlier);
        for blob in list(services, plan, &format!("{id}/std")).await? {
            let stream = STREAMS.into_iter().find(|stream| blob.name == format!("{id}/{stream}"));
            let path = stream.map(|stream| earlier_stream(earlier, stream));
            left.extend(path.map(|path| Left { container: outputs.clone(), blob, path }));
        }
    }
    bring_files(services, place, plan, (item, &id), &left, kept).await
}

/// Stages files of a result, and the streams of an attempt if these are not among them.
async fn bring_files(
    services: &Services,
    place: &dyn ResultPlace,
    plan: &RunPlan,
    (item, id): (&Item, &str),
    left: &[Left],
    kept: &mut Kept,
) -> Result<(Vec<DeliveredFile>, String), Failure> {
    let (mut files, mut tail) = stage_files(services, place, plan, item, left, kept).await?;

    // A task that failed before it stored its output may have left the files on its node.
    for stream in STREAMS {
        if !files.iter().any(|file: &DeliveredFile| file.path == stream)
            && let Ok(bytes) = services.batch.get_task_file(&plan.job.id, id, stream).await
        {
            let file = keep_bytes(place, item, stream, &bytes)?;
            if stream == "stderr.txt" {
                tail = last_lines(&bytes);
            }
            files.push(file);
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok((files, tail))
}

/// Returns the blobs of the output container with this prefix.
async fn list(services: &Services, plan: &RunPlan, prefix: &str) -> Result<Vec<BlobListing>, Failure> {
    let most = plan.limits.result_files as usize;
    let blobs = services.blob.list_some_blobs(&plan.output_container(), prefix, most).await;
    let blobs = blobs.map_err(|error| error.failure())?;
    at_most(blobs.len(), most)?;
    Ok(blobs)
}

fn at_most(count: usize, most: usize) -> Result<(), Failure> {
    if count <= most {
        return Ok(());
    }
    let message = format!("it has more than {most} output files (limits.result_files): none is downloaded");
    Err(Failure::permanent(Code::TooManyFiles, message))
}

/// Delivers the results of one task's last attempt that a run left at the service: once, without recording
/// it.
///
/// # Errors
/// Returns the reason why they were not delivered.
pub async fn deliver(
    services: &Services,
    place: &dyn ResultPlace,
    plan: &RunPlan,
    item: &Item,
    attempt: u32,
) -> Result<Placed, Failure> {
    if sharing::is_shared(item) {
        return sharing::deliver(sharing::Source { services, place, plan }, item).await;
    }
    let brought = bring(services, place, plan, item, attempt, &mut Kept::new()).await;
    let placed = match brought {
        Ok((files, _)) => publish(place, item, true, files).await,
        Err(failure) => Err(failure),
    };
    if placed.is_err() {
        place.discard(&item.task);
    }
    placed
}

/// Publishes a staged result.
async fn publish(
    place: &dyn ResultPlace,
    item: &Item,
    success: bool,
    files: Vec<DeliveredFile>,
) -> Result<Placed, Failure> {
    let delivery = Delivery {
        task: item.task.clone(),
        folder: item.result_folder.clone(),
        input: InputOf {
            relative: item.relative.clone(),
            name: item.relative.rsplit('/').next().unwrap_or(&item.relative).to_owned(),
            bytes: item.size_bytes,
            modified: item.modified,
            recipe: item.recipe.clone(),
        },
        success,
        files,
        supersedes: item.supersedes.clone(),
    };
    place.publish(delivery).await.map_err(failure)
}

/// Returns the total length of the listed blobs. The service reports these numbers, so their sum may
/// overflow.
fn length_of<'a>(blobs: impl IntoIterator<Item = &'a BlobListing>) -> Result<u64, Failure> {
    let sum = blobs.into_iter().try_fold(0u64, |sum, blob| sum.checked_add(blob.size_bytes));
    sum.ok_or_else(|| {
        let message = "list blobs: the lengths in the list add up to more than 16 EiB";
        Failure::transient(Code::BrokenAnswer, message)
    })
}

/// Stages one file, and remembers its end if it is standard error.
async fn bring_file(
    services: &Services,
    place: &dyn ResultPlace,
    plan: &RunPlan,
    item: &Item,
    Left { container, blob, path }: &Left,
    stderr_tail: &mut String,
) -> Result<DeliveredFile, Failure> {
    let mut file = if blob.size_bytes == 0 {
        keep_bytes(place, item, path, &[])?
    } else {
        let writer = place.create(&item.task, path).map_err(failure)?;
        // A file that the node has already shortened is slightly longer than the limit.
        let limit = plan.limits.stream_bytes;
        let is_long = is_stream(path) && blob.size_bytes > limit && blob.file.left_out_bytes == 0;
        let kept_bytes = if is_long { limit } else { u64::MAX };
        let mut writer = Tail::new(Shortened::new(writer, blob.size_bytes, kept_bytes), path == "stderr.txt");
        let downloaded = services.blob.download_listed(container, blob, &mut writer).await;
        let downloaded = downloaded.map_err(|error| error.failure())?;
        writer.flush().map_err(|error| local(path, &error))?;
        *stderr_tail = last_lines(writer.tail());
        let mut file = DeliveredFile {
            path: path.clone(),
            bytes: downloaded.bytes,
            md5: downloaded.md5,
            ..DeliveredFile::default()
        };
        if let Some(shortened) = writer.into_inner().ended() {
            (file.bytes, file.md5, file.left_out) =
                (shortened.bytes, shortened.md5, shortened.left_out_bytes);
        }
        file
    };
    file.left_out += blob.file.left_out_bytes;
    place.settle(&item.task, path, &blob.file).map_err(failure)?;
    Ok(file)
}

fn keep_bytes(
    place: &dyn ResultPlace,
    item: &Item,
    path: &str,
    bytes: &[u8],
) -> Result<DeliveredFile, Failure> {
    let mut writer = place.create(&item.task, path).map_err(failure)?;
    writer.write_all(bytes).and_then(|()| writer.flush()).map_err(|error| local(path, &error))?;
    let md5 = if bytes.is_empty() { EMPTY_MD5.to_owned() } else { md5_hex(bytes) };
    Ok(DeliveredFile { path: path.to_owned(), bytes: bytes.len() as u64, md5, ..DeliveredFile::default() })
}

fn md5_hex(bytes: &[u8]) -> String {
    use md5::{Digest, Md5};
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failure(error: PlaceError) -> Failure {
    match &error {
        PlaceError::Refused { may_pass: true, .. } => Failure::transient(Code::Disk, error.to_string()),
        PlaceError::Refused { .. } | PlaceError::Taken { .. } => {
            Failure::permanent(Code::Disk, error.to_string())
        }
    }
}

fn local(path: &str, error: &io::Error) -> Failure {
    let kind = if may_pass(error) { FailureKind::Transient } else { FailureKind::Permanent };
    Failure { kind, ..Failure::permanent(Code::Disk, format!("write {path}: {error}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_listed_lengths_does_not_overflow() {
        let blob = |size_bytes| BlobListing {
            name: "n".into(),
            size_bytes,
            md5: None,
            etag: "e".into(),
            file: dropmill_azure_wire::blob::FileMetadata::default(),
        };
        assert_eq!(length_of(&[blob(2), blob(3)]).ok(), Some(5));
        assert_eq!(length_of(&[blob(u64::MAX), blob(0)]).ok(), Some(u64::MAX));
        let refused = length_of(&[blob(u64::MAX), blob(2)]).err();
        assert_eq!(refused.map(|failure| failure.kind), Some(FailureKind::Transient));
    }
}
