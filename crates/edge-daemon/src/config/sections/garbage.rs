//! `[image_garbage_collection]`: when images that nothing uses are removed.

use std::time::Duration;

use crate::config::GarbageCollection;
use crate::config::reader::{Found, Section};

pub(super) fn section(root: &mut Section<'_, '_>) -> GarbageCollection {
    let mut told = GarbageCollection {
        enabled: true,
        recurrence: DAY,
        age: DAY.saturating_mul(7),
        at: Duration::ZERO,
    };
    let Some(mut section) = root.section("image_garbage_collection") else { return told };
    if let Some(found) = section.boolean("enabled") {
        told.enabled = found.value;
    }
    let mut days = |key, target: &mut Duration| {
        let Some(found) = section.string(key) else { return };
        match whole_days(found.value) {
            Some(days) => *target = days,
            None => {
                section.wrong(&found, "is not a number of whole days; write for example \"1d\"");
            }
        }
    };
    days("cleanup_recurrence", &mut told.recurrence);
    days("image_age_cleanup_threshold", &mut told.age);
    if let Some(found) = section.string("cleanup_time") {
        match time_of_day(found.value) {
            Some(at) => told.at = at,
            None => wrong_time(&section, &found),
        }
    }
    section.finish();
    told
}

fn wrong_time(section: &Section<'_, '_>, found: &Found<&str>) {
    section.wrong(found, "is not a time of the day; write for example \"03:30\"");
}

/// `Nd`, also with the units that come out as whole days.
fn whole_days(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    let hours_per_unit = match unit.trim() {
        "d" | "day" | "days" => 24,
        "h" | "hour" | "hours" => 1,
        "w" | "week" | "weeks" => 7 * 24,
        _ => return None,
    };
    let time =
        Duration::from_secs(u64::from(number).checked_mul(hours_per_unit)?.checked_mul(3600)?);
    (time.as_secs().is_multiple_of(DAY.as_secs()) && time <= DAY * DAYS_MAX).then_some(time)
}

/// `HH:MM`.
fn time_of_day(text: &str) -> Option<Duration> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, max: u64| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| is_number && *number <= max)
    };
    let minutes = number(hours, 23)? * 60 + number(minutes, 59)?;
    Some(Duration::from_secs(minutes * 60))
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A hundred years.
const DAYS_MAX: u32 = 36_500;
