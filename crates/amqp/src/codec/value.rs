//! Builds any value from bytes: maps, lists, bodies. What has a type of its own does
//! not come here.

use super::DecodeError;
use super::format;
use super::reader::{Decoded, Reader};
use crate::types::{Array, Described, Map, Uuid, Value};

impl Reader<'_> {
    /// Any value.
    pub(crate) fn value(&mut self) -> Decoded<Value> {
        match self.byte()? {
            format::DESCRIBED => self.described(),
            format => self.content(format),
        }
    }

    /// The content of a value whose format code was read.
    fn content(&mut self, format: u8) -> Decoded<Value> {
        Ok(match format {
            format::NULL => Value::Null,
            format::TRUE => Value::Boolean(true),
            format::FALSE => Value::Boolean(false),
            format::BOOLEAN => Value::Boolean(self.boolean_byte()?),
            format::UBYTE => Value::Ubyte(self.byte()?),
            format::USHORT => Value::Ushort(u16::from_be_bytes(self.chunk()?)),
            format::UINT0 => Value::Uint(0),
            format::SMALL_UINT => Value::Uint(u32::from(self.byte()?)),
            format::UINT => Value::Uint(u32::from_be_bytes(self.chunk()?)),
            format::ULONG0 => Value::Ulong(0),
            format::SMALL_ULONG => Value::Ulong(u64::from(self.byte()?)),
            format::ULONG => Value::Ulong(u64::from_be_bytes(self.chunk()?)),
            format::BYTE => Value::Byte(i8::from_be_bytes(self.chunk()?)),
            format::SHORT => Value::Short(i16::from_be_bytes(self.chunk()?)),
            format::SMALL_INT => Value::Int(i32::from(i8::from_be_bytes(self.chunk()?))),
            format::INT => Value::Int(i32::from_be_bytes(self.chunk()?)),
            format::SMALL_LONG => Value::Long(i64::from(i8::from_be_bytes(self.chunk()?))),
            format::LONG => Value::Long(i64::from_be_bytes(self.chunk()?)),
            format::FLOAT => Value::Float(f32::from_be_bytes(self.chunk()?)),
            format::DOUBLE => Value::Double(f64::from_be_bytes(self.chunk()?)),
            format::DECIMAL32 => Value::Decimal32(self.chunk()?),
            format::DECIMAL64 => Value::Decimal64(self.chunk()?),
            format::DECIMAL128 => Value::Decimal128(self.chunk()?),
            format::CHAR => {
                let number = u32::from_be_bytes(self.chunk()?);
                Value::Char(char::from_u32(number).ok_or(DecodeError::NotChar(number))?)
            }
            format::TIMESTAMP => Value::Timestamp(i64::from_be_bytes(self.chunk()?)),
            format::UUID => Value::Uuid(self.chunk::<{ size_of::<Uuid>() }>()?),
            format::BINARY8 | format::BINARY32 => Value::Binary(self.binary_content(format)?),
            format::STRING8 | format::STRING32 => Value::String(self.string_content(format)?),
            format::SYMBOL8 | format::SYMBOL32 => Value::Symbol(self.symbol_content(format)?),
            format::LIST0 | format::LIST8 | format::LIST32 => {
                Value::List(self.list_content(format)?)
            }
            format::MAP8 | format::MAP32 => Value::Map(self.map_content(format)?),
            format::ARRAY8 | format::ARRAY32 => Value::Array(self.array_content(format)?),
            unknown => return Err(DecodeError::UnknownFormat(unknown)),
        })
    }

    fn described(&mut self) -> Decoded<Value> {
        self.deeper()?;
        self.charge(1)?;
        let descriptor = self.value()?;
        let value = self.value()?;
        self.depth_left += 1;
        Ok(Value::Described(Box::new(Described { descriptor, value })))
    }

    pub(super) fn list_content(&mut self, format: u8) -> Decoded<Vec<Value>> {
        let compound = self.enter(format)?;
        self.charge_present(compound.count)?;
        let mut items = Vec::with_capacity(compound.count as usize);
        for _ in 0..compound.count {
            items.push(self.value()?);
        }
        self.leave(&compound)?;
        Ok(items)
    }

    pub(super) fn map_content(&mut self, format: u8) -> Decoded<Map> {
        let compound = self.enter(format)?;
        self.charge_present(compound.count)?;
        if !compound.count.is_multiple_of(2) {
            return Err(DecodeError::OddMap);
        }
        let mut entries = Vec::with_capacity(compound.count as usize / 2);
        for _ in 0..compound.count / 2 {
            let key = self.value()?;
            let value = self.value()?;
            entries.push((key, value));
        }
        self.leave(&compound)?;
        Ok(Map::from(entries))
    }

    pub(super) fn array_content(&mut self, format: u8) -> Decoded<Array> {
        let compound = self.enter(format)?;
        let mut descriptors = Vec::new();
        let item_format = loop {
            match self.byte()? {
                format::DESCRIBED => {
                    self.charge(1)?;
                    descriptors.push(self.value()?);
                }
                item_format => break item_format,
            }
        };
        let kind = format::kind(item_format).ok_or(DecodeError::UnknownFormat(item_format))?;
        if format::is_empty(item_format) {
            self.charge(compound.count)?;
        } else {
            self.charge_present(compound.count)?;
        }
        let mut items = Vec::with_capacity(compound.count as usize);
        for _ in 0..compound.count {
            items.push(self.content(item_format)?);
        }
        self.leave(&compound)?;
        Ok(Array::of_same_kind(descriptors, kind, items))
    }
}
