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
        let is_read = match &run.found {
            Err(error) if as_json => {
                say::json(&json!({ "run": folder, "state": "damaged", "error": error.to_string() }))
            }
            Err(error) => say::line(&format!("{folder}  damaged: {error}")),
            Ok(found) => {
                let how = match found.outcome {
                    Some(outcome) => serde_json::to_value(outcome)?.as_str().unwrap_or_default().to_owned(),
                    None if is_held(&run.folder) => "running".into(),
                    None => "interrupted".into(),
                };
                let (run, tasks) = (&found.run, &found.tasks);
                match as_json {
                    true => say::json(&json!({
                        "run": run, "name": found.name, "created": found.created, "state": how, "tasks": tasks,
                    })),
                    false => say::line(&format!(
                        "{run}  {how}  {} of {} succeeded, {} failed",
                        tasks.succeeded, tasks.total, tasks.failed
                    )),
                }
            }
        };
        if !is_read {
            break;
        }
    }
    Ok(0)
}
