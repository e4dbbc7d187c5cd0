//! Exit conditions: what the end of a task means for its job and for tasks that depend on it.

use super::{Task, task_facts::Stage};
use dropmill_azure_wire::batch::{DependencyAction, ExitOptions};

/// Returns whether an ended task satisfies the dependencies on it.
pub(super) fn satisfies(task: &Task) -> bool {
    if task.facts.stage() != Stage::Completed {
        return false;
    }
    match exit_options(task).and_then(|options| options.dependency_action.clone()) {
        Some(DependencyAction::Satisfy) => true,
        Some(DependencyAction::Block) => false,
        _ => task.facts.succeeded(),
    }
}

/// Returns the exit options for a task's end. A match of its exit code takes precedence; the default never
/// applies to success.
pub(super) fn exit_options(task: &Task) -> Option<&ExitOptions> {
    let conditions = task.exit_conditions()?;
    let info = &task.facts.run().info;
    if let Some(code) = info.exit_code {
        let exact = conditions.exit_codes.iter().flatten().find(|mapping| mapping.code == code);
        let range = || {
            let mut ranges = conditions.exit_code_ranges.iter().flatten();
            ranges.find(|range| (range.start..=range.end).contains(&code))
        };
        let found =
            exact.map(|mapping| &mapping.exit_options).or_else(|| range().map(|range| &range.exit_options));
        if found.is_some() {
            return found;
        }
    }
    if info.success == Some(true) {
        return None;
    }
    let code = info.failure_info.as_ref().and_then(|failure| failure.code.as_deref()).unwrap_or_default();
    let special = match info.exit_code {
        None => conditions.pre_processing_error.as_ref(),
        Some(_) if code.starts_with("FileUpload") => conditions.file_upload_error.as_ref(),
        Some(_) => None,
    };
    special.or(conditions.default.as_ref())
}
