//! Writes values as bytes, in their shortest form.
//!
//! A list, map or array is written with sizes of one byte, and moved by six bytes if
//! it turns out to be larger: most are small, and moving is cheaper than measuring.

use bytes::{BufMut, BytesMut};

use super::format;
use crate::types::{Array, Kind, Map, Symbol, Timestamp, Uuid, Value};

pub(crate) fn null(output: &mut BytesMut) {
    output.put_u8(format::NULL);
}

pub(crate) fn boolean(output: &mut BytesMut, truth: bool) {
    output.put_u8(if truth { format::TRUE } else { format::FALSE });
}

pub(crate) fn ubyte(output: &mut BytesMut, number: u8) {
    output.put_slice(&[format::UBYTE, number]);
}

pub(crate) fn ushort(output: &mut BytesMut, number: u16) {
    output.put_u8(format::USHORT);
    output.put_u16(number);
}

pub(crate) fn uint(output: &mut BytesMut, number: u32) {
    match u8::try_from(number) {
        Ok(0) => output.put_u8(format::UINT0),
        Ok(small) => output.put_slice(&[format::SMALL_UINT, small]),
        Err(_) => {
            output.put_u8(format::UINT);
            output.put_u32(number);
        }
    }
}

pub(crate) fn ulong(output: &mut BytesMut, number: u64) {
    match u8::try_from(number) {
        Ok(0) => output.put_u8(format::ULONG0),
        Ok(small) => output.put_slice(&[format::SMALL_ULONG, small]),
        Err(_) => {
            output.put_u8(format::ULONG);
            output.put_u64(number);
        }
    }
}

pub(crate) fn timestamp(output: &mut BytesMut, time: Timestamp) {
    output.put_u8(format::TIMESTAMP);
    output.put_i64(time);
}

pub(crate) fn uuid(output: &mut BytesMut, bytes: &Uuid) {
    output.put_u8(format::UUID);
    output.put_slice(bytes);
}

pub(crate) fn binary(output: &mut BytesMut, content: &[u8]) {
    variable(output, format::BINARY8, content);
}

pub(crate) fn string(output: &mut BytesMut, text: &str) {
    variable(output, format::STRING8, text.as_bytes());
}

pub(crate) fn symbol(output: &mut BytesMut, symbol: &Symbol) {
    variable(output, format::SYMBOL8, symbol.as_str().as_bytes());
}

/// A field that may be absent.
pub(crate) fn optional<T>(
    output: &mut BytesMut,
    content: Option<T>,
    write: impl FnOnce(&mut BytesMut, T),
) {
    match content {
        Some(content) => write(output, content),
        None => null(output),
    }
}

/// A field with `multiple="true"`: null or an array, never a lone symbol, since
/// pyamqp iterates over what it finds.
pub(crate) fn symbols(output: &mut BytesMut, symbols: &[Symbol]) {
    if symbols.is_empty() {
        return null(output);
    }
    let longest = symbols.iter().map(|symbol| symbol.as_str().len()).max();
    let format = fitting(longest.unwrap_or(0), format::SYMBOL8);
    compound(output, format::ARRAY8, symbols.len(), |output| {
        output.put_u8(format);
        for symbol in symbols {
            variable_content(output, format, symbol.as_str().as_bytes());
        }
    });
}

/// A map, also if it is empty.
pub(crate) fn map(output: &mut BytesMut, map: &Map) {
    compound(output, format::MAP8, map.len() * 2, |output| map_entries(output, map));
}

/// A map in a field that may be absent.
pub(crate) fn map_or_null(output: &mut BytesMut, content: &Map) {
    match content.is_empty() {
        true => null(output),
        false => map(output, content),
    }
}

pub(crate) fn list(output: &mut BytesMut, items: &[Value]) {
    compound(output, format::LIST8, items.len(), |output| {
        for item in items {
            value(output, item);
        }
    });
}

/// A descriptor of the standard.
pub(crate) fn descriptor(output: &mut BytesMut, descriptor: u8) {
    output.put_slice(&[format::DESCRIBED, format::SMALL_ULONG, descriptor]);
}

/// A composite value: its descriptor and a list of so many fields, written by `write`.
pub(crate) fn composite(
    output: &mut BytesMut,
    code: u8,
    fields: usize,
    write: impl FnOnce(&mut BytesMut),
) {
    descriptor(output, code);
    compound(output, format::LIST8, fields, write);
}

/// Any value.
pub(crate) fn value(output: &mut BytesMut, value: &Value) {
    match value {
        Value::Null => null(output),
        Value::Boolean(truth) => boolean(output, *truth),
        Value::Uint(number) => uint(output, *number),
        Value::Ulong(number) => ulong(output, *number),
        Value::List(items) => list(output, items),
        Value::Map(entries) => map(output, entries),
        Value::Array(items) => array(output, items),
        Value::Described(described) => {
            output.put_u8(format::DESCRIBED);
            self::value(output, &described.descriptor);
            self::value(output, &described.value);
        }
        scalar => {
            let format = format_of(scalar.kind(), std::slice::from_ref(scalar));
            output.put_u8(format);
            content(output, format, scalar);
        }
    }
}

fn array(output: &mut BytesMut, array: &Array) {
    compound(output, format::ARRAY8, array.items().len(), |output| array_items(output, array));
}

/// Descriptors, format code and items: what stands behind the count of an array.
fn array_items(output: &mut BytesMut, array: &Array) {
    for descriptor in array.descriptors() {
        output.put_u8(format::DESCRIBED);
        value(output, descriptor);
    }
    let format = format_of(array.kind(), array.items());
    output.put_u8(format);
    for item in array.items() {
        content(output, format, item);
    }
}

fn map_entries(output: &mut BytesMut, map: &Map) {
    for (key, content) in map {
        value(output, key);
        value(output, content);
    }
}

/// The shortest format that all these values of one kind have in common, and that
/// takes a byte at least, unless they are null.
fn format_of(kind: Kind, items: &[Value]) -> u8 {
    let all = |fits: fn(&Value) -> bool, small: u8, wide: u8| {
        if items.iter().all(fits) { small } else { wide }
    };
    match kind {
        Kind::Null => format::NULL,
        Kind::Boolean => format::BOOLEAN,
        Kind::Ubyte => format::UBYTE,
        Kind::Ushort => format::USHORT,
        Kind::Uint => all(is_small, format::SMALL_UINT, format::UINT),
        Kind::Ulong => all(is_small, format::SMALL_ULONG, format::ULONG),
        Kind::Byte => format::BYTE,
        Kind::Short => format::SHORT,
        Kind::Int => all(is_small, format::SMALL_INT, format::INT),
        Kind::Long => all(is_small, format::SMALL_LONG, format::LONG),
        Kind::Float => format::FLOAT,
        Kind::Double => format::DOUBLE,
        Kind::Decimal32 => format::DECIMAL32,
        Kind::Decimal64 => format::DECIMAL64,
        Kind::Decimal128 => format::DECIMAL128,
        Kind::Char => format::CHAR,
        Kind::Timestamp => format::TIMESTAMP,
        Kind::Uuid => format::UUID,
        Kind::Binary => all(is_small, format::BINARY8, format::BINARY32),
        Kind::String => all(is_small, format::STRING8, format::STRING32),
        Kind::Symbol => all(is_small, format::SYMBOL8, format::SYMBOL32),
        Kind::List => format::LIST32,
        Kind::Map => format::MAP32,
        Kind::Array => format::ARRAY32,
        // Not the kind of a scalar, and `Array` refuses it as its items' kind.
        Kind::Described => format::DESCRIBED,
    }
}

/// Whether the number, or the length, fits the format with one byte.
fn is_small(value: &Value) -> bool {
    match value {
        Value::Uint(number) => *number <= 0xff,
        Value::Ulong(number) => *number <= 0xff,
        Value::Int(number) => i8::try_from(*number).is_ok(),
        Value::Long(number) => i8::try_from(*number).is_ok(),
        Value::Binary(content) => content.len() <= 0xff,
        Value::String(text) => text.len() <= 0xff,
        Value::Symbol(symbol) => symbol.as_str().len() <= 0xff,
        _ => false,
    }
}

/// The content of a value behind a format code that fits it.
fn content(output: &mut BytesMut, format: u8, value: &Value) {
    match value {
        Value::Null => {}
        Value::Boolean(truth) => output.put_u8(u8::from(*truth)),
        Value::Ubyte(number) => output.put_u8(*number),
        Value::Ushort(number) => output.put_u16(*number),
        Value::Uint(number) => fixed(output, format == format::SMALL_UINT, &number.to_be_bytes()),
        Value::Ulong(number) => fixed(output, format == format::SMALL_ULONG, &number.to_be_bytes()),
        Value::Byte(number) => output.put_i8(*number),
        Value::Short(number) => output.put_i16(*number),
        Value::Int(number) => fixed(output, format == format::SMALL_INT, &number.to_be_bytes()),
        Value::Long(number) => fixed(output, format == format::SMALL_LONG, &number.to_be_bytes()),
        Value::Float(number) => output.put_f32(*number),
        Value::Double(number) => output.put_f64(*number),
        Value::Decimal32(bytes) => output.put_slice(bytes),
        Value::Decimal64(bytes) => output.put_slice(bytes),
        Value::Decimal128(bytes) | Value::Uuid(bytes) => output.put_slice(bytes),
        Value::Char(character) => output.put_u32(u32::from(*character)),
        Value::Timestamp(time) => output.put_i64(*time),
        Value::Binary(content) => variable_content(output, format, content),
        Value::String(text) => variable_content(output, format, text.as_bytes()),
        Value::Symbol(symbol) => variable_content(output, format, symbol.as_str().as_bytes()),
        Value::List(items) => compound_content(output, items.len(), |output| {
            for item in items {
                self::value(output, item);
            }
        }),
        Value::Map(map) => {
            compound_content(output, map.len() * 2, |output| map_entries(output, map));
        }
        Value::Array(array) => {
            compound_content(output, array.items().len(), |output| array_items(output, array));
        }
        Value::Described(described) => self::value(output, &described.value),
    }
}

/// A number of fixed width, or its last byte.
fn fixed(output: &mut BytesMut, small: bool, bytes: &[u8]) {
    match bytes {
        [.., last] if small => output.put_u8(*last),
        bytes => output.put_slice(bytes),
    }
}

fn variable(output: &mut BytesMut, format8: u8, content: &[u8]) {
    let format = fitting(content.len(), format8);
    output.put_u8(format);
    variable_content(output, format, content);
}

fn variable_content(output: &mut BytesMut, format: u8, content: &[u8]) {
    if format & WIDE == WIDE {
        output.put_u32(length32(content.len()));
    } else {
        debug_assert!(content.len() <= 0xff);
        output.put_u8(content.len() as u8);
    }
    output.put_slice(content);
}

/// A format with a length of one byte, or its sibling with four.
fn fitting(length: usize, format8: u8) -> u8 {
    if length <= 0xff { format8 } else { format8 | WIDE }
}

/// A list, map or array with its format code, of the size that fits.
fn compound(output: &mut BytesMut, format8: u8, count: usize, write: impl FnOnce(&mut BytesMut)) {
    let start = output.len();
    output.put_slice(&[format8, 0, 0]);
    let content_start = output.len();
    write(output);
    let content_bytes = output.len() - content_start;

    // The size counts the count's own byte.
    let small = u8::try_from(content_bytes + 1).ok().zip(u8::try_from(count).ok());
    if let Some((size, count)) = small {
        overwrite(output, start + 1, &[size, count]);
        return;
    }
    output.put_bytes(0, 6);
    output.copy_within(content_start..content_start + content_bytes, content_start + 6);
    overwrite(output, start, &[format8 | WIDE]);
    overwrite(output, start + 1, &length32(content_bytes + 4).to_be_bytes());
    overwrite(output, start + 5, &length32(count).to_be_bytes());
}

/// A list, map or array in an array: sizes of four bytes, without a format code.
fn compound_content(output: &mut BytesMut, count: usize, write: impl FnOnce(&mut BytesMut)) {
    let start = output.len();
    output.put_u32(0);
    output.put_u32(length32(count));
    write(output);
    let size = length32(output.len() - start - 4);
    overwrite(output, start, &size.to_be_bytes());
}

/// Puts in place what was left open.
pub(crate) fn overwrite(output: &mut BytesMut, at: usize, bytes: &[u8]) {
    let place = output.get_mut(at..at + bytes.len());
    debug_assert!(place.is_some());
    if let Some(place) = place {
        place.copy_from_slice(bytes);
    }
}

/// A length as the wire has it. What we send is bounded far below four gigabytes.
pub(crate) fn length32(length: usize) -> u32 {
    debug_assert!(u32::try_from(length).is_ok());
    length as u32
}

/// Sets a format with sizes of one byte apart from its sibling with four.
const WIDE: u8 = 0x10;

const _: () = {
    assert!(format::BINARY8 | WIDE == format::BINARY32 && format::BINARY8 & WIDE == 0);
    assert!(format::STRING8 | WIDE == format::STRING32 && format::STRING8 & WIDE == 0);
    assert!(format::SYMBOL8 | WIDE == format::SYMBOL32 && format::SYMBOL8 & WIDE == 0);
    assert!(format::LIST8 | WIDE == format::LIST32);
    assert!(format::MAP8 | WIDE == format::MAP32);
    assert!(format::ARRAY8 | WIDE == format::ARRAY32);
};
