//! Records the requests of a run and the responses to them in a folder, for `simulate --replay`.

use crate::{error::UsageError, services::account::Account, state::write_private};
use anyhow::{Context, Result};
use dropmill_azure_client::record::{FORMAT, Opening, Recorder, Sink};
use dropmill_azure_wire::{
    time::{SharedClock, Timestamp, iso},
    transport::Transport,
};
use dropmill_journal::{
    Journal,
    event::{Event, EventKind},
    trace,
};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_private_files as private_files;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// The plan of the run.
pub const PLAN: &str = "plan.json";
/// Requests and responses.
pub const EXCHANGES: &str = "exchanges.jsonl";
/// When each result was delivered; only of a run that came to its end.
pub const DELIVERIES: &str = "deliveries.json";
/// The outline of the run's trace.
pub const OUTLINE: &str = "recorded.outline";

/// A recording in progress.
pub struct Record {
    folder: PathBuf,
    sink: Sink,
    kept_bytes: usize,
    /// The time from which the recording counts milliseconds.
    began: OnceLock<Timestamp>,
}

impl Record {
    /// Begins a recording in a new folder.
    ///
    /// # Errors
    /// Fails if the folder already contains a recording, or the folder cannot be written.
    pub fn begin(folder: &Path, kept_bytes: usize, plan: &RunPlan) -> Result<Self> {
        let argument = || format!("--record {}", folder.display());
        private_files::folder_of_user(folder).with_context(|| format!("{}: make the folder", argument()))?;
        let file = match private_files::create_new(&folder.join(EXCHANGES)) {
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {
                let problem = "the folder already contains a recording".into();
                return Err(UsageError::Argument { argument: argument(), problem }.into());
            }
            file => file.with_context(|| format!("{}: make its file", argument()))?,
        };
        write_private(&folder.join(PLAN), &serde_json::to_vec_pretty(plan)?)?;
        Ok(Self { folder: folder.to_owned(), sink: Sink::new(file), kept_bytes, began: OnceLock::new() })
    }

    /// Returns a transport that records what goes through another.
    pub fn of(
        &self,
        transport: Arc<dyn Transport>,
        batch: &Account,
        blob: &Account,
        hints: bool,
        clock: &SharedClock,
    ) -> Arc<dyn Transport> {
        let name = |account: &Account| (account.endpoint.clone(), account.account.clone());
        let began = *self.began.get_or_init(|| clock.now());
        self.sink.open(&Opening {
            dropmill_recording: FORMAT,
            began: iso(began),
            batch: name(batch),
            blob: name(blob),
            hints,
        });
        let quiet = vec![batch.key.clone(), blob.key.clone()];
        Arc::new(Recorder::new(transport, self.sink.clone(), self.kept_bytes, quiet))
    }

    /// Ends the recording, and writes the outcome of the run beside it.
    ///
    /// # Errors
    /// Fails if the recording is not complete.
    pub fn end(&self, journal: &Path) -> Result<()> {
        if let Some(failure) = self.sink.failure() {
            anyhow::bail!("the recording in {} is not complete: {failure}", self.folder.display());
        }
        let (_, events) = Journal::read(journal)?;
        let began = self.began.get().copied().unwrap_or_default();
        // Rounded up, while times of exchanges are rounded down: what ended within one millisecond ended in
        // this order.
        let after_ms = |event: &Event| {
            let after = event.at.duration_since(began).as_micros().max(0).unsigned_abs();
            u64::try_from(after.div_ceil(1000)).unwrap_or(u64::MAX)
        };
        let delivered = events.iter().filter(|event| matches!(event.kind, EventKind::OutputDelivered { .. }));
        let moments: BTreeMap<&str, u64> =
            delivered.filter_map(|event| Some((event.subject.task()?, after_ms(event)))).collect();
        write_private(&self.folder.join(DELIVERIES), &serde_json::to_vec_pretty(&moments)?)?;
        write_private(&self.folder.join(OUTLINE), trace::outline(&events).as_bytes())?;
        Ok(())
    }
}
