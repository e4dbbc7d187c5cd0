//! Tags of blobs: pairs that a blob can be found by.

use super::BadXml;
use crate::{
    uri,
    xml::{Document, Element},
};
use std::collections::BTreeMap;

/// Tags by their keys.
pub type Tags = BTreeMap<String, String>;

const ROOT: &str = "Tags";
/// Tags of one blob.
const MOST: usize = 10;
/// Characters of a key, which has at least one.
const KEY: usize = 128;
/// Characters of a value.
const VALUE: usize = 256;

/// Whether these may be the tags of a blob: at most 10, of letters, digits, spaces and `+-./:=_`.
pub fn are_valid_tags(tags: &Tags) -> bool {
    let letters = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b" +-./:=_".contains(&b));
    let fits = |key: &str, value: &str| (1..=KEY).contains(&key.len()) && value.len() <= VALUE;
    tags.len() <= MOST && tags.iter().all(|(key, value)| fits(key, value) && letters(key) && letters(value))
}

/// The tags of the header `x-ms-tags`, which is written like a query; `None` if it is none, or names a key twice.
pub fn tags_of_header(text: &str) -> Option<Tags> {
    let mut tags = Tags::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        // Forms write a space as a plus, and a plus encoded.
        let plain = |text: &str| uri::decode(&text.replace('+', "%20")).into_owned();
        tags.insert(plain(key), plain(value)).is_none().then_some(())?;
    }
    Some(tags)
}

/// Reads the body of Set Blob Tags.
///
/// # Errors
/// When it is none, lacks a key or value, or names a key twice.
pub fn read_tags(body: &[u8]) -> Result<Tags, BadXml> {
    let root = Element::read(body, ROOT)?;
    read_set(&root).ok_or_else(|| BadXml { of: ROOT, reason: "a tag without key, or twice".into() })
}

/// The body of the answer to Get Blob Tags.
pub fn write_tags(tags: &Tags) -> String {
    let mut xml = Document::new(ROOT, &[]);
    write_set(tags, &mut xml);
    xml.end(ROOT)
}

/// `<TagSet>` within an element that is open.
pub(super) fn write_set(tags: &Tags, xml: &mut Document) {
    xml.open("TagSet");
    for (key, value) in tags {
        xml.open("Tag");
        xml.leaf("Key", key);
        xml.leaf("Value", value);
        xml.close("Tag");
    }
    xml.close("TagSet");
}

/// The tags of an element that holds `<TagSet>`.
pub(super) fn read_set(element: &Element<'_>) -> Option<Tags> {
    let mut tags = Tags::new();
    for tag in element.child("TagSet")?.children() {
        let value = tag.leaf("Value").unwrap_or_default().to_owned();
        tags.insert(tag.leaf("Key")?.to_owned(), value).is_none().then_some(())?;
    }
    Some(tags)
}

/// What Find Blobs by Tags asks for: `"key" = 'value' AND @container = 'name'`, with `>`, `>=`, `<` and `<=`, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    /// `@container` is that of the container.
    key: String,
    comparison: &'static str,
    value: String,
}

impl TagFilter {
    /// Reads an expression; `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        let mut conditions = vec![];
        let mut rest = text.trim();
        loop {
            let (key, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => rest.split_at(rest.find(|c: char| c.is_whitespace() || "=<>".contains(c))?),
            };
            let after = after.trim_start();
            let comparison = [">=", "<=", "=", ">", "<"].into_iter().find(|sign| after.starts_with(sign))?;
            let (value, after) =
                after[comparison.len()..].trim_start().strip_prefix('\'')?.split_once('\'')?;
            if key.is_empty() || (key == "@container" && comparison != "=") {
                return None;
            }
            conditions.push(Condition { key: key.into(), comparison, value: value.into() });
            let after = after.trim_start();
            if after.is_empty() {
                return Some(Self(conditions));
            }
            let (and, next) = after.split_at_checked(3)?;
            if !and.eq_ignore_ascii_case("and") || !next.starts_with(char::is_whitespace) {
                return None;
            }
            rest = next.trim_start();
        }
    }

    /// Whether a blob of this container with these tags is asked for.
    pub fn matches(&self, container: &str, tags: &Tags) -> bool {
        self.0.iter().all(|Condition { key, comparison, value }| {
            let found = if key == "@container" { Some(container) } else { tags.get(key).map(String::as_str) };
            let value = value.as_str();
            found.is_some_and(|found| match *comparison {
                "=" => found == value,
                ">" => found > value,
                ">=" => found >= value,
                "<" => found < value,
                _ => found <= value,
            })
        })
    }
}

/// A page of what was found by tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundByTags {
    /// URL of the account, with a slash at its end.
    pub service_endpoint: String,
    /// The expression.
    pub asked: String,
    /// Container, name and tags of each blob.
    pub blobs: Vec<(String, String, Tags)>,
    /// Where the next page begins; none: this was the last.
    pub next_marker: Option<String>,
}

impl FoundByTags {
    /// The body of an answer.
    pub fn write(&self) -> String {
        const ROOT: &str = "EnumerationResults";
        let mut xml = Document::new(ROOT, &[("ServiceEndpoint", &self.service_endpoint)]);
        xml.leaf("Where", &self.asked);
        xml.open("Blobs");
        for (container, name, tags) in &self.blobs {
            xml.open("Blob");
            xml.name("Name", name);
            xml.leaf("ContainerName", container);
            xml.open("Tags");
            write_set(tags, &mut xml);
            xml.close("Tags");
            xml.close("Blob");
        }
        xml.close("Blobs");
        match &self.next_marker {
            Some(marker) => xml.leaf("NextMarker", marker),
            None => xml.empty("NextMarker"),
        }
        xml.end(ROOT)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn tags_are_read_back_as_written() {
        for pairs in [&[][..], &[("a", "b"), ("c d", "")], &[("x", "<&>")]] {
            assert_eq!(read_tags(write_tags(&tags(pairs)).as_bytes()).unwrap(), tags(pairs));
        }
        let twice =
            "<Tags><TagSet><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>a</Key></Tag></TagSet></Tags>";
        for bad in
            ["<Tags />", "<Tags><TagSet><Tag><Value>1</Value></Tag></TagSet></Tags>", twice, "<Other />"]
        {
            assert!(read_tags(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_holds_tags_like_a_query() {
        assert_eq!(
            tags_of_header("a=b&c%20d=e%2Bf+g&h="),
            Some(tags(&[("a", "b"), ("c d", "e+f g"), ("h", "")]))
        );
        assert_eq!(tags_of_header(""), Some(Tags::new()));
        for bad in ["a", "a=1&a=2"] {
            assert_eq!(tags_of_header(bad), None, "{bad}");
        }
    }

    #[test]
    fn tags_have_limits() {
        assert!(are_valid_tags(&tags(&[("a:b", "+-./:=_ 9"), ("b", "")])));
        let ten: Tags = (0..10).map(|n| (n.to_string(), String::new())).collect();
        assert!(are_valid_tags(&ten));
        let eleven: Tags = (0..11).map(|n| (n.to_string(), String::new())).collect();
        assert!(!are_valid_tags(&eleven));
        let (long, longer) = ("k".repeat(128), "k".repeat(129));
        assert!(are_valid_tags(&tags(&[(&long, &"v".repeat(256))])));
        for (key, value) in
            [("", "x"), (&*longer, "x"), ("a", &*"v".repeat(257)), ("a", "é"), ("a*", ""), ("a", "\n")]
        {
            assert!(!are_valid_tags(&tags(&[(key, value)])), "{key} {value}");
        }
    }

    #[test]
    fn an_expression_finds_what_it_says() {
        let some = tags(&[("k", "v"), ("day", "2026-07-01"), ("two words", "x")]);
        for (text, expected) in [
            ("\"k\"='v'", Some(true)),
            ("k = 'v'", Some(true)),
            ("k='w'", Some(false)),
            ("none='v'", Some(false)),
            ("\"two words\" = 'x'", Some(true)),
            ("day >= '2026-07-01' AND day < '2026-08-01'", Some(true)),
            ("day > '2026-07-01'", Some(false)),
            ("day <= '2026-07-01' and k='v'", Some(true)),
            ("@container='box' AND k='v'", Some(true)),
            ("@container='other' AND k='v'", Some(false)),
            ("", None),
            ("k", None),
            ("k='v", None),
            ("k=v", None),
            ("k='v' OR k='w'", None),
            ("k='v' AND", None),
            ("k='v'ANDk='v'", None),
            ("@container > 'a'", None),
            ("='v'", None),
            ("k='v' äää", None),
        ] {
            assert_eq!(TagFilter::read(text).map(|filter| filter.matches("box", &some)), expected, "{text}");
        }
    }
}
