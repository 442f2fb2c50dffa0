//! Reads values from bytes, and refuses to be told more than the bytes hold.

use bytes::Bytes;

use super::format::{self, descriptor_named};
use super::{DecodeError, Limits};
use crate::types::{Map, Symbol, Timestamp, Value};

/// A place in bytes, and what may still be built from the rest.
///
/// The methods named after AMQP types read one value of that type with its format
/// code. Binaries are slices of the input.
pub(crate) struct Reader<'a> {
    input: &'a Bytes,
    at: usize,
    /// End of the list, map or array that is read, or of the input.
    end: usize,
    pub(super) depth_left: u32,
    items_left: u32,
    limits: Limits,
}

/// A list, map or array that was entered and must be left.
pub(crate) struct Compound {
    /// How many values it announces.
    pub(crate) count: u32,
    outer_end: usize,
}

pub(super) type Decoded<T> = Result<T, DecodeError>;

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a Bytes, limits: &Limits) -> Reader<'a> {
        // Each value takes a byte at least, except in an array of empty values.
        let possible = u32::try_from(input.len()).unwrap_or(u32::MAX);
        let items_max = limits.items_max.min(possible.saturating_add(EMPTY_ITEMS_MAX));
        Reader {
            input,
            at: 0,
            end: input.len(),
            depth_left: limits.depth_max,
            items_left: items_max,
            limits: Limits { items_max, ..*limits },
        }
    }

    /// Bytes left in the list, map, array or input that is read.
    pub(crate) fn left_bytes(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    /// Whatever was not read.
    pub(crate) fn into_rest(self) -> Bytes {
        self.input.slice(self.at.min(self.end)..self.end)
    }

    /// Demands that everything was read.
    pub(crate) fn finish(&self) -> Decoded<()> {
        match self.left_bytes() {
            0 => Ok(()),
            left_bytes => Err(DecodeError::LeftOver { left_bytes }),
        }
    }

    /// The format code that is next; null at the end.
    pub(crate) fn peek(&self) -> u8 {
        match self.left_bytes() {
            0 => format::NULL,
            _ => self.input.get(self.at).copied().unwrap_or(format::NULL),
        }
    }

    /// Takes a null if one is next.
    pub(crate) fn null(&mut self) -> bool {
        let is_null = self.left_bytes() > 0 && self.peek() == format::NULL;
        if is_null {
            self.at += 1;
        }
        is_null
    }

    pub(crate) fn boolean(&mut self) -> Decoded<bool> {
        match self.byte()? {
            format::TRUE => Ok(true),
            format::FALSE => Ok(false),
            format::BOOLEAN => self.boolean_byte(),
            found => Err(wrong_type("boolean", found)),
        }
    }

    pub(crate) fn ubyte(&mut self) -> Decoded<u8> {
        match self.byte()? {
            format::UBYTE => self.byte(),
            found => Err(wrong_type("ubyte", found)),
        }
    }

    pub(crate) fn ushort(&mut self) -> Decoded<u16> {
        match self.byte()? {
            format::USHORT => Ok(u16::from_be_bytes(self.chunk()?)),
            found => Err(wrong_type("ushort", found)),
        }
    }

    pub(crate) fn uint(&mut self) -> Decoded<u32> {
        match self.byte()? {
            format::UINT0 => Ok(0),
            format::SMALL_UINT => Ok(u32::from(self.byte()?)),
            format::UINT => Ok(u32::from_be_bytes(self.chunk()?)),
            found => Err(wrong_type("uint", found)),
        }
    }

    pub(crate) fn ulong(&mut self) -> Decoded<u64> {
        match self.byte()? {
            format::ULONG0 => Ok(0),
            format::SMALL_ULONG => Ok(u64::from(self.byte()?)),
            format::ULONG => Ok(u64::from_be_bytes(self.chunk()?)),
            found => Err(wrong_type("ulong", found)),
        }
    }

    pub(crate) fn timestamp(&mut self) -> Decoded<Timestamp> {
        match self.byte()? {
            format::TIMESTAMP => Ok(i64::from_be_bytes(self.chunk()?)),
            found => Err(wrong_type("timestamp", found)),
        }
    }

    pub(crate) fn binary(&mut self) -> Decoded<Bytes> {
        match self.byte()? {
            found @ (format::BINARY8 | format::BINARY32) => self.binary_content(found),
            found => Err(wrong_type("binary", found)),
        }
    }

    pub(crate) fn string(&mut self) -> Decoded<String> {
        match self.byte()? {
            found @ (format::STRING8 | format::STRING32) => self.string_content(found),
            found => Err(wrong_type("string", found)),
        }
    }

    pub(crate) fn symbol(&mut self) -> Decoded<Symbol> {
        match self.byte()? {
            found @ (format::SYMBOL8 | format::SYMBOL32) => self.symbol_content(found),
            found => Err(wrong_type("symbol", found)),
        }
    }

    /// A string or a symbol, for fields where clients mix them up.
    pub(crate) fn text(&mut self) -> Decoded<String> {
        match self.byte()? {
            found @ (format::STRING8 | format::STRING32) => self.string_content(found),
            found @ (format::SYMBOL8 | format::SYMBOL32) => {
                self.symbol_content(found).map(Symbol::into_string)
            }
            found => Err(wrong_type("string", found)),
        }
    }

    /// A symbol or a string, for fields where clients mix them up.
    pub(crate) fn name(&mut self) -> Decoded<Symbol> {
        Symbol::try_from(self.text()?).map_err(|_| DecodeError::NotAscii)
    }

    /// One symbol, or an array of them: how a field with `multiple="true"` is written.
    pub(crate) fn symbols(&mut self) -> Decoded<Vec<Symbol>> {
        match self.byte()? {
            found @ (format::SYMBOL8 | format::SYMBOL32) => Ok(vec![self.symbol_content(found)?]),
            found @ (format::ARRAY8 | format::ARRAY32) => {
                let array = self.array_content(found)?;
                let symbols = array.into_items().into_iter().map(|item| match item {
                    Value::Symbol(symbol) => Ok(symbol),
                    _ => Err(wrong_type("array of symbol", found)),
                });
                symbols.collect()
            }
            found => Err(wrong_type("symbol or array of symbol", found)),
        }
    }

    pub(crate) fn map(&mut self) -> Decoded<Map> {
        match self.byte()? {
            found @ (format::MAP8 | format::MAP32) => self.map_content(found),
            found => Err(wrong_type("map", found)),
        }
    }

    pub(crate) fn list(&mut self) -> Decoded<Vec<Value>> {
        match self.byte()? {
            found @ (format::LIST0 | format::LIST8 | format::LIST32) => self.list_content(found),
            found => Err(wrong_type("list", found)),
        }
    }

    /// The descriptor of a composite type, in any of its spellings, as a number.
    pub(crate) fn descriptor(&mut self, expected: &'static str) -> Decoded<u8> {
        match self.byte()? {
            format::DESCRIBED => {}
            found => return Err(wrong_type(expected, found)),
        }
        let unknown = |descriptor| DecodeError::UnknownDescriptor { expected, descriptor };
        match self.byte()? {
            format::SMALL_ULONG => self.byte(),
            format::ULONG => {
                let number = u64::from_be_bytes(self.chunk()?);
                u8::try_from(number).map_err(|_| unknown(format!("{number:#x}")))
            }
            found @ (format::SYMBOL8 | format::SYMBOL32) => {
                let name = self.variable(found)?;
                descriptor_named(name).ok_or_else(|| unknown(bounded_text(name)))
            }
            found => Err(wrong_type("descriptor", found)),
        }
    }

    /// Enters a list, map or array, of which the format code was read. Nothing behind
    /// its end can be read until it is left.
    pub(crate) fn enter(&mut self, format: u8) -> Decoded<Compound> {
        let outer_end = self.end;
        let count = match format {
            format::LIST0 => {
                self.end = self.at;
                0
            }
            format::LIST8 | format::MAP8 | format::ARRAY8 => {
                let size = usize::from(self.byte()?);
                self.narrow(size)?;
                u32::from(self.byte()?)
            }
            format::LIST32 | format::MAP32 | format::ARRAY32 => {
                let size = self.length32()?;
                self.narrow(size)?;
                u32::from_be_bytes(self.chunk()?)
            }
            found => return Err(wrong_type("list, map or array", found)),
        };
        self.deeper()?;
        Ok(Compound { count, outer_end })
    }

    /// Leaves what was entered; all of it must have been read.
    pub(crate) fn leave(&mut self, compound: &Compound) -> Decoded<()> {
        self.finish()?;
        self.end = compound.outer_end;
        self.depth_left += 1;
        Ok(())
    }

    pub(super) fn binary_content(&mut self, format: u8) -> Decoded<Bytes> {
        let start = self.at;
        let length = self.variable(format)?.len();
        debug_assert!(self.at - start > length);
        Ok(self.input.slice(self.at - length..self.at))
    }

    pub(super) fn string_content(&mut self, format: u8) -> Decoded<String> {
        let text = std::str::from_utf8(self.variable(format)?);
        text.map(str::to_owned).map_err(|_| DecodeError::NotUtf8)
    }

    pub(super) fn symbol_content(&mut self, format: u8) -> Decoded<Symbol> {
        let text = std::str::from_utf8(self.variable(format)?);
        let text = text.map_err(|_| DecodeError::NotAscii)?;
        Symbol::try_from(text).map_err(|_| DecodeError::NotAscii)
    }

    /// The bytes of a binary, string or symbol, behind their length of one or four bytes.
    fn variable(&mut self, format: u8) -> Decoded<&'a [u8]> {
        let length = match format {
            format::BINARY8 | format::STRING8 | format::SYMBOL8 => usize::from(self.byte()?),
            _ => self.length32()?,
        };
        self.take(length)
    }

    pub(super) fn boolean_byte(&mut self) -> Decoded<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::NotBoolean(other)),
        }
    }

    /// Ends reading `size` bytes from here.
    fn narrow(&mut self, size: usize) -> Decoded<()> {
        if size > self.left_bytes() {
            return Err(DecodeError::Truncated);
        }
        self.end = self.at + size;
        Ok(())
    }

    pub(super) fn deeper(&mut self) -> Decoded<()> {
        let limit = self.limits.depth_max;
        self.depth_left = self.depth_left.checked_sub(1).ok_or(DecodeError::TooDeep { limit })?;
        Ok(())
    }

    /// Counts values before they are made room for.
    pub(super) fn charge(&mut self, count: u32) -> Decoded<()> {
        let limit = self.limits.items_max;
        self.items_left =
            self.items_left.checked_sub(count).ok_or(DecodeError::TooMany { limit })?;
        Ok(())
    }

    /// Like [`Reader::charge`], for values that take a byte at least.
    pub(super) fn charge_present(&mut self, count: u32) -> Decoded<()> {
        if count as usize > self.left_bytes() {
            return Err(DecodeError::Truncated);
        }
        self.charge(count)
    }

    fn length32(&mut self) -> Decoded<usize> {
        let length = u32::from_be_bytes(self.chunk()?);
        usize::try_from(length).map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        let [byte] = self.chunk()?;
        Ok(byte)
    }

    pub(super) fn chunk<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.first_chunk().copied().ok_or(DecodeError::Truncated)
    }

    fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        if length > self.left_bytes() {
            return Err(DecodeError::Truncated);
        }
        let stop = self.at + length;
        let bytes = self.input.get(self.at..stop).ok_or(DecodeError::Truncated)?;
        self.at = stop;
        Ok(bytes)
    }
}

fn wrong_type(expected: &'static str, found: u8) -> DecodeError {
    match format::kind(found) {
        Some(_) => DecodeError::WrongType { expected, found },
        None => DecodeError::UnknownFormat(found),
    }
}

/// Text of a peer for an error, not longer than a line.
fn bounded_text(bytes: &[u8]) -> String {
    let bytes = bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

/// How many values that take no bytes may stand in arrays, beyond one per byte of
/// the input.
const EMPTY_ITEMS_MAX: u32 = 256;

/// How much of a peer's text an error repeats.
const TEXT_BYTES_MAX: usize = 64;
