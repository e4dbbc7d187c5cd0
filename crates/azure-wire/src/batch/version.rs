//! Versions of the API. A request names one in `api-version`.
//!
//! Two families are spoken. Versions up to 2024-07-01.20.0 have a date and a number. From 2025-06-01 on they have a date
//! alone, and some properties went and others came with it; `requests.txt` marks them. Source: the description of
//! 2024-07-01.20.0, and the models and operations of the Python package azure-batch 15.1.0.

/// The version that our client speaks, and the newest that is known here.
pub const CURRENT: &str = "2025-06-01";
/// Date of the oldest version that is understood: 2022-10-01.16.0.
const OLDEST: &str = "2022-10-01";
/// Properties of answers that versions from 2025-06-01 on do not have.
const GONE: &[&str] = &[
    "authenticationTokenSettings",
    "certificateReferences",
    "currentNodeCommunicationMode",
    "resourceTags",
    "targetNodeCommunicationMode",
];
/// Properties of answers that came with 2025-06-01.
const NEW: &[&str] = &["ipv6Address"];

/// A family of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// Up to 2024-07-01.20.0.
    Numbered,
    /// From 2025-06-01 on.
    #[default]
    Dated,
}

impl Family {
    /// The family of a version: `2024-07-01.20.0`, `2025-06-01`. None if it is no version, or older than 2022-10-01.
    /// Versions that are newer than [`CURRENT`] count as it.
    pub fn of(version: &str) -> Option<Self> {
        let date = version.get(..10)?;
        let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        (is_date && date >= OLDEST).then_some(if date < CURRENT { Self::Numbered } else { Self::Dated })
    }

    /// Whether answers of this family have a property.
    pub fn has(self, property: &str) -> bool {
        match self {
            Self::Numbered => !NEW.contains(&property),
            Self::Dated => !GONE.contains(&property),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_belongs_to_a_family_or_is_not_understood() {
        for (version, expected) in [
            ("2022-10-01.16.0", Some(Family::Numbered)),
            ("2024-07-01.20.0", Some(Family::Numbered)),
            ("2025-05-31.21.0", Some(Family::Numbered)),
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
            assert_eq!(Family::of(version), expected, "{version}");
        }
    }
}
