//! Moments: where they come from (`Clock`), and how bodies and headers write them.

pub use jiff::Timestamp;
use jiff::{
    civil,
    fmt::{rfc2822, temporal},
    tz::TimeZone,
};
use std::sync::Arc;

/// Tells the wall time. The program has one that asks the machine; a simulation has one of its own.
pub trait Clock: Send + Sync {
    /// The moment it is now.
    fn now(&self) -> Timestamp;
}

/// A clock that many hold.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock, in the service's ticks of 100 ns: no body ever shows more digits than Azure's.
#[derive(Debug, Default, Clone, Copy)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        to_ticks(Timestamp::now())
    }
}

/// The moment, rounded down to the service's ticks of 100 ns.
pub fn to_ticks(moment: Timestamp) -> Timestamp {
    Timestamp::from_nanosecond(moment.as_nanosecond().div_euclid(100) * 100)
        .expect("a tick is at most 99 ns before its moment, and the first moment is a tick")
}

/// `2024-04-10T07:12:44.1234567Z`: always seven digits, as the service writes times into texts.
pub fn iso(moment: Timestamp) -> String {
    const SEVEN_DIGITS: temporal::DateTimePrinter = temporal::DateTimePrinter::new().precision(Some(7));
    SEVEN_DIGITS.timestamp_to_string(&moment)
}

/// `2024-04-10T07:12:44Z`: whole seconds, as a SAS writes them.
pub fn iso_seconds(moment: Timestamp) -> String {
    const SECONDS: temporal::DateTimePrinter = temporal::DateTimePrinter::new().precision(Some(0));
    SECONDS.timestamp_to_string(&moment)
}

/// Reads an ISO 8601 moment in UTC; also a date alone (its midnight) and a time without seconds, as a SAS may
/// hold. `None` if it is none.
pub fn parse_iso(text: &str) -> Option<Timestamp> {
    if text.len() == "2024-04-10".len() {
        let date: civil::Date = text.parse().ok()?;
        return Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp());
    }
    text.parse().ok()
}

/// `Wed, 10 Apr 2024 07:12:44 GMT`: the form of headers. It has no years before 0, which a file may be of: those
/// become the beginning of the year 0.
pub fn http_date(moment: Timestamp) -> String {
    const YEAR_0: Timestamp = Timestamp::constant(-62_167_219_200, 0);
    rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&moment.max(YEAR_0))
        .expect("RFC 9110 writes the years 0 to 9999, and a timestamp has none after them")
}

/// Reads the date of a header; `None` if it is none.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    const PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    PARSER.parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_are_written_in_the_three_forms() {
        let moment: Timestamp = "2026-03-02T10:11:12.1234567Z".parse().unwrap();
        assert_eq!(iso(moment), "2026-03-02T10:11:12.1234567Z");
        assert_eq!(iso_seconds(moment), "2026-03-02T10:11:12Z");
        assert_eq!(http_date(moment), "Mon, 02 Mar 2026 10:11:12 GMT");
        assert_eq!(iso(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.0000000Z");
    }

    #[test]
    fn moments_are_read_in_every_form_that_clients_send() {
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
    fn a_header_has_a_date_for_every_moment() {
        assert_eq!(http_date(Timestamp::MIN), "Sat, 01 Jan 0000 00:00:00 GMT");
        assert_eq!(http_date(Timestamp::MAX), "Thu, 30 Dec 9999 22:00:00 GMT");
    }

    #[test]
    fn a_tick_is_never_after_its_moment() {
        for (moment, tick) in [(199, 100), (100, 100), (0, 0), (-1, -100)] {
            let moment = Timestamp::from_nanosecond(moment).unwrap();
            assert_eq!(to_ticks(moment).as_nanosecond(), tick);
        }
        assert_eq!(to_ticks(Timestamp::MIN), Timestamp::MIN);
    }
}
