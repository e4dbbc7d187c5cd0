//! A recorded run, played again offline: the real actors and the real client, and for a service what it answered then.
//!
//! Requests are matched by method, path and occurrence, not by when they arrive: what is in a query and differs from run
//! to run (signatures, moments) counts for nothing. What is read over and over is answered as of its time, so that
//! nobody sees the future; writes go out, and results come home, when they did. A request that the recording does not
//! know ends the replay and is named.

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

/// By when, in virtual time, a replay must be over.
const BOUND: Duration = Duration::from_secs(30 * 24 * 3600);
/// Nothing is checked here, so nothing needs to be secret.
const NO_KEY: &str = "cmVwbGF5";

/// A recording that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Whom it was made with.
    pub opening: Opening,
    /// Every exchange, in the order of asking.
    pub exchanges: Vec<Exchange>,
    /// By task, how many milliseconds after the beginning its result was in its place; none is known of a recording
    /// that does not tell.
    pub delivered_ms: BTreeMap<String, u64>,
}

/// What came of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// Every event, in order.
    pub events: Vec<Event>,
    /// The report.
    pub report: Report,
    /// The results by path below the output folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Writes of the recording that were not asked for this time.
    pub unasked: Vec<String>,
}

/// A recording could not be read or played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It is none, or of another version.
    #[error("line {line} of the recording: {reason}")]
    Unreadable {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A request was made that the recording does not know, or knows without what is needed to answer it.
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
    /// Reads a recording's lines.
    ///
    /// # Errors
    /// [`ReplayError::Unreadable`].
    pub fn read(text: &str) -> Result<Self, ReplayError> {
        let wrong = |line: usize, reason: String| ReplayError::Unreadable { line: line + 1, reason };
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| wrong(0, "it is empty".into()))?;
        let opening: Opening = serde_json::from_str(first).map_err(|error| wrong(0, error.to_string()))?;
        if opening.dropmill_recording != FORMAT {
            let reason = format!("version {}, this program reads {FORMAT}", opening.dropmill_recording);
            return Err(wrong(0, reason));
        }
        let exchange = |(line, text)| {
            serde_json::from_str(text).map_err(|error: serde_json::Error| wrong(line, error.to_string()))
        };
        let mut exchanges: Vec<Exchange> = lines.map(exchange).collect::<Result<_, _>>()?;
        // They were written when they were over.
        exchanges.sort_by_key(|exchange| exchange.at_ms);
        Ok(Self { opening, exchanges, delivered_ms: BTreeMap::new() })
    }

    /// Plays it again, on this thread, in no time.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn replay(&self, plan: &RunPlan) -> Result<Replayed, ReplayError> {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime needs nothing of the machine")
        };
        System::with_tokio_rt(runtime).block_on(async move {
            match tokio::time::timeout(BOUND, self.live(plan)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ReplayError::SimulationError(format!(
                    "the run is not over after {BOUND:?} of virtual time"
                ))),
            }
        })
    }

    async fn live(&self, plan: &RunPlan) -> Result<Replayed, ReplayError> {
        let began = parse_iso(&self.opening.began).ok_or_else(|| ReplayError::Unreadable {
            line: 1,
            reason: format!("{:?} is no moment", self.opening.began),
        })?;
        let clock: SharedClock = Arc::new(VirtualClock::at(began));
        let book = Book::of(&self.exchanges);
        let services = self.services(Arc::new(book.clone()), &clock)?;
        let place = MemoryPlace::default();
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

    /// Hints at the moments at which there was something to look for then.
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
    /// The canonical trace, one line for each life.
    pub fn outline(&self) -> String {
        trace::outline(&self.events)
    }
}
