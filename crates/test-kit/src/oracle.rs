//! What must be true of every run, whatever went wrong in it: checked on each simulated one.

pub mod drop;

use crate::Simulated;
use dropmill_journal::event::{Event, EventKind, Subject, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A rule that a run broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule, in a few words; the same rule has the same words.
    pub rule: &'static str,
    /// What broke it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Requests of a run that does nothing, and for each task and each minute: more is a storm.
const REQUESTS: (u64, u64, u64) = (300, 60, 240);

/// Checks every rule.
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
        let told = || format!("event {} after {before}, cause {:?}", event.seq, event.cause);
        found.unless(event.seq == before + 1, "events are numbered without gaps", told);
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
    found.unless(is_last, "nothing comes after the end", || format!("the last event is {last:?}"));
    let asked = position(&run.events, |kind| matches!(kind, EventKind::EndAsked { .. }));
    let cleaned = position(&run.events, |kind| {
        matches!(kind, EventKind::JobDeleted {} | EventKind::PoolDeleted {} | EventKind::ContainerDeleted {})
    });
    let in_order = cleaned.is_none_or(|cleaned| asked.is_some_and(|asked| asked < cleaned));
    found.unless(in_order, "nothing is deleted before the end was asked", || {
        format!("asked {asked:?}, deleted {cleaned:?}")
    });
}

fn position(events: &[Event], wanted: impl Fn(&EventKind) -> bool) -> Option<usize> {
    events.iter().position(|event| wanted(&event.kind))
}

#[derive(Default)]
struct Life {
    uploaded: bool,
    /// Attempts that another followed.
    attempts: u32,
    submitted: bool,
    ended: bool,
    delivered: u32,
    closed: Vec<Verdict>,
}

fn tasks(run: &Simulated, found: &mut Found) {
    let mut lives: BTreeMap<&str, Life> = BTreeMap::new();
    for event in &run.events {
        let Some(task) = event.subject.task() else { continue };
        let life = lives.entry(task).or_default();
        found.unless(life.closed.is_empty(), "nothing happens to a closed task", || {
            format!("{task}: event {} comes after its last word", event.seq)
        });
        match &event.kind {
            EventKind::InputUploaded { .. } => life.uploaded = true,
            EventKind::TaskSubmitted { .. } => life.submitted = true,
            EventKind::TaskEnded(_) => life.ended = true,
            EventKind::TaskRetried { attempt, .. } => {
                life.attempts += 1;
                let in_turn = life.ended && *attempt == life.attempts + 1;
                found.unless(in_turn, "an attempt follows one that ended", || {
                    format!("{task}: attempt {attempt} after {} others", life.attempts)
                });
                (life.submitted, life.ended) = (false, false);
            }
            EventKind::OutputDelivered { .. } => life.delivered += 1,
            EventKind::TaskClosed { verdict, .. } => life.closed.push(*verdict),
            _ => {}
        }
        let has_input = run.plan.items.iter().any(|item| item.task == task && item.source.is_some());
        found.unless(!life.submitted || life.uploaded || !has_input, "no task before its input", || {
            format!("{task} was submitted and its input was not up")
        });
        found.unless(life.delivered <= 1, "a result is delivered once", || {
            format!("{task}: {} deliveries", life.delivered)
        });
    }
    let count = |wanted: Verdict| lives.values().filter(|life| life.closed.contains(&wanted)).count() as u64;
    let tally = &run.report.tasks;
    for (verdict, told) in [
        (Verdict::Succeeded, tally.succeeded),
        (Verdict::Failed, tally.failed),
        (Verdict::Unfinished, tally.unfinished),
    ] {
        let counted = count(verdict);
        found.unless(counted == told, "the report counts what happened", || {
            format!("{verdict:?}: {counted} tasks, {told} in the report")
        });
    }
    for item in &run.plan.items {
        let life = lives.get(item.task.as_str());
        let closings = life.map_or(0, |life| life.closed.len());
        found.unless(closings == 1, "every task has one last word", || format!("{}: {closings}", item.task));
        let Some(life) = life else { continue };
        let done = !life.closed.contains(&Verdict::Succeeded) || (life.ended && life.delivered == 1);
        found.unless(done, "success means ended and delivered", || item.task.clone());
    }
}

/// What is said of a task is what the nodes did.
fn nodes(run: &Simulated, found: &mut Found) {
    let deaths = run.deaths;
    for item in &run.plan.items {
        let task = Subject::of_task(&item.task);
        let mut ending = None;
        let (mut failed, mut submissions) = (false, 0);
        for event in run.events.iter().filter(|event| event.subject == task) {
            match &event.kind {
                EventKind::TaskSubmitted { .. } => submissions += 1,
                EventKind::TaskEnded(told) => ending = Some(told),
                EventKind::TaskClosed { verdict, .. } => failed = *verdict == Verdict::Failed,
                _ => {}
            }
        }
        let launches = run.launches.get(&item.task).copied().unwrap_or(0);
        // A task that the nodes started has an end there; a failure without one is somebody's mistake.
        let known = !failed || ending.is_some() || launches == 0;
        found.unless(known, "no task fails that the service never said to have ended", || {
            format!("{}: started {launches} times, failed, and its end was never seen", item.task)
        });
        // A job that somebody deleted has its tasks submitted once more, by a life that may not know that an earlier
        // one did.
        let submissions = submissions.max(1) + if run.meddled { deaths } else { 0 };
        let tries = ending.map(|ending| (1 + ending.retries + ending.requeues) * submissions);
        found.unless(
            tries.is_none_or(|tries| launches <= tries),
            "no task is started more often than its tries",
            || format!("{}: started {launches} times, {tries:?} tries", item.task),
        );
    }
}

/// What was told to be delivered is there, and nothing else is.
fn results(run: &Simulated, found: &mut Found) {
    let mut told = BTreeMap::new();
    for event in &run.events {
        let EventKind::OutputDelivered { folder, files, .. } = &event.kind else { continue };
        for file in files {
            let path = if folder.is_empty() { file.path.clone() } else { format!("{folder}/{}", file.path) };
            told.insert(path, file.bytes);
        }
    }
    let there: BTreeMap<_, _> =
        run.files.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect();
    found.unless(told == there, "what was delivered is there, whole, and nothing else", || {
        format!("told {told:?}, there {there:?}")
    });
}

/// Whatever still exists at the service is named in the report.
fn leftovers(run: &Simulated, found: &mut Found) {
    let named: BTreeSet<&str> = run.report.left_behind.iter().map(|left| left.what.as_str()).collect();
    for what in &run.remains {
        let known =
            named.contains(what.as_str()) || (what.starts_with("container/") && named.contains("containers"));
        found.unless(known, "what is left is named", || format!("{what} is left; named are {named:?}"));
    }
}

fn secrets(run: &Simulated, found: &mut Found) {
    without_secrets(&run.events, found);
}

fn without_secrets(events: &[Event], found: &mut Found) {
    for event in events {
        let told = serde_json::to_string(event).unwrap_or_default();
        for word in ["sig=", "SharedKey ", "AccountKey"] {
            found.unless(!told.contains(word), "no event tells a secret", || {
                format!("event {} holds {word}", event.seq)
            });
        }
    }
}

fn rate(run: &Simulated, found: &mut Found) {
    let (least, each, minute) = REQUESTS;
    let minutes = run.lasted.as_secs() / 60 + 1;
    let most = least + each * run.plan.items.len() as u64 + minute * minutes;
    found.unless(run.requests <= most, "requests are bounded", || {
        format!("{} requests, {most} would be many", run.requests)
    });
}
