//! Entity tags: bare in Batch (`0x8DC5FDB7C848F8A`), quoted in Blob Storage; some clients quote them for
//! both.

use std::fmt;

/// An entity tag, stored without quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag(Box<str>);

impl ETag {
    /// Parses a tag from a header or body: bare, quoted, or weak (`W/"…"`).
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref().trim();
        let text = text.strip_prefix("W/").unwrap_or(text);
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        Self(bare.into())
    }

    /// Parses the text of an XML element; returns `None` if it is blank.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(Self::new(text)).filter(|tag| !tag.0.trim().is_empty())
    }

    /// Returns the bare form, as Batch writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the quoted form, as Blob Storage writes it.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// Returns `true` if `condition`, the value of an If-Match or If-None-Match header, matches this tag: it
    /// is `*`, or a list that contains the tag.
    pub fn matches(&self, condition: &str) -> bool {
        condition.trim() == "*" || condition.split(',').any(|tag| Self::new(tag) == *self)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for ETag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for ETag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_weak_prefix_are_ignored() {
        let tag = ETag::new("0x8DC5FDB7C848F8A");
        for same in ["\"0x8DC5FDB7C848F8A\"", "W/\"0x8DC5FDB7C848F8A\"", " 0x8DC5FDB7C848F8A "] {
            assert_eq!(ETag::new(same), tag);
        }
        assert_ne!(ETag::new("0x8DC5FDB7C848F8B"), tag);
        assert_eq!(tag.quoted(), "\"0x8DC5FDB7C848F8A\"");
    }

    #[test]
    fn a_condition_is_a_star_a_tag_or_a_list() {
        let tag = ETag::new("0x1");
        for (condition, matches) in [
            ("*", true),
            ("0x1", true),
            ("\"0x1\"", true),
            ("\"0x2\", \"0x1\"", true),
            ("0x2", false),
            ("", false),
        ] {
            assert_eq!(tag.matches(condition), matches, "{condition}");
        }
    }
}
