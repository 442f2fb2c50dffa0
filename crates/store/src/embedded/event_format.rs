//! How an event lies in the journal, and a message in SQLite: a compact binary form.
//!
//! ```text
//! event    version(1) source(1) auth(1) device module generation content
//! message  version(1) content
//! content  count { property number(1) text }  count { name text }  body (the rest)
//! text     length, UTF-8; lengths and counts are LEB128; an absent module is an empty text
//! ```
//!
//! Encoding makes one allocation and copies the body once, because it stands on the path of every
//! message. Decoding never panics on damaged input and never allocates more than the input is
//! long. A new version is a new number; old ones stay readable. A new system property is a new
//! version too, so that an older program says so rather than dropping it.

use bytes::Bytes;
use model::message::{Message, SystemProperty};
use model::{DeviceId, GenerationId, IdentityId, ModuleId};

use crate::events::{AuthMethod, Event, Source};

/// Why stored bytes are not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A newer program wrote it.
    #[error("event format {0} is newer than this program")]
    Version(u8),
    /// It ends too early.
    #[error("event is cut off")]
    Truncated,
    /// A field holds what it cannot hold.
    #[error("event field {0} is damaged")]
    Field(&'static str),
}

/// Encodes an event.
pub fn encode(event: &Event) -> Bytes {
    encode_parts(event.source, &event.sender, &event.generation, event.auth, &event.message)
}

/// Encodes an event from its parts, which stay with the caller.
pub fn encode_parts(
    source: Source,
    sender: &IdentityId,
    generation: &GenerationId,
    auth: AuthMethod,
    message: &Message,
) -> Bytes {
    let module = sender.module.as_ref().map_or("", ModuleId::as_str);
    let texts = [sender.device.as_str(), module, generation.as_str()];
    let head_size = 3 + texts.iter().map(|text| text_size(text)).sum::<usize>();
    let mut out = Vec::with_capacity(head_size + content_size(message));
    out.extend_from_slice(&[VERSION, source as u8, auth as u8]);
    for text in texts {
        put_text(&mut out, text);
    }
    put_content(&mut out, message);
    debug_assert_eq!(out.len(), out.capacity());
    Bytes::from(out)
}

/// Decodes an event; its body shares the input's memory.
pub fn decode(input: Bytes) -> Result<Event, FormatError> {
    let mut cursor = Cursor { rest: &input };
    cursor.version()?;
    let source = match cursor.byte()? {
        1 => Source::Telemetry,
        2 => Source::TwinChange,
        3 => Source::Lifecycle,
        _ => return Err(FormatError::Field("source")),
    };
    let auth = match cursor.byte()? {
        1 => AuthMethod::DeviceSas,
        2 => AuthMethod::ModuleSas,
        3 => AuthMethod::PolicySas,
        4 => AuthMethod::Hub,
        5 => AuthMethod::DeviceX509,
        6 => AuthMethod::ModuleX509,
        _ => return Err(FormatError::Field("auth")),
    };
    let device: DeviceId =
        cursor.text("device")?.parse().map_err(|_| FormatError::Field("device"))?;
    let module = match cursor.text("module")? {
        "" => None,
        text => Some(text.parse::<ModuleId>().map_err(|_| FormatError::Field("module"))?),
    };
    let generation = GenerationId::from_text(cursor.text("generation")?);
    let message = cursor.content(&input)?;
    Ok(Event { source, sender: IdentityId { device, module }, generation, auth, message })
}

/// Encodes a message alone.
pub(super) fn encode_message(message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + content_size(message));
    out.push(VERSION);
    put_content(&mut out, message);
    out
}

/// Decodes a message alone.
pub(super) fn decode_message(input: Bytes) -> Result<Message, FormatError> {
    let mut cursor = Cursor { rest: &input };
    cursor.version()?;
    cursor.content(&input)
}

fn content_size(message: &Message) -> usize {
    let system: usize = message.system.iter().map(|(_, value)| 1 + text_size(value)).sum();
    let properties: usize =
        message.properties.iter().map(|(name, value)| text_size(name) + text_size(value)).sum();
    number_size(message.system.len())
        + system
        + number_size(message.properties.len())
        + properties
        + message.body.len()
}

fn put_content(out: &mut Vec<u8>, message: &Message) {
    put_number(out, message.system.len());
    for (property, value) in &message.system {
        out.push(*property as u8);
        put_text(out, value);
    }
    put_number(out, message.properties.len());
    for (name, value) in &message.properties {
        put_text(out, name);
        put_text(out, value);
    }
    out.extend_from_slice(&message.body);
}

fn text_size(text: &str) -> usize {
    number_size(text.len()) + text.len()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn number_size(number: usize) -> usize {
    let bits = (usize::BITS - number.leading_zeros()).max(1) as usize;
    bits.div_ceil(7)
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to decode.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn version(&mut self) -> Result<(), FormatError> {
        match self.byte()? {
            VERSION => Ok(()),
            0 => Err(FormatError::Field("version")),
            newer => Err(FormatError::Version(newer)),
        }
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        let (byte, rest) = self.rest.split_first().ok_or(FormatError::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// At most five bytes: 35 bits are more than any length here.
    fn number(&mut self, field: &'static str) -> Result<usize, FormatError> {
        let mut number = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(number).map_err(|_| FormatError::Field(field));
            }
        }
        Err(FormatError::Field(field))
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, FormatError> {
        let length = self.number(field)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(FormatError::Truncated)?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| FormatError::Field(field))
    }

    /// How many entries follow. Each takes two bytes at least, so that a damaged count cannot
    /// ask for more memory than the input justifies.
    fn count(&mut self, field: &'static str) -> Result<usize, FormatError> {
        let count = self.number(field)?;
        if count > self.rest.len() / 2 { Err(FormatError::Truncated) } else { Ok(count) }
    }

    fn content(mut self, input: &Bytes) -> Result<Message, FormatError> {
        let count = self.count("system properties")?;
        let mut system = Vec::with_capacity(count);
        for _ in 0..count {
            let property = SystemProperty::from_number(self.byte()?)
                .ok_or(FormatError::Field("system property"))?;
            system.push((property, self.text("system property")?.to_owned()));
        }
        let count = self.count("properties")?;
        let mut properties = Vec::with_capacity(count);
        for _ in 0..count {
            let name = self.text("property name")?.to_owned();
            properties.push((name, self.text("property value")?.to_owned()));
        }
        let body = input.slice(input.len() - self.rest.len()..);
        Ok(Message { system, properties, body })
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests;
