//! The message that the sensor sends: a JSON body whose key order is part of the contract.
//!
//! Spec: `tools.md` §3.2. Temperatures and pressure are doubles in full precision, humidity is an
//! integer, no spaces.

use bytes::Bytes;
use iot_proto::time::round_trip;
use jiff::Timestamp;
use model::message::{Message, SystemProperty};
use serde::Serialize;

use crate::walk::Reading;

/// The output that messages leave by.
pub const OUTPUT: &str = "temperatureOutput";

/// The JSON body of one reading.
pub fn body(reading: &Reading, created: Timestamp) -> String {
    let body = Body {
        machine: Machine {
            temperature: reading.machine_temperature,
            pressure: reading.machine_pressure,
        },
        ambient: Ambient {
            temperature: reading.ambient_temperature,
            humidity: reading.ambient_humidity,
        },
        time_created: round_trip(created),
    };
    // Numbers and a text cannot fail to serialise.
    serde_json::to_string(&body).unwrap_or_default()
}

/// The message around a body: content type, encoding, output, running number and batch.
pub fn message(body: &str, sequence_number: u64, batch_id: &str) -> Message {
    let mut message = Message::from_body(Bytes::copy_from_slice(body.as_bytes()))
        .with_system(SystemProperty::ContentType, "application/json")
        .with_system(SystemProperty::ContentEncoding, "utf-8")
        .with_system(SystemProperty::OutputName, OUTPUT);
    message.set_property("sequenceNumber", sequence_number.to_string());
    message.set_property("batchId", batch_id);
    message
}

#[derive(Serialize)]
struct Body {
    machine: Machine,
    ambient: Ambient,
    #[serde(rename = "timeCreated")]
    time_created: String,
}

#[derive(Serialize)]
struct Machine {
    temperature: f64,
    pressure: f64,
}

#[derive(Serialize)]
struct Ambient {
    temperature: f64,
    humidity: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Ranges;
    use crate::walk::Walk;

    #[test]
    fn body_is_spelled_as_the_contract_has_it() {
        let reading = Reading {
            machine_temperature: 21.98,
            machine_pressure: 1.11,
            ambient_temperature: 20.85,
            ambient_humidity: 26,
        };
        assert_eq!(
            body(&reading, "2026-11-23T09:08:07.1234567Z".parse().unwrap()),
            r#"{"machine":{"temperature":21.98,"pressure":1.11},"ambient":{"temperature":20.85,"humidity":26},"timeCreated":"2026-11-23T09:08:07.1234567Z"}"#
        );
        let whole = Reading { machine_temperature: 21.0, machine_pressure: 1.0, ..reading };
        assert!(
            body(&whole, Timestamp::UNIX_EPOCH)
                .starts_with(r#"{"machine":{"temperature":21.0,"pressure":1.0},"#)
        );
    }

    #[test]
    fn message_carries_its_properties() {
        let message = message("{}", 7, "b");
        assert_eq!(message.system(SystemProperty::ContentType), Some("application/json"));
        assert_eq!(message.system(SystemProperty::ContentEncoding), Some("utf-8"));
        assert_eq!(message.system(SystemProperty::OutputName), Some("temperatureOutput"));
        assert_eq!(message.property("sequenceNumber"), Some("7"));
        assert_eq!(message.property("batchId"), Some("b"));
        assert_eq!(&message.body[..], b"{}");
    }

    /// A seed makes the same lines for ever: these are part of what users can rely on.
    #[test]
    fn seed_42_gives_these_bodies() {
        let mut walk = Walk::new(Ranges::default(), 42);
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let bodies: Vec<String> = (0..3)
            .map(|_| {
                walk.step();
                body(&walk.read(), at)
            })
            .collect();
        assert_eq!(bodies, SEED_42);
    }

    // Computed apart from this code, in Python.
    const SEED_42: [&str; 3] = [
        r#"{"machine":{"temperature":21.862347318157735,"pressure":1.098242099536957},"ambient":{"temperature":20.65991039287692,"humidity":24},"timeCreated":"2026-01-02T03:04:05.0000000Z"}"#,
        r#"{"machine":{"temperature":22.12863339294319,"pressure":1.1285784878036544},"ambient":{"temperature":20.538030168540246,"humidity":26},"timeCreated":"2026-01-02T03:04:05.0000000Z"}"#,
        r#"{"machine":{"temperature":22.206241183511466,"pressure":1.1374198816658632},"ambient":{"temperature":21.300631876713503,"humidity":25},"timeCreated":"2026-01-02T03:04:05.0000000Z"}"#,
    ];
}
