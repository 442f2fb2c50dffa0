//! AMQP 1.0: a token on `$cbs`, renewed on the same connection; a link for telemetry, and links for
//! whatever else is asked for.
//!
//! A connection has one session and at most these links: two for tokens, one for telemetry, one for
//! cloud-to-device messages or one for inputs, two each for methods and for the twin. A message
//! is acknowledged by the outcome `accepted` only. An outcome that another attempt may change ends the
//! connection, so that everything without an acknowledgement is sent again in its order: sending
//! one message again on the same link would put it behind its successors.
//!
//! Spec: `device-protocol.md` §4, §17 (18 to 29).

mod cbs;
mod links;
mod open;
mod received;
mod session;
mod twin;

use std::time::Duration;

use amqp::Connection;
use amqp::connection::{Closed, DeliveryId, Event};
use bytes::{Bytes, BytesMut};
use iot_proto::amqp as proto;
use model::message::Message;

use super::error::{ConnectError, Refusal, SendError};
use super::link::Machine;
use crate::dial::Dial;

pub(super) use open::open;

/// Names a delivery of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(DeliveryId);

/// A message as it goes over the wire.
pub(super) fn encode(message: &Message) -> Result<Bytes, SendError> {
    let properties = message.properties.len();
    if properties > proto::message::PROPERTIES_MAX {
        return Err(SendError::TooManyProperties { max: proto::message::PROPERTIES_MAX });
    }
    Ok(proto::message::telemetry(message).to_bytes())
}

/// How a connection's end reads as an error.
fn closed(dial: &Dial, identity: &str, closed: Closed) -> ConnectError {
    let dial = dial.clone();
    let refused = |refusal| ConnectError::Refused {
        dial: dial.clone(),
        identity: identity.to_owned(),
        refusal,
    };
    match closed {
        Closed::Peer(None) => ConnectError::Closed { dial },
        Closed::Peer(Some(error)) => refused(condition(Some(error))),
        Closed::SaslRefused(outcome) => refused(Refusal::Sasl(outcome)),
        Closed::TimedOut(source) => ConnectError::AmqpSilent { dial, source },
        Closed::Violation(error) => ConnectError::AmqpViolation { dial, what: error.to_string() },
        Closed::MechanismNotOffered(_) => ConnectError::AmqpViolation {
            dial,
            what: "it does not offer the SASL mechanism that is needed".to_owned(),
        },
        Closed::Handshake(error) => ConnectError::AmqpViolation { dial, what: error.to_string() },
        other => ConnectError::AmqpViolation { dial, what: format!("{other:?}") },
    }
}

/// A peer's error as a refusal.
fn condition(error: Option<amqp::Error>) -> Refusal {
    match error {
        Some(error) => Refusal::Condition {
            condition: error.condition.into_string(),
            description: error.description.unwrap_or_default(),
        },
        None => Refusal::Condition {
            condition: "no condition".to_owned(),
            description: "the server gives no reason".to_owned(),
        },
    }
}

impl Machine for Connection {
    type Event = Event;

    fn handle_input(&mut self, now: Duration, input: &mut BytesMut) {
        self.handle_input(now, input);
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.handle_timeout(now);
    }

    fn wants_input(&self) -> bool {
        self.wants_input()
    }

    fn wants_resume(&self) -> bool {
        self.wants_resume()
    }

    fn output(&mut self) -> &[u8] {
        self.output()
    }

    fn advance_output(&mut self, count: usize) {
        self.advance_output(count);
    }

    fn close(&mut self, now: Duration) {
        self.close(now, None);
    }
}
