//! What is in flight: publishes that wait for our PUBACK, and packet ids that
//! wait for the peer's. Both bounded; nothing here lives longer than a connection.

use std::collections::VecDeque;

use crate::codec::EncodeError;
use crate::packet::PacketId;

/// Publishes received and not yet acknowledged, in the order of their coming.
///
/// PUBACKs leave in this order whatever the order of the owner's calls
/// `[MQTT-4.6.0-2]`. A packet id may stand here twice: a client that sends again
/// before it has our answer gets one answer for each.
#[derive(Debug, Default)]
pub(crate) struct ReceiveWindow {
    waiting: VecDeque<Received>,
    payload_bytes: usize,
}

#[derive(Debug)]
struct Received {
    id: PacketId,
    payload_bytes: usize,
    answered: bool,
}

impl ReceiveWindow {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Payload of all that wait: memory that the owner still holds.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    pub(crate) fn received(&mut self, id: PacketId, payload_bytes: usize) {
        self.waiting.push_back(Received { id, payload_bytes, answered: false });
        self.payload_bytes += payload_bytes;
    }

    /// Notes the owner's answer and hands all PUBACKs that may now leave to `release`.
    pub(crate) fn answered(
        &mut self,
        id: PacketId,
        mut release: impl FnMut(PacketId),
    ) -> Result<(), AckError> {
        let entry = self.waiting.iter_mut().find(|entry| entry.id == id && !entry.answered);
        let Some(entry) = entry else { return Err(AckError::UnknownPacketId(id)) };
        entry.answered = true;
        while let Some(entry) = self.waiting.pop_front_if(|entry| entry.answered) {
            self.payload_bytes -= entry.payload_bytes;
            release(entry.id);
        }
        Ok(())
    }
}

/// Packet ids of ours that the peer has not answered, with what was asked.
#[derive(Debug)]
pub(crate) struct SendWindow<T> {
    in_flight: VecDeque<(PacketId, T)>,
    next: PacketId,
    max: usize,
}

impl<T: Copy> SendWindow<T> {
    /// At most `max` in flight, and never all 65,535 ids, so that one is always free.
    pub(crate) fn new(first: PacketId, max: usize) -> SendWindow<T> {
        SendWindow {
            in_flight: VecDeque::new(),
            next: first,
            max: max.min(usize::from(u16::MAX) - 1),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.in_flight.len() >= self.max
    }

    /// Takes an id that isn't in flight.
    pub(crate) fn open(&mut self, asked: T) -> Result<PacketId, SendError> {
        if self.is_full() {
            return Err(SendError::WindowFull);
        }
        let mut id = self.next;
        // Ends: fewer ids are in flight than there are. Usually the first one is free.
        while self.in_flight.iter().any(|(taken, _)| *taken == id) {
            id = id.next();
        }
        self.next = id.next();
        self.in_flight.push_back((id, asked));
        Ok(id)
    }

    /// Gives an id back whose request `fits` the answer, and returns the request;
    /// `None` if there is none. Peers answer in order, so the search is short.
    pub(crate) fn close(&mut self, id: PacketId, fits: impl Fn(T) -> bool) -> Option<T> {
        let index =
            self.in_flight.iter().position(|(taken, asked)| *taken == id && fits(*asked))?;
        self.in_flight.remove(index).map(|(_, asked)| asked)
    }
}

/// Why something cannot be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// As many are in flight as the settings allow: wait for an acknowledgement.
    #[error("in-flight window is full")]
    WindowFull,
    /// The output buffer is at its bound: wait until the peer has read.
    #[error("output buffer is full")]
    OutputFull,
    /// The connection isn't accepted yet, or has ended.
    #[error("not connected")]
    NotConnected,
    /// A machine makes one connection; another one takes a new machine.
    #[error("CONNECT was sent already")]
    AlreadyConnecting,
    /// Neither machine speaks quality of service 2.
    #[error("quality of service 2 is not supported")]
    QosUnsupported,
    /// The packet breaks the format.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why an answer fits no request: the owner's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// Nothing with this packet id waits for such an answer.
    #[error("nothing waits for an answer to packet id {0}")]
    UnknownPacketId(PacketId),
    /// A SUBACK needs one code per filter.
    #[error("{given} codes for {filters} filters")]
    WrongCodeCount {
        /// Codes handed in.
        given: usize,
        /// Filters asked for.
        filters: usize,
    },
}
