//! Bytes that wait to be written, with a bound.

use bytes::{Buf, BytesMut};

/// The output buffer of one connection. The bound is a brake, not a wall: one
/// packet may go over it, and then nothing is read or published until it shrinks.
#[derive(Debug)]
pub(crate) struct Output {
    bytes: BytesMut,
    bytes_max: usize,
}

impl Output {
    pub(crate) fn new(bytes_max: usize) -> Output {
        Output { bytes: BytesMut::new(), bytes_max }
    }

    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= self.bytes_max
    }

    pub(crate) fn is_twice_full(&self) -> bool {
        self.bytes.len() / 2 >= self.bytes_max
    }

    /// Forgets `count` bytes that were written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.bytes.advance(count.min(self.bytes.len()));
        self.release();
    }

    /// Moves everything to the end of `into`.
    pub(crate) fn drain_into(&mut self, into: &mut BytesMut) -> usize {
        let count = self.bytes.len();
        match into.is_empty() {
            true => std::mem::swap(&mut self.bytes, into),
            false => into.extend_from_slice(&self.bytes),
        }
        self.bytes.clear();
        self.release();
        count
    }

    /// An idle connection keeps no large buffer: there are many of them.
    fn release(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE_BYTES_MAX {
            self.bytes = BytesMut::new();
        }
    }
}

/// Memory that an empty buffer may keep: a thousand PUBACKs.
const IDLE_BYTES_MAX: usize = 4096;
