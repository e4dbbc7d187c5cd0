//! Whether to believe a refusal that a gateway may have sent, or that the service may take back a moment later.
//!
//! One 403 is not a wrong key, and one 404 without an error code is not a wrong address: services and what stands
//! before them answer so now and then. Such a refusal is believed when several came in a row, over some seconds, and
//! the service accepted no call meanwhile. This module counts; it makes no calls and never waits.

use std::time::Duration;
use tokio::time::Instant;

/// Doubtful refusals in a row after which they are believed.
pub const BELIEVED_AFTER: u32 = 5;
/// Time from the first of them to the one that is believed: many calls at the same moment are refused for one reason.
pub const BELIEVED_NOT_BEFORE: Duration = Duration::from_secs(5);

/// Who wrote a refusal, as far as its response shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The service: it named an error code.
    Service,
    /// The service, or anything before it: there is no error code.
    Unknown,
    /// Nobody can say: the connection broke before the error code arrived.
    Lost,
}

/// The doubtful refusals of one account's calls since the service accepted one.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    row: Option<Row>,
}

#[derive(Debug)]
struct Row {
    since: Instant,
    refusals: u32,
}

impl Doubts {
    /// The service accepted a call: key and address are right.
    pub fn accepted(&mut self) {
        self.row = None;
    }

    /// A doubtful refusal came; returns whether to believe it.
    pub fn refused(&mut self, now: Instant) -> bool {
        let row = self.row.get_or_insert(Row { since: now, refusals: 0 });
        row.refusals = row.refusals.saturating_add(1);
        row.refusals >= BELIEVED_AFTER && now.duration_since(row.since) >= BELIEVED_NOT_BEFORE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers to calls at these seconds: `+` accepted, `-` refused. Returns which refusals are believed.
    fn believed(calls: &[(u64, char)]) -> Vec<bool> {
        let (began, mut doubts) = (Instant::now(), Doubts::default());
        let mut answers = vec![];
        for (second, answer) in calls {
            match answer {
                '+' => doubts.accepted(),
                _ => answers.push(doubts.refused(began + Duration::from_secs(*second))),
            }
        }
        answers
    }

    #[test]
    fn a_refusal_is_believed_after_several_in_a_row_over_some_seconds() {
        let (yes, no) = (true, false);
        for (what, calls, expected) in [
            ("once", &[(0, '-')][..], &[no][..]),
            ("five, over time", &[(0, '-'), (1, '-'), (2, '-'), (4, '-'), (5, '-')], &[no, no, no, no, yes]),
            ("four, over a long time", &[(0, '-'), (9, '-'), (99, '-'), (999, '-')], &[no; 4]),
            ("many at the same moment", &[(0, '-'); 40], &[no; 40]),
            (
                "a call was accepted in between",
                &[(0, '-'), (1, '-'), (2, '-'), (4, '-'), (4, '+'), (5, '-')],
                &[no; 5],
            ),
            (
                "and the next ones",
                &[(0, '-'), (1, '-'), (2, '-'), (4, '-'), (5, '-'), (6, '-'), (6, '+'), (7, '-')],
                &[no, no, no, no, yes, yes, no],
            ),
        ] {
            assert_eq!(believed(calls), expected, "{what}");
        }
    }
}
