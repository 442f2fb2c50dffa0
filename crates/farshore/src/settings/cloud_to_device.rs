//! `[cloud_to_device]`: how messages to devices, and feedback on them, live and die.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;

use super::SettingsError;

/// The table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CloudToDevice {
    pub(crate) default_ttl: String,
    pub(crate) max_delivery_count: u32,
    pub(crate) feedback: Feedback,
}

/// The table in it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Feedback {
    pub(crate) ttl: String,
    pub(crate) lock_duration: String,
    pub(crate) max_delivery_count: u32,
}

impl CloudToDevice {
    /// What the hub is told.
    pub(crate) fn checked(&self) -> Result<hub::CloudToDevice, SettingsError> {
        let Feedback { ttl, lock_duration, max_delivery_count } = &self.feedback;
        let feedback = hub::Feedback {
            ttl: duration("cloud_to_device.feedback.ttl", ttl, MINUTE, 2 * DAY)?,
            lock: duration("cloud_to_device.feedback.lock_duration", lock_duration, 5, 300)?,
            deliveries_max: count(
                "cloud_to_device.feedback.max_delivery_count",
                *max_delivery_count,
            )?,
        };
        Ok(hub::CloudToDevice {
            ttl_default: duration(
                "cloud_to_device.default_ttl",
                &self.default_ttl,
                MINUTE,
                2 * DAY,
            )?,
            deliveries_max: count("cloud_to_device.max_delivery_count", self.max_delivery_count)?,
            feedback,
        })
    }
}

impl Default for CloudToDevice {
    fn default() -> Self {
        Self { default_ttl: "PT1H".into(), max_delivery_count: 10, feedback: Feedback::default() }
    }
}

impl Default for Feedback {
    fn default() -> Self {
        Self { ttl: "PT1H".into(), lock_duration: "PT60S".into(), max_delivery_count: 10 }
    }
}

/// An ISO 8601 duration within bounds, in seconds.
fn duration(
    name: &'static str,
    text: &str,
    least: u64,
    most: u64,
) -> Result<Duration, SettingsError> {
    let wrong = || SettingsError::Value {
        name,
        problem: format!(
            "{text:?} is not a duration from {least} to {most} seconds; write it as \"PT60S\", \
             \"PT1H\" or \"P2D\""
        ),
    };
    let span: Span = text.parse().map_err(|_| wrong())?;
    let days_are_24_hours = SpanRelativeTo::days_are_24_hours();
    let duration = span.to_duration(days_are_24_hours).map_err(|_| wrong())?;
    let duration = Duration::try_from(duration).map_err(|_| wrong())?;
    let bounds = Duration::from_secs(least)..=Duration::from_secs(most);
    if bounds.contains(&duration) { Ok(duration) } else { Err(wrong()) }
}

fn count(name: &'static str, count: u32) -> Result<u32, SettingsError> {
    match count {
        1..=100 => Ok(count),
        _ => Err(SettingsError::Value { name, problem: "give a number from 1 to 100".into() }),
    }
}

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_hub_s_own() {
        assert_eq!(CloudToDevice::default().checked().unwrap(), hub::CloudToDevice::default());
    }

    #[test]
    fn bounds_are_kept_and_named() {
        let read = |text: &str| toml::from_str::<CloudToDevice>(text).unwrap().checked();
        for text in [
            "default_ttl = 'P2D'",
            "default_ttl = 'PT1M'",
            "max_delivery_count = 1",
            "max_delivery_count = 100",
            "feedback.ttl = 'PT48H'",
            "feedback.lock_duration = 'PT5S'",
            "feedback.lock_duration = 'PT5M'",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
        for (text, name) in [
            ("default_ttl = '1h30'", "cloud_to_device.default_ttl"),
            ("default_ttl = 'PT59S'", "cloud_to_device.default_ttl"),
            ("default_ttl = 'P2DT1S'", "cloud_to_device.default_ttl"),
            ("default_ttl = '-PT1H'", "cloud_to_device.default_ttl"),
            ("default_ttl = 'P1M'", "cloud_to_device.default_ttl"),
            ("max_delivery_count = 0", "cloud_to_device.max_delivery_count"),
            ("max_delivery_count = 101", "cloud_to_device.max_delivery_count"),
            ("feedback.ttl = ''", "cloud_to_device.feedback.ttl"),
            ("feedback.lock_duration = 'PT4S'", "cloud_to_device.feedback.lock_duration"),
            ("feedback.lock_duration = 'PT301S'", "cloud_to_device.feedback.lock_duration"),
            ("feedback.max_delivery_count = 0", "cloud_to_device.feedback.max_delivery_count"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{name} is wrong")), "{text}: {error}");
        }
    }
}
