//! What a client needs to know of a service.

use dropmill_azure_wire::secret::Secret;

/// The address of a service and the key of an account.
pub struct Account {
    /// Address of the account: `https://account.region.batch.azure.com`.
    pub endpoint: String,
    /// The name of the account.
    pub account: String,
    /// The key of the account.
    pub key: Secret,
}
