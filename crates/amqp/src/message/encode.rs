//! Writes messages, in the standard's order of sections.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Body, Header, Message, MessageId, Properties};
use crate::codec::format::descriptor;
use crate::codec::writer::{self, composite, optional};
use crate::types::Map;

impl Message {
    /// Writes the message. Sections without content are left out.
    pub fn encode(&self, output: &mut BytesMut) {
        if let Some(header) = &self.header {
            encode_header(output, header);
        }
        map_section(output, descriptor::DELIVERY_ANNOTATIONS, &self.delivery_annotations);
        map_section(output, descriptor::MESSAGE_ANNOTATIONS, &self.message_annotations);
        if self.properties != Properties::default() {
            encode_properties(output, &self.properties);
        }
        map_section(output, descriptor::APPLICATION_PROPERTIES, &self.application_properties);
        encode_body(output, &self.body);
        map_section(output, descriptor::FOOTER, &self.footer);
    }

    /// The message as the payload of a delivery.
    pub fn to_bytes(&self) -> Bytes {
        let mut output = BytesMut::with_capacity(self.body.content_bytes() + SECTIONS_BYTES);
        self.encode(&mut output);
        output.freeze()
    }
}

impl Body {
    /// How many bytes the content has at least.
    fn content_bytes(&self) -> usize {
        match self {
            Body::Data(sections) => sections.iter().map(Bytes::len).sum(),
            Body::Empty | Body::Sequence(_) | Body::Value(_) => 0,
        }
    }
}

fn encode_header(output: &mut BytesMut, header: &Header) {
    composite(output, descriptor::HEADER, 5, |output| {
        writer::boolean(output, header.durable);
        writer::ubyte(output, header.priority);
        optional(output, header.ttl, milliseconds);
        writer::boolean(output, header.first_acquirer);
        writer::uint(output, header.delivery_count);
    });
}

fn encode_properties(output: &mut BytesMut, properties: &Properties) {
    composite(output, descriptor::PROPERTIES, 13, |output| {
        optional(output, properties.message_id.as_ref(), message_id);
        optional(output, properties.user_id.as_deref(), writer::binary);
        optional(output, properties.to.as_deref(), writer::string);
        optional(output, properties.subject.as_deref(), writer::string);
        optional(output, properties.reply_to.as_deref(), writer::string);
        optional(output, properties.correlation_id.as_ref(), message_id);
        optional(output, properties.content_type.as_ref(), writer::symbol);
        optional(output, properties.content_encoding.as_ref(), writer::symbol);
        optional(output, properties.absolute_expiry_time, writer::timestamp);
        optional(output, properties.creation_time, writer::timestamp);
        optional(output, properties.group_id.as_deref(), writer::string);
        optional(output, properties.group_sequence, writer::uint);
        optional(output, properties.reply_to_group_id.as_deref(), writer::string);
    });
}

fn encode_body(output: &mut BytesMut, body: &Body) {
    match body {
        Body::Empty => {}
        Body::Data(sections) => {
            for section in sections {
                encode_data(output, section);
            }
        }
        Body::Sequence(sections) => {
            for section in sections {
                writer::descriptor(output, descriptor::SEQUENCE);
                writer::list(output, section);
            }
        }
        Body::Value(value) => {
            writer::descriptor(output, descriptor::VALUE);
            writer::value(output, value);
        }
    }
}

/// Writes one data section.
pub(crate) fn encode_data(output: &mut BytesMut, content: &[u8]) {
    writer::descriptor(output, descriptor::DATA);
    writer::binary(output, content);
}

fn map_section(output: &mut BytesMut, code: u8, map: &Map) {
    if !map.is_empty() {
        writer::descriptor(output, code);
        writer::map(output, map);
    }
}

fn message_id(output: &mut BytesMut, id: &MessageId) {
    match id {
        MessageId::Ulong(number) => writer::ulong(output, *number),
        MessageId::Uuid(bytes) => writer::uuid(output, bytes),
        MessageId::Binary(bytes) => writer::binary(output, bytes),
        MessageId::String(text) => writer::string(output, text),
    }
}

fn milliseconds(output: &mut BytesMut, duration: Duration) {
    writer::uint(output, u32::try_from(duration.as_millis()).unwrap_or(u32::MAX));
}

/// Room that the sections around a device's body usually need.
const SECTIONS_BYTES: usize = 512;
