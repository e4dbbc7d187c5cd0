//! Hints for clients with unsupported credentials, for both services.

use dropmill_azure_wire::sign::AuthError;

/// Returns what a client with unsupported credentials must do; `None` if the error shows it.
pub(crate) fn way_out(refusal: &AuthError) -> Option<&'static str> {
    match refusal {
        AuthError::OtherKind { kind } if kind.eq_ignore_ascii_case("bearer") => Some(
            "This service knows no users and takes no tokens: use the name and key of the account (SharedKey, a named key \
             credential), or the connection string for Blob; `dropmill env` prints them",
        ),
        AuthError::OtherAccount { .. } => Some("Use the account's name and key that `dropmill env` prints"),
        _ => None,
    }
}
