//! Messages over HTTPS: one per request in headers, or as a JSON document.
//!
//! Spec: dp §5.3, §5.4, §6.1. `POST /devices/{d}/messages/deviceBound` takes both. Header names
//! lose their case on the way and cannot hold every property name, so our own client writes the
//! document.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::message::{Message, SystemProperty};
use model::{Fault, FaultKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::read;
use crate::bag::PAIRS_MAX;

/// The media type of the document form.
pub const MESSAGES_JSON: &str = "application/vnd.microsoft.iothub.json";

/// Prefix of application properties in headers and documents.
pub const APPLICATION_PREFIX: &str = "iothub-app-";

/// Reads a request that carries one message, in either form.
pub fn read_one(headers: &HeaderMap, body: Bytes) -> Result<Message, Fault> {
    let media_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case(MESSAGES_JSON) {
        return from_headers(headers, body);
    }
    let mut messages = from_document(&body)?;
    match (messages.pop(), messages.is_empty()) {
        (Some(message), true) => Ok(message),
        _ => Err(Fault::argument("the document does not hold exactly one message")),
    }
}

/// Reads a message from headers; the request's own content type is not the message's.
pub fn from_headers(headers: &HeaderMap, body: Bytes) -> Result<Message, Fault> {
    let mut message = Message::from_body(body);
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with(PREFIX) && system_property(name).is_none() {
            continue;
        }
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Fault::argument(format!("header {name} is not UTF-8")))?;
        set(&mut message, name, value)?;
    }
    Ok(message)
}

/// Writes a message's properties as headers. Fails for a name or value that no header can hold.
pub fn to_headers(message: &Message) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    for (name, value) in names(message) {
        let refuse = || Fault::argument(format!("no HTTP header can hold the property {name}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Fault::argument(format!("no HTTP header can hold the value of {name}")))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Reads a document: `[{"body":"…","base64Encoded":true,"properties":{"iothub-app-k":"v"}}]`.
/// Absent or true, the body is Base64; C writes text with `false`.
pub fn from_document(body: &[u8]) -> Result<Vec<Message>, Fault> {
    let items: Vec<MessageInput> = read(body)?;
    items.into_iter().map(MessageInput::check).collect()
}

/// Writes a document.
pub fn to_document(messages: &[Message]) -> Vec<u8> {
    let items: Vec<MessageOutput> = messages
        .iter()
        .map(|message| MessageOutput {
            body: STANDARD.encode(&message.body),
            properties: names(message).map(|(name, value)| (name, Value::from(value))).collect(),
        })
        .collect();
    super::write(&items)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageInput {
    #[serde(default)]
    body: String,
    base64_encoded: Option<bool>,
    properties: Option<Map<String, Value>>,
}

#[derive(Serialize)]
struct MessageOutput {
    body: String,
    properties: Map<String, Value>,
}

impl MessageInput {
    fn check(self) -> Result<Message, Fault> {
        let body = match self.base64_encoded {
            Some(false) => self.body.into_bytes(),
            _ => STANDARD
                .decode(&self.body)
                .map_err(|_| Fault::argument("body of a message is not Base64"))?,
        };
        let mut message = Message::from_body(body);
        for (name, value) in self.properties.unwrap_or_default() {
            match value {
                Value::String(text) => set(&mut message, &name, &text)?,
                Value::Null => {}
                Value::Number(_) | Value::Bool(_) => set(&mut message, &name, &value.to_string())?,
                Value::Array(_) | Value::Object(_) => {
                    return Err(Fault::argument(format!("property {name} is not a text")));
                }
            }
        }
        Ok(message)
    }
}

/// Sets what a header or a property of a document names. Names that are neither a system property
/// nor prefixed are application properties of a document; of headers, the caller leaves them out.
fn set(message: &mut Message, name: &str, value: &str) -> Result<(), Fault> {
    if let Some(property) = system_property(name) {
        if !value.is_empty() {
            message.set_system(property, value);
        }
        return Ok(());
    }
    let prefix = name.get(..APPLICATION_PREFIX.len());
    let name = match prefix {
        Some(prefix) if prefix.eq_ignore_ascii_case(APPLICATION_PREFIX) => {
            &name[APPLICATION_PREFIX.len()..]
        }
        // Other `iothub-` names are reserved, and what we do not know is of no use.
        _ if name.starts_with(PREFIX) => return Ok(()),
        _ => name,
    };
    if name.is_empty() {
        return Err(Fault::argument("an application property has no name"));
    }
    if message.properties.len() >= PAIRS_MAX {
        return Err(Fault::new(
            FaultKind::ArgumentInvalid,
            format!("the message has more than {PAIRS_MAX} application properties"),
        ));
    }
    message.set_property(name, value);
    Ok(())
}

/// Every property of a message under its name here.
fn names(message: &Message) -> impl Iterator<Item = (String, &str)> {
    let system = message.system.iter().filter_map(|(property, value)| {
        let (_, name) = NAMES.iter().find(|(known, _)| known == property)?;
        Some(((*name).to_owned(), value.as_str()))
    });
    let application = message
        .properties
        .iter()
        .map(|(name, value)| (format!("{APPLICATION_PREFIX}{name}"), value.as_str()));
    system.chain(application)
}

fn system_property(name: &str) -> Option<SystemProperty> {
    NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(property, _)| *property)
}

const PREFIX: &str = "iothub-";

/// System properties and their names in headers (dp §6.1).
const NAMES: [(SystemProperty, &str); 13] = [
    (SystemProperty::MessageId, "iothub-messageid"),
    (SystemProperty::CorrelationId, "iothub-correlationid"),
    (SystemProperty::UserId, "iothub-userid"),
    (SystemProperty::To, "iothub-to"),
    (SystemProperty::ExpiryTime, "iothub-expiry"),
    (SystemProperty::ContentType, "iothub-contenttype"),
    (SystemProperty::ContentEncoding, "iothub-contentencoding"),
    (SystemProperty::CreationTime, "iothub-creationtimeutc"),
    (SystemProperty::MessageSchema, "iothub-messageschema"),
    (SystemProperty::Ack, "iothub-ack"),
    (SystemProperty::Operation, "iothub-operation"),
    (SystemProperty::InterfaceId, "iothub-interface-id"),
    (SystemProperty::Component, "dt-subject"),
];
