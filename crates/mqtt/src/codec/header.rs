//! The fixed header: kind, flags, remaining length. MQTT 3.1.1 §2.2.
//!
//! Here ends everything that can be refused without the packet's body.

use super::{DecodeError, Limits};
use crate::packet::PacketKind;

/// A fixed header that passed all checks which need no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedHeader {
    /// What follows.
    pub kind: PacketKind,
    /// Lower half of the first byte; only PUBLISH has a choice.
    pub flags: u8,
    /// Bytes of the header itself: 2 to 5.
    pub header_bytes: usize,
    /// Bytes that follow the header.
    pub remaining_bytes: usize,
}

impl FixedHeader {
    /// Reads the header at the start of `input`; `None` if more bytes are needed.
    pub fn parse(input: &[u8], limits: &Limits) -> Result<Option<FixedHeader>, DecodeError> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let (kind, flags) = kind_and_flags(first)?;
        let Some((remaining_bytes, length_bytes)) = remaining_length(rest)? else {
            return Ok(None);
        };
        let header = FixedHeader { kind, flags, header_bytes: 1 + length_bytes, remaining_bytes };
        header.check_size(limits)?;
        header.check_length()?;
        Ok(Some(header))
    }

    /// Size of the whole packet.
    #[must_use]
    pub fn packet_bytes(&self) -> usize {
        self.header_bytes + self.remaining_bytes
    }

    fn check_size(&self, limits: &Limits) -> Result<(), DecodeError> {
        let limit_bytes = match self.kind {
            PacketKind::Connect => limits.connect_bytes_max,
            _ => limits.packet_bytes_max,
        };
        let size_bytes = self.packet_bytes();
        if size_bytes > limit_bytes {
            return Err(DecodeError::PacketTooLarge { kind: self.kind, size_bytes, limit_bytes });
        }
        Ok(())
    }

    /// Lengths that no packet of this kind can have.
    fn check_length(&self) -> Result<(), DecodeError> {
        let length = self.remaining_bytes;
        let possible = match self.kind {
            // Nothing shorter holds even a protocol name; the body's checks say the rest.
            PacketKind::Connect => length >= 2,
            // Two bytes of length and a topic of one byte; with QoS, a packet id.
            PacketKind::Publish => length >= if self.flags & QOS_BITS == 0 { 3 } else { 5 },
            PacketKind::Subscribe | PacketKind::Unsubscribe => length >= 2,
            PacketKind::Suback => length >= 3,
            PacketKind::Connack
            | PacketKind::Puback
            | PacketKind::Pubrec
            | PacketKind::Pubrel
            | PacketKind::Pubcomp
            | PacketKind::Unsuback => length == 2,
            PacketKind::Pingreq | PacketKind::Pingresp | PacketKind::Disconnect => length == 0,
        };
        match possible {
            true => Ok(()),
            // Worth its own name: it is a known attack (security.md B5).
            false if self.kind == PacketKind::Publish && length == 2 => {
                Err(crate::topic::TopicError::Empty.into())
            }
            false => Err(DecodeError::WrongLength { kind: self.kind, length }),
        }
    }
}

/// The bits of PUBLISH's flags that hold its quality of service.
pub(super) const QOS_BITS: u8 = 0b0110;
/// PUBLISH's DUP flag.
pub(super) const DUP_BIT: u8 = 0b1000;
/// PUBLISH's RETAIN flag.
pub(super) const RETAIN_BIT: u8 = 0b0001;

fn kind_and_flags(first: u8) -> Result<(PacketKind, u8), DecodeError> {
    let flags = first & 0x0f;
    let kind =
        PacketKind::from_first_byte(first).ok_or(DecodeError::UnknownPacketType(first >> 4))?;
    let valid = match kind {
        PacketKind::Publish => match flags & QOS_BITS {
            0 => flags & DUP_BIT == 0,
            QOS_BITS => false,
            _ => true,
        },
        PacketKind::Pubrel | PacketKind::Subscribe | PacketKind::Unsubscribe => flags == 0b0010,
        _ => flags == 0,
    };
    if !valid {
        return Err(DecodeError::WrongFlags { kind, flags });
    }
    Ok((kind, flags))
}

/// Value and bytes of the remaining length at the start of `input`.
fn remaining_length(input: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut value = 0_usize;
    for (index, &byte) in input.iter().take(LENGTH_BYTES_MAX).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    // Four bytes that all announce another one: the fifth needs no waiting for.
    match input.len() < LENGTH_BYTES_MAX {
        true => Ok(None),
        false => Err(DecodeError::RemainingLengthTooLong),
    }
}

const LENGTH_BYTES_MAX: usize = 4;
