//! SAS: it allows what was granted and nothing else, and no signed field can be changed.
#![no_main]

use arbitrary::Arbitrary;
use dropmill_azure_wire::{
    sas::{self, Action, SasRequest, Grant, Level, Permissions},
    secret::Secret,
    sign::SharedKey,
    time::Timestamp,
    uri::{self, Query},
};
use http::Method;
use jiff::SignedDuration;
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, net::IpAddr};

/// A grant, a request, and a modification of the SAS.
#[derive(Debug, Arbitrary)]
struct Case<'a> {
    letters: &'a str,
    container: &'a str,
    blob: Option<&'a str>,
    /// Start in minutes from now.
    starts: Option<i16>,
    expires: i16,
    https_only: bool,
    method: u8,
    requested_container: Option<&'a str>,
    requested_blob: Option<&'a str>,
    requested_query: &'a str,
    /// Index of a SAS field and its new value.
    change: Option<(u8, &'a str)>,
    /// Arbitrary query without a valid signature.
    invented_query: &'a str,
}

const METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::POST];
const FIELDS: [&str; 21] = [
    "sv",
    "ss",
    "srt",
    "sr",
    "sp",
    "st",
    "se",
    "sip",
    "spr",
    "ses",
    "sig",
    "si",
    "skoid",
    "snapshot",
    "versionid",
    "rscc",
    "rscd",
    "rsce",
    "rscl",
    "rsct",
    "sdd",
];

fuzz_target!(|case: Case<'_>| {
    let key = SharedKey::new("account", &Secret::new("a2V5")).expect("a key");
    let now: Timestamp = "2026-03-02T10:11:12Z".parse().expect("a valid time");
    let at = |minutes: i16| now + SignedDuration::from_mins(minutes.into());
    let grant = Grant {
        container: case.container.into(),
        blob: case.blob.map(Into::into),
        permissions: Permissions::parse(case.letters),
        starts: case.starts.map(at),
        expires: at(case.expires),
        https_only: case.https_only,
    };
    let query = grant.sign(&key).expose().to_owned();
    let method = &METHODS[usize::from(case.method) % METHODS.len()];
    let container = case.requested_container.unwrap_or(case.container);
    let blob = case.requested_blob.or(case.blob).unwrap_or_default();
    // The service never passes such names: a container has no slash.
    if container.contains('/') || case.container.contains('/') {
        return;
    }
    let level = match (container, blob) {
        ("", _) => Level::Service,
        (_, "") => Level::Container,
        _ => Level::Object,
    };
    let Some(action) = Action::from_request(method, level, case.requested_query) else { return };
    let request = SasRequest { container, blob, action, now, https: true, from: IpAddr::from([127, 0, 0, 1]) };

    let granted = grant.permissions.allow_any(action.needs())
        && case.expires > 0
        && case.starts.is_none_or(|starts| starts <= 0)
        && action.is_within_container()
        && container == case.container
        && case.blob.is_none_or(|granted| granted == blob)
        && grant.permissions != Permissions::NONE;
    let found = sas::verify(&key, &query, &request);
    assert_eq!(found.is_ok(), granted, "{found:?} for {action:?}");
    if let Ok(rights) = found {
        assert_eq!(rights.allow(Action::DeleteBlob), grant.permissions.allow_any(Permissions::DELETE));
    }

    if let Some((field, value)) = case.change {
        let field = FIELDS[usize::from(field) % FIELDS.len()];
        let changed = changed(&query, field, value);
        if sas::verify(&key, &changed, &request).is_ok() {
            assert!(granted, "a change of {field} allowed more than was granted");
            assert_eq!(signed(&changed), signed(&query), "a change of {field} was not detected");
        }
    }
    let error = sas::verify(&key, case.invented_query, &request).expect_err("a SAS was guessed");
    let _ = (error.code(), error.message(), error.detail(), error.to_string());
});

fn changed(query: &str, field: &str, value: &str) -> String {
    let kept = uri::pairs(query).filter(|(name, _)| name != field);
    let kept = kept.fold(Query::default(), |query, (name, value)| query.with(&name, &value));
    kept.with(field, value).as_str().to_owned()
}

/// Returns the fields that a service SAS signs; an empty value counts as absent. Includes the signature,
/// because it has only one encoding.
fn signed(query: &str) -> BTreeMap<String, String> {
    let unsigned = ["snapshot", "versionid", "sdd"];
    let pairs = uri::pairs(query).filter(|(name, value)| !value.is_empty() && !unsigned.contains(&&**name));
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
