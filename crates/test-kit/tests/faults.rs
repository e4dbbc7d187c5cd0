//! Injects each kind of fault and incident into a whole run, and checks its effect and every rule.
#![allow(clippy::unwrap_used)]

mod common;

use common::{plan, secs, work};
use dropmill_azure_wire::transport::{RequestBody, ResponseBody, Transport, TransportError};
use dropmill_journal::event::{EventKind, Outcome};
use dropmill_test_kit::{Scenario, Simulated, Simulation, crash::CrashPoint, oracle};
use futures_util::future::BoxFuture;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

fn simulate(text: &str, spot: u32) -> Simulated {
    let mut plan = plan(6);
    plan.pool.nodes -= spot;
    plan.pool.spot_nodes = spot;
    plan.deadlines.run = secs(6 * 3600);
    let run = Simulation::of(plan).scenario(Scenario::parse(text).unwrap()).script(|_| work(1200)).run();
    assert_eq!(oracle::check(&run), [], "{text}\n{}", run.outline());
    run
}

fn count(run: &Simulated, wanted: impl Fn(&EventKind) -> bool) -> usize {
    run.events.iter().filter(|event| wanted(&event.kind)).count()
}

fn requeues(run: &Simulated) -> u32 {
    let endings = run.events.iter().filter_map(|event| match &event.kind {
        EventKind::TaskEnded(ending) => Some(ending.requeues),
        _ => None,
    });
    endings.sum()
}

#[test]
fn temporary_faults_fail_no_task() {
    // A scenario, the number of Spot nodes, the minimum number of injected faults, and the tasks that run
    // twice.
    for (text, spot, strikes, twice) in [
        ("[[incident]]\nat = \"0s\"\ndo = \"quota\"\nnodes = 1\nfor = \"10m\"", 0, 0, 0),
        ("[[incident]]\nat = \"0s\"\ndo = \"stall-resizes\"\nfor = \"5m\"", 0, 0, 0),
        ("[[incident]]\nat = \"10m\"\ndo = \"preempt-nodes\"\nnodes = 2\nfor = \"5m\"", 2, 0, 2),
        ("[[incident]]\nat = \"10m\"\ndo = \"preempt-nodes\"\nnodes = 1", 0, 0, 1),
        ("[[incident]]\nat = \"10m\"\ndo = \"break-nodes\"\nnodes = 2", 1, 0, 2),
        ("[[incident]]\nat = \"5m\"\ndo = \"move-clock\"\nahead = \"20m\"\nfor = \"5m\"", 0, 0, 0),
        ("[[incident]]\nat = \"5m\"\ndo = \"move-clock\"\nbehind = \"20m\"\nfor = \"5m\"", 0, 0, 0),
        ("[clock]\nahead = \"10m\"", 0, 0, 0),
        ("[[fault]]\non = [\"list tasks\", \"list nodes\", \"get pool\"]\ndo = \"stale\"", 0, 20, 0),
        ("[[fault]]\non = [\"list tasks\", \"list nodes\", \"list blobs\"]\ndo = \"repeat-items\"", 0, 20, 0),
        ("[[fault]]\non = [\"add tasks\"]\ndo = \"refuse-items\"\ntimes = 2", 0, 2, 0),
        ("[[fault]]\non = [\"deliver\"]\ndo = \"disk-full\"\ntimes = 3", 0, 3, 0),
        (
            "[[fault]]\non = [\"create container\"]\ndo = \"status\"\nstatus = 409\ncode = \"ContainerBeingDeleted\"\n\
             until = \"5s\"",
            0,
            1,
            0,
        ),
    ] {
        let run = simulate(text, spot);
        assert_eq!(run.report.tasks.succeeded, 6, "{text}\n{}", run.outline());
        assert!(run.struck.len() >= strikes, "{text}: {} strikes", run.struck.len());
        assert_eq!(requeues(&run), twice, "{text}\n{}", run.outline());
    }
}

#[test]
fn permanent_faults_are_reported() {
    // A scenario, the outcome of the run, the number of tasks that succeed, and a part of the outline.
    for (text, outcome, succeeded, said) in [
        (
            "[[incident]]\nat = \"0s\"\ndo = \"quota\"\nnodes = 0\ncode = \"AllocationFailed\"",
            Outcome::Deadline,
            0,
            "resize failed (AllocationFailed",
        ),
        ("[[incident]]\nat = \"0s\"\ndo = \"stall-resizes\"", Outcome::Deadline, 0, "no node was ready"),
        (
            "[[incident]]\nat = \"10m\"\ndo = \"break-nodes\"\nnodes = 3",
            Outcome::Infrastructure,
            0,
            "all nodes are unusable, and did not recover in time",
        ),
        ("[clock]\nahead = \"20m\"", Outcome::Infrastructure, 0, "this machine's clock is 20 min behind"),
        ("[clock]\nbehind = \"20m\"", Outcome::Infrastructure, 0, "this machine's clock is 20 min ahead"),
        (
            "[[fault]]\non = [\"store outputs\"]\nsubject = \"*/task-2/*\"\ndo = \"status\"\nstatus = 403",
            Outcome::TasksFailed,
            5,
            "FileUploadAccessDenied",
        ),
        (
            "[[fault]]\non = [\"deliver\"]\nsubject = \"task-2*\"\ndo = \"disk-fails\"",
            Outcome::TasksFailed,
            5,
            "Input/output error",
        ),
    ] {
        let run = simulate(text, 0);
        let outline = run.outline();
        assert_eq!(run.report.outcome, Some(outcome), "{text}\n{outline}");
        assert_eq!(run.report.tasks.succeeded, succeeded, "{text}\n{outline}");
        assert!(outline.contains(said), "{text}\n{outline}");
    }
}

#[test]
fn rejected_tasks_of_a_collection_are_added_again() {
    let text = "[[fault]]\non = [\"add tasks\"]\ndo = \"refuse-items\"\ntimes = 1";
    let run = simulate(text, 0);
    assert_eq!(count(&run, |event| matches!(event, EventKind::TaskSubmitted { adopted: false })), 6);
    let text = format!("{text}\nstatus = 400\ncode = \"InvalidPropertyValue\"");
    let run = simulate(&text, 0);
    assert_eq!((run.report.tasks.succeeded, run.report.tasks.failed), (3, 3), "{}", run.outline());
}

/// Counts the requests that create a container, a pool or a job.
struct Creations {
    inner: Arc<dyn Transport>,
    seen: [Arc<AtomicU32>; 3],
}

impl Transport for Creations {
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'static, Result<http::Response<ResponseBody>, TransportError>> {
        let (method, address) = (request.method().as_str(), request.uri().to_string());
        let path = request.uri().path();
        let is_one = [
            method == "PUT" && address.contains("restype=container"),
            method == "POST" && path == "/pools",
            method == "POST" && path == "/jobs",
        ];
        for (seen, is_one) in self.seen.iter().zip(is_one) {
            seen.fetch_add(u32::from(is_one), Ordering::Relaxed);
        }
        self.inner.send(request)
    }
}

/// A request that the network delivers after the end of the run would create a resource that remains.
#[test]
fn after_a_crash_nothing_is_created_that_is_recorded_as_created() {
    let whole = Simulation::of(plan(3)).script(|_| work(60)).run();
    let mut recorded_at_all = 0;
    for commit in 1..=whole.counts.commits {
        let seen: [Arc<AtomicU32>; 3] = Default::default();
        let counted = seen.clone();
        let run = Simulation::of(plan(3))
            .script(|_| work(60))
            .wire(move |inner| Arc::new(Creations { inner, seen: counted }))
            .crash_at(vec![CrashPoint::AfterCommit(commit)])
            .run();
        let resumed = |event: &EventKind| matches!(event, EventKind::RunResumed { .. });
        let before: Vec<_> = run.events.iter().take_while(|event| !resumed(&event.kind)).collect();
        let recorded = [
            before.iter().any(|event| matches!(event.kind, EventKind::ContainerReady {})),
            before.iter().any(|event| matches!(event.kind, EventKind::PoolCreated { .. })),
            before.iter().any(|event| matches!(event.kind, EventKind::JobCreated { .. })),
        ];
        for (what, (seen, recorded)) in ["container", "pool", "job"].iter().zip(seen.iter().zip(recorded)) {
            let seen = seen.load(Ordering::Relaxed);
            assert!(!recorded || seen == 1, "{what}: {seen} after commit {commit}\n{}", run.outline());
            recorded_at_all += u32::from(recorded);
        }
    }
    assert!(recorded_at_all > 6, "{recorded_at_all}");
}
