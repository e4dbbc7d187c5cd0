//! Whether to believe a refusal that a gateway may have sent, or that the service may take back a moment later.
//!
//! One 403 is not a wrong key, and one 404 without an error code is not a wrong address: services and what stands
//! before them answer so now and then. Such a refusal is believed when several came in a row, over some seconds. A
//! rejected signature is about the account's key, so any call that the service accepts ends the row; a refusal without
//! an error code may be about one operation, so only that operation ends it. This module counts; it makes no calls and
//! never waits.

use crate::operation::Operation;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Doubtful refusals in a row after which they are believed.
pub const BELIEVED_AFTER: u32 = 5;
/// Time from the first of them to the one that is believed: many calls at the same moment are refused for one reason.
/// The fifth try of one call comes later than this, so a wrong key is reported by then.
pub const BELIEVED_NOT_BEFORE: Duration = Duration::from_secs(3);

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

/// The doubtful refusals of an account's calls, as far as they came in a row.
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
    /// The service accepted the call: the key is right, and nothing stands before this operation.
    pub fn accepted(&mut self, operation: Operation) {
        self.signature = None;
        self.nameless.remove(&operation);
    }

    /// A doubtful refusal came; returns whether to believe it.
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

    /// The answers to calls at these seconds: `+` accepted, `-` refused. Returns which refusals are believed.
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
    fn a_refusal_is_believed_after_several_in_a_row_over_some_seconds() {
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
    fn any_accepted_call_proves_the_key_but_not_that_an_operation_gets_through() {
        let calls = [(0, '-'), (1, '-'), (2, '-'), (4, '-'), (4, '+'), (5, '-')];
        assert_eq!(believed(Author::Service, &calls, GetJob), [false; 5]);
        assert_eq!(believed(Author::Unknown, &calls, GetJob), [false, false, false, false, true]);
    }
}
