//! SharedKey: a signed request is accepted, and its signature is not valid for any other request.
#![no_main]

use dropmill_azure_wire::{
    secret::Secret,
    sign::{Scheme, SharedKey},
    time::{Timestamp, parse_http_date},
};
use dropmill_fuzz::script::{self, ScriptedRequest, Step};
use http::{HeaderMap, HeaderName, Request, header};
use libfuzzer_sys::fuzz_target;

// The input is two requests: the first is signed, the second is sent with the same signature.
fuzz_target!(|data: &[u8]| {
    let mut requests = script::read(data).into_iter().filter_map(|step| match step {
        Step::Send(request) => Some(request),
        Step::Wait(_) => None,
    });
    let Some(one) = requests.next().and_then(request) else { return };
    let other = requests.next().and_then(request);
    for scheme in [Scheme::Batch, Scheme::Storage] {
        check(scheme, one.clone(), other.clone());
    }
});

fn request(request: ScriptedRequest) -> Option<Request<String>> {
    let headers = request.headers.clone();
    let request = request.request("host")?;
    let (mut parts, _) = request.into_parts();
    // Keep all headers here, including length and authorization.
    parts.headers = headers.into_iter().collect();
    Some(Request::from_parts(parts, String::new()))
}

fn check(scheme: Scheme, mut one: Request<String>, other: Option<Request<String>>) {
    let key = SharedKey::new("account", &Secret::new("a2V5")).expect("a key");
    let stranger = SharedKey::new("account", &Secret::new("b3RoZXI=")).expect("a key");
    let now: Timestamp = "2026-03-02T10:11:12Z".parse().expect("a valid time");
    // The fuzzer does not know the key, so no signature that it invents is valid.
    if one.headers().contains_key(header::AUTHORIZATION) {
        let date = one.headers().get(scheme.date_header()).or(one.headers().get(header::DATE));
        let date = date.and_then(|date| parse_http_date(date.to_str().ok()?)).unwrap_or(now);
        let error = key.verify(scheme, &one, date).expect_err("a signature was guessed");
        let _ = (error.code(scheme), error.detail(), error.to_string());
        assert!((400..=403).contains(&error.status()));
    }
    key.authorize(scheme, &mut one, now);
    assert_eq!(key.verify(scheme, &one, now), Ok(()), "a signed request is rejected");
    assert!(stranger.verify(scheme, &one, now).is_err(), "another key is accepted");
    let later = now + jiff::SignedDuration::from_mins(16);
    assert!(key.verify(scheme, &one, later).is_err(), "a signature does not expire");
    let Some(mut other) = other else { return };
    for name in [header::AUTHORIZATION, scheme.date_header()] {
        let value = one.headers()[&name].clone();
        other.headers_mut().insert(name, value);
    }
    if key.verify(scheme, &other, now).is_ok() {
        assert_eq!(
            signed(scheme, &one),
            signed(scheme, &other),
            "the signature of another request is accepted"
        );
    }
}

/// Returns the parts of a request that cannot change without invalidating the signature. Excluded are the
/// query, because the protocol does not distinguish its pairs from line breaks in values, and the variants of
/// an empty length.
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
        // An empty standard header and an absent one have the same signature.
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
