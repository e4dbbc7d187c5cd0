//! SAS: what was granted is allowed, nothing else, and not one field can be changed.
#![no_main]

use arbitrary::Arbitrary;
use dropmill_azure_wire::{
    sas::{self, Action, Asked, Grant, Level, Permissions},
    secret::Secret,
    sign::SharedKey,
    time::Timestamp,
    uri::{self, Query},
};
use http::Method;
use jiff::SignedDuration;
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, net::IpAddr};

/// A grant, a request, and a change of the SAS.
#[derive(Debug, Arbitrary)]
struct Case<'a> {
    letters: &'a str,
    container: &'a str,
    blob: Option<&'a str>,
    /// Minutes from now.
    starts: Option<i16>,
    expires: i16,
    https_only: bool,
    method: u8,
    asked_container: Option<&'a str>,
    asked_blob: Option<&'a str>,
    asked_query: &'a str,
    /// A field of the SAS and what it becomes.
    change: Option<(u8, &'a str)>,
    /// A query that is none of ours.
    made_up: &'a str,
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
    let now: Timestamp = "2026-03-02T10:11:12Z".parse().expect("a moment");
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
    let container = case.asked_container.unwrap_or(case.container);
    let blob = case.asked_blob.or(case.blob).unwrap_or_default();
    // As the service sees a path: a container has no slash, and nothing holds control characters unnoticed.
    if container.contains('/') || case.container.contains('/') {
        return;
    }
    let level = match (container, blob) {
        ("", _) => Level::Service,
        (_, "") => Level::Container,
        _ => Level::Object,
    };
    let Some(action) = Action::of(method, level, case.asked_query) else { return };
    let asked = Asked { container, blob, action, now, https: true, from: IpAddr::from([127, 0, 0, 1]) };

    let granted = grant.permissions.allow_any(action.needs())
        && case.expires > 0
        && case.starts.is_none_or(|starts| starts <= 0)
        && action.is_within_container()
        && container == case.container
        && case.blob.is_none_or(|granted| granted == blob)
        && grant.permissions != Permissions::NONE;
    let found = sas::verify(&key, &query, &asked);
    assert_eq!(found.is_ok(), granted, "{found:?} for {action:?}");
    if let Ok(rights) = found {
        assert_eq!(rights.allow(Action::DeleteBlob), grant.permissions.allow_any(Permissions::DELETE));
    }

    if let Some((field, value)) = case.change {
        let field = FIELDS[usize::from(field) % FIELDS.len()];
        let changed = changed(&query, field, value);
        if sas::verify(&key, &changed, &asked).is_ok() {
            assert!(granted, "a change of {field} allowed what was not granted");
            assert_eq!(signed(&changed), signed(&query), "a change of {field} went unnoticed");
        }
    }
    let refused = sas::verify(&key, case.made_up, &asked).expect_err("a SAS was guessed");
    let _ = (refused.code(), refused.message(), refused.detail(), refused.to_string());
});

fn changed(query: &str, field: &str, value: &str) -> String {
    let kept = uri::pairs(query).filter(|(name, _)| name != field);
    let kept = kept.fold(Query::default(), |query, (name, value)| query.with(&name, &value));
    kept.with(field, value).as_str().to_owned()
}

/// What a service SAS signs, by name; an empty value is none. The signature itself may be written in one way alone.
fn signed(query: &str) -> BTreeMap<String, String> {
    let unsigned = ["snapshot", "versionid", "sdd"];
    let pairs = uri::pairs(query).filter(|(name, value)| !value.is_empty() && !unsigned.contains(&&**name));
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
