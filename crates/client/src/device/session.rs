//! What the task behind a client asks of a connection, whatever it speaks.
//!
//! A session is one connection that the hub has accepted, with what is under way on it. Nothing in
//! it waits, except where [`Session::poll_exchange`] looks at the socket. It ends with its
//! connection; messages without an acknowledgement move on to the next one.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use host::clock::{Clock, Mono};
use iot_proto::status::ErrorAnswer;
use iot_proto::topic::Subscription;
use mqtt::PacketId;
use tokio::sync::mpsc;

use super::actor::{Control, TwinRequest};
use super::error::{ConnectError, TwinError};
use super::events::{ClientEvent, MethodReply, Outcome, Settle};
use super::{Options, Outgoing, amqp, mqtt as mqtt_session};

/// One connection.
pub(super) trait Session: Send {
    /// Whether the hub went on with an earlier session.
    fn is_resumed(&self) -> bool;

    /// Whether one more message may be sent now.
    fn has_room(&mut self) -> bool;

    /// Sends a message; gives it back when it cannot be taken now.
    fn publish(&mut self, outgoing: Outgoing) -> Result<(), Outgoing>;

    /// Asks for kinds of events.
    fn subscribe(&mut self, kinds: &[Subscription]);

    /// Whether a twin request may be begun.
    fn takes_requests(&self) -> bool;

    /// Asks for the twin, or patches it; gives the request back when it cannot be taken now.
    fn ask_twin(&mut self, request: TwinRequest) -> Result<(), TwinRequest>;

    /// Answers a method. An answer that cannot be written now is lost, and the caller's time runs
    /// out.
    fn answer_method(&mut self, call: &str, status: i32, payload: Bytes);

    /// Tells the hub what became of a delivery.
    fn settle(&mut self, ticket: Ticket, outcome: Outcome);

    /// What happened on the connection; none when everything was told.
    fn poll_event(&mut self, handles: &Handles) -> Option<Event>;

    /// Writes what there is to write and reads what there is to read; wakes for either.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>>;

    /// When [`Self::handle_timeout`] is due.
    fn deadline(&self) -> Option<Mono>;

    /// Time has passed.
    fn handle_timeout(&mut self);

    /// Fails what waits for an answer; gives the messages without an acknowledgement, in order.
    fn finish(&mut self) -> Vec<Outgoing>;

    /// Says goodbye and writes out what there still is, for at most `limit`.
    fn goodbye(self: Box<Self>, limit: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Something that happened on a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// For whoever reads the client's events.
    Tell(ClientEvent),
    /// The hub granted these.
    Granted(Vec<Subscription>),
    /// The connection wants to be replaced by a fresh one.
    Renewal,
    /// The connection is of no use any more.
    Lost(ConnectError),
}

/// What a look at the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Bytes went out; there is room again.
    Written,
    /// Bytes came in and went through the machine.
    Read,
    /// The peer has closed.
    Ended,
}

/// Names a delivery on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ticket {
    Mqtt(PacketId),
    Amqp(amqp::Ticket),
}

/// Makes the handles that a program answers with.
pub(super) struct Handles {
    pub(super) control: mpsc::UnboundedSender<Control>,
    /// Tells handles of this connection from those of earlier ones.
    pub(super) epoch: u64,
}

impl Handles {
    pub(super) fn settle(&self, ticket: Option<Ticket>) -> Settle {
        Settle { control: self.control.clone(), epoch: self.epoch, ticket }
    }

    pub(super) fn reply(&self, call: String) -> MethodReply {
        MethodReply { control: self.control.clone(), epoch: self.epoch, call: Some(call) }
    }
}

/// Opens a connection and gets in.
pub(super) async fn open(
    options: Arc<Options>,
    clock: Clock,
) -> Result<Box<dyn Session>, ConnectError> {
    let dial = options.dial.clone();
    let deadline = clock.clone();
    let attempt = async {
        if options.transport.is_amqp() {
            amqp::open(options, clock).await
        } else {
            mqtt_session::open(options, clock).await
        }
    };
    match deadline.timeout(CONNECT_LIMIT, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::Deadline { dial, limit: CONNECT_LIMIT }),
    }
}

/// A copy, so that a small body does not keep the whole read buffer.
pub(super) fn owned(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body)
}

/// Reads the hub's refusal of a twin request (`device-protocol.md` §3.10).
pub(super) fn twin_refused(status: u16, body: &[u8]) -> TwinError {
    use host::http::StatusCode;
    let http_status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = ErrorAnswer::read(http_status, None, body);
    let code = answer.code.map(|code| code.number);
    TwinError::Refused { status, code, message: answer.message }
}

/// From the token to the hub's consent; SDKs wait 30 to 60 s for a CONNACK alone
/// (`device-protocol.md` §3.2).
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(30);
