//! Paths in a stored plan: as text if they are valid text, otherwise as bytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    /// Two hexadecimal digits for each byte.
    Bytes {
        hex: String,
    },
}

impl From<&Path> for Stored {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => {
                let bytes = path.as_os_str().as_bytes();
                Self::Bytes { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
            }
        }
    }
}

impl TryFrom<Stored> for PathBuf {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let hex = match stored {
            Stored::Text(text) => return Ok(text.into()),
            Stored::Bytes { hex } => hex,
        };
        let digits: Option<Vec<u8>> =
            hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let digits = digits.filter(|digits| digits.len().is_multiple_of(2)).ok_or("a path has odd digits")?;
        Ok(OsString::from_vec(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()).into())
    }
}

/// Writes a path.
///
/// # Errors
/// Returns the serializer's error.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    Stored::from(path).serialize(serializer)
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
/// Fails if it is not a path.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    PathBuf::try_from(Stored::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// The same for an optional path.
pub mod optional {
    use super::Stored;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::path::PathBuf;

    /// Writes a path, or nothing.
    ///
    /// # Errors
    /// Returns the serializer's error.
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(Stored::from).serialize(serializer)
    }

    /// Reads what [`serialize`] wrote.
    ///
    /// # Errors
    /// Fails if it is not a path.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        let stored = Option::<Stored>::deserialize(deserializer)?;
        stored.map(PathBuf::try_from).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two {
        #[serde(with = "super")]
        one: PathBuf,
        #[serde(with = "super::optional", default)]
        other: Option<PathBuf>,
    }

    #[test]
    fn every_path_can_be_read_again_and_text_stays_text() {
        for name in [&b"a/b.txt"[..], b"caf\xe9", b"%FF", b"\xff\xfe/x", b""] {
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            let two = Two { one: path.clone(), other: Some(path) };
            let text = serde_json::to_string(&two).unwrap();
            assert_eq!(serde_json::from_str::<Two>(&text).unwrap(), two, "{text}");
            assert_eq!(text.contains("hex"), std::str::from_utf8(name).is_err(), "{text}");
        }
        let before = r#"{"one":"/x/a","other":null}"#;
        assert_eq!(serde_json::from_str::<Two>(before).unwrap().one, PathBuf::from("/x/a"));
        assert!(serde_json::from_str::<Two>(r#"{"one":{"hex":"4"}}"#).is_err());
    }
}
