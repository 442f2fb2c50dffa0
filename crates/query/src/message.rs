//! A message as the subject of conditions.

use std::borrow::Cow;
use std::cell::OnceCell;

use jiff::Timestamp;
use model::IdentityId;
use model::message::{Message, SystemProperty};
use serde_json::Value;

use crate::{Rules, Subject};

/// A message that arrived. Its body is parsed when a condition first asks for it, and once.
pub struct MessageSubject<'m> {
    message: &'m Message,
    arrival: Arrival<'m>,
    rules: Rules,
    body: OnceCell<Option<Value>>,
}

/// What is known of a message's arrival; it may not be taken from the message itself.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'m> {
    /// Who sent it.
    pub sender: &'m IdentityId,
    /// The sender's generation, where it is known.
    pub generation: Option<&'m str>,
    /// How the sender proved itself: the text of `connectionAuthMethod`.
    pub auth_method: &'m str,
    /// When it came.
    pub enqueued: Timestamp,
    /// Where it came from, at an edge hub: `internal` or `downstream`.
    pub interface: Option<&'m str>,
    /// What kind of message it is, if it is not telemetry.
    pub message_type: Option<&'m str>,
    /// The twin of the sender, where conditions may ask for it.
    pub twin: Option<&'m Value>,
}

impl<'m> MessageSubject<'m> {
    /// A message and what is known of it.
    pub fn new(message: &'m Message, arrival: Arrival<'m>, rules: Rules) -> Self {
        Self { message, arrival, rules, body: OnceCell::new() }
    }

    /// A body is JSON if content type and encoding say so (er §9, T-BODY; sa §4.3).
    fn read_body(&self) -> Option<Value> {
        let content_type = self.message.system(SystemProperty::ContentType)?;
        let media_type = match self.rules {
            Rules::Edge => content_type,
            Rules::Hub => content_type.split(';').next().unwrap_or_default().trim(),
        };
        if !media_type.eq_ignore_ascii_case("application/json") {
            return None;
        }
        let encoding = self.message.system(SystemProperty::ContentEncoding)?;
        let text = decoded(encoding, &self.message.body)?;
        serde_json::from_str(&text).ok().filter(Value::is_object)
    }
}

impl Subject for MessageSubject<'_> {
    fn property(&self, name: &str) -> Option<Cow<'_, str>> {
        let exact = self.message.property(name);
        let value = exact.or_else(|| {
            let mut properties = self.message.properties.iter().rev();
            let found = properties.find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        });
        value.map(Cow::Borrowed)
    }

    fn system_property(&self, name: &str) -> Option<Cow<'_, str>> {
        let sender = self.arrival.sender;
        let fact = match name.to_ascii_lowercase().as_str() {
            "connectiondeviceid" => Some(Cow::Borrowed(sender.device.as_str())),
            "connectionmoduleid" => {
                sender.module.as_ref().map(|module| Cow::Borrowed(module.as_str()))
            }
            "connectiondevicegenerationid" => self.arrival.generation.map(Cow::Borrowed),
            "connectionauthmethod" => Some(Cow::Borrowed(self.arrival.auth_method)),
            "enqueuedtime" => Some(Cow::Owned(format!("{:.7}", self.arrival.enqueued))),
            "messagetype" => self.arrival.message_type.map(Cow::Borrowed),
            "edgehuborigininterface" => self.arrival.interface.map(Cow::Borrowed),
            "iothub-message-source" if self.rules == Rules::Hub => Some("Telemetry".into()),
            other => {
                let (_, property) = SYSTEM.iter().find(|(known, _)| *known == other)?;
                self.message.system(*property).map(Cow::Borrowed)
            }
        };
        fact.filter(|value| !value.is_empty())
    }

    fn body(&self) -> Option<&Value> {
        self.body.get_or_init(|| self.read_body()).as_ref()
    }

    fn twin(&self) -> Option<&Value> {
        self.arrival.twin
    }
}

/// The text of a body. UTF-16 and UTF-32 begin with their order of bytes, or with the lower first.
fn decoded<'b>(encoding: &str, body: &'b [u8]) -> Option<Cow<'b, str>> {
    let is = |name: &str| encoding.eq_ignore_ascii_case(name);
    if is("utf-8") {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        return std::str::from_utf8(body).ok().map(Cow::Borrowed);
    }
    if is("utf-16") {
        let (body, is_big) = match body {
            [0xfe, 0xff, rest @ ..] => (rest, true),
            [0xff, 0xfe, rest @ ..] => (rest, false),
            _ => (body, false),
        };
        let (pairs, []) = body.as_chunks::<2>() else { return None };
        let units = pairs.iter().map(|pair| match is_big {
            true => u16::from_be_bytes(*pair),
            false => u16::from_le_bytes(*pair),
        });
        return char::decode_utf16(units).collect::<Result<String, _>>().ok().map(Cow::Owned);
    }
    if is("utf-32") {
        let (body, is_big) = match body {
            [0, 0, 0xfe, 0xff, rest @ ..] => (rest, true),
            [0xff, 0xfe, 0, 0, rest @ ..] => (rest, false),
            _ => (body, false),
        };
        let (units, []) = body.as_chunks::<4>() else { return None };
        let chars = units.iter().map(|unit| {
            char::from_u32(match is_big {
                true => u32::from_be_bytes(*unit),
                false => u32::from_le_bytes(*unit),
            })
        });
        return chars.collect::<Option<String>>().map(Cow::Owned);
    }
    None
}

/// System properties that the sender set, by their names in conditions (er §5.2, sa §4.3), in lower
/// case.
const SYSTEM: [(&str, SystemProperty); 11] = [
    ("contenttype", SystemProperty::ContentType),
    ("contentencoding", SystemProperty::ContentEncoding),
    ("messageid", SystemProperty::MessageId),
    ("correlationid", SystemProperty::CorrelationId),
    ("userid", SystemProperty::UserId),
    ("to", SystemProperty::To),
    ("messageschema", SystemProperty::MessageSchema),
    ("creationtime", SystemProperty::CreationTime),
    ("iothub-interface-id", SystemProperty::InterfaceId),
    ("modelid", SystemProperty::ModelId),
    ("dt-subject", SystemProperty::Component),
];
