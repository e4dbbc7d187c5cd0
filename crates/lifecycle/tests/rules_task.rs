//! Tests rules that hold for every task, whatever happens to it.

mod common;

use common::*;
use dropmill_lifecycle::{
    Elapsed,
    attempts::{CauseWord, RetryCause, RetryPolicy},
    delays::Delays,
    task::{
        self, Ending, StopReason, TaskCommand as Do, TaskEvent as On, TaskLimits, TaskState as Is, Verdict,
    },
};

fn limits() -> TaskLimits {
    TaskLimits {
        queue: Some(secs(600)),
        run: Some(secs(60)),
        stopping: secs(30),
        keep_unfinished: true,
        stop_again: secs(5),
        delays: three_tries(),
        retry: RetryPolicy::after_exit_codes(0),
        no_more_attempts: false,
    }
}

fn apply(state: Is, event: On, now: Elapsed) -> task::Step {
    task::apply(state, event, now, &limits())
}

fn check(state: &Is, event: On, now: Elapsed, next: &Is, commands: &[Do]) {
    let details = format!("{state:?} + {event:?} at {now}");
    assert_eq!(apply(state.clone(), event, now), (next.clone(), commands.to_vec()), "{details}");
}

/// Returns the verdict on a task after an event.
fn verdict(state: Is, event: On, now: Elapsed) -> Verdict {
    match apply(state, event, now) {
        (Is::Closed, mut commands) => match commands.pop() {
            Some(Do::Close(verdict)) if commands.is_empty() => verdict,
            other => panic!("{commands:?} {other:?}"),
        },
        (other, _) => panic!("not closed: {other:?}"),
    }
}

fn unfinished(delivered: bool) -> Verdict {
    Verdict::Unfinished { cause: "the run ended before it did".into(), delivered }
}

fn ready(attempt: u32, maybe_applied: bool) -> Is {
    Is::Ready { attempt, maybe_applied }
}

fn resting(maybe_applied: bool) -> Is {
    Is::Resting { attempt: 1, maybe_applied, again_at: at(20) }
}

fn queued() -> Is {
    Is::Queued { until: Some(at(600)) }
}

fn running() -> Is {
    Is::Running { until: Some(at(60)) }
}

fn ending(until: u64, may_run: bool) -> Is {
    Is::Stopping { why: StopReason::RunEnds, may_run, again_at: None, until: at(until) }
}

fn ended(exit_code: i32) -> Ending {
    let failure = (exit_code != 0).then(|| ("FailureExitCode".to_owned(), "The task exited".to_owned()));
    Ending { success: exit_code == 0, started: true, by_request: false, exit_code: Some(exit_code), failure }
}

/// Returns the event of a poll that found the first attempt completed.
fn seen(ending: Ending) -> On {
    On::SeenEnded { attempt: 1, ending }
}

/// Says that the first attempt failed and that no other follows.
fn the_last(ending: &Ending) -> Do {
    let (cause, detail) = (ending.cause().expect("it failed"), ending.detail());
    Do::ReportFailed { attempt: 1, cause, detail, again_after: None }
}

fn collecting(exit_code: i32, stopped: Option<StopReason>) -> Is {
    Is::Collecting { ending: ended(exit_code), stopped }
}

#[test]
fn a_task_is_submitted_only_after_its_input_is_uploaded() {
    check(&Is::Waiting, On::InputReady, at(5), &ready(1, false), &[Do::Submit]);
    for (failure, cause, may_pass) in
        [(refused(), "input not uploaded: no", false), (busy(), "input not uploaded: busy", true)]
    {
        let failed = Verdict::Failed { cause: cause.into(), delivered: true, may_pass };
        assert_eq!(verdict(Is::Waiting, On::InputFailed(failure), at(5)), failed);
    }
}

#[test]
fn a_temporary_rejection_is_retried_after_its_delay_and_not_before() {
    for (failure, again_at, unclear_now) in
        [(busy(), 11, false), (maybe_applied(), 11, true), (busy_for(30), 40, false)]
    {
        let (rest, commands) = apply(ready(1, false), On::Refused(failure.clone()), at(10));
        assert_eq!(rest, Is::Resting { attempt: 1, maybe_applied: unclear_now, again_at: at(again_at) });
        assert!(matches!(&commands[..], [Do::ReportDelay { attempt: 1, .. }]), "{commands:?}");
        check(&rest, On::TimePassed, Elapsed(again_at * 1000 - 1), &rest, &[]);
        check(&rest, On::TimePassed, at(again_at), &ready(2, unclear_now), &[Do::Submit]);
    }
}

#[test]
fn a_task_that_may_have_been_accepted_is_never_reported_as_rejected() {
    // No attempts left: polls show whether it exists, and if it is missing it is submitted again.
    for (state, failure) in
        [(ready(3, false), maybe_applied()), (ready(3, true), maybe_applied()), (ready(3, true), busy())]
    {
        let queued = Is::Queued { until: Some(at(610)) };
        check(&state, On::Refused(failure), at(10), &queued, &[]);
        check(&queued, On::Vanished, at(40), &ready(1, false), &[Do::Submit]);
    }
    // A permanent rejection: it failed, but outputs of an earlier attempt at the service are not discarded.
    for (was_unclear, delivered) in [(false, true), (true, false)] {
        let failed = Verdict::Failed { cause: "no".into(), delivered, may_pass: false };
        assert_eq!(verdict(ready(2, was_unclear), On::Refused(refused()), at(10)), failed);
    }
    assert_eq!(
        verdict(ready(3, false), On::Refused(busy()), at(10)),
        Verdict::Failed { cause: "busy".into(), delivered: true, may_pass: true }
    );
}

#[test]
fn a_poll_that_shows_the_end_counts_even_before_the_response_to_the_submission() {
    for state in [ready(1, false), resting(true), queued(), running()] {
        check(&state, seen(ended(0)), at(5), &collecting(0, None), &[Do::Collect]);
    }
    // The later response changes nothing.
    for late in [On::Accepted { adopted: false }, On::Refused(maybe_applied()), seen(ended(1))] {
        check(&collecting(0, None), late, at(6), &collecting(0, None), &[]);
    }
}

#[test]
fn waiting_for_a_node_ends_at_its_deadline_and_not_before() {
    check(
        &ready(1, false),
        On::Accepted { adopted: true },
        at(10),
        &Is::Queued { until: Some(at(610)) },
        &[],
    );
    check(&queued(), On::TimePassed, Elapsed(599_999), &queued(), &[]);
    let why = StopReason::QueueTimedOut;
    let stopping = Is::Stopping { why, may_run: true, again_at: Some(at(605)), until: at(630) };
    check(&queued(), On::TimePassed, at(600), &stopping, &[Do::ReportDeadline("queue"), Do::Terminate(why)]);
    let for_ever = Is::Queued { until: None };
    check(&for_ever, On::TimePassed, at(999_999), &for_ever, &[]);
}

#[test]
fn running_ends_at_its_limit_counted_from_the_moment_it_was_seen_running() {
    check(&queued(), On::SeenRunning, at(100), &Is::Running { until: Some(at(160)) }, &[Do::ReportRunning]);
    // Seen again: its time limit does not start again.
    check(&running(), On::SeenRunning, at(30), &running(), &[]);
    check(&running(), On::TimePassed, Elapsed(59_999), &running(), &[]);
    let (_, commands) = apply(running(), On::TimePassed, at(60));
    assert_eq!(commands, [Do::ReportDeadline("task"), Do::Terminate(StopReason::RunTimedOut)]);
}

#[test]
fn a_task_whose_node_was_lost_waits_for_another_with_its_whole_time() {
    check(&running(), On::SeenActive, at(30), &Is::Queued { until: Some(at(630)) }, &[]);
}

#[test]
fn a_task_that_does_not_end_is_terminated_again_and_finally_given_up() {
    let (mut state, _) = apply(running(), On::TimePassed, at(60));
    let mut details = vec![];
    while let Some(moment) = state.wakes_at() {
        let (next, commands) = apply(state.clone(), On::TimePassed, moment);
        assert_ne!(next, state, "an alarm that rang rings again");
        details.push((moment.0 / 1000, commands));
        state = next;
    }
    let again = vec![Do::Terminate(StopReason::RunTimedOut)];
    let moments: Vec<_> = details.iter().map(|(moment, _)| *moment).collect();
    assert_eq!(moments, [65, 70, 75, 80, 85, 90]);
    assert!(details[..5].iter().all(|(_, commands)| *commands == again), "{details:?}");
    // It may still run, and produce results.
    assert!(
        matches!(&details[5].1[..], [Do::Close(Verdict::Failed { delivered: false, .. })]),
        "{details:?}"
    );
}

#[test]
fn a_task_deleted_by_another_client_is_submitted_again_under_its_id() {
    for state in [queued(), running()] {
        check(&state, On::Vanished, at(5), &ready(1, false), &[Do::Submit]);
    }
    assert_eq!(verdict(ending(30, true), On::Vanished, at(5)), unfinished(true));
}

#[test]
fn when_the_run_ends_tasks_that_were_never_submitted_are_closed_at_once() {
    for state in [Is::Waiting, resting(false)] {
        assert_eq!(verdict(state, On::StopAsked, at(5)), unfinished(true));
    }
}

#[test]
fn when_the_run_ends_tasks_that_may_have_run_are_polled_before_they_count_as_unfinished() {
    for (state, may_run) in [
        (ready(1, false), false),
        (ready(2, true), true),
        (resting(true), true),
        (queued(), true),
        (running(), true),
    ] {
        check(&state, On::StopAsked, at(5), &ending(35, may_run), &[]);
        check(
            &ending(35, may_run),
            seen(ended(0)),
            at(6),
            &collecting(0, Some(StopReason::RunEnds)),
            &[Do::Collect],
        );
        // Its outputs may look complete: they are kept but not delivered. A task that never started has no
        // outputs.
        assert_eq!(verdict(ending(35, may_run), seen(ended(137)), at(6)), unfinished(false));
        let never_began = Ending { started: false, exit_code: None, ..ended(137) };
        assert_eq!(verdict(ending(35, may_run), seen(never_began), at(6)), unfinished(true));
        assert_eq!(verdict(ending(35, may_run), On::JobEnded, at(6)), unfinished(true));
        // Without a poll, its outputs, if any, stay at the service.
        check(&ending(35, may_run), On::TimePassed, Elapsed(34_999), &ending(35, may_run), &[]);
        assert_eq!(verdict(ending(35, may_run), On::TimePassed, at(35)), unfinished(false));
    }
}

#[test]
fn a_rejection_closes_an_ending_task_only_if_no_attempt_can_have_been_accepted() {
    for failure in [busy(), refused()] {
        assert_eq!(verdict(ending(35, false), On::Refused(failure.clone()), at(6)), unfinished(true));
        check(&ending(35, true), On::Refused(failure), at(6), &ending(35, true), &[]);
    }
    check(&ending(35, false), On::Refused(maybe_applied()), at(6), &ending(35, true), &[]);
}

#[test]
fn a_task_stopped_for_its_own_reason_keeps_it_when_the_run_ends() {
    for (why, words, is_failure) in [
        (StopReason::QueueTimedOut, "no node started it", false),
        (StopReason::RunTimedOut, "it ran longer", true),
    ] {
        let stopping = Is::Stopping { why, may_run: true, again_at: Some(at(5)), until: at(30) };
        check(&stopping, On::StopAsked, at(4), &stopping, &[]);
        for event in [On::JobEnded, On::Vanished] {
            let (cause, failed) = match verdict(stopping.clone(), event.clone(), at(4)) {
                Verdict::Failed { cause, delivered: true, may_pass: false } => (cause, true),
                Verdict::Unfinished { cause, delivered: true } => (cause, false),
                other => panic!("{why:?} {event:?} {other:?}"),
            };
            assert!(cause.starts_with(words) && failed == is_failure, "{cause}");
        }
    }
}

#[test]
fn the_verdict_follows_from_the_end_its_reason_and_the_delivery() {
    let short = || On::DeliveredShort(vec!["*.csv".into()]);
    let lost = || On::DeliveryFailed(refused());
    let (queue, time, run) = (StopReason::QueueTimedOut, StopReason::RunTimedOut, StopReason::RunEnds);
    for (exit_code, stopped, event, expected) in [
        (0, None, On::Delivered, "succeeded"),
        // It ended before it could be terminated.
        (0, Some(run), On::Delivered, "succeeded"),
        (0, Some(time), On::Delivered, "succeeded"),
        (0, None, short(), "failed, delivered: exit code 0, but no file matches outputs [\"*.csv\"]"),
        (0, None, lost(), "failed, undelivered: results not delivered: no"),
        (0, None, On::DeliveryFailed(busy()), "failed for now, undelivered: results not delivered: busy"),
        (
            3,
            None,
            On::DeliveryFailed(busy()),
            "failed, undelivered: exit code 3; results not delivered: busy",
        ),
        (3, None, On::Delivered, "failed, delivered: exit code 3"),
        (3, None, short(), "failed, delivered: exit code 3"),
        (3, None, lost(), "failed, undelivered: exit code 3; results not delivered: no"),
        (137, None, On::Delivered, "failed, delivered: exit code 137 (killed by signal 9)"),
        (137, Some(run), On::Delivered, "unfinished, delivered: the run ended before it did"),
        (137, Some(run), lost(), "unfinished, undelivered: the run ended before it did"),
        (137, Some(queue), On::Delivered, "unfinished, delivered: no node started it within deadlines.queue"),
        (
            137,
            Some(time),
            short(),
            "failed, delivered: it ran longer than task.timeout and did not end when terminated",
        ),
        (
            0,
            None,
            On::Abandoned,
            "failed for now, undelivered: results not delivered: the run ended while they were downloaded",
        ),
    ] {
        let home = |delivered| if delivered { "delivered" } else { "undelivered" };
        let said = match verdict(collecting(exit_code, stopped), event.clone(), at(5)) {
            Verdict::Succeeded => "succeeded".to_owned(),
            Verdict::Failed { cause, delivered, may_pass } => {
                format!("failed{}, {}: {cause}", if may_pass { " for now" } else { "" }, home(delivered))
            }
            Verdict::Unfinished { cause, delivered } => format!("unfinished, {}: {cause}", home(delivered)),
        };
        assert_eq!(said, expected, "{exit_code} {stopped:?} {event:?}");
    }
}

#[test]
fn the_end_of_the_run_waits_for_results_in_flight() {
    for event in [On::StopAsked, On::JobEnded, On::Vanished, On::TimePassed] {
        check(&collecting(0, None), event, at(99_999), &collecting(0, None), &[]);
    }
}

#[test]
fn a_task_terminated_by_a_previous_process_is_unfinished_and_not_failed() {
    let by_request = Ending { by_request: true, ..ended(143) };
    for input_ready in [false, true] {
        let recovered = Is::Recovered { input_ready };
        assert_eq!(verdict(recovered.clone(), seen(by_request.clone()), at(5)), unfinished(false));
        let report = the_last(&ended(143));
        check(&recovered, seen(ended(143)), at(5), &collecting(143, None), &[report, Do::Collect]);
    }
    // Terminated by another client during this process: that is how it ended.
    let collecting = Is::Collecting { ending: by_request.clone(), stopped: None };
    check(&running(), seen(by_request), at(5), &collecting, &[Do::Collect]);
}

#[test]
fn an_attempt_that_exits_with_a_failure_is_followed_by_another_and_nothing_else_is() {
    let limits = TaskLimits { retry: RetryPolicy::after_exit_codes(2), ..limits() };
    let apply = |state: &Is, attempt, ending: &Ending| {
        let event = On::SeenEnded { attempt, ending: ending.clone() };
        task::apply(state.clone(), event, at(5), &limits)
    };
    let failed_with = |code: &str, exit_code| {
        let failure = Some((code.to_owned(), "words".to_owned()));
        Ending { success: false, started: true, by_request: false, exit_code, failure }
    };
    let failed = |attempt, ending: &Ending, again_after| {
        let (cause, detail) = (ending.cause().unwrap(), ending.detail());
        Do::ReportFailed { attempt, cause, detail, again_after }
    };
    let again = |attempt| {
        let report = Do::ReportRetry { attempt, cause: "exit code 7".into() };
        (ready(1, false), vec![failed(attempt - 1, &ended(7), Some(secs(0))), report, Do::Submit])
    };
    let over = |attempt, ending: &Ending| {
        let report = ending.cause().map(|_| failed(attempt, ending, None));
        let commands = report.into_iter().chain([Do::Collect]).collect();
        (Is::Collecting { ending: ending.clone(), stopped: None }, commands)
    };
    let recovered = Is::Recovered { input_ready: false };
    for state in [ready(1, true), resting(false), queued(), running(), recovered.clone()] {
        for attempt in [1, 2] {
            assert_eq!(apply(&state, attempt, &ended(7)), again(attempt + 1), "{state:?}");
        }
        // The last attempt, a success, a task that never ran, a time limit: that is how it ended.
        assert_eq!(apply(&state, 3, &ended(7)), over(3, &ended(7)), "{state:?}");
        assert_eq!(apply(&state, 1, &ended(0)), over(1, &ended(0)), "{state:?}");
        for final_one in [
            failed_with("CommandProgramNotFound", None),
            failed_with("TaskEnded", Some(137)),
            failed_with("FileUploadMiscError", Some(0)),
        ] {
            assert_eq!(apply(&state, 1, &final_one), over(1, &final_one), "{state:?}");
        }
    }
    // A terminated task is not retried.
    let by_request = Ending { by_request: true, ..failed_with("TaskEnded", Some(143)) };
    assert_eq!(apply(&running(), 1, &by_request), over(1, &by_request));
    assert!(matches!(apply(&recovered, 1, &by_request).0, Is::Closed));
    assert!(matches!(apply(&ending(35, true), 1, &ended(7)).0, Is::Closed));
}

#[test]
fn a_task_with_attempts_left_keeps_its_job_open() {
    let limits = TaskLimits { retry: RetryPolicy::after_exit_codes(2), ..limits() };
    for (state, with_attempts_left, at_the_last) in [
        (Is::Waiting, true, true),
        (ready(1, false), true, true),
        (resting(true), true, true),
        (queued(), true, false),
        (running(), true, false),
        (ending(30, true), false, false),
        (collecting(7, None), false, false),
        (Is::Closed, false, false),
    ] {
        for (attempt, expected) in [(1, with_attempts_left), (2, with_attempts_left), (3, at_the_last)] {
            assert_eq!(state.may_be_submitted(attempt, &limits), expected, "{state:?} {attempt}");
        }
    }
}

#[test]
fn only_tasks_that_the_service_may_change_are_polled() {
    for state in [queued(), running(), ending(30, true)] {
        assert!(state.is_watched(), "{state:?}");
    }
    for state in [Is::Waiting, ready(1, false), resting(true), collecting(0, None), Is::Closed] {
        assert!(!state.is_watched(), "{state:?}");
    }
}

fn some_event(dice: &mut Dice) -> On {
    let fails = |dice: &mut Dice| {
        dice.pick(&[busy(), maybe_applied(), maybe_applied(), refused(), busy_for(20)]).clone()
    };
    match dice.below(24) {
        0..=2 => On::InputReady,
        3 if dice.below(8) == 0 => On::InputFailed(refused()),
        4 | 5 => On::Accepted { adopted: dice.below(2) == 0 },
        6 | 7 => On::Refused(fails(dice)),
        8 => On::SeenActive,
        9 | 10 => On::SeenRunning,
        11 => seen(ended(if dice.below(2) == 0 { 0 } else { 3 })),
        12 if dice.below(2) == 0 => On::NodeLost,
        12 => On::Vanished,
        13 if dice.below(3) == 0 => On::StopAsked,
        14 => On::JobEnded,
        15 if dice.below(8) == 0 => On::Abandoned,
        16 => On::Delivered,
        17 => On::DeliveredShort(vec!["*.csv".into()]),
        18 => On::DeliveryFailed(refused()),
        _ => On::TimePassed,
    }
}

#[test]
fn no_walk_loses_a_result_closes_twice_or_waits_for_ever() {
    for seed in 0..WALKS * 4 {
        let dice = &mut Dice::of(seed);
        let limits = TaskLimits { retry: some_policy(dice), ..limits() };
        let apply = |state: Is, event: On, now: Elapsed| task::apply(state, event, now, &limits);
        let mut attempt = 1;
        let (mut state, mut now, mut closings, mut story) = (Is::Waiting, at(0), 0, vec![]);
        // The service may have the task, and results that were not downloaded.
        let mut may_have_run = false;
        for _ in 0..STEPS {
            now = dice.moment(now, state.wakes_at());
            let event = match some_event(dice) {
                On::SeenEnded { ending, .. } => On::SeenEnded { attempt, ending },
                event => event,
            };
            story.push(format!("{now} {state:?} + {event:?}"));
            let (next, commands) = apply(state.clone(), event.clone(), now);
            let details = || format!("seed {seed}: {story:#?} -> {next:?} {commands:?}");
            assert!(state != Is::Closed || (next == state && commands.is_empty()), "{}", details());
            let asked = matches!(state, Is::Ready { .. } | Is::Stopping { .. });
            match &event {
                On::Accepted { .. } if asked => may_have_run = true,
                On::Refused(failure) if asked && *failure == maybe_applied() => may_have_run = true,
                // A poll of every task did not show it.
                On::Vanished | On::JobEnded if state.is_watched() => may_have_run = false,
                On::Delivered | On::DeliveredShort(_) => may_have_run = false,
                _ => {}
            }
            let retried = commands.iter().find_map(|command| match command {
                Do::ReportRetry { attempt, .. } => Some(attempt),
                _ => None,
            });
            if let Some(next) = retried {
                // What a failed attempt left is no result.
                (attempt, may_have_run) = (*next, false);
                assert!(attempt <= limits.retry.max + 1, "{}", details());
            }
            for command in &commands {
                let Do::Close(verdict) = command else { continue };
                closings += 1;
                let safe = match verdict {
                    Verdict::Succeeded => event == On::Delivered,
                    Verdict::Failed { delivered, .. } | Verdict::Unfinished { delivered, .. } => {
                        !delivered || !may_have_run
                    }
                };
                assert!(safe, "results may be thrown away: {}", details());
            }
            let changed = std::mem::discriminant(&state) != std::mem::discriminant(&next);
            match &next {
                Is::Ready { .. } if changed => assert!(commands.contains(&Do::Submit), "{}", details()),
                Is::Collecting { .. } if changed => assert!(commands.contains(&Do::Collect), "{}", details()),
                Is::Recovered { .. } | Is::Queued { .. } | Is::Running { .. } => {
                    assert!(next.is_watched(), "{}", details())
                }
                Is::Resting { .. } | Is::AwaitingRetry { .. } | Is::Stopping { .. } => {
                    assert!(next.wakes_at().is_some(), "{}", details())
                }
                Is::InChunk | Is::Waiting | Is::Ready { .. } | Is::Collecting { .. } | Is::Closed => {}
            }
            assert_eq!(closings, u32::from(next == Is::Closed), "{}", details());
            state = next;
            if let Some(moment) = state.wakes_at() {
                let (after, _) = apply(state.clone(), On::TimePassed, moment.max(now));
                assert_ne!(after, state, "an alarm that rang rings again: seed {seed}: {story:#?}");
            }
            // The run ends here. Only time passes, and finally the run stops waiting.
            let mut last = apply(state.clone(), On::StopAsked, now).0;
            while let Some(moment) = last.wakes_at() {
                assert!(moment <= now + secs(30), "seed {seed}: {story:#?} waits until {moment}");
                let next = apply(last.clone(), On::TimePassed, moment.max(now)).0;
                assert_ne!(next, last, "an alarm that rang rings again: seed {seed}: {story:#?}");
                last = next;
            }
            last = apply(last, On::Abandoned, now).0;
            assert_eq!(last, Is::Closed, "seed {seed}: {story:#?}");
        }
    }
}

#[test]
fn a_task_of_a_previous_process_is_polled_before_it_is_submitted_again() {
    let (before, after) = (Is::Recovered { input_ready: false }, Is::Recovered { input_ready: true });
    check(&before, On::InputReady, at(0), &after, &[]);
    // Missing at the service: first its input is uploaded, then the task is submitted.
    check(&before, On::Vanished, at(1), &Is::Waiting, &[]);
    check(&after, On::Vanished, at(1), &ready(1, false), &[Do::Submit]);
    for state in [&before, &after] {
        check(state, On::SeenActive, at(0), &queued(), &[]);
        check(state, seen(ended(0)), at(0), &collecting(0, None), &[Do::Collect]);
        assert!(matches!(apply(state.clone(), On::SeenRunning, at(0)).0, Is::Running { .. }));
        // It may run: the end of the run must not count it as unsubmitted.
        let (state, commands) = apply(state.clone(), On::StopAsked, at(0));
        assert!(matches!(state, Is::Stopping { may_run: true, .. }) && commands.is_empty(), "{state:?}");
    }
    let verdict = verdict(before, On::Abandoned, at(0));
    assert_eq!(verdict, unfinished(false));
}

/// A policy, with delays or without.
fn some_policy(dice: &mut Dice) -> RetryPolicy {
    let policy = RetryPolicy::after_exit_codes(dice.below(3));
    let every = CauseWord::ALL.into_iter().map(RetryCause::Word).collect();
    let on = if dice.below(2) == 0 { policy.on.clone() } else { every };
    let first = secs(u64::from(dice.below(2) * 10));
    RetryPolicy { on, delays: Delays::growing(first, 2.0, secs(15)), ..policy }
}
