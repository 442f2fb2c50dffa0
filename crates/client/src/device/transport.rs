//! What a connection runs over: four transports behind one API.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use host::tls::ClientTls;
use host::ws;
use iot_proto::rest::WEBSOCKET_PATH;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::ConnectError;
use crate::dial::{AMQP_PORT, Dial, HTTPS_PORT, MQTT_PORT};

/// Protocol and carrier of a connection, as `UpstreamProtocol` names them
/// (`edge-runtime.md` §5.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// AMQP 1.0 over TLS.
    Amqp,
    /// AMQP 1.0 over WebSocket.
    AmqpWs,
    /// MQTT 3.1.1 over TLS.
    Mqtt,
    /// MQTT 3.1.1 over WebSocket.
    MqttWs,
}

/// What an edge device speaks to its hub when `UpstreamProtocol` says nothing, as in the original
/// (`edge-runtime.md` §5.6).
pub const UPSTREAM_DEFAULT: Transport = Transport::Amqp;

/// The text names no transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of Amqp, AmqpWs, Mqtt and MqttWs")]
pub struct UnknownTransport(pub String);

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Amqp, Self::AmqpWs, Self::Mqtt, Self::MqttWs];

    /// Whether it is AMQP.
    pub fn is_amqp(self) -> bool {
        matches!(self, Self::Amqp | Self::AmqpWs)
    }

    /// Whether it runs over a WebSocket.
    pub fn is_web_socket(self) -> bool {
        matches!(self, Self::AmqpWs | Self::MqttWs)
    }

    /// The port that servers listen on for it.
    pub fn port(self) -> u16 {
        match self {
            Self::Amqp => AMQP_PORT,
            Self::Mqtt => MQTT_PORT,
            Self::AmqpWs | Self::MqttWs => HTTPS_PORT,
        }
    }

    /// The WebSocket's subprotocol; none without one.
    fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::AmqpWs => Some(AMQP_SUBPROTOCOL),
            Self::MqttWs => Some(MQTT_SUBPROTOCOL),
            Self::Amqp | Self::Mqtt => None,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amqp => "Amqp",
            Self::AmqpWs => "AmqpWs",
            Self::Mqtt => "Mqtt",
            Self::MqttWs => "MqttWs",
        })
    }
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    /// Reads a name in any case.
    fn from_str(text: &str) -> Result<Self, UnknownTransport> {
        let found = Self::ALL.into_iter().find(|t| t.to_string().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownTransport(text.to_owned()))
    }
}

/// The bytes of a connection.
///
/// On the heap: a TLS stream is large, and moving it would make every future on the way as large.
pub(crate) type Stream = Box<dyn ByteStream>;

/// Reads and writes bytes.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// Dials, makes the TLS handshake and, where there is one, the WebSocket's.
pub(crate) async fn connect(
    transport: Transport,
    dial: &Dial,
    tls: &ClientTls,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let stream = dial.connect(tls, limit).await;
    let stream: Stream = Box::new(stream.map_err(|error| ConnectError::Dial(Box::new(error)))?);
    let Some(protocol) = transport.subprotocol() else { return Ok(stream) };
    let opened = ws::connect(stream, &dial.authority(), WEBSOCKET_PATH, protocol).await;
    match opened {
        Ok(stream) => Ok(Box::new(stream)),
        Err(source) => {
            Err(ConnectError::WebSocket { dial: dial.clone(), source: Box::new(source) })
        }
    }
}

/// `device-protocol.md` §1.
const MQTT_SUBPROTOCOL: &str = "mqtt";
const AMQP_SUBPROTOCOL: &str = "AMQPWSB10";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_any_case_and_read_back() {
        for transport in Transport::ALL {
            assert_eq!(transport.to_string().parse(), Ok(transport));
            assert_eq!(transport.to_string().to_uppercase().parse(), Ok(transport));
        }
        let error = "Mqtt5".parse::<Transport>().unwrap_err();
        assert_eq!(error.to_string(), "\"Mqtt5\" is none of Amqp, AmqpWs, Mqtt and MqttWs");
    }
}
