//! What the server's end tells its owner.

use crate::codec::DecodeError;
use crate::packet::{Connect, PacketId, PacketKind, Publish, Subscribe, Unsubscribe};

/// What the owner must know or decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client wants in. Nothing goes on until [`super::ServerConnection::accept`] or
    /// [`super::ServerConnection::refuse`]; no timer runs meanwhile.
    Connect(Box<Connect>),
    /// A client speaks another version of MQTT. CONNACK 1 is in the output: write
    /// it, then close. Paho dials again at once with level 3: no attack.
    UnsupportedProtocol {
        /// The version it speaks.
        level: u8,
    },
    /// A message of QoS 0, or of QoS 1 and then to be answered with
    /// [`super::ServerConnection::puback`].
    Publish(Publish),
    /// The client has a delivery of QoS 1.
    Acknowledged(PacketId),
    /// To be answered with [`super::ServerConnection::suback`].
    Subscribe(Subscribe),
    /// To be answered with [`super::ServerConnection::unsuback`].
    Unsubscribe(Unsubscribe),
    /// The client pinged; the answer is in the output.
    Pinged,
    /// The client said goodbye: close, and drop its will.
    Disconnected,
    /// The client broke a rule: close. Output that waits may be dropped.
    Violation(Violation),
    /// The client kept silent for too long: close.
    TimedOut(Timeout),
}

/// Which rule a client broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Malformed or beyond a limit.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// `[MQTT-3.1.0-1]`
    #[error("first packet is {0}, not CONNECT")]
    FirstPacketNotConnect(PacketKind),
    /// `[MQTT-3.1.0-2]`
    #[error("second CONNECT")]
    SecondConnect,
    /// A packet that a client never sends, or that belongs to QoS 2.
    #[error("{0} is not for a client to send here")]
    UnexpectedPacket(PacketKind),
    /// A publish of QoS 2, which the hub doesn't take.
    #[error("publish of quality of service 2, use 0 or 1")]
    QosUnsupported,
}

/// What a client was too late for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Timeout {
    /// No complete CONNECT within the deadline.
    #[error("no CONNECT within the deadline")]
    Connect,
    /// No packet within one and a half times the keep-alive `[MQTT-3.1.2-24]`.
    #[error("no packet within 1.5 times the keep-alive")]
    KeepAlive,
}
