//! Tests rules that hold for every daemon of a drop folder, whatever it waits for.

mod common;

use common::*;
use dropmill_lifecycle::{
    Elapsed,
    machine::Machine,
    mill::{Backoff, Mill, MillCommand as Do, MillEvent as On, MillLimits, MillState as Is},
    release::{Release, ReleaseCommand, ReleaseEvent, ReleaseLimits, ReleaseState},
};

fn limits() -> MillLimits {
    MillLimits { reopen: three_tries(), drain: secs(30), ending: secs(40), deletion: secs(20) }
}

fn backoff(failures: u32, until: Elapsed) -> Backoff {
    Backoff { failures, until }
}

fn deleting(attempt: u32, again_at: Option<u64>, until: u64) -> Is {
    Is::Deleting { attempt, again_at: again_at.map(at), until: at(until) }
}

fn check(state: &Is, event: On, now: Elapsed, next: &Is, commands: &[Do]) {
    let what = format!("{state:?} + {event:?} at {now}");
    assert_eq!(
        Mill::apply(state.clone(), event, now, &limits()),
        (next.clone(), commands.to_vec()),
        "{what}"
    );
}

#[test]
fn a_run_is_opened_when_files_need_one() {
    let ready = Is::default();
    let opening = Is::Opening(Backoff::default());
    check(&ready, On::RunNeeded, at(1), &opening, &[Do::Open]);
    check(&opening, On::RunNeeded, at(1), &opening, &[]);
    check(&opening, On::Opened, at(1), &ready, &[]);
    check(&ready, On::RunNeeded, at(9), &opening, &[Do::Open]);
}

#[test]
fn failed_runs_increase_the_delay_and_a_good_one_resets_it() {
    let opening = Is::Opening(Backoff::default());
    let waiting = Is::Waiting(backoff(1, at(11)));
    let report = Do::ReportDelay { delay: secs(1), cause: "no space".into() };
    check(&opening, On::OpenFailed("no space".into()), at(10), &waiting, &[report]);
    assert_eq!(Mill::wakes_at(&waiting, &limits()), Some(at(11)));
    check(&waiting, On::TimePassed, at(10), &waiting, &[]);
    check(&waiting, On::TimePassed, at(11), &Is::Opening(backoff(1, at(11))), &[Do::Open]);
    // A run that failed delays the next one, before and after it is requested.
    let ready = Is::Ready(backoff(1, at(11)));
    check(&ready, On::RunEnded { well: false }, at(20), &Is::Ready(backoff(2, at(24))), &[]);
    check(&Is::Ready(backoff(2, at(24))), On::RunNeeded, at(21), &Is::Waiting(backoff(2, at(24))), &[]);
    check(
        &Is::Waiting(backoff(2, at(24))),
        On::RunEnded { well: false },
        at(22),
        &Is::Waiting(backoff(3, at(26))),
        &[],
    );
    check(&ready, On::RunEnded { well: true }, at(20), &Is::default(), &[]);
}

#[test]
fn a_drain_request_is_carried_out_in_every_state() {
    let draining = Is::Draining { until: at(40), cancelled: false };
    for state in [Is::default(), Is::Waiting(backoff(9, at(3600))), Is::Opening(Backoff::default())] {
        check(&state, On::DrainAsked, at(10), &draining, &[Do::StopTaking]);
    }
    check(&draining, On::Opened, at(11), &draining, &[]);
    check(&draining, On::Drained, at(12), &deleting(1, None, 32), &[Do::DeletePools]);
    check(&deleting(1, None, 32), On::PoolsAnswered { all: true }, at(13), &Is::Over, &[Do::Finish]);
    check(&deleting(1, None, 32), On::TimePassed, at(32), &Is::Over, &[Do::Finish]);
}

#[test]
fn pools_that_were_not_deleted_are_deleted_again_until_the_timeout() {
    let refused = On::PoolsAnswered { all: false };
    check(&deleting(1, None, 32), refused.clone(), at(13), &deleting(1, Some(14), 32), &[]);
    assert_eq!(Mill::wakes_at(&deleting(1, Some(14), 32), &limits()), Some(at(14)));
    check(&deleting(1, Some(14), 32), On::TimePassed, at(13), &deleting(1, Some(14), 32), &[]);
    check(&deleting(1, Some(14), 32), On::TimePassed, at(14), &deleting(2, None, 32), &[Do::DeletePools]);
    check(&deleting(2, None, 32), refused, at(15), &deleting(2, Some(19), 32), &[]);
    // The timeout also ends a delay between two attempts.
    assert_eq!(Mill::wakes_at(&deleting(9, Some(40), 32), &limits()), Some(at(32)));
    check(&deleting(9, Some(40), 32), On::TimePassed, at(32), &Is::Over, &[Do::Finish]);
}

#[test]
fn after_two_timeouts_the_daemon_ends() {
    let draining = |until, cancelled| Is::Draining { until: at(until), cancelled };
    check(&draining(40, false), On::TimePassed, at(39), &draining(40, false), &[]);
    check(&draining(40, false), On::TimePassed, at(40), &draining(80, true), &[Do::CancelRuns]);
    check(&draining(80, true), On::TimePassed, at(80), &Is::Over, &[Do::Finish]);
}

#[test]
fn a_stop_request_ends_the_daemon_at_once_and_only_once() {
    let states = [
        Is::default(),
        Is::Waiting(backoff(1, at(99))),
        Is::Opening(Backoff::default()),
        Is::Draining { until: at(40), cancelled: true },
        deleting(1, None, 40),
    ];
    for state in states {
        check(&state, On::StopAsked, at(1), &Is::Over, &[Do::Finish]);
    }
    check(&Is::Over, On::StopAsked, at(1), &Is::Over, &[]);
}

/// Random walks: after a drain request, time alone ends every daemon within its timeouts.
#[test]
fn every_daemon_ends_within_its_timeouts() {
    let events = [
        On::RunNeeded,
        On::Opened,
        On::OpenFailed("x".into()),
        On::RunEnded { well: false },
        On::RunEnded { well: true },
        On::TimePassed,
    ];
    for walk in 0..WALKS {
        let (mut dice, mut state, mut now) = (Dice::of(walk), Is::default(), at(0));
        for _ in 0..dice.below(40) {
            now = dice.moment(now, Mill::wakes_at(&state, &limits()));
            state = Mill::apply(state, dice.pick(&events).clone(), now, &limits()).0;
        }
        let asked = now;
        state = Mill::apply(state, On::DrainAsked, now, &limits()).0;
        while state != Is::Over {
            let alarm = Mill::wakes_at(&state, &limits());
            now = alarm.unwrap_or_else(|| panic!("walk {walk}: {state:?} waits for nothing"));
            assert!(now.since(asked) <= secs(70), "walk {walk}: {state:?} at {now}");
            state = Mill::apply(state, On::TimePassed, now, &limits()).0;
        }
    }
}

#[test]
fn unused_nodes_are_released_with_retries_until_the_service_accepts() {
    use {ReleaseCommand as Do, ReleaseEvent as On, ReleaseState as Is};
    let limits = ReleaseLimits { every: secs(60) };
    let in_use = |check_at| Is::InUse { check_at: at(check_at) };
    let table = [
        (in_use(60), On::TimePassed, 59, in_use(60), vec![]),
        (in_use(60), On::TimePassed, 60, in_use(120), vec![Do::CheckIdle]),
        (in_use(60), On::Idle, 5, Is::Releasing, vec![Do::Release]),
        (Is::Releasing, On::Idle, 6, Is::Releasing, vec![]),
        (Is::Releasing, On::Answered { all: false }, 7, in_use(67), vec![]),
        (Is::Releasing, On::Answered { all: true }, 7, Is::Released, vec![]),
        (Is::Released, On::Idle, 8, Is::Released, vec![]),
        (Is::Released, On::Used, 9, in_use(69), vec![]),
        // A run was opened during the request: its response concerns nodes that are requested again.
        (in_use(69), On::Answered { all: true }, 10, in_use(69), vec![]),
    ];
    for (state, event, now, next, commands) in table {
        let what = format!("{state:?} + {event:?}");
        assert_eq!(Release::apply(state, event, at(now), &limits), (next, commands), "{what}");
    }
}
