//! The property bag at the end of message topics: `k=v` pairs joined by `&`, percent-encoded.
//!
//! Spec: dp §3.5, §6.1. System properties carry the prefix `$.`, which clients send encoded or
//! raw; on output it is always `%24.`, system properties first, because C recognises nothing
//! else and Java finds the bag by searching for the first `%24`. The empty bag costs nothing:
//! most telemetry has none.

use model::message::SystemProperty;

use crate::percent;

/// Properties as they stand in a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bag {
    /// System properties.
    pub system: Vec<(SystemProperty, String)>,
    /// Application properties.
    pub properties: Vec<(String, String)>,
}

/// Why a text is no property bag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BagError {
    /// A pair has no name.
    #[error("property bag has a pair without a name: {0:?}; write name=value")]
    NoName(String),
    /// There are more pairs than [`PAIRS_MAX`].
    #[error("property bag has more than {PAIRS_MAX} properties")]
    TooMany,
}

/// The most pairs a bag may have. A topic holds 65,535 bytes; this bounds the work of finding
/// duplicates in it. Ours; no documented number exists.
pub const PAIRS_MAX: usize = 256;

/// The application property that a retained message gets instead of being retained; its value is
/// `true` (dp §3.6).
pub const RETAIN_PROPERTY: &str = "mqtt-retain";
/// The application property of a Will that became telemetry; its value is [`MESSAGE_TYPE_WILL`]
/// (dp §3.13).
pub const MESSAGE_TYPE_PROPERTY: &str = "iothub-MessageType";
/// See [`MESSAGE_TYPE_PROPERTY`].
pub const MESSAGE_TYPE_WILL: &str = "Will";

/// Whose bag it is, which decides about the properties that only a hub may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A device or module: the sender's name in the bag counts for nothing.
    Device,
    /// A hub.
    Hub,
}

impl Bag {
    /// Reads a bag. One trailing `/` and one leading `?` are not part of it; a name without `=`
    /// has an empty value; of two pairs with one name the last wins.
    ///
    /// From a device, `$.cdid` and `$.cmid` are left out: the connection tells who sent it, and a
    /// bag must not be able to claim another one.
    pub fn parse(text: &str, sender: Sender) -> Result<Self, BagError> {
        let mut bag = Self::default();
        let text = trim(text);
        if text.is_empty() {
            return Ok(bag);
        }
        for (count, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if count == PAIRS_MAX {
                return Err(BagError::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name.is_empty() {
                return Err(BagError::NoName(pair.chars().take(PAIR_SHOWN_MAX).collect()));
            }
            bag.set(&percent::decode(name), percent::decode(value).into_owned(), sender);
        }
        Ok(bag)
    }

    fn set(&mut self, name: &str, value: String, sender: Sender) {
        match system_property(name) {
            Some(SystemProperty::ConnectionDeviceId | SystemProperty::ConnectionModuleId)
                if sender == Sender::Device => {}
            Some(property) => replace_or_push(&mut self.system, property, value),
            None => match self.properties.iter_mut().find(|(n, _)| n == name) {
                Some(entry) => entry.1 = value,
                None => self.properties.push((name.to_owned(), value)),
            },
        }
    }

    /// Appends this bag to a topic.
    pub fn write(&self, out: &mut String) {
        write(&self.system, &self.properties, out);
    }
}

/// Appends properties to a topic, system properties first, every pair with `=`. System properties
/// that have no name in a bag (the model id) and those without a value are left out.
pub fn write(
    system: &[(SystemProperty, String)],
    properties: &[(String, String)],
    out: &mut String,
) {
    let mut first = true;
    let mut separate = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push('&');
        }
    };
    for (property, value) in system.iter().filter(|(_, value)| !value.is_empty()) {
        if let Some(name) = encoded_name(*property) {
            separate(out);
            out.push_str(name);
            out.push('=');
            percent::encode_into(value, out);
        }
    }
    for (name, value) in properties {
        separate(out);
        percent::encode_into(name, out);
        out.push('=');
        percent::encode_into(value, out);
    }
}

/// The bag's text without the separators around it.
pub(crate) fn trim(text: &str) -> &str {
    let text = text.strip_suffix('/').unwrap_or(text);
    text.strip_prefix('?').unwrap_or(text)
}

fn replace_or_push(
    system: &mut Vec<(SystemProperty, String)>,
    property: SystemProperty,
    value: String,
) {
    match system.iter_mut().find(|(p, _)| *p == property) {
        Some(entry) => entry.1 = value,
        None => system.push((property, value)),
    }
}

/// The system property with this decoded name.
fn system_property(name: &str) -> Option<SystemProperty> {
    NAMES.iter().find(|(_, decoded, _)| *decoded == name).map(|(property, _, _)| *property)
}

/// The encoded name of a system property.
fn encoded_name(property: SystemProperty) -> Option<&'static str> {
    NAMES.iter().find(|(p, _, _)| *p == property).map(|(_, _, encoded)| *encoded)
}

/// How much of a malformed pair an error shows.
const PAIR_SHOWN_MAX: usize = 40;

/// Every system property that a bag can hold: decoded name, name on output.
const NAMES: [(SystemProperty, &str, &str); 18] = [
    (SystemProperty::MessageId, "$.mid", "%24.mid"),
    (SystemProperty::CorrelationId, "$.cid", "%24.cid"),
    (SystemProperty::UserId, "$.uid", "%24.uid"),
    (SystemProperty::To, "$.to", "%24.to"),
    (SystemProperty::ExpiryTime, "$.exp", "%24.exp"),
    (SystemProperty::ContentType, "$.ct", "%24.ct"),
    (SystemProperty::ContentEncoding, "$.ce", "%24.ce"),
    (SystemProperty::OutputName, "$.on", "%24.on"),
    (SystemProperty::ConnectionDeviceId, "$.cdid", "%24.cdid"),
    (SystemProperty::ConnectionModuleId, "$.cmid", "%24.cmid"),
    (SystemProperty::InterfaceId, "$.ifid", "%24.ifid"),
    (SystemProperty::Component, "$.sub", "%24.sub"),
    (SystemProperty::MessageSchema, "$.schema", "%24.schema"),
    (SystemProperty::CreationTime, "$.ctime", "%24.ctime"),
    (SystemProperty::DiagnosticId, "$.diagid", "%24.diagid"),
    (SystemProperty::DiagnosticContext, "$.diagctx", "%24.diagctx"),
    (SystemProperty::Ack, "iothub-ack", "iothub-ack"),
    (SystemProperty::Operation, "iothub-operation", "iothub-operation"),
];

#[cfg(test)]
mod tests;
