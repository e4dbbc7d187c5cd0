//! Timestamps: their source (`Clock`), and their formats in bodies and headers.

pub use jiff::Timestamp;
use jiff::{
    civil,
    fmt::{rfc2822, temporal},
    tz::TimeZone,
};
use std::sync::Arc;

/// A source of the current time: the system clock, or the virtual time of a simulation.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// A clock with shared ownership.
pub type SharedClock = Arc<dyn Clock>;

/// The system clock, rounded to ticks of 100 ns so that times have no more digits than in Azure.
#[derive(Debug, Default, Clone, Copy)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        to_ticks(Timestamp::now())
    }
}

/// Rounds down to the service's ticks of 100 ns.
pub fn to_ticks(time: Timestamp) -> Timestamp {
    Timestamp::from_nanosecond(time.as_nanosecond().div_euclid(100) * 100)
        .expect("rounding down subtracts at most 99 ns, and the minimum is a whole tick")
}

/// Formats a time as `2024-04-10T07:12:44.1234567Z`, always with seven digits, as in messages of the service.
pub fn iso(time: Timestamp) -> String {
    const SEVEN_DIGITS: temporal::DateTimePrinter = temporal::DateTimePrinter::new().precision(Some(7));
    SEVEN_DIGITS.timestamp_to_string(&time)
}

/// Formats a time as `2024-04-10T07:12:44Z`, in whole seconds, as in a SAS.
pub fn iso_seconds(time: Timestamp) -> String {
    const SECONDS: temporal::DateTimePrinter = temporal::DateTimePrinter::new().precision(Some(0));
    SECONDS.timestamp_to_string(&time)
}

/// Parses an ISO 8601 time in UTC. Also accepts a date (midnight) and a time without seconds, which a SAS may
/// contain. Returns `None` if the text is invalid.
pub fn parse_iso(text: &str) -> Option<Timestamp> {
    if text.len() == "2024-04-10".len() {
        let date: civil::Date = text.parse().ok()?;
        return Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp());
    }
    text.parse().ok()
}

/// Formats a time as `Wed, 10 Apr 2024 07:12:44 GMT`, as in headers. The format has no years before 0, but
/// file times can: those become the beginning of the year 0.
pub fn http_date(time: Timestamp) -> String {
    const YEAR_0: Timestamp = Timestamp::constant(-62_167_219_200, 0);
    rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time.max(YEAR_0))
        .expect("RFC 9110 covers the years 0 to 9999, and a timestamp ends with them")
}

/// Parses the date of a header; returns `None` if it is invalid.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    const PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    PARSER.parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_in_the_three_formats() {
        let time: Timestamp = "2026-03-02T10:11:12.1234567Z".parse().unwrap();
        assert_eq!(iso(time), "2026-03-02T10:11:12.1234567Z");
        assert_eq!(iso_seconds(time), "2026-03-02T10:11:12Z");
        assert_eq!(http_date(time), "Mon, 02 Mar 2026 10:11:12 GMT");
        assert_eq!(iso(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.0000000Z");
    }

    #[test]
    fn times_are_parsed_in_every_format_that_clients_send() {
        let midnight = parse_iso("2026-03-02T00:00:00Z");
        for text in
            ["2026-03-02", "2026-03-02T00:00Z", "2026-03-02T00:00:00.0000000Z", "2026-03-02T01:00:00+01:00"]
        {
            assert_eq!(parse_iso(text), midnight, "{text}");
        }
        assert_eq!(parse_http_date("Mon, 02 Mar 2026 00:00:00 GMT"), midnight);
        for text in ["", "2026-02-30", "yesterday", "2026-03-02T00:00:00"] {
            assert_eq!(parse_iso(text), None, "{text}");
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    #[test]
    fn every_time_has_a_header_date() {
        assert_eq!(http_date(Timestamp::MIN), "Sat, 01 Jan 0000 00:00:00 GMT");
        assert_eq!(http_date(Timestamp::MAX), "Thu, 30 Dec 9999 22:00:00 GMT");
    }

    #[test]
    fn a_time_is_rounded_down_to_ticks() {
        for (time, tick) in [(199, 100), (100, 100), (0, 0), (-1, -100)] {
            let time = Timestamp::from_nanosecond(time).unwrap();
            assert_eq!(to_ticks(time).as_nanosecond(), tick);
        }
        assert_eq!(to_ticks(Timestamp::MIN), Timestamp::MIN);
    }
}
