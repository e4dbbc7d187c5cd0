//! SharedKey: what is signed is verified, and a signature counts for nothing but its request.
#![no_main]

use dropmill_azure_wire::{
    secret::Secret,
    sign::{Scheme, SharedKey},
    time::{Timestamp, parse_http_date},
};
use dropmill_fuzz::script::{self, Asked, Step};
use http::{HeaderMap, HeaderName, Request, header};
use libfuzzer_sys::fuzz_target;

// Two requests: the first is signed, the second sent with that signature.
fuzz_target!(|data: &[u8]| {
    let mut asked = script::read(data).into_iter().filter_map(|step| match step {
        Step::Send(asked) => Some(asked),
        Step::Wait(_) => None,
    });
    let Some(one) = asked.next().and_then(request) else { return };
    let other = asked.next().and_then(request);
    for scheme in [Scheme::Batch, Scheme::Storage] {
        check(scheme, one.clone(), other.clone());
    }
});

fn request(asked: Asked) -> Option<Request<String>> {
    let headers = asked.headers.clone();
    let request = asked.request("host")?;
    let (mut parts, _) = request.into_parts();
    // All of them here, those of length and authorization too.
    parts.headers = headers.into_iter().collect();
    Some(Request::from_parts(parts, String::new()))
}

fn check(scheme: Scheme, mut one: Request<String>, other: Option<Request<String>>) {
    let key = SharedKey::new("account", &Secret::new("a2V5")).expect("a key");
    let stranger = SharedKey::new("account", &Secret::new("b3RoZXI=")).expect("a key");
    let now: Timestamp = "2026-03-02T10:11:12Z".parse().expect("a moment");
    // Nobody who reads this has the key: nothing it makes up is good.
    if one.headers().contains_key(header::AUTHORIZATION) {
        let date = one.headers().get(scheme.date_header()).or(one.headers().get(header::DATE));
        let date = date.and_then(|date| parse_http_date(date.to_str().ok()?)).unwrap_or(now);
        let refusal = key.verify(scheme, &one, date).expect_err("a signature was guessed");
        let _ = (refusal.code(scheme), refusal.detail(), refusal.to_string());
        assert!((400..=403).contains(&refusal.status()));
    }
    key.authorize(scheme, &mut one, now);
    assert_eq!(key.verify(scheme, &one, now), Ok(()), "what was signed is not verified");
    assert!(stranger.verify(scheme, &one, now).is_err(), "another key fits");
    let later = now + jiff::SignedDuration::from_mins(16);
    assert!(key.verify(scheme, &one, later).is_err(), "a signature has no end");
    let Some(mut other) = other else { return };
    for name in [header::AUTHORIZATION, scheme.date_header()] {
        let value = one.headers()[&name].clone();
        other.headers_mut().insert(name, value);
    }
    if key.verify(scheme, &other, now).is_ok() {
        assert_eq!(signed(scheme, &one), signed(scheme, &other), "a signature of another request was taken");
    }
}

/// What of a request may not be changed: all but its query, whose pairs the protocol does not tell apart from line breaks
/// within them, and the readings of an empty length.
fn signed(scheme: Scheme, request: &Request<String>) -> (String, String, Vec<(String, String)>) {
    let prefix = if scheme == Scheme::Batch { "ocp-" } else { "x-ms-" };
    let counts = |name: &HeaderName| name.as_str().starts_with(prefix) || SIGNED.contains(&name.as_str());
    let values = |headers: &HeaderMap, name: &HeaderName| {
        let all: Vec<_> = headers.get_all(name).iter().map(|value| lossy(value.as_bytes())).collect();
        all.join(",")
    };
    let headers = request.headers();
    let mut all: Vec<(String, String)> = headers
        .keys()
        .filter(|name| counts(name))
        .map(|name| (name.to_string(), values(headers, name)))
        // A slot that is empty and one that is not there are the same.
        .filter(|(name, value)| !value.is_empty() || name.starts_with(prefix))
        .collect();
    all.sort();
    (request.method().to_string(), request.uri().path().to_owned(), all)
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim().to_owned()
}

const SIGNED: [&str; 9] = [
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];
