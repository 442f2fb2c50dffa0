//! An event as Event Hubs clients receive it (sa §9.6; dp §6.1, column "AMQP Event Hubs side").
//!
//! What the hub knows stands in the message annotations, what the sender's SDK set in the standard
//! properties, what its application set in the application properties, all of these as texts.

use ::amqp::message::{Body, MessageId, Properties};
use ::amqp::{Map, Message as AmqpMessage, Symbol, Value};
use bytes::Bytes;
use jiff::Timestamp;
use model::message::{Message, SystemProperty};
use model::{GenerationId, IdentityId};

use super::convert;
use super::management::PartitionInfo;
use crate::amqp::address::{DeviceAddress, DeviceNode};
use crate::payload::event::{
    AUTH_METHOD, DEVICE_ID, ENQUEUED_TIME, EventParts, GENERATION_ID, MODULE_ID, SOURCE,
};
use crate::time;

/// Makes the message of an event.
pub fn to_message(event: &EventParts<'_>) -> AmqpMessage {
    AmqpMessage {
        message_annotations: annotations(event),
        properties: properties(event),
        application_properties: application_properties(event.message),
        body: Body::Data(vec![event.message.body.clone()]),
        ..AmqpMessage::default()
    }
}

/// What a delivery says of its partition's end, when the receiver asked for it (sa §9.5).
pub fn runtime_metric(end: &PartitionInfo, now: Timestamp) -> Map {
    let mut map = Map::new();
    let last = end.last_sequence();
    map.push(Symbol::from_static("last_enqueued_sequence_number"), last);
    map.push(Symbol::from_static("last_enqueued_offset"), last.to_string());
    map.push(
        Symbol::from_static("last_enqueued_time_utc"),
        Value::Timestamp(end.last_enqueued_ms()),
    );
    map.push(
        Symbol::from_static("runtime_info_retrieval_time_utc"),
        Value::Timestamp(now.as_millisecond()),
    );
    map
}

fn annotations(event: &EventParts<'_>) -> Map {
    let message = event.message;
    let device = event.sender.device.as_str();
    let mut map = Map::new();
    let mut put = |name: &'static str, value: Value| map.push(Symbol::from_static(name), value);
    let enqueued = Value::Timestamp(event.enqueued.as_millisecond());
    put(SEQUENCE_NUMBER, i64::try_from(event.sequence_number).unwrap_or(i64::MAX).into());
    put(OFFSET, event.sequence_number.to_string().into());
    put(ENQUEUED, enqueued.clone());
    put(PARTITION_KEY, device.into());
    put(DEVICE_ID, device.into());
    if let Some(module) = &event.sender.module {
        put(MODULE_ID, module.as_str().into());
    }
    if !event.auth_method.is_empty() {
        put(AUTH_METHOD, event.auth_method.into());
    }
    put(GENERATION_ID, event.generation.into());
    put(ENQUEUED_TIME, enqueued);
    put(SOURCE, event.source.into());
    for (property, name) in ANNOTATIONS {
        if let Some(value) = message.system(property) {
            put(name, value.into());
        }
    }
    map
}

fn properties(event: &EventParts<'_>) -> Properties {
    let message = event.message;
    let text = |property| message.system(property).map(str::to_owned);
    let id = |property| text(property).map(MessageId::String);
    let to = || {
        let address = DeviceAddress::new(event.sender.clone(), DeviceNode::Events);
        (event.source == TELEMETRY).then(|| address.to_string())
    };
    let expiry = message.system(SystemProperty::ExpiryTime).and_then(time::parse);
    Properties {
        message_id: id(SystemProperty::MessageId),
        user_id: text(SystemProperty::UserId).map(Bytes::from),
        to: text(SystemProperty::To).or_else(to),
        correlation_id: id(SystemProperty::CorrelationId),
        content_type: message.system(SystemProperty::ContentType).and_then(convert::symbol),
        content_encoding: message.system(SystemProperty::ContentEncoding).and_then(convert::symbol),
        absolute_expiry_time: expiry.map(Timestamp::as_millisecond),
        ..Properties::default()
    }
}

fn application_properties(message: &Message) -> Map {
    let ours = APPLICATION_PROPERTIES
        .into_iter()
        .filter_map(|(property, name)| Some((name, message.system(property)?)));
    let all = message.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    all.chain(ours).collect()
}

/// An event as a client received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// Its number in the partition.
    pub sequence_number: u64,
    /// When the hub accepted it, to the millisecond.
    pub enqueued: Timestamp,
    /// `iothub-message-source`.
    pub source: String,
    /// Who sent it, or whom it is about.
    pub sender: IdentityId,
    /// The sender's generation.
    pub generation: GenerationId,
    /// `iothub-connection-auth-method`.
    pub auth_method: String,
    /// The message.
    pub message: Message,
}

/// Why a message is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event has no usable {0}")]
pub struct NoEvent(pub &'static str);

impl ReceivedEvent {
    /// Reads a message that a receiver got.
    pub fn from_message(received: AmqpMessage) -> Result<Self, NoEvent> {
        let annotations = &received.message_annotations;
        let text = |name: &'static str| annotations.get(name).and_then(convert::text);
        let sequence_number = annotations.get(SEQUENCE_NUMBER).and_then(Value::as_i64);
        let enqueued = annotations.get(ENQUEUED).and_then(convert::time);
        let device = text(DEVICE_ID).and_then(|id| id.parse().ok()).ok_or(NoEvent(DEVICE_ID))?;
        let module = match text(MODULE_ID) {
            Some(id) => Some(id.parse().map_err(|_| NoEvent(MODULE_ID))?),
            None => None,
        };
        Ok(Self {
            sequence_number: sequence_number
                .and_then(|number| u64::try_from(number).ok())
                .ok_or(NoEvent(SEQUENCE_NUMBER))?,
            enqueued: enqueued.ok_or(NoEvent(ENQUEUED))?,
            source: text(SOURCE).unwrap_or_default(),
            sender: IdentityId { device, module },
            generation: GenerationId::from_text(&text(GENERATION_ID).unwrap_or_default()),
            auth_method: text(AUTH_METHOD).unwrap_or_default(),
            message: message(received).ok_or(NoEvent("body"))?,
        })
    }

    /// The same with its partition, as our own formats take it.
    pub fn parts(&self, partition: u32) -> EventParts<'_> {
        EventParts {
            partition,
            sequence_number: self.sequence_number,
            enqueued: self.enqueued,
            source: &self.source,
            sender: &self.sender,
            generation: self.generation.as_str(),
            auth_method: &self.auth_method,
            message: &self.message,
        }
    }
}

fn message(received: AmqpMessage) -> Option<Message> {
    let mut message = Message::from_body(received.body.to_bytes()?);
    let mut set = |property, value: Option<String>| {
        if let Some(value) = value {
            message.set_system(property, value);
        }
    };
    let Properties {
        message_id,
        user_id,
        to,
        correlation_id,
        content_type,
        content_encoding,
        absolute_expiry_time,
        ..
    } = received.properties;
    set(SystemProperty::MessageId, message_id.map(|id| id.to_string()));
    set(SystemProperty::CorrelationId, correlation_id.map(|id| id.to_string()));
    set(SystemProperty::UserId, user_id.map(|id| String::from_utf8_lossy(&id).into_owned()));
    set(SystemProperty::To, to);
    set(SystemProperty::ContentType, content_type.map(Symbol::into_string));
    set(SystemProperty::ContentEncoding, content_encoding.map(Symbol::into_string));
    let expiry = absolute_expiry_time.and_then(|at| Timestamp::from_millisecond(at).ok());
    let expiry = expiry.map(time::round_trip);
    set(SystemProperty::ExpiryTime, expiry);
    for (property, name) in ANNOTATIONS {
        set(property, received.message_annotations.get(name).and_then(convert::text));
    }
    for (name, value) in &received.application_properties {
        let (Some(name), Some(value)) = (name.as_text(), convert::text(value)) else { continue };
        match APPLICATION_PROPERTIES.iter().find(|(_, ours)| *ours == name) {
            Some((property, _)) => message.set_system(*property, value),
            None => message.set_property(name, value),
        }
    }
    Some(message)
}

/// System properties that stand in the annotations.
const ANNOTATIONS: [(SystemProperty, &str); 3] = [
    (SystemProperty::ModelId, "dt-dataschema"),
    (SystemProperty::Component, "dt-subject"),
    (SystemProperty::InterfaceId, "iothub-interface-id"),
];

/// System properties that stand in the application properties. What only means something to the hub
/// itself is left out: a module's output, and what cloud-to-device messages have.
const APPLICATION_PROPERTIES: [(SystemProperty, &str); 4] = [
    (SystemProperty::CreationTime, "iothub-creation-time-utc"),
    (SystemProperty::MessageSchema, "iothub-message-schema"),
    (SystemProperty::DiagnosticId, "Diagnostic-Id"),
    (SystemProperty::DiagnosticContext, "Correlation-Context"),
];

/// `iothub-message-source` of what devices and modules send.
pub const TELEMETRY: &str = "Telemetry";
const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const OFFSET: &str = "x-opt-offset";
const ENQUEUED: &str = "x-opt-enqueued-time";
const PARTITION_KEY: &str = "x-opt-partition-key";

#[cfg(test)]
mod tests;
