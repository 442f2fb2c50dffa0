//! The body of a feedback message (sa §5.3); the same over AMQP and REST.

use model::feedback::{Outcome, Record};
use serde::{Deserialize, Serialize};

use crate::time;

/// The media type of a feedback message.
pub const FEEDBACK: &str = "application/vnd.microsoft.iothub.feedback.json";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordJson {
    /// Which message.
    pub original_message_id: String,
    /// The outcome in words.
    pub description: String,
    /// The outcome's name.
    pub status_code: String,
    /// Whose message it was.
    pub device_id: String,
    /// The device's generation.
    pub device_generation_id: String,
    /// When the message ended so.
    pub enqueued_time_utc: String,
}

impl From<&Record> for RecordJson {
    fn from(record: &Record) -> Self {
        let (status_code, description) = names(record.outcome);
        Self {
            original_message_id: record.message_id.clone(),
            description: description.to_owned(),
            status_code: status_code.to_owned(),
            device_id: record.device.to_string(),
            device_generation_id: record.generation.as_str().to_owned(),
            enqueued_time_utc: time::round_trip(record.time),
        }
    }
}

/// The body of a message with these records: a JSON array.
pub fn body(records: &[Record]) -> Vec<u8> {
    super::write(&records.iter().map(RecordJson::from).collect::<Vec<_>>())
}

/// `statusCode` and `description`.
fn names(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Success => ("Success", "Success"),
        Outcome::Expired => ("Expired", "Message expired"),
        Outcome::DeliveryCountExceeded => {
            ("DeliveryCountExceeded", "Message delivery count exceeded")
        }
        Outcome::Rejected => ("Rejected", "Message rejected"),
        Outcome::Purged => ("Purged", "Message purged"),
    }
}

#[cfg(test)]
mod tests {
    use model::GenerationId;

    use super::*;

    #[test]
    fn a_body_is_an_array_of_records_with_every_field() {
        let record = |outcome| Record {
            message_id: "m \"1\"".into(),
            outcome,
            time: "2026-11-23T16:00:00.1234567Z".parse().unwrap(),
            device: "d1".parse().unwrap(),
            generation: GenerationId::from_number(638_912_345_678_901_234),
        };
        let first = r#"[{"originalMessageId":"m \"1\"","description":"Success","statusCode":"Success","deviceId":"d1","deviceGenerationId":"638912345678901234","enqueuedTimeUtc":"2026-11-23T16:00:00.1234567Z"}]"#;
        assert_eq!(String::from_utf8(body(&[record(Outcome::Success)])).unwrap(), first);
        let all = body(&Outcome::ALL.map(record));
        let all: Vec<RecordJson> = serde_json::from_slice(&all).unwrap();
        let codes: Vec<_> = all.iter().map(|record| record.status_code.as_str()).collect();
        assert_eq!(codes, ["Success", "Expired", "DeliveryCountExceeded", "Rejected", "Purged"]);
    }
}
