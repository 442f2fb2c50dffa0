//! Bytes that wait to be written, and the disposition that still grows.

use bytes::{Buf, BytesMut};

use crate::frame::{self, ProtocolHeader};
use crate::performative::{DeliveryState, Disposition, Performative, Role, Transfer};
use crate::sasl::SaslFrame;

/// The output of one connection. Its bound is a brake, not a wall: one message may go
/// over it, and then nothing is read or sent until it shrinks.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: BytesMut,
    settling: Option<Settling>,
}

/// Deliveries with consecutive ids that end alike.
#[derive(Debug)]
struct Settling {
    channel: u16,
    disposition: Disposition,
    last: u32,
}

impl Outbox {
    pub(super) fn header(&mut self, header: ProtocolHeader) {
        self.bytes.extend_from_slice(&header.bytes());
    }

    pub(super) fn sasl(&mut self, frame: &SaslFrame) {
        frame::encode_sasl(frame, &mut self.bytes);
    }

    pub(super) fn frame(&mut self, channel: u16, performative: &Performative) {
        self.flush();
        frame::encode(channel, performative, &mut self.bytes);
    }

    /// Writes one transfer, and returns how much of the payload it took.
    pub(super) fn transfer(
        &mut self,
        channel: u16,
        transfer: &Transfer,
        payload: &[u8],
        size_bytes_max: u32,
    ) -> usize {
        self.flush();
        frame::encode_transfer(channel, transfer, payload, size_bytes_max, &mut self.bytes)
    }

    /// Shows that we are alive, unless there is something to write anyway.
    pub(super) fn heartbeat(&mut self) {
        self.flush();
        if self.bytes.is_empty() {
            frame::encode_empty(&mut self.bytes);
        }
    }

    /// Tells how a delivery ends, together with its neighbours if they end alike.
    pub(super) fn settle(
        &mut self,
        channel: u16,
        role: Role,
        number: u32,
        settled: bool,
        state: DeliveryState,
    ) {
        if let Some(settling) = &mut self.settling
            && settling.channel == channel
            && settling.disposition.role == role
            && settling.disposition.settled == settled
            && settling.disposition.state.as_ref() == Some(&state)
        {
            if number == settling.last.wrapping_add(1) {
                settling.last = number;
                return;
            }
            if number.wrapping_add(1) == settling.disposition.first {
                settling.disposition.first = number;
                return;
            }
        }
        self.flush();
        let disposition = Disposition {
            role,
            first: number,
            last: None,
            settled,
            state: Some(state),
            batchable: false,
        };
        self.settling = Some(Settling { channel, disposition, last: number });
    }

    /// Everything to write.
    pub(super) fn as_slice(&mut self) -> &[u8] {
        self.flush();
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets `count` bytes that were written.
    pub(super) fn advance(&mut self, count: usize) {
        self.bytes.advance(count.min(self.bytes.len()));
        self.release();
    }

    /// Moves everything to the end of `into`.
    pub(super) fn drain_into(&mut self, into: &mut BytesMut) -> usize {
        self.flush();
        let count = self.bytes.len();
        match into.is_empty() {
            true => std::mem::swap(&mut self.bytes, into),
            false => into.extend_from_slice(&self.bytes),
        }
        self.bytes.clear();
        self.release();
        count
    }

    fn flush(&mut self) {
        let Some(Settling { channel, mut disposition, last }) = self.settling.take() else {
            return;
        };
        // pyamqp and uamqp read `last` also of a single delivery; absent means the same
        // as `first` (part 2 §2.7.6), so it is spelled out.
        disposition.last = Some(last);
        frame::encode(channel, &Performative::Disposition(disposition), &mut self.bytes);
    }

    /// An idle connection keeps no large buffer: there are many of them.
    fn release(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE_BYTES_MAX {
            self.bytes = BytesMut::new();
        }
    }
}

/// Memory that an empty buffer may keep: a hundred dispositions.
const IDLE_BYTES_MAX: usize = 4096;
