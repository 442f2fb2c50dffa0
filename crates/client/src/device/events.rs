//! What a hub sends to an identity, and the handles to answer it.
//!
//! Handles may be kept, moved and used at any time: one that belongs to a connection that is gone
//! does nothing, because the hub delivers again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use model::message::Message;
use model::twin::Object;
use mqtt::PacketId;
use tokio::sync::mpsc;

use super::actor::Control;

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
    /// needs the twin reads it again. Also comes after a renewal, without [`Self::Disconnected`].
    Connected {
        /// Whether the hub kept the session.
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
    pub(super) settle: Settle,
}

impl Delivery {
    /// Takes the message for good: the hub is told.
    pub fn complete(self) {
        self.settle.complete();
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
    /// None for a message of QoS 0, which needs no settling.
    pub(super) packet_id: Option<PacketId>,
}

impl Settle {
    /// Takes the message for good: the hub is told.
    pub fn complete(self) {
        if let Some(packet_id) = self.packet_id {
            // A closed client has nobody to tell; the hub delivers again.
            let _ = self.control.send(Control::Settle { epoch: self.epoch, packet_id });
        }
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle").field("packet_id", &self.packet_id).finish_non_exhaustive()
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
    pub(super) rid: Option<String>,
}

impl MethodReply {
    /// Answers with a status of one's own choice and a JSON text (may be empty).
    pub fn send(mut self, status: i32, payload: impl Into<Bytes>) {
        self.answer(status, payload.into());
    }

    fn answer(&mut self, status: i32, payload: Bytes) {
        if let Some(rid) = self.rid.take() {
            // A closed client has nobody to answer; the caller's time runs out.
            let _ =
                self.control.send(Control::MethodReply { epoch: self.epoch, rid, status, payload });
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
        f.debug_struct("MethodReply").field("rid", &self.rid).finish_non_exhaustive()
    }
}

/// What Java's and C#'s SDKs answer when a handler failed and when there is none
/// (`device-protocol.md` §8).
const STATUS_FAILED: i32 = 500;
const STATUS_NOT_IMPLEMENTED: i32 = 501;
const UNANSWERED: &[u8] = br#"{"message":"method handler ended without an answer"}"#;
