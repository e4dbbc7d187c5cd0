//! Decides how to handle a failure: for every documented error code, every class of status, and every way to
//! get no response.
//!
//! Codes take precedence over statuses. An unknown outcome is [`FailureKind::Ambiguous`] only for requests
//! that must not be repeated ([`Effect::Once`]); a read or a repeatable write is simply retried.

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

/// Longest `Retry-After` that is obeyed; longer ones are cut, so that a wrong number does not stop a run.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Codes after which nothing was done and a retry may succeed: too many requests, a change in progress, a
/// quota that other users free.
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

/// Codes after which the request may have been carried out: check the state.
const OUTCOME_UNKNOWN: &[&str] = &["InternalError", "OperationTimedOut"];

/// Codes that mean that the state differs from what the caller assumed: check it, then decide. A range is
/// only requested within a length that the service reported.
const LOOK_AGAIN: &[&str] =
    &["ConditionNotMet", "TargetConditionNotMet", "SourceConditionNotMet", "InvalidRange"];

/// Codes of a rejected signature. Nothing was done; a single one does not prove a wrong key.
const SIGNATURE: &[&str] =
    &["InvalidAuthenticationInfo", "NoAuthenticationInformation", "AuthenticationFailed"];

/// Codes after which the same request will fail again.
const NEVER: &[&str] = &[
    // Batch, 400: the request is wrong.
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
    // 404: not found.
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
    // 409: it exists already; compare it with the wanted one.
    "PoolExists",
    "JobExists",
    "TaskExists",
    "JobScheduleExists",
    "NodeUserExists",
    // 409: it has ended, or is of another kind.
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

/// Returns how to handle a rejection. `believed`: a doubtful rejection counts as final.
pub fn refused(operation: Operation, status: u16, code: &str, author: Author, believed: bool) -> FailureKind {
    match author {
        Author::Service => named(operation, status, code, believed),
        Author::Unknown => nameless(operation, status, believed),
        Author::Lost => cut(operation, status),
    }
}

/// Returns whether a rejection is doubtful and must come several times before it is final: see
/// [`crate::doubt`].
pub fn is_doubtful(status: u16, code: &str, author: Author) -> bool {
    match author {
        Author::Service => SIGNATURE.contains(&code),
        Author::Unknown => status < 500 && !speaks_for_itself(status),
        Author::Lost => false,
    }
}

/// Returns whether a rejection shows that the service accepted the signature.
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

/// Handles a rejection without an error code: gateways send it, whatever happened to the request.
fn nameless(operation: Operation, status: u16, believed: bool) -> FailureKind {
    match status {
        // The resource may exist, created by this request or an earlier one: check.
        409 if operation.effect() == Effect::Once => FailureKind::Ambiguous,
        _ if believed || status >= 500 || speaks_for_itself(status) => by_status(operation, status),
        _ => lost(operation),
    }
}

/// Handles a rejection whose error code was lost as a lost response: a 409 may mean that this client created
/// the resource.
fn cut(operation: Operation, status: u16) -> FailureKind {
    if speaks_for_itself(status) { by_status(operation, status) } else { lost(operation) }
}

/// Returns whether a status has the same meaning for every code.
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

/// Returns how to handle a request with an unknown outcome.
pub fn lost(operation: Operation) -> FailureKind {
    match operation.effect() {
        Effect::Reads | Effect::Repeatable => FailureKind::Transient,
        Effect::Once => FailureKind::Ambiguous,
    }
}

/// Returns how to handle a request without a response.
pub fn unreachable(operation: Operation, source: &TransportError) -> FailureKind {
    match source {
        TransportError::Connect(_) => FailureKind::Transient,
        TransportError::Broken(_) => lost(operation),
        TransportError::Unsendable(_) => FailureKind::Permanent,
    }
}

/// Returns how to handle a file that could not be read or written: a full disk is temporary, a defective one
/// is not.
pub fn local(error: &io::Error) -> FailureKind {
    use io::ErrorKind as Kind;
    // EMFILE and ENFILE have no kind of their own; they are temporary, because other files get closed.
    let out_of_handles = matches!(error.raw_os_error(), Some(23 | 24));
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::Interrupted | Kind::ResourceBusy => {
            FailureKind::Transient
        }
        _ if out_of_handles => FailureKind::Transient,
        _ => FailureKind::Permanent,
    }
}

/// Returns the value of Retry-After: seconds, or a date compared with the date of the response, because the
/// clock of this machine may differ. At most [`LONGEST_RETRY_AFTER`]; `None` if it is missing or invalid.
pub fn retry_after(headers: &http::HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds mean a long time as well.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let from = date(headers).unwrap_or(now);
        Duration::try_from(parse_http_date(text)?.duration_since(from)).unwrap_or_default()
    };
    if asked > LONGEST_RETRY_AFTER {
        tracing::info!(?asked, obeyed = ?LONGEST_RETRY_AFTER, "the service asks for a long delay");
    }
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// Returns the seconds that the clock of this machine is ahead of the response's, if the difference is more
/// than ten minutes: the services accept signatures within fifteen.
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
    fn every_code_has_one_meaning() {
        let lists = [LATER, NEVER, OUTCOME_UNKNOWN, LOOK_AGAIN, SIGNATURE];
        let mut all: Vec<&str> = lists.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn codes_are_handled_by_the_effect_of_a_repetition() {
        let mut table = String::new();
        for code in [LATER, OUTCOME_UNKNOWN, LOOK_AGAIN, SIGNATURE, NEVER].concat() {
            // A status with another meaning: the code decides.
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
    fn an_unknown_code_is_handled_by_its_status() {
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
    fn a_rejection_without_code_is_doubtful_and_an_interrupted_one_is_a_lost_response() {
        use FailureKind::{Ambiguous, Permanent, Transient};
        // The status, then how a read and a creation are handled: without a code, without a code but final,
        // interrupted.
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
    fn several_rejected_signatures_mean_a_wrong_key_and_one_does_not() {
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
    fn a_rejection_after_the_signature_check_is_final() {
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
    fn no_response_is_ambiguous_only_if_the_request_may_have_arrived_and_must_not_be_repeated() {
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
    fn retry_after_is_obeyed_up_to_a_limit() {
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
    fn a_clock_is_reported_as_wrong_beyond_ten_minutes() {
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
