//! The key for user delegation SAS.
//!
//! Azure gives it to users who are signed in with Microsoft Entra ID. This service has no users, so it gives
//! the key to any client with the account's key. Clients can be tested with it, and it gives no additional
//! rights.

use super::{
    Answered,
    answer::{refuse, xml},
    ask::Ask,
    intake::small,
};
use axum::body::Body;
use dropmill_azure_wire::{
    blob::{VERSION, header as name},
    sas::{DelegationKey, read_key_info},
};
use std::time::Duration;

/// Maximum validity of a key.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Maximum length of the body.
const BODY: usize = 4 << 10;
/// Id of the only user, and of the only tenant.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

impl Ask<'_> {
    pub(super) async fn delegation_key(&self, body: &mut Body) -> Answered {
        let (now, body) = (self.inner.clock.now(), small(body, BODY).await?);
        let asked = read_key_info(&body, now).map_err(|error| {
            refuse(
                400,
                "InvalidXmlDocument",
                &format!("The specified XML is not syntactically valid: {error}."),
            )
        });
        let (starts, expires) = asked?;
        let length = expires.duration_since(starts);
        if expires <= now || length.is_negative() || length.unsigned_abs() > LONGEST {
            let words = "The value for one of the XML nodes is not in the correct format: a key ends after it begins, \
                         in the future, and at most 7 days later.";
            return Err(refuse(400, "InvalidXmlNodeValue", words));
        }
        let version = self.header(name::VERSION).unwrap_or(VERSION).to_owned();
        let (object, tenant) = (NOBODY.to_owned(), NOBODY.to_owned());
        let key = DelegationKey { object, tenant, starts, expires, service: "b".into(), version };
        Ok(xml(key.write(&self.inner.key)))
    }
}
