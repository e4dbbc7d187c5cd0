//! Who may do what: the account's key, or a SAS.

use super::{
    Inner,
    address::Address,
    http::answer::{Refusal, refuse},
};
use dropmill_azure_wire::{
    error::BlobErrorBody,
    sas::{self, Action, Level, SasRequest},
    sign::{Parts, Scheme},
};
use http::StatusCode;
use std::net::{IpAddr, Ipv4Addr};

/// What a request proved.
#[derive(Debug, Clone, Copy)]
pub enum Rights {
    /// Everything: it was signed with the account's key.
    Owner,
    /// What a SAS allows.
    Sas(sas::Rights),
}

impl Rights {
    /// Whether a Put may replace a blob that is there.
    pub fn may_replace(self) -> bool {
        match self {
            Self::Owner => true,
            Self::Sas(rights) => rights.allow(Action::ReplaceBlob),
        }
    }

    /// Checks whether the blob's tags may be read and set.
    ///
    /// # Errors
    /// Returns 403 for a SAS without `t`.
    pub fn check_tags(self) -> Result<(), Refusal> {
        match self {
            Self::Sas(rights) if !rights.allow(Action::TagBlob) => {
                let words = "This request is not authorized to perform this operation using this permission.";
                Err(refuse(403, "AuthorizationPermissionMismatch", words))
            }
            Self::Owner | Self::Sas(_) => Ok(()),
        }
    }

    /// Whether the query may replace headers of the answer: only what is signed counts.
    pub fn may_replace_headers(self) -> bool {
        match self {
            Self::Owner => true,
            Self::Sas(rights) => rights.sign_response_headers(),
        }
    }
}

/// Checks a request about what its path names.
///
/// # Errors
/// Why it proves nothing, or not enough.
pub fn authorize(
    inner: &Inner,
    parts: Parts<'_>,
    address: &Address,
    from: IpAddr,
) -> Result<Rights, Refusal> {
    let now = inner.clock.now();
    let query = parts.query;
    if parts.headers.contains_key(http::header::AUTHORIZATION) || !sas::is_present(query) {
        return match inner.key.verify(Scheme::Storage, parts, now) {
            Ok(()) => Ok(Rights::Owner),
            Err(refused) => {
                let words = "Server failed to authenticate the request. Make sure the value of Authorization header \
                             is formed correctly including the signature.";
                let error = BlobErrorBody::new(refused.code(Scheme::Storage), words)
                    .with("AuthenticationErrorDetail", refused.detail());
                let error = match crate::admission::way_out(&refused) {
                    Some(way_out) => error.with("Reason", way_out),
                    None => error,
                };
                let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::FORBIDDEN);
                Err(Refusal::new(status, error))
            }
        };
    }
    let level = match (&*address.container, &*address.blob) {
        ("", _) => Level::Service,
        (_, "") => Level::Container,
        _ => Level::Object,
    };
    let Some(action) = Action::from_request(parts.method, level, query) else {
        return Err(refuse(
            403,
            "AuthorizationFailure",
            "This request is not authorized to perform this operation.",
        ));
    };
    sas_rights(inner, query, address, action, from, inner.https)
}

/// Where calls within the process come from.
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Checks the SAS of a query for one action; `https`: whether a SAS that demands HTTPS counts.
///
/// # Errors
/// Why it does not allow that.
pub fn sas_rights(
    inner: &Inner,
    query: &str,
    address: &Address,
    action: Action,
    from: IpAddr,
    https: bool,
) -> Result<Rights, Refusal> {
    verify(inner, query, address, action, from, https).map(Rights::Sas).map_err(denied)
}

/// Checks that a query holds a SAS of this account that is good now and here, whatever it allows.
///
/// # Errors
/// Why it is none.
pub fn check_signature(inner: &Inner, query: &str, address: &Address, from: IpAddr) -> Result<(), Refusal> {
    use sas::AuthError::{BeyondContainer, Permission, ResourceType};
    match verify(inner, query, address, Action::DeleteBlob, from, inner.https) {
        Ok(_) | Err(BeyondContainer | Permission | ResourceType) => Ok(()),
        Err(refused) => Err(denied(refused)),
    }
}

fn verify(
    inner: &Inner,
    query: &str,
    address: &Address,
    action: Action,
    from: IpAddr,
    https: bool,
) -> Result<sas::Rights, sas::AuthError> {
    let Address { container, blob } = address;
    sas::verify(
        &inner.key,
        query,
        &SasRequest { container, blob, action, now: inner.clock.now(), https, from },
    )
}

fn denied(refused: sas::AuthError) -> Refusal {
    let mut error = BlobErrorBody::new(refused.code(), refused.message());
    if let Some(detail) = refused.detail() {
        error = error.with("AuthenticationErrorDetail", detail);
    }
    Refusal::new(StatusCode::FORBIDDEN, error)
}
