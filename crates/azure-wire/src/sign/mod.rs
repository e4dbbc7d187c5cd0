//! SharedKey: how a request proves that its sender has the account's key, for Batch and for Storage.
//!
//! Both schemes are HMAC-SHA256 over a text made of method, headers, path and query. The client signs with
//! [`SharedKey::authorize`], the service checks with [`SharedKey::verify`]; where the published rules leave
//! room, checking accepts every reading that an official library is known to sign.

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
use text::{Reading, string_to_sign};

/// How far a request's date may be from the service's clock.
pub const ALLOWED_SKEW: Duration = Duration::from_secs(15 * 60);

/// Which of the two sibling schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Azure Batch: `ocp-` headers, query names as they are sent.
    Batch,
    /// Azure Storage: `x-ms-` headers, query names in lower case.
    Storage,
}

impl Scheme {
    /// The header that holds the signed date, in place of `Date`.
    pub fn date_header(self) -> HeaderName {
        match self {
            Self::Batch => HeaderName::from_static("ocp-date"),
            Self::Storage => HeaderName::from_static("x-ms-date"),
        }
    }

    /// How the names of headers begin that are all signed.
    fn header_prefix(self) -> &'static str {
        match self {
            Self::Batch => "ocp-",
            Self::Storage => "x-ms-",
        }
    }
}

/// What of a request is signed.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as sent, percent-encoding kept.
    pub path: &'a str,
    /// The query as sent, without question mark; empty if there is none.
    pub query: &'a str,
    /// The headers.
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

/// An account's name and key, decoded once. `Debug` shows the name alone.
#[derive(Clone)]
pub struct SharedKey {
    account: String,
    mac: Hmac<Sha256>,
}

/// An account's name or key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The key is not base64.
    #[error("the key of account {account} is not base64")]
    NotBase64 {
        /// The account.
        account: String,
    },
    /// The name cannot stand in a header.
    #[error("{account:?} is not the name of an account")]
    NotAName {
        /// The account.
        account: String,
    },
}

impl SharedKey {
    /// Takes the key in base64, as the portal shows it.
    ///
    /// # Errors
    /// [`BadKey`] if it is not base64, or the name not made of visible ASCII without `:`.
    pub fn new(account: impl Into<String>, key: &Secret) -> Result<Self, BadKey> {
        let account = account.into();
        if account.is_empty() || !account.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(BadKey::NotAName { account });
        }
        let Ok(key) = STANDARD.decode(key.expose().trim()) else { return Err(BadKey::NotBase64 { account }) };
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Ok(Self { account, mac })
    }

    /// The account's name.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The signature of a text, in base64.
    pub fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.mac.clone().chain_update(text).finalize().into_bytes())
    }

    /// Whether a signature (base64) is that of a text. Takes the same time wherever they differ.
    pub fn is_signature_of(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        self.mac.clone().chain_update(text).verify_slice(&signature).is_ok()
    }

    /// The text that a request's signature is made of.
    pub fn string_to_sign<'a>(&self, scheme: Scheme, parts: impl Into<Parts<'a>>) -> String {
        string_to_sign(scheme, &self.account, &parts.into(), Reading::default())
    }

    /// Dates and signs a request. Sets Content-Length where it is signed and missing and the body knows its
    /// length; every other header must be there already. Signing again replaces date and signature.
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
        let date = HeaderValue::try_from(http_date(now)).expect("a date is ASCII");
        request.headers_mut().insert(scheme.date_header(), date);
        let signature = self.sign(&self.string_to_sign(scheme, &*request));
        let mut value = HeaderValue::try_from(format!("SharedKey {}:{signature}", self.account))
            .expect("the account's name is visible ASCII and so is base64");
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }

    /// Checks date and signature of a request.
    ///
    /// # Errors
    /// Why the request proves nothing: see [`Refusal`].
    pub fn verify<'a>(
        &self,
        scheme: Scheme,
        parts: impl Into<Parts<'a>>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let parts = parts.into();
        let given = Authorization::of(parts.headers)?;
        if given.account != self.account {
            return Err(Refusal::OtherAccount { named: given.account.into() });
        }
        check_date(scheme, parts.headers, now)?;
        let fits = |reading: &Reading| {
            self.is_signature_of(&string_to_sign(scheme, &self.account, &parts, *reading), given.signature)
        };
        if fits(&Reading::default()) || other_readings(scheme, &parts).iter().any(fits) {
            return Ok(());
        }
        let signed = string_to_sign(scheme, &self.account, &parts, Reading::default());
        Err(Refusal::WrongSignature { given: given.signature.into(), signed: signed.into() })
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey({})", self.account)
    }
}

/// The readings other than the first that make a difference for this request.
fn other_readings(scheme: Scheme, parts: &Parts<'_>) -> Vec<Reading> {
    let mut readings = vec![Reading::default()];
    let mut double = |differs: bool, change: fn(&mut Reading)| {
        if differs {
            let changed: Vec<Reading> =
                readings.clone().into_iter().map(|mut r| (change(&mut r), r).1).collect();
            readings.extend(changed);
        }
    };
    double(parts.query.contains('+'), |reading| reading.plus_is_space = true);
    match scheme {
        Scheme::Batch => {
            let upper = parts.query.bytes().any(|b| b.is_ascii_uppercase());
            let empty = parts.headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
            double(upper, |reading| reading.lower_names = true);
            double(empty, |reading| reading.empty_length = true);
        }
        Scheme::Storage => double(true, |reading| reading.byte_order = true),
    }
    readings.split_off(1)
}

/// What an Authorization header says.
struct Authorization<'a> {
    account: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let value = headers.get(header::AUTHORIZATION).ok_or(Refusal::Missing)?;
        let value = value.to_str().map_err(|_| Refusal::Malformed)?;
        let (kind, rest) = value.trim().split_once(' ').ok_or(Refusal::Malformed)?;
        if !kind.eq_ignore_ascii_case("SharedKey") {
            return Err(Refusal::OtherKind { kind: kind.into() });
        }
        let (account, signature) = rest.trim().split_once(':').ok_or(Refusal::Malformed)?;
        if account.is_empty() || signature.is_empty() {
            return Err(Refusal::Malformed);
        }
        Ok(Self { account, signature })
    }
}

fn check_date(scheme: Scheme, headers: &HeaderMap, now: Timestamp) -> Result<(), Refusal> {
    let date =
        headers.get(scheme.date_header()).or_else(|| headers.get(header::DATE)).ok_or(Refusal::NoDate)?;
    let text = date.to_str().unwrap_or_default();
    let date = parse_http_date(text).ok_or(Refusal::NoDate)?;
    let apart = now.duration_since(date).unsigned_abs();
    if apart > ALLOWED_SKEW {
        return Err(Refusal::DateTooFar { date: text.into() });
    }
    Ok(())
}

/// Why a request proves nothing. The service answers with [`Refusal::status`], [`Refusal::code`] and
/// [`Refusal::detail`]; what may hold a SAS of a signed header is shown to the sender alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no Authorization header.
    #[error("no Authorization header")]
    Missing,
    /// The header is none of `SharedKey account:signature`.
    #[error("the Authorization header is not of the form 'SharedKey account:signature'")]
    Malformed,
    /// `Bearer`, `SharedKeyLite`, ….
    #[error("authorization by {kind} is not supported")]
    OtherKind {
        /// The first word of the header.
        kind: String,
    },
    /// The header names an account that is not this one.
    #[error("account {named} is not known")]
    OtherAccount {
        /// The account named.
        named: String,
    },
    /// There is no date, or it is none.
    #[error("no valid date header")]
    NoDate,
    /// The date is more than fifteen minutes from now.
    #[error("the date {date} is more than 15 minutes from the service's clock")]
    DateTooFar {
        /// The date as sent.
        date: String,
    },
    /// The signature is not that of the request.
    #[error("the signature does not fit the request")]
    WrongSignature {
        /// The signature as sent.
        given: Secret,
        /// The text this service would have signed.
        signed: Secret,
    },
}

impl Refusal {
    /// The HTTP status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Missing => 401,
            Self::Malformed | Self::OtherKind { .. } => 400,
            _ => 403,
        }
    }

    /// The error code to answer with.
    pub fn code(&self, scheme: Scheme) -> &'static str {
        match (self, scheme) {
            (Self::Missing, Scheme::Storage) => "NoAuthenticationInformation",
            (Self::Malformed | Self::OtherKind { .. }, _) => "InvalidAuthenticationInfo",
            _ => "AuthenticationFailed",
        }
    }

    /// What the answer says as `AuthenticationErrorDetail`.
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
