//! Bytes to values and values to bytes: the encodings of part 1, and the lists of
//! fields that performatives, sections and SASL frames are.
//!
//! Decoding takes every legal encoding, and never allocates more than a small
//! multiple of the input: counts and sizes that a peer claims are compared with what
//! is there before anything is reserved for them. Encoding takes the shortest form,
//! except that it never writes `list0`, which pyamqp does not read in a performative.
//!
//! Specification: OASIS AMQP 1.0 part 1 (types) §1.2, §1.4 and §1.6.

mod error;
mod fields;
pub(crate) mod format;
mod reader;
#[cfg(test)]
pub(crate) mod tests;
mod value;
pub(crate) mod writer;

use bytes::{Bytes, BytesMut};

use crate::types::Value;

pub use error::DecodeError;
pub(crate) use fields::Fields;
pub(crate) use reader::Reader;

impl Value {
    /// Reads one value, which must be all there is.
    pub fn decode(input: &Bytes, limits: &Limits) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(input, limits);
        let value = reader.value()?;
        reader.finish()?;
        Ok(value)
    }

    /// Writes the value in its shortest form.
    pub fn encode(&self, output: &mut BytesMut) {
        writer::value(output, self);
    }
}

/// How much a peer can make us build out of what it sends. The bytes themselves are
/// bounded before: by the frame size, and by the message size of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep lists, maps, arrays and described values may lie in each other.
    pub depth_max: u32,
    /// How many values may stand in all lists, maps and arrays of one performative or
    /// one message together.
    pub items_max: u32,
}

impl Default for Limits {
    /// Ours. Properties of a message are flat, and a message of 256 KB with more than
    /// 16384 of them is not one of a device.
    fn default() -> Limits {
        Limits { depth_max: 16, items_max: 16 * 1024 }
    }
}
