//! Tests rules that hold for every job, whatever happens to it.

mod common;

use common::*;
use dropmill_lifecycle::{
    Code, Elapsed,
    job::{self, JobCommand as Do, JobEvent as On, JobLimits, JobState as Is},
};

fn limits() -> JobLimits {
    JobLimits { ending: secs(120), look_every: secs(2), watch_every: secs(15), delays: three_tries() }
}

fn apply(state: Is, event: On, now: Elapsed) -> job::Step {
    job::apply(state, event, now, &limits())
}

fn check(state: &Is, event: On, now: Elapsed, next: &Is, commands: &[Do]) {
    let details = format!("{state:?} + {event:?} at {now}");
    assert_eq!(apply(state.clone(), event, now), (next.clone(), commands.to_vec()), "{details}");
}

fn creating(attempt: u32, maybe_applied: bool) -> Is {
    Is::Creating { attempt, maybe_applied }
}

fn resting(maybe_applied: bool) -> Is {
    Is::Resting { attempt: 1, maybe_applied, again_at: at(20) }
}

fn sealing(again_at: Option<Elapsed>) -> Is {
    Is::Sealing { attempt: 1, again_at }
}

fn terminating(until: u64, again_at: Option<Elapsed>, kept: bool) -> Is {
    Is::Terminating { reason: "Cancelled".into(), attempt: 1, again_at, until: at(until), kept }
}

fn cancel() -> On {
    On::TerminateAsked("Cancelled".into())
}

fn deleting(now: u64) -> Is {
    Is::Deleting { looks: 0, again_at: at(now + 2), until: at(now + 120) }
}

/// Returns the result of alarms without any other event.
fn in_silence(mut state: Is, mut now: Elapsed) -> (Is, Elapsed, Vec<(Elapsed, Do)>) {
    let mut done = vec![];
    for _ in 0..10_000 {
        let Some(moment) = state.wakes_at() else { return (state, now, done) };
        now = moment.max(now);
        let (next, commands) = apply(state.clone(), On::TimePassed, now);
        assert_ne!(next, state, "an alarm that rang at {now} rings there again");
        done.extend(commands.into_iter().map(|command| (now, command)));
        state = next;
    }
    panic!("no end in sight: {state:?} at {now}");
}

#[test]
fn a_creation_is_retried_after_each_delay_until_the_table_ends() {
    for failure in [busy(), maybe_applied()] {
        let may_exist = failure == maybe_applied();
        let mut state = creating(1, false);
        for (attempt, rest) in [(1, 1), (2, 4)] {
            let (next, commands) = apply(state, On::CreateFailed(failure.clone()), at(10));
            assert_eq!(next, Is::Resting { attempt, maybe_applied: may_exist, again_at: at(10 + rest) });
            assert!(matches!(&commands[..], [Do::ReportDelay { what: "create job", .. }]), "{commands:?}");
            check(&next, On::TimePassed, Elapsed(9_999 + rest * 1000), &next, &[]);
            let (again, commands) = apply(next, On::TimePassed, at(10 + rest));
            assert_eq!(commands, [Do::Create]);
            state = again;
        }
        let lost = if may_exist { Is::Lost } else { Is::NeverCreated };
        check(&state, On::CreateFailed(failure.clone()), at(30), &lost, &[Do::ReportLost(failure)]);
    }
}

#[test]
fn retry_after_is_a_lower_bound() {
    for (asked, again_at) in [(30, 40), (0, 11)] {
        let (next, _) = apply(creating(1, false), On::CreateFailed(busy_for(asked)), at(10));
        assert_eq!(next, Is::Resting { attempt: 1, maybe_applied: false, again_at: at(again_at) });
    }
}

#[test]
fn a_job_that_may_have_been_created_is_remembered_in_every_later_attempt() {
    check(&creating(2, true), On::CreateFailed(refused()), at(5), &Is::Lost, &[Do::ReportLost(refused())]);
    check(
        &creating(2, false),
        On::CreateFailed(refused()),
        at(5),
        &Is::NeverCreated,
        &[Do::ReportLost(refused())],
    );
    for state in [creating(1, false), creating(2, true), resting(true), Is::Lost] {
        check(&state, On::EndAsked, at(5), &deleting(5), &[Do::Delete]);
    }
    for state in [Is::Absent, Is::NeverCreated, resting(false)] {
        for event in [On::EndAsked, On::Released] {
            check(&state, event, at(5), &Is::Gone, &[Do::ReportGone]);
        }
        check(&state, cancel(), at(5), &Is::NeverCreated, &[Do::ReportTerminated]);
    }
}

#[test]
fn cancel_while_creating_still_deletes_what_may_exist() {
    let details = Do::Terminate("Cancelled".into());
    check(&creating(1, false), cancel(), at(5), &terminating(125, None, false), &[details]);
    // The response to the creation arrives late: it has no effect.
    for late in [On::Created, On::CreateFailed(refused()), On::AllTasksIn] {
        let state = terminating(125, None, false);
        check(&state, late, at(6), &state, &[]);
    }
    // There was nothing to terminate, or it was done: the deletion follows in both cases.
    let (ended, commands) = apply(terminating(125, None, false), On::TerminateSucceeded, at(7));
    assert_eq!(commands, [Do::ReportTerminated]);
    check(&ended, On::EndAsked, at(8), &deleting(8), &[Do::Delete]);
}

#[test]
fn a_job_is_sealed_only_after_its_last_task_is_added() {
    for state in [Is::Absent, creating(1, false), resting(false), Is::Lost, Is::Terminated, Is::Gone] {
        check(&state, On::AllTasksIn, at(5), &state, &[]);
    }
    check(&Is::Open, On::AllTasksIn, at(5), &sealing(None), &[Do::Seal]);
    // Again, because a task vanished and was added again: the job is sealed already.
    check(&Is::Sealed, On::AllTasksIn, at(5), &Is::Sealed, &[]);
}

#[test]
fn a_job_that_could_not_be_sealed_continues_and_counts_as_open() {
    let (rest, commands) = apply(sealing(None), On::SealFailed(maybe_applied()), at(5));
    assert_eq!(rest, sealing(Some(at(6))));
    assert!(matches!(&commands[..], [Do::ReportDelay { what: "seal job", .. }]), "{commands:?}");
    check(&rest, On::TimePassed, at(6), &Is::Sealing { attempt: 2, again_at: None }, &[Do::Seal]);
    check(&sealing(None), On::SealFailed(refused()), at(5), &Is::Open, &[]);
}

#[test]
fn tasks_are_accepted_from_open_until_the_termination() {
    let takes = [Is::Open, sealing(None), sealing(Some(at(9))), Is::Sealed];
    let takes_not = [
        Is::Absent,
        Is::NeverCreated,
        creating(1, false),
        resting(true),
        Is::Lost,
        terminating(120, None, false),
        Is::Terminated,
        deleting(0),
        Is::Gone,
        Is::Left,
    ];
    assert!(takes.iter().all(Is::takes_tasks));
    assert!(!takes_not.iter().any(Is::takes_tasks));
}

#[test]
fn a_job_deleted_by_another_client_is_lost_and_reported() {
    for state in [Is::Open, sealing(None), Is::Sealed] {
        let (next, commands) = apply(state, On::FoundMissing, at(5));
        assert_eq!(next, Is::Lost);
        assert!(
            matches!(&commands[..], [Do::ReportLost(failure)] if failure.code == Code::JobNotFound),
            "{commands:?}"
        );
    }
}

#[test]
fn every_termination_is_reported_whatever_the_response() {
    for (outcome, now) in [
        (On::TerminateSucceeded, 5),
        (On::TerminateFailed(refused()), 5),
        // No delay that would exceed the timeout is started.
        (On::TerminateFailed(busy()), 119),
        (On::TerminateFailed(busy_for(200)), 5),
    ] {
        let state = terminating(120, None, false);
        check(&state, outcome, at(now), &Is::Terminated, &[Do::ReportTerminated]);
    }
    let (rest, commands) = apply(terminating(120, None, false), On::TerminateFailed(maybe_applied()), at(5));
    assert_eq!(rest, terminating(120, Some(at(6)), false));
    assert!(matches!(&commands[..], [Do::ReportDelay { what: "terminate job", .. }]), "{commands:?}");
    let (_, commands) = apply(rest, On::TimePassed, at(6));
    assert_eq!(commands, [Do::Terminate("Cancelled".into())]);
}

#[test]
fn a_job_that_is_kept_is_never_left_open() {
    let details = [Do::Terminate("RunEnded".into())];
    for state in [creating(1, false), resting(true), Is::Open, sealing(None), sealing(Some(at(9))), Is::Lost]
    {
        let (next, commands) = apply(state.clone(), On::Released, at(5));
        assert!(matches!(next, Is::Terminating { kept: true, .. }), "{state:?} -> {next:?}");
        assert_eq!(commands, details, "{state:?}");
    }
    // A termination in progress is completed.
    let rest = terminating(120, Some(at(9)), false);
    check(&rest, On::Released, at(5), &terminating(120, Some(at(9)), true), &[]);
    let (again, commands) = apply(terminating(120, Some(at(9)), true), On::TimePassed, at(9));
    assert_eq!(commands, [Do::Terminate("Cancelled".into())]);
    let (left, commands) = apply(again, On::TerminateSucceeded, at(10));
    assert_eq!((left, commands), (Is::Left, vec![Do::ReportLeft("kept, as cleanup.job says".into())]));
    // A job that has ended, or will end on its own, is left alone.
    for state in [Is::Sealed, Is::Terminated] {
        let left = [Do::ReportLeft("kept, as cleanup.job says".into())];
        check(&state, On::Released, at(5), &Is::Left, &left);
    }
}

#[test]
fn a_kept_job_that_could_not_be_terminated_is_reported_with_the_reason() {
    let (left, commands) = apply(terminating(120, None, true), On::TerminateFailed(refused()), at(5));
    assert_eq!(left, Is::Left);
    assert!(
        matches!(&commands[..], [Do::ReportLeft(why)] if why.contains("could not be terminated: no")),
        "{commands:?}"
    );
}

#[test]
fn a_lost_deletion_request_is_repeated_even_if_no_poll_succeeds() {
    let (failed, commands) = apply(deleting(0), On::DeleteFailed(busy()), at(1));
    assert_eq!(commands, []);
    let (_, _, done) = in_silence(failed, at(1));
    assert_eq!(done.first(), Some(&(at(2), Do::Delete)));
    let (_, _, done) = in_silence(deleting(0), at(0));
    assert!(done.iter().any(|(_, command)| *command == Do::Delete), "{done:?}");
}

#[test]
fn a_job_that_is_not_deleted_by_the_deadline_is_reported_as_left() {
    let (end, when, done) = in_silence(deleting(0), at(0));
    assert_eq!((end, when), (Is::Left, at(120)));
    assert!(matches!(done.last(), Some((_, Do::ReportLeft(_)))), "{done:?}");
    check(&deleting(0), On::DeleteFailed(refused()), at(1), &Is::Left, &[Do::ReportLeft("no".into())]);
    check(&deleting(0), On::FoundMissing, at(1), &Is::Gone, &[Do::ReportGone]);
}

#[test]
fn the_final_report_is_sent_once_however_often_the_end_is_requested() {
    for state in [Is::Gone, Is::Left] {
        for event in [On::EndAsked, On::Released, cancel(), On::FoundMissing, On::TimePassed, On::Created] {
            check(&state, event, at(5), &state, &[]);
        }
    }
}

fn some_event(dice: &mut Dice) -> On {
    let fails = |dice: &mut Dice| dice.pick(&[busy(), maybe_applied(), refused(), busy_for(20)]).clone();
    match dice.below(18) {
        0 | 1 => On::Wanted,
        2 | 3 => On::Created,
        4 => On::CreateFailed(fails(dice)),
        5 | 6 => On::AllTasksIn,
        7 => On::SealSucceeded,
        8 => On::SealFailed(fails(dice)),
        9 if dice.below(3) == 0 => cancel(),
        10 => On::TerminateSucceeded,
        11 => On::TerminateFailed(fails(dice)),
        12 if dice.below(4) == 0 => On::EndAsked,
        13 if dice.below(4) == 0 => On::Released,
        14 => On::SeenThere,
        15 if dice.below(4) == 0 => On::FoundMissing,
        16 => On::DeleteFailed(fails(dice)),
        _ => On::TimePassed,
    }
}

#[test]
fn no_random_walk_forgets_a_job_or_waits_for_ever() {
    for seed in 0..WALKS {
        let dice = &mut Dice::of(seed);
        let (mut state, mut now, mut said, mut story) = (Is::Absent, at(0), vec![], vec![]);
        // Whether the service may have the job, and whether nothing ends it.
        let (mut may_exist, mut open) = (false, false);
        for _ in 0..STEPS {
            now = dice.moment(now, state.wakes_at());
            let event = some_event(dice);
            story.push(format!("{now} {state:?} + {event:?}"));
            let (next, commands) = apply(state.clone(), event.clone(), now);
            let details = || format!("seed {seed}: {story:#?} -> {next:?} {commands:?}");
            if matches!(state, Is::Gone | Is::Left) {
                assert_eq!((&next, &commands[..]), (&state, &[][..]), "{}", details());
            }
            let asked = |command: &Do| commands.contains(command);
            match (&state, &event) {
                (Is::Creating { .. }, On::Created) => (may_exist, open) = (true, true),
                (Is::Creating { .. }, On::EndAsked | On::Released | On::TerminateAsked(_)) => {
                    may_exist = true
                }
                (Is::Creating { .. }, On::CreateFailed(failure)) if *failure == maybe_applied() => {
                    may_exist = true
                }
                (Is::Sealing { .. }, On::SealSucceeded) => open = false,
                // Done, or given up with a report.
                (Is::Terminating { .. }, On::TerminateSucceeded | On::TerminateFailed(_)) => {
                    open &= matches!(next, Is::Terminating { .. });
                }
                (_, On::FoundMissing) if !matches!(next, Is::Terminating { .. }) => {
                    (may_exist, open) = (may_exist && next != Is::Gone, open && next != Is::Lost);
                }
                _ => {}
            }
            let changed = std::mem::discriminant(&state) != std::mem::discriminant(&next);
            let lost = commands.iter().any(|command| matches!(command, Do::ReportLost(_)));
            let ends = commands.iter().any(|command| matches!(command, Do::Terminate(_)));
            match &next {
                Is::Creating { .. } if changed => assert!(asked(&Do::Create), "{}", details()),
                Is::Sealing { .. } if changed => assert!(asked(&Do::Seal), "{}", details()),
                Is::Terminating { .. } if changed => assert!(ends, "{}", details()),
                Is::Deleting { .. } if changed => assert!(asked(&Do::Delete), "{}", details()),
                Is::Lost if changed => assert!(lost, "{}", details()),
                Is::Gone if changed => assert!(asked(&Do::ReportGone) && !may_exist, "{}", details()),
                Is::Left if changed && event == On::Released => assert!(!open, "{}", details()),
                Is::Resting { .. } | Is::Deleting { .. } => {
                    assert!(next.wakes_at().is_some(), "{}", details());
                }
                // A request is in flight, the run was notified, or the run must act.
                _ => {}
            }
            said.extend(commands);
            state = next;
            // After the end is requested here, the alarms alone reach the final state.
            let (ending, _) = apply(state.clone(), On::EndAsked, now);
            let (end, when, _) = in_silence(ending, now);
            assert!(matches!(end, Is::Gone | Is::Left), "seed {seed}: {story:#?} {end:?}");
            assert!(when <= now + secs(120), "seed {seed}: {story:#?} only at {when}");
        }
        let times = |wanted: fn(&Do) -> bool| said.iter().filter(|command| wanted(command)).count();
        assert!(times(|command| matches!(command, Do::ReportGone | Do::ReportLeft(_))) <= 1, "{story:#?}");
        assert!(times(|command| matches!(command, Do::ReportLost(_))) <= 1, "{story:#?}");
        assert!(times(|command| matches!(command, Do::ReportOpen)) <= 1, "{story:#?}");
    }
}
