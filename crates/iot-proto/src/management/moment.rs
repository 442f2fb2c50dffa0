//! `since` and `until` of logs and support bundles: RFC 3339, Unix seconds, or how long ago.

use jiff::{SignedDuration, Span, Timestamp};

/// A text that means no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value of {0}: give RFC 3339, Unix seconds, or a time such as \"1 day 2h\"")]
pub struct MomentError(pub String);

/// The moment that the value of the parameter `name` means.
pub fn moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, MomentError> {
    let text = text.trim();
    let moment = match text.parse::<i64>() {
        Ok(seconds) => Timestamp::from_second(seconds).ok(),
        Err(_) => text.parse().ok().or_else(|| ago(text, now)),
    };
    moment.ok_or_else(|| MomentError(name.to_owned()))
}

/// Months and years are counted as they are long on average, as the original does.
fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let span: Span = text.parse().ok()?;
    if span.is_negative() {
        return None;
    }
    let days = i64::from(span.get_years())
        .checked_mul(YEAR_SECONDS)?
        .checked_add(i64::from(span.get_months()).checked_mul(MONTH_SECONDS)?)?
        .checked_add(i64::from(span.get_weeks()).checked_mul(7 * DAY_SECONDS)?)?
        .checked_add(i64::from(span.get_days()).checked_mul(DAY_SECONDS)?)?;
    let time = SignedDuration::from_secs(days)
        .checked_add(SignedDuration::from_hours(i64::from(span.get_hours())))?
        .checked_add(SignedDuration::from_secs(span.get_minutes().checked_mul(60)?))?
        .checked_add(SignedDuration::from_secs(span.get_seconds()))?
        .checked_add(SignedDuration::from_millis(span.get_milliseconds()))?;
    now.checked_sub(time).ok()
}

const DAY_SECONDS: i64 = 24 * 3600;
/// 365.25 days.
const YEAR_SECONDS: i64 = 31_557_600;
/// A twelfth of that.
const MONTH_SECONDS: i64 = 2_629_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let found = moment("since", text, now).ok().map(|moment| moment.to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn all_three_forms_are_taken() {
        check("2026-11-25T10:00:00+01:00", Some("2026-11-25T09:00:00Z"));
        check("2026-11-25T10:00:00Z", Some("2026-11-25T10:00:00Z"));
        check("0", Some("1970-01-01T00:00:00Z"));
        check("1764072000", Some("2025-11-25T12:00:00Z"));
        check("1 day 2h", Some("2026-11-24T10:00:00Z"));
        check("1day 2hours 3min 4s", Some("2026-11-24T09:56:56Z"));
        check("90m", Some("2026-11-25T10:30:00Z"));
        check("1h30m", Some("2026-11-25T10:30:00Z"));
        check("1 month", Some("2026-10-26T01:30:00Z"));
    }

    #[test]
    fn nonsense_and_overflow_are_refused() {
        for text in [
            "",
            "yesterday",
            "-1h",
            "1 day -2h",
            "99999999999999999999",
            "9223372036854775807",
            "1e3",
            "19000 years",
            "2026-11-25",
        ] {
            check(text, None);
        }
    }
}
