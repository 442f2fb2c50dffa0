//! Events as `GET /events/partitions/{p}` gives them: one JSON document per line. Our own format,
//! with the names that the Event Hubs endpoint uses (dp §6.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use model::message::{Message, SystemProperty};
use model::{Fault, IdentityId};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::read;
use crate::time;

/// The media type of the stream.
pub const NDJSON: &str = "application/x-ndjson";

/// What an event is, as the hub stored it.
#[derive(Debug, Clone, Copy)]
pub struct EventParts<'a> {
    /// Its partition.
    pub partition: u32,
    /// Its number in the partition.
    pub sequence_number: u64,
    /// When the hub accepted it.
    pub enqueued: Timestamp,
    /// `iothub-message-source`.
    pub source: &'a str,
    /// Who sent it, or whom it is about.
    pub sender: &'a IdentityId,
    /// The sender's generation.
    pub generation: &'a str,
    /// The text of [`auth_method`].
    pub auth_method: &'a str,
    /// The message.
    pub message: &'a Message,
}

/// One line. A body that says it is JSON in UTF-8, and is, stands in `body` as it is; any other
/// stands in `bodyBase64`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLine {
    /// Its partition.
    pub partition: u32,
    /// Its number in the partition.
    pub sequence_number: u64,
    /// Its place in the partition, as text; today the sequence number.
    pub offset: String,
    /// When the hub accepted it, with seven digits.
    pub enqueued_time: String,
    /// Properties that the hub or the sender's SDK set.
    pub system_properties: Map<String, Value>,
    /// Properties that the sender's application set.
    pub properties: Map<String, Value>,
    /// The body, when it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub body: Option<Box<RawValue>>,
    /// The body, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl EventLine {
    /// The line for an event.
    pub fn new(event: &EventParts<'_>) -> Self {
        let message = event.message;
        let mut system = Map::new();
        let mut set = |name: &str, value: &str| system.insert(name.to_owned(), value.into());
        set(DEVICE_ID, event.sender.device.as_str());
        if let Some(module) = &event.sender.module {
            set(MODULE_ID, module.as_str());
        }
        set(GENERATION_ID, event.generation);
        set(AUTH_METHOD, event.auth_method);
        set(SOURCE, event.source);
        set(ENQUEUED_TIME, &time::round_trip(event.enqueued));
        for (property, value) in &message.system {
            if let Some(name) = name(*property) {
                set(name, value);
            }
        }
        let properties = message
            .properties
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect();
        let body = json_body(message);
        let body_base64 = body.is_none().then(|| STANDARD.encode(&message.body));
        Self {
            partition: event.partition,
            sequence_number: event.sequence_number,
            offset: event.sequence_number.to_string(),
            enqueued_time: time::round_trip(event.enqueued),
            system_properties: system,
            properties,
            body,
            body_base64,
        }
    }

    /// The line's bytes, with its end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = super::write(self);
        line.push(b'\n');
        line
    }

    /// Reads a line: the client's end.
    pub fn parse(line: &[u8]) -> Result<Self, Fault> {
        read(line)
    }

    /// A system property's text.
    pub fn system(&self, name: &str) -> Option<&str> {
        self.system_properties.get(name)?.as_str()
    }

    /// The device that sent it.
    pub fn device_id(&self) -> Option<&str> {
        self.system(DEVICE_ID)
    }

    /// The module that sent it.
    pub fn module_id(&self) -> Option<&str> {
        self.system(MODULE_ID)
    }

    /// The body's bytes, whichever way it stands here.
    pub fn body_bytes(&self) -> Result<Bytes, Fault> {
        match (&self.body, &self.body_base64) {
            (Some(json), _) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|_| Fault::argument("bodyBase64 of an event is not Base64")),
            (None, None) => Ok(Bytes::new()),
        }
    }
}

/// A body of the JSON text `null` is a body, too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// One of the partitions, in the answer of `GET /events/partitions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionJson {
    /// Its number.
    pub partition: u32,
    /// The oldest sequence number that is still there.
    pub oldest_sequence_number: u64,
    /// The number that the next event will get.
    pub next_sequence_number: u64,
    /// Records lost to damage on the disk.
    pub lost_records: u64,
}

/// The answer of `GET /events/partitions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionsJson {
    /// Every partition, in the order of the numbers.
    pub partitions: Vec<PartitionJson>,
}

/// The answer of `GET /events/consumerGroups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupsJson {
    /// Every group's name, `$Default` first.
    pub consumer_groups: Vec<String>,
}

/// What an authentication held for: `scope` in [`auth_method`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthScope {
    /// A shared access policy's key.
    Hub,
    /// A device's own key or certificate.
    Device,
    /// A module's own key or certificate.
    Module,
}

/// With what it was done: `type` in [`auth_method`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// A token.
    Sas,
    /// A certificate.
    X509,
}

/// The text of `iothub-connection-auth-method`: JSON, but a string (dp §2.4).
pub fn auth_method(scope: AuthScope, kind: AuthType) -> &'static str {
    macro_rules! text {
        ($scope:literal, $kind:literal) => {
            concat!(
                r#"{"scope":""#,
                $scope,
                r#"","type":""#,
                $kind,
                r#"","issuer":"iothub","acceptingIpFilterRule":null}"#
            )
        };
    }
    match (scope, kind) {
        (AuthScope::Hub, AuthType::Sas) => text!("hub", "sas"),
        (AuthScope::Hub, AuthType::X509) => text!("hub", "x509"),
        (AuthScope::Device, AuthType::Sas) => text!("device", "sas"),
        (AuthScope::Device, AuthType::X509) => text!("device", "x509"),
        (AuthScope::Module, AuthType::Sas) => text!("module", "sas"),
        (AuthScope::Module, AuthType::X509) => text!("module", "x509"),
    }
}

/// The body as JSON, when the message says so and it is. A line end within would end the line, so
/// a body that holds one is written anew.
fn json_body(message: &Message) -> Option<Box<RawValue>> {
    let content_type = message.system(SystemProperty::ContentType)?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let encoding = message.system(SystemProperty::ContentEncoding)?;
    if !media_type.eq_ignore_ascii_case("application/json")
        || !encoding.trim().eq_ignore_ascii_case("utf-8")
    {
        return None;
    }
    let text = std::str::from_utf8(&message.body).ok()?;
    let raw: Box<RawValue> = serde_json::from_str(text).ok()?;
    if !raw.get().contains(['\n', '\r']) {
        return Some(raw);
    }
    // Within JSON texts a line end is always escaped: these stand between tokens.
    RawValue::from_string(raw.get().replace(['\n', '\r'], " ")).ok()
}

/// The name of a system property at the Event Hubs side (dp §6.1).
fn name(property: SystemProperty) -> Option<&'static str> {
    Some(match property {
        SystemProperty::MessageId => "message-id",
        SystemProperty::CorrelationId => "correlation-id",
        SystemProperty::UserId => "user-id",
        SystemProperty::To => "to",
        SystemProperty::ExpiryTime => "absolute-expiry-time",
        SystemProperty::ContentType => "content-type",
        SystemProperty::ContentEncoding => "content-encoding",
        SystemProperty::CreationTime => "iothub-creation-time-utc",
        SystemProperty::MessageSchema => "iothub-message-schema",
        SystemProperty::OutputName => "iothub-outputname",
        SystemProperty::InterfaceId => "iothub-interface-id",
        SystemProperty::Component => "dt-subject",
        SystemProperty::ModelId => "dt-dataschema",
        SystemProperty::DiagnosticId => "Diagnostic-Id",
        SystemProperty::DiagnosticContext => "Correlation-Context",
        SystemProperty::Ack => "iothub-ack",
        SystemProperty::Operation => "iothub-operation",
        // The hub's own stamp of the sender stands there instead.
        _ => return None,
    })
}

/// Name of the sender's device id.
pub const DEVICE_ID: &str = "iothub-connection-device-id";
/// Name of the sender's module id.
pub const MODULE_ID: &str = "iothub-connection-module-id";
/// Name of the sender's generation.
pub const GENERATION_ID: &str = "iothub-connection-auth-generation-id";
/// Name of how the sender proved itself.
pub const AUTH_METHOD: &str = "iothub-connection-auth-method";
/// Name of the source.
pub const SOURCE: &str = "iothub-message-source";
/// Name of the time at which the hub accepted it.
pub const ENQUEUED_TIME: &str = "iothub-enqueuedtime";
