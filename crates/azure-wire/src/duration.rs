//! Durations as Batch writes them: ISO 8601 with a resolution of 100 ns (one tick).

use std::{fmt, str::FromStr, time::Duration};

const PER_SECOND: i64 = 10_000_000;
const PER_MINUTE: i64 = 60 * PER_SECOND;
const PER_HOUR: i64 = 60 * PER_MINUTE;
const PER_DAY: i64 = 24 * PER_HOUR;

/// A duration in ticks of 100 ns. Batch represents "no limit" as [`IsoDuration::UNLIMITED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IsoDuration(i64);

impl IsoDuration {
    /// The duration of length zero.
    pub const ZERO: Self = Self(0);
    /// The longest duration, `P10675199DT2H48M5.4775807S`, which means no limit.
    pub const UNLIMITED: Self = Self(i64::MAX);

    /// Creates a duration from ticks of 100 ns.
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// Creates a duration from whole seconds.
    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds as i64 * PER_SECOND)
    }

    /// Creates a duration from days of 24 hours.
    pub const fn from_days(days: u16) -> Self {
        Self(days as i64 * PER_DAY)
    }

    /// Returns the number of ticks of 100 ns.
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// Returns `true` if the duration means no limit.
    pub const fn is_unlimited(self) -> bool {
        self.0 == i64::MAX
    }

    /// Converts to a standard duration: `None` if unlimited, zero if negative.
    pub fn as_std(self) -> Option<Duration> {
        if self.is_unlimited() {
            return None;
        }
        let ticks = self.0.max(0).unsigned_abs();
        let (seconds, rest) = (ticks / PER_SECOND as u64, ticks % PER_SECOND as u64);
        Some(Duration::new(seconds, rest as u32 * 100))
    }
}

/// Rounds down to ticks; durations that exceed 64 bits of ticks become unlimited.
impl From<Duration> for IsoDuration {
    fn from(length: Duration) -> Self {
        i64::try_from(length.as_nanos() / 100).map_or(Self::UNLIMITED, Self)
    }
}

/// Writes the format of the service: parts that are zero are omitted, and zero is `PT0S`.
impl fmt::Display for IsoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("PT0S");
        }
        let per = |ticks: i64| ticks.unsigned_abs();
        let ticks = self.0.unsigned_abs();
        f.write_str(if self.0 < 0 { "-P" } else { "P" })?;
        let (days, rest) = (ticks / per(PER_DAY), ticks % per(PER_DAY));
        if days > 0 {
            write!(f, "{days}D")?;
        }
        if rest == 0 {
            return Ok(());
        }
        f.write_str("T")?;
        let (hours, rest) = (rest / per(PER_HOUR), rest % per(PER_HOUR));
        let (minutes, rest) = (rest / per(PER_MINUTE), rest % per(PER_MINUTE));
        let (seconds, fraction) = (rest / per(PER_SECOND), rest % per(PER_SECOND));
        if hours > 0 {
            write!(f, "{hours}H")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}M")?;
        }
        match (seconds, fraction) {
            (0, 0) => Ok(()),
            (seconds, 0) => write!(f, "{seconds}S"),
            (seconds, fraction) => {
                let digits = format!("{fraction:07}");
                write!(f, "{seconds}.{}S", digits.trim_end_matches('0'))
            }
        }
    }
}

/// The text is not an ISO 8601 duration, or exceeds 64 bits of ticks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 8601 duration: {0:?}")]
pub struct NotADuration(pub String);

/// Parses `P7D`, `PT1M30S`, `PT01M30S`, `P1Y`, `P2W`, `-PT1S`. As in Azure, a year has 365 days and a month
/// 30. Only seconds can have a fraction; digits after the seventh are ignored.
impl FromStr for IsoDuration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, body) = match text.strip_prefix('-') {
            Some(body) => (true, body),
            None => (false, text),
        };
        body.strip_prefix('P')
            .and_then(ticks_of)
            .map(|ticks| Self(if negative { -ticks } else { ticks }))
            .ok_or_else(|| NotADuration(text.chars().take(64).collect()))
    }
}

/// Returns the ticks of the text after `P`.
fn ticks_of(mut text: &str) -> Option<i64> {
    const DATE: &[(char, i64)] =
        &[('Y', 365 * PER_DAY), ('M', 30 * PER_DAY), ('W', 7 * PER_DAY), ('D', PER_DAY)];
    const TIME: &[(char, i64)] = &[('H', PER_HOUR), ('M', PER_MINUTE), ('S', PER_SECOND)];
    let mut units = DATE;
    let (mut total, mut parts, mut in_time) = (0_i64, 0, false);
    while !text.is_empty() {
        if let Some(rest) = text.strip_prefix('T') {
            if in_time || rest.is_empty() {
                return None;
            }
            (in_time, units, text) = (true, TIME, rest);
            continue;
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = (&text[..end], text[end..].chars().next()?);
        let at = units.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(part(number, unit, units[at].1)?)?;
        // Units must be in descending order, each at most once.
        units = &units[at + 1..];
        text = &text[end + unit.len_utf8()..];
        parts += 1;
    }
    (parts > 0).then_some(total)
}

/// Returns the ticks of one part, such as `5.4775807` seconds.
fn part(number: &str, unit: char, scale: i64) -> Option<i64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let ticks = whole.parse::<i64>().ok()?.checked_mul(scale)?;
    let Some(fraction) = fraction else { return Some(ticks) };
    if unit != 'S' || fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seven: String = fraction.chars().chain(std::iter::repeat('0')).take(7).collect();
    ticks.checked_add(seven.parse().ok()?)
}

impl serde::Serialize for IsoDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for IsoDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_of_clients_are_parsed_and_written_as_by_the_service() {
        for (read, written, seconds) in [
            ("PT1M30S", "PT1M30S", 90),
            ("PT01M30S", "PT1M30S", 90),
            ("PT90S", "PT1M30S", 90),
            ("PT0S", "PT0S", 0),
            ("P0D", "PT0S", 0),
            ("P0DT0H0M0S", "PT0S", 0),
            ("P7D", "P7D", 604_800),
            ("P1W", "P7D", 604_800),
            ("PT168H", "P7D", 604_800),
            ("P1DT2H3M4S", "P1DT2H3M4S", 93_784),
            ("P1Y", "P365D", 31_536_000),
            ("P1M", "P30D", 2_592_000),
            ("PT1M", "PT1M", 60),
            ("PT15M", "PT15M", 900),
        ] {
            let length: IsoDuration = read.parse().unwrap();
            assert_eq!(length.to_string(), written);
            assert_eq!(length.as_std(), Some(Duration::from_secs(seconds)), "{read}");
        }
    }

    #[test]
    fn fractions_have_seven_significant_digits() {
        for (read, written, ticks) in [
            ("PT0.0000001S", "PT0.0000001S", 1),
            ("PT1.5S", "PT1.5S", 15_000_000),
            ("PT1.50000000S", "PT1.5S", 15_000_000),
            ("PT0.00000019S", "PT0.0000001S", 1),
            ("-PT1.5S", "-PT1.5S", -15_000_000),
        ] {
            let length: IsoDuration = read.parse().unwrap();
            assert_eq!((length.ticks(), length.to_string().as_str()), (ticks, written));
        }
    }

    #[test]
    fn unlimited_is_the_longest_length_of_the_service() {
        assert_eq!(IsoDuration::UNLIMITED.to_string(), "P10675199DT2H48M5.4775807S");
        assert_eq!("P10675199DT2H48M5.4775807S".parse(), Ok(IsoDuration::UNLIMITED));
        assert_eq!(IsoDuration::UNLIMITED.as_std(), None);
        assert_eq!(IsoDuration::from(Duration::MAX), IsoDuration::UNLIMITED);
    }

    #[test]
    fn invalid_durations_are_rejected() {
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "1D",
            "P1DT",
            "PT1",
            "P1S",
            "PT1D",
            "PT1M1H",
            "PT1H1H",
            "P1.5D",
            "PT1.S",
            "PT.5S",
            "P1D1D",
            "p1d",
            "P1DT1H ",
            "P10675200D",
            "P99999999999999999999D",
            "PT1HT1M",
            "P-1D",
            "00:01:30",
            "PT1é",
        ] {
            assert!(text.parse::<IsoDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_length_is_read_back_as_written(ticks in any::<i64>().prop_filter("its absolute value exceeds 64 bits", |t| *t != i64::MIN)) {
            let length = IsoDuration::from_ticks(ticks);
            prop_assert_eq!(length.to_string().parse(), Ok(length));
        }

        #[test]
        fn std_lengths_survive_to_the_tick(nanoseconds in 0_u64..1 << 60) {
            let length = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(IsoDuration::from(length).as_std(), Some(Duration::from_nanos(nanoseconds / 100 * 100)));
        }

        #[test]
        fn reading_never_panics(text in "-?[P0-9DTHMSYW.é-]{0,24}") {
            let _ = text.parse::<IsoDuration>();
        }
    }
}
