//! Responses of the service: common headers, and errors by status and code.

use crate::{
    blob::{
        StoreError,
        address::BadAddress,
        lease::Denied,
        store::{Blob, Refused},
    },
    reception::Spelling,
};
use axum::{body::Body, response::Response};
use dropmill_azure_wire::{
    blob::{Metadata, VERSION, header as name, put_metadata},
    error::BlobErrorBody,
    etag::ETag,
    time::{Timestamp, http_date, iso},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// An error response: status, code, message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status of the response.
    pub status: StatusCode,
    /// Code and message.
    pub error: BlobErrorBody,
    /// Additional headers of the response.
    pub headers: Vec<(&'static str, String)>,
}

impl Refusal {
    /// Creates an error response without additional headers.
    pub fn new(status: StatusCode, error: BlobErrorBody) -> Self {
        Self { status, error, headers: vec![] }
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Creates an error response with a code and a message.
pub fn refuse(status: u16, code: &str, words: &str) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refusal::new(status, BlobErrorBody::new(code, words))
}

/// Creates the error for a range that begins after the end of a content of `length` bytes.
pub fn no_such_range(length: u64) -> Refusal {
    let words = "The range specified is invalid for the current size of the resource.";
    refuse(416, "InvalidRange", words).with_header("content-range", format!("bytes */{length}"))
}

/// Creates the error for an MD5 that is not base64 of 16 bytes.
pub fn invalid_md5() -> Refusal {
    let words = "The MD5 value specified in the request is invalid. The MD5 value must be 128 bits and Base64-encoded.";
    refuse(400, "InvalidMd5", words)
}

/// Returns the error of a copy's source as an error of the copy, with the source's status.
pub fn of_source(refusal: Refusal) -> Refusal {
    let Refusal { status, error, .. } = refusal;
    // A failure of this service is not an error of the source.
    if status.is_server_error() {
        return Refusal::new(status, error);
    }
    let (code, source) = (status.as_str().to_owned(), error.code);
    let error = BlobErrorBody { code: "CannotVerifyCopySource".into(), ..error };
    Refusal::new(status, error)
        .with_header("x-ms-copy-source-status-code", code)
        .with_header("x-ms-copy-source-error-code", source)
}

/// Creates an error for a failure of the service.
pub fn internal() -> Refusal {
    refuse(500, "InternalError", "The server encountered an internal error. Please retry the request.")
}

/// Creates an error for a feature of Azure that this service does not have.
pub fn not_here(what: &str) -> Refusal {
    refuse(501, "NotImplemented", &format!("This service does not support {what}."))
}

/// Creates the error for a body that is too long.
pub fn too_large() -> Refusal {
    refuse(
        413,
        "RequestBodyTooLarge",
        "The request body is too large and exceeds the maximum permissible limit.",
    )
}

/// Creates the error for a checksum that does not match the body.
pub fn mismatch(what: &str) -> Refusal {
    let (code, name) = if what == "MD5" { ("Md5Mismatch", "MD5") } else { ("Crc64Mismatch", "CRC64") };
    let words = format!(
        "The {name} value specified in the request did not match with the {name} value calculated by the server."
    );
    refuse(400, code, &words)
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (status, code, words) = match refused {
            Refused::NoContainer => (404, "ContainerNotFound", "The specified container does not exist."),
            Refused::ContainerExists => {
                (409, "ContainerAlreadyExists", "The specified container already exists.")
            }
            Refused::NoBlob => (404, "BlobNotFound", "The specified blob does not exist."),
            Refused::BlobExists => (409, "BlobAlreadyExists", "The specified blob already exists."),
            // As Azure responds to a SAS with `c` and without `w` (Azure/azure-cli#19203).
            Refused::NotReplaceable => (
                403,
                "UnauthorizedBlobOverwrite",
                "This request is not authorized to perform blob overwrites.",
            ),
            Refused::ConditionFailed => (
                412,
                "ConditionNotMet",
                "The condition specified using HTTP conditional header(s) is not met.",
            ),
            Refused::UnknownBlock => (400, "InvalidBlockList", "The specified block list is invalid."),
            Refused::BlockIdLength => {
                (400, "InvalidBlobOrBlock", "The specified blob or block content is invalid.")
            }
            Refused::TooManyBlocks => (
                409,
                "BlockCountExceedsLimit",
                "The uncommitted block count cannot exceed the maximum limit of 100,000 blocks.",
            ),
            Refused::OtherKind => (409, "InvalidBlobType", "The blob type is invalid for this operation."),
            Refused::AppendPosition => {
                (412, "AppendPositionConditionNotMet", "The append position condition specified was not met.")
            }
            Refused::AppendLength => {
                (412, "MaxBlobSizeConditionNotMet", "The max blob size condition specified was not met.")
            }
            Refused::TooManyAppends => (
                409,
                "BlockCountExceedsLimit",
                "The committed block count cannot exceed the maximum limit of 50,000 blocks.",
            ),
            Refused::BlobLease(denied) => return lease_denied(denied, "blob"),
            Refused::ContainerLease(denied) => return lease_denied(denied, "container"),
            Refused::Failed(error) => {
                tracing::error!(%error, "blob store");
                return internal();
            }
        };
        refuse(status, code, words)
    }
}

/// Creates the error for a violated lease; `of` is the leased resource.
fn lease_denied(denied: Denied, of: &str) -> Refusal {
    let with = if of == "blob" { "WithBlobOperation" } else { "WithContainerOperation" };
    let (status, code, words) = match denied {
        Denied::AlreadyPresent => {
            (409, "LeaseAlreadyPresent".into(), format!("There is already a lease on the {of}."))
        }
        Denied::BreakingNotAcquired => (
            409,
            "LeaseIsBreakingAndCannotBeAcquired".into(),
            "The lease is breaking and cannot be acquired until it is broken.".into(),
        ),
        Denied::BreakingNotChanged => (
            409,
            "LeaseIsBreakingAndCannotBeChanged".into(),
            "The lease is breaking and cannot be changed.".into(),
        ),
        Denied::BrokenNotRenewed => (
            409,
            "LeaseIsBrokenAndCannotBeRenewed".into(),
            "The lease is broken, or breaking, and cannot be renewed.".into(),
        ),
        Denied::NotPresent => (
            409,
            "LeaseNotPresentWithLeaseOperation".into(),
            format!("There is currently no lease on the {of}."),
        ),
        Denied::OtherLease => (
            409,
            "LeaseIdMismatchWithLeaseOperation".into(),
            format!("The lease ID specified did not match the lease ID for the {of}."),
        ),
        Denied::IdMissing => (
            412,
            "LeaseIdMissing".into(),
            format!("There is currently a lease on the {of} and no lease ID was specified in the request."),
        ),
        Denied::UseOfOther => (
            412,
            format!("LeaseIdMismatch{with}"),
            format!("The lease ID specified did not match the lease ID for the {of}."),
        ),
        Denied::UseOfNone => {
            (412, format!("LeaseNotPresent{with}"), format!("There is currently no lease on the {of}."))
        }
        Denied::Lost => (
            412,
            "LeaseLost".into(),
            format!("A lease ID was specified, but the lease for the {of} has expired."),
        ),
    };
    let code: String = code;
    refuse(status, &code, &words)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Refused::Failed(error).into()
    }
}

impl From<BadAddress> for Refusal {
    fn from(bad: BadAddress) -> Self {
        let code = match bad {
            BadAddress::NotText => "InvalidUri",
            BadAddress::Container | BadAddress::Blob | BadAddress::Control => "InvalidResourceName",
        };
        refuse(400, code, &format!("The specified resource name is invalid: {bad}."))
    }
}

/// Returns a response without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// Returns a response with XML.
pub fn xml(text: String) -> Response {
    let mut answer = Response::new(Body::from(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// Sets a header, if it can contain the value.
pub fn put(answer: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Adds metadata to a response, with the original spelling of the names.
pub fn put_named(answer: &mut Response, metadata: &Metadata) {
    put_metadata(metadata, answer.headers_mut());
    if metadata.keys().any(|key| key.bytes().any(|byte| byte.is_ascii_uppercase())) {
        let names = metadata.keys().map(|key| format!("{}{key}", name::METADATA_PREFIX));
        answer.extensions_mut().insert(Spelling::of(names));
    }
}

/// Returns a response with ETag and modification time.
pub fn tagged(status: StatusCode, etag: &ETag, modified: Timestamp) -> Response {
    let mut answer = empty(status);
    put(&mut answer, "etag", &etag.quoted());
    put(&mut answer, "last-modified", &http_date(modified));
    answer
}

/// Returns the response to a write of a blob.
pub fn written(status: StatusCode, blob: &Blob) -> Response {
    let mut answer = tagged(status, &blob.facts.etag(), blob.facts.modified);
    put(&mut answer, name::REQUEST_SERVER_ENCRYPTED, "true");
    answer
}

/// Sets the common headers of every response.
pub fn dress(answer: &mut Response, asked: &HeaderMap, request_id: &str, now: Timestamp) {
    // The response has the client's version, however new it is, because the behaviour does not depend on it.
    let version = asked.get(name::VERSION).cloned().unwrap_or(HeaderValue::from_static(VERSION));
    let headers = answer.headers_mut();
    headers.insert(name::VERSION, version);
    headers.insert(header::SERVER, HeaderValue::from_static("dropmill"));
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(name::REQUEST_ID, id);
    }
    if let Ok(date) = HeaderValue::try_from(http_date(now)) {
        headers.insert(header::DATE, date);
    }
    if let Some(id) = asked.get(name::CLIENT_REQUEST_ID) {
        headers.insert(name::CLIENT_REQUEST_ID, id.clone());
    }
}

/// Converts an error to a response. For HEAD, the code is only in the header.
pub fn refusal(refusal: Refusal, is_head: bool, request_id: &str, now: Timestamp) -> Response {
    let code =
        HeaderValue::try_from(&refusal.error.code).unwrap_or(HeaderValue::from_static("InternalError"));
    let mut answer = if is_head || refusal.status == StatusCode::NOT_MODIFIED {
        empty(refusal.status)
    } else {
        let mut answer = xml(refusal.error.clone().with_request_id(request_id, &iso(now)).write());
        *answer.status_mut() = refusal.status;
        answer
    };
    answer.headers_mut().insert(name::ERROR_CODE, code);
    refusal.headers.iter().for_each(|(name, value)| put(&mut answer, name, value));
    answer
}
