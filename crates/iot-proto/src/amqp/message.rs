//! Messages on devices' and modules' links, both ways (dp §4.4, §4.5, §6.1).
//!
//! What a device sends is taken as it comes: properties of any primitive type become text. What a
//! device gets has the types that the SDKs demand: texts as strings, times as timestamps, the
//! content in one data section.

use ::amqp::message::{Body, MessageId, Properties};
use ::amqp::{Map, Symbol, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use model::IdentityId;
use model::message::{Message, SystemProperty};
use uuid::Uuid;

use super::address::{DeviceAddress, DeviceNode};
use crate::time;

/// Why a message of a device is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The body is neither data nor text.
    #[error("the body is neither data sections nor a string or binary value")]
    Body,
    /// There are more properties than [`PROPERTIES_MAX`].
    #[error("the message has more than {PROPERTIES_MAX} application properties")]
    TooMany,
    /// A property is neither text nor a number, a truth, a time or a uuid.
    #[error("the application property {0:?} has no primitive type")]
    Property(String),
}

/// The most application properties of one message, as in a property bag over MQTT.
pub const PROPERTIES_MAX: usize = crate::bag::PAIRS_MAX;

/// Reads telemetry: a whole message, or one of a batch.
pub fn from_device(message: ::amqp::Message) -> Result<Message, MessageError> {
    let ::amqp::Message { properties, application_properties, message_annotations, body, .. } =
        message;
    let mut system = Vec::new();
    read_properties(properties, &mut system);
    if application_properties.len() > PROPERTIES_MAX {
        return Err(MessageError::TooMany);
    }
    let mut own = Vec::with_capacity(application_properties.len());
    for (name, value) in application_properties {
        let Some(name) = into_text(name) else { continue };
        let Some(value) = into_text(value) else { return Err(MessageError::Property(name)) };
        match named(&APPLICATION, &name) {
            Some(property) => set(&mut system, property, value),
            None => set(&mut own, name, value),
        }
    }
    for (name, value) in message_annotations {
        if let Some(property) = name.as_text().and_then(|name| named(&ANNOTATIONS, name))
            && let Some(value) = into_text(value)
        {
            set(&mut system, property, value);
        }
    }
    let body = body.to_bytes().ok_or(MessageError::Body)?;
    Ok(Message { system, properties: own, body })
}

/// What the hub knows about a cloud-to-device message besides its content.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryFacts {
    /// Names the delivery.
    pub lock: Uuid,
    /// The message's number in its queue.
    pub sequence: u64,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// How often it was delivered before.
    pub delivery_count: u32,
}

/// A cloud-to-device message for this identity.
pub fn cloud_to_device(
    identity: &IdentityId,
    message: &Message,
    facts: DeliveryFacts,
) -> ::amqp::Message {
    let mut out = to_device(message);
    out.properties.to.get_or_insert_with(|| {
        DeviceAddress::new(identity.clone(), DeviceNode::DeviceBound).to_string()
    });
    let annotations = &mut out.message_annotations;
    annotations.push(
        Symbol::from_static(ENQUEUED_TIME),
        Value::Timestamp(facts.enqueued.as_millisecond()),
    );
    annotations.push(
        Symbol::from_static(DELIVERY_COUNT),
        u8::try_from(facts.delivery_count).unwrap_or(u8::MAX),
    );
    annotations.push(Symbol::from_static(LOCK_TOKEN), Value::Uuid(facts.lock.into_bytes()));
    annotations.push(Symbol::from_static(SEQUENCE_NUMBER), facts.sequence);
    out
}

/// A message for a module's input. The sender stands where each SDK looks for it: in the
/// annotations, and for Java in the application properties.
pub fn module_input(input: &str, lock: Uuid, message: &Message) -> ::amqp::Message {
    let mut out = to_device(message);
    for (property, name) in SENDER {
        if let Some(value) = message.system(property) {
            out.message_annotations.push(Symbol::from_static(name), value);
            out.application_properties.push(name, value);
        }
    }
    out.message_annotations.push(Symbol::from_static(INPUT_NAME), input);
    out.message_annotations.push(Symbol::from_static(LOCK_TOKEN), Value::Uuid(lock.into_bytes()));
    out
}

/// What a hub says about a message that it delivers, besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceivedFacts {
    /// The message's number in its queue; none where the hub does not say.
    pub sequence: Option<u64>,
    /// When it was enqueued.
    pub enqueued: Option<Timestamp>,
    /// How often it was delivered before.
    pub delivery_count: u32,
}

/// Reads a message that a hub delivered: the inverse of [`cloud_to_device`] and [`module_input`].
pub fn from_hub(mut message: ::amqp::Message) -> Result<(Message, ReceivedFacts), MessageError> {
    let annotations = std::mem::take(&mut message.message_annotations);
    let number = |key| annotations.get(key).and_then(Value::as_i64);
    let facts = ReceivedFacts {
        sequence: match annotations.get(SEQUENCE_NUMBER) {
            Some(Value::Ulong(number)) => Some(*number),
            other => other.and_then(Value::as_i64).and_then(|number| u64::try_from(number).ok()),
        },
        enqueued: match annotations.get(ENQUEUED_TIME) {
            Some(Value::Timestamp(milliseconds)) => Timestamp::from_millisecond(*milliseconds).ok(),
            _ => None,
        },
        delivery_count: number(DELIVERY_COUNT).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
    };
    let mut read = from_device(message)?;
    for (property, name) in SENDER {
        // Java's copy among the application properties is none of the sender's.
        read.properties.retain(|(known, _)| known != name);
        if let Some(value) = annotations.get(name).and_then(Value::as_text) {
            read.system.push((property, value.to_owned()));
        }
    }
    Ok((read, facts))
}

/// The input that a message is for.
pub fn input_name(message: &::amqp::Message) -> Option<String> {
    message.message_annotations.get(INPUT_NAME).and_then(Value::as_text).map(str::to_owned)
}

/// The delivery tag of a message with a lock: C# makes its lock token from it and throws on any
/// other length or order (dp §4.5).
pub fn lock_tag(lock: Uuid) -> Bytes {
    Bytes::copy_from_slice(&lock.to_bytes_le())
}

/// The inverse of [`lock_tag`].
pub fn lock_of_tag(tag: &[u8]) -> Option<Uuid> {
    Some(Uuid::from_bytes_le(tag.try_into().ok()?))
}

/// Telemetry as a device sends it.
pub fn telemetry(message: &Message) -> ::amqp::Message {
    let mut out = to_device(message);
    for (property, name) in ANNOTATIONS {
        if let Some(value) = message.system(property) {
            out.message_annotations.push(Symbol::from_static(name), value);
        }
    }
    out
}

/// Content, properties and application properties.
fn to_device(message: &Message) -> ::amqp::Message {
    let text = |property| message.system(property).filter(|value| !value.is_empty());
    let id = |property| text(property).map(|value| MessageId::String(value.to_owned()));
    let symbol = |property| text(property).and_then(|value| Symbol::try_from(value).ok());
    let properties = Properties {
        message_id: id(SystemProperty::MessageId),
        user_id: text(SystemProperty::UserId).map(|v| Bytes::copy_from_slice(v.as_bytes())),
        to: text(SystemProperty::To).map(str::to_owned),
        correlation_id: id(SystemProperty::CorrelationId),
        content_type: symbol(SystemProperty::ContentType),
        content_encoding: symbol(SystemProperty::ContentEncoding),
        absolute_expiry_time: text(SystemProperty::ExpiryTime)
            .and_then(time::parse)
            .map(Timestamp::as_millisecond),
        ..Properties::default()
    };
    let special = APPLICATION
        .iter()
        .filter_map(|(property, name)| Some((*name, text(*property)?)))
        .map(|(name, value)| (Value::from(name), Value::from(value)));
    let own = message
        .properties
        .iter()
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()));
    ::amqp::Message {
        properties,
        application_properties: special.chain(own).collect::<Map>(),
        body: Body::data(message.body.clone()),
        ..::amqp::Message::default()
    }
}

fn read_properties(properties: Properties, system: &mut Vec<(SystemProperty, String)>) {
    let texts = [
        (SystemProperty::MessageId, properties.message_id.map(id_text)),
        (SystemProperty::CorrelationId, properties.correlation_id.map(id_text)),
        (SystemProperty::UserId, properties.user_id.map(|id| binary_text(&id))),
        (SystemProperty::To, properties.to),
        (SystemProperty::ExpiryTime, properties.absolute_expiry_time.and_then(time_text)),
        (SystemProperty::ContentType, properties.content_type.map(Symbol::into_string)),
        (SystemProperty::ContentEncoding, properties.content_encoding.map(Symbol::into_string)),
    ];
    system.extend(texts.into_iter().filter_map(|(property, text)| Some((property, text?))));
}

fn id_text(id: MessageId) -> String {
    match id {
        MessageId::String(text) => text,
        MessageId::Binary(bytes) => binary_text(&bytes),
        other => other.to_string(),
    }
}

/// A binary as text: as it is when it is text, else in Base64.
fn binary_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => STANDARD.encode(bytes),
    }
}

fn time_text(milliseconds: i64) -> Option<String> {
    Timestamp::from_millisecond(milliseconds).ok().map(time::round_trip)
}

/// The text of a primitive value; none for null and everything that has parts.
fn into_text(value: Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text,
        Value::Symbol(symbol) => symbol.into_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Ulong(number) => number.to_string(),
        Value::Char(character) => character.to_string(),
        Value::Timestamp(milliseconds) => time_text(milliseconds)?,
        Value::Uuid(bytes) => Uuid::from_bytes(bytes).to_string(),
        Value::Binary(bytes) => binary_text(&bytes),
        // A property without a value, as `key` without `=` in a bag.
        Value::Null => String::new(),
        other => other.as_i64()?.to_string(),
    })
}

fn named(names: &[(SystemProperty, &str)], name: &str) -> Option<SystemProperty> {
    names.iter().find(|(_, known)| *known == name).map(|(property, _)| *property)
}

/// Of two entries with one name the last counts.
fn set<N: PartialEq>(entries: &mut Vec<(N, String)>, name: N, value: String) {
    match entries.iter_mut().find(|(known, _)| *known == name) {
        Some(entry) => entry.1 = value,
        None => entries.push((name, value)),
    }
}

/// System properties that stand among the application properties.
const APPLICATION: [(SystemProperty, &str); 5] = [
    (SystemProperty::OutputName, "iothub-outputname"),
    (SystemProperty::Ack, "iothub-ack"),
    (SystemProperty::MessageSchema, "iothub-message-schema"),
    (SystemProperty::CreationTime, "iothub-creation-time-utc"),
    (SystemProperty::Operation, "iothub-operation"),
];

/// System properties that stand among a device's annotations.
const ANNOTATIONS: [(SystemProperty, &str); 4] = [
    (SystemProperty::InterfaceId, "iothub-interface-id"),
    (SystemProperty::Component, "dt-subject"),
    (SystemProperty::DiagnosticId, "Diagnostic-Id"),
    (SystemProperty::DiagnosticContext, "Correlation-Context"),
];

/// Who sent a message to an input; only a hub says so.
const SENDER: [(SystemProperty, &str); 2] = [
    (SystemProperty::ConnectionDeviceId, "iothub-connection-device-id"),
    (SystemProperty::ConnectionModuleId, "iothub-connection-module-id"),
];

const ENQUEUED_TIME: &str = "iothub-enqueuedtime";
const DELIVERY_COUNT: &str = "iothub-deliverycount";
const LOCK_TOKEN: &str = "x-opt-lock-token";
const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const INPUT_NAME: &str = "x-opt-input-name";

#[cfg(test)]
mod tests;
