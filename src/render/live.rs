//! Shows a run that has not ended for people: running tasks, failures, and what the run is waiting for.

use super::{
    report,
    say::{length, shown},
};
use dropmill_journal::{
    progress::Progress,
    report::Report,
    tasks::{TaskRow, TaskState, TaskTable},
};
use std::collections::BTreeMap;

/// Largest number of running tasks that are listed, the longest running first.
const MAX_RUNNING: usize = 20;

/// Everything that is shown about a run that has not ended.
pub struct LiveView<'a> {
    /// Its report so far.
    pub report: &'a Report,
    /// The state of its tasks.
    pub table: &'a TaskTable,
    /// Its progress, with what it is waiting for.
    pub progress: &'a Progress,
    /// The process that works on it: `pid 12 since …`; none if it was interrupted.
    pub holder: Option<String>,
    /// Milliseconds since the run began, by the clock of this machine.
    pub now_ms: u64,
}

/// Returns the lines of a run that has not ended.
pub fn lines(view: &LiveView<'_>) -> Vec<String> {
    let run = &view.report.run;
    let state = match &view.holder {
        Some(holder) => format!("running ({holder})"),
        None => "interrupted: no process works on it".into(),
    };
    let mut lines = vec![format!("{run}: {state}")];
    lines.push(format!("tasks       {}", counts(view.table)));
    let mut running: Vec<&TaskRow> =
        view.table.rows().iter().filter(|row| row.state == TaskState::Running).collect();
    running.sort_by_key(|row| row.started_ms);
    let width = running.iter().map(|row| title(row).chars().count()).max().unwrap_or(0).min(60);
    for row in running.iter().take(MAX_RUNNING) {
        let age = length(view.now_ms.saturating_sub(row.started_ms.unwrap_or(view.now_ms)));
        let node = row.node.as_deref().map(|node| format!("  on {}", short_node(node))).unwrap_or_default();
        lines.push(format!("running     {:<width$}  {age}{node}", title(row)));
    }
    if running.len() > MAX_RUNNING {
        lines.push(format!("            and {} more", running.len() - MAX_RUNNING));
    }
    let failed: Vec<_> = view
        .report
        .results
        .iter()
        .filter(|task| task.verdict == Some(dropmill_journal::event::Verdict::Failed))
        .collect();
    lines.extend(report::failures(&failed, width));
    if let (Some(_), Some(waits)) = (&view.holder, view.progress.waiting_for()) {
        lines.push(format!("now         {waits}"));
    }
    match view.holder {
        Some(_) => lines.push(format!("follow:  dropmill logs {run} -f")),
        None => lines.push(format!("resume:  dropmill resume {run}")),
    }
    lines
}

/// Returns how many tasks are in each state.
fn counts(table: &TaskTable) -> String {
    let mut counts: BTreeMap<TaskState, usize> = BTreeMap::new();
    let inputs = || table.rows().iter().filter(|row| row.inputs.is_none());
    for row in inputs() {
        *counts.entry(table.state_of(row)).or_default() += 1;
    }
    let order = [
        (TaskState::Running, "running"),
        (TaskState::Queued, "queued"),
        (TaskState::Uploaded, "uploaded"),
        (TaskState::Waiting, "waiting for upload"),
        (TaskState::Delivering, "delivering results"),
        (TaskState::Succeeded, "succeeded"),
        (TaskState::Failed, "failed"),
        (TaskState::Unfinished, "not finished"),
    ];
    let parts: Vec<_> = order
        .iter()
        .filter_map(|(state, word)| counts.get(state).map(|count| format!("{count} {word}")))
        .collect();
    format!("{} of {}", parts.join(", "), inputs().count())
}

/// Returns the name of a node, shortened to the part that identifies it.
fn short_node(node: &str) -> String {
    match node
        .strip_prefix("tvmps_")
        .map(|rest| rest.trim_end_matches(|letter| letter != '_').trim_end_matches('_'))
    {
        Some(digits) if digits.len() > 12 => format!("node {}", &digits[..8]),
        _ => format!("node {}", shown(node)),
    }
}

fn title(row: &TaskRow) -> String {
    shown(row.input.as_deref().unwrap_or(&row.task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_node_id_is_shortened_and_any_other_is_not() {
        let id = format!("tvmps_{}_d", "0a1b2c3d".repeat(8));
        assert_eq!(short_node(&id), "node 0a1b2c3d");
        assert_eq!(short_node("tvm-1"), "node tvm-1");
        assert_eq!(short_node("tvmps_x"), "node tvmps_x");
    }
}
