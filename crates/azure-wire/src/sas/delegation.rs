//! User delegation keys: requested by a client, issued, and derived again when a SAS is checked.
//!
//! A key is derived from the account key and the fields that the SAS repeats, so the service stores nothing.
//! A key that was never issued cannot be guessed, and an issued one stays valid until it expires, across
//! restarts.

use crate::{
    secret::Secret,
    sign::{BadKey, SharedKey},
    time::{Timestamp, iso_seconds, parse_iso},
    xml::{BadXml, Document, Element},
};

const REQUEST_ROOT: &str = "KeyInfo";
const RESPONSE_ROOT: &str = "UserDelegationKey";

/// The scope of a user delegation key: fields `skoid`, `sktid`, `skt`, `ske`, `sks` and `skv` of a SAS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationKey {
    /// Object id of the user.
    pub object: String,
    /// Tenant of the user.
    pub tenant: String,
    /// Start of the key's validity.
    pub starts: Timestamp,
    /// End of the key's validity.
    pub expires: Timestamp,
    /// Service that the key is for; `b` is Blob Storage.
    pub service: String,
    /// Protocol version that the key was issued with.
    pub version: String,
}

impl DelegationKey {
    /// Derives the key from the account key.
    ///
    /// # Errors
    /// Never fails for a valid account name, which `owner` already has.
    pub fn key(&self, owner: &SharedKey) -> Result<SharedKey, BadKey> {
        SharedKey::new(owner.account(), &self.value(owner))
    }

    /// Returns the key in base64.
    fn value(&self, owner: &SharedKey) -> Secret {
        let (starts, expires) = (iso_seconds(self.starts), iso_seconds(self.expires));
        let Self { object, tenant, service, version, .. } = self;
        let fields = ["user delegation key", object, tenant, &starts, &expires, service, version];
        owner.sign(&fields.join("\n")).into()
    }

    /// Returns the body of the response to Get User Delegation Key.
    pub fn write(&self, owner: &SharedKey) -> String {
        let mut xml = Document::new(RESPONSE_ROOT, &[]);
        xml.leaf("SignedOid", &self.object);
        xml.leaf("SignedTid", &self.tenant);
        xml.leaf("SignedStart", &iso_seconds(self.starts));
        xml.leaf("SignedExpiry", &iso_seconds(self.expires));
        xml.leaf("SignedService", &self.service);
        xml.leaf("SignedVersion", &self.version);
        xml.leaf("Value", self.value(owner).expose());
        xml.end(RESPONSE_ROOT)
    }
}

/// Parses the body of Get User Delegation Key and returns the requested start and expiry. The start defaults
/// to `now`.
///
/// # Errors
/// Fails if the body is not valid XML, a time is invalid, or the expiry is missing.
pub fn read_key_info(body: &[u8], now: Timestamp) -> Result<(Timestamp, Timestamp), BadXml> {
    let root = Element::read(body, REQUEST_ROOT)?;
    let time = |name: &str| match root.leaf(name) {
        None => Ok(None),
        Some(text) => match parse_iso(text.trim()) {
            Some(time) => Ok(Some(time)),
            None => {
                Err(BadXml { root: REQUEST_ROOT, reason: format!("<{name}> is not a valid time: {text}") })
            }
        },
    };
    let missing = || BadXml { root: REQUEST_ROOT, reason: "<Expiry> is missing".into() };
    Ok((time("Start")?.unwrap_or(now), time("Expiry")?.ok_or_else(missing)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sas::{Action, SasRequest, verify},
        uri::Query,
    };
    use std::net::IpAddr;

    const KEY_FROM: &str = "2026-06-30T00:00:00Z";
    const KEY_UNTIL: &str = "2026-07-03T00:00:00Z";
    const UNTIL: &str = "2026-07-05T00:00:00Z";
    const RESOURCE: &str = "/blob/devstoreaccount1/c1/dir a/b.txt";

    fn owner() -> SharedKey {
        let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
        SharedKey::new("devstoreaccount1", &Secret::new(key)).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        parse_iso(text).unwrap()
    }

    fn key() -> DelegationKey {
        DelegationKey {
            object: "o".into(),
            tenant: "t".into(),
            starts: at(KEY_FROM),
            expires: at(KEY_UNTIL),
            service: "b".into(),
            version: "2025-01-05".into(),
        }
    }

    /// Returns the key as a client reads it from the response.
    fn issued_key() -> SharedKey {
        let body = key().write(&owner());
        let root = Element::read(body.as_bytes(), RESPONSE_ROOT).unwrap();
        assert_eq!((root.leaf("SignedOid"), root.leaf("SignedTid")), (Some("o"), Some("t")));
        assert_eq!((root.leaf("SignedStart"), root.leaf("SignedExpiry")), (Some(KEY_FROM), Some(KEY_UNTIL)));
        SharedKey::new("devstoreaccount1", &root.leaf("Value").unwrap().into()).unwrap()
    }

    /// Returns a SAS to read one blob, signed by `signer` over `lines`; `{k}` stands for the fields of the
    /// key.
    fn sas(signer: &SharedKey, version: &str, lines: &str, more: &[(&str, &str)]) -> String {
        let fields = [KEY_FROM, KEY_UNTIL, "b", "2025-01-05"].join("\n");
        let text = format!("r\n\n{UNTIL}\n{RESOURCE}\no\nt\n{fields}\n{lines}");
        let pairs =
            [("sv", version), ("se", UNTIL), ("sr", "b"), ("sp", "r"), ("skoid", "o"), ("sktid", "t")];
        let of_key = [("skt", KEY_FROM), ("ske", KEY_UNTIL), ("sks", "b"), ("skv", "2025-01-05")];
        let signature = signer.sign(&text);
        let signed = ("sig", &*signature);
        let all = pairs.iter().chain(&of_key).chain(more).chain([&signed]);
        all.fold(Query::default(), |query, (name, value)| query.with(name, value)).as_str().into()
    }

    fn outcome(query: &str, blob: &str, action: Action, now: &str) -> String {
        let from = IpAddr::from([127, 0, 0, 1]);
        let request = SasRequest { container: "c1", blob, action, now: at(now), https: true, from };
        match verify(&owner(), query, &request) {
            Ok(_) => "ok".into(),
            Err(error) => error.code().into(),
        }
    }

    fn reads(query: &str) -> String {
        outcome(query, "dir a/b.txt", Action::ReadBlob, "2026-07-01T00:00:00Z")
    }

    /// Everything after the fields of the key, as each version signs it.
    const TEXTS: [(&str, &str); 5] = [
        ("2018-11-09", "\n\n2018-11-09\nb\n\n\n\n\n\n"),
        ("2020-02-10", "\n\n\n\n\n2020-02-10\nb\n\n\n\n\n\n"),
        ("2020-12-06", "\n\n\n\n\n2020-12-06\nb\n\n\n\n\n\n\n"),
        ("2025-07-05", "\n\n\n\n\n\n\n2025-07-05\nb\n\n\n\n\n\n\n"),
        ("2026-10-06", "\n\n\n\n\n\n\n2026-10-06\nb\n\n\n\n\n\n\n\n\n"),
    ];

    #[test]
    fn a_sas_of_every_version_is_accepted_if_signed_with_the_issued_key() {
        for (version, lines) in TEXTS {
            assert_eq!(reads(&sas(&issued_key(), version, lines, &[])), "ok", "{version}");
            assert_eq!(reads(&sas(&owner(), version, lines, &[])), "AuthenticationFailed", "{version}");
        }
        assert_eq!(reads(&sas(&issued_key(), "2018-03-28", TEXTS[0].1, &[])), "AuthenticationFailed");
    }

    #[test]
    fn a_sas_allows_its_permissions_while_it_and_its_key_are_valid() {
        let good = sas(&issued_key(), TEXTS[2].0, TEXTS[2].1, &[]);
        let now = "2026-07-01T00:00:00Z";
        assert_eq!(outcome(&good, "other", Action::ReadBlob, now), "AuthenticationFailed");
        assert_eq!(outcome(&good, "dir a/b.txt", Action::DeleteBlob, now), "AuthorizationPermissionMismatch");
        assert_eq!(outcome(&good, "dir a/b.txt", Action::ReadBlob, KEY_FROM), "ok");
        for beyond in ["2026-06-29T23:59:59Z", KEY_UNTIL, "2026-07-04T00:00:00Z", UNTIL] {
            assert_eq!(
                outcome(&good, "dir a/b.txt", Action::ReadBlob, beyond),
                "AuthenticationFailed",
                "{beyond}"
            );
        }
    }

    #[test]
    fn a_changed_key_field_derives_another_key() {
        let good = sas(&issued_key(), TEXTS[2].0, TEXTS[2].1, &[]);
        for (from, to) in [
            ("skoid=o", "skoid=p"),
            ("sktid=t", "sktid=u"),
            ("skt=2026-06-30", "skt=2026-06-29"),
            ("ske=2026-07-03", "ske=2026-07-09"),
            ("sks=b", "sks=q"),
            ("skv=2025-01-05", "skv=2025-05-05"),
            ("sp=r", "sp=rw"),
            ("&sig=", "&saoid=a&sig="),
            ("&sig=", "&scid=a&sig="),
            ("&sig=", "&sip=127.0.0.1&sig="),
            ("skoid=o&", ""),
            ("ske=2026-07-03T00%3A00%3A00Z", "ske=never"),
        ] {
            assert!(good.contains(from), "{from}");
            assert_eq!(reads(&good.replace(from, to)), "AuthenticationFailed", "{to}");
        }
        let whom = sas(&issued_key(), TEXTS[2].0, &TEXTS[2].1.replacen('\n', "a\n", 1), &[("saoid", "a")]);
        assert_eq!(reads(&whom), "ok", "the user that the SAS was issued for is signed");
        for name in ["suoid", "skdutid", "sduoid", "srh", "srq"] {
            assert_eq!(reads(&format!("{good}&{name}=x")), "AuthenticationFailed", "{name}");
        }
    }

    #[test]
    fn a_key_request_must_have_an_expiry() {
        let now = at("2026-07-01");
        let body = |inside: &str| format!("\u{feff}<?xml version=\"1.0\"?><KeyInfo>{inside}</KeyInfo>");
        let read = |inside: &str| read_key_info(body(inside).as_bytes(), now);
        let both = read("<Start>2026-06-30T00:00:00Z</Start><Expiry>2026-07-03T00:00:00Z</Expiry>");
        assert_eq!(both, Ok((at(KEY_FROM), at(KEY_UNTIL))));
        assert_eq!(read("<Expiry>2026-07-03</Expiry>"), Ok((now, at(KEY_UNTIL))));
        for bad in ["", "<Start>2026-07-01</Start>", "<Expiry>soon</Expiry>"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
