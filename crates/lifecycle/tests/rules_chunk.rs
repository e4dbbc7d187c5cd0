//! What holds for tasks for several inputs, and for each of these inputs.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use dropmill_lifecycle::{
    attempts::{CauseWord, RetryCause, RetryPolicy},
    plan::{Chunk, CleanupPlan, Item, When},
    run::{self, Closing, EndReason, RunCommand, RunEvent, RunLimits, RunState, Tally},
    task::{
        self, Ending, StopReason, TaskCommand as Do, TaskEvent as On, TaskLimits, TaskState as Is, Verdict,
    },
};

fn limits() -> TaskLimits {
    TaskLimits {
        queue: None,
        run: Some(secs(60)),
        stopping: secs(30),
        keep_unfinished: true,
        stop_again: secs(5),
        delays: three_tries(),
        retry: RetryPolicy::after_exit_codes(3),
        no_more_attempts: false,
    }
}

fn apply(state: Is, event: On) -> task::Step {
    task::apply(state, event, at(1), &limits())
}

fn ended(code: &str, exit_code: Option<i32>) -> Ending {
    let failure = Some((code.to_owned(), "it failed".to_owned()));
    Ending { success: false, started: exit_code.is_some(), by_request: false, exit_code, failure }
}

fn submitted() -> [Is; 5] {
    [
        Is::Recovered { input_ready: true },
        Is::Ready { attempt: 1, maybe_applied: false },
        Is::Resting { attempt: 1, maybe_applied: true, again_at: at(9) },
        Is::Queued { until: None },
        Is::Running { until: Some(at(60)) },
    ]
}

#[test]
fn a_command_that_failed_is_split_and_never_tried_again_as_a_whole() {
    for state in submitted() {
        for (ending, cause) in [
            (ended("FailureExitCode", Some(3)), "exit code 3"),
            // It took longer than task.timeout: perhaps one input hangs.
            (ended("TaskEnded", Some(137)), "TaskEnded: it failed (exit code 137)"),
        ] {
            let (next, commands) = apply(state.clone(), On::SeenChunkEnded(ending));
            assert_eq!((next, commands), (Is::Closed, vec![Do::Split(cause.into())]), "{state:?}");
        }
    }
}

#[test]
fn what_would_fail_for_each_input_is_a_failure_of_all() {
    let by_request = Ending { by_request: true, ..ended("TaskEnded", Some(137)) };
    for ending in [ended("CommandProgramNotFound", None), ended("TaskEnded", None), by_request] {
        for state in submitted() {
            let (_, commands) = apply(state.clone(), On::SeenChunkEnded(ending.clone()));
            assert!(!commands.iter().any(|command| matches!(command, Do::Split(_))), "{state:?} {ending:?}");
        }
    }
    // The run ends: what was stopped is unfinished, and no input follows.
    let (stopping, _) = apply(Is::Running { until: None }, On::StopAsked);
    let (next, commands) = apply(stopping, On::SeenChunkEnded(ended("FailureExitCode", Some(1))));
    assert!(
        matches!((&next, &commands[..]), (Is::Closed, [Do::Close(Verdict::Unfinished { .. })])),
        "{commands:?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_fails_alone_and_a_service_that_is_away_fails_all() {
    let (next, commands) = apply(Is::Waiting, On::ChunkInputFailed(refused()));
    assert_eq!((next, commands), (Is::Closed, vec![Do::Split("input not uploaded: no".into())]));
    let (_, commands) = apply(Is::Waiting, On::ChunkInputFailed(busy()));
    assert!(matches!(&commands[..], [Do::Close(Verdict::Failed { may_pass: true, .. })]), "{commands:?}");
}

#[test]
fn after_the_last_attempt_was_started_no_task_is_split() {
    let limits = TaskLimits { no_more_attempts: true, ..limits() };
    for state in submitted() {
        let ending = ended("FailureExitCode", Some(3));
        let (next, commands) = task::apply(state.clone(), On::SeenChunkEnded(ending.clone()), at(1), &limits);
        assert_eq!(next, Is::Collecting { ending, stopped: None }, "{state:?}");
        assert!(
            matches!(&commands[..], [Do::ReportFailed { attempt: 1, again_after: None, .. }, Do::Collect]),
            "{commands:?}"
        );
    }
    let (_, commands) = task::apply(Is::Waiting, On::ChunkInputFailed(refused()), at(1), &limits);
    assert!(matches!(&commands[..], [Do::Close(Verdict::Failed { .. })]), "{commands:?}");
}

#[test]
fn a_task_that_is_not_split_has_no_other_attempt_even_if_their_number_is_unlimited() {
    let on = vec![RetryCause::Word(CauseWord::Environment)];
    let retry = RetryPolicy { max: u32::MAX, on, ..RetryPolicy::after_exit_codes(0) };
    let limits = TaskLimits { retry, ..limits() };
    for state in submitted() {
        let ending = ended("CommandProgramNotFound", None);
        let (_, commands) = task::apply(state, On::SeenChunkEnded(ending), at(1), &limits);
        assert!(
            matches!(&commands[..], [Do::ReportFailed { attempt: 1, again_after: None, .. }, Do::Collect]),
            "{commands:?}"
        );
    }
}

#[test]
fn a_task_whose_node_was_lost_is_split_so_that_each_input_has_its_attempts() {
    let retry =
        RetryPolicy { on: vec![RetryCause::Word(CauseWord::NodeLost)], ..RetryPolicy::after_exit_codes(3) };
    let limits = TaskLimits { retry, ..limits() };
    let apply = |state, event| task::apply(state, event, at(1), &limits);
    let (stopping, commands) = apply(Is::Running { until: None }, On::NodeLost);
    assert_eq!(commands, [Do::Terminate(StopReason::NodeLost)]);
    let by_request = Ending { by_request: true, ..ended("TaskEnded", Some(137)) };
    for (ending, cause) in
        [(by_request, "its node was lost"), (ended("FailureExitCode", Some(3)), "exit code 3")]
    {
        let (next, commands) = apply(stopping.clone(), On::SeenChunkEnded(ending));
        assert_eq!((next, commands), (Is::Closed, vec![Do::Split(cause.into())]));
    }
}

#[test]
fn an_input_waits_for_its_task_and_is_closed_once() {
    let closed = |event| match apply(Is::InChunk, event) {
        (Is::Closed, commands) => commands,
        (other, _) => panic!("{other:?}"),
    };
    assert_eq!(closed(On::Delivered), [Do::Close(Verdict::Succeeded)]);
    assert!(matches!(
        &closed(On::DeliveredShort(vec!["a".into()]))[..],
        [Do::Close(Verdict::Failed { delivered: true, .. })]
    ));
    assert!(matches!(
        &closed(On::DeliveryFailed(refused()))[..],
        [Do::Close(Verdict::Failed { delivered: false, .. })]
    ));
    let verdict = Verdict::Unfinished { cause: "the run ended".into(), delivered: true };
    assert_eq!(closed(On::ChunkClosed(verdict.clone())), [Do::Close(verdict.clone())]);
    for event in [
        On::StopAsked,
        On::HoldAsked,
        On::HeldBack,
        On::NodeLost,
        On::JobEnded,
        On::Abandoned,
        On::TimePassed,
        On::Vanished,
    ] {
        assert_eq!(apply(Is::InChunk, event), (Is::InChunk, vec![]), "its task closes it");
    }
    assert_eq!(apply(Is::InChunk, On::ChunkSplit), (Is::Waiting, vec![]));
    for event in [On::Delivered, On::ChunkSplit, On::ChunkClosed(verdict)] {
        assert_eq!(apply(Is::Closed, event), (Is::Closed, vec![]));
    }
    assert!(Is::InChunk.may_be_submitted(1, &limits()), "the job stays open for it");
}

#[test]
fn a_run_waits_for_its_chunks_and_counts_their_inputs() {
    let limits = RunLimits {
        run: secs(3600),
        no_progress: None,
        ending: secs(60),
        cancelled: secs(60),
        hurry: secs(5),
        cleanup: secs(60),
        policy: CleanupPlan { pool: When::Always, job: When::Always, containers: When::Always },
        max_failures: Some(1),
    };
    let apply = |state, event| run::apply(state, event, at(1), &limits);
    let closed = || RunEvent::TaskClosed { closing: Closing::Succeeded, delivered: true };
    let (mut state, _) = apply(RunState::Fresh, RunEvent::Begun { tasks: 2, open_ended: false });
    for event in [RunEvent::ChunksAdded(1), closed(), closed()] {
        let commands;
        (state, commands) = apply(state, event);
        assert!(commands.is_empty(), "{commands:?}");
    }
    let (ended, commands) = apply(state.clone(), RunEvent::ChunkClosed);
    assert!(commands.contains(&RunCommand::Settle), "{commands:?}");
    let RunState::Settling { reason: EndReason::AllTasksClosed, tally } = ended else { panic!("{ended:?}") };
    assert_eq!(tally, Tally { succeeded: 2, ..Tally::default() });
    // A task for several inputs is none of the unfinished.
    let (mut state, _) = apply(state, RunEvent::CancelAsked("Ctrl-C".into()));
    for _ in 0..2 {
        let moment = state.wakes_at().unwrap();
        (state, _) = run::apply(state, RunEvent::TimePassed, moment, &limits);
    }
    let RunState::Settling { tally, .. } = state else { panic!("{state:?}") };
    assert_eq!((tally.unfinished, tally.undelivered), (0, 0));
}

#[test]
fn an_input_is_named_in_the_folder_of_its_task_and_by_its_own_name_in_its_result() {
    let item: Item = serde_json::from_value(serde_json::json!({
        "index": 0, "task": "a-txt-1", "relative": "d/a.txt", "source": "/x/d/a.txt", "file_name": "d/a.txt",
        "size_bytes": 1, "command_line": "", "environment": [], "result_folder": "d/a.txt",
        "outputs": ["a-txt-1/d/a.txt.gz", "a.log"], "chunk": { "first": 0, "count": 1, "own_results": true },
    }))
    .unwrap();
    assert_eq!(item.as_input_of("chunk-2"), "chunk-2/d/a.txt");
    assert_eq!(item.outputs_in("chunk-2"), ["chunk-2/d/a.txt.gz", "a.log"]);
    for (task, path, place) in [
        ("chunk-2", "chunk-2/d/a.txt.gz", "a.txt.gz"),
        ("chunk-2", "chunk-2/e/x", "e/x"),
        ("chunk-2", "a.log", "a.log"),
        ("chunk-2", "chunk-22/d/x", "chunk-22/d/x"),
    ] {
        assert_eq!(item.place_in_result(task, path), place);
    }
    assert!(item.members().is_none(), "it is alone");
    let chunk = Chunk { first: 4, count: 3, own_results: true, names: None };
    assert_eq!(chunk.range(), 4..7);
}
