//! What may be done about a failure: every documented error code, every class of status, every way to get no
//! answer at all.
//!
//! Codes beat statuses. What may have been done without our knowing it is [`FailureKind::Ambiguous`] only for calls
//! whose repetition matters ([`Effect::Once`]); a read or a repeatable write is simply made again.

use crate::{
    doubt::Author,
    operation::{Effect, Operation},
};
use dropmill_azure_wire::{
    time::{Timestamp, parse_http_date},
    transport::TransportError,
};
use dropmill_lifecycle::FailureKind;
use std::{io, time::Duration};

/// The longest rest a service can ask for; what it asks beyond is cut, so that a slip of its digits does not
/// stop a run.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Nothing was done, and it may be done later: too many calls, something in motion, a quota that others free.
const LATER: &[&str] = &[
    // Batch
    "TooManyRequests",
    "ServerBusy",
    "TooManyEnableAutoScaleRequests",
    "PoolBeingDeleted",
    "PoolBeingResized",
    "PoolBeingCreated",
    "JobBeingDeleted",
    "JobBeingTerminated",
    "JobScheduleBeingDeleted",
    "NodeBeingCreated",
    "NodeBeingStarted",
    "NodeBeingRebooted",
    "NodeBeingReimaged",
    "NodeNotReady",
    "NodeStateUnusable",
    "OperationInvalidForCurrentState",
    "ActiveJobAndScheduleQuotaReached",
    "PoolQuotaReached",
    // Blob
    "ContainerBeingDeleted",
    "ContainerDisabled",
    "AccountBeingCreated",
    "LeaseIdMissing",
    "Md5Mismatch",
    "IncorrectMd5",
    "InvalidBlockList",
];

/// It may have been done: ask the service what is true.
const OUTCOME_UNKNOWN: &[&str] = &["InternalError", "OperationTimedOut"];

/// Something else is there than the caller thought: look, then decide. A range is only asked for within a length that
/// the service named.
const LOOK_AGAIN: &[&str] =
    &["ConditionNotMet", "TargetConditionNotMet", "SourceConditionNotMet", "InvalidRange"];

/// The signature was not accepted. Nothing was done; once is not a wrong key.
const SIGNATURE: &[&str] =
    &["InvalidAuthenticationInfo", "NoAuthenticationInformation", "AuthenticationFailed"];

/// The same call will fail again.
const NEVER: &[&str] = &[
    // Batch, 400: the call is wrong.
    "MissingRequiredProperty",
    "InvalidPropertyValue",
    "UnsupportedProperty",
    "InvalidRequestBody",
    "MissingRequiredHeader",
    "InvalidHeaderValue",
    "UnsupportedQueryParameter",
    "InvalidQueryParameterValue",
    "MissingRequiredQueryParameter",
    "OutOfRangeQueryParameterValue",
    "OutOfRangeInput",
    "InvalidUri",
    "UnsupportedRequestVersion",
    "MultipleConditionHeadersNotSupported",
    "InvalidAutoScalingSettings",
    "AutoScalingFormulaSyntaxError",
    "TaskDependenciesNotSpecifiedOnJob",
    "TaskDependencyListTooLong",
    "TaskDependencyRangesTooLong",
    // 403: not allowed.
    "InsufficientAccountPermissions",
    "AccountIsDisabled",
    "IOError",
    // 404: not there.
    "PoolNotFound",
    "NodeNotFound",
    "JobNotFound",
    "TaskNotFound",
    "FileNotFound",
    "JobScheduleNotFound",
    "ApplicationNotFound",
    "NodeUserNotFound",
    "ResourceNotFound",
    // 405, 411, 413.
    "UnsupportedHttpVerb",
    "MissingContentLengthHeader",
    "RequestBodyTooLarge",
    // 409: there already; compare with what is wanted.
    "PoolExists",
    "JobExists",
    "TaskExists",
    "JobScheduleExists",
    "NodeUserExists",
    // 409: over, or of another kind.
    "JobNotActive",
    "JobDisabled",
    "JobCompleted",
    "TaskCompleted",
    "TaskNotCompleted",
    "TaskSucceeded",
    "NodeAlreadyInTargetSchedulingState",
    "OperationNotValidOnNode",
    "OperationNotValidOnPool",
    "TaskFilesUnavailable",
    "TaskFilesCleanedup",
    "InvalidApplicationPackageReferences",
    "TaskIdSameAsJobPreparationTask",
    "TaskIdSameAsJobReleaseTask",
    "JobPreparationTaskNotSpecified",
    "JobPreparationTaskOrReleaseTaskNotSpecified",
    "JobScheduleWithSameIdExists",
    // Blob
    "ContainerNotFound",
    "BlobNotFound",
    "ContainerAlreadyExists",
    "BlobAlreadyExists",
    "InvalidBlockId",
    "InvalidBlobOrBlock",
    "InvalidResourceName",
    "InvalidMd5",
    "AuthorizationPermissionMismatch",
    "AuthorizationResourceTypeMismatch",
    "AuthorizationProtocolMismatch",
    "AuthorizationFailure",
    "BlobArchived",
    "BlobImmutableDueToPolicy",
    "UnauthorizedBlobOverwrite",
];

/// What may be done about a refusal. `believed`: it is taken for the last word, although it is doubtful.
pub fn refused(operation: Operation, status: u16, code: &str, author: Author, believed: bool) -> FailureKind {
    match author {
        Author::Service => named(operation, status, code, believed),
        Author::Unknown => nameless(operation, status, believed),
        Author::Lost => cut(operation, status),
    }
}

/// Whether a refusal is one that must come several times before it is believed: see [`crate::doubt`].
pub fn is_doubtful(status: u16, code: &str, author: Author) -> bool {
    match author {
        Author::Service => SIGNATURE.contains(&code),
        Author::Unknown => status < 500 && !speaks_for_itself(status),
        Author::Lost => false,
    }
}

/// Whether a refusal shows that the service accepted the call's signature.
pub fn proves_the_key(status: u16, author: Author) -> bool {
    author == Author::Service && matches!(status, 404 | 409 | 412 | 416)
}

fn named(operation: Operation, status: u16, code: &str, believed: bool) -> FailureKind {
    if LATER.contains(&code) {
        FailureKind::Transient
    } else if NEVER.contains(&code) {
        FailureKind::Permanent
    } else if SIGNATURE.contains(&code) {
        if believed { FailureKind::Permanent } else { FailureKind::Transient }
    } else if OUTCOME_UNKNOWN.contains(&code) {
        lost(operation)
    } else if LOOK_AGAIN.contains(&code) {
        FailureKind::Ambiguous
    } else {
        by_status(operation, status)
    }
}

/// There is no error code: gateways answer so, whatever became of the call.
fn nameless(operation: Operation, status: u16, believed: bool) -> FailureKind {
    match status {
        // What was to be created may exist, created by this call or an earlier one: look.
        409 if operation.effect() == Effect::Once => FailureKind::Ambiguous,
        _ if believed || status >= 500 || speaks_for_itself(status) => by_status(operation, status),
        _ => lost(operation),
    }
}

/// A refusal whose error code was lost on the way is a lost answer: a 409 may say "it exists, you created it".
fn cut(operation: Operation, status: u16) -> FailureKind {
    if speaks_for_itself(status) { by_status(operation, status) } else { lost(operation) }
}

/// The statuses that say the same whatever the code is.
fn speaks_for_itself(status: u16) -> bool {
    matches!(status, 304 | 408 | 412 | 425 | 429 | 503)
}

fn by_status(operation: Operation, status: u16) -> FailureKind {
    match status {
        408 | 425 | 429 | 503 => FailureKind::Transient,
        304 | 412 => FailureKind::Ambiguous,
        501 | 505 => FailureKind::Permanent,
        500.. => lost(operation),
        _ => FailureKind::Permanent,
    }
}

/// What may be done when a call's outcome is not known.
pub fn lost(operation: Operation) -> FailureKind {
    match operation.effect() {
        Effect::Reads | Effect::Repeatable => FailureKind::Transient,
        Effect::Once => FailureKind::Ambiguous,
    }
}

/// What may be done when no answer came.
pub fn unreachable(operation: Operation, source: &TransportError) -> FailureKind {
    match source {
        TransportError::Connect(_) => FailureKind::Transient,
        TransportError::Broken(_) => lost(operation),
        TransportError::Unsendable(_) => FailureKind::Permanent,
    }
}

/// What may be done when a file could not be read or written: space comes back, a bad disk does not.
pub fn local(error: &io::Error) -> FailureKind {
    use io::ErrorKind as Kind;
    // EMFILE and ENFILE have no kind of their own; they pass when other files are closed.
    let out_of_handles = matches!(error.raw_os_error(), Some(23 | 24));
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::Interrupted | Kind::ResourceBusy => {
            FailureKind::Transient
        }
        _ if out_of_handles => FailureKind::Transient,
        _ => FailureKind::Permanent,
    }
}

/// How long a service asked not to be called: seconds, or a date read against the answer's own date, since
/// our clock may differ. At most [`LONGEST_RETRY_AFTER`]; `None` if it did not ask, or wrote rubbish.
pub fn retry_after(headers: &http::HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds is a long time as well.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let from = date(headers).unwrap_or(now);
        Duration::try_from(parse_http_date(text)?.duration_since(from)).unwrap_or_default()
    };
    if asked > LONGEST_RETRY_AFTER {
        tracing::info!(?asked, obeyed = ?LONGEST_RETRY_AFTER, "the service asks for a long rest");
    }
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// Seconds that our clock is ahead of the answer's, if that is more than ten minutes either way: the services
/// accept signatures within fifteen.
pub fn clock_ahead(headers: &http::HeaderMap, now: Timestamp) -> Option<i64> {
    let ahead = now.duration_since(date(headers)?).as_secs();
    (ahead.unsigned_abs() > 10 * 60).then_some(ahead)
}

fn date(headers: &http::HeaderMap) -> Option<Timestamp> {
    parse_http_date(headers.get(http::header::DATE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue, header};
    use std::fmt::Write;

    #[test]
    fn every_code_means_one_thing() {
        let lists = [LATER, NEVER, OUTCOME_UNKNOWN, LOOK_AGAIN, SIGNATURE];
        let mut all: Vec<&str> = lists.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn codes_are_judged_by_what_a_repetition_would_do() {
        let mut table = String::new();
        for code in [LATER, OUTCOME_UNKNOWN, LOOK_AGAIN, SIGNATURE, NEVER].concat() {
            // A status that says something else: the code decides.
            let kind = |operation| format!("{:?}", refused(operation, 418, code, Author::Service, false));
            writeln!(
                table,
                "{code:45} read {:10} repeatable {:10} once {}",
                kind(Operation::GetJob),
                kind(Operation::DeleteJob),
                kind(Operation::CreateJob)
            )
            .unwrap();
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn an_unknown_code_is_judged_by_its_status() {
        use FailureKind::{Ambiguous, Permanent, Transient};
        for (status, read, repeatable, once) in [
            (301, Permanent, Permanent, Permanent),
            (304, Ambiguous, Ambiguous, Ambiguous),
            (400, Permanent, Permanent, Permanent),
            (401, Permanent, Permanent, Permanent),
            (403, Permanent, Permanent, Permanent),
            (404, Permanent, Permanent, Permanent),
            (408, Transient, Transient, Transient),
            (409, Permanent, Permanent, Permanent),
            (412, Ambiguous, Ambiguous, Ambiguous),
            (418, Permanent, Permanent, Permanent),
            (429, Transient, Transient, Transient),
            (500, Transient, Transient, Ambiguous),
            (501, Permanent, Permanent, Permanent),
            (502, Transient, Transient, Ambiguous),
            (503, Transient, Transient, Transient),
            (504, Transient, Transient, Ambiguous),
            (599, Transient, Transient, Ambiguous),
        ] {
            let kind = |operation| refused(operation, status, "New", Author::Service, false);
            assert_eq!(kind(Operation::GetJob), read, "{status}");
            assert_eq!(kind(Operation::DeleteJob), repeatable, "{status}");
            assert_eq!(kind(Operation::CreateJob), once, "{status}");
        }
    }

    #[test]
    fn a_refusal_without_code_is_doubtful_and_one_that_broke_off_is_a_lost_answer() {
        use FailureKind::{Ambiguous, Permanent, Transient};
        // The status; then what is done about a read and a creation: without a code, without a code and believed, cut off.
        for (status, nameless, believed, cut) in [
            (301, (Transient, Ambiguous), (Permanent, Permanent), (Transient, Ambiguous)),
            (400, (Transient, Ambiguous), (Permanent, Permanent), (Transient, Ambiguous)),
            (401, (Transient, Ambiguous), (Permanent, Permanent), (Transient, Ambiguous)),
            (403, (Transient, Ambiguous), (Permanent, Permanent), (Transient, Ambiguous)),
            (404, (Transient, Ambiguous), (Permanent, Permanent), (Transient, Ambiguous)),
            (407, (Transient, Ambiguous), (Permanent, Permanent), (Transient, Ambiguous)),
            (409, (Transient, Ambiguous), (Permanent, Ambiguous), (Transient, Ambiguous)),
            (412, (Ambiguous, Ambiguous), (Ambiguous, Ambiguous), (Ambiguous, Ambiguous)),
            (429, (Transient, Transient), (Transient, Transient), (Transient, Transient)),
            (500, (Transient, Ambiguous), (Transient, Ambiguous), (Transient, Ambiguous)),
            (501, (Permanent, Permanent), (Permanent, Permanent), (Transient, Ambiguous)),
            (503, (Transient, Transient), (Transient, Transient), (Transient, Transient)),
        ] {
            let kinds = |author, believed| {
                let kind = |operation| refused(operation, status, "Whatever", author, believed);
                (kind(Operation::GetBlob), kind(Operation::CreatePool))
            };
            assert_eq!(kinds(Author::Unknown, false), nameless, "{status}");
            assert_eq!(kinds(Author::Unknown, true), believed, "{status}");
            assert_eq!(kinds(Author::Lost, false), cut, "{status}");
        }
    }

    #[test]
    fn one_rejected_signature_is_no_wrong_key_and_several_are() {
        for code in SIGNATURE {
            for operation in [Operation::GetBlob, Operation::PutBlob, Operation::CreatePool] {
                assert_eq!(
                    refused(operation, 403, code, Author::Service, false),
                    FailureKind::Transient,
                    "{code}"
                );
                assert_eq!(
                    refused(operation, 403, code, Author::Service, true),
                    FailureKind::Permanent,
                    "{code}"
                );
            }
        }
    }

    #[test]
    fn what_the_service_says_after_it_checked_the_signature_needs_no_doubt() {
        for (status, code, author, doubtful, proof) in [
            (403, "AuthenticationFailed", Author::Service, true, false),
            (403, "InsufficientAccountPermissions", Author::Service, false, false),
            (403, "Forbidden", Author::Unknown, true, false),
            (403, "Forbidden", Author::Lost, false, false),
            (404, "BlobNotFound", Author::Service, false, true),
            (404, "NotFound", Author::Unknown, true, false),
            (409, "PoolExists", Author::Service, false, true),
            (409, "Conflict", Author::Unknown, true, false),
            (301, "MovedPermanently", Author::Unknown, true, false),
            (412, "PreconditionFailed", Author::Unknown, false, false),
            (429, "TooManyRequests", Author::Unknown, false, false),
            (502, "BadGateway", Author::Unknown, false, false),
            (503, "ServerBusy", Author::Service, false, false),
        ] {
            assert_eq!(is_doubtful(status, code, author), doubtful, "{status} {code} {author:?}");
            assert_eq!(proves_the_key(status, author), proof, "{status} {code} {author:?}");
        }
    }

    #[test]
    fn no_answer_is_ambiguous_only_if_the_call_may_have_arrived_and_matters_twice() {
        use TransportError::{Broken, Connect, Unsendable};
        for (error, read, once) in [
            (Connect("refused".into()), FailureKind::Transient, FailureKind::Transient),
            (Broken("reset".into()), FailureKind::Transient, FailureKind::Ambiguous),
            (Unsendable("too long".into()), FailureKind::Permanent, FailureKind::Permanent),
        ] {
            assert_eq!(unreachable(Operation::GetBlob, &error), read, "{error}");
            assert_eq!(unreachable(Operation::AddTasks, &error), once, "{error}");
        }
    }

    #[test]
    fn a_wish_to_be_left_alone_is_obeyed_within_reason() {
        let now: Timestamp = "2026-03-02T10:00:00Z".parse().unwrap();
        for (wish, date, rest) in [
            ("30", None, Some(30)),
            (" 0 ", None, Some(0)),
            ("1000000000", None, Some(300)),
            ("99999999999999999999999", None, Some(300)),
            ("Mon, 02 Mar 2026 10:00:20 GMT", None, Some(20)),
            ("Mon, 02 Mar 2026 10:00:20 GMT", Some("Mon, 02 Mar 2026 09:59:50 GMT"), Some(30)),
            ("Mon, 02 Mar 2026 09:00:00 GMT", None, Some(0)),
            ("Tue, 02 Mar 2027 10:00:00 GMT", None, Some(300)),
            ("-5", None, None),
            ("1.5", None, None),
            ("soon", None, None),
            ("", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(wish));
            date.map(|date| headers.insert(header::DATE, HeaderValue::from_static(date)));
            assert_eq!(retry_after(&headers, now), rest.map(Duration::from_secs), "{wish}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_clock_is_called_wrong_beyond_ten_minutes() {
        let now: Timestamp = "2026-03-02T10:00:00Z".parse().unwrap();
        for (date, ahead) in [
            ("Mon, 02 Mar 2026 10:16:00 GMT", Some(-960)),
            ("Mon, 02 Mar 2026 09:44:00 GMT", Some(960)),
            ("Mon, 02 Mar 2026 10:10:00 GMT", None),
            ("rubbish", None),
        ] {
            let headers = HeaderMap::from_iter([(header::DATE, HeaderValue::from_static(date))]);
            assert_eq!(clock_ahead(&headers, now), ahead, "{date}");
        }
    }
}
