//! Why bytes are no value, performative or message.

/// Why bytes are refused: `amqp:decode-error` to the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends, or a list, map or array ends, before what it announces.
    #[error("the input ends before the value does")]
    Truncated,
    /// Bytes are left over in a list, map, array or frame.
    #[error("{left_bytes} bytes are left over")]
    LeftOver {
        /// How many.
        left_bytes: usize,
    },
    /// A format code that the standard does not have.
    #[error("format code {0:#04x} does not exist")]
    UnknownFormat(u8),
    /// A value of another type than the field has.
    #[error("format code {found:#04x} where {expected} is expected")]
    WrongType {
        /// The field's type.
        expected: &'static str,
        /// The format code found.
        found: u8,
    },
    /// A boolean of one byte that is neither 0 nor 1.
    #[error("a boolean is {0:#04x}, not 0 or 1")]
    NotBoolean(u8),
    /// A string that is not UTF-8.
    #[error("a string is not utf-8")]
    NotUtf8,
    /// A symbol that is not ASCII.
    #[error("a symbol is not ascii")]
    NotAscii,
    /// A char that is no Unicode scalar value.
    #[error("{0:#x} is no unicode character")]
    NotChar(u32),
    /// A map with an odd count.
    #[error("a map has a key without a value")]
    OddMap,
    /// Deeper than [`super::Limits::depth_max`].
    #[error("values lie deeper than {limit} in each other")]
    TooDeep {
        /// The limit handed in.
        limit: u32,
    },
    /// More than [`super::Limits::items_max`], or more than the input can hold.
    #[error("lists, maps and arrays hold more than {limit} values")]
    TooMany {
        /// The limit.
        limit: u32,
    },
    /// A descriptor that does not belong here.
    #[error("descriptor {descriptor} where {expected} is expected")]
    UnknownDescriptor {
        /// What could stand here.
        expected: &'static str,
        /// The descriptor found, as text.
        descriptor: String,
    },
    /// A mandatory field is absent or null.
    #[error("mandatory field {field} is absent")]
    MissingField {
        /// The field's name.
        field: &'static str,
    },
    /// More fields than the standard has.
    #[error("{composite} has {count} fields, not {expected}")]
    TooManyFields {
        /// The list's name.
        composite: &'static str,
        /// How many there are.
        count: u32,
        /// How many there may be.
        expected: u32,
    },
    /// A number that the field does not allow.
    #[error("{field} cannot be {value}")]
    WrongValue {
        /// The field's name.
        field: &'static str,
        /// The number found.
        value: u64,
    },
    /// What is wrong with one field.
    #[error("field {field} is wrong")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        source: Box<DecodeError>,
    },
    /// A section of a message that stands there twice.
    #[error("the message has section {section} twice")]
    RepeatedSection {
        /// The section's name.
        section: &'static str,
    },
    /// Data, sequence and value sections in one message, or two values.
    #[error("the message has bodies of different kinds")]
    MixedBody,
    /// A batch whose body is not made of data sections.
    #[error("the batch has a body of something else than data sections")]
    NotBatch,
}
