//! What can go wrong with a device's or module's connection and the requests on it.

use std::sync::Arc;
use std::time::Duration;

use host::ws::WsError;
use mqtt::client::{Timeout, Violation};
use mqtt::packet::ConnackCode;

use crate::dial::{Dial, DialError};
use crate::signer::SignError;

/// Why there is no connection. The client goes on trying whatever it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No token.
    #[error("cannot sign a token to connect with")]
    Sign(#[source] SignError),
    /// Not reachable or not trusted.
    #[error(transparent)]
    Dial(Box<DialError>),
    /// No WebSocket there.
    #[error("{dial} does not open a WebSocket; check that its HTTPS port serves devices")]
    WebSocket {
        /// What was dialled.
        dial: Dial,
        /// Why not.
        source: Box<WsError>,
    },
    /// Nothing happened for too long.
    #[error("{dial} did not finish connecting within {limit:?}")]
    Deadline {
        /// What was dialled.
        dial: Dial,
        /// What was allowed.
        limit: Duration,
    },
    /// The server said no.
    #[error("{dial} refused {identity} ({refusal}); {}", refusal.next_step())]
    Refused {
        /// What was dialled.
        dial: Dial,
        /// As whom.
        identity: String,
        /// What it said.
        refusal: Refusal,
    },
    /// The CONNECT cannot be written: some id or name is too long.
    #[error("cannot ask {dial} to connect")]
    Request {
        /// What was dialled.
        dial: Dial,
        /// Why.
        source: mqtt::SendError,
    },
    /// The server broke the protocol.
    #[error("{dial} does not keep to MQTT 3.1.1")]
    Violation {
        /// What was dialled.
        dial: Dial,
        /// How.
        source: Violation,
    },
    /// The server broke the protocol.
    #[error("{dial} does not keep to AMQP 1.0: {what}")]
    AmqpViolation {
        /// What was dialled.
        dial: Dial,
        /// How.
        what: String,
    },
    /// The server fell silent.
    #[error("{dial} fell silent")]
    AmqpSilent {
        /// What was dialled.
        dial: Dial,
        /// When.
        source: amqp::connection::Timeout,
    },
    /// The server fell silent.
    #[error("{dial} fell silent")]
    Silent {
        /// What was dialled.
        dial: Dial,
        /// When.
        source: Timeout,
    },
    /// The server closed, or the network did.
    #[error("{dial} closed the connection")]
    Closed {
        /// What was dialled.
        dial: Dial,
    },
    /// The connection broke.
    #[error("connection to {dial} broke")]
    Broken {
        /// What was dialled.
        dial: Dial,
        /// How.
        source: std::io::Error,
    },
}

impl ConnectError {
    /// What the server said, when it refused for good: only an operator can change that.
    pub fn permanent_refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } if refusal.is_permanent() => Some(refusal),
            _ => None,
        }
    }
}

/// A server's refusal, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// MQTT's.
    #[error("CONNACK {}", *.0 as u8)]
    Connack(ConnackCode),
    /// Of the token, over AMQP.
    #[error("token status {status}: {description}")]
    Token {
        /// An HTTP status.
        status: i64,
        /// In words.
        description: String,
    },
    /// Of the credentials, over AMQP.
    #[error("SASL {0:?}")]
    Sasl(amqp::sasl::Outcome),
    /// Of the connection, of a link or of a message, over AMQP.
    #[error("{condition}: {description}")]
    Condition {
        /// AMQP's name of it.
        condition: String,
        /// In words.
        description: String,
    },
}

impl Refusal {
    /// Whether another attempt would be refused too (`device-protocol.md` §3.2, §4.9).
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Connack(code) => *code != ConnackCode::ServerUnavailable,
            Self::Token { status, .. } => (400..500).contains(status) && *status != TOO_MANY,
            Self::Sasl(outcome) => *outcome == amqp::sasl::Outcome::Auth,
            Self::Condition { condition, .. } => PERMANENT.contains(&&**condition),
        }
    }

    /// What to do about it.
    fn next_step(&self) -> &'static str {
        match self {
            Self::Connack(ConnackCode::IdentifierRejected) => {
                "its id and user name do not fit together"
            }
            Self::Connack(ConnackCode::UnacceptableProtocol) => "it does not take MQTT 3.1.1",
            Self::Connack(ConnackCode::Accepted) => "it accepted",
            refusal if refusal.is_permanent() => {
                "check that it is registered and enabled there, that the key is its own, and the clocks"
            }
            _ => "it is busy or starting; the next attempt follows",
        }
    }
}

/// The conditions after which SDKs do not try again (`device-protocol.md` §4.9).
const PERMANENT: [&str; 3] = ["amqp:unauthorized-access", "amqp:not-found", "amqp:not-allowed"];
/// HTTP's status for throttling.
const TOO_MANY: i64 = 429;

/// Why a message was not delivered, or not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It is larger than a hub takes.
    #[error("message has {bytes} bytes with its properties; at most {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What a hub takes.
        max: usize,
    },
    /// Its properties do not fit in a topic.
    #[error("message properties cannot be sent")]
    Topic(#[source] mqtt::topic::TopicError),
    /// It has more properties than a hub takes.
    #[error("message has more than {max} properties")]
    TooManyProperties {
        /// What a hub takes.
        max: usize,
    },
    /// The server refused it for good.
    #[error("server refused the message: {0}")]
    Refused(String),
    /// It does not fit in a packet.
    #[error("message cannot be sent")]
    Encode(#[source] mqtt::EncodeError),
    /// The client was closed before the message was acknowledged; it may have arrived.
    #[error("connection was closed before the message was acknowledged")]
    Closed,
}

/// Why a twin request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TwinError {
    /// The hub said no.
    #[error("hub refused the twin request with status {status}: {message}")]
    Refused {
        /// The status.
        status: u16,
        /// Its error number, when it gave one.
        code: Option<u32>,
        /// Its words.
        message: String,
    },
    /// No answer, though connected.
    #[error("hub did not answer the twin request within {limit:?}")]
    Timeout {
        /// What was allowed.
        limit: Duration,
    },
    /// There was no connection for the whole time.
    #[error("no connection to ask for the twin within {limit:?}: {reason}")]
    NotConnected {
        /// What was allowed.
        limit: Duration,
        /// Why there is none.
        reason: Arc<str>,
    },
    /// The connection was lost while waiting; a patch may have been applied.
    #[error("connection was lost before the twin request was answered")]
    Disconnected,
    /// The answer is no twin.
    #[error("hub answered the twin request with something else: {0}")]
    Malformed(String),
    /// The client was closed.
    #[error("connection is closed")]
    Closed,
}
