//! Run files in the simulated world of `dropmill-test-kit`: one run, or the daemon of a drop folder.

mod replay;

pub use replay::replay;

use crate::{
    daemon,
    error::{Error, UsageError},
    plan,
    settings::{Loaded, Problems, load},
};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_test_kit::{Player, Scenario, drop::MillPlan};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The time at which every simulation begins; the names of runs contain it.
const BEGINNING: i64 = 1_767_225_600;

/// A plan to simulate.
pub enum Simulated {
    /// The plan of one run.
    Run(Box<RunPlan>),
    /// The daemon of a drop folder.
    Mill(Box<MillPlan>),
}

impl Simulated {
    /// Reads a run file, and makes its plan for this scenario.
    ///
    /// # Errors Fails as [`Simulated::new`] does, or if the run file cannot be read.
    pub fn read(
        file: &Path,
        set: &[String],
        environment: Vec<(String, String)>,
        scenario: &Scenario,
    ) -> Result<Self, Error> {
        Self::new(&load(file, set, environment)?, scenario)
    }

    /// Makes the plan of settings. A scenario that changes files needs a drop folder.
    ///
    /// # Errors
    /// Fails if the settings have mistakes, or no `[watch]` section and the scenario needs one.
    pub fn new(loaded: &Loaded, scenario: &Scenario) -> Result<Self, Error> {
        let mut loaded = loaded.clone();
        loaded.simulated = true;
        let loaded = &loaded;
        if scenario.files.is_empty() {
            return Ok(Self::Run(Box::new(plan_of(loaded)?)));
        }
        if loaded.settings.watch.directory.is_none() {
            let problem =
                "the scenario changes files ([[file]]), but the run file has no watch.directory".into();
            return Err(UsageError::Argument { argument: loaded.shown(), problem }.into());
        }
        Ok(Self::Mill(Box::new(daemon::simulated(loaded)?)))
    }

    /// Returns the plan as something that can be simulated.
    pub fn player(&self) -> &dyn Player {
        match self {
            Self::Run(plan) => &**plan,
            Self::Mill(plan) => &**plan,
        }
    }
}

/// Returns a plan whose names contain a simulated time, so that they are the same every time.
fn plan_of(loaded: &Loaded) -> Result<RunPlan, Problems> {
    let time = jiff::Timestamp::from_second(BEGINNING).expect("it is a time of this century");
    let run = plan::run_name(&loaded.settings.run.name, time, &mut ChaCha8Rng::seed_from_u64(0));
    plan::plan(loaded, &run, &|_| true)
}

/// Reads a scenario, and the run file that its first line may name: `# run: FILE`.
///
/// # Errors
/// Fails if the file cannot be read or is no scenario.
pub fn read_scenario(path: &Path) -> Result<(Option<PathBuf>, Scenario), UsageError> {
    let wrong = |problem: String| UsageError::File { path: path.to_owned(), problem };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let scenario = Scenario::parse(&text).map_err(|error| wrong(error.to_string()))?;
    let run = text.lines().next().and_then(|line| line.strip_prefix("# run:"));
    let run = run.map(|name| path.with_file_name("").join(name.trim()));
    Ok((run, scenario))
}

/// Reads a scenario, and makes the plan of the run file that it names.
///
/// # Errors
/// Fails if one of them cannot be read, or the scenario names no run file.
pub fn read_whole(path: &Path, environment: Vec<(String, String)>) -> Result<(Simulated, Scenario), Error> {
    let (run_file, scenario) = read_scenario(path)?;
    let run_file = run_file.ok_or_else(|| UsageError::File {
        path: path.to_owned(),
        problem: "its first line must name a run file: # run: FILE".into(),
    })?;
    Ok((Simulated::read(&run_file, &[], environment, &scenario)?, scenario))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, in_code};

    #[test]
    fn a_simulated_node_has_four_slots_on_every_machine() {
        let mut settings = Settings::default();
        settings.input.sweep.insert("a".into(), vec![1, 2].into());
        settings.task.command = Some(vec!["true".into()]);
        settings.task.memory = Some(crate::settings::Size(5 << 30));
        let loaded = in_code(&settings, Path::new("/"), &[]).unwrap();
        let Simulated::Run(plan) = Simulated::new(&loaded, &Scenario::default()).unwrap() else {
            panic!("the scenario has no files")
        };
        assert_eq!((plan.pool.slots_per_node, plan.job.required_slots), (4, 2));
    }
}
