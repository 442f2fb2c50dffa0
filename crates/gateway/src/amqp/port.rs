//! One link as the future sees it that serves it: what happens to it, and what it does.
//!
//! A port is used inside its connection's task only. What is sent and settled goes out in the order
//! of the calls: a disposition before the answer to the same request.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use amqp::connection::{DeliveryId, Outgoing};
use amqp::{DeliveryState, Message};
use bytes::Bytes;
use parking_lot::Mutex;

/// A link.
#[derive(Debug)]
pub struct Port {
    shared: Arc<Mutex<Shared>>,
    number: PortNumber,
    busy: Busy,
    next_sent: u64,
}

/// What happens to a link.
#[derive(Debug)]
pub enum PortEvent {
    /// The client sent a message.
    Received(Received),
    /// The client settled a message that was sent unsettled; without a state it says nothing about
    /// its outcome.
    Settled {
        /// Which message.
        sent: Sent,
        /// What became of it.
        state: Option<DeliveryState>,
    },
}

/// What a port's node can go on with.
#[derive(Debug)]
pub enum PortTurn {
    /// Something happened to the link.
    Event(PortEvent),
    /// A message may be sent.
    Ready,
    /// The link is detached, or its connection is gone.
    Gone,
}

/// A message that the client sent, to be settled by [`Port::settle`].
#[derive(Debug)]
pub struct Received {
    pub(super) id: DeliveryId,
    /// The encoded message.
    pub message: Bytes,
    /// Its format; 0 is one message.
    pub format: u32,
}

/// Names a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sent(pub(super) u64);

/// The link is detached, or its connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link is gone")]
pub struct PortGone;

/// What a port asks its connection to do.
#[derive(Debug)]
pub(super) enum Command {
    Send { sent: Sent, outgoing: Outgoing },
    Settle { id: DeliveryId, state: DeliveryState },
    Reply { node: &'static str, reply_to: Option<String>, message: Box<Message> },
}

/// Names a port on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PortNumber(pub(super) u64);

/// The ports of one connection that have something to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(Arc<Mutex<Vec<PortNumber>>>);

impl Busy {
    /// Notes that a port has something to do.
    pub(super) fn push(&self, port: PortNumber) {
        let mut ports = self.0.lock();
        if ports.last() != Some(&port) {
            ports.push(port);
        }
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<PortNumber> {
        std::mem::take(&mut *self.0.lock())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

/// The connection's end of a port.
#[derive(Debug, Clone)]
pub(super) struct PortEnd(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    events: VecDeque<PortEvent>,
    commands: VecDeque<Command>,
    /// Sends among the commands.
    sends: u32,
    /// What the client's credit allows, the sends among the commands not counted off yet.
    credit: u32,
    gone: bool,
    waker: Option<Waker>,
}

/// Messages that a node may hand over before the connection has taken the first of them: enough to
/// fill a frame or two with small ones, little enough to hold many links.
const SENDS_MAX: u32 = 64;

impl Port {
    pub(super) fn new(number: PortNumber, busy: Busy) -> (Self, PortEnd) {
        let shared = Arc::new(Mutex::new(Shared::default()));
        (Self { shared: Arc::clone(&shared), number, busy, next_sent: 0 }, PortEnd(shared))
    }

    /// What happens next; nothing any more when the link is gone.
    pub async fn next(&mut self) -> Option<PortEvent> {
        poll_fn(|cx| {
            let mut shared = self.shared.lock();
            match shared.events.pop_front() {
                Some(event) => Poll::Ready(Some(event)),
                None if shared.gone => Poll::Ready(None),
                None => {
                    shared.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits until at least one message may be sent; gives how many may be.
    pub async fn ready(&mut self) -> Result<u32, PortGone> {
        poll_fn(|cx| {
            let mut shared = self.shared.lock();
            match shared.room() {
                _ if shared.gone => Poll::Ready(Err(PortGone)),
                0 => {
                    shared.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                room => Poll::Ready(Ok(room)),
            }
        })
        .await
    }

    /// Waits for whatever comes first: something that happened, or room for a message.
    pub async fn next_or_ready(&mut self) -> PortTurn {
        poll_fn(|cx| {
            let mut shared = self.shared.lock();
            match shared.events.pop_front() {
                Some(event) => Poll::Ready(PortTurn::Event(event)),
                None if shared.gone => Poll::Ready(PortTurn::Gone),
                None if shared.room() > 0 => Poll::Ready(PortTurn::Ready),
                None => {
                    shared.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// How many messages may be sent now.
    pub fn room(&self) -> u32 {
        self.shared.lock().room()
    }

    /// Sends a message; none when there is no room ([`Self::ready`]) or the link is gone.
    pub fn send(&mut self, outgoing: Outgoing) -> Option<Sent> {
        let mut shared = self.shared.lock();
        if shared.gone || shared.room() == 0 {
            return None;
        }
        let sent = Sent(self.next_sent);
        self.next_sent += 1;
        shared.sends += 1;
        shared.commands.push_back(Command::Send { sent, outgoing });
        drop(shared);
        self.busy.push(self.number);
        Some(sent)
    }

    /// Settles a message of the client; what it sent settled already is left alone.
    pub fn settle(&mut self, received: &Received, state: DeliveryState) {
        self.command(Command::Settle { id: received.id, state });
    }

    /// Answers a request on the link of the same session that takes the answers of this
    /// request-response node ([`super::nodes::Serve::Replies`] with the same name); of several, the
    /// one whose target is `reply_to`, which the request names. The answer waits for the link and
    /// its credit; a client that lets too many pile up loses its session. Settle the request first:
    /// uamqp takes the other order for a failure.
    pub fn reply(&mut self, node: &'static str, reply_to: Option<String>, answer: Message) {
        self.command(Command::Reply { node, reply_to, message: Box::new(answer) });
    }

    fn command(&mut self, command: Command) {
        self.shared.lock().commands.push_back(command);
        self.busy.push(self.number);
    }
}

impl PortEnd {
    /// Tells the node what happened.
    pub(super) fn happened(&self, event: PortEvent) {
        let waker = {
            let mut shared = self.0.lock();
            shared.events.push_back(event);
            shared.waker.take()
        };
        wake(waker);
    }

    /// Whether nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.0.lock().commands.is_empty()
    }

    /// The client's credit is now this much.
    pub(super) fn set_credit(&self, credit: u32) {
        let waker = {
            let mut shared = self.0.lock();
            shared.credit = credit;
            shared.waker.take()
        };
        wake(waker);
    }

    /// The next thing to do, unless it is a message and there is no room for one now.
    pub(super) fn command(&self, may_send: bool) -> Option<Command> {
        let (command, waker) = {
            let mut shared = self.0.lock();
            if !may_send && matches!(shared.commands.front(), Some(Command::Send { .. })) {
                return None;
            }
            let command = shared.commands.pop_front()?;
            if matches!(command, Command::Send { .. }) {
                shared.sends -= 1;
                shared.credit = shared.credit.saturating_sub(1);
            }
            (command, shared.waker.take())
        };
        wake(waker);
        Some(command)
    }

    /// The link is gone.
    pub(super) fn end(&self) {
        let waker = {
            let mut shared = self.0.lock();
            shared.gone = true;
            shared.commands.clear();
            shared.waker.take()
        };
        wake(waker);
    }
}

impl Shared {
    fn room(&self) -> u32 {
        self.credit.saturating_sub(self.sends).min(SENDS_MAX.saturating_sub(self.sends))
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn outgoing(tag: u8) -> Outgoing {
        Outgoing { tag: vec![tag].into(), message: Bytes::new(), format: 0, settled: true }
    }

    #[test]
    fn a_node_sends_no_more_than_the_credit() {
        let (mut port, end) = Port::new(PortNumber(1), Busy::default());
        assert!(port.send(outgoing(0)).is_none());
        end.set_credit(2);
        assert_eq!(port.room(), 2);
        assert!(port.send(outgoing(1)).is_some() && port.send(outgoing(2)).is_some());
        assert!(port.send(outgoing(3)).is_none());
        assert!(end.command(false).is_none(), "sent without room");
        assert!(matches!(end.command(true), Some(Command::Send { sent: Sent(0), .. })));
        // What was handed over is off the credit; a new one counts from there.
        assert_eq!(port.room(), 0);
        end.set_credit(500);
        assert_eq!(port.room(), SENDS_MAX - 1);
    }

    #[test]
    fn a_node_hears_everything_and_then_the_end() {
        let (mut port, end) = Port::new(PortNumber(1), Busy::default());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(port.next()).poll(&mut cx).is_pending());
        end.happened(PortEvent::Settled { sent: Sent(0), state: None });
        end.end();
        assert!(matches!(pin!(port.next()).poll(&mut cx), Poll::Ready(Some(_))));
        assert!(matches!(pin!(port.next()).poll(&mut cx), Poll::Ready(None)));
        assert_eq!(pin!(port.ready()).poll(&mut cx), Poll::Ready(Err(PortGone)));
        assert!(port.send(outgoing(1)).is_none());
    }
}
