//! Shows the report for people.

use super::say::{length, shown, size};
use dropmill_journal::{
    event::{Outcome, Verdict},
    report::{ChunkResult, ChunkTally, Report, TaskResult},
};
use std::{collections::BTreeMap, fmt::Write, path::Path};

/// With more tasks than this, only those that did not succeed are listed.
const MAX_LINES: usize = 50;
/// Smallest number of equal failures that are shown as one group.
const MIN_GROUP: usize = 3;
/// Largest number of inputs that are named as examples of a group.
const MAX_EXAMPLES: usize = 3;
/// Largest number of groups and single failures that are printed.
const MAX_FAILURES: usize = 20;
/// Largest number of lines about results that were stored under another name.
const MAX_BESIDE: usize = 5;
/// Tasks for several inputs that failed and have a line.
const MAX_CHUNKS: usize = 10;
/// Largest number of lines of a task's standard error.
const MAX_STDERR: usize = 5;
/// Prefix of a line that continues the previous one.
const MORE: &str = "            ";

/// Returns the lines of a report, with the folder that results went to.
pub fn lines(report: &Report, output: Option<&Path>) -> Vec<String> {
    let mut lines = vec![];
    let (failed, others): (Vec<_>, Vec<_>) =
        report.results.iter().partition(|task| task.verdict == Some(Verdict::Failed));
    let all = report.results.len() <= MAX_LINES;
    let width = report.results.iter().map(|task| title(task).chars().count()).max().unwrap_or(0).min(60);
    let is_listed = |task: &&&TaskResult| all || task.verdict != Some(Verdict::Succeeded);
    let listed: Vec<_> = others.iter().filter(is_listed).collect();
    listed.iter().take(MAX_LINES).for_each(|task| task_lines(&mut lines, task, width));
    if listed.len() > MAX_LINES {
        lines.push(format!("{MORE}and {} more that did not finish", listed.len() - MAX_LINES));
    }
    if !all && report.tasks.succeeded > 0 {
        let succeeded = report.tasks.succeeded;
        lines.push(format!("ok          {succeeded} {} (more than {MAX_LINES}: not listed)", noun(report)));
    }
    lines.extend(failures(&failed, width));
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
            "beside      {} results were stored as NAME~2, because their names were taken:",
            report.beside
        ));
        lines.extend(
            beside.take(MAX_BESIDE).map(|(task, what)| format!("{MORE}{}: {}", title(task), shown(what))),
        );
    }
    if let Some(chunks) = &report.chunks {
        lines.extend(chunk_lines(chunks, report.tasks.total));
    }
    lines.push(summary(report));
    let is_explained = report.max_failures.is_none()
        && matches!(report.outcome, None | Some(Outcome::Succeeded | Outcome::TasksFailed));
    if let Some(reason) = report.reason.as_ref().filter(|_| !is_explained) {
        lines.push(format!("why:     {reason}"));
    }
    if let Some(output) = output
        .filter(|_| report.delivered_bytes > 0 || (report.outcome.is_some() && report.tasks.succeeded > 0))
    {
        lines.push(format!("results: {} ({})", output.display(), size(report.delivered_bytes)));
    }
    lines.extend(next_commands(report, failed.first().copied()));
    lines
}

/// Returns the line that says how a run ended.
pub fn summary(report: &Report) -> String {
    let tasks = &report.tasks;
    let mut counts = vec![format!("{} of {} {} succeeded", tasks.succeeded, tasks.total, noun(report))];
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
        Some(Outcome::Infrastructure) => "ended by an error outside of its tasks",
        None => "not ended",
    };
    format!("{}: {word}: {} in {}", report.run, counts.join(", "), length(report.elapsed_ms))
}

/// Returns the commands that help next.
fn next_commands(report: &Report, first_failed: Option<&TaskResult>) -> Vec<String> {
    let (run, tasks) = (&report.run, &report.tasks);
    let mut lines = vec![];
    let undelivered = report.left_behind.iter().any(|left| left.what.starts_with("container/"));
    if let Some(task) = first_failed {
        lines.push(format!("logs:    dropmill logs {run} {} --stderr", argument(task)));
    }
    if report.outcome.is_none() {
        return lines;
    }
    if undelivered && tasks.succeeded + tasks.unfinished < tasks.total {
        lines.push(format!("deliver: dropmill deliver {run}"));
    }
    if tasks.unfinished > 0 {
        lines.push(format!("retry:   dropmill retry {run}"));
    } else if tasks.failed > 0 {
        lines.push(format!("retry:   dropmill retry {run} --failed"));
    }
    lines
}

/// Returns the name of a task as an argument of a shell command.
fn argument(task: &TaskResult) -> String {
    let name = task.input.as_deref().unwrap_or(&task.task);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:,@%".contains(letter);
    match !name.is_empty() && name.chars().all(is_plain) && !name.starts_with('-') {
        true => name.to_owned(),
        // The id needs no quotes.
        false => task.task.clone(),
    }
}

/// Returns the lines of failed tasks: equal failures are one group, and the largest comes last, next to the summary.
pub fn failures(failed: &[&TaskResult], width: usize) -> Vec<String> {
    let mut groups: BTreeMap<(String, String), Vec<&TaskResult>> = BTreeMap::new();
    for task in failed {
        groups.entry(kind_of(task)).or_default().push(task);
    }
    let (mut groups, single): (Vec<_>, Vec<_>) =
        groups.into_values().partition(|tasks| tasks.len() >= MIN_GROUP);
    groups.sort_by_key(|tasks| tasks.len());
    let mut single: Vec<_> = single.into_iter().flatten().collect();
    single.sort_by(|one, other| one.input.cmp(&other.input));
    let mut lines = vec![];
    single.iter().take(MAX_FAILURES).for_each(|task| task_lines(&mut lines, task, width));
    if single.len() > MAX_FAILURES {
        lines.push(format!("{MORE}and {} more that failed", single.len() - MAX_FAILURES));
    }
    let hidden = groups.len().saturating_sub(MAX_FAILURES);
    for tasks in &groups[hidden..] {
        let first = tasks[0];
        let cause = first.cause.as_deref().unwrap_or("no cause is known");
        lines.push(format!("failed      {} tasks: {}", tasks.len(), shown(cause)));
        let examples: Vec<_> = tasks.iter().take(MAX_EXAMPLES).map(|task| title(task)).collect();
        let more = match tasks.len() - examples.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        lines.push(format!("{MORE}{}{more}", examples.join(", ")));
        lines.extend(stderr_lines(first));
    }
    lines
}

/// Returns what is equal in equal failures: the cause, and the last line of standard error without the task's own names.
fn kind_of(task: &TaskResult) -> (String, String) {
    let without_names = |text: &str| {
        let mut text = text.to_owned();
        let input = task.input.as_deref().unwrap_or_default();
        let base = input.rsplit('/').next().unwrap_or_default();
        let stem = base.rsplit_once('.').map_or(base, |(stem, _)| stem);
        for name in [&*task.task, input, base, stem] {
            if name.len() >= 2 {
                text = text.replace(name, "*");
            }
        }
        text
    };
    let last = task.stderr_tail.as_deref().and_then(|tail| tail.lines().last());
    (without_names(task.cause.as_deref().unwrap_or_default()), without_names(last.unwrap_or_default()))
}

/// What the report counts.
fn noun(report: &Report) -> &'static str {
    if report.chunks.is_some() { "inputs" } else { "tasks" }
}

/// How the inputs were grouped into tasks, and which tasks failed.
fn chunk_lines(chunks: &ChunkTally, inputs: u64) -> Vec<String> {
    let tasks = chunks.total + inputs.saturating_sub(chunks.inputs) + chunks.single;
    let mut lines = vec![format!("tasks       {tasks} tasks for {inputs} inputs")];
    let is_failed = |chunk: &&ChunkResult| chunk.result.verdict == Some(Verdict::Failed);
    for chunk in chunks.results.iter().filter(is_failed).take(MAX_CHUNKS) {
        lines.push(format!(
            "{MORE}{}: {} ({} inputs): {}",
            if chunk.split { "split" } else { "failed" },
            title(&chunk.result),
            chunk.inputs,
            shown(chunk.result.cause.as_deref().unwrap_or("no cause is recorded"))
        ));
    }
    let more = chunks.results.iter().filter(is_failed).count().saturating_sub(MAX_CHUNKS);
    if more > 0 {
        lines.push(format!("{MORE}and {more} more"));
    }
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
    if task.verdict == Some(Verdict::Succeeded)
        && let Some(code) = task.exit_code.filter(|code| *code != 0)
    {
        let _ = write!(line, "  exit code {code}");
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
    lines.extend(task.cause.iter().map(|cause| format!("{MORE}{cause}")));
    lines.extend(stderr_lines(task));
}

/// Returns the last lines of a task's standard error.
fn stderr_lines(task: &TaskResult) -> impl Iterator<Item = String> + '_ {
    let tail: Vec<_> = task.stderr_tail.iter().flat_map(|tail| tail.lines()).collect();
    let first = tail.len().saturating_sub(MAX_STDERR);
    tail.into_iter().skip(first).map(|line| format!("{MORE}| {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_journal::report::TaskTally;

    fn failed(input: &str, cause: &str, stderr: &str) -> TaskResult {
        TaskResult {
            task: input.replace(['/', '.'], "-"),
            input: Some(input.into()),
            verdict: Some(Verdict::Failed),
            cause: Some(cause.into()),
            stderr_tail: Some(stderr.into()),
            ..TaskResult::default()
        }
    }

    fn report(results: Vec<TaskResult>) -> Report {
        let failed = results.len() as u64;
        Report {
            kind: "report".into(),
            run: "sums-1".into(),
            name: "sums".into(),
            outcome: Some(Outcome::TasksFailed),
            reason: None,
            started: None,
            elapsed_ms: 1500,
            tasks: TaskTally { total: failed, succeeded: 0, failed, unfinished: 0 },
            results,
            chunks: None,
            left_behind: vec![],
            degraded: vec![],
            retries: 0,
            uploaded_bytes: 0,
            delivered_bytes: 0,
            replaced: 0,
            beside: 0,
            max_failures: None,
        }
    }

    #[test]
    fn equal_failures_are_one_group_whatever_their_inputs_are_called() {
        let mut results: Vec<_> = (10..210)
            .map(|number| {
                let input = format!("data/{number}.csv");
                failed(&input, "exit code 2", &format!("python3: can't open 'work.py' for {number}.csv"))
            })
            .collect();
        results.push(failed("data/odd name.csv", "exit code 1", "boom"));
        let expected = [
            "failed      data/odd name.csv",
            "            exit code 1",
            "            | boom",
            "failed      200 tasks: exit code 2",
            "            data/10.csv, data/11.csv, data/12.csv and 197 more",
            "            | python3: can't open 'work.py' for 10.csv",
            "sums-1: tasks failed: 0 of 201 tasks succeeded, 201 failed in 1.5s",
            "logs:    dropmill logs sums-1 data/10.csv --stderr",
            "retry:   dropmill retry sums-1 --failed",
        ];
        let found = lines(&report(results), None);
        assert_eq!(found.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn failures_with_different_causes_stay_apart() {
        let results = (0..3).map(|number| failed(&format!("d/{number}"), &format!("exit code {number}"), ""));
        let found = lines(&report(results.collect()), None);
        assert_eq!(found.iter().filter(|line| line.starts_with("failed")).count(), 3);
    }

    #[test]
    fn a_name_that_a_shell_would_split_is_given_by_its_id() {
        let name = |input: &str| argument(&failed(input, "", ""));
        assert_eq!(name("data/1.txt"), "data/1.txt");
        assert_eq!(name("$(id).txt"), "$(id)-txt");
        assert_eq!(name("-rf"), "-rf");
    }
}
