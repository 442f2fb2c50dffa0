//! Times as text: the .NET round-trip form on output, any ISO 8601 on input.
//!
//! C# parses `$.exp` and `$.ctime` exactly, with seven fraction digits and `Z` (dp §3.7); the
//! service shows a time that never was as year 1 (sa §2.3).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How the service spells a time that never was.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// `2030-01-01T00:00:00.0000000Z`: seven fraction digits, as .NET writes and demands.
pub fn round_trip(time: Timestamp) -> String {
    let t = civil(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:07}Z",
        t.year(),
        t.month(),
        t.day(),
        t.hour(),
        t.minute(),
        t.second(),
        t.subsec_nanosecond() / 100
    )
}

/// The round-trip form, or [`NEVER`].
pub fn round_trip_or_never(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), round_trip)
}

/// `07/16/2016 00:12:41`, as it stands in `ExceptionMessage` of an error (sa §2.11).
pub fn tracking(time: Timestamp) -> String {
    let t = civil(time);
    format!(
        "{:02}/{:02}/{:04} {:02}:{:02}:{:02}",
        t.month(),
        t.day(),
        t.year(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

/// Reads ISO 8601: with an offset or `Z`, or without one and then as UTC; a date alone is its
/// midnight.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() > TEXT_LENGTH_MAX {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let civil = text.parse::<DateTime>().ok()?;
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// The same; year 1, in which nothing ever happened, is none.
pub fn parse_or_never(text: &str) -> Option<Timestamp> {
    parse(text).filter(|time| civil(*time).year() > 1)
}

fn civil(time: Timestamp) -> DateTime {
    TimeZone::UTC.to_datetime(time)
}

/// No form of ISO 8601 that anybody sends is longer.
const TEXT_LENGTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn round_trip_has_seven_digits() {
        for (time, text) in [
            ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00.0000000Z"),
            ("2026-11-25T01:02:03.1234567Z", "2026-11-25T01:02:03.1234567Z"),
            ("2026-11-25T01:02:03.123456789Z", "2026-11-25T01:02:03.1234567Z"),
            ("2026-11-25T01:02:03+02:00", "2026-11-24T23:02:03.0000000Z"),
        ] {
            assert_eq!(round_trip(at(time)), text);
        }
        assert_eq!(round_trip_or_never(None), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn reads_every_spelling_that_clients_send() {
        for (text, time) in [
            ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
            ("2030-01-01T00:00:00.0000000Z", "2030-01-01T00:00:00Z"),
            ("2030-01-01T00:00:00.123+00:00", "2030-01-01T00:00:00.123Z"),
            ("2030-01-01T01:00:00+01:00", "2030-01-01T00:00:00Z"),
            ("2030-01-01T00:00:00", "2030-01-01T00:00:00Z"),
            ("2030-01-01 00:00:00", "2030-01-01T00:00:00Z"),
            ("2030-01-01", "2030-01-01T00:00:00Z"),
            ("2026-11-23T15:53:10.662228Z", "2026-11-23T15:53:10.662228Z"),
        ] {
            assert_eq!(parse(text), Some(at(time)), "{text}");
        }
        for text in ["", "soon", "1795454917", "2030-13-01T00:00:00Z", &"9".repeat(1000)] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse_or_never(NEVER), None);
    }

    #[test]
    fn tracking_time_is_the_american_form() {
        assert_eq!(tracking(at("2016-07-16T00:12:41Z")), "07/16/2016 00:12:41");
    }
}
