//! Tests rules that hold for every retried request: an upload, a container, the results of a task, a
//! deletion.

mod common;

use common::*;
use dropmill_lifecycle::{
    Elapsed,
    delays::Delays,
    retry::{self, RetryCommand as Do, RetryEvent as On, RetryLimits, RetryState as Is},
};

fn limits() -> RetryLimits {
    RetryLimits { whole: secs(60), delays: three_tries() }
}

/// Returns limits with attempts without end, each four seconds after the last.
fn tireless() -> RetryLimits {
    RetryLimits { whole: secs(60), delays: Delays { steps: vec![secs(4)], for_ever: true } }
}

fn apply(state: Is, event: On, now: Elapsed) -> retry::Step {
    retry::apply(state, event, now, &limits())
}

fn check(state: &Is, event: On, now: Elapsed, next: &Is, commands: &[Do]) {
    let details = format!("{state:?} + {event:?} at {now}");
    assert_eq!(apply(state.clone(), event, now), (next.clone(), commands.to_vec()), "{details}");
}

fn trying(attempt: u32) -> Is {
    Is::Trying { attempt, until: at(60) }
}

fn resting(again_at: u64) -> Is {
    Is::Resting { attempt: 1, again_at: at(again_at), until: at(60), failure: busy() }
}

#[test]
fn its_timeout_counts_from_its_start_not_from_its_wait() {
    check(&Is::Waiting, On::Begun, at(100), &Is::Trying { attempt: 1, until: at(160) }, &[Do::Try]);
    check(&Is::Waiting, On::TimePassed, at(100), &Is::Waiting, &[]);
}

#[test]
fn a_transient_failure_is_retried_after_its_delay_and_not_before() {
    for failure in [busy(), maybe_applied()] {
        let (rest, commands) = apply(trying(1), On::TryFailed(failure.clone()), at(10));
        let details = Do::ReportDelay { attempt: 1, rest: secs(1), failure };
        assert_eq!(commands, [details]);
        assert_eq!(rest.wakes_at(), Some(at(11)));
        check(&rest, On::TimePassed, Elapsed(10_999), &rest, &[]);
        check(&rest, On::TimePassed, at(11), &trying(2), &[Do::Try]);
    }
}

#[test]
fn retry_after_is_a_lower_bound() {
    for (asked, rest) in [(30, 30), (0, 1)] {
        let (next, _) = apply(trying(1), On::TryFailed(busy_for(asked)), at(10));
        assert_eq!(next.wakes_at(), Some(at(10 + rest)));
    }
}

#[test]
fn it_fails_when_rejected_or_out_of_attempts_or_when_the_delay_exceeds_its_timeout() {
    for (attempt, failure, now) in
        [(1, refused(), 10), (3, busy(), 10), (1, busy(), 59), (1, busy_for(50), 10)]
    {
        let state = trying(attempt);
        let failed = Is::Failed(failure.clone());
        check(&state, On::TryFailed(failure.clone()), at(now), &failed, &[Do::ReportFailed(failure)]);
    }
}

#[test]
fn attempts_without_end_stop_at_the_timeout() {
    let (mut state, mut now) = (trying(1), at(0));
    for tries in 1.. {
        let (next, commands) = retry::apply(state, On::TryFailed(busy()), now, &tireless());
        let Some(moment) = next.wakes_at() else {
            assert_eq!((next, commands), (Is::Failed(busy()), vec![Do::ReportFailed(busy())]));
            // At 0, 4, …, 56 s: the next would be at the timeout itself.
            assert_eq!((tries, now), (15, at(56)));
            return;
        };
        now = moment;
        let (again, commands) = retry::apply(next, On::TimePassed, now, &tireless());
        assert_eq!(commands, [Do::Try]);
        state = again;
    }
}

#[test]
fn progress_restores_the_attempts_but_not_the_time() {
    check(&trying(3), On::GotFurther, at(10), &trying(1), &[]);
    let mut state = trying(1);
    for second in 0..59 {
        let (further, _) = apply(state, On::GotFurther, at(second));
        let (rest, commands) = apply(further, On::TryFailed(busy()), at(second));
        assert!(matches!(commands[..], [Do::ReportDelay { attempt: 1, .. }]), "{second}: {commands:?}");
        (state, _) = apply(rest, On::TimePassed, at(second + 1));
    }
    let (further, _) = apply(state, On::GotFurther, at(59));
    let (ended, _) = apply(further, On::TryFailed(busy()), at(59));
    assert_eq!(ended, Is::Failed(busy()));
}

#[test]
fn a_response_after_the_timeout_still_counts() {
    check(&trying(1), On::Succeeded, at(1000), &Is::Done, &[Do::ReportDone]);
}

#[test]
fn the_end_interrupts_a_delay_without_a_report() {
    for state in [Is::Waiting, trying(1), resting(20)] {
        check(&state, On::EndAsked, at(10), &Is::Dropped, &[]);
    }
}

#[test]
fn a_final_state_never_changes() {
    for state in [Is::Done, Is::Failed(refused()), Is::Dropped] {
        assert!(state.is_over());
        for event in [
            On::Begun,
            On::Succeeded,
            On::GotFurther,
            On::TryFailed(busy()),
            On::TryFailed(refused()),
            On::TimePassed,
            On::EndAsked,
        ] {
            check(&state, event, at(10), &state, &[]);
        }
    }
}

#[test]
fn no_random_walk_sends_two_requests_at_once_or_waits_for_ever() {
    for seed in 0..WALKS {
        let dice = &mut Dice::of(seed);
        let limits = if seed % 2 == 0 { limits() } else { tireless() };
        let (mut state, mut now, mut story) = (Is::Waiting, at(0), vec![]);
        let (mut last_words, mut in_flight) = (0, false);
        for _ in 0..STEPS {
            now = dice.moment(now, state.wakes_at());
            let event = match dice.below(12) {
                0..=2 => On::Begun,
                // There is no response without a request.
                3 if in_flight => On::Succeeded,
                4..=7 if in_flight => On::TryFailed(
                    dice.pick(&[busy(), busy(), maybe_applied(), busy_for(9), refused()]).clone(),
                ),
                8 if dice.below(4) == 0 => On::EndAsked,
                9 => On::GotFurther,
                _ => On::TimePassed,
            };
            story.push(format!("{now} {state:?} + {event:?}"));
            in_flight &= !matches!(event, On::Succeeded | On::TryFailed(_));
            let (next, commands) = retry::apply(state.clone(), event.clone(), now, &limits);
            let details = || format!("seed {seed}: {story:#?} -> {next:?} {commands:?}");
            assert!(!state.is_over() || (next == state && commands.is_empty()), "{}", details());
            for command in &commands {
                match command {
                    Do::Try => assert!(!std::mem::replace(&mut in_flight, true), "{}", details()),
                    Do::ReportDone | Do::ReportFailed(_) => last_words += 1,
                    Do::ReportDelay { .. } => {}
                }
            }
            assert_eq!(
                last_words,
                u32::from(matches!(next, Is::Done | Is::Failed(_))),
                "the last word, once: {}",
                details()
            );
            match next {
                Is::Trying { .. } => assert!(in_flight, "{}", details()),
                Is::Resting { again_at, until, .. } => {
                    assert!(next.wakes_at() == Some(again_at) && again_at < until, "{}", details());
                    let (after, _) = retry::apply(next.clone(), On::TimePassed, again_at.max(now), &limits);
                    assert_ne!(after, next, "an alarm that rang rings again: {}", details());
                }
                Is::Waiting | Is::Done | Is::Failed(_) | Is::Dropped => {}
            }
            state = next;
        }
    }
}
