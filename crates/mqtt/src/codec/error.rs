//! Why bytes are no packet, and why a packet cannot become bytes.

use crate::filter::FilterError;
use crate::packet::PacketKind;
use crate::topic::TopicError;

/// Why bytes are refused. The connection they came on cannot go on: MQTT 3.1.1
/// has no error packet, its owner closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Packet type 0 or 15. §2.2.1
    #[error("packet type {0} does not exist")]
    UnknownPacketType(u8),
    /// The lower half of the first byte is wrong for this kind `[MQTT-2.2.2-2]`.
    #[error("{kind} has wrong flags {flags:#06b}")]
    WrongFlags {
        /// Kind of the packet.
        kind: PacketKind,
        /// The four bits received.
        flags: u8,
    },
    /// The remaining length goes on after four bytes. §2.2.3
    #[error("remaining length has more than four bytes")]
    RemainingLengthTooLong,
    /// Larger than the limit handed in.
    #[error("{kind} of {size_bytes} bytes exceeds the limit of {limit_bytes}")]
    PacketTooLarge {
        /// Kind of the packet.
        kind: PacketKind,
        /// Announced size with fixed header.
        size_bytes: usize,
        /// The limit handed in.
        limit_bytes: usize,
    },
    /// The announced length cannot be right for this kind.
    #[error("{kind} cannot have a remaining length of {length}")]
    WrongLength {
        /// Kind of the packet.
        kind: PacketKind,
        /// Announced remaining length.
        length: usize,
    },
    /// A field reaches over the packet's end.
    #[error("{kind} ends within its {field}")]
    Truncated {
        /// Kind of the packet.
        kind: PacketKind,
        /// The field that is cut.
        field: &'static str,
    },
    /// Bytes are left after the last field.
    #[error("{kind} has {count} bytes too many")]
    TrailingBytes {
        /// Kind of the packet.
        kind: PacketKind,
        /// How many.
        count: usize,
    },
    /// A string is not UTF-8 `[MQTT-1.5.3-1]`.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// Which string.
        field: &'static str,
    },
    /// A string contains U+0000 `[MQTT-1.5.3-2]`.
    #[error("{field} contains U+0000")]
    Nul {
        /// Which string.
        field: &'static str,
    },
    /// Packet id 0 `[MQTT-2.3.1-1]`.
    #[error("packet id is 0")]
    PacketIdZero,
    /// The topic name of a PUBLISH or a will.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A filter of a SUBSCRIBE or UNSUBSCRIBE.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// No filter at all `[MQTT-3.8.3-3]`, `[MQTT-3.10.3-2]`.
    #[error("{kind} has no filter")]
    NoFilters {
        /// Kind of the packet.
        kind: PacketKind,
    },
    /// More filters than the limit handed in.
    #[error("{kind} has more than {limit} filters")]
    TooManyFilters {
        /// Kind of the packet.
        kind: PacketKind,
        /// The limit handed in.
        limit: usize,
    },
    /// A quality of service above 2, or with reserved bits `[MQTT-3-8.3-4]`.
    #[error("quality of service {0} does not exist")]
    InvalidQos(u8),
    /// Neither `MQTT` nor `MQIsdp` `[MQTT-3.1.2-1]`.
    #[error("protocol name is not MQTT")]
    WrongProtocolName,
    /// A CONNECT of MQTT in a version that isn't ours `[MQTT-3.1.2-2]`: answer CONNACK 1.
    #[error("protocol level {level} is not supported, use 4 (MQTT 3.1.1)")]
    UnsupportedProtocol {
        /// The level received.
        level: u8,
    },
    /// Contradicting or reserved flags in CONNECT. §3.1.2.3–9
    #[error("CONNECT has impossible connect flags {0:#010b}")]
    WrongConnectFlags(u8),
    /// Reserved flags in CONNACK, or a session with a refusal. §3.2.2
    #[error("CONNACK has impossible acknowledge flags {0:#010b}")]
    WrongConnackFlags(u8),
    /// A return code that CONNACK doesn't have. §3.2.2.3
    #[error("CONNACK code {0} does not exist")]
    InvalidConnackCode(u8),
    /// A return code that SUBACK doesn't have `[MQTT-3.9.3-2]`.
    #[error("SUBACK code {0:#04x} does not exist")]
    InvalidSubackCode(u8),
}

/// Why a packet cannot become bytes: its maker asked for what the format has no
/// room for. The buffer is left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field above 65,535 bytes.
    #[error("{field} is longer than 65535 bytes")]
    FieldTooLong {
        /// Which field.
        field: &'static str,
    },
    /// A string contains U+0000.
    #[error("{field} contains U+0000")]
    Nul {
        /// Which string.
        field: &'static str,
    },
    /// The remaining length would exceed 268,435,455.
    #[error("packet is larger than 268435455 bytes")]
    PacketTooLarge,
    /// QoS 1 or 2 without a packet id, or QoS 0 with one.
    #[error("packet id and quality of service do not fit")]
    PacketIdMismatch,
    /// QoS 0 with the DUP flag `[MQTT-3.3.1-2]`.
    #[error("DUP is set on a publish of quality of service 0")]
    DupWithoutAcknowledgement,
    /// A password without a user name `[MQTT-3.1.2-22]`.
    #[error("password without user name")]
    PasswordWithoutUserName,
    /// SUBSCRIBE, UNSUBSCRIBE or SUBACK of nothing.
    #[error("no filter")]
    NoFilters,
    /// A refusing CONNACK with a session `[MQTT-3.2.2-4]`.
    #[error("session present in a refusing CONNACK")]
    SessionPresentInRefusal,
}
