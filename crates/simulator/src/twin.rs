//! What the sensor's twin controls: whether it sends and how often.
//!
//! Spec: `tools.md` §3.3. A value that is no value is ignored and told in the reported
//! properties under `errors`, where the original ends its process. A deleted property has its
//! default again. Pure.

use std::time::Duration;

use model::twin::Object;
use serde_json::{Map, Value, json};

/// What is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// Whether messages are sent.
    pub send_data: bool,
    /// Time between two messages.
    pub send_interval: Duration,
    /// The interval when the twin names none.
    interval_default: Duration,
    /// What is wrong with each property; empty when nothing is.
    errors: Errors,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Errors {
    send_data: Option<String>,
    send_interval: Option<String>,
}

impl Control {
    /// What holds until the twin was read.
    pub fn new(interval_default: Duration) -> Self {
        Self {
            send_data: true,
            send_interval: interval_default,
            interval_default,
            errors: Errors::default(),
        }
    }

    /// Takes all desired properties: what is missing has its default.
    pub fn replace(&mut self, desired: &Object) {
        let absent = json!(null);
        let mut whole = desired.clone();
        for name in [SEND_DATA, SEND_INTERVAL] {
            whole.entry(name).or_insert_with(|| absent.clone());
        }
        self.patch(&whole);
    }

    /// Takes a change of desired properties.
    pub fn patch(&mut self, patch: &Object) {
        if let Some(value) = patch.get(SEND_DATA) {
            match parse_flag(value) {
                Ok(flag) => {
                    self.send_data = flag.unwrap_or(true);
                    self.errors.send_data = None;
                }
                Err(error) => self.errors.send_data = Some(error),
            }
        }
        if let Some(value) = patch.get(SEND_INTERVAL) {
            match parse_seconds(value) {
                Ok(seconds) => {
                    self.send_interval = seconds.map_or(self.interval_default, Duration::from_secs);
                    self.errors.send_interval = None;
                }
                Err(error) => self.errors.send_interval = Some(error),
            }
        }
    }

    /// What is wrong, for the log.
    pub fn error_texts(&self) -> impl Iterator<Item = &str> {
        [&self.errors.send_data, &self.errors.send_interval]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The patch of reported properties that says what is in force, and what was wrong. Errors
    /// that are over are deleted.
    pub fn reported(&self) -> Object {
        let mut reported = Map::new();
        reported.insert(SEND_DATA.to_owned(), self.send_data.into());
        reported.insert(SEND_INTERVAL.to_owned(), seconds(self.send_interval));
        let errors = match &self.errors {
            Errors { send_data: None, send_interval: None } => Value::Null,
            errors => json!({ SEND_DATA: errors.send_data, SEND_INTERVAL: errors.send_interval }),
        };
        reported.insert(ERRORS.to_owned(), errors);
        reported
    }
}

/// A flag as JSON has it, or what .NET converts to one.
fn parse_flag(value: &Value) -> Result<Option<bool>, String> {
    let flag = match value {
        Value::Null => return Ok(None),
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    };
    flag.map(Some).ok_or_else(|| format!("{SEND_DATA} is {}; write true or false", shown(value)))
}

/// Whole seconds. Fractions are rounded to the even neighbour when they lie in the middle, as .NET
/// does; a text that is a whole number is one.
fn parse_seconds(value: &Value) -> Result<Option<u64>, String> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<i64>().ok().map(|whole| whole as f64),
        _ => None,
    };
    let rounded = number.map(f64::round_ties_even);
    match rounded.filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds)) {
        Some(seconds) => Ok(Some(seconds as u64)),
        None => Err(format!(
            "{SEND_INTERVAL} is {}; write a number of seconds from 0 to {SECONDS_MAX}",
            shown(value)
        )),
    }
}

/// The interval as a number; whole when it is.
fn seconds(interval: Duration) -> Value {
    match interval.subsec_nanos() {
        0 => interval.as_secs().into(),
        _ => interval.as_secs_f64().into(),
    }
}

/// A value in an error text, which must fit in a twin.
fn shown(value: &Value) -> String {
    let mut text: String = value.to_string().chars().take(SHOWN_MAX).collect();
    if value.to_string().chars().count() > SHOWN_MAX {
        text.push('…');
    }
    text
}

const SEND_DATA: &str = "SendData";
const SEND_INTERVAL: &str = "SendInterval";
const ERRORS: &str = "errors";
/// The longest delay .NET can wait for, in whole seconds (2³¹ ms).
const SECONDS_MAX: f64 = 2_147_483.0;
const SHOWN_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(patches: &[Value]) -> Control {
        let mut control = Control::new(Duration::from_secs(5));
        for patch in patches {
            control.patch(patch.as_object().unwrap());
        }
        control
    }

    #[test]
    fn values_are_converted_as_dotnet_does() {
        for (interval, expected) in [
            (json!(10), 10),
            (json!(2.4), 2),
            (json!(2.5), 2),
            (json!(3.5), 4),
            (json!("7"), 7),
            (json!(0), 0),
            (json!(null), 5),
        ] {
            let control =
                after(&[json!({ "SendInterval": 99 }), json!({ "SendInterval": interval })]);
            assert_eq!(control.send_interval, Duration::from_secs(expected), "{interval}");
            assert_eq!(control.error_texts().count(), 0);
        }
        for (flag, expected) in [
            (json!(false), false),
            (json!("False"), false),
            (json!("true"), true),
            (json!(null), true),
        ] {
            assert_eq!(after(&[json!({ "SendData": flag })]).send_data, expected, "{flag}");
        }
    }

    #[test]
    fn bad_values_are_ignored_and_reported_until_they_are_mended() {
        let mut control = after(&[json!({ "SendData": false, "SendInterval": 9 })]);
        control.patch(json!({ "SendData": "perhaps", "SendInterval": "2.5" }).as_object().unwrap());
        assert!(!control.send_data);
        assert_eq!(control.send_interval, Duration::from_secs(9));
        assert_eq!(
            Value::Object(control.reported()),
            json!({
                "SendData": false,
                "SendInterval": 9,
                "errors": {
                    "SendData": "SendData is \"perhaps\"; write true or false",
                    "SendInterval": "SendInterval is \"2.5\"; write a number of seconds from 0 to 2147483",
                }
            })
        );
        control.patch(json!({ "SendInterval": 1 }).as_object().unwrap());
        assert_eq!(control.reported()["errors"]["SendInterval"], Value::Null);
        control.patch(json!({ "SendData": true }).as_object().unwrap());
        assert_eq!(
            Value::Object(control.reported()),
            json!({ "SendData": true, "SendInterval": 1, "errors": null })
        );
        for bad in [json!(-1), json!(1e300), json!([1]), json!({}), json!(true)] {
            assert_eq!(after(&[json!({ "SendInterval": bad })]).error_texts().count(), 1, "{bad}");
        }
        for bad in [json!(2), json!("yes"), json!([]), json!("x".repeat(10_000))] {
            let control = after(&[json!({ "SendData": bad })]);
            assert!(control.error_texts().next().unwrap().len() < 200);
        }
    }

    #[test]
    fn a_whole_twin_gives_defaults_to_what_is_missing() {
        let mut control = after(&[json!({ "SendData": false, "SendInterval": 9 })]);
        control.replace(json!({ "other": 1 }).as_object().unwrap());
        assert_eq!(control, Control::new(Duration::from_secs(5)));
        let mut half = Control::new(Duration::from_millis(1500));
        half.replace(&Object::new());
        assert_eq!(half.reported()["SendInterval"], json!(1.5));
    }
}
