//! What a client publishes: telemetry becomes a batch, the rest a request.

use bytes::Bytes;
use iot_proto::bag::{Bag, BagError, Sender};
use model::limits;
use model::message::Message;

/// Why telemetry is refused; the connection is closed (`device-protocol.md` §3.13).
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error(transparent)]
    Bag(#[from] BagError),
    #[error("the message has {0} bytes with its properties; at most {max} are allowed", max = limits::TELEMETRY_BYTES_MAX)]
    TooLarge(usize),
}

/// A message from its topic's property bag and its payload.
pub(super) fn message(bag: &str, body: Bytes, retain: bool) -> Result<Message, MessageError> {
    let Bag { system, properties } = Bag::parse(bag, Sender::Device)?;
    let mut message = Message { system, properties, body };
    if retain {
        message.set_property("mqtt-retain", "true");
    }
    match message.size_bytes() {
        size if size > limits::TELEMETRY_BYTES_MAX => Err(MessageError::TooLarge(size)),
        _ => Ok(message),
    }
}
