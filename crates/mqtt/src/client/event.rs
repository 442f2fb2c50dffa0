//! What the client's end tells its owner.

use crate::codec::DecodeError;
use crate::packet::{Connack, PacketId, PacketKind, Publish, Suback};

/// What the owner must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server's answer. Unless accepted, the connection has ended: close.
    Connack(Connack),
    /// A message of QoS 0, or of QoS 1 and then to be answered with
    /// [`super::ClientConnection::puback`].
    Publish(Publish),
    /// The server has a publish of QoS 1.
    Puback(PacketId),
    /// The server's answer to [`super::ClientConnection::subscribe`].
    Suback(Suback),
    /// The server's answer to [`super::ClientConnection::unsubscribe`].
    Unsuback(PacketId),
    /// The server broke a rule: close.
    Violation(Violation),
    /// The server kept silent for too long: close.
    TimedOut(Timeout),
}

/// Which rule a server broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Malformed or beyond a limit.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// `[MQTT-3.2.0-1]`
    #[error("first packet is {0}, not CONNACK")]
    FirstPacketNotConnack(PacketKind),
    /// A packet that a server never sends, or that belongs to QoS 2.
    #[error("{0} is not for a server to send here")]
    UnexpectedPacket(PacketKind),
    /// A publish of QoS 2, which was never asked for.
    #[error("publish of quality of service 2, which was not asked for")]
    QosUnsupported,
    /// A SUBACK whose codes don't fit the filters `[MQTT-3.8.4-5]`.
    #[error("SUBACK has {codes} codes for {filters} filters")]
    WrongSubackCount {
        /// Codes received.
        codes: usize,
        /// Filters asked for.
        filters: usize,
    },
}

/// What a server was too late for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Timeout {
    /// No CONNACK.
    #[error("no CONNACK within the deadline")]
    Connack,
    /// Nothing at all after a PINGREQ.
    #[error("no answer to a ping within the deadline")]
    Ping,
}
