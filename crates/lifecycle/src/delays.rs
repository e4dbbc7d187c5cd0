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

impl Delays {
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
    fn retries_until_a_deadline_have_growing_delays_without_end() {
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
