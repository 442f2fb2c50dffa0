//! The packets of MQTT 3.1.1 as values. §2 and §3 of the specification.
//!
//! A packet that came from the wire lends its topic and payload from the read
//! buffer (`Bytes`): keeping a payload keeps that buffer alive. Whoever stores a
//! small payload for long copies it.

use std::fmt;
use std::num::NonZeroU16;

use bytes::Bytes;

use crate::{Filter, Topic};

/// Any packet of MQTT 3.1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client to server: asks for a session. Boxed: it is large and rare.
    Connect(Box<Connect>),
    /// Server to client: the answer to CONNECT.
    Connack(Connack),
    /// Either way: an application message.
    Publish(Publish),
    /// Either way: the answer to a PUBLISH of QoS 1.
    Puback(PacketId),
    /// Either way: first answer to a PUBLISH of QoS 2.
    Pubrec(PacketId),
    /// Either way: release of a QoS 2 message.
    Pubrel(PacketId),
    /// Either way: end of a QoS 2 delivery.
    Pubcomp(PacketId),
    /// Client to server: asks for subscriptions.
    Subscribe(Subscribe),
    /// Server to client: what was granted.
    Suback(Suback),
    /// Client to server: ends subscriptions.
    Unsubscribe(Unsubscribe),
    /// Server to client: the answer to UNSUBSCRIBE.
    Unsuback(PacketId),
    /// Client to server: are you there?
    Pingreq,
    /// Server to client: I am.
    Pingresp,
    /// Client to server: a graceful end.
    Disconnect,
}

impl Packet {
    /// Which of the fourteen packets this is.
    #[must_use]
    pub fn kind(&self) -> PacketKind {
        match self {
            Packet::Connect(_) => PacketKind::Connect,
            Packet::Connack(_) => PacketKind::Connack,
            Packet::Publish(_) => PacketKind::Publish,
            Packet::Puback(_) => PacketKind::Puback,
            Packet::Pubrec(_) => PacketKind::Pubrec,
            Packet::Pubrel(_) => PacketKind::Pubrel,
            Packet::Pubcomp(_) => PacketKind::Pubcomp,
            Packet::Subscribe(_) => PacketKind::Subscribe,
            Packet::Suback(_) => PacketKind::Suback,
            Packet::Unsubscribe(_) => PacketKind::Unsubscribe,
            Packet::Unsuback(_) => PacketKind::Unsuback,
            Packet::Pingreq => PacketKind::Pingreq,
            Packet::Pingresp => PacketKind::Pingresp,
            Packet::Disconnect => PacketKind::Disconnect,
        }
    }
}

/// CONNECT at protocol level 4 (`MQTT`). Other levels don't become a packet:
/// the decoder reports them as [`crate::DecodeError::UnsupportedProtocol`].
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// Who connects. May be empty on the wire; the owner decides (hub: CONNACK 2).
    pub client_id: String,
    /// User name, if sent.
    pub user_name: Option<String>,
    /// Password, if sent; only together with a user name.
    pub password: Option<Bytes>,
    /// Message to publish on an ungraceful end.
    pub will: Option<Will>,
    /// Whether to begin without stored state.
    pub clean_session: bool,
    /// Longest silence the client promises, in seconds; 0 = no promise.
    pub keep_alive_s: u16,
}

impl Connect {
    /// A CONNECT without credentials and will, stored session, keep-alive 60 s.
    #[must_use]
    pub fn new(client_id: impl Into<String>) -> Connect {
        Connect {
            client_id: client_id.into(),
            user_name: None,
            password: None,
            will: None,
            clean_session: false,
            keep_alive_s: 60,
        }
    }
}

// By hand: the password is a secret and must not reach a log.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .field("password", &self.password.as_ref().map(|_| "[hidden]"))
            .field("will", &self.will)
            .field("clean_session", &self.clean_session)
            .field("keep_alive_s", &self.keep_alive_s)
            .finish()
    }
}

/// The message a server publishes when its client vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where it goes.
    pub topic: Topic,
    /// Its body, at most 65,535 bytes.
    pub payload: Bytes,
    /// With which quality of service.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
}

/// CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connack {
    /// Whether the server had stored state for the client.
    pub session_present: bool,
    /// Accepted, or why not.
    pub code: ConnackCode,
}

/// The return codes of CONNACK, §3.2.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnackCode {
    /// 0
    Accepted = 0,
    /// 1: the protocol level is not supported.
    UnacceptableProtocol = 1,
    /// 2: the client id is well-formed UTF-8 but not allowed.
    IdentifierRejected = 2,
    /// 3: try again later.
    ServerUnavailable = 3,
    /// 4: user name or password malformed.
    BadCredentials = 4,
    /// 5: not authorized.
    NotAuthorized = 5,
}

impl ConnackCode {
    /// The code with this number.
    #[must_use]
    pub fn from_u8(code: u8) -> Option<ConnackCode> {
        Some(match code {
            0 => ConnackCode::Accepted,
            1 => ConnackCode::UnacceptableProtocol,
            2 => ConnackCode::IdentifierRejected,
            3 => ConnackCode::ServerUnavailable,
            4 => ConnackCode::BadCredentials,
            5 => ConnackCode::NotAuthorized,
            _ => return None,
        })
    }
}

/// PUBLISH.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// Perhaps sent before; never set with QoS 0.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Whether to retain (client) or whether it was retained (server).
    pub retain: bool,
    /// Where it goes.
    pub topic: Topic,
    /// Present exactly when `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// The application message; may be empty.
    pub payload: Bytes,
}

// By hand: payloads are long and private.
impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic", &self.topic)
            .field("qos", &self.qos)
            .field("packet_id", &self.packet_id)
            .field("dup", &self.dup)
            .field("retain", &self.retain)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// SUBSCRIBE: at least one filter with the quality of service wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Names this request in its SUBACK.
    pub packet_id: PacketId,
    /// What is asked for.
    pub filters: Vec<(Filter, QoS)>,
}

/// SUBACK: one code per filter, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suback {
    /// The request's packet id.
    pub packet_id: PacketId,
    /// One per filter of the request.
    pub codes: Vec<SubackCode>,
}

/// The answer to one filter of a SUBSCRIBE, §3.9.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubackCode {
    /// Granted with this quality of service.
    Granted(QoS),
    /// 0x80: not granted.
    Failure,
}

impl SubackCode {
    /// The code's byte on the wire.
    #[must_use]
    pub fn to_u8(self) -> u8 {
        match self {
            SubackCode::Granted(qos) => qos as u8,
            SubackCode::Failure => 0x80,
        }
    }

    /// The code with this byte.
    #[must_use]
    pub fn from_u8(code: u8) -> Option<SubackCode> {
        match code {
            0x80 => Some(SubackCode::Failure),
            _ => QoS::from_u8(code).map(SubackCode::Granted),
        }
    }
}

/// UNSUBSCRIBE: at least one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Names this request in its UNSUBACK.
    pub packet_id: PacketId,
    /// What is no longer wished for.
    pub filters: Vec<Filter>,
}

/// Quality of service, §4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum QoS {
    /// 0: fire and forget.
    AtMostOnce = 0,
    /// 1: acknowledged.
    AtLeastOnce = 1,
    /// 2: parsed, but neither machine speaks it.
    ExactlyOnce = 2,
}

impl QoS {
    /// The quality with this number.
    #[must_use]
    pub fn from_u8(qos: u8) -> Option<QoS> {
        match qos {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// Names an exchange while it is in flight; never 0 `[MQTT-2.3.1-1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The first id.
    pub const FIRST: PacketId = PacketId(NonZeroU16::MIN);

    /// The id with this number, unless it is 0.
    #[must_use]
    pub fn new(id: u16) -> Option<PacketId> {
        NonZeroU16::new(id).map(PacketId)
    }

    /// The id's number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// The id after this one; 1 follows 65,535.
    #[must_use]
    pub fn next(self) -> PacketId {
        PacketId(self.0.checked_add(1).unwrap_or(NonZeroU16::MIN))
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The fourteen kinds of packet; the number is the upper half of the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's, see `Packet`")]
pub enum PacketKind {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
}

impl PacketKind {
    /// The kind that a packet's first byte announces.
    #[must_use]
    pub fn from_first_byte(byte: u8) -> Option<PacketKind> {
        Some(match byte >> 4 {
            1 => PacketKind::Connect,
            2 => PacketKind::Connack,
            3 => PacketKind::Publish,
            4 => PacketKind::Puback,
            5 => PacketKind::Pubrec,
            6 => PacketKind::Pubrel,
            7 => PacketKind::Pubcomp,
            8 => PacketKind::Subscribe,
            9 => PacketKind::Suback,
            10 => PacketKind::Unsubscribe,
            11 => PacketKind::Unsuback,
            12 => PacketKind::Pingreq,
            13 => PacketKind::Pingresp,
            14 => PacketKind::Disconnect,
            _ => return None,
        })
    }

    /// The specification's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PacketKind::Connect => "CONNECT",
            PacketKind::Connack => "CONNACK",
            PacketKind::Publish => "PUBLISH",
            PacketKind::Puback => "PUBACK",
            PacketKind::Pubrec => "PUBREC",
            PacketKind::Pubrel => "PUBREL",
            PacketKind::Pubcomp => "PUBCOMP",
            PacketKind::Subscribe => "SUBSCRIBE",
            PacketKind::Suback => "SUBACK",
            PacketKind::Unsubscribe => "UNSUBSCRIBE",
            PacketKind::Unsuback => "UNSUBACK",
            PacketKind::Pingreq => "PINGREQ",
            PacketKind::Pingresp => "PINGRESP",
            PacketKind::Disconnect => "DISCONNECT",
        }
    }
}

impl fmt::Display for PacketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
