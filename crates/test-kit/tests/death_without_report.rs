//! Crashes of the two actors that are needed for a report, the keeper of the run and the collector: the run
//! still ends and names the actor, and no caller waits for ever.
#![allow(clippy::unwrap_used)]

mod common;

use actix::System;
use common::plan;
use dropmill_actors::{RunError, RunHandle, Services, place::MemoryPlace, start};
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions},
};
use dropmill_azure_wire::{
    secret::Secret,
    sign::SharedKey,
    time::SharedClock,
    transport::{RequestBody, ResponseBody, Transport, TransportError},
};
use dropmill_journal::{
    Journal, JournalError,
    event::{Event, EventKind, Outcome, Role},
    report::Report,
};
use dropmill_lifecycle::plan::{RunPlan, When};
use dropmill_test_kit::VirtualClock;
use futures_util::future::BoxFuture;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A transport without a service. An actor that sends the first request of a given kind panics.
struct Nowhere {
    traps: Mutex<Vec<(&'static str, &'static str)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Transport for Nowhere {
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'static, Result<http::Response<ResponseBody>, TransportError>> {
        let address = request.uri().to_string();
        self.asked.lock().unwrap().push(format!("{} {address}", request.method()));
        let fits = |(method, path): &(&str, &str)| request.method() == *method && address.contains(path);
        let sprung = {
            let mut traps = self.traps.lock().unwrap();
            traps.iter().position(fits).map(|trap| traps.remove(trap))
        };
        if let Some(trap) = sprung {
            panic!("a trap, not a defect: {trap:?}");
        }
        Box::pin(async { Err(TransportError::Connect("connection refused".into())) })
    }
}

/// Stores events or fails.
type Keep = fn(&[Event]) -> Result<(), JournalError>;

/// Runs against this transport. Returns the events and the requests.
fn run(
    plan: RunPlan,
    traps: Vec<(&'static str, &'static str)>,
    keep: Keep,
) -> (Result<Report, RunError>, Vec<Event>, Vec<String>) {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let transport = Arc::new(Nowhere { traps: Mutex::new(traps), asked: asked.clone() });
    let (outcome, events) = System::with_tokio_rt(runtime).block_on(async move {
        let run = begin(plan, transport, Journal::kept_by(move |events| keep(&events)));
        let receiver = run.events();
        let listening = actix::spawn(async move {
            let mut events = vec![];
            while let Ok(event) = receiver.recv().await {
                events.push(event);
            }
            events
        });
        let over = async { (run.finished().await, listening.await.unwrap()) };
        // Virtual time; the deadlines are ten minutes.
        tokio::time::timeout(Duration::from_secs(1800), over).await.expect("the run ends")
    });
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    (outcome, events, asked)
}

fn kept(_: &[Event]) -> Result<(), JournalError> {
    Ok(())
}

fn begin(plan: RunPlan, transport: Arc<dyn Transport>, journal: Journal) -> RunHandle {
    let clock: SharedClock = Arc::new(VirtualClock::begin());
    let endpoint = |url: &str| Endpoint::parse(url).unwrap();
    let key = || SharedKey::new("somebody", &Secret::new("c2VjcmV0")).unwrap();
    let dice = || ChaCha8Rng::seed_from_u64(1);
    let batch = BatchApi::new(BatchOptions::new(
        endpoint("http://batch.local:1"),
        key().into(),
        transport.clone(),
        clock.clone(),
        dice(),
    ));
    let blob = BlobApi::new(BlobOptions::new(
        endpoint("http://blob.local:1/somebody"),
        key(),
        transport,
        clock.clone(),
        dice(),
    ));
    let services = Services { batch, blob, hints: None };
    start(plan, services, Arc::new(MemoryPlace::default()), journal, clock)
}

fn dies_of(events: &[Event], is_deadly: fn(&EventKind) -> bool) -> Result<(), JournalError> {
    assert!(!events.iter().any(|event| is_deadly(&event.kind)), "a trap, not a defect: an event");
    Ok(())
}

fn closed_at_work(events: &[Event]) -> Result<(), JournalError> {
    match events.iter().any(|event| matches!(event.kind, EventKind::Retrying { .. })) {
        true => Err(JournalError::Closed),
        false => Ok(()),
    }
}

#[test]
fn a_crash_of_the_collector_is_reported_at_any_time() {
    let moments: [(&str, Keep); 5] = [
        ("at the start", |events| dies_of(events, |it| matches!(it, EventKind::RunStarted { .. }))),
        ("while running", |events| dies_of(events, |it| matches!(it, EventKind::Retrying { .. }))),
        ("at the end", |events| dies_of(events, |it| matches!(it, EventKind::EndAsked { .. }))),
        ("at the last event", |events| dies_of(events, |it| matches!(it, EventKind::RunEnded { .. }))),
        // The journal is closed, so every attempt to store events would fail.
        ("closed", closed_at_work),
    ];
    for (when, keep) in moments {
        let (outcome, events, _) = run(plan(3), vec![], keep);
        assert!(
            matches!(outcome, Err(RunError::ActorLost { actor: Role::ResultCollector })),
            "{when}: {outcome:?}"
        );
        assert_eq!(events.is_empty(), when == "at the start", "{when}: {events:#?}");
    }
}

#[test]
fn a_temporarily_failing_disk_delays_events_and_loses_none() {
    static REFUSALS: AtomicU32 = AtomicU32::new(0);
    let full: Keep = |_| match REFUSALS.fetch_add(1, Ordering::Relaxed) {
        3..=300 => Err(JournalError::Io { path: "journal.db".into(), reason: "no space".into() }),
        _ => Ok(()),
    };
    let (outcome, events, _) = run(plan(3), vec![], full);
    assert_eq!(outcome.unwrap().outcome, Some(Outcome::Infrastructure));
    assert!(REFUSALS.load(Ordering::Relaxed) > 301, "expected failures until the last one");
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_crash_of_the_run_keeper_is_reported_and_pool_and_job_are_deleted() {
    // The uploader panics, and so does the keeper, which deletes the containers on its behalf.
    let traps = vec![("PUT", "restype=container"), ("DELETE", "restype=container")];
    let (outcome, events, asked) = run(plan(3), traps, kept);
    assert!(matches!(outcome, Err(RunError::ActorLost { actor: Role::RunKeeper })), "{outcome:?}");
    assert!(!events.iter().any(|event| matches!(event.kind, EventKind::RunEnded { .. })), "{events:#?}");
    for path in ["/pools/", "/jobs/"] {
        let deleted = asked.iter().any(|asked| asked.starts_with("DELETE") && asked.contains(path));
        assert!(deleted, "{path}: {asked:#?}");
    }
}

#[test]
fn a_foreign_pool_and_kept_resources_are_not_deleted() {
    let shared = |plan: &mut RunPlan| plan.pool.own = false;
    let stays = |plan: &mut RunPlan| plan.cleanup.pool = When::Never;
    for change in [shared, stays] {
        let mut plan = plan(3);
        change(&mut plan);
        let traps = vec![("PUT", "restype=container"), ("DELETE", "restype=container")];
        let (outcome, _, asked) = run(plan, traps, kept);
        assert!(matches!(outcome, Err(RunError::ActorLost { actor: Role::RunKeeper })), "{outcome:?}");
        let deleted = asked.iter().any(|asked| asked.starts_with("DELETE") && asked.contains("/pools/"));
        assert!(!deleted, "{asked:#?}");
    }
}
