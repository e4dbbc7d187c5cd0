//! What a run file describes in the simulated world: one run, or the daemon of a drop folder.

use super::{Mistake, environment};
use crate::{
    daemon, plan,
    settings::{Loaded, load},
};
use anyhow::{Context, Result};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_test_kit::{Player, Scenario, drop::MillPlan};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// The time at which every simulation begins, from which the names of its runs are made.
const BEGINNING: i64 = 1_767_225_600;

/// A plan to simulate.
pub enum Simulated {
    /// One run.
    Run(Box<RunPlan>),
    /// The daemon of a drop folder.
    Mill(Box<MillPlan>),
}

impl Simulated {
    /// Reads a run file. A scenario that changes files needs a drop folder.
    ///
    /// # Errors
    /// Fails if the run file has mistakes, or has no `[watch]` section and the scenario needs one.
    pub fn read(file: &Path, set: &[String], scenario: &Scenario) -> Result<Self> {
        let loaded = load(file, set, environment())?;
        if scenario.files.is_empty() {
            return Ok(Self::Run(Box::new(plan_of(&loaded)?)));
        }
        if loaded.settings.watch.directory.is_none() {
            let message = format!(
                "{}: the scenario changes files ([[file]]), but the run file has no watch.directory",
                file.display()
            );
            return Err(Mistake(message).into());
        }
        Ok(Self::Mill(Box::new(daemon::simulated(&loaded)?)))
    }

    /// Returns it as what is played.
    pub fn player(&self) -> &dyn Player {
        match self {
            Self::Run(plan) => &**plan,
            Self::Mill(plan) => &**plan,
        }
    }
}

/// Returns a plan whose names are those of a simulated time, the same every time.
fn plan_of(loaded: &Loaded) -> Result<RunPlan> {
    let moment = jiff::Timestamp::from_second(BEGINNING).context("a time of this century")?;
    let run = plan::run_name(&loaded.settings.run.name, moment, &mut ChaCha8Rng::seed_from_u64(0));
    Ok(plan::plan(loaded, &run, &|_| true)?)
}
