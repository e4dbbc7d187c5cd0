//! Results of a task for several inputs, each of which has a result of its own.
//!
//! The outputs of the task are shared among its inputs by their patterns. The task itself keeps its standard output and
//! standard error.

use super::{
    Kept, Left, ME, OutputFetcher, bring_files, list, matchers, missing, publish, staging::stage_files,
};
use crate::{
    output_names::{is_stream, output_name, result_path},
    place::{Placed, ResultPlace},
    services::Services,
    task_monitor::TaskHappened,
};
use dropmill_journal::{
    event::{DeliveredFile, EventKind, Subject},
    past::RecoveredRun,
};
use dropmill_lifecycle::{
    Code, Failure, FailureKind,
    plan::{Item, RunPlan},
    task::TaskEvent,
};
use futures_util::stream::{self, StreamExt};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::BTreeMap;

/// Results of inputs on their way at the same time. They are made durable together.
const AT_ONCE: usize = 32;

/// What became of the results of inputs, by index.
pub(super) type Shares = BTreeMap<u32, Share>;

/// What became of the result of an input.
#[derive(Debug)]
pub(super) enum Share {
    /// It is in its place.
    Placed(Placed),
    /// A previous process put it there and recorded that.
    Recorded(Vec<DeliveredFile>),
    /// No file fits any pattern of its outputs.
    Nothing,
    /// It will never be there.
    Failed(Failure),
}

/// Where results come from, and where they go.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub services: &'a Services,
    pub place: &'a dyn ResultPlace,
    pub plan: &'a RunPlan,
}

/// Returns whether a task is for several inputs that have results of their own.
pub(super) fn is_shared(item: &Item) -> bool {
    item.members().is_some_and(|chunk| chunk.own_results)
}

/// Returns the items that a task is for.
fn members<'a>(plan: &'a RunPlan, item: &Item) -> &'a [Item] {
    let range = item.members().map(|chunk| chunk.range()).unwrap_or_default();
    &plan.items[range.start as usize..range.end as usize]
}

/// Returns the length of all results.
pub(super) fn bytes(shares: &Shares) -> u64 {
    let files = shares.values().flat_map(|share| match share {
        Share::Placed(placed) => &placed.files[..],
        Share::Recorded(files) => files,
        Share::Nothing | Share::Failed(_) => &[],
    });
    files.map(|file| file.bytes).sum()
}

/// Returns the results that a previous process recorded.
pub(super) fn of_past(plan: &RunPlan, item: &Item, past: &RecoveredRun) -> Shares {
    let recorded = |item: &Item| {
        let past = past.tasks.get(&item.task)?;
        let files = past.delivered.clone();
        let closed = || past.closed.is_some().then(Vec::new);
        Some((item.index, Share::Recorded(files.or_else(closed)?)))
    };
    members(plan, item).iter().filter_map(recorded).collect()
}

/// Returns the patterns of an input's outputs as the files of its result are called.
pub(super) fn patterns_in_result(item: &Item) -> Vec<String> {
    let folder = item
        .file_name
        .rsplit_once('/')
        .map_or(String::new(), |(folder, _)| format!("{}/", globset::escape(folder)));
    let inner = |pattern: &String| {
        let below = pattern.strip_prefix(&format!("{}/", item.task))?;
        Some(below.strip_prefix(&folder).unwrap_or(below).to_owned())
    };
    item.outputs.iter().flatten().map(|pattern| inner(pattern).unwrap_or_else(|| pattern.clone())).collect()
}

/// Which input each output of a task belongs to.
struct Owners {
    patterns: GlobSet,
    /// For each pattern its length, and the place of its input among those of the task.
    of: Vec<(usize, usize)>,
}

impl Owners {
    fn of(task: &str, members: &[Item]) -> Self {
        let (mut patterns, mut of) = (GlobSetBuilder::new(), vec![]);
        for (at, member) in members.iter().enumerate() {
            for pattern in member.outputs_in(task) {
                if let Ok(glob) = GlobBuilder::new(&pattern).literal_separator(true).build() {
                    patterns.add(glob);
                    of.push((pattern.len(), at));
                }
            }
        }
        Self { patterns: patterns.build().unwrap_or_default(), of }
    }

    /// Returns the input whose pattern fits; of several, the one with the longest pattern, which says most of the name.
    fn owner(&self, name: &str) -> Option<usize> {
        let fitting = self.patterns.matches(name).into_iter().map(|pattern| self.of[pattern]);
        fitting.max_by_key(|(length, at)| (*length, std::cmp::Reverse(*at))).map(|(_, at)| at)
    }
}

/// Puts the results of the inputs in their places, and stages what remains for the task; returns that and the end of
/// standard error.
pub(super) async fn bring(
    source: Source<'_>,
    item: &Item,
    kept: &mut Kept,
    shares: &mut Shares,
) -> Result<(Vec<DeliveredFile>, String), Failure> {
    let Source { services, place, plan } = source;
    let members = members(plan, item);
    let owners = Owners::of(&item.task, members);
    let mut left: Vec<Vec<Left>> = vec![vec![]; members.len()];
    let mut streams = vec![];
    let container = || plan.output_container();
    for blob in list(services, plan, &format!("{}/", item.task)).await? {
        let path = result_path(&item.task, &blob.name);
        let path = path.map_err(|reason| Failure::permanent(Code::HostileName, reason))?;
        if is_stream(&path) {
            streams.push(Left { container: container(), blob, path });
        } else if let Some(at) = owners.owner(&output_name(&path)) {
            let path = members[at].place_in_result(&item.task, &path).to_owned();
            left[at].push(Left { container: container(), blob, path });
        }
    }
    let limits = &plan.limits;
    let is_cut =
        |Left { blob, .. }: &Left| blob.size_bytes > limits.stream_bytes || blob.file.left_out_bytes > 0;
    // That is a failure of the whole task: its inputs have no results.
    if !(limits.fail_on_overflow && streams.iter().any(is_cut)) {
        share(source, members, left, shares).await?;
    }
    bring_files(services, place, plan, (item, &item.task), &streams, kept).await
}

/// Puts the results of inputs in their places, except those that are there.
async fn share(
    source: Source<'_>,
    members: &[Item],
    left: Vec<Vec<Left>>,
    shares: &mut Shares,
) -> Result<(), Failure> {
    let open: Vec<_> =
        members.iter().zip(left).filter(|(member, _)| !shares.contains_key(&member.index)).collect();
    let one = |(member, left): (&Item, Vec<Left>)| {
        let index = member.index;
        let member = member.clone();
        async move { (index, bring_one(source, &member, left).await) }
    };
    let mut results = stream::iter(open).map(one).buffer_unordered(AT_ONCE);
    let mut passing = None;
    while let Some((index, outcome)) = results.next().await {
        match outcome {
            Ok(share) => drop(shares.insert(index, share)),
            Err(failure) if failure.kind == FailureKind::Permanent => {
                shares.insert(index, Share::Failed(failure));
            }
            Err(failure) => passing = Some(failure),
        }
    }
    passing.map_or(Ok(()), Err)
}

async fn bring_one(
    Source { services, place, plan }: Source<'_>,
    member: &Item,
    left: Vec<Left>,
) -> Result<Share, Failure> {
    if left.is_empty() {
        return Ok(Share::Nothing);
    }
    let staged = stage_files(services, place, plan, member, &left, &mut Kept::new()).await;
    let placed = match staged {
        Ok((mut files, _)) => {
            files.sort_by(|one, other| one.path.cmp(&other.path));
            let success = missing(&matchers(&patterns_in_result(member)), &files).is_empty();
            publish(place, member, success, files).await
        }
        Err(failure) => Err(failure),
    };
    if placed.is_err() {
        place.discard(&member.task);
    }
    placed.map(Share::Placed)
}

/// Delivers the results of a task that a run left at the service: once, without a record.
pub(super) async fn deliver(source: Source<'_>, item: &Item) -> Result<Placed, Failure> {
    let mut shares = Shares::new();
    let (files, _) = bring(source, item, &mut Kept::new(), &mut shares).await?;
    let failed = shares.into_values().find_map(|share| match share {
        Share::Failed(failure) => Some(failure),
        Share::Placed(_) | Share::Recorded(_) | Share::Nothing => None,
    });
    match failed {
        Some(failure) => Err(failure),
        None => publish(source.place, item, true, files).await,
    }
}

impl OutputFetcher {
    /// Records the results of the inputs of a task, and closes these inputs.
    pub(super) fn shares_delivered(&self, item: &Item, cause: Option<u64>, mut shares: Shares) {
        for member in members(&self.plan, item) {
            let (index, subject) = (member.index, Subject::of_task(&member.task));
            let (event, cause) = match shares.remove(&index) {
                Some(Share::Placed(Placed { folder, files, replaced, beside })) => {
                    let event = self.judged(member, &files);
                    let kind = EventKind::OutputDelivered { folder, files, replaced, beside };
                    (event, Some(self.record.note(ME, subject, cause, kind)))
                }
                Some(Share::Recorded(files)) => (self.judged(member, &files), cause),
                Some(Share::Failed(failure)) => (TaskEvent::DeliveryFailed(failure), cause),
                Some(Share::Nothing) => {
                    (TaskEvent::DeliveredShort(member.outputs.clone().unwrap_or_default()), cause)
                }
                // Its task has failed, and closes it.
                None => continue,
            };
            self.tasks.do_send(TaskHappened { index, event, cause });
        }
    }

    /// Records the results that are in their places although the rest of the task's will not be; the other inputs fail.
    pub(super) fn shares_failed(
        &self,
        item: &Item,
        cause: Option<u64>,
        mut shares: Shares,
        failure: &Failure,
    ) {
        for member in members(&self.plan, item) {
            shares.entry(member.index).or_insert_with(|| Share::Failed(failure.clone()));
            self.place.discard(&member.task);
        }
        self.shares_delivered(item, cause, shares);
    }
}
