//! Replays a recording of `run --record`, with the responses that the services gave when it was recorded.

use crate::{
    error::{Error, UsageError},
    record::{DELIVERIES, EXCHANGES, OUTLINE, PLAN},
};
use anyhow::{Context, Result};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_test_kit::replay::{Recording, Replayed};
use std::{fs, path::Path};

/// Replays a recording; returns the recorded outline with it, if the run ended.
///
/// # Errors Fails if a file of the recording cannot be read, or an input of the run is missing.
pub fn replay(folder: &Path) -> Result<(Replayed, Option<String>), Error> {
    Ok(read_and_replay(folder)?)
}

fn read_and_replay(folder: &Path) -> Result<(Replayed, Option<String>)> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| UsageError::File { path, problem: error.to_string() })
    };
    let plan: RunPlan = serde_json::from_str(&read(PLAN)?).context("the recording's plan")?;
    let mut recording = Recording::read(&read(EXCHANGES)?)?;
    // The recording of an interrupted run has no such file.
    if folder.join(DELIVERIES).exists() {
        recording.delivered_ms =
            serde_json::from_str(&read(DELIVERIES)?).context("the recording's deliveries")?;
    }
    if let Some(missing) =
        plan.items.iter().filter_map(|item| item.source.as_ref()).find(|source| !source.exists())
    {
        return Err(UsageError::RecordedInputGone { path: missing.clone() }.into());
    }
    let replayed = recording.replay(&plan)?;
    Ok((replayed, fs::read_to_string(folder.join(OUTLINE)).ok()))
}
