//! The two actors without whom there is no report, the keeper of the run and the keeper of the record, die: the run
//! ends all the same, says who died, and nobody waits for a word that will not come.
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

/// Nobody listens at the other end; and whoever asks for one of these things first dies of it.
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
        Box::pin(async { Err(TransportError::Connect("nobody listens".into())) })
    }
}

/// Keeps events, or does not.
type Keep = fn(&[Event]) -> Result<(), JournalError>;

/// A run towards nowhere, its events, and what was asked of the service.
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
        // Of virtual time, with deadlines of ten minutes.
        tokio::time::timeout(Duration::from_secs(1800), over).await.expect("nobody waits for ever")
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
fn the_death_of_the_record_is_told_whenever_it_comes() {
    let moments: [(&str, Keep); 5] = [
        ("at its birth", |events| dies_of(events, |it| matches!(it, EventKind::RunStarted { .. }))),
        ("at work", |events| dies_of(events, |it| matches!(it, EventKind::Retrying { .. }))),
        ("at the end", |events| dies_of(events, |it| matches!(it, EventKind::EndAsked { .. }))),
        ("with the last word in its mouth", |events| {
            dies_of(events, |it| matches!(it, EventKind::RunEnded { .. }))
        }),
        // It could not keep anything any more, and would try for ever.
        ("closed", closed_at_work),
    ];
    for (when, keep) in moments {
        let (outcome, events, _) = run(plan(3), vec![], keep);
        assert!(
            matches!(outcome, Err(RunError::ActorLost { actor: Role::ResultCollector })),
            "{when}: {outcome:?}"
        );
        assert_eq!(events.is_empty(), when == "at its birth", "{when}: {events:#?}");
    }
}

#[test]
fn a_disk_that_refuses_for_a_while_delays_the_record_and_loses_nothing() {
    static REFUSALS: AtomicU32 = AtomicU32::new(0);
    let full: Keep = |_| match REFUSALS.fetch_add(1, Ordering::Relaxed) {
        3..=300 => Err(JournalError::Io { path: "journal.db".into(), reason: "no space".into() }),
        _ => Ok(()),
    };
    let (outcome, events, _) = run(plan(3), vec![], full);
    assert_eq!(outcome.unwrap().outcome, Some(Outcome::Infrastructure));
    assert!(REFUSALS.load(Ordering::Relaxed) > 301, "it refused until the last of them");
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
}

#[test]
fn the_death_of_the_runs_keeper_is_told_and_what_costs_goes() {
    // The uploader dies, and so does the keeper, who deletes the containers in its place.
    let traps = vec![("PUT", "restype=container"), ("DELETE", "restype=container")];
    let (outcome, events, asked) = run(plan(3), traps, kept);
    assert!(matches!(outcome, Err(RunError::ActorLost { actor: Role::RunKeeper })), "{outcome:?}");
    assert!(!events.iter().any(|event| matches!(event.kind, EventKind::RunEnded { .. })), "{events:#?}");
    for path in ["/pools/", "/jobs/"] {
        let told = asked.iter().any(|asked| asked.starts_with("DELETE") && asked.contains(path));
        assert!(told, "{path}: {asked:#?}");
    }
}

#[test]
fn nobody_deletes_a_pool_of_others_or_what_is_to_stay() {
    let shared = |plan: &mut RunPlan| plan.pool.own = false;
    let stays = |plan: &mut RunPlan| plan.cleanup.pool = When::Never;
    for change in [shared, stays] {
        let mut plan = plan(3);
        change(&mut plan);
        let traps = vec![("PUT", "restype=container"), ("DELETE", "restype=container")];
        let (outcome, _, asked) = run(plan, traps, kept);
        assert!(matches!(outcome, Err(RunError::ActorLost { actor: Role::RunKeeper })), "{outcome:?}");
        let told = asked.iter().any(|asked| asked.starts_with("DELETE") && asked.contains("/pools/"));
        assert!(!told, "{asked:#?}");
    }
}
