//! Decides whether a rejection is final, or may come from a gateway or be temporary.
//!
//! A single 403 does not prove a wrong key, and a single 404 without an error code does not prove a wrong
//! address: services and proxies sometimes respond this way. Such a rejection is final after several in a row
//! within some seconds. A rejected signature concerns the account's key, so any accepted request resets the
//! count. A rejection without an error code may concern one operation, so only that operation resets it. This
//! module counts; it sends no requests and never waits.

use crate::operation::Operation;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Number of doubtful rejections in a row after which they are final.
pub const BELIEVED_AFTER: u32 = 5;
/// Minimum time from the first of them to the final one: many requests at the same time are rejected for the
/// same reason. The fifth attempt of a request comes later than this, so a wrong key is reported by then.
pub const BELIEVED_NOT_BEFORE: Duration = Duration::from_secs(3);

/// The author of a rejection, as far as its response shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The service: the response has an error code.
    Service,
    /// The service or any proxy: there is no error code.
    Unknown,
    /// Unknown: the connection broke before the error code arrived.
    Lost,
}

/// Doubtful rejections in a row, for the requests of an account.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    signature: Option<Row>,
    nameless: BTreeMap<Operation, Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    since: Instant,
    refusals: u32,
}

impl Doubts {
    /// Records that the service accepted a request: the key is right, and no proxy blocks this operation.
    pub fn accepted(&mut self, operation: Operation) {
        self.signature = None;
        self.nameless.remove(&operation);
    }

    /// Records a doubtful rejection; returns whether it is final.
    pub fn refused(&mut self, operation: Operation, author: Author, now: Instant) -> bool {
        let new = Row { since: now, refusals: 0 };
        let row = match author {
            Author::Service => self.signature.get_or_insert(new),
            Author::Unknown | Author::Lost => self.nameless.entry(operation).or_insert(new),
        };
        row.refusals = row.refusals.saturating_add(1);
        row.refusals >= BELIEVED_AFTER && now.duration_since(row.since) >= BELIEVED_NOT_BEFORE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::{CreateJob, GetJob};

    /// Simulates responses at these seconds: `+` accepted, `-` rejected. Returns which rejections are final.
    fn believed(author: Author, calls: &[(u64, char)], accepted: Operation) -> Vec<bool> {
        let (began, mut doubts) = (Instant::now(), Doubts::default());
        let mut answers = vec![];
        for (second, answer) in calls {
            match answer {
                '+' => doubts.accepted(accepted),
                _ => answers.push(doubts.refused(CreateJob, author, began + Duration::from_secs(*second))),
            }
        }
        answers
    }

    #[test]
    fn a_rejection_is_final_after_several_in_a_row_over_some_seconds() {
        let (yes, no) = (true, false);
        for (what, calls, expected) in [
            ("once", &[(0, '-')][..], &[no][..]),
            ("five, over time", &[(0, '-'), (1, '-'), (1, '-'), (2, '-'), (3, '-')], &[no, no, no, no, yes]),
            (
                "five within less",
                &[(0, '-'), (1, '-'), (2, '-'), (2, '-'), (2, '-'), (3, '-')],
                &[no, no, no, no, no, yes],
            ),
            ("four, over a long time", &[(0, '-'), (9, '-'), (99, '-'), (999, '-')], &[no; 4]),
            ("many at the same moment", &[(0, '-'); 40], &[no; 40]),
            (
                "a call was accepted in between",
                &[(0, '-'), (1, '-'), (2, '-'), (4, '-'), (4, '+'), (5, '-')],
                &[no; 5],
            ),
            (
                "and after it was believed",
                &[(0, '-'), (1, '-'), (2, '-'), (4, '-'), (5, '-'), (6, '-'), (6, '+'), (7, '-')],
                &[no, no, no, no, yes, yes, no],
            ),
        ] {
            for author in [Author::Service, Author::Unknown] {
                assert_eq!(believed(author, calls, CreateJob), expected, "{what}, {author:?}");
            }
        }
    }

    #[test]
    fn any_accepted_request_proves_the_key_but_not_that_an_operation_is_reachable() {
        let calls = [(0, '-'), (1, '-'), (2, '-'), (4, '-'), (4, '+'), (5, '-')];
        assert_eq!(believed(Author::Service, &calls, GetJob), [false; 5]);
        assert_eq!(believed(Author::Unknown, &calls, GetJob), [false, false, false, false, true]);
    }
}
