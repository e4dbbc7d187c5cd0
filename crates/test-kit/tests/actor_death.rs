//! A run whose actor crashes ends with the actor's name as the reason; pool and job are still deleted.

mod common;

use common::plan;
use dropmill_azure_wire::transport::{RequestBody, ResponseBody, Transport, TransportError};
use dropmill_journal::event::{EventKind, Outcome};
use dropmill_test_kit::Simulation;
use futures_util::future::BoxFuture;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Panics in the actor that sends the n-th request of a kind, to simulate an unknown defect.
struct Trap {
    inner: Arc<dyn Transport>,
    method: &'static str,
    path: &'static str,
    left: AtomicU32,
}

impl Transport for Trap {
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'static, Result<http::Response<ResponseBody>, TransportError>> {
        let address = request.uri().to_string();
        if request.method() == self.method
            && address.contains(self.path)
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            panic!("a trap, not a defect: {} {}", self.method, self.path);
        }
        self.inner.send(request)
    }
}

#[test]
fn a_run_whose_actor_crashes_names_the_actor_and_leaves_nothing() {
    // The request at which the actor panics, its number, and the actor.
    let traps = [
        ("PUT", "restype=container", 1, "storage_uploader"),
        ("POST", "/pools", 1, "pool_keeper"),
        ("GET", "/nodes", 1, "pool_keeper"),
        ("POST", "/jobs", 1, "job_submitter"),
        ("POST", "addtaskcollection", 1, "job_submitter"),
        ("GET", "/tasks", 1, "task_monitor"),
        ("GET", "/tasks", 2, "task_monitor"),
        ("GET", "comp=list", 1, "output_fetcher"),
        ("GET", "comp=list", 3, "output_fetcher"),
    ];
    for (method, path, nth, actor) in traps {
        let details = format!("{method} {path} {nth}");
        let simulated = Simulation::of(plan(6))
            .wire(move |inner| Arc::new(Trap { inner, method, path, left: AtomicU32::new(nth) }))
            .run();
        assert_eq!(simulated.report.outcome, Some(Outcome::Infrastructure), "{details}");
        let reason = simulated.report.reason.clone().unwrap();
        assert!(reason.contains(&format!("actor {actor} died")), "{details}: {reason}");
        let made = |wanted: fn(&EventKind) -> bool| {
            simulated.events.iter().filter(|event| wanted(&event.kind)).count()
        };
        let is_pool = made(|kind| matches!(kind, EventKind::PoolCreated { .. }));
        let gone = made(|kind| matches!(kind, EventKind::PoolDeleted {}));
        let left = simulated.report.left_behind.iter().map(|left| left.what.as_str());
        let left: Vec<_> = left.filter(|what| *what == "pool" || *what == "job").collect();
        // Deleted by its keeper. If the keeper crashed, the deletion is not recorded.
        assert!(is_pool == gone || actor == "pool_keeper", "{details}: {}", simulated.outline());
        assert_eq!(left, Vec::<&str>::new(), "{details}");
        assert_eq!(made(|kind| matches!(kind, EventKind::RunEnded { .. })), 1, "{details}");
    }
}

#[test]
fn an_actor_that_crashes_during_the_cleanup_is_replaced_at_once() {
    let traps = [
        ("DELETE", "/jobs", "job_submitter"),
        // The actor requested the deletion, and crashes when it polls for its end.
        ("GET", "/jobs/lines-20260101-000000-abcdef?", "job_submitter"),
        ("DELETE", "/pools", "pool_keeper"),
        ("DELETE", "restype=container", "storage_uploader"),
    ];
    for (method, path, actor) in traps {
        let simulated = Simulation::of(plan(3))
            .wire(move |inner| Arc::new(Trap { inner, method, path, left: AtomicU32::new(1) }))
            .run();
        let details = format!("{method} {path}: {}", simulated.outline());
        let lost = simulated.events.iter().find_map(|event| match &event.kind {
            EventKind::ActorLost { actor } => Some((actor.as_str(), event.elapsed_ms)),
            _ => None,
        });
        let Some((who, when)) = lost else { panic!("no actor crashed: {details}") };
        assert_eq!(who, actor, "{details}");
        // Every task had succeeded before; only the cleanup was left.
        assert_eq!(simulated.report.outcome, Some(Outcome::Succeeded), "{details}");
        assert_eq!(simulated.remains, Vec::<String>::new(), "{details}");
        assert!(simulated.report.left_behind.is_empty(), "{details}");
        let over = simulated.events.last().unwrap().elapsed_ms;
        assert!(over < when + 60_000, "it waited for a crashed actor until {over} ms: {details}");
    }
}
