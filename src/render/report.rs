//! The report for people.

use super::say::{length, shown, size};
use dropmill_journal::{
    event::{Outcome, Verdict},
    report::{Report, TaskResult},
};
use std::{fmt::Write, path::Path};

/// More tasks than this, and only those that did not succeed have a line.
const MOST_LINES: usize = 50;
/// Lines of a task's standard error.
const MOST_STDERR: usize = 5;

/// The report as text, with the folder that results went to.
pub fn text(report: &Report, output: Option<&Path>) -> String {
    let mut text = String::new();
    let all = report.results.len() <= MOST_LINES;
    let width = report.results.iter().map(|task| title(task).chars().count()).max().unwrap_or(0).min(60);
    for task in &report.results {
        let succeeded = task.verdict == Some(Verdict::Succeeded);
        if all || !succeeded {
            line(&mut text, task, width);
        }
    }
    if !all && report.tasks.succeeded > 0 {
        let _ = writeln!(
            text,
            "ok          {} tasks (more than {MOST_LINES}: not listed)",
            report.tasks.succeeded
        );
    }
    for degraded in &report.degraded {
        let _ = writeln!(text, "note        {}", indented(degraded));
    }
    for left in &report.left_behind {
        let _ = writeln!(text, "left        {}: {}", left.what, shown(&left.reason));
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
    let _ = writeln!(text, "{}: {word}: {} in {}", report.run, counts.join(", "), length(report.elapsed_ms));
    if let (Some(reason), true) = (
        &report.reason,
        report.outcome.is_some_and(|outcome| !matches!(outcome, Outcome::Succeeded | Outcome::TasksFailed)),
    ) {
        let _ = writeln!(text, "why: {}", shown(reason));
    }
    if let Some(output) = output.filter(|_| report.delivered_bytes > 0 || tasks.succeeded > 0) {
        let _ = writeln!(text, "results: {} ({})", output.display(), size(report.delivered_bytes));
    }
    let _ = write!(text, "more: dropmill show {0}; dropmill trace {0} --outline", report.run);
    text
}

fn title(task: &TaskResult) -> String {
    shown(task.input.as_deref().unwrap_or(&task.task))
}

fn line(text: &mut String, task: &TaskResult, width: usize) {
    let word = match task.verdict {
        Some(Verdict::Succeeded) => "ok",
        Some(Verdict::Failed) => "failed",
        Some(Verdict::Unfinished) => "unfinished",
        None => "open",
    };
    let _ = write!(text, "{word:<11} {:<width$}", title(task));
    if let Some(seconds) = task.seconds {
        let _ = write!(text, "  {}", length((seconds * 1000.0) as u64));
    }
    if task.retries > 0 {
        let _ = write!(text, "  {} retries", task.retries);
    }
    if let (Some(folder), true) = (&task.folder, task.files > 0) {
        let moved = task.input.as_deref().is_some_and(|input| input != folder && !folder.is_empty());
        let _ = write!(text, "  {} files, {}", task.files, size(task.bytes));
        if moved {
            let _ = write!(text, ", in {}", shown(folder));
        }
    }
    text.push('\n');
    if let Some(cause) = &task.cause {
        let _ = writeln!(text, "            {}", shown(cause));
    }
    let lines: Vec<_> = task.stderr_tail.iter().flat_map(|tail| tail.lines()).collect();
    for line in &lines[lines.len().saturating_sub(MOST_STDERR)..] {
        let _ = writeln!(text, "            | {}", shown(line));
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(shown).collect();
    lines.join("\n            | ")
}
