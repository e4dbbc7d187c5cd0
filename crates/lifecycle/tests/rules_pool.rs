//! Tests rules that hold for every pool, whatever happens to it.

mod common;

use common::*;
use dropmill_lifecycle::{
    Code, Elapsed, Failure,
    pool::{self, Nodes, PoolCommand as Do, PoolEvent as On, PoolLimits, PoolState as Is, PoolView},
};

fn limits() -> PoolLimits {
    PoolLimits {
        allocation: secs(600),
        start_task: secs(300),
        unusable: secs(1000),
        deletion: secs(120),
        look_every: secs(2),
        watch_every: secs(15),
        resize_every: secs(60),
        delays: three_tries(),
    }
}

fn apply(state: Is, event: On, now: Elapsed) -> pool::Step {
    pool::apply(state, event, now, &limits())
}

fn check(state: &Is, event: On, now: Elapsed, next: &Is, commands: &[Do]) {
    let details = format!("{state:?} + {event:?} at {now}");
    assert_eq!(apply(state.clone(), event, now), (next.clone(), commands.to_vec()), "{details}");
}

fn creating(attempt: u32, maybe_applied: bool) -> Is {
    Is::Creating { attempt, maybe_applied, until: at(600) }
}

fn starting(allocated: bool, ready: u32) -> Is {
    Is::Starting { allocated, ready, look_at: at(700), resize_at: at(60), until: at(600), dead_at: None }
}

fn deleting(now: u64) -> Is {
    Is::Deleting { looks: 0, again_at: at(now + 2), until: at(now + 120) }
}

fn view(steady: bool, present: u32, ready: u32) -> PoolView {
    PoolView { steady, target: 3, present, ready, ..PoolView::default() }
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
        if matches!(state, Is::Steady { .. }) {
            return (state, now, done);
        }
    }
    panic!("no end in sight: {state:?} at {now}");
}

#[test]
fn startup_ends_at_its_deadline_and_not_before() {
    for (allocated, which, code) in
        [(false, "allocation", "AllocationTimedOut"), (true, "start_task", "StartTaskTimedOut")]
    {
        let state = starting(allocated, 0);
        check(&state, On::TimePassed, Elapsed(599_999), &state, &[]);
        let (next, commands) = apply(state, On::TimePassed, at(600));
        assert_eq!(next, Is::Lost);
        let [Do::ReportDeadline(said), Do::ReportLost(failure)] = &commands[..] else {
            panic!("{commands:?}")
        };
        assert_eq!((*said, failure.code.as_str()), (which, code));
    }
}

#[test]
fn a_deadline_with_some_ready_nodes_continues_with_them_and_reports_it() {
    let (next, commands) = apply(starting(false, 2), On::TimePassed, at(600));
    assert_eq!(next, Is::Steady { ready: 2, look_at: at(615), dead_at: None });
    assert!(
        matches!(
            &commands[..],
            [Do::ReportDeadline("allocation"), Do::ReportDegraded(_), Do::ReportReady { nodes: 2 }]
        ),
        "{commands:?}"
    );
}

#[test]
fn start_tasks_have_their_own_timeout_from_the_allocation_of_all_nodes() {
    let (next, _) = apply(starting(false, 0), On::Seen(view(true, 3, 0)), at(590));
    let Is::Starting { allocated: true, until, .. } = next else { panic!("{next:?}") };
    assert_eq!(until, at(890));
    // A second poll does not extend it.
    let (next, _) = apply(next, On::Seen(view(true, 3, 1)), at(700));
    assert!(matches!(next, Is::Starting { until, .. } if until == at(890)), "{next:?}");
}

#[test]
fn a_transient_failure_of_the_creation_waits_for_the_table_and_retry_after() {
    for (attempt, failure, again_at) in [
        (1, busy(), 11),
        (2, busy(), 14),
        (1, busy_for(30), 40),
        (2, busy_for(2), 14),
        (1, maybe_applied(), 11),
    ] {
        let (next, commands) = apply(creating(attempt, false), On::CreateFailed(failure.clone()), at(10));
        let Is::Resting { again_at: moment, .. } = next else { panic!("{next:?}") };
        assert_eq!(moment, at(again_at), "{attempt} {failure:?}");
        assert!(matches!(&commands[..], [Do::ReportDelay { .. }]), "{commands:?}");
    }
}

#[test]
fn a_delay_ends_at_its_time_and_not_before() {
    let rest = Is::Resting { attempt: 1, maybe_applied: true, again_at: at(20), until: at(600) };
    check(&rest, On::TimePassed, Elapsed(19_999), &rest, &[]);
    check(&rest, On::TimePassed, at(20), &creating(2, true), &[Do::Create]);
}

#[test]
fn a_creation_fails_when_rejected_or_out_of_attempts_or_out_of_time() {
    let late = Is::Creating { attempt: 1, maybe_applied: false, until: at(11) };
    for (state, failure) in
        [(creating(1, false), refused()), (creating(3, false), busy()), (late, busy_for(1))]
    {
        check(
            &state,
            On::CreateFailed(failure.clone()),
            at(10),
            &Is::NeverCreated,
            &[Do::ReportLost(failure)],
        );
    }
}

#[test]
fn a_pool_that_may_have_been_created_is_never_reported_as_never_created() {
    // An ambiguous attempt is remembered in every later one, however that ends.
    let (rest, _) = apply(creating(1, false), On::CreateFailed(maybe_applied()), at(0));
    let (again, _) = apply(rest.clone(), On::TimePassed, at(1));
    assert_eq!(again, creating(2, true));
    for last in [refused(), maybe_applied()] {
        let state = creating(3, true);
        check(&state, On::CreateFailed(last.clone()), at(9), &Is::Lost, &[Do::ReportLost(last)]);
    }
    for state in [rest, again, Is::Lost] {
        check(&state, On::EndAsked, at(9), &deleting(9), &[Do::Delete]);
    }
}

#[test]
fn cancel_while_creating_still_deletes_what_may_exist() {
    check(&creating(1, false), On::EndAsked, at(5), &deleting(5), &[Do::Delete]);
    // The late response to the creation does not restore the pool.
    for late in [On::Created, On::CreateFailed(busy()), On::CreateFailed(refused())] {
        check(&deleting(5), late, at(6), &deleting(5), &[]);
    }
}

#[test]
fn a_pool_that_was_never_created_is_not_deleted() {
    let rest = Is::Resting { attempt: 1, maybe_applied: false, again_at: at(20), until: at(600) };
    for state in [Is::Absent, Is::NeverCreated, rest] {
        for event in [On::EndAsked, On::Released] {
            check(&state, event, at(5), &Is::Gone, &[Do::ReportGone]);
        }
    }
}

#[test]
fn missing_nodes_are_requested_again_after_a_delay_and_only_while_the_pool_is_steady() {
    let state = starting(false, 1);
    for (now, seen, asks) in [
        (59, view(true, 2, 1), false),
        (60, view(true, 2, 1), true),
        (60, view(false, 2, 1), false),
        (60, view(true, 3, 1), false),
    ] {
        let (next, commands) = apply(state.clone(), On::Seen(seen.clone()), at(now));
        assert_eq!(commands.contains(&Do::Resize), asks, "{seen:?} at {now}");
        if asks {
            assert!(matches!(next, Is::Starting { resize_at, .. } if resize_at == at(now + 60)), "{next:?}");
        }
    }
}

#[test]
fn nodes_removed_by_another_client_are_requested_again_at_once() {
    let seen = |steady, shrunk| PoolView { shrunk, ..view(steady, 0, 0) };
    for state in [starting(false, 0), Is::Steady { ready: 0, look_at: at(900), dead_at: None }] {
        for (seen, asks) in [(seen(true, true), true), (seen(false, true), false), (seen(true, false), false)]
        {
            let (next, commands) = apply(state.clone(), On::Seen(seen.clone()), at(10));
            assert_eq!(commands, if asks { vec![Do::Resize] } else { vec![] }, "{state:?} {seen:?}");
            assert_eq!(std::mem::discriminant(&next), std::mem::discriminant(&state));
        }
    }
}

#[test]
fn a_pool_is_ready_when_every_node_has_a_final_state_and_one_is_usable() {
    let failed = |ready, start_task_failed| PoolView { start_task_failed, ..view(true, 3, ready) };
    for (seen, ready) in [
        (view(true, 3, 3), Some(3)),
        (failed(1, 2), Some(1)),
        (failed(1, 1), None),
        (view(true, 3, 2), None),
        (view(false, 3, 3), None),
        (view(true, 2, 2), None),
    ] {
        let (next, commands) = apply(starting(false, 0), On::Seen(seen.clone()), at(10));
        let details = commands.iter().find_map(|command| match command {
            Do::ReportReady { nodes } => Some(*nodes),
            _ => None,
        });
        assert_eq!(details, ready, "{seen:?}");
        assert_eq!(matches!(next, Is::Steady { .. }), ready.is_some(), "{seen:?}");
        let degraded = commands.iter().any(|command| matches!(command, Do::ReportDegraded(_)));
        assert_eq!(degraded, ready.is_some_and(|ready| ready < 3), "{seen:?}");
    }
}

#[test]
fn a_pool_without_usable_nodes_is_lost_at_once_unless_nodes_may_recover() {
    let dead = |start_task_failed, unusable, present, ready| PoolView {
        start_task_failed,
        unusable,
        ..view(true, present, ready)
    };
    for (seen, code) in [
        (dead(3, 0, 3, 0), Some("StartTaskFailed")),
        // Unusable nodes may recover.
        (dead(1, 2, 3, 0), None),
        (dead(0, 3, 3, 0), None),
        (dead(2, 0, 3, 0), None),
        (dead(2, 0, 3, 1), None),
        (dead(2, 0, 2, 0), None),
        (PoolView { steady: false, ..dead(3, 0, 3, 0) }, None),
    ] {
        for state in [starting(false, 0), Is::Steady { ready: 0, look_at: at(900), dead_at: None }] {
            let (next, commands) = apply(state.clone(), On::Seen(seen.clone()), at(10));
            let details: Option<&Failure> = commands.iter().find_map(|command| match command {
                Do::ReportLost(failure) => Some(failure),
                _ => None,
            });
            assert_eq!(details.map(|failure| failure.code.as_str()), code, "{state:?} {seen:?}");
            assert_eq!(next == Is::Lost, code.is_some(), "{state:?} {seen:?}");
        }
    }
}

#[test]
fn a_pool_with_only_unusable_nodes_is_lost_after_the_timeout() {
    let unusable = |spot_unusable| PoolView { unusable: 3, spot_unusable, ..view(true, 3, 0) };
    for (spot, patience) in [(false, 1000), (true, 2000)] {
        for state in [starting(true, 0), Is::Steady { ready: 3, look_at: at(20), dead_at: None }] {
            let (waiting, details) = apply(state.clone(), On::Seen(unusable(spot)), at(10));
            assert!(
                matches!(&details[..], [Do::ReportDegraded(said)] if said.contains("waiting for them to recover")),
                "{state:?} {details:?}"
            );
            // It is reported once, and the timeout does not start again; no other deadline ends it meanwhile.
            let (waiting, details) = apply(waiting, On::Seen(unusable(spot)), at(700));
            assert_eq!(details, [], "{state:?}");
            let (waiting, details) = apply(waiting, On::TimePassed, at(9 + patience));
            assert_eq!(details, [Do::Look], "{state:?}");
            // They recover, and later failures have a new timeout.
            let (recovered, _) = apply(waiting.clone(), On::Seen(view(true, 3, 3)), at(900));
            assert!(matches!(recovered, Is::Steady { ready: 3, dead_at: None, .. }), "{recovered:?}");
            let (lost, details) = apply(waiting, On::TimePassed, at(10 + patience));
            assert_eq!(lost, Is::Lost, "{state:?}");
            assert!(
                matches!(&details[..], [Do::ReportLost(why)] if why.code == Code::NodesUnusable),
                "{details:?}"
            );
        }
    }
}

#[test]
fn a_pool_deleted_by_another_client_is_lost_and_reported() {
    for state in [starting(false, 0), Is::Steady { ready: 3, look_at: at(20), dead_at: None }] {
        let (next, commands) = apply(state, On::FoundMissing, at(10));
        assert_eq!(next, Is::Lost);
        assert!(
            matches!(&commands[..], [Do::ReportLost(failure)] if failure.code == Code::PoolNotFound),
            "{commands:?}"
        );
    }
}

#[test]
fn fewer_ready_nodes_are_reported_once_not_at_every_poll() {
    let steady = Is::Steady { ready: 3, look_at: at(20), dead_at: None };
    let (fewer, commands) = apply(steady, On::Seen(view(true, 3, 1)), at(10));
    assert!(matches!(&commands[..], [Do::ReportDegraded(_)]), "{commands:?}");
    let (_, commands) = apply(fewer, On::Seen(view(true, 3, 1)), at(11));
    assert_eq!(commands, []);
}

#[test]
fn polls_of_a_deleted_pool_have_growing_intervals() {
    let (_, _, done) = in_silence(deleting(0), at(0));
    let looks: Vec<_> = done.iter().map(|(moment, _)| moment.0 / 1000).take(7).collect();
    assert_eq!(looks, [2, 4, 8, 16, 31, 46, 61]);
}

#[test]
fn a_lost_deletion_request_is_repeated_even_if_no_poll_succeeds() {
    let (failed, commands) = apply(deleting(0), On::DeleteFailed(busy()), at(1));
    assert_eq!(commands, []);
    let (_, _, done) = in_silence(failed, at(1));
    // The first action after the delay of 1 s is the request itself, not a poll, which might fail as well.
    assert_eq!(done.first(), Some(&(at(2), Do::Delete)));
    // An accepted request is repeated too, only later, because accepted does not mean carried out.
    let (_, _, done) = in_silence(deleting(0), at(0));
    assert!(done.iter().any(|(_, command)| *command == Do::Delete), "{done:?}");
}

#[test]
fn a_poll_that_finds_the_pool_requests_nothing() {
    for looks in [0, 1, 7, 8, 16] {
        let state = Is::Deleting { looks, again_at: at(20), until: at(120) };
        check(&state, On::Seen(view(true, 3, 3)), at(10), &state, &[]);
    }
}

#[test]
fn a_pool_that_is_not_deleted_by_the_deadline_is_reported_as_left() {
    let (end, when, done) = in_silence(deleting(0), at(0));
    assert_eq!((end, when), (Is::Left, at(120)));
    let last: Vec<_> = done.iter().rev().take(2).map(|(_, command)| command).collect();
    assert!(matches!(last[..], [Do::ReportLeft(_), Do::ReportDeadline("cleanup")]), "{last:?}");
    let (refused, commands) = apply(deleting(0), On::DeleteFailed(refused()), at(1));
    assert_eq!((refused, commands), (Is::Left, vec![Do::ReportLeft("no".into())]));
}

#[test]
fn a_released_pool_is_kept_without_further_requests() {
    for state in [
        creating(1, false),
        starting(true, 1),
        Is::Steady { ready: 1, look_at: at(9), dead_at: None },
        Is::Lost,
    ] {
        let (next, commands) = apply(state, On::Released, at(5));
        assert_eq!(next, Is::Left);
        assert!(matches!(&commands[..], [Do::ReportLeft(_)]), "{commands:?}");
    }
}

#[test]
fn the_final_report_is_sent_once_however_often_the_end_is_requested() {
    for state in [Is::Gone, Is::Left] {
        for event in [On::EndAsked, On::Released, On::FoundMissing, On::TimePassed, On::Created, On::Wanted] {
            check(&state, event, at(5), &state, &[]);
        }
    }
}

fn some_event(dice: &mut Dice) -> On {
    let fails = |dice: &mut Dice| dice.pick(&[busy(), maybe_applied(), refused(), busy_for(20)]).clone();
    match dice.below(14) {
        0 | 1 => On::Wanted,
        2 => On::Created,
        3 => On::CreateFailed(fails(dice)),
        4..=6 => On::Seen(PoolView {
            steady: dice.below(2) == 0,
            target: 3,
            present: dice.below(4),
            ready: dice.below(4),
            start_task_failed: dice.below(4),
            unusable: dice.below(2),
            ..PoolView::default()
        }),
        7 => On::LookFailed(fails(dice)),
        8 if dice.below(4) == 0 => On::FoundMissing,
        9 if dice.below(4) == 0 => On::EndAsked,
        10 if dice.below(8) == 0 => On::Released,
        11 => On::DeleteFailed(fails(dice)),
        _ => On::TimePassed,
    }
}

#[test]
fn no_random_walk_forgets_a_pool_or_waits_for_ever() {
    for seed in 0..WALKS {
        let dice = &mut Dice::of(seed);
        let (mut state, mut now, mut said, mut story) = (Is::Absent, at(0), vec![], vec![]);
        // Whether the service may have the pool.
        let mut may_exist = false;
        for _ in 0..STEPS {
            now = dice.moment(now, state.wakes_at());
            let event = some_event(dice);
            story.push(format!("{now} {state:?} + {event:?}"));
            let (next, commands) = apply(state.clone(), event.clone(), now);
            let details = || format!("seed {seed}: {story:#?} -> {next:?} {commands:?}");
            if matches!(state, Is::Gone | Is::Left) {
                assert_eq!((&next, &commands[..]), (&state, &[][..]), "{}", details());
            }
            match (&state, &event) {
                (Is::Creating { .. }, On::Created | On::EndAsked | On::Released) => may_exist = true,
                (Is::Creating { .. }, On::CreateFailed(failure)) if *failure == maybe_applied() => {
                    may_exist = true
                }
                (Is::Deleting { .. }, On::FoundMissing) => may_exist = false,
                _ => {}
            }
            let changed = std::mem::discriminant(&state) != std::mem::discriminant(&next);
            let asked = |command: &Do| commands.contains(command);
            let lost = commands.iter().any(|command| matches!(command, Do::ReportLost(_)));
            match &next {
                Is::Creating { .. } if changed => assert!(asked(&Do::Create), "{}", details()),
                Is::Deleting { .. } if changed => assert!(asked(&Do::Delete), "{}", details()),
                Is::Lost | Is::NeverCreated if changed => assert!(lost, "{}", details()),
                Is::Gone if changed => assert!(asked(&Do::ReportGone) && !may_exist, "{}", details()),
                Is::Absent | Is::Creating { .. } | Is::Lost | Is::NeverCreated | Is::Gone | Is::Left => {}
                _ => assert!(next.wakes_at().is_some(), "{}", details()),
            }
            said.extend(commands);
            state = next;
            // After the end is requested here, the alarms alone reach the final state.
            let (ending, _) = apply(state.clone(), On::EndAsked, now);
            let (end, when, _) = in_silence(ending, now);
            assert!(matches!(end, Is::Gone | Is::Left), "seed {seed}: {story:#?} {end:?}");
            assert!(when <= now + secs(240), "seed {seed}: {story:#?} only at {when}");
        }
        let times = |wanted: fn(&Do) -> bool| said.iter().filter(|command| wanted(command)).count();
        assert!(times(|command| matches!(command, Do::ReportGone | Do::ReportLeft(_))) <= 1, "{story:#?}");
        assert!(times(|command| matches!(command, Do::ReportLost(_))) <= 1, "{story:#?}");
        assert!(times(|command| matches!(command, Do::ReportReady { .. })) <= 1, "{story:#?}");
        assert!(times(|command| matches!(command, Do::ReportCreated)) <= 1, "{story:#?}");
    }
}

#[test]
fn work_requests_as_many_nodes_as_it_can_use_up_to_the_maximum() {
    let most = Nodes { dedicated: 2, spot: 3 };
    for (tasks, slots, dedicated, spot) in
        [(0, 1, 1, 0), (1, 1, 1, 0), (2, 1, 2, 0), (3, 1, 2, 1), (9, 1, 2, 3), (9, 4, 2, 1), (1, 0, 1, 0)]
    {
        assert_eq!(most.for_tasks(tasks, slots), Nodes { dedicated, spot }, "{tasks} tasks, {slots} slots");
    }
    assert_eq!(Nodes { dedicated: 0, spot: 3 }.for_tasks(2, 1), Nodes { dedicated: 0, spot: 2 });
}

#[test]
fn a_growing_pool_requests_nodes_at_once_with_a_new_timeout() {
    let grown = |now: u64, ready| Is::Starting {
        allocated: false,
        ready,
        look_at: at(now + 2),
        resize_at: at(now + 60),
        until: at(now + 600),
        dead_at: None,
    };
    check(
        &Is::Steady { ready: 1, look_at: at(5000), dead_at: None },
        On::Grown,
        at(1000),
        &grown(1000, 1),
        &[Do::Resize],
    );
    check(&starting(true, 0), On::Grown, at(100), &grown(100, 0), &[Do::Resize]);
    // Before its creation, it is created with the new number; while it ends, it does not grow.
    for state in [Is::Absent, creating(1, false), Is::Lost, deleting(10), Is::Gone] {
        check(&state, On::Grown, at(20), &state, &[]);
    }
    // A working node continues while others start, and they have the same timeout as the first ones.
    let (state, details) = apply(grown(1000, 1), On::Seen(view(true, 1, 1)), at(1001));
    assert_eq!((state, details), (grown(1000, 1), vec![]));
    let (state, details) = apply(grown(1000, 1), On::Seen(view(true, 3, 3)), at(1001));
    assert_eq!(
        (state, details),
        (Is::Steady { ready: 3, look_at: at(1016), dead_at: None }, vec![Do::ReportReady { nodes: 3 }])
    );
    let (_, details) = apply(grown(1000, 1), On::TimePassed, at(1600));
    assert!(details.contains(&Do::ReportDeadline("allocation")), "{details:?}");
}
