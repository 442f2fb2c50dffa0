//! Messages: the sections around a body, and the body.
//!
//! A message is decoded from the payload of a delivery, all transfers put together.
//! Sections are taken in any order, since the C SDK sends them in its own; they are
//! written in the standard's. Data sections and binaries are slices of the payload,
//! not copies; they keep it in memory as long as they live.
//!
//! Specification: OASIS AMQP 1.0 part 3 (messaging) §3.2; device-protocol.md §4.4.

mod decode;
mod encode;
mod properties;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

use crate::types::{Map, Value};

pub(crate) use encode::encode_data;
pub use properties::{MessageId, Properties};

/// A message. A section whose map is empty, or whose properties are all absent, is
/// absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// How to carry it. §3.2.1
    pub header: Option<Header>,
    /// For the peer only. §3.2.2
    pub delivery_annotations: Map,
    /// For every node on the way. §3.2.3
    pub message_annotations: Map,
    /// The standard's properties, which nobody on the way changes. §3.2.4
    pub properties: Properties,
    /// The application's properties. §3.2.5
    pub application_properties: Map,
    /// The content. §3.2.6 to §3.2.8
    pub body: Body,
    /// What can only be known after the body. §3.2.9
    pub footer: Map,
}

/// How to carry a message. §3.2.1
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// It must not get lost.
    pub durable: bool,
    /// From 0 to 9.
    pub priority: u8,
    /// How long it is worth something. Milliseconds on the wire.
    pub ttl: Option<Duration>,
    /// It was never given to another link.
    pub first_acquirer: bool,
    /// Attempts before this one that failed.
    pub delivery_count: u32,
}

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// No section at all. The standard wants one, but the C SDK asks for a twin without.
    #[default]
    Empty,
    /// One or more `data` sections; those of one message belong together.
    Data(Vec<Bytes>),
    /// One or more `amqp-sequence` sections.
    Sequence(Vec<Vec<Value>>),
    /// An `amqp-value` section.
    Value(Value),
}

impl Default for Header {
    fn default() -> Header {
        Header { durable: false, priority: 4, ttl: None, first_acquirer: false, delivery_count: 0 }
    }
}

impl Body {
    /// A body of one data section.
    pub fn data(content: impl Into<Bytes>) -> Body {
        Body::Data(vec![content.into()])
    }

    /// The content as bytes: all data sections together, or a string or binary that
    /// some clients send as a value; nothing for an empty body or a null value. None
    /// when the body is anything else. One section costs no copy.
    pub fn to_bytes(&self) -> Option<Bytes> {
        match self {
            Body::Empty | Body::Value(Value::Null) => Some(Bytes::new()),
            Body::Data(sections) => match sections.as_slice() {
                [section] => Some(section.clone()),
                several => Some(Bytes::from(several.concat())),
            },
            Body::Value(Value::Binary(content)) => Some(content.clone()),
            Body::Value(Value::String(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
            Body::Value(_) | Body::Sequence(_) => None,
        }
    }
}
