//! The values of AMQP 1.0: what can stand in a map, a list or a body.
//!
//! No bytes are read or written here; that is [`crate::codec`]. Application code
//! builds and matches [`Value`]s; performatives and messages have types of their
//! own and touch `Value` only where the standard allows any type.
//!
//! Specification: OASIS AMQP 1.0 part 1 (types), §1.2 and §1.6.

mod array;
mod map;
mod symbol;

use bytes::Bytes;

pub use array::{Array, MixedArray};
pub use map::Map;
pub use symbol::{NotAscii, Symbol};

/// Milliseconds since 1970-01-01 UTC, as AMQP's `timestamp`.
pub type Timestamp = i64;

/// The 16 bytes of a UUID in network order, as AMQP's `uuid`.
pub type Uuid = [u8; 16];

/// Any AMQP value.
///
/// Two values are equal when their type and content are: `Int(1)` is not
/// `Long(1)`, the order of map entries counts, and floating point numbers compare
/// by their bits, so that a value always equals itself.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// `boolean`
    Boolean(bool),
    /// `ubyte`
    Ubyte(u8),
    /// `ushort`
    Ushort(u16),
    /// `uint`
    Uint(u32),
    /// `ulong`
    Ulong(u64),
    /// `byte`
    Byte(i8),
    /// `short`
    Short(i16),
    /// `int`
    Int(i32),
    /// `long`
    Long(i64),
    /// `float`
    Float(f32),
    /// `double`
    Double(f64),
    /// `decimal32`, uninterpreted
    Decimal32([u8; 4]),
    /// `decimal64`, uninterpreted
    Decimal64([u8; 8]),
    /// `decimal128`, uninterpreted
    Decimal128([u8; 16]),
    /// `char`
    Char(char),
    /// `timestamp`
    Timestamp(Timestamp),
    /// `uuid`
    Uuid(Uuid),
    /// `binary`
    Binary(Bytes),
    /// `string`
    String(String),
    /// `symbol`
    Symbol(Symbol),
    /// `list`
    List(Vec<Value>),
    /// `map`
    Map(Map),
    /// `array`
    Array(Array),
    /// A value with a descriptor, such as a filter.
    Described(Box<Described>),
}

/// A value whose meaning a descriptor gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Usually a symbol or a ulong.
    pub descriptor: Value,
    /// The value described.
    pub value: Value,
}

/// The type of a value, without its content. All elements of an array share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the same words as in Value")]
pub enum Kind {
    Null,
    Boolean,
    Ubyte,
    Ushort,
    Uint,
    Ulong,
    Byte,
    Short,
    Int,
    Long,
    Float,
    Double,
    Decimal32,
    Decimal64,
    Decimal128,
    Char,
    Timestamp,
    Uuid,
    Binary,
    String,
    Symbol,
    List,
    Map,
    Array,
    Described,
}

impl Value {
    /// The type of this value.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Null => Kind::Null,
            Value::Boolean(_) => Kind::Boolean,
            Value::Ubyte(_) => Kind::Ubyte,
            Value::Ushort(_) => Kind::Ushort,
            Value::Uint(_) => Kind::Uint,
            Value::Ulong(_) => Kind::Ulong,
            Value::Byte(_) => Kind::Byte,
            Value::Short(_) => Kind::Short,
            Value::Int(_) => Kind::Int,
            Value::Long(_) => Kind::Long,
            Value::Float(_) => Kind::Float,
            Value::Double(_) => Kind::Double,
            Value::Decimal32(_) => Kind::Decimal32,
            Value::Decimal64(_) => Kind::Decimal64,
            Value::Decimal128(_) => Kind::Decimal128,
            Value::Char(_) => Kind::Char,
            Value::Timestamp(_) => Kind::Timestamp,
            Value::Uuid(_) => Kind::Uuid,
            Value::Binary(_) => Kind::Binary,
            Value::String(_) => Kind::String,
            Value::Symbol(_) => Kind::Symbol,
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Map,
            Value::Array(_) => Kind::Array,
            Value::Described(_) => Kind::Described,
        }
    }

    /// Puts a descriptor in front of a value.
    pub fn described(descriptor: impl Into<Value>, value: impl Into<Value>) -> Value {
        Value::Described(Box::new(Described { descriptor: descriptor.into(), value: value.into() }))
    }

    /// The text of a string or a symbol: peers mix them up.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            Value::Symbol(symbol) => Some(symbol.as_str()),
            _ => None,
        }
    }

    /// The number of any integer type, whatever its width, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Ubyte(number) => Some(i64::from(*number)),
            Value::Ushort(number) => Some(i64::from(*number)),
            Value::Uint(number) => Some(i64::from(*number)),
            Value::Ulong(number) => i64::try_from(*number).ok(),
            Value::Byte(number) => Some(i64::from(*number)),
            Value::Short(number) => Some(i64::from(*number)),
            Value::Int(number) => Some(i64::from(*number)),
            Value::Long(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Whether this is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Boolean(one), Value::Boolean(two)) => one == two,
            (Value::Ubyte(one), Value::Ubyte(two)) => one == two,
            (Value::Ushort(one), Value::Ushort(two)) => one == two,
            (Value::Uint(one), Value::Uint(two)) => one == two,
            (Value::Ulong(one), Value::Ulong(two)) => one == two,
            (Value::Byte(one), Value::Byte(two)) => one == two,
            (Value::Short(one), Value::Short(two)) => one == two,
            (Value::Int(one), Value::Int(two)) => one == two,
            (Value::Long(one), Value::Long(two)) => one == two,
            (Value::Float(one), Value::Float(two)) => one.to_bits() == two.to_bits(),
            (Value::Double(one), Value::Double(two)) => one.to_bits() == two.to_bits(),
            (Value::Decimal32(one), Value::Decimal32(two)) => one == two,
            (Value::Decimal64(one), Value::Decimal64(two)) => one == two,
            (Value::Decimal128(one), Value::Decimal128(two)) => one == two,
            (Value::Char(one), Value::Char(two)) => one == two,
            (Value::Timestamp(one), Value::Timestamp(two)) => one == two,
            (Value::Uuid(one), Value::Uuid(two)) => one == two,
            (Value::Binary(one), Value::Binary(two)) => one == two,
            (Value::String(one), Value::String(two)) => one == two,
            (Value::Symbol(one), Value::Symbol(two)) => one == two,
            (Value::List(one), Value::List(two)) => one == two,
            (Value::Map(one), Value::Map(two)) => one == two,
            (Value::Array(one), Value::Array(two)) => one == two,
            (Value::Described(one), Value::Described(two)) => one == two,
            _ => false,
        }
    }
}

impl Eq for Value {}

/// Makes `Value` from what a variant holds.
macro_rules! value_from {
    ($($from:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$from> for Value {
            fn from(content: $from) -> Value {
                Value::$variant(content.into())
            }
        })+
    };
}

// Not from i64's alias Timestamp, nor from [u8; 16]: the reader should see which
// of two types is meant, or could be.
value_from! {
    bool => Boolean, u8 => Ubyte, u16 => Ushort, u32 => Uint, u64 => Ulong,
    i8 => Byte, i16 => Short, i32 => Int, i64 => Long, f32 => Float, f64 => Double,
    char => Char, Bytes => Binary, String => String, &str => String, Symbol => Symbol,
    Vec<Value> => List, Map => Map, Array => Array,
}
