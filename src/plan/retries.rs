//! Which failures of tasks are tried again, and when too many failed: from settings to the plan.

use crate::settings::{Loaded, Problem, RetryCause, Settings, Task};
use dropmill_lifecycle::{
    attempts::RetryCause as Cause,
    delays::Delays,
    plan::{FailureLimit, RetryPlan},
};
use std::collections::BTreeSet;

const FACTORS: std::ops::RangeInclusive<f64> = 1.0..=100.0;

/// Finds what makes no sense in `task.success_codes`, `task.max_retries` and `task.retry`.
pub fn check(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let task = &loaded.settings.task;
    let retry = &task.retry;
    let mut wrong = |key: &str, what: String| problems.push(Problem::new(key, what));
    let is_given = |key: &str| loaded.given.contains(key);
    let both_given = is_given("task.max_retries") && is_given("task.retry.max");
    if both_given || (task.max_retries > 0 && retry.max > 0) {
        wrong("task.max_retries", "it is short for task.retry.max: give one of the two".into());
    }
    let some_given = loaded.given.iter().any(|key| key.starts_with("task.retry."));
    if some_given && !is_given("task.retry.max") && !is_given("task.max_retries") {
        wrong(
            "task.retry",
            "max is missing: it says how often a task is tried again, for example max = 3".into(),
        );
    }
    if !FACTORS.contains(&retry.factor) {
        let (least, most) = (FACTORS.start(), FACTORS.end());
        wrong(
            "task.retry.factor",
            format!("{} is not possible: it must be from {least} to {most}", retry.factor),
        );
    }
    if retry.delay > retry.max_delay {
        wrong(
            "task.retry.delay",
            format!("{} is longer than task.retry.max_delay, {}", retry.delay, retry.max_delay),
        );
    }
    if task.success_codes.is_empty() {
        wrong("task.success_codes", "without a code no task can succeed".into());
    }
    if let Some(code) = task.success_codes.iter().find(|code| !(0..=255).contains(*code)) {
        wrong("task.success_codes", format!("{code} is no exit code: exit codes are from 0 to 255"));
    }
    if retry.on.is_empty() {
        wrong(
            "task.retry.on",
            "without a cause no task is tried again: leave the key out, or set max = 0".into(),
        );
    }
    for (key, causes) in [("task.retry.on", &retry.on), ("task.retry.not_on", &retry.not_on)] {
        let succeeds =
            |cause: &&RetryCause| matches!(cause.0, Cause::Code(code) if task.success_codes.contains(&code));
        if let Some(RetryCause(code)) = causes.iter().find(succeeds) {
            wrong(
                key,
                format!("{code} is one of task.success_codes: a task that exits with it did not fail"),
            );
        }
    }
    if let Some(RetryCause(cause)) = retry.on.iter().find(|cause| retry.not_on.contains(cause)) {
        wrong("task.retry.not_on", format!("{cause} is in task.retry.on as well"));
    }
}

/// Returns the number of attempts after the first.
pub fn max(task: &Task) -> i32 {
    task.max_retries.max(task.retry.max).into()
}

/// Returns the codes of success, each once.
pub fn success_codes(task: &Task) -> Vec<i32> {
    task.success_codes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns when a failed task is tried again.
pub fn retry(task: &Task) -> RetryPlan {
    let retry = &task.retry;
    let causes = |causes: &[RetryCause]| causes.iter().map(|cause| cause.0).collect();
    let delays = (!retry.delay.0.is_zero() && max(task) > 0)
        .then(|| Delays::growing(retry.delay.0, retry.factor, retry.max_delay.0));
    RetryPlan { on: causes(&retry.on), not_on: causes(&retry.not_on), delays }
}

/// Returns after how many failed tasks no more are started.
pub fn max_failures(settings: &Settings) -> Option<FailureLimit> {
    settings.run.max_failures.map(|most| most.0)
}
