//! What a plan does when tasks fail, for people.

use super::say::length;
use dropmill_lifecycle::{
    attempts::{CauseWord, RetryCause as Cause},
    plan::RunPlan,
};
use std::time::Duration;

/// Delays that a line names.
const SHOWN_DELAYS: usize = 4;

/// Returns what a plan does when tasks fail, a line each.
pub fn lines(plan: &RunPlan) -> Vec<String> {
    let mut lines = vec![];
    let job = &plan.job;
    let listed = |words: Vec<String>| words.join(", ");
    if job.success_codes != [0] {
        let codes = job.success_codes.iter().map(i32::to_string).collect();
        lines.push(format!("success   exit code {}", listed(codes)));
    }
    if job.max_retries != 0 {
        let words = |causes: &[Cause]| listed(causes.iter().map(described).collect());
        let mut line = format!("retries   {} after {}", job.max_retries, words(&job.retry.on));
        if !job.retry.not_on.is_empty() {
            line += &format!(", not after {}", words(&job.retry.not_on));
        }
        let steps = job.retry.delays.iter().flat_map(|delays| &delays.steps);
        let most = usize::try_from(job.max_retries).unwrap_or(usize::MAX);
        let steps: Vec<_> = steps.take(most.min(SHOWN_DELAYS + 1)).map(|step| shown(*step)).collect();
        match steps.len() {
            0 => line += ", at once",
            count if count > SHOWN_DELAYS => {
                line += &format!(", after {}, …", steps[..SHOWN_DELAYS].join(", "));
            }
            _ => line += &format!(", after {}", steps.join(", ")),
        }
        lines.push(line);
    }
    if let Some(most) = plan.most_failures() {
        lines.push(format!("failures  after {most} failed tasks no more are started"));
    }
    lines
}

fn shown(delay: Duration) -> String {
    length(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}

fn described(cause: &Cause) -> String {
    match cause {
        Cause::Code(code) => format!("exit code {code}"),
        Cause::Word(CauseWord::ExitCode) => "any exit code that is no success".into(),
        Cause::Word(word) => word.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::stored;
    use dropmill_lifecycle::{
        delays::Delays,
        plan::{FailureLimit, RetryPlan},
    };

    #[test]
    fn a_policy_has_a_line_and_the_default_one_has_none() {
        let text = include_bytes!("../plan/golden/format-1.json");
        let mut plan = stored::from_bytes("plan.json".as_ref(), text).expect("it is a plan");
        assert_eq!(lines(&plan), Vec::<String>::new());
        plan.job.max_retries = 1;
        assert_eq!(lines(&plan), ["retries   1 after any exit code that is no success, at once"]);
        (plan.job.max_retries, plan.job.success_codes) = (9, vec![0, 1]);
        plan.job.retry = RetryPlan {
            on: vec![Cause::Code(75), Cause::Word(CauseWord::NodeLost)],
            not_on: vec![Cause::Code(2)],
            delays: Some(Delays::growing(Duration::from_secs(10), 2.0, Duration::from_secs(3600))),
        };
        plan.max_failures = Some(FailureLimit::PercentHundredths(5000));
        assert_eq!(
            lines(&plan),
            [
                "success   exit code 0, 1",
                "retries   9 after exit code 75, node_lost, not after exit code 2, after 10.0s, 20.0s, 40.0s, 1m 20s, …",
                "failures  after 3 failed tasks no more are started",
            ]
        );
        plan.job.max_retries = 2;
        assert!(lines(&plan)[1].ends_with(", after 10.0s, 20.0s"), "{:?}", lines(&plan));
    }
}
