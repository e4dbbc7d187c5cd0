//! Text that must not be seen: account keys, signatures, URLs that carry a SAS.

use std::{borrow::Cow, fmt};

/// A secret text. `Debug` prints `***` and there is no `Display`; who needs the text asks for it by name.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the text into keeping.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for signing or sending: never for a log, an event or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Serves the bodies of requests, which must hold the text; nothing else may serialise what holds a secret.
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

/// The part of a URL that may be shown: everything before its query, which can hold a SAS.
pub fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// A URL as messages may show it: without its query and fragment, and without a user name and password before its host.
pub fn shown_url(url: &str) -> Cow<'_, str> {
    let url = without_query(url);
    let Some((scheme, rest)) = url.split_once(':') else { return url.into() };
    // Readers of URLs take any number of slashes of either kind before a host, none included.
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
    fn a_secret_does_not_show_itself() {
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
