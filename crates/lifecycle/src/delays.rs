//! Delays between attempts: a table that is filled once when settings are read.

use crate::{Failure, FailureKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The delays between attempts, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// Delay after the first attempt, the second, …
    pub steps: Vec<Duration>,
    /// Whether the last delay is repeated without end; otherwise there is no further attempt.
    pub for_ever: bool,
}

/// Longest delay of retries that only a deadline ends.
const LONGEST: Duration = Duration::from_secs(30);

/// More steps than these are not written down: the last is repeated.
const MOST_STEPS: usize = 64;

impl Delays {
    /// Returns delays that begin with `first` and grow by `factor`, at least 1, up to `longest`, again and again.
    pub fn growing(first: Duration, factor: f64, longest: Duration) -> Self {
        let (mut steps, mut next) = (vec![], first.min(longest).as_secs_f64());
        while steps.len() < MOST_STEPS {
            // Whole milliseconds, as all moments of a run are.
            let step = Duration::from_millis((next * 1000.0).round() as u64).min(longest);
            if steps.last() == Some(&step) {
                break;
            }
            steps.push(step);
            next = (next * factor.max(1.0)).min(longest.as_secs_f64());
        }
        Self { steps, for_ever: true }
    }

    /// Returns the longest of the delays.
    pub fn longest(&self) -> Duration {
        self.steps.iter().max().copied().unwrap_or_default()
    }

    /// Returns the same delays, then doubling up to 30 s, without end: for retries that only a deadline ends.
    pub fn until_deadline(&self) -> Self {
        let mut steps = self.steps.clone();
        let mut last = steps.last().copied().unwrap_or(Duration::from_millis(500));
        while last < LONGEST {
            last = (last * 2).clamp(Duration::from_millis(1), LONGEST);
            steps.push(last);
        }
        Self { steps, for_ever: true }
    }

    /// Returns the delay after attempt number `attempt` (from 1), at least the time that the service asked
    /// for. `None`: no more attempts.
    pub fn after(&self, attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
        let index = attempt.saturating_sub(1) as usize;
        let own = match self.steps.get(index) {
            Some(step) => *step,
            None if self.for_ever => *self.steps.last()?,
            None => return None,
        };
        Some(own.max(retry_after.unwrap_or_default()))
    }

    /// Returns the delay after attempt number `attempt` (from 1) failed; `None`: no more attempts, or the
    /// failure is permanent.
    pub fn after_failure(&self, attempt: u32, failure: &Failure) -> Option<Duration> {
        match failure.kind {
            FailureKind::Permanent => None,
            FailureKind::Transient | FailureKind::Ambiguous => self.after(attempt, failure.retry_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_failures_are_retried_and_not_before_the_service_allows() {
        let delays = Delays { steps: vec![Duration::from_secs(1)], for_ever: false };
        let busy = Failure::transient("ServerBusy", "busy");
        let later = Failure { retry_after: Some(Duration::from_secs(9)), ..busy.clone() };
        let lost = Failure { kind: FailureKind::Ambiguous, ..busy.clone() };
        let never = Failure { kind: FailureKind::Permanent, ..later.clone() };
        let rest = |attempt, failure| delays.after_failure(attempt, failure).map(|rest| rest.as_secs());
        assert_eq!(
            [&busy, &lost, &later, &never].map(|failure| rest(1, failure)),
            [Some(1), Some(1), Some(9), None]
        );
        assert_eq!(rest(2, &later), None, "no attempt is left");
    }

    #[test]
    fn growing_delays_stop_growing_at_the_longest() {
        let seconds = |first, factor, longest| {
            let delays = Delays::growing(Duration::from_secs(first), factor, Duration::from_secs(longest));
            (1..=6).filter_map(|attempt| delays.after(attempt, None)).map(|step| step.as_secs_f64()).collect()
        };
        let check = |found: Vec<f64>, expected: [f64; 6]| assert_eq!(found, expected);
        check(seconds(10, 2.0, 60), [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]);
        check(seconds(10, 1.5, 3600), [10.0, 15.0, 22.5, 33.75, 50.625, 75.938]);
        check(seconds(10, 1.0, 60), [10.0; 6]);
        check(seconds(10, 0.1, 60), [10.0; 6]);
        check(seconds(0, 2.0, 60), [0.0; 6]);
        check(seconds(90, 2.0, 60), [60.0; 6]);
        let slow = Delays::growing(Duration::from_secs(1), 1.001, Duration::from_secs(3600));
        assert!(slow.steps.len() <= MOST_STEPS);
    }

    #[test]
    fn what_a_deadline_ends_rests_longer_and_longer_and_never_runs_out_of_tries() {
        let seconds = |steps: &[u64]| Delays {
            steps: steps.iter().map(|step| Duration::from_secs(*step)).collect(),
            for_ever: false,
        };
        let unending = seconds(&[1, 3]).until_deadline();
        let rests: Vec<_> = (1..=8).filter_map(|attempt| unending.after(attempt, None)).collect();
        assert_eq!(rests, [1, 3, 6, 12, 24, 30, 30, 30].map(Duration::from_secs));
        for limits in [seconds(&[]), seconds(&[0]), seconds(&[60])] {
            let unending = limits.until_deadline();
            assert!(unending.after(1_000, None) >= Some(LONGEST), "{limits:?}");
        }
    }
}
