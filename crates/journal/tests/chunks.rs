//! Tests what folds of events contain about tasks for several inputs.
#![allow(clippy::unwrap_used)]

use dropmill_journal::{
    event::{ChunkInput, Event, EventKind, Subject, TaskEnding, Verdict},
    past::RecoveredRun,
    progress::Progress,
    report::ReportFold,
    tasks::{TaskState, TaskTable},
};
use jiff::Timestamp;

fn events(said: Vec<(&str, EventKind)>) -> Vec<Event> {
    let event = |(at, (task, kind)): (usize, (&str, EventKind))| Event {
        seq: at as u64 + 1,
        at: Timestamp::UNIX_EPOCH,
        elapsed_ms: at as u64 * 10,
        run: "r".into(),
        actor: "task_monitor".into(),
        subject: if task.is_empty() { Subject::Run } else { Subject::of_task(task) },
        cause: None,
        kind,
    };
    said.into_iter().enumerate().map(event).collect()
}

fn formed(inputs: &[&str]) -> EventKind {
    let input = |name: &&str| ChunkInput { task: format!("{name}-1"), input: format!("{name}.txt") };
    EventKind::ChunkFormed { input: "a.txt..c.txt".into(), inputs: inputs.iter().map(input).collect() }
}

fn closed(verdict: Verdict) -> EventKind {
    EventKind::TaskClosed { verdict, cause: None, stderr_tail: None, undelivered: false, may_pass: false }
}

fn story() -> Vec<(&'static str, EventKind)> {
    let started =
        EventKind::RunStarted { name: "n".into(), service: "embedded".into(), tasks: 4, version: "1".into() };
    let uploaded = |input: &str| EventKind::InputUploaded { input: input.into(), bytes: 3, skipped: false };
    let chunk_closed = EventKind::ChunkClosed {
        verdict: Verdict::Succeeded,
        inputs: 2,
        cause: None,
        stderr_tail: None,
        undelivered: false,
    };
    vec![
        ("", started),
        ("one", formed(&["a", "b"])),
        ("one", uploaded("a.txt..b.txt")),
        ("two", formed(&["c", "d"])),
        ("two", uploaded("c.txt..d.txt")),
        ("one", EventKind::TaskEnded(TaskEnding { success: true, ..TaskEnding::default() })),
        ("a-1", closed(Verdict::Succeeded)),
        ("b-1", closed(Verdict::Succeeded)),
        ("one", chunk_closed),
        ("two", EventKind::TaskEnded(TaskEnding { exit_code: Some(3), ..TaskEnding::default() })),
        ("two", EventKind::TaskSplit { inputs: 2, cause: "exit code 3".into() }),
        ("c-1", uploaded("c.txt")),
    ]
}

#[test]
fn the_report_counts_inputs_and_names_the_tasks_they_shared() {
    let report = ReportFold::of(&events(story()));
    assert_eq!((report.tasks.total, report.tasks.succeeded, report.tasks.failed), (4, 2, 0));
    let inputs: Vec<_> = report.results.iter().map(|result| result.input.as_deref().unwrap()).collect();
    assert_eq!(inputs, ["a.txt", "b.txt", "c.txt", "d.txt"]);
    let chunks = report.chunks.unwrap();
    assert_eq!((chunks.total, chunks.inputs, chunks.split, chunks.single), (2, 4, 1, 2));
    let split = chunks.results.iter().find(|chunk| chunk.split).unwrap();
    assert_eq!((&*split.result.task, split.result.cause.as_deref()), ("two", Some("exit code 3")));
}

#[test]
fn progress_counts_the_inputs_of_a_task_and_again_those_that_follow_singly() {
    let mut progress = Progress::default();
    let events = events(story());
    events[..5].iter().for_each(|event| progress.apply(event));
    assert_eq!((progress.total, progress.uploaded), (4, 4));
    events[5..].iter().for_each(|event| progress.apply(event));
    assert_eq!((progress.uploaded, progress.closed()), (3, 2), "d.txt is uploaded again");
}

#[test]
fn a_later_process_knows_what_was_split_and_what_is_over() {
    let past = RecoveredRun::of(&events(story()));
    let chunk = |task: &str| past.tasks[task].chunk.clone().unwrap();
    assert!(chunk("one").is_closed && !chunk("one").is_split && past.tasks["one"].is_past_chunk());
    assert!(chunk("two").is_split && past.tasks["two"].is_past_chunk());
    let formed = RecoveredRun::of(&events(story()[..4].to_vec()));
    assert!(!formed.tasks["one"].is_past_chunk() && formed.tasks["one"].chunk.is_some());
}

#[test]
fn an_input_is_where_its_task_is_until_it_goes_alone() {
    let table = |count: usize| TaskTable::of(&events(story()[..count].to_vec()));
    let state = |table: &TaskTable, task: &str| table.state_of(table.get(task).unwrap());
    let before = table(6);
    assert_eq!((state(&before, "a-1"), state(&before, "c-1")), (TaskState::Delivering, TaskState::Uploaded));
    assert_eq!(before.get("a-1").unwrap().input.as_deref(), Some("a.txt"));
    let after = table(12);
    assert_eq!((state(&after, "a-1"), state(&after, "d-1")), (TaskState::Succeeded, TaskState::Waiting));
    assert_eq!((state(&after, "c-1"), state(&after, "two")), (TaskState::Uploaded, TaskState::Failed));
    assert!(after.get("c-1").unwrap().chunk.is_none() && after.get("a-1").unwrap().chunk.is_some());
}
