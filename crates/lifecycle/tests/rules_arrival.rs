//! Tests rules that hold for every file of a drop folder, whatever happens to it.

mod common;

use common::*;
use dropmill_lifecycle::{
    Elapsed,
    arrival::{
        self, ArrivalCommand as Do, ArrivalEvent as On, ArrivalLimits, ArrivalState as Is, Closing,
        FileSnapshot, Outcome,
    },
};

fn limits() -> ArrivalLimits {
    ArrivalLimits { stable_for: secs(2), tries: 3, delays: three_tries() }
}

fn look(size_bytes: u64) -> FileSnapshot {
    FileSnapshot { size_bytes, modified_ns: 7, inode: 1 }
}

fn looked(size_bytes: u64) -> On {
    On::Looked { look: look(size_bytes), whole: false }
}

fn check(state: &Is, event: On, now: Elapsed, next: &Is, commands: &[Do]) {
    let details = format!("{state:?} + {event:?} at {now}");
    assert_eq!(
        arrival::apply(state.clone(), event, now, &limits()),
        (next.clone(), commands.to_vec()),
        "{details}"
    );
}

#[test]
fn a_file_is_claimed_when_two_checks_found_no_change() {
    let seen = Is::first(look(5), at(10));
    assert_eq!(seen.wakes_at(&limits()), Some(at(12)));
    check(&seen, looked(5), at(11), &seen, &[]);
    check(&seen, looked(6), at(12), &Is::Seen { look: look(6), since: at(12) }, &[]);
    check(&seen, looked(5), at(12), &Is::Settled { look: look(5) }, &[Do::Queue]);
    let whole = On::Looked { look: look(5), whole: true };
    check(&seen, whole, at(10), &Is::Settled { look: look(5) }, &[Do::Queue]);
    // Another file with its name is another file.
    let other = FileSnapshot { inode: 2, ..look(5) };
    check(&seen, On::Looked { look: other, whole: false }, at(20), &Is::first(other, at(20)), &[]);
    check(&Is::Settled { look: look(5) }, looked(9), at(30), &Is::first(look(9), at(30)), &[]);
    check(&seen, On::Gone, at(11), &Is::Over, &[]);
}

#[test]
fn a_file_changed_after_the_claim_is_not_delivered_but_processed_again_when_stable() {
    let failed = Outcome::Failed { cause: "exit code 1".into() };
    for outcome in [Outcome::Done, failed, Outcome::Duplicate] {
        let publishing = Is::Publishing { outcome, attempt: 2 };
        let unsettled = Is::Unsettled { look: look(9), since: at(10) };
        check(&publishing, On::Changed(look(9)), at(10), &unsettled, &[Do::ReportChanged]);
    }
    let unsettled = Is::Unsettled { look: look(9), since: at(10) };
    assert_eq!(unsettled.wakes_at(&limits()), Some(at(12)));
    check(&unsettled, On::TimePassed, at(11), &unsettled, &[]);
    check(&unsettled, On::TimePassed, at(12), &unsettled, &[Do::Check]);
    check(&unsettled, looked(9), at(12), &Is::Working { attempt: 1 }, &[Do::Resubmit]);
    check(&unsettled, looked(10), at(12), &Is::Unsettled { look: look(10), since: at(12) }, &[]);
    check(&unsettled, looked(9), at(11), &unsettled, &[]);
    check(&unsettled, On::Gone, at(12), &Is::Over, &[Do::ReportWithdrawn]);
    let failed = Outcome::Failed { cause: "it holds a link".into() };
    let publishing = Is::Publishing { outcome: failed.clone(), attempt: 1 };
    check(&unsettled, On::Unreadable("it holds a link".into()), at(12), &publishing, &[Do::Publish(failed)]);
}

#[test]
fn a_snapshot_can_be_parsed_from_the_record() {
    let look = FileSnapshot { size_bytes: 5, modified_ns: -7, inode: u64::MAX };
    assert_eq!(look.to_string().parse(), Ok(look));
    for torn in ["", "5", "5/7", "5/x/1", "-5/7/1"] {
        assert_eq!(torn.parse::<FileSnapshot>(), Err(()), "{torn}");
    }
}

#[test]
fn it_is_moved_only_after_the_intent_is_durable_and_submitted_only_after_the_move() {
    let settled = Is::Settled { look: look(5) };
    let intended = Is::Intended { look: look(5) };
    check(&settled, On::Room, at(1), &intended, &[Do::Intend]);
    check(&intended, On::Durable, at(1), &intended, &[Do::Take]);
    check(&intended, On::Taken, at(1), &Is::Working { attempt: 1 }, &[Do::Submit]);
    let known = Is::Publishing { outcome: Outcome::Duplicate, attempt: 1 };
    check(&intended, On::Known(Outcome::Duplicate), at(1), &known, &[Do::Publish(Outcome::Duplicate)]);
    check(&intended, On::NotTaken(refused()), at(1), &Is::Over, &[Do::ReportWithdrawn]);
}

#[test]
fn a_task_that_failed_has_failed_and_one_that_never_ran_is_retried() {
    let working = |attempt| Is::Working { attempt };
    let done = Is::Publishing { outcome: Outcome::Done, attempt: 1 };
    check(&working(1), On::Closed(Closing::Succeeded), at(1), &done, &[Do::Publish(Outcome::Done)]);
    let outcome = Outcome::Failed { cause: "exit code 3".into() };
    let failed = Is::Publishing { outcome: outcome.clone(), attempt: 1 };
    check(
        &working(1),
        On::Closed(Closing::Failed("exit code 3".into())),
        at(1),
        &failed,
        &[Do::Publish(outcome)],
    );
    let (state, commands) =
        arrival::apply(working(1), On::Closed(Closing::Untried("no pool".into())), at(1), &limits());
    let Is::Returning { attempt: 1, again_at } = state else { panic!("{state:?}") };
    assert!(matches!(&commands[..], [Do::ReportDelay { attempt: 1, .. }]), "{commands:?}");
    check(&state, On::TimePassed, again_at, &working(2), &[Do::Resubmit]);
    // A temporary reason is never a failure of the file. Its own failure has a limited number of attempts.
    let untried = On::Closed(Closing::Untried("no pool".into()));
    assert!(matches!(arrival::apply(working(99), untried, at(1), &limits()).0, Is::Returning { .. }));
    let refused = || On::Closed(Closing::Refused("input not uploaded".into()));
    assert!(matches!(arrival::apply(working(2), refused(), at(1), &limits()).0, Is::Returning { .. }));
    let (state, _) = arrival::apply(working(3), refused(), at(1), &limits());
    assert!(matches!(state, Is::Publishing { outcome: Outcome::Failed { .. }, .. }), "{state:?}");
}

#[test]
fn the_publication_of_a_result_is_retried_without_end() {
    let mut state = Is::Publishing { outcome: Outcome::Done, attempt: 1 };
    for number in 1..50 {
        let failure = if number % 2 == 0 { busy() } else { refused() };
        let (rest, _) = arrival::apply(state, On::PublishFailed(failure), at(number), &limits());
        let again_at = rest.wakes_at(&limits()).unwrap();
        let (again, commands) = arrival::apply(rest, On::TimePassed, again_at, &limits());
        assert_eq!(commands, [Do::Publish(Outcome::Done)]);
        state = again;
    }
    check(&state, On::Published, at(99), &Is::Over, &[]);
}
