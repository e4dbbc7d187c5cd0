//! `dropmill runs`: the runs of the state folder.

use crate::{
    render::say,
    state::{State, is_held},
};
use anyhow::Result;
use dropmill_journal::list_runs;
use serde_json::json;

/// Lists them, oldest first.
pub fn runs(state: &State, as_json: bool) -> Result<u8> {
    for run in list_runs(state.folder())? {
        let folder = run.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let line = match &run.found {
            Err(error) if as_json => {
                json!({ "run": folder, "state": "damaged", "error": error.to_string() }).to_string()
            }
            Err(error) => format!("{folder}  damaged: {error}"),
            Ok(found) => {
                let how = match found.outcome {
                    Some(outcome) => serde_json::to_value(outcome)?.as_str().unwrap_or_default().to_owned(),
                    None if is_held(&run.folder) => "running".into(),
                    None => "interrupted".into(),
                };
                let tasks = found.tasks;
                match as_json {
                    true => json!({
                        "run": found.run, "name": found.name, "created": found.created, "state": how, "tasks": tasks,
                    })
                    .to_string(),
                    false => format!(
                        "{}  {how}  {} of {} succeeded, {} failed",
                        found.run, tasks.succeeded, tasks.total, tasks.failed
                    ),
                }
            }
        };
        if !say::line(&line) {
            break;
        }
    }
    Ok(0)
}
