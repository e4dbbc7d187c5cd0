//! The daemon of a run file in the simulated world.

use super::{Folders, drop_settings, keeps_pools, limits, maker};
use crate::{plan, settings::Loaded};
use anyhow::Result;
use dropmill_actors::drop_store::DIRECTORY;
use dropmill_test_kit::drop::MillPlan;
use std::{path::Path, sync::Arc};

/// Returns what the simulated world needs to know about a run file with a drop folder.
///
/// # Errors Fails if the run file has mistakes.
pub fn simulated(loaded: &Loaded) -> Result<MillPlan> {
    let folders = Folders::of(loaded)?;
    plan::stream(loaded, "checked", "mill", Path::new("/work"))?;
    let mut settings = drop_settings(loaded, &folders);
    settings.directory = DIRECTORY.into();
    let whole = loaded.clone();
    let stream = move |run: &str| {
        let results = Path::new("/work").join(run).join(".results");
        plan::stream(&whole, run, "mill", &results).expect("the run file was checked")
    };
    Ok(MillPlan {
        settings,
        make: maker(&loaded.settings.task),
        stream: Arc::new(stream),
        limits: limits(&loaded.settings),
        keeps_pools: keeps_pools(&loaded.settings),
    })
}
