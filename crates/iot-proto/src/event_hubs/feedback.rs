//! Feedback on cloud-to-device messages, as back ends receive it over AMQP (sa §5.3).
//!
//! .NET reads the user id and the annotation of the time without a check, so they are always there.
//! A delivery's tag is its lock, as [`crate::amqp::message::lock_tag`] spells it.

use ::amqp::message::{Body, Message, MessageId, Properties};
use ::amqp::{Map, Symbol, Value};
use bytes::Bytes;
use jiff::Timestamp;
use model::feedback::Record;
use uuid::Uuid;

use super::address::Address;
use crate::payload::event::ENQUEUED_TIME;
use crate::payload::feedback;

/// What a feedback message holds.
#[derive(Debug, Clone, Copy)]
pub struct FeedbackParts<'a> {
    /// The message's id.
    pub id: Uuid,
    /// When the message was made of its records.
    pub enqueued: Timestamp,
    /// The hub's name.
    pub hub_name: &'a str,
    /// What is told.
    pub records: &'a [Record],
}

impl FeedbackParts<'_> {
    /// The message.
    pub fn to_message(&self) -> Message {
        let mut annotations = Map::new();
        annotations.push(
            Symbol::from_static(ENQUEUED_TIME),
            Value::Timestamp(self.enqueued.as_millisecond()),
        );
        Message {
            message_annotations: annotations,
            properties: Properties {
                message_id: Some(MessageId::String(self.id.to_string())),
                user_id: Some(Bytes::copy_from_slice(self.hub_name.as_bytes())),
                to: Some(Address::Feedback.to_string()),
                content_type: Some(Symbol::from_static(feedback::FEEDBACK)),
                ..Properties::default()
            },
            body: Body::data(feedback::body(self.records)),
            ..Message::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use model::GenerationId;
    use model::feedback::Outcome;

    use super::*;

    #[test]
    fn a_message_has_what_dotnet_insists_on() {
        let enqueued = Timestamp::from_millisecond(1_795_450_071_890).unwrap();
        let record = Record {
            message_id: "m1".into(),
            outcome: Outcome::Success,
            time: enqueued,
            device: "d1".parse().unwrap(),
            generation: GenerationId::from_number(1),
        };
        let records = std::slice::from_ref(&record);
        let id = Uuid::from_u128(0x11);
        let message = FeedbackParts { id, enqueued, hub_name: "hub", records }.to_message();
        let properties = &message.properties;
        assert_eq!(properties.user_id.as_deref(), Some(&b"hub"[..]));
        let id = MessageId::String("00000000-0000-0000-0000-000000000011".into());
        assert_eq!(properties.message_id, Some(id));
        assert_eq!(properties.to.as_deref(), Some("/messages/servicebound/feedback"));
        let content_type = properties.content_type.as_ref().unwrap();
        assert_eq!(content_type, &"application/vnd.microsoft.iothub.feedback.json");
        let time = message.message_annotations.get("iothub-enqueuedtime");
        assert_eq!(time, Some(&Value::Timestamp(1_795_450_071_890)));
        let body = message.body.to_bytes().unwrap();
        assert!(body.starts_with(br#"[{"originalMessageId":"m1""#), "{body:?}");
    }
}
