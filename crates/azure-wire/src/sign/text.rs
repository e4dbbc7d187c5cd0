//! Builds the string to sign of SharedKey.

use super::{Parts, Scheme};
use crate::uri;
use http::{HeaderName, Method, header};
use std::{borrow::Cow, cmp::Ordering};

/// The choices where the published rules are ambiguous. The default is what our own client signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SigningVariant {
    /// Batch: sign query names in lower case, as the documentation says and the SDKs do not.
    pub lower_names: bool,
    /// Decode a raw `+` in a query as a space, as some libraries do.
    pub plus_is_space: bool,
    /// Storage: sort headers by bytes, as older libraries do.
    pub byte_order: bool,
    /// Batch: sign an empty length instead of `0` for a write without a body.
    pub empty_length: bool,
}

/// Headers in the order of the string to sign. Content-Length and Date have special rules.
const SLOTS: [HeaderName; 11] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    header::CONTENT_TYPE,
    header::DATE,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// Returns the string to sign of a request.
pub(super) fn string_to_sign(
    scheme: Scheme,
    account: &str,
    parts: &Parts<'_>,
    variant: SigningVariant,
) -> String {
    let mut text = String::with_capacity(512);
    text.push_str(parts.method.as_str());
    text.push('\n');
    for slot in &SLOTS {
        if *slot == header::CONTENT_LENGTH {
            text.push_str(&length(scheme, parts, variant));
        } else if *slot != header::DATE || !parts.headers.contains_key(scheme.date_header()) {
            text.push_str(&value(parts, slot));
        }
        text.push('\n');
    }
    push_headers(&mut text, scheme, parts, variant);
    text.push('/');
    text.push_str(account);
    text.push_str(parts.path);
    match scheme {
        Scheme::Batch => push_batch_query(&mut text, parts, variant),
        Scheme::Storage => push_storage_query(&mut text, parts, variant),
    }
    text
}

/// Returns the signed Content-Length. Batch signs `0` for a write without a body, Storage never signs a zero.
fn length<'a>(scheme: Scheme, parts: &Parts<'a>, variant: SigningVariant) -> Cow<'a, str> {
    let given = value(parts, &header::CONTENT_LENGTH);
    let writes = !matches!(*parts.method, Method::GET | Method::HEAD);
    match (scheme, &*given) {
        (Scheme::Storage, "0") => "".into(),
        (Scheme::Batch, "" | "0") => if writes && !variant.empty_length { "0" } else { "" }.into(),
        _ => given,
    }
}

/// Returns all values of a header, joined by commas; empty if the header is missing.
fn value<'a>(parts: &Parts<'a>, name: &HeaderName) -> Cow<'a, str> {
    let mut values = parts.headers.get_all(name).iter().map(|value| match value.to_str() {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(value.as_bytes()),
    });
    let Some(first) = values.next() else { return "".into() };
    values.fold(trimmed(first), |all, next| format!("{all},{}", next.trim()).into())
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.trim().len() == text.len() { text } else { text.trim().to_owned().into() }
}

fn push_headers(text: &mut String, scheme: Scheme, parts: &Parts<'_>, variant: SigningVariant) {
    let mut names: Vec<&HeaderName> =
        parts.headers.keys().filter(|name| name.as_str().starts_with(scheme.header_prefix())).collect();
    match scheme {
        Scheme::Storage if !variant.byte_order => names.sort_by(|a, b| service_order(a.as_str(), b.as_str())),
        _ => names.sort_by(|a, b| a.as_str().cmp(b.as_str())),
    }
    for name in names {
        text.push_str(name.as_str());
        text.push(':');
        text.push_str(&value(parts, name));
        text.push('\n');
    }
}

/// Compares header names as Storage sorts them: by .NET's English culture. Hyphens are ignored unless the
/// names are otherwise equal, and `_` sorts before digits and letters.
fn service_order(a: &str, b: &str) -> Ordering {
    fn weights(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().filter(|b| !matches!(b, b'-' | b'\'')).map(|b| match b {
            b'a'..=b'z' => 210 + (b - b'a'),
            b'0'..=b'9' => 200 + (b - b'0'),
            b'+' => 199,
            symbol => symbol,
        })
    }
    let hyphens = |name: &'_ str| name.bytes().map(|b| b == b'-').collect::<Vec<_>>();
    weights(a).cmp(weights(b)).then_with(|| hyphens(a).cmp(&hyphens(b)))
}

/// Appends the first value of each name, sorted by name; names without a value are omitted.
fn push_batch_query(text: &mut String, parts: &Parts<'_>, variant: SigningVariant) {
    let raw = raw_query(parts, variant);
    let mut pairs = query(&raw, variant.lower_names);
    pairs.dedup_by(|later, first| later.0 == first.0);
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        push_pair(text, name, value);
    }
}

/// Appends all values of each name in lower case, sorted and joined by commas; empty values are kept.
fn push_storage_query(text: &mut String, parts: &Parts<'_>, variant: SigningVariant) {
    let raw = raw_query(parts, variant);
    let mut pairs = query(&raw, true);
    pairs.sort();
    for same_name in pairs.chunk_by(|a, b| a.0 == b.0) {
        let values: Vec<&str> = same_name.iter().map(|(_, value)| &**value).collect();
        push_pair(text, &same_name[0].0, &values.join(","));
    }
}

fn push_pair(text: &mut String, name: &str, value: &str) {
    text.push('\n');
    text.push_str(name);
    text.push(':');
    text.push_str(value);
}

fn raw_query<'a>(parts: &Parts<'a>, variant: SigningVariant) -> Cow<'a, str> {
    if variant.plus_is_space { parts.query.replace('+', "%20").into() } else { parts.query.into() }
}

/// Returns the decoded pairs of a query, stably sorted by name.
fn query(raw: &str, lower: bool) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = uri::pairs(raw).collect();
    if lower {
        for (name, _) in &mut pairs {
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                name.to_mut().make_ascii_lowercase();
            }
        }
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_sorted_as_the_storage_service_does() {
        let mut names = [
            "x-ms-meta-ab",
            "x-ms-meta-a-b",
            "x-ms-meta-a_b",
            "x-ms-meta-a0",
            "x-ms-date",
            "x-ms-blob-type",
            "x-ms-blob-content-type",
            "x-ms-range-get-content-md5",
            "x-ms-range",
            "x-ms-version",
            "x-ms-meta-abc",
            "x-ms-meta-a-bc",
        ];
        names.sort_by(|a, b| service_order(a, b));
        assert_eq!(
            names,
            [
                "x-ms-blob-content-type",
                "x-ms-blob-type",
                "x-ms-date",
                "x-ms-meta-a_b",
                "x-ms-meta-a0",
                "x-ms-meta-ab",
                "x-ms-meta-a-b",
                "x-ms-meta-abc",
                "x-ms-meta-a-bc",
                "x-ms-range",
                "x-ms-range-get-content-md5",
                "x-ms-version",
            ]
        );
    }
}
