//! Percent-encoding of paths and queries. Everything except letters, digits and `-._~` is encoded, and `+` is
//! a plus, never a space: other encodings would invalidate signatures.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;

const ALL_BUT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ALSO_NOT_SLASHES: &AsciiSet = &ALL_BUT_UNRESERVED.remove(b'/');

/// Encodes a path segment or a query value. Also encodes `/`, as Batch requires for file paths.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ALL_BUT_UNRESERVED).to_string()
}

/// Encodes a blob name as a path; slashes are kept.
pub fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, ALSO_NOT_SLASHES).to_string()
}

/// Decodes percent-encoding; invalid UTF-8 becomes U+FFFD.
pub fn decode(text: &str) -> Cow<'_, str> {
    // Avoid the decoder if there is nothing to decode: each request has about a dozen plain names and values.
    if text.contains('%') { percent_decode_str(text).decode_utf8_lossy() } else { text.into() }
}

/// A query under construction: `a=1&b=2`. Names are not encoded (`$filter`).
#[derive(Debug, Default, Clone)]
pub struct Query(String);

impl Query {
    /// Appends a name and its value, which is encoded.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, ALL_BUT_UNRESERVED));
        self
    }

    /// Returns the query without the question mark.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the decoded names and values of a query in order; a name without `=` has an empty value.
pub fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// Returns the first value of a parameter, ignoring the case of its name.
pub fn value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    pairs(query).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_unreserved_characters_are_not_encoded() {
        assert_eq!(encode("wd/out ä+'~.txt"), "wd%2Fout%20%C3%A4%2B%27~.txt");
        assert_eq!(encode_path("dir a/b.txt"), "dir%20a/b.txt");
    }

    #[test]
    fn a_query_is_read_pair_by_pair() {
        let query = "timeOut=20&$filter=state%20eq%20%27a%27&flag&&sig=a+b%3D";
        assert_eq!(value(query, "timeout").as_deref(), Some("20"));
        assert_eq!(value(query, "$filter").as_deref(), Some("state eq 'a'"));
        assert_eq!(value(query, "flag").as_deref(), Some(""));
        assert_eq!(value(query, "sig").as_deref(), Some("a+b="));
        assert_eq!(value(query, "none"), None);
    }

    proptest! {
        #[test]
        fn a_built_query_is_parsed_back(values in proptest::collection::vec(".{0,12}", 0..5)) {
            let query = values.iter().fold(Query::default(), |query, value| query.with("$n", value));
            let read: Vec<String> = pairs(query.as_str()).map(|(_, value)| value.into_owned()).collect();
            prop_assert_eq!(read, values);
        }
    }
}
