//! The format codes that stand in front of values, and the descriptors of the
//! standard's composite types. Part 1 §1.6; the types' definitions in parts 2, 3 and 5.

use crate::types::Kind;

pub(crate) const DESCRIBED: u8 = 0x00;
pub(crate) const NULL: u8 = 0x40;
pub(crate) const TRUE: u8 = 0x41;
pub(crate) const FALSE: u8 = 0x42;
pub(crate) const UINT0: u8 = 0x43;
pub(crate) const ULONG0: u8 = 0x44;
pub(crate) const LIST0: u8 = 0x45;
pub(crate) const UBYTE: u8 = 0x50;
pub(crate) const BYTE: u8 = 0x51;
pub(crate) const SMALL_UINT: u8 = 0x52;
pub(crate) const SMALL_ULONG: u8 = 0x53;
pub(crate) const SMALL_INT: u8 = 0x54;
pub(crate) const SMALL_LONG: u8 = 0x55;
pub(crate) const BOOLEAN: u8 = 0x56;
pub(crate) const USHORT: u8 = 0x60;
pub(crate) const SHORT: u8 = 0x61;
pub(crate) const UINT: u8 = 0x70;
pub(crate) const INT: u8 = 0x71;
pub(crate) const FLOAT: u8 = 0x72;
pub(crate) const CHAR: u8 = 0x73;
pub(crate) const DECIMAL32: u8 = 0x74;
pub(crate) const ULONG: u8 = 0x80;
pub(crate) const LONG: u8 = 0x81;
pub(crate) const DOUBLE: u8 = 0x82;
pub(crate) const TIMESTAMP: u8 = 0x83;
pub(crate) const DECIMAL64: u8 = 0x84;
pub(crate) const DECIMAL128: u8 = 0x94;
pub(crate) const UUID: u8 = 0x98;
pub(crate) const BINARY8: u8 = 0xa0;
pub(crate) const STRING8: u8 = 0xa1;
pub(crate) const SYMBOL8: u8 = 0xa3;
pub(crate) const BINARY32: u8 = 0xb0;
pub(crate) const STRING32: u8 = 0xb1;
pub(crate) const SYMBOL32: u8 = 0xb3;
pub(crate) const LIST8: u8 = 0xc0;
pub(crate) const MAP8: u8 = 0xc1;
pub(crate) const LIST32: u8 = 0xd0;
pub(crate) const MAP32: u8 = 0xd1;
pub(crate) const ARRAY8: u8 = 0xe0;
pub(crate) const ARRAY32: u8 = 0xf0;

/// The type that a format code belongs to; None for one that does not exist.
pub(crate) fn kind(format: u8) -> Option<Kind> {
    Some(match format {
        DESCRIBED => Kind::Described,
        NULL => Kind::Null,
        TRUE | FALSE | BOOLEAN => Kind::Boolean,
        UBYTE => Kind::Ubyte,
        USHORT => Kind::Ushort,
        UINT | SMALL_UINT | UINT0 => Kind::Uint,
        ULONG | SMALL_ULONG | ULONG0 => Kind::Ulong,
        BYTE => Kind::Byte,
        SHORT => Kind::Short,
        INT | SMALL_INT => Kind::Int,
        LONG | SMALL_LONG => Kind::Long,
        FLOAT => Kind::Float,
        DOUBLE => Kind::Double,
        DECIMAL32 => Kind::Decimal32,
        DECIMAL64 => Kind::Decimal64,
        DECIMAL128 => Kind::Decimal128,
        CHAR => Kind::Char,
        TIMESTAMP => Kind::Timestamp,
        UUID => Kind::Uuid,
        BINARY8 | BINARY32 => Kind::Binary,
        STRING8 | STRING32 => Kind::String,
        SYMBOL8 | SYMBOL32 => Kind::Symbol,
        LIST0 | LIST8 | LIST32 => Kind::List,
        MAP8 | MAP32 => Kind::Map,
        ARRAY8 | ARRAY32 => Kind::Array,
        _ => return None,
    })
}

/// Whether values of this format take no bytes, so that an array can claim any
/// number of them.
pub(crate) fn is_empty(format: u8) -> bool {
    matches!(format, NULL | TRUE | FALSE | UINT0 | ULONG0 | LIST0)
}

/// Numeric descriptors. All of the standard's fit a byte.
pub(crate) mod descriptor {
    pub(crate) const OPEN: u8 = 0x10;
    pub(crate) const BEGIN: u8 = 0x11;
    pub(crate) const ATTACH: u8 = 0x12;
    pub(crate) const FLOW: u8 = 0x13;
    pub(crate) const TRANSFER: u8 = 0x14;
    pub(crate) const DISPOSITION: u8 = 0x15;
    pub(crate) const DETACH: u8 = 0x16;
    pub(crate) const END: u8 = 0x17;
    pub(crate) const CLOSE: u8 = 0x18;
    pub(crate) const ERROR: u8 = 0x1d;
    pub(crate) const RECEIVED: u8 = 0x23;
    pub(crate) const ACCEPTED: u8 = 0x24;
    pub(crate) const REJECTED: u8 = 0x25;
    pub(crate) const RELEASED: u8 = 0x26;
    pub(crate) const MODIFIED: u8 = 0x27;
    pub(crate) const SOURCE: u8 = 0x28;
    pub(crate) const TARGET: u8 = 0x29;
    pub(crate) const COORDINATOR: u8 = 0x30;
    pub(crate) const MECHANISMS: u8 = 0x40;
    pub(crate) const INIT: u8 = 0x41;
    pub(crate) const CHALLENGE: u8 = 0x42;
    pub(crate) const RESPONSE: u8 = 0x43;
    pub(crate) const OUTCOME: u8 = 0x44;
    pub(crate) const HEADER: u8 = 0x70;
    pub(crate) const DELIVERY_ANNOTATIONS: u8 = 0x71;
    pub(crate) const MESSAGE_ANNOTATIONS: u8 = 0x72;
    pub(crate) const PROPERTIES: u8 = 0x73;
    pub(crate) const APPLICATION_PROPERTIES: u8 = 0x74;
    pub(crate) const DATA: u8 = 0x75;
    pub(crate) const SEQUENCE: u8 = 0x76;
    pub(crate) const VALUE: u8 = 0x77;
    pub(crate) const FOOTER: u8 = 0x78;
}

/// The number of a descriptor spelled as a symbol.
pub(crate) fn descriptor_named(name: &[u8]) -> Option<u8> {
    use descriptor::*;
    Some(match name {
        b"amqp:open:list" => OPEN,
        b"amqp:begin:list" => BEGIN,
        b"amqp:attach:list" => ATTACH,
        b"amqp:flow:list" => FLOW,
        b"amqp:transfer:list" => TRANSFER,
        b"amqp:disposition:list" => DISPOSITION,
        b"amqp:detach:list" => DETACH,
        b"amqp:end:list" => END,
        b"amqp:close:list" => CLOSE,
        b"amqp:error:list" => ERROR,
        b"amqp:received:list" => RECEIVED,
        b"amqp:accepted:list" => ACCEPTED,
        b"amqp:rejected:list" => REJECTED,
        b"amqp:released:list" => RELEASED,
        b"amqp:modified:list" => MODIFIED,
        b"amqp:source:list" => SOURCE,
        b"amqp:target:list" => TARGET,
        b"amqp:coordinator:list" => COORDINATOR,
        b"amqp:sasl-mechanisms:list" => MECHANISMS,
        b"amqp:sasl-init:list" => INIT,
        b"amqp:sasl-challenge:list" => CHALLENGE,
        b"amqp:sasl-response:list" => RESPONSE,
        b"amqp:sasl-outcome:list" => OUTCOME,
        b"amqp:header:list" => HEADER,
        b"amqp:delivery-annotations:map" => DELIVERY_ANNOTATIONS,
        b"amqp:message-annotations:map" => MESSAGE_ANNOTATIONS,
        b"amqp:properties:list" => PROPERTIES,
        b"amqp:application-properties:map" => APPLICATION_PROPERTIES,
        b"amqp:data:binary" => DATA,
        b"amqp:amqp-sequence:list" => SEQUENCE,
        b"amqp:amqp-value:*" => VALUE,
        b"amqp:footer:map" => FOOTER,
        _ => return None,
    })
}
