//! What holds for attempts at a task: which failures are followed by another, when, and when no more are started.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use dropmill_lifecycle::{
    attempts::{Cause, CauseWord, RetryCause, RetryPolicy},
    delays::Delays,
    plan::{CleanupPlan, When},
    run::{self, Closing, EndReason, RunCommand, RunEvent, RunLimits, RunState, Tally},
    task::{
        self, Ending, StopReason, TaskCommand as Do, TaskEvent as On, TaskLimits, TaskState as Is, Verdict,
    },
};
use std::time::Duration;

fn word(word: CauseWord) -> RetryCause {
    RetryCause::Word(word)
}

fn code(code: i32) -> RetryCause {
    RetryCause::Code(code)
}

fn policy(max: u32, on: &[RetryCause], not_on: &[RetryCause]) -> RetryPolicy {
    let delays = Delays { steps: vec![], for_ever: false };
    RetryPolicy { max, on: on.to_vec(), not_on: not_on.to_vec(), delays }
}

fn limits(retry: RetryPolicy) -> TaskLimits {
    TaskLimits {
        queue: Some(secs(600)),
        run: Some(secs(60)),
        stopping: secs(30),
        keep_unfinished: true,
        stop_again: secs(5),
        delays: three_tries(),
        retry,
        no_more_attempts: false,
    }
}

fn ended(code: &str, exit_code: Option<i32>) -> Ending {
    let failure = (!code.is_empty()).then(|| (code.to_owned(), "words".to_owned()));
    Ending { success: false, started: true, by_request: false, exit_code, failure }
}

fn by_request() -> Ending {
    Ending { by_request: true, ..ended("TaskEnded", Some(143)) }
}

fn running() -> Is {
    Is::Running { until: Some(at(60)) }
}

fn ready() -> Is {
    Is::Ready { attempt: 1, maybe_applied: false }
}

fn stopping(why: StopReason) -> Is {
    Is::Stopping { why, may_run: true, again_at: Some(at(65)), until: at(90) }
}

#[test]
fn the_cause_of_a_failure_follows_from_its_code() {
    use Cause::*;
    for (failure, exit_code, cause) in [
        ("FailureExitCode", Some(75), ExitCode(75)),
        ("FailureExitCode", Some(137), ExitCode(137)),
        ("", Some(3), ExitCode(3)),
        ("", Some(0), ExitCode(0)),
        ("", None, Environment),
        ("TaskEnded", Some(137), Timeout),
        ("TaskEnded", None, Timeout),
        ("FileUploadMiscError", Some(0), Outputs),
        ("FileUploadAccessDenied", Some(0), Outputs),
        ("FileUploadMiscError", Some(3), ExitCode(3)),
        ("BlobNotFound", None, Inputs),
        ("BlobDownloadTimedOut", None, Inputs),
        ("ResourceContainerAccessDenied", None, Inputs),
        ("ResourceFileWriteFailed", None, Inputs),
        ("ResourceDirectoryCreateFailed", None, Environment),
        ("CommandProgramNotFound", None, Environment),
        ("CommandLaunchFailed", None, Environment),
        ("DiskFull", None, Environment),
        ("ApplicationPackageError", None, Environment),
        ("Unknown", None, Environment),
        ("SomethingNew", None, Environment),
    ] {
        assert_eq!(ended(failure, exit_code).cause(), Some(cause), "{failure} {exit_code:?}");
    }
    assert_eq!(by_request().cause(), None);
    assert_eq!(Ending { success: true, ..ended("", Some(0)) }.cause(), None);
}

#[test]
fn what_a_success_is_the_plan_says_and_not_the_service() {
    for (service, exit_code, failure, codes, expected) in [
        (true, Some(0), None, &[0][..], true),
        (false, Some(1), Some("FailureExitCode"), &[0], false),
        (false, Some(1), Some("FailureExitCode"), &[0, 1], true),
        (true, Some(0), None, &[1], false),
        (false, Some(1), Some("FileUploadMiscError"), &[0, 1], false),
        (false, Some(0), Some("FileUploadMiscError"), &[0], false),
        (false, Some(0), Some("TaskEnded"), &[0], false),
        (false, None, Some("CommandProgramNotFound"), &[0], false),
        (true, None, None, &[0], true),
    ] {
        let found = Ending::is_success(service, exit_code, failure, codes);
        assert_eq!(found, expected, "{service} {exit_code:?} {failure:?} {codes:?}");
    }
}

#[test]
fn a_policy_says_which_causes_are_followed_by_another_attempt() {
    use CauseWord as Word;
    let every: Vec<RetryCause> = Word::ALL.into_iter().map(word).collect();
    let wanted = |on: &[RetryCause], not_on: &[RetryCause]| -> Vec<bool> {
        let policy = policy(1, on, not_on);
        [
            Cause::ExitCode(75),
            Cause::ExitCode(2),
            Cause::Timeout,
            Cause::NodeLost,
            Cause::Inputs,
            Cause::Outputs,
            Cause::Environment,
        ]
        .map(|cause| policy.wants(cause))
        .to_vec()
    };
    let (yes, no) = (true, false);
    for (on, not_on, expected) in [
        (&[word(Word::ExitCode)][..], &[][..], [yes, yes, no, no, no, no, no]),
        (&[code(75)], &[], [yes, no, no, no, no, no, no]),
        (&[word(Word::ExitCode)], &[code(2)], [yes, no, no, no, no, no, no]),
        // A code that is named outranks the word for all.
        (&[code(75)], &[word(Word::ExitCode)], [yes, no, no, no, no, no, no]),
        (&[code(75), word(Word::Timeout), word(Word::NodeLost)], &[code(2)], [yes, no, yes, yes, no, no, no]),
        (&every, &[], [yes; 7]),
        (&every, &[word(Word::Environment), word(Word::Outputs)], [yes, yes, yes, yes, yes, no, no]),
        (&every, &every, [no; 7]),
        (&[word(Word::Inputs)], &[], [no, no, no, no, yes, no, no]),
    ] {
        assert_eq!(wanted(on, not_on), expected, "{on:?} {not_on:?}");
    }
}

#[test]
fn only_the_attempts_that_are_left_follow_after_longer_and_longer_delays() {
    let delays = Delays::growing(secs(10), 2.0, secs(30));
    let policy = RetryPolicy { delays, ..RetryPolicy::after_exit_codes(4) };
    let after = |attempt| policy.delay_after(attempt, Cause::ExitCode(1)).map(|delay| delay.as_secs());
    assert_eq!((1..=6).map(after).collect::<Vec<_>>(), [Some(10), Some(20), Some(30), Some(30), None, None]);
    assert_eq!(policy.delay_after(1, Cause::Timeout), None);
    assert_eq!(RetryPolicy::after_exit_codes(1).delay_after(1, Cause::ExitCode(1)), Some(Duration::ZERO));
    assert_eq!(RetryPolicy::after_exit_codes(0).delay_after(1, Cause::ExitCode(1)), None);
}

#[test]
fn a_delay_is_a_state_that_ends_at_its_moment_and_not_before() {
    let delays = Delays::growing(secs(10), 2.0, secs(30));
    let limits = limits(RetryPolicy { delays, ..RetryPolicy::after_exit_codes(1) });
    let seen = On::SeenEnded { attempt: 1, ending: ended("FailureExitCode", Some(7)) };
    let (waits, commands) = task::apply(running(), seen, at(50), &limits);
    assert_eq!(waits, Is::AwaitingRetry { attempt: 1, cause: "exit code 7".into(), again_at: at(60) });
    let (cause, detail) = (Cause::ExitCode(7), "exit code 7".to_owned());
    assert_eq!(commands, [Do::ReportFailed { attempt: 1, cause, detail, again_after: Some(secs(10)) }]);
    assert_eq!(waits.wakes_at(), Some(at(60)));
    assert!(waits.may_be_submitted(1, &limits) && !waits.is_watched());
    assert_eq!(task::apply(waits.clone(), On::TimePassed, at(59), &limits), (waits.clone(), vec![]));
    let again = vec![Do::ReportRetry { attempt: 2, cause: "exit code 7".into() }, Do::Submit];
    assert_eq!(task::apply(waits.clone(), On::TimePassed, at(60), &limits), (ready(), again));
    // The end of the run does not wait for it, and what the failed attempt left is kept.
    for event in [On::StopAsked, On::Abandoned, On::HoldAsked] {
        let (closed, commands) = task::apply(waits.clone(), event, at(51), &limits);
        let [Do::Close(Verdict::Unfinished { delivered: false, .. })] = &commands[..] else {
            panic!("{commands:?}")
        };
        assert_eq!(closed, Is::Closed);
    }
}

#[test]
fn a_time_limit_is_a_failure_with_evidence_and_tried_again_if_the_policy_says_so() {
    let ended_late = ended("TaskEnded", Some(137));
    let timed_out = stopping(StopReason::RunTimedOut);
    for (state, ending) in [(running(), &ended_late), (timed_out.clone(), &by_request())] {
        let seen = On::SeenEnded { attempt: 1, ending: ending.clone() };
        // Not named: it failed, and what it left is delivered.
        let (next, commands) =
            task::apply(state.clone(), seen.clone(), at(70), &limits(RetryPolicy::after_exit_codes(3)));
        assert!(matches!(next, Is::Collecting { .. }), "{next:?}");
        assert!(matches!(
            &commands[..],
            [Do::ReportFailed { cause: Cause::Timeout, again_after: None, .. }, Do::Collect]
        ));
        let named = limits(policy(1, &[word(CauseWord::Timeout)], &[]));
        let (next, commands) = task::apply(state.clone(), seen, at(70), &named);
        assert_eq!(next, ready(), "{state:?}");
        assert!(matches!(
            &commands[..],
            [
                Do::ReportFailed { cause: Cause::Timeout, again_after: Some(Duration::ZERO), .. },
                Do::ReportRetry { attempt: 2, .. },
                Do::Submit
            ]
        ));
        // The attempt may still be followed by another: the job has to stay open.
        assert!(state.may_be_submitted(1, &named) && !state.may_be_submitted(2, &named));
    }
}

#[test]
fn a_lost_node_is_the_services_affair_unless_the_policy_names_it() {
    let usual = limits(RetryPolicy::after_exit_codes(3));
    assert_eq!(task::apply(running(), On::NodeLost, at(5), &usual), (running(), vec![]));
    let lost = StopReason::NodeLost;
    for (retry, again) in [
        (policy(1, &[word(CauseWord::NodeLost)], &[]), true),
        (policy(0, &[word(CauseWord::NodeLost)], &[]), false),
        (policy(3, &[word(CauseWord::ExitCode)], &[word(CauseWord::NodeLost)]), false),
    ] {
        let limits = limits(retry);
        for state in [running(), Is::Queued { until: None }, Is::Recovered { input_ready: false }] {
            // What the service tries again by itself is ended first: two attempts never run at the same time.
            let (next, commands) = task::apply(state, On::NodeLost, at(60), &limits);
            assert_eq!((next, commands), (stopping(lost), vec![Do::Terminate(lost)]));
        }
        let seen = |ending: Ending| On::SeenEnded { attempt: 1, ending };
        let (next, commands) = task::apply(stopping(lost), seen(by_request()), at(70), &limits);
        let is_reported = matches!(&commands[0], Do::ReportFailed { cause: Cause::NodeLost, detail, .. }
            if detail == "its node was lost");
        assert!(is_reported, "{commands:?}");
        if again {
            assert_eq!(next, ready());
        } else {
            assert_eq!(next, Is::Collecting { ending: by_request(), stopped: Some(lost) });
            let (_, commands) = task::apply(next, On::Delivered, at(71), &limits);
            let cause = "its node was lost".to_owned();
            let failed = Verdict::Failed { cause, delivered: true, may_pass: false };
            assert_eq!(commands, [Do::Close(failed)]);
        }
        // It was faster than its end.
        let success = Ending { success: true, ..ended("", Some(0)) };
        let (next, _) = task::apply(stopping(lost), seen(success.clone()), at(70), &limits);
        assert_eq!(next, Is::Collecting { ending: success, stopped: Some(lost) });
    }
}

#[test]
fn what_somebody_ended_is_never_tried_again() {
    let every: Vec<RetryCause> = CauseWord::ALL.into_iter().map(word).collect();
    let usual = limits(policy(3, &every, &[]));
    let seen = |ending: Ending| On::SeenEnded { attempt: 1, ending };
    let (next, commands) = task::apply(running(), seen(by_request()), at(5), &usual);
    assert_eq!(next, Is::Collecting { ending: by_request(), stopped: None });
    assert_eq!(commands, [Do::Collect]);
    for why in [StopReason::RunEnds, StopReason::QueueTimedOut] {
        for ending in [by_request(), ended("FailureExitCode", Some(7))] {
            let (next, _) = task::apply(stopping(why), seen(ending), at(5), &usual);
            assert_eq!(next, Is::Closed, "{why:?}");
        }
    }
    // The run ends while a task is being ended for a reason of its own.
    let ends = TaskLimits { no_more_attempts: true, ..usual };
    for why in [StopReason::RunTimedOut, StopReason::NodeLost] {
        let (state, _) = task::apply(stopping(why), On::StopAsked, at(5), &ends);
        let (next, _) = task::apply(state, seen(by_request()), at(5), &ends);
        assert!(matches!(next, Is::Collecting { .. }), "{why:?} {next:?}");
    }
}

#[test]
fn once_too_many_failed_nothing_is_started_and_what_runs_may_end() {
    let usual = limits(RetryPolicy::after_exit_codes(3));
    let held = TaskLimits { no_more_attempts: true, ..usual };
    let apply = |state: Is, event: On| task::apply(state, event, at(20), &held);
    let not_started = |delivered| {
        let cause = "not started: run.max_failures was reached".to_owned();
        (Is::Closed, vec![Do::Close(Verdict::Unfinished { cause, delivered })])
    };
    let queued = || Is::Queued { until: Some(at(620)) };
    let resting = |maybe_applied| Is::Resting { attempt: 1, maybe_applied, again_at: at(10) };
    // What the service does not have.
    assert_eq!(apply(Is::Waiting, On::HoldAsked), not_started(true));
    assert_eq!(apply(resting(false), On::HoldAsked), not_started(true));
    // What it may have: a poll shows it.
    assert_eq!(apply(resting(true), On::HoldAsked), (queued(), vec![]));
    for (maybe_applied, failure, is_there) in [
        (false, refused(), false),
        (false, busy(), false),
        (false, maybe_applied(), true),
        (true, refused(), true),
    ] {
        let state = Is::Ready { attempt: 1, maybe_applied };
        assert_eq!(apply(state.clone(), On::HoldAsked), (state.clone(), vec![]));
        let expected = if is_there { (queued(), vec![]) } else { not_started(true) };
        assert_eq!(apply(state, On::Refused(failure)), expected);
    }
    for state in [queued(), running(), Is::Recovered { input_ready: true }] {
        assert_eq!(apply(state.clone(), On::HoldAsked), (state.clone(), vec![]));
        assert!(!state.may_be_submitted(1, &held), "{state:?}");
        assert_eq!(apply(state, On::Vanished), not_started(true));
    }
    for state in [queued(), Is::Recovered { input_ready: true }] {
        assert_eq!(apply(state, On::HeldBack), not_started(true));
    }
    // What runs, runs on, and is not tried again.
    assert_eq!(apply(running(), On::HeldBack), (running(), vec![]));
    let ending = ended("FailureExitCode", Some(7));
    let seen = On::SeenEnded { attempt: 1, ending: ending.clone() };
    let (next, _) = apply(running(), seen);
    assert_eq!(next, Is::Collecting { ending, stopped: None });
}

#[test]
fn a_run_holds_its_tasks_once_when_its_limit_of_failures_is_reached() {
    let limits = RunLimits {
        run: secs(3600),
        no_progress: None,
        ending: secs(120),
        cancelled: secs(60),
        hurry: secs(5),
        cleanup: secs(300),
        policy: CleanupPlan { pool: When::Always, job: When::Always, containers: When::Always },
        max_failures: Some(2),
    };
    let hold = |failed| vec![RunCommand::ReportMaxFailures { failed, limit: 2 }, RunCommand::HoldTasks];
    let apply = |state, event| run::apply(state, event, at(1), &limits);
    let closed = |closing| RunEvent::TaskClosed { closing, delivered: true };
    let (state, _) = apply(RunState::Fresh, RunEvent::Begun { tasks: 6, open_ended: false });
    let (state, commands) = apply(state, closed(Closing::Failed));
    assert_eq!(commands, []);
    // What did not finish is no failure.
    let (state, commands) = apply(state, closed(Closing::Unfinished));
    assert_eq!(commands, []);
    let (state, commands) = apply(state, closed(Closing::Failed));
    assert_eq!(commands, hold(2));
    let (state, commands) = apply(state, closed(Closing::Failed));
    assert_eq!(commands, []);
    let (state, _) = apply(state, closed(Closing::Succeeded));
    let (settling, commands) = apply(state, closed(Closing::Unfinished));
    assert!(matches!(settling, RunState::Settling { reason: EndReason::AllTasksClosed, .. }));
    let detail = "3 tasks failed, and run.max_failures is 2: 2 tasks were not started".to_owned();
    let reason = EndReason::AllTasksClosed;
    assert_eq!(commands, [RunCommand::ReportEnd { reason, detail }, RunCommand::Settle]);

    // A later process starts no more either.
    let tally = Tally { open: 2, failed: 2, ..Tally::default() };
    let resumed = RunEvent::Resumed { tally, ending: None, open_ended: false };
    assert_eq!(apply(RunState::Fresh, resumed).1, hold(2));
    // Nothing is left to be held.
    let tally = Tally { open: 1, failed: 1, ..Tally::default() };
    let last = RunState::Working { tally, until: at(3600), stuck_at: None, open_ended: false };
    let (_, commands) = apply(last, closed(Closing::Failed));
    let detail = "every task is closed".to_owned();
    assert_eq!(commands, [RunCommand::ReportEnd { reason, detail }, RunCommand::Settle]);
}
