//! `dropmill show`: what became of a run.

use crate::{
    render::{report, say},
    state::State,
};
use anyhow::Result;
use dropmill_journal::{Journal, report::ReportFold};
use dropmill_lifecycle::plan::RunPlan;

/// Shows the report, also of a run that goes on.
pub fn show(state: &State, run: &str, json: bool) -> Result<u8> {
    let folder = state.find_run(run)?;
    let (_, events) = Journal::read(&folder.join("journal.db"))?;
    let found = ReportFold::of(&events);
    if json {
        say::json(&found);
    } else {
        let plan = std::fs::read(folder.join("plan.json")).ok();
        let plan: Option<RunPlan> = plan.and_then(|text| serde_json::from_slice(&text).ok());
        say::lines(report::lines(&found, plan.as_ref().map(|plan| plan.output.directory.as_path())));
    }
    Ok(0)
}
