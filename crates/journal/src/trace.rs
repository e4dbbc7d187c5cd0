//! The canonical trace: equivalent runs produce equal text.
//!
//! Events are grouped by subject (the run, application files, pool, job, each task) and keep their order
//! within it. Generated names, nodes and times are replaced by placeholders. `full` prints every event and
//! time; `outline` prints one line per subject, omits what depends on the time of polling, and merges
//! subjects with equal histories.

use crate::{
    event::{Event, EventKind, Subject, Verdict},
    shown,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

/// Number of examples that are named for a group of equal subjects.
const EXAMPLES: usize = 3;

/// Returns every event, grouped by subject, with times in tenths of a second.
pub fn full(events: &[Event]) -> String {
    let names = Names::of(events);
    let mut text = String::new();
    for (life, events) in by_subject(events) {
        let _ = writeln!(text, "{}", names.life(life));
        for event in events {
            let (line, tenths) = (names.line(event, true), event.elapsed_ms / 100);
            let _ = writeln!(
                text,
                "  {:>5}.{} {:<16} {line}",
                tenths / 10,
                tenths % 10,
                shown(event.actor.as_str())
            );
        }
    }
    text
}

/// Returns the results of a run: for each task its verdict and delivered files, the outcome of the run, and
/// what remains at the service. A run that was interrupted and resumed returns the same results as one that
/// was not.
pub fn results(events: &[Event]) -> String {
    let kept: Vec<Event> = events
        .iter()
        .filter(|event| {
            matches!(
                event.kind,
                EventKind::OutputDelivered { .. }
                    | EventKind::TaskClosed { .. }
                    | EventKind::TaskSplit { .. }
                    | EventKind::ChunkClosed { .. }
                    | EventKind::RunEnded { .. }
            )
        })
        .cloned()
        .collect();
    outline(&kept)
}

/// Returns one line per subject; subjects with equal histories share a line.
pub fn outline(events: &[Event]) -> String {
    let names = Names::of(events);
    let mut groups: Vec<(String, Vec<String>)> = vec![];
    let mut by_story: BTreeMap<String, usize> = BTreeMap::new();
    for (life, events) in by_subject(events) {
        let steps: Vec<_> =
            events.iter().filter(|event| is_stable(event)).map(|event| names.line(event, false)).collect();
        if steps.is_empty() {
            continue;
        }
        let story = one_line(&steps);
        let key = format!("{}\n{story}", life.kind());
        let life = names.life(life);
        match by_story.get(&key) {
            Some(&group) => groups[group].1.push(life),
            None => {
                by_story.insert(key, groups.len());
                groups.push((story, vec![life]));
            }
        }
    }
    let mut text = String::new();
    for (story, lives) in groups {
        let who = match lives.len() {
            1 => lives[0].clone(),
            count => {
                let kind = lives[0].split('/').next().unwrap_or_default();
                let examples: Vec<_> = lives.iter().take(EXAMPLES).map(|life| short(life)).collect();
                let more = if count > EXAMPLES { ", …" } else { "" };
                format!("{count} x {kind} ({}{more})", examples.join(", "))
            }
        };
        let _ = writeln!(text, "{who}: {story}");
    }
    text
}

/// Returns the steps in one line; a step that repeats is written once, with its count.
fn one_line(steps: &[String]) -> String {
    let line = steps.chunk_by(|one, next| one == next).map(|same| match same {
        [one] => one.clone(),
        same => format!("{} ({} times)", same[0], same.len()),
    });
    line.collect::<Vec<_>>().join(" > ")
}

/// Returns the steps of each subject with their causes, without what differs between equivalent runs.
/// Subjects are sorted by their rank. Nodes, whose names are random, are sorted by their steps.
pub(crate) fn stories(events: &[Event]) -> BTreeMap<(u8, String), Vec<String>> {
    let names = Names::of(events);
    let by_number: BTreeMap<u64, &Event> = events.iter().map(|event| (event.seq, event)).collect();
    // The cause is written only if it is not the previous step. Which of several equal causes came first is
    // random.
    let step = |event: &Event, before: Option<&&Event>| {
        let line = names.line(event, false);
        let cause = event.cause.and_then(|cause| by_number.get(&cause)).filter(|cause| is_stable(cause));
        let Some(cause) = cause.filter(|cause| before.is_none_or(|before| before.seq != cause.seq)) else {
            return line;
        };
        let because = names.line(cause, false);
        let because = because.split(" (").next().unwrap_or_default();
        if cause.subject == event.subject {
            format!("{line} (for {because})")
        } else {
            format!("{line} (for {}: {because})", cause.subject.kind())
        }
    };
    let (mut stories, mut nodes) = (BTreeMap::new(), vec![]);
    for (life, events) in by_subject(events) {
        let events: Vec<&Event> = events.into_iter().filter(|event| is_stable(event)).collect();
        let before = |at: usize| at.checked_sub(1).and_then(|at| events.get(at));
        let steps: Vec<String> =
            events.iter().enumerate().map(|(at, event)| step(event, before(at))).collect();
        if steps.is_empty() {
            continue;
        }
        if life.node().is_some() {
            nodes.push(steps);
        } else {
            stories.insert((rank(life), names.life(life)), steps);
        }
    }
    nodes.sort();
    for (at, steps) in nodes.into_iter().enumerate() {
        let name = format!("node#{}", at + 1);
        stories.insert((rank(&Subject::Node(name.clone())), name), steps);
    }
    stories
}

fn short(life: &str) -> &str {
    life.split_once('/').map_or(life, |(_, name)| name)
}

/// Returns whether an event does not depend on the time of polling, so that equivalent runs have it.
fn is_stable(event: &Event) -> bool {
    match &event.kind {
        EventKind::NodeChanged { .. } | EventKind::TaskRunning { .. } | EventKind::TaskRequeued { .. } => {
            false
        }
        // The events around it show an attempt that failed for good, or is repeated at once.
        EventKind::TaskAttemptFailed { after_ms, .. } => after_ms.is_some_and(|after_ms| after_ms > 0),
        _ => true,
    }
}

/// Returns the events by subject: the run first, then its resources in the order in which they are needed.
fn by_subject(events: &[Event]) -> Vec<(&Subject, Vec<&Event>)> {
    let mut by_subject: BTreeMap<(u8, &Subject), Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_subject.entry((rank(&event.subject), &event.subject)).or_default().push(event);
    }
    by_subject.into_iter().map(|((_, subject), events)| (subject, events)).collect()
}

/// Returns the position of a subject among the others.
fn rank(subject: &Subject) -> u8 {
    match subject {
        Subject::Run => 0,
        Subject::Container(_) | Subject::Containers => 1,
        Subject::File(_) => 2,
        Subject::Pool => 3,
        Subject::Node(_) => 4,
        Subject::Job => 5,
        Subject::Task(_) | Subject::Other(_) => 6,
    }
}

/// The placeholders for names that differ from run to run.
struct Names {
    run: String,
    nodes: BTreeMap<String, String>,
}

impl Names {
    fn of(events: &[Event]) -> Self {
        let run = events.first().map(|event| event.run.clone()).unwrap_or_default();
        let mut nodes = BTreeSet::new();
        for event in events {
            if let Some(node) = event.subject.node() {
                nodes.insert(node.to_owned());
            }
            match &event.kind {
                EventKind::TaskRunning { node: Some(node), .. } => {
                    nodes.insert(node.clone());
                }
                EventKind::TaskEnded(ending) => nodes.extend(ending.node.clone()),
                _ => {}
            }
        }
        let nodes =
            nodes.into_iter().enumerate().map(|(at, node)| (node, format!("node#{}", at + 1))).collect();
        Self { run, nodes }
    }

    /// Returns the name of a subject, without generated parts.
    fn life(&self, subject: &Subject) -> String {
        match subject.node() {
            Some(node) => format!("node/{}", shown(self.node(node))),
            None => self.plain(&subject.to_string()),
        }
    }

    fn node<'a>(&'a self, node: &'a str) -> &'a str {
        self.nodes.get(node).map_or(node, String::as_str)
    }

    /// Returns the text on one line, with a placeholder for the run's name, which is also part of the names
    /// of pool, job and containers.
    fn plain(&self, text: &str) -> String {
        let text = shown(text);
        if self.run.is_empty() { text } else { text.replace(&self.run, "run#1") }
    }

    fn line(&self, event: &Event, whole: bool) -> String {
        let line = match &event.kind {
            EventKind::RunStarted { name, service, tasks, .. } => {
                format!("started {name} ({tasks} tasks, {service})")
            }
            EventKind::RunResumed { life, open } => format!("resumed (life {life}, {open} tasks open)"),
            EventKind::FileClaimed { bytes, attempt, .. } => match attempt {
                1 => format!("claimed{}", size(*bytes, whole)),
                _ => format!("claimed again (attempt {attempt}){}", size(*bytes, whole)),
            },
            EventKind::FileWithdrawn { reason } => format!("withdrawn ({reason})"),
            EventKind::FilePublished { outcome, place } => match whole {
                true => format!("published in {outcome} as {place}"),
                false => format!("published in {outcome}"),
            },
            EventKind::ContainerReady {} => "ready".into(),
            EventKind::ApplicationUploaded { bytes, skipped }
            | EventKind::SharedFileUploaded { bytes, skipped } => {
                format!("uploaded{}{}", there(*skipped), size(*bytes, whole))
            }
            EventKind::InputUploaded { bytes, skipped, .. } => {
                format!("uploaded{}{}", there(*skipped), size(*bytes, whole))
            }
            EventKind::ChunkFormed { inputs, .. } => format!("for {} inputs", inputs.len()),
            EventKind::TaskSplit { inputs, cause } => format!("split into {inputs} tasks: {cause}"),
            EventKind::ChunkClosed { verdict, cause, .. } => {
                let verdict = word(*verdict);
                cause.as_ref().map_or(verdict.into(), |cause| format!("{verdict}: {cause}"))
            }
            EventKind::Retrying { what, attempt, after_ms, error, .. } => match whole {
                true => format!("retrying {what} (try {attempt} failed: {error}; rest {after_ms} ms)"),
                false => format!("retrying {what}"),
            },
            EventKind::PoolCreated { nodes, spot_nodes, adopted, .. } => {
                format!("created{} ({nodes} nodes, {spot_nodes} spot)", there(*adopted))
            }
            EventKind::NodeChanged { state } => state.clone(),
            EventKind::StartTaskFailed { exit_code, reason, stderr_tail } => {
                format!("start task failed ({}; {reason}; stderr: {stderr_tail})", exit(*exit_code))
            }
            EventKind::ResizeFailed { code, message } => format!("resize failed ({code}: {message})"),
            EventKind::PoolReady { nodes } => format!("ready ({nodes} nodes)"),
            EventKind::Degraded { reason } => format!("degraded ({reason})"),
            EventKind::JobCreated { adopted } => format!("created{}", there(*adopted)),
            EventKind::TaskSubmitted { adopted } => format!("submitted{}", there(*adopted)),
            EventKind::TaskRunning { node, .. } => {
                format!("running on {}", node.as_deref().map_or("a node", |node| self.node(node)))
            }
            EventKind::TaskTerminateAsked { reason } => format!("asked to end ({reason})"),
            EventKind::TaskEnded(ending) => {
                let mut line = format!("ended ({}", exit(ending.exit_code));
                if let Some(code) = ending.failure_code.as_ref().filter(|code| *code != "FailureExitCode") {
                    let _ = write!(line, ", {code}");
                }
                if ending.retries > 0 {
                    let _ = write!(line, ", {} retries", ending.retries);
                }
                if ending.requeues > 0 {
                    let _ = write!(line, ", {} requeues", ending.requeues);
                }
                if let Some(node) = ending.node.as_ref().filter(|_| whole) {
                    let _ = write!(line, ", on {}", self.node(node));
                }
                line + ")"
            }
            EventKind::TaskRequeued { requeues } => format!("queued again (for the {requeues}. time)"),
            EventKind::TaskAttemptFailed { attempt, reason, cause, after_ms, .. } => {
                let next = match after_ms {
                    None => "the last".into(),
                    Some(0) => "again at once".into(),
                    Some(after_ms) => {
                        format!("again after {} s", Duration::from_millis(*after_ms).as_secs_f64())
                    }
                };
                let text = format!("attempt {attempt} failed ({reason}, {next})");
                if whole { format!("{text}: {cause}") } else { text }
            }
            EventKind::TaskRetried { attempt, cause } => format!("attempt {attempt} follows: {cause}"),
            EventKind::OutputDelivered { folder, files, .. } => {
                let names: Vec<_> =
                    files.iter().map(|file| format!("{}{}", file.path, size(file.bytes, whole))).collect();
                let folder = if whole { format!(" to {folder}") } else { String::new() };
                format!("delivered {}{folder}", names.join(" "))
            }
            EventKind::TaskClosed { verdict, cause, .. } => {
                let verdict = word(*verdict);
                cause.as_ref().map_or(verdict.into(), |cause| format!("{verdict}: {cause}"))
            }
            EventKind::DeadlinePassed { which } => format!("deadline passed: {which}"),
            EventKind::MaxFailuresReached { failed, limit } => {
                format!("max_failures reached ({failed} tasks failed, the limit is {limit})")
            }
            EventKind::JobDisabled {} => "disabled".into(),
            EventKind::EndAsked { reason, detail } => format!("end asked: {reason:?} ({detail})"),
            EventKind::JobTerminated { reason } => format!("terminated ({reason})"),
            EventKind::JobDeleted {} | EventKind::PoolDeleted {} | EventKind::ContainerDeleted {} => {
                "deleted".into()
            }
            EventKind::LeftBehind { reason } => format!("left behind ({reason})"),
            EventKind::ActorLost { actor } => format!("actor lost: {actor}"),
            EventKind::RunEnded { outcome, succeeded, failed, unfinished } => {
                format!("{outcome:?} ({succeeded} succeeded, {failed} failed, {unfinished} unfinished)")
            }
        };
        self.plain(&line)
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Succeeded => "succeeded",
        Verdict::Failed => "failed",
        Verdict::Unfinished => "unfinished",
    }
}

fn there(adopted: bool) -> &'static str {
    if adopted { ", was there" } else { "" }
}

fn exit(code: Option<i32>) -> String {
    code.map_or("no exit code".into(), |code| format!("exit code {code}"))
}

fn size(bytes: u64, whole: bool) -> String {
    if whole { format!(" ({bytes} bytes)") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EndReason, Outcome, TaskEnding};
    use jiff::Timestamp;

    fn events(run: &str, order: &[(&str, &str)]) -> Vec<Event> {
        let task = |id: &str, kind| (format!("task/{id}"), kind);
        let mut said = vec![(
            "run".to_owned(),
            EventKind::RunStarted {
                name: "lines".into(),
                service: "embedded".into(),
                tasks: order.len() as u64,
                version: "1.0".into(),
            },
        )];
        said.push((format!("container/{run}-output"), EventKind::ContainerReady {}));
        for (id, _) in order {
            said.push(task(id, EventKind::TaskSubmitted { adopted: false }));
        }
        for (id, node) in order {
            let ending = TaskEnding {
                success: true,
                exit_code: Some(0),
                failure_code: None,
                failure_message: None,
                node: Some((*node).into()),
                started: None,
                ended: None,
                retries: 0,
                requeues: 0,
            };
            said.push(task(id, EventKind::TaskEnded(ending)));
            said.push(task(
                id,
                EventKind::TaskClosed {
                    verdict: Verdict::Succeeded,
                    cause: None,
                    stderr_tail: None,
                    undelivered: false,
                    may_pass: false,
                },
            ));
        }
        let (reason, detail) = (EndReason::AllTasksClosed, "every task is closed".into());
        said.push(("run".into(), EventKind::EndAsked { reason, detail }));
        let (outcome, succeeded) = (Outcome::Succeeded, order.len() as u64);
        said.push(("run".into(), EventKind::RunEnded { outcome, succeeded, failed: 0, unfinished: 0 }));
        let event = |(at, (subject, kind)): (usize, (String, EventKind))| Event {
            seq: at as u64 + 1,
            at: Timestamp::UNIX_EPOCH,
            elapsed_ms: at as u64 * 130,
            run: run.into(),
            actor: "task_monitor".into(),
            subject: subject.into(),
            cause: None,
            kind,
        };
        said.into_iter().enumerate().map(event).collect()
    }

    #[test]
    fn subjects_with_equal_histories_share_a_line_without_generated_names() {
        let outline =
            outline(&events("lines-1", &[("a", "tvm-9"), ("b", "tvm-9"), ("c", "tvm-7"), ("d", "tvm-7")]));
        insta::assert_snapshot!(outline, @r"
        run: started lines (4 tasks, embedded) > end asked: AllTasksClosed (every task is closed) > Succeeded (4 succeeded, 0 failed, 0 unfinished)
        container/run#1-output: ready
        4 x task (a, b, c, …): submitted > ended (exit code 0) > succeeded
        ");
    }

    #[test]
    fn the_order_of_arrival_nodes_and_names_do_not_change_the_trace() {
        let one = outline(&events("lines-1", &[("a", "x"), ("b", "y")]));
        let other = outline(&events("lines-2", &[("b", "z"), ("a", "w")]));
        assert_eq!(one, other);
    }

    #[test]
    fn the_full_trace_has_every_event_with_its_time() {
        insta::assert_snapshot!(full(&events("lines-1", &[("a", "tvm-9")])), @r"
        run
              0.0 task_monitor     started lines (1 tasks, embedded)
              0.6 task_monitor     end asked: AllTasksClosed (every task is closed)
              0.7 task_monitor     Succeeded (1 succeeded, 0 failed, 0 unfinished)
        container/run#1-output
              0.1 task_monitor     ready
        task/a
              0.2 task_monitor     submitted
              0.3 task_monitor     ended (exit code 0, on node#1)
              0.5 task_monitor     succeeded
        ");
    }
}
