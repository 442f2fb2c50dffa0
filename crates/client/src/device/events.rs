//! What a hub sends to an identity, and the handles to answer it.
//!
//! Handles may be kept, moved and used at any time: one that belongs to a connection that is gone
//! does nothing, because the hub delivers again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use iot_proto::amqp::message::ReceivedFacts;
use model::message::Message;
use model::twin::Object;
use tokio::sync::mpsc;

use super::actor::Control;
use super::session::Ticket;

/// The events of a client, in the order of their coming.
///
/// Read them in a task of their own, or at least never wait for an acknowledgement in the loop
/// that reads them: while the queue is full nothing is read from the hub, acknowledgements
/// neither. Dropping it means that nobody listens: what comes is thrown away unacknowledged.
#[derive(Debug)]
pub struct Events {
    pub(super) receiver: mpsc::Receiver<ClientEvent>,
}

impl Events {
    /// The next event; none when the client was closed.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        self.receiver.recv().await
    }
}

/// Something that a hub sent, or that happened to the connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// There is a connection. Desired patches and methods of the time before are lost: whoever
    /// needs the twin reads it again. Over MQTT it also comes after a renewal of the token,
    /// without [`Self::Disconnected`].
    Connected {
        /// Whether the hub kept the session; never over AMQP.
        session_present: bool,
    },
    /// There is no connection; the next attempt follows by itself.
    Disconnected {
        /// Why, with the next step.
        reason: Arc<str>,
        /// Whether the hub refused the identity: an operator must act. It is tried all the same.
        permanent: bool,
    },
    /// Desired properties changed.
    Desired {
        /// What changed, without `$version`; `null` deletes.
        patch: Object,
        /// The new version. Versions already seen, in a twin or a patch, are to be skipped.
        version: u64,
    },
    /// A direct method is called.
    Method(MethodCall),
    /// A cloud-to-device message came.
    CloudToDevice(Delivery),
    /// A message came in for a module.
    Input {
        /// The input's name.
        input: String,
        /// The message.
        delivery: Delivery,
    },
}

/// A message to be settled.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// What the hub says about it.
    pub facts: ReceivedFacts,
    pub(super) settle: Settle,
}

impl Delivery {
    /// Takes the message for good: the hub is told.
    pub fn complete(self) {
        self.settle.complete();
    }

    /// Gives the message back: see [`Settle::abandon`].
    pub fn abandon(self) {
        self.settle.abandon();
    }

    /// Refuses the message: see [`Settle::reject`].
    pub fn reject(self) {
        self.settle.reject();
    }

    /// The message and, apart from it, what settles it.
    pub fn split(self) -> (Message, Settle) {
        (self.message, self.settle)
    }
}

/// Settles one message. Dropped unused, the message stays with the hub and comes again after a
/// reconnect.
pub struct Settle {
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) epoch: u64,
    /// None for a message that needs no settling (QoS 0).
    pub(super) ticket: Option<Ticket>,
}

/// How a message is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Complete,
    Abandon,
    Reject,
}

impl Settle {
    /// Takes the message for good: the hub is told.
    pub fn complete(self) {
        self.settle(Outcome::Complete);
    }

    /// Gives the message back, to be delivered again. MQTT cannot say so: there it comes again
    /// when its lock at the hub runs out, or after a reconnect.
    pub fn abandon(self) {
        self.settle(Outcome::Abandon);
    }

    /// Refuses the message: it shall not be delivered again. MQTT cannot say so: there it is
    /// completed, because it must not come for ever.
    pub fn reject(self) {
        self.settle(Outcome::Reject);
    }

    fn settle(self, outcome: Outcome) {
        if let Some(ticket) = self.ticket {
            // A closed client has nobody to tell; the hub delivers again.
            let _ = self.control.send(Control::Settle { epoch: self.epoch, ticket, outcome });
        }
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// A call of a direct method.
#[derive(Debug)]
pub struct MethodCall {
    /// The method's name.
    pub name: String,
    /// The payload's JSON text; empty when there is none.
    pub payload: Bytes,
    pub(super) reply: MethodReply,
}

impl MethodCall {
    /// Answers with a status of one's own choice and a JSON text (may be empty).
    pub fn reply(self, status: i32, payload: impl Into<Bytes>) {
        self.reply.send(status, payload);
    }

    /// Answers that there is no such method (501, as SDKs do).
    pub fn not_implemented(self) {
        let message = format!("method {:?} is not implemented", self.name);
        let body = serde_json::json!({ "message": message }).to_string();
        self.reply(STATUS_NOT_IMPLEMENTED, body);
    }

    /// Name, payload and, apart from them, what answers.
    pub fn split(self) -> (String, Bytes, MethodReply) {
        (self.name, self.payload, self.reply)
    }
}

/// Answers one call. Dropped unused, the caller hears status 500, as SDKs answer for a handler
/// that failed: waiting for the time-out would tell it less.
pub struct MethodReply {
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) epoch: u64,
    pub(super) call: Option<String>,
}

impl MethodReply {
    /// Answers with a status of one's own choice and a JSON text (may be empty).
    pub fn send(mut self, status: i32, payload: impl Into<Bytes>) {
        self.answer(status, payload.into());
    }

    fn answer(&mut self, status: i32, payload: Bytes) {
        if let Some(call) = self.call.take() {
            let reply = Control::MethodReply { epoch: self.epoch, call, status, payload };
            // A closed client has nobody to answer; the caller's time runs out.
            let _ = self.control.send(reply);
        }
    }
}

impl Drop for MethodReply {
    fn drop(&mut self) {
        self.answer(STATUS_FAILED, Bytes::from_static(UNANSWERED));
    }
}

impl fmt::Debug for MethodReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodReply").field("call", &self.call).finish_non_exhaustive()
    }
}

/// What Java's and C#'s SDKs answer when a handler failed and when there is none
/// (`device-protocol.md` §8).
const STATUS_FAILED: i32 = 500;
const STATUS_NOT_IMPLEMENTED: i32 = 501;
const UNANSWERED: &[u8] = br#"{"message":"method handler ended without an answer"}"#;
