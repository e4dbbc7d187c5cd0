//! Blob index tags: keys and values by which blobs can be found.

use super::BadXml;
use crate::{
    uri,
    xml::{Document, Element},
};
use std::collections::BTreeMap;

/// Tag values by key.
pub type Tags = BTreeMap<String, String>;

const ROOT: &str = "Tags";
/// Maximum number of tags of one blob.
const MAX_TAGS: usize = 10;
/// Maximum length of a key, which has at least one character.
const MAX_KEY: usize = 128;
/// Maximum length of a value in characters.
const MAX_VALUE: usize = 256;

/// Returns `true` if a blob can have these tags: at most 10, of letters, digits, spaces and `+-./:=_`.
pub fn are_valid_tags(tags: &Tags) -> bool {
    let letters = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b" +-./:=_".contains(&b));
    let is_valid = |key: &str, value: &str| (1..=MAX_KEY).contains(&key.len()) && value.len() <= MAX_VALUE;
    tags.len() <= MAX_TAGS
        && tags.iter().all(|(key, value)| is_valid(key, value) && letters(key) && letters(value))
}

/// Parses the header `x-ms-tags`, which is encoded like a URL query. Returns `None` if it is invalid or
/// repeats a key.
pub fn parse_tags_header(text: &str) -> Option<Tags> {
    let mut tags = Tags::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        // Form encoding writes a space as `+` and a plus as `%2B`.
        let plain = |text: &str| uri::decode(&text.replace('+', "%20")).into_owned();
        tags.insert(plain(key), plain(value)).is_none().then_some(())?;
    }
    Some(tags)
}

/// Parses the body of Set Blob Tags.
///
/// # Errors
/// Fails if the body is not a tag set, a key or value is missing, or a key is repeated.
pub fn read_tags(body: &[u8]) -> Result<Tags, BadXml> {
    let root = Element::read(body, ROOT)?;
    read_set(&root).ok_or_else(|| BadXml {
        root: ROOT,
        reason: "a tag has no key or value, or its key is repeated".into(),
    })
}

/// Returns the body of the response to Get Blob Tags.
pub fn write_tags(tags: &Tags) -> String {
    let mut xml = Document::new(ROOT, &[]);
    write_set(tags, &mut xml);
    xml.end(ROOT)
}

/// Writes a `<TagSet>` element.
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

/// Parses the `<TagSet>` child of an element; `None` if it is invalid.
pub(super) fn read_set(element: &Element<'_>) -> Option<Tags> {
    let mut tags = Tags::new();
    for tag in element.child("TagSet")?.children() {
        let value = tag.leaf("Value").unwrap_or_default().to_owned();
        tags.insert(tag.leaf("Key")?.to_owned(), value).is_none().then_some(())?;
    }
    Some(tags)
}

/// The filter expression of Find Blobs by Tags: `"key" = 'value' AND @container = 'name'`, also with `>`,
/// `>=`, `<` and `<=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    /// Tag key, or `@container` for the name of the container.
    key: String,
    comparison: &'static str,
    value: String,
}

impl TagFilter {
    /// Parses an expression; returns `None` if it is invalid.
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

    /// Returns `true` if a blob with these tags in this container matches the filter.
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

/// A page of the blobs that Find Blobs by Tags found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundByTags {
    /// URL of the account, with a trailing slash.
    pub service_endpoint: String,
    /// Filter expression of the request.
    pub filter: String,
    /// Container, name and matching tags of each blob.
    pub blobs: Vec<(String, String, Tags)>,
    /// Marker of the next page; `None` on the last page.
    pub next_marker: Option<String>,
}

impl FoundByTags {
    /// Returns the response body.
    pub fn write(&self) -> String {
        const ROOT: &str = "EnumerationResults";
        let mut xml = Document::new(ROOT, &[("ServiceEndpoint", &self.service_endpoint)]);
        xml.leaf("Where", &self.filter);
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
    fn a_tags_header_is_parsed_like_a_query() {
        assert_eq!(
            parse_tags_header("a=b&c%20d=e%2Bf+g&h="),
            Some(tags(&[("a", "b"), ("c d", "e+f g"), ("h", "")]))
        );
        assert_eq!(parse_tags_header(""), Some(Tags::new()));
        for bad in ["a", "a=1&a=2"] {
            assert_eq!(parse_tags_header(bad), None, "{bad}");
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
    fn a_filter_matches_tags_and_container() {
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
