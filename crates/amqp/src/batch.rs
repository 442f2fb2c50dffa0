//! Batches: many messages in one delivery, with one disposition for all of them.
//!
//! The delivery's message has data sections, each of which holds one encoded message.
//! The C SDK sends every telemetry message this way, a single one, too.
//!
//! Specification: device-protocol.md §4.4 (the format is Microsoft's, not the standard's).

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

use crate::codec::{DecodeError, Limits};
use crate::message::{Body, Message, encode_data};

/// `message-format` of a transfer that carries a batch.
pub const MESSAGE_FORMAT: u32 = 0x8001_3700;

/// The messages of a batch, each decoded when it is asked for: a message takes far
/// more memory than an empty one has bytes, so that whoever wants all of them at once
/// bounds their number.
#[derive(Debug)]
pub struct Messages {
    encoded: std::vec::IntoIter<Bytes>,
    limits: Limits,
}

/// Opens a batch. What stands around its body belongs to the batch, not to the
/// messages, and is dropped: no client puts anything there that we use.
pub fn open(payload: &Bytes, limits: &Limits) -> Result<Messages, DecodeError> {
    match Message::decode(payload, limits)?.body {
        Body::Data(sections) => Ok(Messages { encoded: sections.into_iter(), limits: *limits }),
        Body::Empty | Body::Sequence(_) | Body::Value(_) => Err(DecodeError::NotBatch),
    }
}

impl Iterator for Messages {
    /// An encoded message, for its size, and what it says.
    type Item = Result<(Bytes, Message), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let encoded = self.encoded.next()?;
        let message = Message::decode(&encoded, &self.limits);
        Some(message.map(|message| (encoded, message)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.encoded.size_hint()
    }
}

impl ExactSizeIterator for Messages {}

/// Puts messages into a batch.
pub fn encode<'a>(messages: impl IntoIterator<Item = &'a Message>, output: &mut BytesMut) {
    for message in messages {
        encode_data(output, &message.to_bytes());
    }
}
