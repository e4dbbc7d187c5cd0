//! How calls prove who makes them.

use dropmill_azure_wire::{secret::Secret, sign::SharedKey};
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};

/// The scope of a token for Batch.
pub const BATCH_SCOPE: &str = "https://batch.core.windows.net/.default";

/// Gives tokens of Microsoft Entra ID, and keeps them until they expire: it is asked before every call.
pub trait TokenSource: Send + Sync {
    /// A token for `scope` that is still valid for some minutes.
    ///
    /// # Errors
    /// When none is to be had.
    fn token(&self, scope: &'static str) -> BoxFuture<'static, Result<Secret, TokenError>>;
}

/// Why there is no token. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no token: {reason}")]
pub struct TokenError {
    /// In words.
    pub reason: String,
    /// Whether it may be had later.
    pub may_pass: bool,
}

/// How calls to Batch prove who makes them. `Debug` shows no secret.
#[derive(Clone)]
pub enum Credential {
    /// The account's key.
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
