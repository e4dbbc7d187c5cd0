//! Runs in virtual time with the real actors, client and service, and a fake runner.

mod common;

use common::{plan, secs, work};
use dropmill_local_azure::runner::Pretend;
use dropmill_test_kit::{Scenario, Simulation};

#[test]
fn success() {
    let run = Simulation::of(plan(7)).script(|_| work(60)).run();
    insta::assert_snapshot!("success", run.trace());
    insta::assert_snapshot!("success_outline", run.outline());
    assert_eq!(run.files["task-6/lines.txt"], b"3\n");
    assert_eq!(run.files.len(), 21);
}

#[test]
fn the_same_run_has_the_same_trace_and_notifications_change_only_its_time() {
    let run = |hints| Simulation::of(plan(20)).hints(hints).script(|_| work(30)).run();
    let (one, other) = (run(false), run(false));
    assert_eq!(one.trace(), other.trace());
    assert_eq!(one.outline(), run(true).outline());
}

#[test]
fn a_failing_task() {
    let script = |launch: &dropmill_local_azure::orders::Launch| {
        let fails = launch.directory.ends_with("task-1");
        Pretend { exit_code: if fails { 3 } else { 0 }, stderr: "wrong\n".into(), ..work(60) }
    };
    let run = Simulation::of(plan(3)).script(script).run();
    insta::assert_snapshot!("a_failing_task", run.outline());
}

#[test]
fn a_start_task_that_fails() {
    let mut plan = plan(3);
    plan.pool.start_task = Some("/bin/prepare".into());
    let script = |launch: &dropmill_local_azure::orders::Launch| match launch.directory.as_str() {
        "startup" => Pretend { exit_code: 7, stderr: "no licence\n".into(), ..work(5) },
        _ => work(60),
    };
    let run = Simulation::of(plan).script(script).run();
    insta::assert_snapshot!("a_start_task_that_fails", run.trace());
}

#[test]
fn a_task_that_exceeds_its_time_limit() {
    let mut plan = plan(2);
    plan.job.task_timeout = Some(secs(90));
    let script = |launch: &dropmill_local_azure::orders::Launch| {
        work(if launch.directory.ends_with("task-1") { 100_000 } else { 60 })
    };
    let run = Simulation::of(plan).script(script).run();
    insta::assert_snapshot!("a_task_that_exceeds_its_time_limit", run.trace());
}

#[test]
fn a_run_that_reaches_its_deadline() {
    let script = |launch: &dropmill_local_azure::orders::Launch| {
        work(if launch.directory.ends_with("task-0") { 60 } else { 100_000 })
    };
    let run = Simulation::of(plan(5)).script(script).run();
    insta::assert_snapshot!("a_run_that_reaches_its_deadline", run.trace());
}

#[test]
fn cancellation() {
    let script = |launch: &dropmill_local_azure::orders::Launch| {
        work(if launch.directory.ends_with("task-0") { 60 } else { 100_000 })
    };
    let run = Simulation::of(plan(5)).script(script).cancel_after(secs(300)).run();
    insta::assert_snapshot!("cancellation", run.trace());
}

#[test]
fn a_pool_that_never_boots() {
    let run = Simulation::of(plan(2)).boot(secs(1_000_000)).run();
    insta::assert_snapshot!("a_pool_that_never_boots", run.trace());
}

#[test]
fn finished_results_are_downloaded_at_the_end_even_if_polls_fail() {
    let blind = "[[fault]]\non = [\"list tasks\"]\ndo = \"status\"\nstatus = 503\ncode = \"ServerBusy\"\n\
                 from = \"100s\"\nuntil = \"160s\"";
    let scenario = Scenario::parse(blind).unwrap();
    let run = Simulation::of(plan(3)).scenario(scenario).script(|_| work(60)).cancel_after(secs(130)).run();
    assert_eq!(run.files.len(), 9, "{}", run.outline());
    assert_eq!(run.report.tasks.succeeded, 3, "{}", run.outline());
}
