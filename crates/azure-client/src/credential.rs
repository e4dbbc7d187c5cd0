//! Credentials that authorize requests.

use dropmill_azure_wire::{secret::Secret, sign::SharedKey};
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};

/// Scope of the tokens for Batch.
pub const BATCH_SCOPE: &str = "https://batch.core.windows.net/.default";

/// A source of Microsoft Entra ID tokens, which caches them until they expire: it is called before every
/// request.
pub trait TokenSource: Send + Sync {
    /// Returns a token for `scope` that is valid for some minutes.
    ///
    /// # Errors
    /// Fails if no token is available.
    fn token(&self, scope: &'static str) -> BoxFuture<'static, Result<Secret, TokenError>>;
}

/// The reason why no token is available. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no token: {reason}")]
pub struct TokenError {
    /// Message for people.
    pub reason: String,
    /// Whether a later attempt may succeed.
    pub may_pass: bool,
}

/// A credential for Batch. `Debug` shows no secret.
#[derive(Clone)]
pub enum Credential {
    /// The key of the account.
    SharedKey(SharedKey),
    /// Tokens of Microsoft Entra ID.
    Token(Arc<dyn TokenSource>),
}

impl From<SharedKey> for Credential {
    fn from(key: SharedKey) -> Self {
        Self::SharedKey(key)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedKey(key) => write!(f, "{key:?}"),
            Self::Token(_) => f.write_str("Token(***)"),
        }
    }
}
