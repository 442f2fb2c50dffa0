//! Golden tables: a condition and a message in, a verdict or an error out.
//!
//! Sources: `edge-runtime.md` (er) §5.2, §9 and §10; `service-api.md` (sa) §4.2, §4.3.

mod bounds;
mod hub;
mod language;
mod messages;
mod refusals;

use model::IdentityId;
use model::message::{Message, SystemProperty};
use serde_json::json;

use super::*;

/// T, F and U in the tables.
pub(super) const T: Verdict = Verdict::True;
pub(super) const F: Verdict = Verdict::False;
pub(super) const U: Verdict = Verdict::Undefined;

pub(super) fn sender() -> IdentityId {
    "edge1/sensor".parse().unwrap()
}

pub(super) fn arrival(sender: &IdentityId) -> Arrival<'_> {
    Arrival {
        sender,
        generation: Some("7"),
        auth_method: r#"{"scope":"module","type":"sas"}"#,
        enqueued: "2026-11-25T05:00:00.25Z".parse().unwrap(),
        interface: Some("internal"),
        message_type: None,
        twin: None,
    }
}

/// A message with a body of each kind of value.
pub(super) fn sample() -> Message {
    let body = json!({
        "weather": {
            "temperature": 50,
            "frost": -50.4,
            "nothing": null,
            "city": "Redmond",
            "street": "One Microsoft Way",
            "earlier": [20, 30, 40],
            "days": [{ "month": "Feb", "temperature": 40 }, { "month": "Jan" }],
            "on": true,
            "off": false,
            "with-hyphen": 1,
        },
        "Case": 1,
    });
    let mut message = Message::from_body(body.to_string())
        .with_system(SystemProperty::ContentType, "application/json")
        .with_system(SystemProperty::ContentEncoding, "utf-8")
        .with_system(SystemProperty::MessageId, "m-1");
    for (name, value) in [
        ("key1", "value1"),
        ("key2", "3"),
        ("key3", "VALUE3"),
        ("City", "Redmond"),
        ("empty", ""),
        ("$messageId", "mine"),
        ("$body.weather.off", "100"),
        ("connectionDeviceId", "spoofed"),
    ] {
        message.set_property(name, value);
    }
    message
}

#[track_caller]
pub(super) fn verdict(condition: &str, message: &Message, rules: Rules) -> Verdict {
    let parsed = Condition::parse(condition, rules)
        .unwrap_or_else(|error| panic!("{condition}: at {}: {error}", error.at));
    let sender = sender();
    parsed.evaluate(&MessageSubject::new(message, arrival(&sender), rules))
}

/// By the edge hub's rules, on the sample.
#[track_caller]
pub(super) fn check(cases: &[(&str, Verdict)]) {
    let message = sample();
    for (condition, expected) in cases {
        assert_eq!(verdict(condition, &message, Rules::Edge), *expected, "{condition}");
    }
}
