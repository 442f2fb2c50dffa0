//! Frames, and the protocol headers that stand before them.
//!
//! A frame is taken whole off the front of what was received, and read after that:
//! [`Frame::take`], then [`Frame::performative`] or [`Frame::sasl`]. Whether the frame
//! may come now is the connection's business.
//!
//! Specification: OASIS AMQP 1.0 part 2 (transport) §2.2 and §2.3, part 5 (security) §5.3.1.

#[cfg(test)]
mod tests;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codec::{DecodeError, Limits, writer};
use crate::performative::{Performative, Transfer, encode_transfer_list};
use crate::sasl::SaslFrame;

/// The smallest maximum frame size that a peer may ask for. §2.7.1
pub const MAX_FRAME_SIZE_MIN: u32 = 512;

/// What a connection, or a part of it, starts with. §2.2
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolHeader {
    /// Frames with performatives follow.
    Amqp,
    /// A TLS handshake would follow. Farshore has TLS around everything or not at all.
    Tls,
    /// Frames of the SASL layer follow.
    Sasl,
}

/// Why the first bytes are no protocol header that we speak. By §2.2 the answer is
/// the header that we would have liked, and the end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Some other protocol.
    #[error("the first bytes are not amqp")]
    NotAmqp,
    /// Another protocol id or version of AMQP.
    #[error("amqp protocol id {id}, version {major}.{minor}.{revision} is not spoken: use 1.0.0")]
    UnknownVersion {
        /// 0 for AMQP, 2 for TLS, 3 for SASL.
        id: u8,
        /// First number of the version.
        major: u8,
        /// Second number of the version.
        minor: u8,
        /// Third number of the version.
        revision: u8,
    },
}

impl ProtocolHeader {
    /// Takes a header off the front of the input; None as long as it is not complete.
    pub fn take(input: &mut BytesMut) -> Result<Option<ProtocolHeader>, HeaderError> {
        let known = input.len().min(PROTOCOL_NAME.len());
        if input.get(..known) != PROTOCOL_NAME.get(..known) {
            return Err(HeaderError::NotAmqp);
        }
        let Some(&[_, _, _, _, id, major, minor, revision]) = input.first_chunk() else {
            return Ok(None);
        };
        let header = match (id, major, minor, revision) {
            (0, 1, 0, 0) => ProtocolHeader::Amqp,
            (2, 1, 0, 0) => ProtocolHeader::Tls,
            (3, 1, 0, 0) => ProtocolHeader::Sasl,
            _ => return Err(HeaderError::UnknownVersion { id, major, minor, revision }),
        };
        input.advance(HEADER_BYTES);
        Ok(Some(header))
    }

    /// The header's bytes.
    pub fn bytes(self) -> [u8; HEADER_BYTES] {
        let id = match self {
            ProtocolHeader::Amqp => 0,
            ProtocolHeader::Tls => 2,
            ProtocolHeader::Sasl => 3,
        };
        [b'A', b'M', b'Q', b'P', id, 1, 0, 0]
    }
}

/// Which layer a frame belongs to. §2.3.1
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Performatives.
    Amqp,
    /// SASL.
    Sasl,
}

/// A frame that is complete, with its body still in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The layer.
    pub kind: FrameKind,
    /// The session's channel; without meaning for SASL.
    pub channel: u16,
    /// What follows the header. Empty in a frame that only shows life.
    pub body: Bytes,
}

/// Why bytes are no frame: `amqp:connection:framing-error` to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Larger than we said we would take.
    #[error("a frame of {size_bytes} bytes exceeds the maximum of {limit_bytes}")]
    TooLarge {
        /// Announced size.
        size_bytes: u32,
        /// The limit handed in.
        limit_bytes: u32,
    },
    /// Smaller than its own header.
    #[error("a frame of {size_bytes} bytes cannot hold its header of {header_bytes}")]
    TooSmall {
        /// Announced size.
        size_bytes: u32,
        /// Announced size of the header.
        header_bytes: u32,
    },
    /// A layer that does not exist.
    #[error("frame type {0:#04x} does not exist")]
    UnknownKind(u8),
}

impl Frame {
    /// Takes a frame off the front of the input; None as long as it is not complete.
    /// A frame that is too large is refused as soon as its size is known. The body is
    /// a slice of the input, not a copy.
    pub fn take(input: &mut BytesMut, size_bytes_max: u32) -> Result<Option<Frame>, FrameError> {
        let Some(&[a, b, c, d, offset, kind, channel_high, channel_low]) = input.first_chunk()
        else {
            return Ok(None);
        };
        let size_bytes = u32::from_be_bytes([a, b, c, d]);
        // Counted in words; what lies between the eight bytes and the offset is
        // reserved, and skipped. §2.3.1
        let header_bytes = u32::from(offset) * 4;
        if size_bytes > size_bytes_max {
            return Err(FrameError::TooLarge { size_bytes, limit_bytes: size_bytes_max });
        }
        if (header_bytes as usize) < HEADER_BYTES || header_bytes > size_bytes {
            return Err(FrameError::TooSmall { size_bytes, header_bytes });
        }
        let kind = match kind {
            KIND_AMQP => FrameKind::Amqp,
            KIND_SASL => FrameKind::Sasl,
            other => return Err(FrameError::UnknownKind(other)),
        };
        if input.len() < size_bytes as usize {
            return Ok(None);
        }
        let mut body = input.split_to(size_bytes as usize).freeze();
        body.advance(header_bytes as usize);
        Ok(Some(Frame { kind, channel: u16::from_be_bytes([channel_high, channel_low]), body }))
    }

    /// Whether the frame only shows that the peer is alive. §2.4.5
    pub fn is_empty(&self) -> bool {
        self.kind == FrameKind::Amqp && self.body.is_empty()
    }

    /// Reads the body of an AMQP frame: the performative, and a transfer's payload.
    pub fn performative(&self, limits: &Limits) -> Result<(Performative, Bytes), DecodeError> {
        Performative::decode(&self.body, limits)
    }

    /// Reads the body of a SASL frame.
    pub fn sasl(&self, limits: &Limits) -> Result<SaslFrame, DecodeError> {
        SaslFrame::decode(&self.body, limits)
    }
}

/// Writes a frame with a performative that has no payload.
pub fn encode(channel: u16, performative: &Performative, output: &mut BytesMut) {
    encode_frame(KIND_AMQP, channel, output, |output| performative.encode(output));
}

/// Writes a frame with a transfer and as much of the payload as fits, and returns
/// how many bytes of the payload that was. If some are left, the frame says that
/// more will follow, whatever `transfer.more` is.
///
/// `size_bytes_max` is the peer's maximum frame size, at least
/// [`MAX_FRAME_SIZE_MIN`], so that each frame carries a part of the payload.
pub fn encode_transfer(
    channel: u16,
    transfer: &Transfer,
    payload: &[u8],
    size_bytes_max: u32,
    output: &mut BytesMut,
) -> usize {
    debug_assert!(size_bytes_max >= MAX_FRAME_SIZE_MIN);
    let mut taken = 0;
    encode_frame(KIND_AMQP, channel, output, |output| {
        let start = output.len();
        encode_transfer_list(output, transfer);
        let room = (size_bytes_max as usize)
            .saturating_sub(HEADER_BYTES)
            .saturating_sub(output.len() - start);
        if payload.len() > room && !transfer.more {
            output.truncate(start);
            // A boolean has one byte, whatever it is: the room stays the same.
            encode_transfer_list(output, &Transfer { more: true, ..transfer.clone() });
        }
        let part = payload.get(..room).unwrap_or(payload);
        output.put_slice(part);
        taken = part.len();
    });
    taken
}

/// Writes a SASL frame.
pub fn encode_sasl(frame: &SaslFrame, output: &mut BytesMut) {
    encode_frame(KIND_SASL, 0, output, |output| frame.encode(output));
}

/// Writes a frame without a body, which shows that we are alive.
pub fn encode_empty(output: &mut BytesMut) {
    encode_frame(KIND_AMQP, 0, output, |_| {});
}

fn encode_frame(kind: u8, channel: u16, output: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = output.len();
    let [channel_high, channel_low] = channel.to_be_bytes();
    output.put_slice(&[0, 0, 0, 0, OFFSET_WORDS, kind, channel_high, channel_low]);
    write(output);
    let size = writer::length32(output.len() - start);
    writer::overwrite(output, start, &size.to_be_bytes());
}

/// What every protocol header starts with.
const PROTOCOL_NAME: &[u8; 4] = b"AMQP";

/// Size of a protocol header, and of a frame's header without an extension.
const HEADER_BYTES: usize = 8;

/// The same in words of four bytes, as frames have it.
const OFFSET_WORDS: u8 = 2;

/// Frame type of performatives.
const KIND_AMQP: u8 = 0;

/// Frame type of the SASL layer.
const KIND_SASL: u8 = 1;
