//! `run --record` and `simulate --replay`: what a run said to its services, kept in a folder.

use crate::{commands::Mistake, state::write_private};
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
use dropmill_local_azure::service::Access;
use dropmill_private_files as private_files;
use dropmill_test_kit::replay::{Recording, Replayed};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

const PLAN: &str = "plan.json";
const EXCHANGES: &str = "exchanges.jsonl";
const DELIVERIES: &str = "deliveries.json";
const OUTLINE: &str = "recorded.outline";

/// A recording that is being made.
pub struct Record {
    folder: PathBuf,
    sink: Sink,
    kept_bytes: usize,
    /// The moment from which the recording counts.
    began: OnceLock<Timestamp>,
}

impl Record {
    /// Begins one in a folder of its own.
    pub fn begin(folder: &Path, kept_bytes: usize, plan: &RunPlan) -> Result<Self> {
        let told = |what: &str| format!("--record {}: {what}", folder.display());
        private_files::folder_of_user(folder).with_context(|| told("make the folder"))?;
        let file = match private_files::create_new(&folder.join(EXCHANGES)) {
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {
                return Err(Mistake(told("there is a recording already")).into());
            }
            file => file.with_context(|| told("make its file"))?,
        };
        write_private(&folder.join(PLAN), &serde_json::to_vec_pretty(plan)?)?;
        Ok(Self { folder: folder.to_owned(), sink: Sink::new(file), kept_bytes, began: OnceLock::new() })
    }

    /// The way to the services, recorded.
    pub fn of(
        &self,
        transport: Arc<dyn Transport>,
        batch: &Access,
        blob: &Access,
        hints: bool,
        clock: &SharedClock,
    ) -> Arc<dyn Transport> {
        let name = |access: &Access| (access.endpoint.clone(), access.account.clone());
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

    /// Ends it, with what the run did beside it.
    pub fn end(&self, journal: &Path) -> Result<()> {
        if let Some(failure) = self.sink.failure() {
            anyhow::bail!("the recording in {} is not whole: {failure}", self.folder.display());
        }
        let (_, events) = Journal::read(journal)?;
        let began = self.began.get().copied().unwrap_or_default();
        // Rounded up, exchanges being rounded down: what ended within one millisecond ended in this order.
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

/// Plays a recording; the outline that was recorded comes with it, if the run came to its end.
pub fn replay(folder: &Path) -> Result<(Replayed, Option<String>)> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| Mistake(format!("{}: {error}", path.display())))
    };
    let plan: RunPlan = serde_json::from_str(&read(PLAN)?).context("the recording's plan")?;
    let mut recording = Recording::read(&read(EXCHANGES)?)?;
    // A run that was cut off has none.
    if folder.join(DELIVERIES).exists() {
        recording.delivered_ms =
            serde_json::from_str(&read(DELIVERIES)?).context("the recording's deliveries")?;
    }
    if let Some(missing) =
        plan.items.iter().filter_map(|item| item.source.as_ref()).find(|source| !source.exists())
    {
        let told = format!("{} is not here: a replay reads the inputs that the run read", missing.display());
        return Err(Mistake(told).into());
    }
    let replayed = recording.replay(&plan)?;
    Ok((replayed, fs::read_to_string(folder.join(OUTLINE)).ok()))
}
