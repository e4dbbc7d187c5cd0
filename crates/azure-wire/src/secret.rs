//! Text that must not be shown: account keys, signatures, URLs that carry a SAS.

use std::{borrow::Cow, fmt};

/// A secret text. `Debug` prints `***` and there is no `Display`; use [`Secret::expose`] to get the text.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for signing or sending. Never put it into a log, an event or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Writes the text itself, because request bodies must contain it. Do not serialise a secret for any other
/// purpose.
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Returns the part of a URL before its query, which can contain a SAS.
pub fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Returns a URL that is safe to show: without query, fragment, user name and password.
pub fn shown_url(url: &str) -> Cow<'_, str> {
    let url = without_query(url);
    let Some((scheme, rest)) = url.split_once(':') else { return url.into() };
    // URL parsers accept any number of slashes and backslashes before a host, even none.
    let slashes = ['/', '\\'];
    let rest = rest.trim_start_matches(slashes);
    let host = &rest[..rest.find(slashes).unwrap_or(rest.len())];
    match host.rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]).into(),
        None => url.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_a_secret() {
        assert_eq!(format!("{:?}", Secret::new("key")), "***");
        assert_eq!(without_query("http://h/c/b?sig=abc"), "http://h/c/b");
        for (url, shown) in [
            ("http://h/c/b?sig=abc", "http://h/c/b"),
            ("https://me:word@h:1/c/@b#x", "https://h:1/c/@b"),
            ("https://a@b@h?x", "https://h"),
            ("https:me:word@h/a", "https://h/a"),
            ("https:\\\\me:word@h\\a@b", "https://h\\a@b"),
            ("https:///me:word@h", "https://h"),
            ("http://h:1/a", "http://h:1/a"),
            ("c/b?sig=abc", "c/b"),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
        }
    }
}
