//! SharedKey authentication for Batch and Storage: a request carries a signature made with the account key.
//!
//! Both schemes are HMAC-SHA256 over a text that is built from method, headers, path and query. The client
//! signs with [`SharedKey::authorize`], the service checks with [`SharedKey::verify`]. Where the published
//! rules are ambiguous, the check accepts every variant that an official library is known to sign.

mod text;

use crate::{
    secret::Secret,
    time::{Timestamp, http_date, parse_http_date},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use sha2::Sha256;
use std::{fmt, time::Duration};
use text::{SigningVariant, string_to_sign};

/// Largest accepted difference between the date of a request and the service's clock: 15 minutes.
pub const ALLOWED_SKEW: Duration = Duration::from_secs(15 * 60);

/// The service whose SharedKey rules apply; the two differ in headers and query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Azure Batch: `ocp-` headers; query names are signed as sent.
    Batch,
    /// Azure Storage: `x-ms-` headers; query names are signed in lower case.
    Storage,
}

impl Scheme {
    /// Returns the header that holds the signed date and takes precedence over `Date`.
    pub fn date_header(self) -> HeaderName {
        match self {
            Self::Batch => HeaderName::from_static("ocp-date"),
            Self::Storage => HeaderName::from_static("x-ms-date"),
        }
    }

    /// Returns the prefix of the headers that are always signed.
    fn header_prefix(self) -> &'static str {
        match self {
            Self::Batch => "ocp-",
            Self::Storage => "x-ms-",
        }
    }
}

/// The parts of a request that the signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// HTTP method, signed in upper case as sent.
    pub method: &'a Method,
    /// Path as sent, still percent-encoded.
    pub path: &'a str,
    /// Query as sent, without the question mark; empty if there is none.
    pub query: &'a str,
    /// All request headers; which of them are signed depends on the scheme.
    pub headers: &'a HeaderMap,
}

impl<'a, B> From<&'a http::Request<B>> for Parts<'a> {
    fn from(request: &'a http::Request<B>) -> Self {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        Self { method: request.method(), path: uri.path(), query, headers: request.headers() }
    }
}

impl<'a> From<&'a http::request::Parts> for Parts<'a> {
    fn from(parts: &'a http::request::Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        Self { method: &parts.method, path: parts.uri.path(), query, headers: &parts.headers }
    }
}

/// An account name with its decoded key. `Debug` prints the name only.
#[derive(Clone)]
pub struct SharedKey {
    account: String,
    mac: Hmac<Sha256>,
}

/// An invalid account name or account key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The key is not valid base64.
    #[error("the key of account {account} is not base64")]
    NotBase64 {
        /// Account that the key belongs to.
        account: String,
    },
    /// The name is empty or contains characters that an Authorization header cannot carry.
    #[error("{account:?} is not a valid account name")]
    NotAName {
        /// Name as given.
        account: String,
    },
}

impl SharedKey {
    /// Creates a signer from an account name and its key in base64, as the Azure portal shows it.
    ///
    /// # Errors
    /// Fails if the key is not base64, or the name is not made of visible ASCII without `:`.
    pub fn new(account: impl Into<String>, key: &Secret) -> Result<Self, BadKey> {
        let account = account.into();
        if account.is_empty() || !account.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(BadKey::NotAName { account });
        }
        let Ok(key) = STANDARD.decode(key.expose().trim()) else { return Err(BadKey::NotBase64 { account }) };
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Ok(Self { account, mac })
    }

    /// Returns the account name.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Returns the signature of `text` in base64.
    pub fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.mac.clone().chain_update(text).finalize().into_bytes())
    }

    /// Returns `true` if `signature` (base64) is the signature of `text`. Compares in constant time.
    pub fn is_signature_of(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        self.mac.clone().chain_update(text).verify_slice(&signature).is_ok()
    }

    /// Returns the text that the signature of a request is computed over.
    pub fn string_to_sign<'a>(&self, scheme: Scheme, parts: impl Into<Parts<'a>>) -> String {
        string_to_sign(scheme, &self.account, &parts.into(), SigningVariant::default())
    }

    /// Sets the date header and signs the request. Also sets Content-Length if the header is missing and the
    /// body knows its length; every other header must be set before. Signing again replaces date and
    /// signature.
    pub fn authorize<B: http_body::Body>(
        &self,
        scheme: Scheme,
        request: &mut http::Request<B>,
        now: Timestamp,
    ) {
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(length) = request.body().size_hint().exact()
            && (length > 0 || writes)
            && !request.headers().contains_key(header::CONTENT_LENGTH)
        {
            request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        let date = HeaderValue::try_from(http_date(now)).expect("an HTTP date is ASCII");
        request.headers_mut().insert(scheme.date_header(), date);
        let signature = self.sign(&self.string_to_sign(scheme, &*request));
        let mut value = HeaderValue::try_from(format!("SharedKey {}:{signature}", self.account))
            .expect("account name and base64 are visible ASCII");
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }

    /// Checks the date and the signature of a request.
    ///
    /// # Errors
    /// Fails if the request is not authenticated; [`AuthError`] is the reason.
    pub fn verify<'a>(
        &self,
        scheme: Scheme,
        parts: impl Into<Parts<'a>>,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        let parts = parts.into();
        let given = Authorization::from_headers(parts.headers)?;
        if given.account != self.account {
            return Err(AuthError::OtherAccount { named: given.account.into() });
        }
        check_date(scheme, parts.headers, now)?;
        let is_match = |variant: &SigningVariant| {
            self.is_signature_of(&string_to_sign(scheme, &self.account, &parts, *variant), given.signature)
        };
        if is_match(&SigningVariant::default()) || other_variants(scheme, &parts).iter().any(is_match) {
            return Ok(());
        }
        let signed = string_to_sign(scheme, &self.account, &parts, SigningVariant::default());
        Err(AuthError::WrongSignature { given: given.signature.into(), signed: signed.into() })
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey({})", self.account)
    }
}

/// Returns the other variants of the string to sign that differ for this request.
fn other_variants(scheme: Scheme, parts: &Parts<'_>) -> Vec<SigningVariant> {
    let mut variants = vec![SigningVariant::default()];
    let mut double = |differs: bool, change: fn(&mut SigningVariant)| {
        if differs {
            let changed: Vec<SigningVariant> =
                variants.clone().into_iter().map(|mut r| (change(&mut r), r).1).collect();
            variants.extend(changed);
        }
    };
    double(parts.query.contains('+'), |variant| variant.plus_is_space = true);
    match scheme {
        Scheme::Batch => {
            let upper = parts.query.bytes().any(|b| b.is_ascii_uppercase());
            let empty = parts.headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
            double(upper, |variant| variant.lower_names = true);
            double(empty, |variant| variant.empty_length = true);
        }
        Scheme::Storage => double(true, |variant| variant.byte_order = true),
    }
    variants.split_off(1)
}

/// A parsed Authorization header of the form `SharedKey account:signature`.
struct Authorization<'a> {
    account: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn from_headers(headers: &'a HeaderMap) -> Result<Self, AuthError> {
        let value = headers.get(header::AUTHORIZATION).ok_or(AuthError::Missing)?;
        let value = value.to_str().map_err(|_| AuthError::Malformed)?;
        let (kind, rest) = value.trim().split_once(' ').ok_or(AuthError::Malformed)?;
        if !kind.eq_ignore_ascii_case("SharedKey") {
            return Err(AuthError::OtherKind { kind: kind.into() });
        }
        let (account, signature) = rest.trim().split_once(':').ok_or(AuthError::Malformed)?;
        if account.is_empty() || signature.is_empty() {
            return Err(AuthError::Malformed);
        }
        Ok(Self { account, signature })
    }
}

fn check_date(scheme: Scheme, headers: &HeaderMap, now: Timestamp) -> Result<(), AuthError> {
    let date =
        headers.get(scheme.date_header()).or_else(|| headers.get(header::DATE)).ok_or(AuthError::NoDate)?;
    let text = date.to_str().unwrap_or_default();
    let date = parse_http_date(text).ok_or(AuthError::NoDate)?;
    let apart = now.duration_since(date).unsigned_abs();
    if apart > ALLOWED_SKEW {
        return Err(AuthError::DateTooFar { date: text.into() });
    }
    Ok(())
}

/// The reason why a request is not authenticated. The service responds with [`AuthError::status`],
/// [`AuthError::code`] and [`AuthError::detail`]. The detail can contain a SAS from a signed header, so only
/// the sender may see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request has no Authorization header.
    #[error("no Authorization header")]
    Missing,
    /// The header does not have the form `SharedKey account:signature`.
    #[error("the Authorization header is not of the form 'SharedKey account:signature'")]
    Malformed,
    /// The header uses another scheme: `Bearer`, `SharedKeyLite`, ….
    #[error("authorization by {kind} is not supported")]
    OtherKind {
        /// Scheme, the first word of the header.
        kind: String,
    },
    /// The header names an account that this service does not have.
    #[error("unknown account {named}")]
    OtherAccount {
        /// Account name in the header.
        named: String,
    },
    /// The date header is missing or invalid.
    #[error("no valid date header")]
    NoDate,
    /// The date is more than 15 minutes before or after the service's clock.
    #[error("the date {date} is more than 15 minutes from the service's clock")]
    DateTooFar {
        /// Date header as sent.
        date: String,
    },
    /// The signature does not match the request.
    #[error("the signature does not match the request")]
    WrongSignature {
        /// Signature as sent.
        given: Secret,
        /// Text that this service computed the signature over.
        signed: Secret,
    },
}

impl AuthError {
    /// Returns the HTTP status of the response.
    pub fn status(&self) -> u16 {
        match self {
            Self::Missing => 401,
            Self::Malformed | Self::OtherKind { .. } => 400,
            _ => 403,
        }
    }

    /// Returns the error code of the response.
    pub fn code(&self, scheme: Scheme) -> &'static str {
        match (self, scheme) {
            (Self::Missing, Scheme::Storage) => "NoAuthenticationInformation",
            (Self::Malformed | Self::OtherKind { .. }, _) => "InvalidAuthenticationInfo",
            _ => "AuthenticationFailed",
        }
    }

    /// Returns the `AuthenticationErrorDetail` of the response.
    pub fn detail(&self) -> String {
        match self {
            Self::WrongSignature { given, signed } => format!(
                "The MAC signature found in the HTTP request '{}' is not the same as any computed signature. \
                 Server used following string to sign: '{}'.",
                given.expose(),
                signed.expose()
            ),
            Self::DateTooFar { date } => format!("Request date header too old: '{date}'"),
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
