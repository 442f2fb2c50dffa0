//! Reads composite types: described lists, of which trailing fields may be left out
//! and any field may be null. Part 1 §1.4.

use super::reader::Compound;
use super::{DecodeError, Reader};

/// The fields of one composite value, read in their order.
pub(crate) struct Fields<'r, 'a> {
    reader: &'r mut Reader<'a>,
    compound: Compound,
    left: u32,
}

impl<'r, 'a> Fields<'r, 'a> {
    /// Enters the list behind a descriptor.
    pub(crate) fn enter(
        reader: &'r mut Reader<'a>,
        composite: &'static str,
        expected: u32,
    ) -> Result<Fields<'r, 'a>, DecodeError> {
        let format = reader.byte()?;
        if super::format::kind(format) != Some(crate::types::Kind::List) {
            return Err(DecodeError::WrongType { expected: composite, found: format });
        }
        let compound = reader.enter(format)?;
        let count = compound.count;
        if count > expected {
            return Err(DecodeError::TooManyFields { composite, count, expected });
        }
        Ok(Fields { reader, compound, left: count })
    }

    /// The next field, None if it is null or left out.
    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.reader.null() {
            return Ok(None);
        }
        match read(self.reader) {
            Ok(content) => Ok(Some(content)),
            Err(source) => Err(DecodeError::Field { field, source: Box::new(source) }),
        }
    }

    /// The next field, which must be there.
    pub(crate) fn required<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.optional(field, read)?.ok_or(DecodeError::MissingField { field })
    }

    /// The next field, or its default.
    pub(crate) fn or<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
        default: T,
    ) -> Result<T, DecodeError> {
        Ok(self.optional(field, read)?.unwrap_or(default))
    }

    /// The next field, or the default of its type: an empty map, no symbols.
    pub(crate) fn or_default<T: Default>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        Ok(self.optional(field, read)?.unwrap_or_default())
    }

    /// Leaves the list.
    pub(crate) fn leave(self) -> Result<(), DecodeError> {
        self.reader.leave(&self.compound)
    }
}
