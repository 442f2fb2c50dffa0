//! The standard's properties of a message. Part 3 §3.2.4.

use std::fmt;

use bytes::Bytes;

use crate::types::{Symbol, Timestamp, Uuid, Value};

/// The properties section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// The message's name.
    pub message_id: Option<MessageId>,
    /// Who made it.
    pub user_id: Option<Bytes>,
    /// The node it is for. Other than text is refused.
    pub to: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// The node that an answer goes to. Other than text is refused.
    pub reply_to: Option<String>,
    /// The name of the message that this one answers.
    pub correlation_id: Option<MessageId>,
    /// RFC 2046 type of a data body. A string is taken, too.
    pub content_type: Option<Symbol>,
    /// How the body is encoded. A string is taken, too.
    pub content_encoding: Option<Symbol>,
    /// When it is worth nothing any more.
    pub absolute_expiry_time: Option<Timestamp>,
    /// When it was made.
    pub creation_time: Option<Timestamp>,
    /// The group it belongs to.
    pub group_id: Option<String>,
    /// Its place in the group.
    pub group_sequence: Option<u32>,
    /// The group that an answer belongs to.
    pub reply_to_group_id: Option<String>,
}

/// The name of a message. Clients compare type and content: an answer's
/// correlation id is the request's message id unchanged. Part 3 §3.2.11 to §3.2.14.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MessageId {
    /// `ulong`, as the C SDK counts.
    Ulong(u64),
    /// `uuid`, as Java and C# make them.
    Uuid(Uuid),
    /// `binary`
    Binary(Bytes),
    /// `string`
    String(String),
}

/// The id's text: decimal, hyphenated lower case, or as it is. Two ids of different
/// types with the same text may be one: Node returns a uuid as a string.
impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageId::Ulong(number) => write!(formatter, "{number}"),
            MessageId::Uuid(bytes) => {
                for (position, byte) in bytes.iter().enumerate() {
                    if matches!(position, 4 | 6 | 8 | 10) {
                        formatter.write_str("-")?;
                    }
                    write!(formatter, "{byte:02x}")?;
                }
                Ok(())
            }
            MessageId::Binary(bytes) => formatter.write_str(&String::from_utf8_lossy(bytes)),
            MessageId::String(text) => formatter.write_str(text),
        }
    }
}

impl From<MessageId> for Value {
    fn from(id: MessageId) -> Value {
        match id {
            MessageId::Ulong(number) => Value::Ulong(number),
            MessageId::Uuid(bytes) => Value::Uuid(bytes),
            MessageId::Binary(bytes) => Value::Binary(bytes),
            MessageId::String(text) => Value::String(text),
        }
    }
}
