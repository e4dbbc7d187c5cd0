//! Versions of the Batch API, which a request selects with `api-version`.
//!
//! There are three families of versions, because 2024-07-01.20.0 and 2025-06-01 removed some properties and
//! added others; `requests.txt` marks them. Versions up to 20.0 have a date and a number, later ones only a
//! date. Sources: the OpenAPI descriptions of 2024-02-01.19.0 and 2024-07-01.20.0, and the models and
//! operations of the Python package azure-batch 15.1.0.

/// Version that our client uses; the newest known one.
pub const CURRENT: &str = "2025-06-01";
/// Date of the oldest supported version, 2022-10-01.16.0.
const OLDEST: &str = "2022-10-01";
/// Date of version 2024-07-01.20.0.
const TWENTY: &str = "2024-07-01";

/// A family of versions with the same properties, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Family {
    /// Versions up to 2024-02-01.19.0.
    Nineteen,
    /// Version 2024-07-01.20.0 only.
    Twenty,
    /// Versions since 2025-06-01.
    #[default]
    Dated,
}

/// Removed response properties with the last family that has them.
const ENDED: &[(&str, Family)] = &[
    ("applicationLicenses", Family::Nineteen),
    ("cloudServiceConfiguration", Family::Nineteen),
    ("authenticationTokenSettings", Family::Twenty),
    ("certificateReferences", Family::Twenty),
    ("currentNodeCommunicationMode", Family::Twenty),
    ("resourceTags", Family::Twenty),
    ("targetNodeCommunicationMode", Family::Twenty),
];

impl Family {
    /// Returns the family of a version such as `2024-07-01.20.0` or `2025-06-01`. Versions newer than
    /// [`CURRENT`] belong to its family. Returns `None` if the version is invalid or older than 2022-10-01.
    pub fn from_version(version: &str) -> Option<Self> {
        let date = version.get(..10)?;
        let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        (is_date && date >= OLDEST).then_some(match date {
            _ if date < TWENTY => Self::Nineteen,
            _ if date < CURRENT => Self::Twenty,
            _ => Self::Dated,
        })
    }

    /// Returns `true` if responses of this family have the property.
    pub fn has(self, property: &str) -> bool {
        ENDED.iter().all(|(ended, last)| *ended != property || self <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_belongs_to_a_family_or_is_not_supported() {
        for (version, expected) in [
            ("2022-10-01.16.0", Some(Family::Nineteen)),
            ("2024-02-01.19.0", Some(Family::Nineteen)),
            ("2024-07-01.20.0", Some(Family::Twenty)),
            ("2025-05-31.21.0", Some(Family::Twenty)),
            (CURRENT, Some(Family::Dated)),
            ("2026-08-01", Some(Family::Dated)),
            ("2022-09-30.15.9", None),
            ("2021-06-01.14.0", None),
            ("2025-6-01", None),
            ("2025-06-0", None),
            ("2025/06/01", None),
            ("latest version", None),
            ("", None),
        ] {
            assert_eq!(Family::from_version(version), expected, "{version}");
        }
    }
}
