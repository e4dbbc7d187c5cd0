//! `dropmill trace crash`: crashes the orchestrator of every scenario at every point, and resumes each
//! run.

use super::environment;
use crate::{
    render::{say, say::length},
    simulate::{read_scenario, read_whole},
};
use anyhow::Result;
use dropmill_test_kit::survey::{self, CrashCase};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

/// Number of violations that are shown for each scenario.
const SHOWN: usize = 3;

/// Prints for each scenario at how many points it crashed, and which rules were broken.
pub fn every_scenario(scenarios: &[PathBuf]) -> Result<u8> {
    let began = Instant::now();
    let (mut points, mut broken) = (0, 0);
    for path in scenarios {
        let (plan, scenario) = read_whole(path, environment())?;
        let survey = survey::every_point(plan.player(), &scenario, 1);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        say::line(&format!(
            "{name}: {} points, {} with the same results, {} broken",
            survey.points,
            survey.same,
            survey.broken.len()
        ));
        for (death, violations) in survey.broken.iter().take(SHOWN) {
            for violation in violations {
                say::line(&format!("  {death}: {violation}"));
            }
            say::line(&format!("  again: {}", again(path, death)?));
        }
        if let Some((death, results)) = &survey.different {
            say::line(&format!("  other results, none of them wrong, for example {death}:"));
            results.lines().for_each(|line| {
                say::line(&format!("    {line}"));
            });
        }
        points += survey.points;
        broken += survey.broken.len();
    }
    let taken = length(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    say::line(&format!("{points} points in {} scenarios, {broken} broken, in {taken}", scenarios.len()));
    Ok(u8::from(broken > 0))
}

/// Returns the command that repeats a crash.
fn again(scenario: &Path, death: &CrashCase) -> Result<String> {
    let run_file = read_scenario(scenario)?.0.unwrap_or_default();
    Ok(format!(
        "dropmill simulate {} --scenario {} --crash \"{}\" --down {}s",
        run_file.display(),
        scenario.display(),
        death.point,
        death.down.as_secs()
    ))
}
