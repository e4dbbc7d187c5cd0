//! Decides about responses and retries, without a connection.

use super::Limits;
use crate::orders::DoorError;
use dropmill_azure_wire::{secret::shown_url, uri::encode_path};
use std::time::Duration;
use url::Url;

/// The meaning of a response's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Success: the body is the requested content.
    Done,
    /// The content is at another address.
    Moved,
    /// The content does not exist.
    Absent,
    /// Access is denied.
    Denied,
    /// A later attempt may succeed.
    Later,
    /// It fails, and so would another attempt.
    Fails,
}

/// Determines the verdict from the status and, of a storage service, the error code (`x-ms-error-code`).
pub(super) fn judge(status: u16, code: &str) -> Verdict {
    match (status, code) {
        // Neither a part of the content (206) nor an accepted request (202) is the content.
        (200 | 201 | 203 | 204, _) => Verdict::Done,
        (301 | 302 | 303 | 307 | 308, _) => Verdict::Moved,
        (404 | 410, _) => Verdict::Absent,
        // Storage accounts without anonymous access respond with 409.
        (401 | 403, _) | (409, "PublicAccessNotPermitted") => Verdict::Denied,
        (408 | 429 | 500 | 502 | 503 | 504, _) => Verdict::Later,
        _ => Verdict::Fails,
    }
}

/// A failed attempt, and whether another one may succeed.
#[derive(Debug, PartialEq)]
pub(super) struct Failed {
    /// Error of the caller, if it is the last attempt.
    pub error: DoorError,
    /// Whether another attempt may succeed.
    pub again: Again,
}

/// Whether and when another attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It would fail in the same way.
    Never,
    /// After the usual delay.
    Soon,
    /// After this delay, which the server requests, or the usual one if that is longer.
    After(Duration),
}

impl Failed {
    /// Creates a permanent failure.
    pub fn finally(error: DoorError) -> Self {
        Self { error, again: Again::Never }
    }

    /// Creates a temporary failure.
    pub fn for_now(error: DoorError) -> Self {
        Self { error, again: Again::Soon }
    }

    /// Creates the failure for a response that is not a redirect.
    pub fn of(subject: &str, status: u16, code: &str, retry_after: Option<Duration>) -> Self {
        let answer = match code {
            "" => format!("{subject}: the server responds with {status}"),
            code => format!("{subject}: the server responds with {status} {code}"),
        };
        match judge(status, code) {
            Verdict::Absent => Self::finally(DoorError::NotFound(answer)),
            Verdict::Denied => Self::finally(DoorError::Denied(answer)),
            Verdict::Later => {
                let again = retry_after.map_or(Again::Soon, Again::After);
                Self { error: DoorError::Other(answer), again }
            }
            Verdict::Done | Verdict::Moved | Verdict::Fails => Self::finally(DoorError::Other(answer)),
        }
    }
}

/// Returns the delay before the next attempt, after `failures` failed ones; `None` if there is none.
pub(super) fn delay(limits: &Limits, failures: usize, again: Again) -> Option<Duration> {
    let usual = *limits.delays.get(failures.checked_sub(1)?)?;
    match again {
        Again::Never => None,
        Again::Soon => Some(usual),
        Again::After(asked) => Some(usual.max(asked.min(limits.longest_delay))),
    }
}

/// Parses an address.
///
/// # Errors
/// [`DoorError::Denied`] if it is not an http or https address.
pub(super) fn read(text: &str) -> Result<Url, DoorError> {
    let denied = || DoorError::Denied(format!("{} is not an http or https address", shown_url(text)));
    let url = Url::parse(text).map_err(|_| denied())?;
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(_)) => Ok(url),
        _ => Err(denied()),
    }
}

/// Returns the target of a redirect.
///
/// # Errors
/// A permanent failure if it is not an http or https address, or leads from `https` to `http`.
pub(super) fn redirect(from: &Url, location: Option<&str>) -> Result<Url, Failed> {
    let shown = shown_url(from.as_str());
    let fails = |what: String| Failed::finally(DoorError::Other(format!("{shown}: {what}")));
    let location =
        location.ok_or_else(|| fails("the server responds with a redirect without an address".into()))?;
    let to = from.join(location).map_err(|_| fails("the address of a redirect is invalid".into()))?;
    let to_shown = shown_url(to.as_str()).into_owned();
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(to),
        ("https", "http") => {
            Err(fails(format!("a redirect leads from https to http, which is not followed: {to_shown}")))
        }
        _ => Err(fails(format!("a redirect leads to {to_shown}, which is not an http or https address"))),
    }
}

/// Checks that a request can name a blob. URL parsers remove segments `.` and `..`, so a request would name
/// another blob.
///
/// # Errors
/// [`DoorError::Other`] if it cannot.
pub(super) fn check_name(container: &str, blob: &str) -> Result<(), DoorError> {
    match blob.split('/').any(|part| matches!(part, "." | "..")) {
        true => Err(DoorError::Other(format!("{container}: a URL cannot contain the blob name {blob:?}"))),
        false => Ok(()),
    }
}

/// Returns the URL of a container, or of a blob in it, with additional query parameters after its SAS.
///
/// # Errors
/// [`DoorError::Denied`] if it is not a web address; [`DoorError::Other`] if no URL can contain the blob's
/// name.
pub(super) fn of_container(container_url: &str, blob: &str, query: &str) -> Result<Url, DoorError> {
    let (address, sas) = container_url.split_once('?').unwrap_or((container_url, ""));
    let mut text = address.trim_end_matches('/').to_owned();
    if !blob.is_empty() {
        text = format!("{text}/{}", encode_path(blob));
    }
    check_name(&shown_url(address), blob)?;
    let parts = [sas.trim_end_matches('&'), query];
    let query: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if !query.is_empty() {
        text = format!("{text}?{}", query.join("&"));
    }
    read(&text)
}

/// Returns the block length for a file of this length; only the last block may be shorter.
pub(super) fn block_length(limits: &Limits, length: u64) -> u64 {
    /// Maximum number of blocks of a blob.
    const MOST: u64 = 50_000;
    limits.block_bytes.max(length.div_ceil(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_verdict_follows_from_the_status() {
        for (status, code, expected) in [
            (200, "", Verdict::Done),
            (201, "", Verdict::Done),
            (202, "", Verdict::Fails),
            (203, "", Verdict::Done),
            (204, "", Verdict::Done),
            (206, "", Verdict::Fails),
            (301, "", Verdict::Moved),
            (302, "", Verdict::Moved),
            (303, "", Verdict::Moved),
            (304, "", Verdict::Fails),
            (307, "", Verdict::Moved),
            (308, "", Verdict::Moved),
            (400, "InvalidUri", Verdict::Fails),
            (401, "", Verdict::Denied),
            (403, "AuthenticationFailed", Verdict::Denied),
            (404, "BlobNotFound", Verdict::Absent),
            (407, "", Verdict::Fails),
            (408, "", Verdict::Later),
            (409, "PublicAccessNotPermitted", Verdict::Denied),
            (409, "BlobArchived", Verdict::Fails),
            (410, "", Verdict::Absent),
            (412, "LeaseIdMissing", Verdict::Fails),
            (416, "", Verdict::Fails),
            (429, "", Verdict::Later),
            (500, "InternalError", Verdict::Later),
            (501, "NotImplemented", Verdict::Fails),
            (502, "", Verdict::Later),
            (503, "ServerBusy", Verdict::Later),
            (504, "", Verdict::Later),
        ] {
            assert_eq!(judge(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn only_temporary_failures_are_retried_a_limited_number_of_times() {
        let limits =
            Limits { delays: vec![SECOND, 4 * SECOND], longest_delay: 9 * SECOND, ..Limits::default() };
        for (failures, again, expected) in [
            (1, Again::Never, None),
            (1, Again::Soon, Some(SECOND)),
            (2, Again::Soon, Some(4 * SECOND)),
            (3, Again::Soon, None),
            (1, Again::After(3 * SECOND), Some(3 * SECOND)),
            (2, Again::After(3 * SECOND), Some(4 * SECOND)),
            (1, Again::After(3600 * SECOND), Some(9 * SECOND)),
            (3, Again::After(SECOND), None),
        ] {
            assert_eq!(delay(&limits, failures, again), expected, "{failures} {again:?}");
        }
    }

    #[test]
    fn a_response_determines_the_error_and_whether_it_is_temporary() {
        let failed = |status, code, after| Failed::of("https://h/a", status, code, after);
        let gone = failed(404, "BlobNotFound", None);
        assert_eq!(
            gone.error.to_string(),
            "not found: https://h/a: the server responds with 404 BlobNotFound"
        );
        assert_eq!(gone.again, Again::Never);
        assert_eq!(
            failed(403, "", None),
            Failed::finally(DoorError::Denied("https://h/a: the server responds with 403".into()))
        );
        assert_eq!(failed(500, "", None).again, Again::Soon);
        assert_eq!(failed(503, "", Some(SECOND)).again, Again::After(SECOND));
        assert_eq!(failed(400, "", Some(SECOND)).again, Again::Never);
        assert_eq!(failed(302, "", None).again, Again::Never);
    }

    #[test]
    fn an_address_must_be_http_or_https() {
        for (text, expected) in [
            ("http://h", true),
            ("https://me:word@h:1/a?b#c", true),
            ("HTTPS://H/a", true),
            ("ftp://h/a", false),
            ("file:///etc/passwd", false),
            ("data:,x", false),
            ("h/a", false),
            ("", false),
        ] {
            assert_eq!(read(text).is_ok(), expected, "{text}");
        }
        let shown = read("ftp://me:secret@h/a?sig=secret").unwrap_err().to_string();
        assert!(!shown.contains("secret") && shown.contains("ftp://h/a"), "{shown}");
    }

    #[test]
    fn a_redirect_leads_to_a_web_address_and_never_from_https_to_http() {
        for (from, location, expected) in [
            ("http://h/a/b?sig=x", Some("c"), Some("http://h/a/c")),
            ("http://h/a/b", Some("/c?d=e"), Some("http://h/c?d=e")),
            ("http://h/a", Some("//g/c"), Some("http://g/c")),
            ("http://h/a", Some("https://g/c"), Some("https://g/c")),
            ("https://h/a", Some("https://g/c"), Some("https://g/c")),
            ("https://me:word@h/a", Some("https://g/c"), Some("https://g/c")),
            ("https://h/a", Some("http://h/a"), None),
            ("http://h/a", Some("file:///etc/passwd"), None),
            ("http://h/a", Some("http://"), None),
            ("http://h/a", None, None),
        ] {
            let to = redirect(&from.parse().unwrap(), location);
            assert_eq!(to.ok().as_ref().map(Url::as_str), expected, "{from} {location:?}");
        }
        let from = "https://h/a?sig=secret".parse().unwrap();
        let failed = redirect(&from, Some("http://g/c?sig=secret")).unwrap_err();
        assert!(
            failed.error.to_string().contains("http://g/c") && !failed.error.to_string().contains("secret")
        );
    }

    #[test]
    fn names_are_inserted_before_the_query_of_a_container() {
        for (container, blob, query, expected) in [
            ("https://h/c?sv=1&sig=x%3D", "", "comp=list", Some("https://h/c?sv=1&sig=x%3D&comp=list")),
            ("https://h/c/?sig=x&", "a b/é?#", "", Some("https://h/c/a%20b/%C3%A9%3F%23?sig=x")),
            ("http://h:1/acc/c", "a", "", Some("http://h:1/acc/c/a")),
            ("http://h:1/acc/c", "a//b/", "comp=block", Some("http://h:1/acc/c/a//b/?comp=block")),
            ("https://h/c?sig=x", "..", "", None),
            ("https://h/c?sig=x", "a/./b", "", None),
            ("https://h/c?sig=x", "a/../../d/b", "", None),
            ("https://h/c?sig=x", "a/..", "", None),
            ("ftp://h/c?sig=x", "a", "", None),
        ] {
            let url = of_container(container, blob, query);
            assert_eq!(url.ok().as_ref().map(Url::as_str), expected, "{container} {blob}");
        }
    }

    #[test]
    fn a_blob_has_at_most_fifty_thousand_blocks() {
        let limits = Limits { block_bytes: 4 << 20, ..Limits::default() };
        for (length, expected) in [
            (1_u64, 4 << 20),
            (50_000 * (4 << 20), 4 << 20),
            (50_000 * (4 << 20) + 1, (4 << 20) + 1),
            (1 << 42, (1_u64 << 42).div_ceil(50_000)),
        ] {
            let block = block_length(&limits, length);
            assert_eq!(block, expected, "{length}");
            assert!(length.div_ceil(block) <= 50_000);
        }
    }
}
