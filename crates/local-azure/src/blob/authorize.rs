//! Authorization: by the account's key, or by a SAS.

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

/// The rights of a request.
#[derive(Debug, Clone, Copy)]
pub enum Rights {
    /// All rights: it was signed with the account's key.
    Owner,
    /// The rights of a SAS.
    Sas(sas::Rights),
}

impl Rights {
    /// Returns whether a Put may replace an existing blob.
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

    /// Returns whether the query may replace response headers: only signed queries count.
    pub fn may_replace_headers(self) -> bool {
        match self {
            Self::Owner => true,
            Self::Sas(rights) => rights.sign_response_headers(),
        }
    }
}

/// Authorizes a request for what its path names.
///
/// # Errors
/// Returns the reason why it is not authorized.
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

/// The address of requests within the process.
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Checks the SAS of a query for one action; `https`: whether a SAS that requires HTTPS is accepted.
///
/// # Errors
/// Returns the reason why the action is not allowed.
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

/// Checks that a query has a SAS of this account that is valid now and for this client, whatever it allows.
///
/// # Errors
/// Returns the reason why it is invalid.
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
