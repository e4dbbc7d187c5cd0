//! What may be done about a failure: every documented error code, every class of status, every way to get no
//! answer at all.
//!
//! Codes beat statuses. What may have been done without our knowing it is [`Fault::Ambiguous`] only for calls
//! whose repetition matters ([`Effect::Once`]); a read or a repeatable write is simply made again.

use crate::operation::{Effect, Operation};
use dropmill_azure_wire::{
    fault::Fault,
    time::{Timestamp, parse_http_date},
    transport::TransportError,
};
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

/// Something else is there than the caller thought: look, then decide.
const LOOK_AGAIN: &[&str] = &["ConditionNotMet", "TargetConditionNotMet", "SourceConditionNotMet"];

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
    "InvalidAuthenticationInfo",
    // 401, 403: not allowed.
    "NoAuthenticationInformation",
    "AuthenticationFailed",
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
    // 405, 411, 413, 416.
    "UnsupportedHttpVerb",
    "MissingContentLengthHeader",
    "RequestBodyTooLarge",
    "InvalidRange",
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

/// What may be done when a service refused a call.
pub fn refused(operation: Operation, status: u16, code: &str) -> Fault {
    if LATER.contains(&code) {
        Fault::Transient
    } else if NEVER.contains(&code) {
        Fault::Permanent
    } else if OUTCOME_UNKNOWN.contains(&code) {
        lost(operation)
    } else if LOOK_AGAIN.contains(&code) {
        Fault::Ambiguous
    } else {
        by_status(operation, status)
    }
}

fn by_status(operation: Operation, status: u16) -> Fault {
    match status {
        408 | 425 | 429 | 503 => Fault::Transient,
        304 | 412 => Fault::Ambiguous,
        501 | 505 => Fault::Permanent,
        500.. => lost(operation),
        _ => Fault::Permanent,
    }
}

/// What may be done when a call's outcome is not known.
pub fn lost(operation: Operation) -> Fault {
    match operation.effect() {
        Effect::Reads | Effect::Repeatable => Fault::Transient,
        Effect::Once => Fault::Ambiguous,
    }
}

/// What may be done when no answer came.
pub fn unreachable(operation: Operation, source: &TransportError) -> Fault {
    match source {
        TransportError::Connect(_) => Fault::Transient,
        TransportError::Broken(_) => lost(operation),
        TransportError::Unsendable(_) => Fault::Permanent,
    }
}

/// What may be done when a file could not be read or written: space comes back, a bad disk does not.
pub fn local(error: &io::Error) -> Fault {
    use io::ErrorKind as Kind;
    // EMFILE and ENFILE have no kind of their own; they pass when other files are closed.
    let out_of_handles = matches!(error.raw_os_error(), Some(23 | 24));
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::Interrupted | Kind::ResourceBusy => Fault::Transient,
        _ if out_of_handles => Fault::Transient,
        _ => Fault::Permanent,
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::{HeaderMap, HeaderValue, header};
    use std::fmt::Write;

    #[test]
    fn every_code_means_one_thing() {
        let lists = [LATER, NEVER, OUTCOME_UNKNOWN, LOOK_AGAIN];
        let mut all: Vec<&str> = lists.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn codes_are_judged_by_what_a_repetition_would_do() {
        let mut table = String::new();
        for code in [LATER, OUTCOME_UNKNOWN, LOOK_AGAIN, NEVER].concat() {
            // A status that says something else: the code decides.
            let fault = |operation| format!("{:?}", refused(operation, 418, code));
            writeln!(
                table,
                "{code:45} read {:10} repeatable {:10} once {}",
                fault(Operation::GetJob),
                fault(Operation::DeleteJob),
                fault(Operation::CreateJob)
            )
            .unwrap();
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn an_unknown_code_is_judged_by_its_status() {
        use Fault::{Ambiguous, Permanent, Transient};
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
            assert_eq!(refused(Operation::GetJob, status, "New"), read, "{status}");
            assert_eq!(refused(Operation::DeleteJob, status, "New"), repeatable, "{status}");
            assert_eq!(refused(Operation::CreateJob, status, "New"), once, "{status}");
        }
    }

    #[test]
    fn no_answer_is_ambiguous_only_if_the_call_may_have_arrived_and_matters_twice() {
        use TransportError::{Broken, Connect, Unsendable};
        for (error, read, once) in [
            (Connect("refused".into()), Fault::Transient, Fault::Transient),
            (Broken("reset".into()), Fault::Transient, Fault::Ambiguous),
            (Unsendable("too long".into()), Fault::Permanent, Fault::Permanent),
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
