//! Tests rules that hold for every run, whatever ends it.

mod common;

use common::*;
use dropmill_lifecycle::{
    Elapsed,
    plan::{CleanupPlan, When},
    run::{
        self, Closing, EndReason, Open, RunCommand as Do, RunEvent as On, RunLimits, RunState as Is, Tally,
    },
};

const ALL: Open = Open { job: true, pool: true, containers: true };

fn limits() -> RunLimits {
    RunLimits {
        run: secs(3600),
        no_progress: Some(secs(600)),
        ending: secs(120),
        cancelled: secs(60),
        hurry: secs(5),
        cleanup: secs(300),
        policy: CleanupPlan { pool: When::Always, job: When::Success, containers: When::Success },
        max_failures: None,
    }
}

fn apply(state: Is, event: On, now: Elapsed) -> run::Step {
    run::apply(state, event, now, &limits())
}

fn check(state: &Is, event: On, now: Elapsed, next: &Is, commands: &[Do]) {
    let details = format!("{state:?} + {event:?} at {now}");
    assert_eq!(apply(state.clone(), event, now), (next.clone(), commands.to_vec()), "{details}");
}

fn open(tasks: u32) -> Tally {
    Tally { open: tasks, ..Tally::default() }
}

fn working(tasks: u32) -> Is {
    Is::Working { tally: open(tasks), until: at(3600), stuck_at: Some(at(600)), open_ended: false }
}

fn ending(tasks: u32, until: u64, abandoned: bool) -> Is {
    Is::Ending { reason: EndReason::Cancelled, tally: open(tasks), until: at(until), abandoned }
}

fn closed(closing: Closing, delivered: bool) -> On {
    On::TaskClosed { closing, delivered }
}

/// Fires alarms, and makes the record durable on request, without any other event.
fn in_silence(mut state: Is, mut now: Elapsed) -> (Is, Elapsed, Vec<Do>) {
    let mut done = vec![];
    for _ in 0..100 {
        let event = match (&state, state.wakes_at()) {
            (Is::Settling { .. }, _) => On::Settled,
            (_, Some(moment)) => {
                now = moment.max(now);
                On::TimePassed
            }
            (_, None) => return (state, now, done),
        };
        let (next, commands) = apply(state.clone(), event, now);
        assert_ne!(next, state, "an alarm that rang at {now} rings there again");
        done.extend(commands);
        state = next;
    }
    panic!("no end in sight: {state:?} at {now}");
}

#[test]
fn a_run_without_tasks_ends_at_once_and_still_cleans_up() {
    let (settling, commands) = apply(Is::Fresh, On::Begun { tasks: 0, open_ended: false }, at(0));
    assert!(matches!(settling, Is::Settling { reason: EndReason::AllTasksClosed, .. }), "{settling:?}");
    assert!(matches!(commands[..], [Do::ReportEnd { .. }, Do::Settle]), "{commands:?}");
}

#[test]
fn the_deadline_ends_the_run_at_its_time_and_not_before() {
    let state = Is::Working { tally: open(2), until: at(3600), stuck_at: None, open_ended: false };
    check(&state, On::TimePassed, Elapsed(3_599_999), &state, &[]);
    let (next, commands) = apply(state, On::TimePassed, at(3600));
    let reason = EndReason::Deadline;
    assert_eq!(next, Is::Ending { reason, tally: open(2), until: at(3720), abandoned: false });
    assert!(
        matches!(
            commands[..],
            [
                Do::ReportDeadline("run"),
                Do::ReportEnd { reason: EndReason::Deadline, .. },
                Do::EndTasks { reason: "Deadline" }
            ]
        ),
        "{commands:?}"
    );
}

#[test]
fn a_run_without_progress_ends_and_any_progress_postpones_that() {
    check(&working(2), On::TimePassed, Elapsed(599_999), &working(2), &[]);
    let (_, commands) = apply(working(2), On::TimePassed, at(600));
    assert_eq!(commands[0], Do::ReportDeadline("no_progress"));
    for event in [On::Progressed, closed(Closing::Succeeded, true)] {
        let (next, _) = apply(working(2), event, at(500));
        assert!(matches!(next, Is::Working { stuck_at: Some(moment), .. } if moment == at(1100)), "{next:?}");
    }
    // Without that limit, only the run's deadline ends it.
    let limits = RunLimits { no_progress: None, ..limits() };
    let (next, _) = run::apply(Is::Fresh, On::Begun { tasks: 1, open_ended: false }, at(0), &limits);
    assert_eq!(next.wakes_at(), Some(at(3600)));
}

#[test]
fn whatever_ends_a_run_its_tasks_are_ended_and_the_reason_is_reported() {
    let failure = refused();
    for (event, reason, service_hears, until) in [
        (On::CancelAsked("Ctrl-C".into()), EndReason::Cancelled, "Cancelled", 160),
        (On::Lost(failure.clone()), EndReason::Infrastructure, "Infrastructure", 220),
        (On::DeadlinePassed(failure.clone()), EndReason::Deadline, "Deadline", 220),
        // The actor that closes the tasks may be the one that crashed.
        (On::ActorLost(failure.clone()), EndReason::Infrastructure, "Infrastructure", 105),
    ] {
        let detail = if reason == EndReason::Cancelled { "Ctrl-C" } else { "no" };
        let next = Is::Ending { reason, tally: open(2), until: at(until), abandoned: false };
        let details =
            [Do::ReportEnd { reason, detail: detail.into() }, Do::EndTasks { reason: service_hears }];
        check(&working(2), event, at(100), &next, &details);
    }
}

#[test]
fn a_cancelled_run_waits_only_while_results_are_being_downloaded() {
    let coming = closed(Closing::Succeeded, true);
    let (state, _) = apply(ending(3, 160, false), coming.clone(), at(150));
    assert_eq!(
        state,
        Is::Ending {
            reason: EndReason::Cancelled,
            tally: Tally { open: 2, succeeded: 1, ..Tally::default() },
            until: at(210),
            abandoned: false,
        }
    );
    // After the rest was given up, nothing prolongs the wait.
    let (state, _) = apply(ending(3, 160, true), coming.clone(), at(150));
    assert!(matches!(state, Is::Ending { until, .. } if until == at(160)), "{state:?}");
    let deadline = |until| Is::Ending {
        reason: EndReason::Deadline,
        tally: open(2),
        until: at(until),
        abandoned: false,
    };
    let (state, _) = apply(deadline(160), coming, at(150));
    assert!(matches!(state, Is::Ending { until, .. } if until == at(160)), "{state:?}");
}

#[test]
fn a_run_ends_once_for_its_first_reason() {
    for event in [
        On::CancelAsked("again".into()),
        On::Lost(refused()),
        On::DeadlinePassed(refused()),
        On::Progressed,
        On::Begun { tasks: 9, open_ended: false },
    ] {
        check(&ending(2, 220, false), event.clone(), at(110), &ending(2, 220, false), &[]);
        let reason = EndReason::AllTasksClosed;
        for state in [
            Is::Settling { reason, tally: open(0) },
            Is::Cleaning { reason, tally: open(0), open: ALL, until: at(400) },
            Is::Over,
        ] {
            check(&state, event.clone(), at(110), &state, &[]);
        }
    }
}

#[test]
fn tasks_that_do_not_end_are_abandoned_and_then_closed() {
    check(&ending(2, 220, false), On::TimePassed, Elapsed(219_999), &ending(2, 220, false), &[]);
    check(&ending(2, 220, false), On::TimePassed, at(220), &ending(2, 225, true), &[Do::AbandonTasks]);
    check(&ending(2, 225, true), On::TimePassed, Elapsed(224_999), &ending(2, 225, true), &[]);
    let tally = Tally { unfinished: 2, undelivered: 2, ..Tally::default() };
    let settling = Is::Settling { reason: EndReason::Cancelled, tally };
    check(&ending(2, 225, true), On::TimePassed, at(225), &settling, &[Do::CloseTasks, Do::Settle]);
}

#[test]
fn a_crash_of_an_actor_while_ending_shortens_the_wait_and_never_extends_it() {
    check(&ending(2, 220, false), On::ActorLost(refused()), at(110), &ending(2, 115, false), &[]);
    check(&ending(2, 112, false), On::ActorLost(refused()), at(110), &ending(2, 112, false), &[]);
}

#[test]
fn nothing_is_deleted_before_the_record_is_durable() {
    let (settling, commands) = apply(working(1), closed(Closing::Succeeded, true), at(50));
    assert!(matches!(commands[..], [Do::ReportEnd { .. }, Do::Settle]), "{commands:?}");
    for event in [On::TimePassed, On::JobDone, On::PoolDone, On::ContainersDone, On::ActorLost(refused())] {
        check(&settling, event, at(9999), &settling, &[]);
    }
    let (cleaning, commands) = apply(settling, On::Settled, at(51));
    assert_eq!(commands, [Do::CleanUp(ALL)]);
    assert_eq!(cleaning.wakes_at(), Some(at(351)));
}

#[test]
fn the_cleanup_follows_from_policy_and_outcome() {
    use When::{Always, Never, Success};
    let good = Tally { succeeded: 3, ..Tally::default() };
    let failed = Tally { failed: 1, ..good };
    let unfinished = Tally { unfinished: 1, ..good };
    let undelivered = Tally { failed: 1, undelivered: 1, ..good };
    // Policy, outcome; whether resources are deleted; and the containers, which may have the only copy of a
    // result.
    for (when, tally, deleted, containers) in [
        (Always, good, true, true),
        (Always, failed, true, true),
        (Always, unfinished, true, true),
        (Always, undelivered, true, false),
        (Success, good, true, true),
        (Success, failed, false, false),
        (Success, unfinished, false, false),
        (Success, undelivered, false, false),
        (Never, good, false, false),
        (Never, failed, false, false),
    ] {
        let policy = CleanupPlan { pool: when, job: when, containers: when };
        let limits = RunLimits { policy, ..limits() };
        let settling = Is::Settling { reason: EndReason::AllTasksClosed, tally };
        let (_, commands) = run::apply(settling, On::Settled, at(50), &limits);
        let wanted = Open { job: deleted, pool: deleted, containers };
        assert_eq!(commands, [Do::CleanUp(wanted)], "{when:?} {tally:?}");
    }
}

#[test]
fn a_run_ends_when_the_last_part_is_done_in_any_order() {
    let parts = [On::JobDone, On::PoolDone, On::ContainersDone];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (reason, tally) = (EndReason::AllTasksClosed, open(0));
        let mut state = Is::Cleaning { reason, tally, open: ALL, until: at(400) };
        for (done, part) in order.into_iter().enumerate() {
            // A repeated report does not count for another part.
            for _ in 0..2 {
                let (next, commands) = apply(state, parts[part].clone(), at(100));
                state = next;
                let last = done == 2 && !commands.is_empty();
                assert_eq!(last, commands == [Do::Finish { reason, tally }], "{order:?}");
            }
            assert_eq!(state == Is::Over, done == 2, "{order:?}");
        }
    }
}

#[test]
fn resources_that_remain_at_the_cleanup_deadline_are_reported() {
    let (reason, tally) = (EndReason::Cancelled, open(0));
    let rest = Open { job: false, ..ALL };
    let state = Is::Cleaning { reason, tally, open: rest, until: at(400) };
    check(&state, On::TimePassed, Elapsed(399_999), &state, &[]);
    let details = [Do::ReportDeadline("cleanup"), Do::ReportLeft(rest), Do::Finish { reason, tally }];
    check(&state, On::TimePassed, at(400), &Is::Over, &details);
}

fn some_event(dice: &mut Dice) -> On {
    match dice.below(20) {
        0..=8 => {
            let closing = *dice.pick(&[Closing::Succeeded, Closing::Failed, Closing::Unfinished]);
            closed(closing, dice.below(3) > 0)
        }
        9 => On::Progressed,
        10 if dice.below(4) == 0 => On::Lost(refused()),
        11 if dice.below(4) == 0 => On::ActorLost(refused()),
        12 if dice.below(4) == 0 => On::DeadlinePassed(refused()),
        13 if dice.below(4) == 0 => On::CancelAsked("Ctrl-C".into()),
        14 => On::Settled,
        15 => On::JobDone,
        16 => On::PoolDone,
        17 => On::ContainersDone,
        _ => On::TimePassed,
    }
}

#[test]
fn no_random_walk_loses_a_task_ends_twice_or_waits_for_ever() {
    for seed in 0..WALKS {
        let dice = &mut Dice::of(seed);
        let tasks = dice.below(12);
        let (mut state, mut now, mut said, mut story) = (Is::Fresh, at(0), vec![], vec![]);
        let mut settled = false;
        for step in 0..STEPS {
            now = dice.moment(now, state.wakes_at());
            let event = if step == 0 { On::Begun { tasks, open_ended: false } } else { some_event(dice) };
            story.push(format!("{now} {state:?} + {event:?}"));
            let (next, commands) = apply(state.clone(), event.clone(), now);
            let details = || format!("seed {seed}: {story:#?} -> {next:?} {commands:?}");
            assert!(state != Is::Over || (next == state && commands.is_empty()), "{}", details());
            match &next {
                Is::Working { tally, .. }
                | Is::Ending { tally, .. }
                | Is::Settling { tally, .. }
                | Is::Cleaning { tally, .. } => {
                    let counted = tally.open + tally.succeeded + tally.failed + tally.unfinished;
                    assert_eq!(counted, tasks, "every task is counted once: {}", details());
                    assert!(tally.undelivered <= tasks, "{}", details());
                }
                Is::Fresh | Is::Over => {}
            }
            settled |= matches!(state, Is::Settling { .. }) && event == On::Settled;
            for command in &commands {
                assert!(settled || !matches!(command, Do::CleanUp(_) | Do::Finish { .. }), "{}", details());
            }
            match &next {
                Is::Settling { .. } if !matches!(state, Is::Settling { .. }) => {
                    assert!(commands.contains(&Do::Settle), "{}", details());
                }
                Is::Fresh | Is::Settling { .. } | Is::Over => {}
                _ => assert!(next.wakes_at().is_some(), "{}", details()),
            }
            said.extend(commands);
            state = next;
            // From here, the alarms alone lead to the end, which is reported.
            let (end, when, last) = in_silence(state.clone(), now);
            assert_eq!(end, Is::Over, "seed {seed}: {story:#?}");
            assert!(when <= now + secs(3600 + 120 + 5 + 300), "seed {seed}: {story:#?} only at {when}");
            let mut words = said.clone();
            words.extend(last);
            let times = |wanted: fn(&Do) -> bool| words.iter().filter(|command| wanted(command)).count();
            for (what, count) in [
                ("end", times(|command| matches!(command, Do::ReportEnd { .. }))),
                ("settle", times(|command| matches!(command, Do::Settle))),
                ("clean up", times(|command| matches!(command, Do::CleanUp(_)))),
                ("finish", times(|command| matches!(command, Do::Finish { .. }))),
            ] {
                assert_eq!(count, 1, "{what}, once: seed {seed}: {story:#?} {words:#?}");
            }
        }
    }
}

#[test]
fn an_open_ended_run_ends_only_after_no_more_tasks_are_announced() {
    let (state, _) = apply(Is::Fresh, On::Begun { tasks: 0, open_ended: true }, at(0));
    assert!(
        matches!(state, Is::Working { stuck_at: None, .. }),
        "waiting for work is no standstill: {state:?}"
    );
    let (state, _) = apply(state, On::TasksAdded(1), at(5000));
    assert!(matches!(state, Is::Working { stuck_at: Some(moment), .. } if moment == at(5600)), "{state:?}");
    let closed = On::TaskClosed { closing: Closing::Succeeded, delivered: true };
    let (state, commands) = apply(state, closed.clone(), at(5001));
    assert!(matches!(state, Is::Working { stuck_at: None, .. }) && commands.is_empty(), "{state:?}");
    let (state, _) = apply(state, On::TasksAdded(1), at(5002));
    let (state, commands) = apply(state, On::NoMoreTasks, at(5003));
    assert!(matches!(state, Is::Working { .. }) && commands.is_empty(), "{state:?}");
    let (state, commands) = apply(state, closed, at(5004));
    assert!(matches!(state, Is::Settling { .. }), "{state:?}");
    assert!(matches!(&commands[..], [Do::ReportEnd { .. }, Do::Settle]), "{commands:?}");
}

#[test]
fn a_new_process_resumes_in_the_state_of_the_previous_one() {
    let tally = Tally { open: 2, succeeded: 3, failed: 1, ..Tally::default() };
    let resumed = |tally, ending| On::Resumed { tally, ending, open_ended: false };
    let (state, commands) = apply(Is::Fresh, resumed(tally, None), at(100));
    // The deadline counts from the first process.
    assert_eq!(state, Is::Working { tally, until: at(3600), stuck_at: Some(at(700)), open_ended: false });
    assert!(commands.is_empty());
    let (state, commands) = apply(Is::Fresh, resumed(tally, Some(EndReason::Cancelled)), at(100));
    assert!(matches!(state, Is::Ending { .. }), "{state:?}");
    // The end was already recorded.
    assert_eq!(commands, [Do::EndTasks { reason: "Cancelled" }]);
    let closed = Tally { open: 0, ..tally };
    let (state, commands) = apply(Is::Fresh, resumed(closed, Some(EndReason::AllTasksClosed)), at(100));
    assert!(matches!(state, Is::Settling { .. }) && commands == [Do::Settle], "{state:?} {commands:?}");
    let (state, commands) = apply(Is::Fresh, resumed(closed, None), at(100));
    assert!(matches!(state, Is::Settling { .. }) && commands.len() == 2, "{state:?} {commands:?}");
}
