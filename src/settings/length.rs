//! Lengths of time (`"90s"`) and sizes (`"64MiB"`): a number that must have a unit, so that it is
//! unambiguous.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{fmt, str::FromStr, time::Duration};

const LENGTHS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A length of time, such as `500ms`, `90s`, `15m`, `6h`, `1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct Length(pub Duration);

/// A number of bytes, such as `4096B`, `64MiB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct Size(pub u64);

/// Reads a whole number and its unit.
fn read(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let text = text.trim();
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("{text:?} does not begin with a whole number; write for example {example:?}"));
    }
    let unit = unit.trim();
    if unit.is_empty() {
        return Err(format!("{text:?} has no unit: use one of {}", names.join(", ")));
    }
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("{unit:?} is not a known unit: use one of {}", names.join(", ")));
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is too large"))?;
    number.checked_mul(*scale).ok_or_else(|| format!("{text:?} is too large"))
}

/// Writes with the largest unit that leaves a whole number.
fn write(number: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, scale): &&(&str, u64)| number.is_multiple_of(*scale) && number >= *scale;
    let (name, scale) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{name}", number / scale)
}

impl FromStr for Length {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        read(text, LENGTHS, "90s").map(|milliseconds| Self(Duration::from_millis(milliseconds)))
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        read(text, SIZES, "64MiB").map(Self)
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), LENGTHS))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write(self.0, &SIZES[..5]))
    }
}

macro_rules! as_text {
    ($($name:ident),+) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )+ };
}
as_text!(Length, Size);

/// Returns a number of bytes for people: `1.5 MiB`.
pub fn readable_size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut scaled, mut unit) = (bytes as f64, 0);
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{scaled:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_sizes_need_a_unit_and_fit() {
        for (text, milliseconds) in
            [("500ms", 500), ("90s", 90_000), ("15 m", 900_000), ("6h", 21_600_000), ("0s", 0)]
        {
            assert_eq!(text.parse::<Length>().unwrap().0.as_millis(), milliseconds, "{text}");
        }
        for (text, bytes) in [("0B", 0), ("64MiB", 64 << 20), ("2GB", 2_000_000_000)] {
            assert_eq!(text.parse::<Size>().unwrap().0, bytes, "{text}");
        }
        for text in
            ["", "90", "-1s", "1.5h", "s", "10 weeks", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(text.parse::<Length>().is_err(), "{text} was taken");
        }
        assert_eq!(Length(Duration::from_secs(5400)).to_string(), "90m");
        assert_eq!(Size(256 << 20).to_string(), "256MiB");
    }
}
