//! Reads messages, section by section.

use std::time::Duration;

use bytes::Bytes;

use super::{Body, Header, Message, MessageId, Properties};
use crate::codec::format::descriptor;
use crate::codec::{DecodeError, Fields, Limits, Reader};
use crate::types::Value;

impl Message {
    /// Reads a message from the payload of a delivery. The data and binaries in it are
    /// slices of the payload. Each section may come once, in any order, except that the
    /// sections of a body may be several; no section at all is an empty message.
    pub fn decode(payload: &Bytes, limits: &Limits) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(payload, limits);
        let mut message = Message::default();
        let mut seen = Seen::default();
        while reader.left_bytes() > 0 {
            match reader.descriptor(EXPECTED)? {
                descriptor::HEADER => {
                    seen.once(descriptor::HEADER, "header")?;
                    message.header = Some(header(&mut reader)?);
                }
                descriptor::DELIVERY_ANNOTATIONS => {
                    seen.once(descriptor::DELIVERY_ANNOTATIONS, "delivery-annotations")?;
                    message.delivery_annotations = reader.map()?;
                }
                descriptor::MESSAGE_ANNOTATIONS => {
                    seen.once(descriptor::MESSAGE_ANNOTATIONS, "message-annotations")?;
                    message.message_annotations = reader.map()?;
                }
                descriptor::PROPERTIES => {
                    seen.once(descriptor::PROPERTIES, "properties")?;
                    message.properties = properties(&mut reader)?;
                }
                descriptor::APPLICATION_PROPERTIES => {
                    seen.once(descriptor::APPLICATION_PROPERTIES, "application-properties")?;
                    message.application_properties = reader.map()?;
                }
                descriptor::DATA => message.body.add_data(reader.binary()?)?,
                descriptor::SEQUENCE => message.body.add_sequence(reader.list()?)?,
                descriptor::VALUE => message.body.set_value(reader.value()?)?,
                descriptor::FOOTER => {
                    seen.once(descriptor::FOOTER, "footer")?;
                    message.footer = reader.map()?;
                }
                other => {
                    let descriptor = format!("{other:#04x}");
                    return Err(DecodeError::UnknownDescriptor { expected: EXPECTED, descriptor });
                }
            }
        }
        Ok(message)
    }
}

impl Body {
    fn add_data(&mut self, section: Bytes) -> Result<(), DecodeError> {
        match self {
            Body::Empty => *self = Body::Data(vec![section]),
            Body::Data(sections) => sections.push(section),
            Body::Sequence(_) | Body::Value(_) => return Err(DecodeError::MixedBody),
        }
        Ok(())
    }

    fn add_sequence(&mut self, section: Vec<Value>) -> Result<(), DecodeError> {
        match self {
            Body::Empty => *self = Body::Sequence(vec![section]),
            Body::Sequence(sections) => sections.push(section),
            Body::Data(_) | Body::Value(_) => return Err(DecodeError::MixedBody),
        }
        Ok(())
    }

    fn set_value(&mut self, value: Value) -> Result<(), DecodeError> {
        match self {
            Body::Empty => *self = Body::Value(value),
            Body::Data(_) | Body::Sequence(_) | Body::Value(_) => {
                return Err(DecodeError::MixedBody);
            }
        }
        Ok(())
    }
}

/// Which sections were there, a bit for each.
#[derive(Default)]
struct Seen(u16);

impl Seen {
    fn once(&mut self, code: u8, section: &'static str) -> Result<(), DecodeError> {
        let bit = 1 << (code - descriptor::HEADER);
        if self.0 & bit != 0 {
            return Err(DecodeError::RepeatedSection { section });
        }
        self.0 |= bit;
        Ok(())
    }
}

fn header(reader: &mut Reader<'_>) -> Result<Header, DecodeError> {
    let default = Header::default();
    let mut fields = Fields::enter(reader, "header", 5)?;
    let header = Header {
        durable: fields.or("durable", Reader::boolean, default.durable)?,
        priority: fields.or("priority", Reader::ubyte, default.priority)?,
        ttl: fields
            .optional("ttl", |reader| Ok(Duration::from_millis(u64::from(reader.uint()?))))?,
        first_acquirer: fields.or("first-acquirer", Reader::boolean, default.first_acquirer)?,
        delivery_count: fields.or("delivery-count", Reader::uint, default.delivery_count)?,
    };
    fields.leave()?;
    Ok(header)
}

fn properties(reader: &mut Reader<'_>) -> Result<Properties, DecodeError> {
    let mut fields = Fields::enter(reader, "properties", 13)?;
    let properties = Properties {
        message_id: fields.optional("message-id", message_id)?,
        user_id: fields.optional("user-id", Reader::binary)?,
        to: fields.optional("to", Reader::text)?,
        subject: fields.optional("subject", Reader::text)?,
        reply_to: fields.optional("reply-to", Reader::text)?,
        correlation_id: fields.optional("correlation-id", message_id)?,
        content_type: fields.optional("content-type", Reader::name)?,
        content_encoding: fields.optional("content-encoding", Reader::name)?,
        absolute_expiry_time: fields.optional("absolute-expiry-time", Reader::timestamp)?,
        creation_time: fields.optional("creation-time", Reader::timestamp)?,
        group_id: fields.optional("group-id", Reader::text)?,
        group_sequence: fields.optional("group-sequence", Reader::uint)?,
        reply_to_group_id: fields.optional("reply-to-group-id", Reader::text)?,
    };
    fields.leave()?;
    Ok(properties)
}

fn message_id(reader: &mut Reader<'_>) -> Result<MessageId, DecodeError> {
    let found = reader.peek();
    match reader.value()? {
        Value::Ulong(number) => Ok(MessageId::Ulong(number)),
        Value::Uuid(bytes) => Ok(MessageId::Uuid(bytes)),
        Value::Binary(bytes) => Ok(MessageId::Binary(bytes)),
        Value::String(text) => Ok(MessageId::String(text)),
        _ => Err(DecodeError::WrongType { expected: "ulong, uuid, binary or string", found }),
    }
}

/// What stands at the top of a message.
const EXPECTED: &str = "message section";
