//! Encodings byte by byte, and refusals.

use bytes::{Bytes, BytesMut};

use super::{DecodeError, Limits};
use crate::types::{Array, Kind, Map, Symbol, Value};

/// Bytes from words of hexadecimal digits; a word in quotes is text.
pub(crate) fn wire(words: &str) -> Bytes {
    let mut bytes = Vec::new();
    for word in words.split_whitespace() {
        match word.strip_prefix('\'') {
            Some(text) => bytes.extend_from_slice(text.trim_end_matches('\'').as_bytes()),
            None => bytes.extend(word.as_bytes().chunks(2).map(|digits| {
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            })),
        }
    }
    Bytes::from(bytes)
}

fn decode(words: &str) -> Result<Value, DecodeError> {
    Value::decode(&wire(words), &Limits::default())
}

fn encode(value: &Value) -> Bytes {
    let mut output = BytesMut::new();
    value.encode(&mut output);
    output.freeze()
}

/// What we read and write ourselves.
#[track_caller]
fn both_ways(words: &str, value: impl Into<Value>) {
    let value = value.into();
    assert_eq!(decode(words).as_ref(), Ok(&value), "{words}");
    assert_eq!(encode(&value), wire(words), "{words}");
}

/// What others may write instead.
#[track_caller]
fn read_only(words: &str, value: impl Into<Value>) {
    let value = value.into();
    assert_eq!(decode(words), Ok(value.clone()), "{words}");
    assert_ne!(encode(&value), wire(words), "{words}");
}

fn list(items: impl Into<Vec<Value>>) -> Value {
    Value::List(items.into())
}

fn array(kind: Kind, items: impl Into<Vec<Value>>) -> Value {
    Value::Array(Array::new(kind, items.into()).unwrap())
}

/// Every format code of part 1 §1.6.
#[test]
fn scalars() {
    both_ways("40", Value::Null);
    both_ways("41", true);
    both_ways("42", false);
    read_only("5601", true);
    read_only("5600", false);
    both_ways("50ff", 0xff_u8);
    both_ways("60fffe", 0xfffe_u16);
    both_ways("43", 0_u32);
    both_ways("52ff", 0xff_u32);
    both_ways("7000000100", 0x100_u32);
    read_only("5200", 0_u32);
    read_only("7000000001", 1_u32);
    both_ways("44", 0_u64);
    both_ways("53ff", 0xff_u64);
    both_ways("800000000000000100", 0x100_u64);
    read_only("5300", 0_u64);
    read_only("800000000000000001", 1_u64);
    both_ways("5180", -0x80_i8);
    both_ways("618000", i16::MIN);
    both_ways("5480", -0x80_i32);
    both_ways("7100000080", 0x80_i32);
    both_ways("71ffffff7f", -0x81_i32);
    read_only("7100000001", 1_i32);
    both_ways("557f", 0x7f_i64);
    both_ways("810000000000000080", 0x80_i64);
    read_only("810000000000000001", 1_i64);
    both_ways("723f800000", 1.0_f32);
    both_ways("823ff0000000000000", 1.0_f64);
    both_ways("7401020304", Value::Decimal32([1, 2, 3, 4]));
    both_ways("840102030405060708", Value::Decimal64([1, 2, 3, 4, 5, 6, 7, 8]));
    both_ways("9401010101010101010101010101010101", Value::Decimal128([1; 16]));
    both_ways("730001f600", '😀');
    both_ways("830000018bcfe56800", Value::Timestamp(1_700_000_000_000));
    both_ways("83ffffffffffffffff", Value::Timestamp(-1));
    both_ways("9802020202020202020202020202020202", Value::Uuid([2; 16]));
}

#[test]
fn texts() {
    both_ways("a000", Bytes::new());
    both_ways("a003 'abc'", Bytes::from_static(b"abc"));
    both_ways("a103 'abc'", "abc");
    both_ways("a302 'ab'", Symbol::from_static("ab"));
    read_only("b000000003 'abc'", Bytes::from_static(b"abc"));
    read_only("b100000003 'abc'", "abc");
    read_only("b300000002 'ab'", Symbol::from_static("ab"));
    let longest_short = "x".repeat(255);
    both_ways(&format!("a1ff '{longest_short}'"), longest_short.as_str());
    let shortest_long = "x".repeat(256);
    both_ways(&format!("b100000100 '{shortest_long}'"), shortest_long.as_str());
}

#[test]
fn lists_and_maps() {
    both_ways("c00100", list([]));
    read_only("45", list([]));
    read_only("d00000000400000000", list([]));
    both_ways("c00302 4041", list([Value::Null, true.into()]));
    read_only("d000000006000000024041", list([Value::Null, true.into()]));
    both_ways("c10100", Map::new());
    both_ways("c10702 a10161 a30162", Map::from_iter([("a", Symbol::from_static("b"))]));
    read_only("d10000000a00000002 a10161 a30162", {
        Map::from_iter([("a", Symbol::from_static("b"))])
    });
    // 253 bytes of content are the most for a size of one byte that counts the count.
    both_ways(
        &format!("c0ff 01 a0fc {}", "00".repeat(252)),
        list([Value::Binary(Bytes::from(vec![0; 252]))]),
    );
    both_ways(
        &format!("d000000103 00000001 a0fd {}", "00".repeat(253)),
        list([Value::Binary(Bytes::from(vec![0; 253]))]),
    );
    // 256 items do not fit a count of one byte, even if nothing else would be too large.
    let many = vec![Value::Null; 256];
    both_ways(&format!("d000000104 00000100 {}", "40".repeat(256)), list(many));
}

#[test]
fn arrays() {
    both_ways("e00200 52", array(Kind::Uint, []));
    read_only("e00200 70", array(Kind::Uint, []));
    both_ways("e00402 52 0102", array(Kind::Uint, [1_u32.into(), 2_u32.into()]));
    both_ways("e00a02 70 0000000100000100", {
        array(Kind::Uint, [1_u32.into(), 0x100_u32.into()])
    });
    both_ways("e00602 a3 0161 0162", {
        Value::Array(Array::of_symbols([Symbol::from_static("a"), Symbol::from_static("b")]))
    });
    both_ways("e00402 56 0100", array(Kind::Boolean, [true.into(), false.into()]));
    both_ways("e00203 40", array(Kind::Null, vec![Value::Null; 3]));
    read_only("e00203 41", array(Kind::Boolean, vec![Value::Boolean(true); 3]));
    read_only("e00203 43", array(Kind::Uint, vec![Value::Uint(0); 3]));
    read_only("f00000000700000001 60 0007", array(Kind::Ushort, [7_u16.into()]));
    read_only("e00501 e0 0200 70", array(Kind::Array, [array(Kind::Uint, [])]));
    // Described elements share their descriptor.
    both_ways("e00903 00a30161 50 010203", {
        let descriptors = vec![Value::Symbol(Symbol::from_static("a"))];
        let items = vec![Value::Ubyte(1), Value::Ubyte(2), Value::Ubyte(3)];
        Value::Array(Array::described(descriptors, Kind::Ubyte, items).unwrap())
    });
    let mixed = Array::new(Kind::Uint, vec![Value::Uint(1), Value::Ulong(1)]);
    assert_eq!(mixed.unwrap_err().found, Kind::Ulong);
    assert!(Array::new(Kind::Described, Vec::new()).is_err());
}

#[test]
fn described_values() {
    both_ways("00 a30161 a10162", Value::described(Symbol::from_static("a"), "b"));
    both_ways("00 80 0000468c00000004 a10162", Value::described(0x468c_0000_0004_u64, "b"));
    both_ways("00 5301 00 5302 40", {
        Value::described(1_u64, Value::described(2_u64, Value::Null))
    });
}

#[test]
fn floats_are_equal_by_bits() {
    let nan = Value::Double(f64::NAN);
    assert_eq!(nan, nan.clone());
    assert_ne!(Value::Float(0.0), Value::Float(-0.0));
    assert_ne!(Value::Int(1), Value::Long(1));
}

#[test]
fn refusals() {
    use DecodeError::*;
    let left = |left_bytes| LeftOver { left_bytes };
    let cases = [
        ("", Truncated),
        ("a103 'ab'", Truncated),
        ("b1ffffffff 'ab'", Truncated),
        ("7000", Truncated),
        ("c003", Truncated),
        ("c00301 40", Truncated),
        ("c00203 40", Truncated),
        ("c10202 40", Truncated),
        ("e00302 50 01", Truncated),
        // An inner list that is longer than the list it stands in.
        ("c00401 c00401 40404040", Truncated),
        ("4040", left(1)),
        ("c00301 4040", left(1)),
        ("e00401 50 0102", left(1)),
        ("01", UnknownFormat(0x01)),
        ("ff", UnknownFormat(0xff)),
        ("e00201 57", UnknownFormat(0x57)),
        ("5602", NotBoolean(2)),
        ("a102 c328", NotUtf8),
        ("a302 c3a9", NotAscii),
        ("730000d800", NotChar(0xd800)),
        ("c10201 40", OddMap),
        ("f000000005 ffffffff 40", TooMany { limit: 10 + 256 }),
    ];
    for (words, error) in cases {
        assert_eq!(decode(words), Err(error), "{words}");
    }
}

#[test]
fn limits() {
    let limits = Limits { depth_max: 2, items_max: 3 };
    let check = |words, expected: Result<(), DecodeError>| {
        assert_eq!(Value::decode(&wire(words), &limits).map(drop), expected, "{words}");
    };
    check("c00501 c00201 40", Ok(()));
    check("c00801 c00501 c00201 40", Err(DecodeError::TooDeep { limit: 2 }));
    check("00 40 00 40 00 40 40", Err(DecodeError::TooDeep { limit: 2 }));
    check("c00403 404040", Ok(()));
    check("c00504 40404040", Err(DecodeError::TooMany { limit: 3 }));
    check("c00602 40 c00201 40", Ok(()));
    check("c00702 40 c00302 4040", Err(DecodeError::TooMany { limit: 3 }));
    check("e00204 40", Err(DecodeError::TooMany { limit: 3 }));
}
