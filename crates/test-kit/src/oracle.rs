//! Checks rules that hold for every run, whatever goes wrong in it. They are checked after each simulated
//! run.

pub mod drop;

use crate::Simulated;
use dropmill_journal::event::{Event, EventKind, Subject, TaskEnding, Verdict};
use dropmill_lifecycle::plan::Item;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A rule that a run violated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Short text of the rule; the same rule always has the same text.
    pub rule: &'static str,
    /// The events or files that violated the rule.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Allowed requests: per run, per task and per minute. More than this would overload the service.
const REQUESTS: (u64, u64, u64) = (300, 60, 240);

/// Checks all rules and returns the violations.
pub fn check(run: &Simulated) -> Vec<Violation> {
    let mut found = Found(vec![]);
    numbers(run, &mut found);
    the_end(run, &mut found);
    tasks(run, &mut found);
    nodes(run, &mut found);
    results(run, &mut found);
    leftovers(run, &mut found);
    secrets(run, &mut found);
    rate(run, &mut found);
    found.0
}

struct Found(Vec<Violation>);

impl Found {
    fn unless(&mut self, kept: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !kept {
            self.0.push(Violation { rule, what: what() });
        }
    }
}

fn numbers(run: &Simulated, found: &mut Found) {
    numbered(&run.events, found);
}

fn numbered<'a>(events: impl IntoIterator<Item = &'a Event>, found: &mut Found) {
    let mut before = 0;
    for event in events {
        let details = || format!("event {} after {before}, cause {:?}", event.seq, event.cause);
        found.unless(event.seq == before + 1, "events are numbered without gaps", details);
        found.unless(
            event.cause.is_none_or(|cause| cause < event.seq),
            "a cause comes before its effect",
            || format!("event {} is caused by {:?}", event.seq, event.cause),
        );
        before = event.seq;
    }
}

fn the_end(run: &Simulated, found: &mut Found) {
    let ends: Vec<_> =
        run.events.iter().filter(|event| matches!(event.kind, EventKind::RunEnded { .. })).collect();
    found.unless(ends.len() == 1, "a run ends once", || format!("{} ends", ends.len()));
    let last = run.events.last().map(|event| event.seq);
    let is_last = ends.last().map(|event| event.seq) == last;
    found.unless(is_last, "no event comes after the end", || format!("the last event is {last:?}"));
    let asked = position(&run.events, |kind| matches!(kind, EventKind::EndAsked { .. }));
    let cleaned = position(&run.events, |kind| {
        matches!(kind, EventKind::JobDeleted {} | EventKind::PoolDeleted {} | EventKind::ContainerDeleted {})
    });
    let in_order = cleaned.is_none_or(|cleaned| asked.is_some_and(|asked| asked < cleaned));
    found.unless(in_order, "nothing is deleted before the run is asked to end", || {
        format!("asked {asked:?}, deleted {cleaned:?}")
    });
}

fn position(events: &[Event], wanted: impl Fn(&EventKind) -> bool) -> Option<usize> {
    events.iter().position(|event| wanted(&event.kind))
}

#[derive(Default)]
struct Life {
    uploaded: bool,
    /// Number of attempts that were followed by another.
    attempts: u32,
    /// When the next attempt may begin, in milliseconds since the run began.
    again_at: Option<u64>,
    submitted: bool,
    ended: bool,
    delivered: u32,
    closed: Vec<Verdict>,
    /// Of a task for several inputs.
    chunk_closed: Vec<Verdict>,
    split: bool,
}

fn tasks(run: &Simulated, found: &mut Found) {
    let mut lives: BTreeMap<&str, Life> = BTreeMap::new();
    let most_retries = u32::try_from(run.plan.job.max_retries).unwrap_or(u32::MAX);
    for event in &run.events {
        let Some(task) = event.subject.task() else { continue };
        let life = lives.entry(task).or_default();
        let is_over = !life.closed.is_empty() || !life.chunk_closed.is_empty() || life.split;
        found.unless(!is_over, "nothing happens to a closed task", || {
            format!("{task}: event {} comes after the task was closed", event.seq)
        });
        match &event.kind {
            EventKind::InputUploaded { .. } => life.uploaded = true,
            EventKind::TaskSubmitted { .. } => life.submitted = true,
            EventKind::TaskEnded(_) => life.ended = true,
            EventKind::TaskRetried { attempt, .. } => {
                life.attempts += 1;
                let in_turn = life.ended && *attempt == life.attempts + 1;
                found.unless(in_turn, "a new attempt starts after the previous one ended", || {
                    format!("{task}: attempt {attempt} after {} others", life.attempts)
                });
                let in_time = life.again_at.is_some_and(|again_at| event.elapsed_ms >= again_at);
                found.unless(in_time, "no attempt begins before its delay is over", || {
                    format!(
                        "{task}: attempt {attempt} at {} ms, not before {:?}",
                        event.elapsed_ms, life.again_at
                    )
                });
                found.unless(
                    life.attempts <= most_retries,
                    "no task is tried more often than its policy says",
                    || format!("{task}: {} retries of {most_retries}", life.attempts),
                );
                (life.submitted, life.ended, life.again_at) = (false, false, None);
            }
            EventKind::TaskAttemptFailed { attempt, after_ms, .. } => {
                let in_turn = life.ended && *attempt == life.attempts + 1;
                found.unless(in_turn, "an attempt fails after it ended", || {
                    format!("{task}: attempt {attempt} failed after {} others", life.attempts)
                });
                life.again_at = after_ms.map(|after_ms| event.elapsed_ms + after_ms);
            }
            EventKind::OutputDelivered { .. } => life.delivered += 1,
            EventKind::TaskClosed { verdict, .. } => life.closed.push(*verdict),
            EventKind::TaskSplit { .. } => life.split = true,
            EventKind::ChunkClosed { verdict, .. } => life.chunk_closed.push(*verdict),
            _ => {}
        }
        let has_input =
            all_tasks(run).any(|item| item.task == task && (item.source.is_some() || item.chunk.is_some()));
        found.unless(
            !life.submitted || life.uploaded || !has_input,
            "a task is submitted after its input is uploaded",
            || format!("{task} was submitted before its input was uploaded"),
        );
        found.unless(life.delivered <= 1, "a result is delivered once", || {
            format!("{task}: {} deliveries", life.delivered)
        });
    }
    let count = |wanted: Verdict| lives.values().filter(|life| life.closed.contains(&wanted)).count() as u64;
    let tally = &run.report.tasks;
    for (verdict, reported) in [
        (Verdict::Succeeded, tally.succeeded),
        (Verdict::Failed, tally.failed),
        (Verdict::Unfinished, tally.unfinished),
    ] {
        let counted = count(verdict);
        found.unless(counted == reported, "the report counts all tasks", || {
            format!("{verdict:?}: {counted} tasks, {reported} in the report")
        });
    }
    for item in &run.plan.items {
        let life = lives.get(item.task.as_str());
        let closings = life.map_or(0, |life| life.closed.len());
        found.unless(closings == 1, "every task is closed once", || format!("{}: {closings}", item.task));
        let Some(life) = life else { continue };
        let succeeded = life.closed.contains(&Verdict::Succeeded);
        let chunk = run.plan.chunk_of(item.index).map(|number| &run.plan.chunks[number]);
        let of_chunk = chunk.and_then(|chunk| lives.get(chunk.task.as_str())).filter(|chunk| !chunk.split);
        let has_own = item.chunk.as_ref().is_some_and(|chunk| chunk.own_results);
        let done = match of_chunk {
            None => life.ended && life.delivered == 1,
            Some(chunk) => chunk.ended && chunk.delivered == 1 && (life.delivered == 1 || !has_own),
        };
        found.unless(!succeeded || done, "a task that succeeded has ended and was delivered", || {
            item.task.clone()
        });
        let singly = of_chunk.is_none() || !(life.submitted || life.ended);
        found.unless(singly, "an input is submitted alone only after its task was split", || {
            item.task.clone()
        });
    }
    for chunk in &run.plan.chunks {
        let life = lives.get(chunk.task.as_str());
        let ends = life.map_or(0, |life| life.chunk_closed.len() + usize::from(life.split));
        let details = || format!("{}: {ends}", chunk.task);
        found.unless(ends == 1, "a task for several inputs is closed or split, once", details);
    }
}

/// Every task that the run may submit.
fn all_tasks(run: &Simulated) -> impl Iterator<Item = &Item> {
    run.plan.items.iter().chain(&run.plan.chunks)
}

/// Checks that the events of a task match what the nodes did.
fn nodes(run: &Simulated, found: &mut Found) {
    let crashes = run.crashes;
    for item in all_tasks(run) {
        let task = Subject::of_task(&item.task);
        let mut ending = None;
        // How often the service queued attempts again that another followed.
        let mut earlier_requeues = 0;
        let (mut failed, mut submissions) = (false, 0);
        for event in run.events.iter().filter(|event| event.subject == task) {
            match &event.kind {
                EventKind::TaskSubmitted { .. } => submissions += 1,
                EventKind::TaskEnded(found) => ending = Some(found),
                EventKind::TaskRetried { .. } => {
                    earlier_requeues += ending.map_or(0, |ended: &TaskEnding| ended.requeues);
                }
                EventKind::TaskClosed { verdict, .. } => failed = *verdict == Verdict::Failed,
                EventKind::ChunkClosed { verdict, .. } => failed = *verdict == Verdict::Failed,
                _ => {}
            }
        }
        let launches = run.launches.get(&item.task).copied().unwrap_or(0);
        // A task that the nodes started has a recorded end; a failure without one was not reported by the
        // service.
        let known = !failed || ending.is_some() || launches == 0;
        found.unless(known, "a task that ran fails only after the service reported its end", || {
            format!("{}: started {launches} times, failed, and its end was never recorded", item.task)
        });
        // A job that somebody deleted has its tasks submitted once more, by a life that may not know that an earlier
        // one did.
        let submissions = submissions.max(1) + if run.meddled { crashes } else { 0 };
        let tries =
            ending.map(|ending| (1 + ending.retries + ending.requeues + earlier_requeues) * submissions);
        found.unless(
            tries.is_none_or(|tries| launches <= tries),
            "no task is started more often than its attempts allow",
            || format!("{}: started {launches} times, {tries:?} attempts", item.task),
        );
    }
}

/// Checks that the output folder contains all delivered files, and no others.
fn results(run: &Simulated, found: &mut Found) {
    let mut reported = BTreeMap::new();
    for event in &run.events {
        let EventKind::OutputDelivered { folder, files, .. } = &event.kind else { continue };
        for file in files {
            let path = match &file.at {
                _ if file.is_log => log_name(event.subject.task().unwrap_or_default(), &file.path),
                Some(place) => place.clone(),
                None if folder.is_empty() => file.path.clone(),
                None => format!("{folder}/{}", file.path),
            };
            let other = reported.insert(path.clone(), file.bytes);
            found.unless(other.is_none(), "no two results have the same place", || path);
        }
    }
    let files = run.files.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64));
    let logs = run.logs.iter().map(|((task, path), bytes)| (log_name(task, path), bytes.len() as u64));
    let there: BTreeMap<_, _> = files.chain(logs).collect();
    found.unless(reported == there, "the output folder contains exactly the delivered files", || {
        format!("reported {reported:?}, found {there:?}")
    });
}

/// Returns the name of a log among the files of a run.
fn log_name(task: &str, path: &str) -> String {
    format!("log {task}/{path}")
}

/// Checks that the report names every resource that still exists at the service.
fn leftovers(run: &Simulated, found: &mut Found) {
    let named: BTreeSet<&str> = run.report.left_behind.iter().map(|left| left.what.as_str()).collect();
    for what in &run.remains {
        let known =
            named.contains(what.as_str()) || (what.starts_with("container/") && named.contains("containers"));
        found.unless(known, "the report names remaining resources", || {
            format!("{what} remains; the report names {named:?}")
        });
    }
}

fn secrets(run: &Simulated, found: &mut Found) {
    without_secrets(&run.events, found);
}

fn without_secrets(events: &[Event], found: &mut Found) {
    for event in events {
        let text = serde_json::to_string(event).unwrap_or_default();
        for word in ["sig=", "SharedKey ", "AccountKey"] {
            found.unless(!text.contains(word), "no event contains a secret", || {
                format!("event {} contains {word}", event.seq)
            });
        }
    }
}

fn rate(run: &Simulated, found: &mut Found) {
    let (least, each, minute) = REQUESTS;
    let minutes = run.lasted.as_secs() / 60 + 1;
    let most = least + each * run.plan.items.len() as u64 + minute * minutes;
    found.unless(run.requests <= most, "the number of requests is limited", || {
        format!("{} requests, expected at most {most}", run.requests)
    });
}
