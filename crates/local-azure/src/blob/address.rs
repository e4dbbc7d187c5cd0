//! Which container and blob a path names. Names are keys, never paths: nothing in them is resolved.

use dropmill_azure_wire::{
    blob::{is_valid_blob_name, is_valid_container_name},
    uri::encode_path,
};
use percent_encoding::percent_decode_str;

/// What a path below the account names; empty where it names nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// The container.
    pub container: String,
    /// The blob.
    pub blob: String,
}

/// A path that names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadAddress {
    #[error("the path is not UTF-8, or holds a NUL")]
    NotText,
    #[error("the name of a container has 3 to 63 small letters, digits and single hyphens")]
    Container,
    #[error("the name of a blob has 1 to 1024 characters")]
    Blob,
}

impl Address {
    /// Takes a path apart, as it was sent, from behind the account's slash.
    ///
    /// # Errors
    /// [`BadAddress::NotText`].
    pub fn read(path: &str) -> Result<Self, BadAddress> {
        let (container, blob) = path.split_once('/').unwrap_or((path, ""));
        Ok(Self { container: text(container)?, blob: text(blob)? })
    }

    /// Whether the names may be such.
    ///
    /// # Errors
    /// The one that may not.
    pub fn check(&self) -> Result<(), BadAddress> {
        if !self.container.is_empty() && !is_valid_container_name(&self.container) {
            return Err(BadAddress::Container);
        }
        if !self.blob.is_empty() && !is_valid_blob_name(&self.blob) {
            return Err(BadAddress::Blob);
        }
        Ok(())
    }
}

fn text(encoded: &str) -> Result<String, BadAddress> {
    let text = percent_decode_str(encoded).decode_utf8().map_err(|_| BadAddress::NotText)?;
    if text.contains('\0') { Err(BadAddress::NotText) } else { Ok(text.into_owned()) }
}

/// As in a URL.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { container, blob } = self;
        if blob.is_empty() { f.write_str(container) } else { write!(f, "{container}/{}", encode_path(blob)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_taken_as_they_are() {
        let address =
            |container: &str, blob: &str| Ok(Address { container: container.into(), blob: blob.into() });
        for (path, expected) in [
            ("", address("", "")),
            ("con", address("con", "")),
            ("con/", address("con", "")),
            ("con/a", address("con", "a")),
            ("con//a//", address("con", "/a//")),
            ("con/../../etc/passwd", address("con", "../../etc/passwd")),
            ("con/%2e%2e%2fx", address("con", "../x")),
            ("con/%252e", address("con", "%2e")),
            ("con/a%2Fb", address("con", "a/b")),
            ("con/a\\b", address("con", "a\\b")),
            ("con/a+b", address("con", "a+b")),
            ("con/%C3%A9.", address("con", "é.")),
            ("con/%C0%AF", Err(BadAddress::NotText)),
            ("con/%ff", Err(BadAddress::NotText)),
            ("con/a%00", Err(BadAddress::NotText)),
            ("%00", Err(BadAddress::NotText)),
        ] {
            assert_eq!(Address::read(path), expected, "{path}");
        }
    }

    #[test]
    fn names_have_limits() {
        let check =
            |container: &str, blob: &str| Address { container: container.into(), blob: blob.into() }.check();
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(check("abc", &"ä".repeat(1024)), Ok(()));
        assert_eq!(check("abc", &"ä".repeat(1025)), Err(BadAddress::Blob));
        for bad in ["ab", "Abc", "a--b", "-ab", "..", "a_b", &"a".repeat(64)] {
            assert_eq!(check(bad, ""), Err(BadAddress::Container), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(blob in "[^\0]{1,20}") {
            let address = Address { container: "con".into(), blob };
            prop_assert_eq!(Address::read(&address.to_string()), Ok(address));
        }
    }
}
