//! The report for people.

use super::say::{length, shown, size};
use dropmill_journal::{
    event::{Outcome, Verdict},
    report::{Report, TaskResult},
};
use std::{fmt::Write, path::Path};

/// More tasks than this, and only those that did not succeed have a line.
const MOST_LINES: usize = 50;
/// Lines about results that lie beside others.
const MOST_BESIDE: usize = 5;
/// Lines of a task's standard error.
const MOST_STDERR: usize = 5;

/// Returns the lines of a report, with the folder that results went to.
pub fn lines(report: &Report, output: Option<&Path>) -> Vec<String> {
    let mut lines = vec![];
    let all = report.results.len() <= MOST_LINES;
    let width = report.results.iter().map(|task| title(task).chars().count()).max().unwrap_or(0).min(60);
    for task in &report.results {
        let succeeded = task.verdict == Some(Verdict::Succeeded);
        if all || !succeeded {
            task_lines(&mut lines, task, width);
        }
    }
    if !all && report.tasks.succeeded > 0 {
        let succeeded = report.tasks.succeeded;
        lines.push(format!("ok          {succeeded} tasks (more than {MOST_LINES}: not listed)"));
    }
    for degraded in &report.degraded {
        for (at, line) in degraded.lines().enumerate() {
            lines.push(format!("{}{line}", if at == 0 { "note        " } else { "            | " }));
        }
    }
    for left in &report.left_behind {
        lines.push(format!("left        {}: {}", left.what, left.reason));
    }
    if report.replaced > 0 {
        lines.push(format!("replaced    {} earlier results", report.replaced));
    }
    if report.beside > 0 {
        let beside = report.results.iter().filter_map(|task| Some((task, task.beside.as_ref()?)));
        lines.push(format!(
            "beside      {} results lie beside what is in their places, as NAME~2:",
            report.beside
        ));
        lines.extend(
            beside
                .take(MOST_BESIDE)
                .map(|(task, what)| format!("            {}: {}", title(task), shown(what))),
        );
    }
    let tasks = &report.tasks;
    let mut counts = vec![format!("{} of {} tasks succeeded", tasks.succeeded, tasks.total)];
    if tasks.failed > 0 {
        counts.push(format!("{} failed", tasks.failed));
    }
    if tasks.unfinished > 0 {
        counts.push(format!("{} not finished", tasks.unfinished));
    }
    let word = match report.outcome {
        Some(Outcome::Succeeded) => "succeeded",
        Some(Outcome::TasksFailed) => "tasks failed",
        Some(Outcome::Deadline) => "ended by a deadline",
        Some(Outcome::Cancelled) => "cancelled",
        Some(Outcome::Infrastructure) => "ended: service or infrastructure",
        None => "not ended",
    };
    lines.push(format!("{}: {word}: {} in {}", report.run, counts.join(", "), length(report.elapsed_ms)));
    if let (Some(reason), true) = (
        &report.reason,
        report.outcome.is_some_and(|outcome| !matches!(outcome, Outcome::Succeeded | Outcome::TasksFailed)),
    ) {
        lines.push(format!("why: {reason}"));
    }
    if let Some(output) = output.filter(|_| report.delivered_bytes > 0 || tasks.succeeded > 0) {
        lines.push(format!("results: {} ({})", output.display(), size(report.delivered_bytes)));
    }
    lines.push(format!("more: dropmill show {0}; dropmill trace {0} --outline", report.run));
    lines
}

fn title(task: &TaskResult) -> String {
    shown(task.input.as_deref().unwrap_or(&task.task))
}

fn task_lines(lines: &mut Vec<String>, task: &TaskResult, width: usize) {
    let word = match task.verdict {
        Some(Verdict::Succeeded) => "ok",
        Some(Verdict::Failed) => "failed",
        Some(Verdict::Unfinished) => "unfinished",
        None => "open",
    };
    let mut line = format!("{word:<11} {:<width$}", title(task));
    if let Some(seconds) = task.seconds {
        let _ = write!(line, "  {}", length((seconds * 1000.0) as u64));
    }
    if task.retries > 0 {
        let _ = write!(line, "  {} retries", task.retries);
    }
    if let (Some(folder), true) = (&task.folder, task.files > 0) {
        let moved = task.input.as_deref().is_some_and(|input| input != folder && !folder.is_empty());
        let _ = write!(line, "  {} files, {}", task.files, size(task.bytes));
        if moved {
            let _ = write!(line, ", in {folder}");
        }
    }
    if task.left_out > 0 {
        let _ = write!(line, ", {} of its streams left out", size(task.left_out));
    }
    lines.push(line);
    lines.extend(task.cause.iter().map(|cause| format!("            {cause}")));
    let tail: Vec<_> = task.stderr_tail.iter().flat_map(|tail| tail.lines()).collect();
    lines.extend(
        tail[tail.len().saturating_sub(MOST_STDERR)..].iter().map(|line| format!("            | {line}")),
    );
}
