//! Why a run, or one of its tasks, waits: a fold of the events that keeps what is in the way, and what to do about it.
//!
//! A cause counts until an event shows that it has passed. Of several causes the one that nothing else waits for comes first.

use crate::{
    event::{EndReason, Event, EventKind, Subject},
    tasks::{TaskRow, TaskState, TaskTable},
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Tasks that hold slots and are named.
const MAX_NAMED: usize = 3;
/// A deadline is near when less than this share of it is left.
const NEAR: f64 = 0.1;

/// What kind of thing is in the way. The order is that of their weight: the first of several is the one to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// The service cannot be reached, or does not let this client in.
    Service,
    /// The run is ending.
    Ending,
    /// A quota of the account is reached.
    Quota,
    /// The pool cannot be created.
    Pool,
    /// The service reported an error while it allocated nodes.
    Resize,
    /// The start task fails on every node.
    StartTaskFailing,
    /// Nodes cannot be used.
    NodesUnusable,
    /// A client has disabled scheduling on the nodes.
    NodesOffline,
    /// The start task is running.
    StartTask,
    /// The service allocates nodes.
    Allocation,
    /// Uploads are refused.
    UploadRefused,
    /// Downloads of results fail, or there is no room for them.
    DeliveryRefused,
    /// An attempt failed, and the next one waits for its time.
    RetryDelay,
    /// Tasks wait for a free slot.
    NoSlot,
    /// Inputs are being uploaded.
    Uploading,
    /// Tasks are running.
    Running,
    /// Results are being downloaded.
    Delivering,
    /// A deadline is near.
    Deadline,
}

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// What kind of thing.
    pub kind: CauseKind,
    /// What is in the way, in one sentence.
    pub text: String,
    /// What shows it: error messages, names, times.
    pub evidence: Vec<String>,
    /// What to do about it; none if it is only a matter of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Milliseconds since it began.
    pub since_ms: u64,
}

/// The deadlines of a run that a person may wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitDeadlines {
    /// The whole run.
    pub run: Duration,
    /// Until the pool has its nodes.
    pub allocation: Duration,
    /// Until a node has finished its start task.
    pub start_task: Duration,
    /// A task that waits for a node.
    pub queue: Option<Duration>,
}

/// A call that failed and is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RepeatedCall {
    what: String,
    error: String,
    code: String,
    attempt: u32,
    since_ms: u64,
    again_ms: u64,
}

/// Collects from events what is in the way.
#[derive(Debug, Clone, Default)]
pub struct WhyFold {
    last_ms: u64,
    tasks: u64,
    /// Calls that are repeated, by what they are about.
    repeated_calls: BTreeMap<Subject, RepeatedCall>,
    pool_since_ms: Option<u64>,
    pool_nodes: u32,
    ready_ms: Option<u64>,
    nodes: BTreeMap<String, (String, u64)>,
    resize_errors: Vec<(String, String, u64)>,
    start_task_failures: BTreeMap<String, (String, u64)>,
    ending: Option<(EndReason, String, u64)>,
    /// Failed attempts whose next attempt waits: until when, and why the last one failed.
    delays: BTreeMap<String, (u64, String)>,
    run_ended: bool,
}

impl WhyFold {
    /// Returns the fold of events that are complete.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut fold = Self::default();
        events.into_iter().for_each(|event| fold.apply(event));
        fold
    }

    /// Takes the next event in.
    pub fn apply(&mut self, event: &Event) {
        let now = event.elapsed_ms;
        self.last_ms = self.last_ms.max(now);
        if let EventKind::Retrying { what, attempt, after_ms, error, code } = &event.kind {
            let since_ms = self.repeated_calls.get(&event.subject).map_or(now, |call| call.since_ms);
            let call = RepeatedCall {
                what: what.clone(),
                error: error.clone(),
                code: code.clone().unwrap_or_default(),
                attempt: *attempt,
                since_ms,
                again_ms: now + after_ms,
            };
            self.repeated_calls.insert(event.subject.clone(), call);
            return;
        }
        // Any other event of the subject shows that the call succeeded.
        self.repeated_calls.remove(&event.subject);
        let task = event.subject.task().unwrap_or_default().to_owned();
        match &event.kind {
            EventKind::RunStarted { tasks, .. } => self.tasks = *tasks,
            EventKind::RunResumed { .. } => {
                self.repeated_calls.clear();
                (self.ending, self.run_ended) = (None, false);
            }
            EventKind::PoolCreated { nodes, spot_nodes, .. } => {
                (self.pool_since_ms, self.pool_nodes) = (Some(now), nodes + spot_nodes);
            }
            EventKind::PoolReady { .. } => {
                self.ready_ms = Some(now);
                self.resize_errors.clear();
            }
            EventKind::PoolDeleted {} => {
                (self.pool_since_ms, self.ready_ms) = (None, None);
                self.nodes.clear();
            }
            EventKind::NodeChanged { state } => {
                if let Some(node) = event.subject.node() {
                    if state != "starttaskfailed" {
                        self.start_task_failures.remove(node);
                    }
                    self.nodes.insert(node.to_owned(), (state.clone(), now));
                }
            }
            EventKind::ResizeFailed { code, message } => {
                self.resize_errors.push((code.clone(), message.clone(), now));
            }
            EventKind::StartTaskFailed { exit_code, stderr_tail, reason } => {
                let exit = exit_code.map_or(reason.clone(), |code| format!("exit code {code}"));
                let stderr = stderr_tail.lines().last().unwrap_or("it wrote nothing to standard error");
                if let Some(node) = event.subject.node() {
                    self.start_task_failures.insert(node.to_owned(), (format!("{exit}: {stderr}"), now));
                }
            }
            EventKind::TaskAttemptFailed { cause, after_ms: Some(after), .. } => {
                self.delays.insert(task, (now + after, cause.clone()));
            }
            EventKind::TaskSubmitted { .. } | EventKind::TaskClosed { .. } => {
                self.delays.remove(&task);
            }
            EventKind::EndAsked { reason, detail } => {
                self.ending = Some((*reason, detail.clone(), now));
            }
            EventKind::RunEnded { .. } => self.run_ended = true,
            _ => {}
        }
    }

    /// Returns what the run waits for at a time, in milliseconds since it began; the dominant cause first, and nothing if it
    /// has ended.
    pub fn run(&self, table: &TaskTable, deadlines: &WaitDeadlines, now_ms: u64) -> Vec<Cause> {
        if self.run_ended {
            return vec![];
        }
        let mut causes = self.of_calls(now_ms);
        causes.extend(self.of_ending(now_ms));
        let open = table.rows().iter().filter(|row| !row.state.is_closed());
        let is_pool_needed =
            open.clone().any(|row| matches!(row.state, TaskState::Queued | TaskState::Uploaded));
        if is_pool_needed && self.ending.is_none() {
            causes.extend(self.of_pool(deadlines, now_ms));
        }
        causes.extend(self.of_delays(now_ms));
        causes.extend(self.of_tasks(table, deadlines, now_ms));
        causes.extend(near(
            "run.deadline",
            deadlines.run,
            0,
            now_ms,
            "tasks that are not finished then are stopped",
        ));
        causes.sort_by_key(|cause| cause.kind);
        causes.dedup_by_key(|cause| cause.kind);
        causes
    }

    /// Returns what a task waits for at a time; the dominant cause first, and nothing if it has ended.
    pub fn task(
        &self,
        row: &TaskRow,
        table: &TaskTable,
        deadlines: &WaitDeadlines,
        now_ms: u64,
    ) -> Vec<Cause> {
        let own = |subject: &Subject| *subject == Subject::of_task(&row.task);
        let mut causes: Vec<Cause> = self
            .repeated_calls
            .iter()
            .filter(|(subject, _)| own(subject) || !matches!(subject, Subject::Task(_)))
            .map(|(subject, call)| of_repeated_call(subject, call, now_ms))
            .collect();
        causes.extend(self.of_ending(now_ms));
        let since = |began: Option<u64>| now_ms.saturating_sub(began.unwrap_or(now_ms));
        match row.state {
            TaskState::Waiting => causes.push(Cause {
                kind: CauseKind::Uploading,
                text: "its input is not uploaded yet".into(),
                evidence: vec![],
                next: None,
                since_ms: now_ms,
            }),
            TaskState::Uploaded | TaskState::Queued => {
                match self.delays.get(&row.task) {
                    Some((until, cause)) => causes.push(of_delay(1, *until, cause, now_ms)),
                    None => {
                        causes.extend(self.of_pool(deadlines, now_ms));
                        if self.ready_ms.is_some() && self.has_idle_node() {
                            causes.push(no_slot(table, 1, since(row.submitted_ms), now_ms));
                        }
                    }
                }
                if let (Some(queue), Some(submitted)) = (deadlines.queue, row.submitted_ms) {
                    causes.extend(near(
                        "run.deadlines.queue",
                        queue,
                        submitted,
                        now_ms,
                        "the task is given up then",
                    ));
                }
            }
            TaskState::Running => causes.push(Cause {
                kind: CauseKind::Running,
                text: format!("it has been running for {}", length(since(row.started_ms))),
                evidence: row.node.iter().map(|node| format!("on node {node}")).collect(),
                next: None,
                since_ms: since(row.started_ms),
            }),
            TaskState::Delivering => causes.push(Cause {
                kind: CauseKind::Delivering,
                text: "it has ended, and its results are being downloaded".into(),
                evidence: vec![],
                next: None,
                since_ms: since(row.ended_ms),
            }),
            TaskState::Succeeded | TaskState::Failed | TaskState::Unfinished => return vec![],
        }
        causes.sort_by_key(|cause| cause.kind);
        causes.dedup_by_key(|cause| cause.kind);
        causes
    }

    fn has_idle_node(&self) -> bool {
        self.nodes.values().any(|(state, _)| state == "idle")
    }

    /// Calls that fail and are repeated: equal ones are one cause.
    fn of_calls(&self, now_ms: u64) -> Vec<Cause> {
        let mut causes: Vec<Cause> = vec![];
        for (subject, call) in &self.repeated_calls {
            let cause = of_repeated_call(subject, call, now_ms);
            match causes.iter_mut().find(|known| known.kind == cause.kind) {
                Some(known) => {
                    known.since_ms = known.since_ms.max(cause.since_ms);
                    if known.evidence.len() < MAX_NAMED {
                        known.evidence.extend(cause.evidence);
                    }
                }
                None => causes.push(cause),
            }
        }
        causes
    }

    fn of_ending(&self, now_ms: u64) -> Option<Cause> {
        let (reason, detail, since) = self.ending.as_ref()?;
        let text = match reason {
            EndReason::AllTasksClosed => "all tasks are over: what the run made is being deleted",
            _ => {
                "the run is ending: tasks are stopped, finished results are downloaded, then everything is deleted"
            }
        };
        Some(Cause {
            kind: CauseKind::Ending,
            text: text.into(),
            evidence: vec![detail.clone()],
            next: None,
            since_ms: now_ms.saturating_sub(*since),
        })
    }

    /// What is in the way of nodes.
    fn of_pool(&self, deadlines: &WaitDeadlines, now_ms: u64) -> Vec<Cause> {
        let Some(created) = self.pool_since_ms else { return vec![] };
        let mut causes = vec![];
        let since = |began: u64| now_ms.saturating_sub(began);
        for (code, message, at) in &self.resize_errors {
            let is_quota = code.contains("Quota");
            let next = match is_quota {
                true => {
                    "ask for fewer nodes (pool.nodes), or have the quota of the Batch account raised in the Azure portal"
                }
                false => "wait, use another size (pool.vm_size) or region, or fewer nodes (pool.nodes)",
            };
            causes.push(Cause {
                kind: if is_quota { CauseKind::Quota } else { CauseKind::Resize },
                text: match is_quota {
                    true => "a quota of the account allows no more nodes".into(),
                    false => "the service could not allocate the nodes".into(),
                },
                evidence: vec![format!("{code}: {message}")],
                next: Some(next.into()),
                since_ms: since(*at),
            });
        }
        let usable = self.nodes.values().filter(|(state, _)| state == "idle").count();
        if usable > 0 {
            return causes;
        }
        if let Some((node, (failure, at))) = self.start_task_failures.iter().next() {
            let count = self.start_task_failures.len();
            causes.push(Cause {
                kind: CauseKind::StartTaskFailing,
                text: format!("the start task fails on {count} of {} nodes", self.pool_nodes),
                evidence: vec![format!("on node {node}: {failure}")],
                next: Some("mend pool.start_task.command, then start the run again".into()),
                since_ms: since(*at),
            });
        }
        let in_state = |wanted: &[&str]| {
            let nodes = self.nodes.values().filter(|(state, _)| wanted.contains(&state.as_str()));
            (nodes.clone().count(), nodes.map(|(_, at)| *at).min().unwrap_or(now_ms))
        };
        for (states, kind, text, next) in [
            (
                &["unusable", "unknown"][..],
                CauseKind::NodesUnusable,
                "cannot be used",
                Some("wait: nodes often recover within minutes; the run ends after run.deadlines.unusable"),
            ),
            (
                &["offline"],
                CauseKind::NodesOffline,
                "take no tasks, because somebody disabled scheduling on them",
                Some(
                    "enable scheduling on the nodes again, in the Azure portal or with `az batch node scheduling enable`",
                ),
            ),
            (&["waitingforstarttask"], CauseKind::StartTask, "run the start task", None),
        ] {
            let (count, at) = in_state(states);
            if count > 0 {
                let mut evidence = vec![];
                if kind == CauseKind::StartTask {
                    evidence.extend(left("run.deadlines.start_task", deadlines.start_task, at, now_ms));
                }
                causes.push(Cause {
                    kind,
                    text: format!("{count} of {} nodes {text}", self.pool_nodes),
                    evidence,
                    next: next.map(Into::into),
                    since_ms: since(at),
                });
            }
        }
        if causes.is_empty() && self.ready_ms.is_none() {
            let evidence = vec![
                format!("{} of {} nodes are there", self.nodes.len(), self.pool_nodes),
                format!("the pool was asked for {} ago", length(since(created))),
            ];
            let left = left("run.deadlines.allocation", deadlines.allocation, created, now_ms);
            causes.push(Cause {
                kind: CauseKind::Allocation,
                text: "the service is allocating and starting nodes".into(),
                evidence: evidence.into_iter().chain(left).collect(),
                next: None,
                since_ms: since(created),
            });
        }
        causes
    }

    fn of_delays(&self, now_ms: u64) -> Option<Cause> {
        let waiting: Vec<_> = self.delays.values().filter(|(until, _)| *until > now_ms).collect();
        let (until, cause) = waiting.iter().min_by_key(|(until, _)| *until)?;
        Some(of_delay(waiting.len(), *until, cause, now_ms))
    }

    /// What the tasks do that have not ended.
    fn of_tasks(&self, table: &TaskTable, deadlines: &WaitDeadlines, now_ms: u64) -> Vec<Cause> {
        let in_state = |state: TaskState| table.rows().iter().filter(move |row| row.state == state);
        let mut causes = vec![];
        let queued: Vec<_> = in_state(TaskState::Queued).collect();
        let oldest = queued.iter().filter_map(|row| row.submitted_ms).min();
        if let (Some(oldest), true) = (oldest, self.has_idle_node()) {
            causes.push(no_slot(table, queued.len(), now_ms.saturating_sub(oldest), now_ms));
            if let Some(queue) = deadlines.queue {
                causes.extend(near("run.deadlines.queue", queue, oldest, now_ms, "tasks are given up then"));
            }
        }
        let uploading = in_state(TaskState::Waiting).count();
        if uploading > 0 {
            causes.push(Cause {
                kind: CauseKind::Uploading,
                text: format!("{uploading} of {} inputs are not uploaded yet", table.rows().len()),
                evidence: vec![],
                next: None,
                since_ms: now_ms,
            });
        }
        let running: Vec<_> = in_state(TaskState::Running).collect();
        if !running.is_empty() && queued.is_empty() {
            let since = running.iter().filter_map(|row| row.started_ms).min().unwrap_or(now_ms);
            causes.push(Cause {
                kind: CauseKind::Running,
                text: format!("{} tasks are running", running.len()),
                evidence: longest(table, now_ms),
                next: None,
                since_ms: now_ms.saturating_sub(since),
            });
        }
        let delivering: Vec<_> = in_state(TaskState::Delivering).collect();
        if let Some(since) = delivering.iter().filter_map(|row| row.ended_ms).min() {
            causes.push(Cause {
                kind: CauseKind::Delivering,
                text: format!("results of {} tasks are being downloaded", delivering.len()),
                evidence: vec![],
                next: None,
                since_ms: now_ms.saturating_sub(since),
            });
        }
        causes
    }
}

/// Returns the cause of a call that fails and is repeated.
fn of_repeated_call(subject: &Subject, call: &RepeatedCall, now_ms: u64) -> Cause {
    let RepeatedCall { what, error, code, attempt, since_ms, again_ms } = call;
    let is_unreachable = matches!(code.as_str(), "Unreachable" | "TimedOut" | "NoToken");
    let is_refused = code.starts_with("Authenti") || code.starts_with("Authoriz");
    let (kind, text, next) = if is_unreachable || is_refused {
        let next = match is_refused {
            true => "check the account and its key in [service], and the clock of this machine",
            false => "check the network and the endpoints in [service]; calls are repeated until a deadline",
        };
        let text = if is_refused {
            "the service does not let this client in"
        } else {
            "the service cannot be reached"
        };
        (CauseKind::Service, text.to_owned(), next)
    } else if code.contains("Quota") {
        let next = "delete pools or jobs that are not needed, or have the quota of the Batch account raised";
        (CauseKind::Quota, "a quota of the account is reached".into(), next)
    } else {
        match what.as_str() {
            "create pool" => {
                let next = "check [pool] in the run file";
                (CauseKind::Pool, "the pool could not be created yet".into(), next)
            }
            "fetch results" => {
                let next = "make room in the output folder, or make it writable; downloads are repeated until run.deadlines.delivery";
                (CauseKind::DeliveryRefused, "results cannot be downloaded".into(), next)
            }
            what if what.contains("upload") || what.contains("container") => {
                let next =
                    "check the storage account in [service]; uploads are repeated until run.deadlines.upload";
                (CauseKind::UploadRefused, format!("{what}: the storage account refuses it"), next)
            }
            what => (CauseKind::Pool, format!("{what} failed and is repeated"), "wait: it is repeated"),
        }
    };
    let when = match again_ms.saturating_sub(now_ms) {
        0 => "attempt {} follows now".replace("{}", &(attempt + 1).to_string()),
        rest => format!("attempt {} follows in {}", attempt + 1, length(rest)),
    };
    Cause {
        kind,
        text,
        evidence: vec![format!("{subject}: {error}"), when],
        next: Some(next.into()),
        since_ms: now_ms.saturating_sub(*since_ms),
    }
}

fn of_delay(count: usize, until_ms: u64, cause: &str, now_ms: u64) -> Cause {
    let rest = length(until_ms.saturating_sub(now_ms));
    Cause {
        kind: CauseKind::RetryDelay,
        text: match count {
            1 => format!("an attempt failed, and the next one begins in {rest}"),
            count => format!("attempts at {count} tasks failed, and the first of the next begins in {rest}"),
        },
        evidence: vec![cause.to_owned()],
        next: None,
        since_ms: 0,
    }
}

fn no_slot(table: &TaskTable, queued: usize, since_ms: u64, now_ms: u64) -> Cause {
    Cause {
        kind: CauseKind::NoSlot,
        text: match queued {
            1 => "it waits for a free slot: every slot holds a task".into(),
            count => format!("{count} tasks wait for a free slot: every slot holds a task"),
        },
        evidence: longest(table, now_ms),
        next: Some(
            "more nodes (pool.nodes) or slots (pool.slots_per_node) run more tasks at the same time".into(),
        ),
        since_ms,
    }
}

/// Returns the tasks that have been running longest.
fn longest(table: &TaskTable, now_ms: u64) -> Vec<String> {
    let mut running: Vec<_> = table.rows().iter().filter(|row| row.state == TaskState::Running).collect();
    running.sort_by_key(|row| row.started_ms);
    let line = |row: &&TaskRow| {
        let ran = length(now_ms.saturating_sub(row.started_ms.unwrap_or(now_ms)));
        format!("{} has been running for {ran}", row.input.as_deref().unwrap_or(&row.task))
    };
    running.iter().take(MAX_NAMED).map(line).collect()
}

/// Returns a line that says how long is left of a deadline.
fn left(name: &str, deadline: Duration, since_ms: u64, now_ms: u64) -> Option<String> {
    let end = since_ms + u64::try_from(deadline.as_millis()).ok()?;
    (!deadline.is_zero()).then(|| format!("{name} leaves {}", length(end.saturating_sub(now_ms))))
}

/// Returns a cause if most of a deadline has passed.
fn near(name: &str, deadline: Duration, since_ms: u64, now_ms: u64, then: &str) -> Option<Cause> {
    let all = u64::try_from(deadline.as_millis()).ok().filter(|all| *all > 0)?;
    let rest = (since_ms + all).saturating_sub(now_ms);
    (rest as f64 <= all as f64 * NEAR).then(|| Cause {
        kind: CauseKind::Deadline,
        text: format!("{name} ends in {}: {then}", length(rest)),
        evidence: vec![],
        next: Some(format!("a longer {name} in the run file; `dropmill run FILE --resume` takes it over")),
        since_ms: 0,
    })
}

/// Returns a length of time for people.
fn length(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        0 => format!("{milliseconds} ms"),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
