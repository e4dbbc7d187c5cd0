//! Versions of the API. A request names one in `api-version`.
//!
//! Three families are spoken, because some properties ended and others began with 2024-07-01.20.0 and with 2025-06-01;
//! `requests.txt` marks them. Versions up to 20.0 have a date and a number, later ones a date alone. Source: the
//! descriptions of 2024-02-01.19.0 and 2024-07-01.20.0, and the models and operations of the Python package azure-batch
//! 15.1.0.

/// The version that our client speaks, and the newest that is known here.
pub const CURRENT: &str = "2025-06-01";
/// Date of the oldest version that is understood: 2022-10-01.16.0.
const OLDEST: &str = "2022-10-01";
/// Date of 2024-07-01.20.0.
const TWENTY: &str = "2024-07-01";

/// A family of versions, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Family {
    /// Up to 2024-02-01.19.0.
    Nineteen,
    /// 2024-07-01.20.0.
    Twenty,
    /// From 2025-06-01 on.
    #[default]
    Dated,
}

/// Properties of answers that ended, and the last family that has them.
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
    /// The family of a version: `2024-07-01.20.0`, `2025-06-01`. None if it is no version, or older than 2022-10-01.
    /// Versions that are newer than [`CURRENT`] count as it.
    pub fn of(version: &str) -> Option<Self> {
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

    /// Whether answers of this family have a property that this service knows.
    pub fn has(self, property: &str) -> bool {
        ENDED.iter().all(|(ended, last)| *ended != property || self <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_belongs_to_a_family_or_is_not_understood() {
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
            assert_eq!(Family::of(version), expected, "{version}");
        }
    }
}
