//! Replays a recorded run offline: the real actors and the real client, with the recorded responses instead
//! of a service.
//!
//! Requests are matched by method, path and occurrence, not by time. The parts of a query that differ from
//! run to run (signatures, times) are ignored. Repeated reads return the state of their time, so that the
//! client never sees the future; writes and deliveries wait for their recorded time. A request that is not in
//! the recording ends the replay with an error that names it.

mod book;
mod place;

use crate::VirtualClock;
use actix::System;
use book::Book;
use dropmill_actors::{Services, place::MemoryPlace, start};
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions, FileReads},
    record::{Exchange, FORMAT, Opening},
};
use dropmill_azure_wire::{
    sign::SharedKey,
    time::{SharedClock, parse_iso},
    transport::Transport,
};
use dropmill_journal::{Journal, event::Event, report::Report, trace};
use dropmill_lifecycle::plan::RunPlan;
use place::PacedPlace;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Virtual time after which a replay must have ended.
const BOUND: Duration = Duration::from_secs(30 * 24 * 3600);
/// An account key; nothing checks signatures here, so it need not be secret.
const NO_KEY: &str = "cmVwbGF5";

/// A parsed recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Header of the recording, with the accounts and the program version.
    pub opening: Opening,
    /// Recorded requests and responses, in the order of the requests.
    pub exchanges: Vec<Exchange>,
    /// Time of each task's delivery, in milliseconds since the start; empty if the recording does not contain
    /// it.
    pub delivered_ms: BTreeMap<String, u64>,
}

/// The result of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// All events, in order.
    pub events: Vec<Event>,
    /// The report of the run.
    pub report: Report,
    /// The results by path below the output folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Recorded writes that were not requested in the replay.
    pub unasked: Vec<String>,
}

/// The reason why a recording could not be read or replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The text is not a recording, or one of another version.
    #[error("line {line} of the recording: {reason}")]
    Unreadable {
        /// Line number, from 1.
        line: usize,
        /// What is wrong with the line.
        reason: String,
    },
    /// The recording has no usable response to a request.
    #[error("the recording cannot answer {request}: {reason}")]
    Unknown {
        /// Method and path.
        request: String,
        /// What is missing.
        reason: String,
    },
    /// The run did not end.
    #[error("{0}")]
    SimulationError(String),
}

impl Recording {
    /// Parses the lines of a recording.
    ///
    /// # Errors
    /// [`ReplayError::Unreadable`] if a line is invalid.
    pub fn read(text: &str) -> Result<Self, ReplayError> {
        let wrong = |line: usize, reason: String| ReplayError::Unreadable { line: line + 1, reason };
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| wrong(0, "the file is empty".into()))?;
        let opening: Opening = serde_json::from_str(first).map_err(|error| wrong(0, error.to_string()))?;
        if opening.dropmill_recording != FORMAT {
            let reason = format!("version {}, this program reads {FORMAT}", opening.dropmill_recording);
            return Err(wrong(0, reason));
        }
        let exchange = |(line, text)| {
            serde_json::from_str(text).map_err(|error: serde_json::Error| wrong(line, error.to_string()))
        };
        let mut exchanges: Vec<Exchange> = lines.map(exchange).collect::<Result<_, _>>()?;
        // The recording contains them in the order in which they ended.
        exchanges.sort_by_key(|exchange| exchange.at_ms);
        Ok(Self { opening, exchanges, delivered_ms: BTreeMap::new() })
    }

    /// Replays the run in virtual time, on this thread.
    ///
    /// # Errors
    /// Returns a [`ReplayError`] if the run does not end, or if the recording has no response to a request.
    pub fn replay(&self, plan: &RunPlan) -> Result<Replayed, ReplayError> {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime without I/O can always be built")
        };
        System::with_tokio_rt(runtime).block_on(async move {
            match tokio::time::timeout(BOUND, self.live(plan)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ReplayError::SimulationError(format!(
                    "the run did not end within {BOUND:?} of virtual time"
                ))),
            }
        })
    }

    async fn live(&self, plan: &RunPlan) -> Result<Replayed, ReplayError> {
        let began = parse_iso(&self.opening.began).ok_or_else(|| ReplayError::Unreadable {
            line: 1,
            reason: format!("expected a timestamp, found {:?}", self.opening.began),
        })?;
        let clock: SharedClock = Arc::new(VirtualClock::at(began));
        let book = Book::of(&self.exchanges);
        let services = self.services(Arc::new(book.clone()), &clock)?;
        let place = MemoryPlace::with_layout(plan.output.layout);
        let unhurried = PacedPlace::new(place.clone(), &self.delivered_ms);
        let run = start(plan.clone(), services, Arc::new(unhurried), Journal::in_memory(), clock);
        let received = run.events();
        let collecting = actix::spawn(async move {
            let mut events = vec![];
            while let Ok(event) = received.recv().await {
                events.push(event);
            }
            events
        });
        let report = tokio::select! {
            biased;
            missing = book.missing() => return Err(missing),
            report = run.finished() => report.map_err(|error| ReplayError::SimulationError(error.to_string()))?,
        };
        let events = collecting.await.map_err(|error| ReplayError::SimulationError(error.to_string()))?;
        Ok(Replayed { events, report, files: place.files(), unasked: book.unasked() })
    }

    fn services(&self, transport: Arc<dyn Transport>, clock: &SharedClock) -> Result<Services, ReplayError> {
        let wrong = |reason: String| ReplayError::Unreadable { line: 1, reason };
        let of = |(endpoint, account): &(String, String)| {
            let endpoint = Endpoint::parse(endpoint).map_err(|error| wrong(error.to_string()))?;
            let key = SharedKey::new(account, &NO_KEY.into()).map_err(|error| wrong(error.to_string()))?;
            Ok((endpoint, key))
        };
        let (batch, blob) = (of(&self.opening.batch)?, of(&self.opening.blob)?);
        let rng = ChaCha8Rng::seed_from_u64;
        let batch = BatchApi::new(BatchOptions::new(
            batch.0,
            batch.1.into(),
            transport.clone(),
            clock.clone(),
            rng(1),
        ));
        let blob = BlobApi::new(BlobOptions {
            file_reads: FileReads::Inline,
            ..BlobOptions::new(blob.0, blob.1, transport, clock.clone(), rng(2))
        });
        Ok(Services { batch, blob, hints: self.opening.hints.then(|| self.hints()) })
    }

    /// Sends a change notification at each recorded time at which there was a change.
    fn hints(&self) -> watch::Receiver<u64> {
        let (sender, hints) = watch::channel(0);
        let moments: Vec<u64> = self
            .exchanges
            .iter()
            .filter(|exchange| exchange.method == "GET")
            .map(|read| read.at_ms)
            .collect();
        let began = tokio::time::Instant::now();
        actix::spawn(async move {
            for at in moments {
                tokio::time::sleep_until(began + Duration::from_millis(at)).await;
                if sender.receiver_count() == 0 {
                    return;
                }
                sender.send_modify(|count| *count += 1);
            }
            std::future::pending::<()>().await;
        });
        hints
    }
}

impl Replayed {
    /// Returns the canonical trace with one line per subject.
    pub fn outline(&self) -> String {
        trace::outline(&self.events)
    }
}
