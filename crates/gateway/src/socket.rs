//! The socket of a connection, beside its protocol's machine.
//!
//! Reading goes through a buffer that all connections of a thread share, so that an idle connection
//! holds none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use host::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the machines of all protocols have in common.
pub(crate) trait Machine {
    /// Takes what is complete off the front of `input`.
    fn handle_input(&mut self, now: Duration, input: &mut BytesMut);
    /// Whether to read from the peer.
    fn wants_input(&self) -> bool;
    /// Whether bytes that were left in the input can go on now.
    fn wants_resume(&self) -> bool;
    /// Bytes to write.
    fn output(&mut self) -> &[u8];
    /// Forgets the first `count` bytes of the output.
    fn advance_output(&mut self, count: usize);
}

/// Both have these as methods of their own.
macro_rules! machine {
    ($machine:ty) => {
        impl Machine for $machine {
            fn handle_input(&mut self, now: Duration, input: &mut BytesMut) {
                <$machine>::handle_input(self, now, input);
            }

            fn wants_input(&self) -> bool {
                <$machine>::wants_input(self)
            }

            fn wants_resume(&self) -> bool {
                <$machine>::wants_resume(self)
            }

            fn output(&mut self) -> &[u8] {
                <$machine>::output(self)
            }

            fn advance_output(&mut self, count: usize) {
                <$machine>::advance_output(self, count);
            }
        }
    };
}

machine!(mqtt::server::ServerConnection);
machine!(amqp::Connection);

/// A socket and what was read from it but not yet taken by the machine.
pub(crate) struct Socket<S> {
    io: S,
    clock: Clock,
    input: BytesMut,
    /// Bytes were written that the stream may still hold (TLS).
    unflushed: bool,
}

/// What the socket did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// Bytes came in and are in the machine.
    Read,
    /// Bytes went out.
    Wrote,
    /// The peer is gone.
    End,
}

/// One read takes at most this much.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(crate) fn new(io: S, clock: Clock) -> Self {
        Self { io, clock, input: BytesMut::new(), unflushed: false }
    }

    /// Writes what there is to write, else reads when `read` allows it.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        machine: &mut impl Machine,
        read: bool,
    ) -> Poll<Io> {
        if let Poll::Ready(wrote) = self.poll_write(cx, machine) {
            return Poll::Ready(if wrote.is_ok() { Io::Wrote } else { Io::End });
        }
        if !read {
            return Poll::Pending;
        }
        if machine.wants_resume() {
            machine.handle_input(self.clock.now().since_origin(), &mut self.input);
            return Poll::Ready(Io::Read);
        }
        if !machine.wants_input() {
            return Poll::Pending;
        }
        self.poll_read(cx, machine)
    }

    /// Writes what there is to write.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        machine: &mut impl Machine,
    ) -> Poll<io::Result<()>> {
        let mut wrote = false;
        while !machine.output().is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, machine.output()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => machine.advance_output(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return if wrote { Poll::Ready(Ok(())) } else { Poll::Pending },
            }
            wrote = true;
            self.unflushed = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if wrote { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, machine: &mut impl Machine) -> Poll<Io> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(_)) => Poll::Ready(Io::End),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Io::End),
                Poll::Ready(Ok(())) => {
                    self.input.extend_from_slice(buffer.filled());
                    machine.handle_input(self.clock.now().since_origin(), &mut self.input);
                    if self.input.is_empty() {
                        // Messages hold on to the buffer as long as they need it.
                        self.input = BytesMut::new();
                    }
                    Poll::Ready(Io::Read)
                }
            }
        })
    }

    /// Closes the socket.
    pub(crate) async fn shut(&mut self) {
        let _ = poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await;
    }
}
