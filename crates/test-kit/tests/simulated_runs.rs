//! Runs in virtual time: the real actors, client and service, a runner that pretends.
#![allow(clippy::unwrap_used)]

use dropmill_lifecycle::{delays::Delays, plan::*};
use dropmill_local_azure::runner::Pretend;
use dropmill_test_kit::Simulation;
use std::{collections::BTreeMap, time::Duration};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A plan of tasks without inputs, made by hand.
fn plan(tasks: u32) -> RunPlan {
    let item = |index: u32| Item {
        index,
        task: format!("task-{index}"),
        relative: format!("task-{index}"),
        source: None,
        file_name: String::new(),
        size_bytes: 0,
        command_line: "/bin/work".into(),
        environment: vec![],
        result_folder: format!("task-{index}"),
    };
    RunPlan {
        run: "lines-20260101-000000-abcdef".into(),
        name: "lines".into(),
        service: "embedded".into(),
        application: vec![],
        items: (0..tasks).map(item).collect(),
        pool: PoolPlan {
            id: "lines-20260101-000000-abcdef".into(),
            own: true,
            nodes: 3,
            spot_nodes: 0,
            slots_per_node: 1,
            vm_size: "STANDARD_D2S_V3".into(),
            image: BTreeMap::new(),
            node_agent: "batch.node.ubuntu 22.04".into(),
            start_task: None,
            start_task_retries: 0,
            fingerprint: "f".into(),
        },
        job: JobPlan {
            id: "lines-20260101-000000-abcdef".into(),
            priority: 0,
            outputs: vec!["*.txt".into()],
            max_retries: 0,
            task_timeout: None,
            required_slots: 1,
        },
        output: OutputPlan {
            directory: "/results".into(),
            layout: Layout::ByInput,
            existing: Existing::KeepBoth,
        },
        cleanup: CleanupPlan { pool: When::Always, job: When::Always, containers: When::Always },
        deadlines: Deadlines {
            run: secs(3600),
            allocation: secs(900),
            start_task: secs(600),
            queue: None,
            upload: secs(600),
            delivery: secs(600),
            no_progress: None,
            cleanup: secs(600),
        },
        limits: Limits {
            uploads: 8,
            upload_bytes: 64 << 20,
            submissions: 4,
            fetches: 8,
            poll_every: secs(5),
            poll_at_most_every: Duration::from_millis(10),
            call_timeout: secs(30),
        },
        delays: Delays { steps: vec![secs(1), secs(2), secs(4)], for_ever: false },
    }
}

fn work(seconds: u64) -> Pretend {
    Pretend {
        duration: secs(seconds),
        outputs: vec![("lines.txt".into(), b"3\n".to_vec())],
        ..Pretend::default()
    }
}

#[test]
fn success() {
    let run = Simulation::of(plan(7)).script(|_| work(60)).run();
    insta::assert_snapshot!("success", run.trace());
    insta::assert_snapshot!("success_outline", run.outline());
    assert_eq!(run.files["task-6/lines.txt"], b"3\n");
    assert_eq!(run.files.len(), 21);
}

#[test]
fn the_same_run_tells_the_same_and_hints_change_only_the_time() {
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
fn a_task_that_outlives_its_limit() {
    let mut plan = plan(2);
    plan.job.task_timeout = Some(secs(90));
    let script = |launch: &dropmill_local_azure::orders::Launch| {
        work(if launch.directory.ends_with("task-1") { 100_000 } else { 60 })
    };
    let run = Simulation::of(plan).script(script).run();
    insta::assert_snapshot!("a_task_that_outlives_its_limit", run.trace());
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
