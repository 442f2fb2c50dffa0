//! Spans of time as .NET writes them: `[d.]hh:mm[:ss[.fffffff]]`, or days alone.
//!
//! The sensor's `MessageDelay` is such a text (`tools.md` §3.1).

use std::time::Duration;

/// Reads a span; none when the text is no span, is negative or is out of range.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.len() > TEXT_LENGTH_MAX {
        return None;
    }
    let Some((head, rest)) = text.split_once(':') else {
        return Some(Duration::from_secs(number(text, DAYS_MAX)? * SECONDS_PER_DAY));
    };
    let (days, hours) = match head.split_once('.') {
        Some((days, hours)) => (number(days, DAYS_MAX)?, hours),
        None => (0, head),
    };
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let whole = days * SECONDS_PER_DAY
        + number(hours, 23)? * 3600
        + number(minutes, 59)? * 60
        + number(seconds, 59)?;
    Some(Duration::from_secs(whole) + parse_fraction(fraction)?)
}

/// Up to seven digits behind the point: .NET counts in units of 100 ns.
fn parse_fraction(text: &str) -> Option<Duration> {
    let ticks = number(text, 9_999_999)?;
    let missing = FRACTION_DIGITS.checked_sub(text.len())?;
    Some(Duration::from_nanos(ticks * 10_u64.pow(u32::try_from(missing).ok()?) * 100))
}

fn number(text: &str, max: u64) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !plain {
        return None;
    }
    text.parse().ok().filter(|n| *n <= max)
}

const SECONDS_PER_DAY: u64 = 86_400;
const FRACTION_DIGITS: usize = 7;
/// .NET's longest span.
const DAYS_MAX: u64 = 10_675_199;
/// The longest span has 26 characters.
const TEXT_LENGTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_dotnet() {
        for (text, span) in [
            ("00:00:05", Some(Duration::from_secs(5))),
            ("0:0:5", Some(Duration::from_secs(5))),
            ("00:01", Some(Duration::from_secs(60))),
            ("00:00:00.5", Some(Duration::from_millis(500))),
            ("00:00:00.0000001", Some(Duration::from_nanos(100))),
            ("1.02:03:04", Some(Duration::from_secs(93_784))),
            ("2", Some(Duration::from_secs(172_800))),
            (" 00:00:01 ", Some(Duration::from_secs(1))),
            ("", None),
            ("five", None),
            ("-00:00:01", None),
            ("24:00:00", None),
            ("00:60:00", None),
            ("00:00:60", None),
            ("00:00:01.", None),
            ("00:00:00.00000001", None),
            ("1:2:3:4", None),
            ("99999999", None),
        ] {
            assert_eq!(parse(text), span, "{text}");
        }
    }
}
